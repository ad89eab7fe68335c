"""The listener's arguments: from the command line, else from ACTIONS_RUNNER_INPUT_…, else asked."""

from __future__ import annotations

import os
import sys

_PREFIX = "ACTIONS_RUNNER_INPUT_"
_ALWAYS = ("help", "version", "commit", "check")
_KNOWN = {
    "configure": (
        *("url", "token", "pat", "name", "labels", "runnergroup", "work", "auth", "unattended"),
        *("replace", "ephemeral", "disableupdate", "no-default-labels"),
    ),
    "remove": ("token", "pat", "local"),
    "run": ("jitconfig", "once", "startuptype"),
}


class ArgumentError(Exception):
    """An argument that is needed is not there."""


class Arguments:
    """What the command line and the environment say; names count without their case.

    Attributes:
        command: the first word, in lower case; empty if there is none.
    """

    def __init__(self, words: list[str]) -> None:
        """Take the words of the command line, and from the environment what is meant for this."""
        self._commands: list[str] = []
        self._flags: set[str] = set()
        self._values: dict[str, str] = {}
        self._parse(words)
        self.command = self._commands[0].lower() if self._commands else ""
        self._environment = {}
        # A token is not to be seen in the environment of a job.
        for name in [name for name in os.environ if name.upper().startswith(_PREFIX)]:
            self._environment[name[len(_PREFIX) :].lower()] = os.environ.pop(name).strip()

    def _parse(self, words: list[str]) -> None:
        open_name = ""
        seen_option = False
        for word in words:
            if word.startswith("--") and len(word) > 2:
                seen_option = True
                if open_name:
                    self._flags.add(open_name)
                open_name = word[2:].strip().lower()
            elif not seen_option:
                self._commands.append(word.strip())
            elif not word.startswith("-") and open_name and open_name not in self._values:
                self._values[open_name] = word
                open_name = ""
        if open_name:
            self._flags.add(open_name)

    def unknown(self) -> str:
        """Return what to say of arguments that the command does not have; empty if it has all."""
        names = [name for name in self._commands if name.lower() not in _KNOWN]
        if not names:
            known = _KNOWN.get(self.command, ())
            names = sorted(self._flags - {*known, *_ALWAYS}) + sorted(
                self._values.keys() - {*known}
            )
        if not names:
            return ""
        quoted = f"'{', '.join(names)}'. For usage refer to: ./config.sh --help"
        if self.command in _KNOWN:
            return f"Unrecognized command-line input arguments for command {self.command}: {quoted}"
        return f"This command does not recognize the command-line input arguments: {quoted}"

    def flag(self, name: str) -> bool:
        """Whether a flag is set; one that has a value is none."""
        return name in self._flags or self._environment.get(name, "").lower() == "true"

    def given(self, name: str) -> str:
        """Return an argument's value; empty if there is none."""
        return self._values.get(name) or self._environment.get(name, "")

    def get(self, name: str, question: str, default: str = "", optional: bool = False) -> str:
        """Return an argument's value; it is asked for unless it is given or `--unattended`.

        Args:
            name: the argument's.
            question: how to ask for it.
            default: what is taken if nothing is said.
            optional: whether it may be empty.

        Raises:
            ArgumentError: there is none, and it is needed.
        """
        if value := self.given(name):
            return value
        while not self.flag("unattended"):
            print(question, f"[press Enter for {default}] " if default else "", end="")
            line = sys.stdin.readline()
            if line.strip():
                return line.strip()
            if not line or default or optional:
                break
        if default or optional:
            return default
        raise ArgumentError(
            f"Invalid configuration provided for {name}. Terminating unattended configuration."
        )
