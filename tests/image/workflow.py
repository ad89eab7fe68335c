"""A job of a GitHub workflow, step by step, as a self-hosted runner has it on a simulated device.

The commands are the workflow's own. The runner is a double: it knows of GitHub's rules what these
steps lean on (documented under "Workflow syntax", "Contexts" and "Workflow commands"), and refuses
what it does not know.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HOME = "/home/pi/runner"
WORKSPACE = f"{HOME}/_work/my-camera/my-camera"
TEMP = f"{HOME}/_work/_temp"
STEP_SECONDS = 1200

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")
_TEXT_OR_NAME = re.compile(r"'([^']*)'|([a-z]+\.\w+)")

# Runs on the device, as the runner's user: a step's script with its variables; secrets come by
# standard input. It prints how that ended, what was said, and the files that the step has written.
_STEP = f"""
import json, pathlib, subprocess, sys
told = json.load(sys.stdin)
folder = pathlib.Path("{TEMP}/_runner_file_commands")
folder.mkdir(parents=True, exist_ok=True)
(folder / "step.sh").write_text(told["script"])
files = {{name: folder / name for name in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}}
for file in files.values():
    file.write_text("")
done = subprocess.run(
    ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(folder / "step.sh")],
    env=told["env"] | {{name: str(file) for name, file in files.items()}},
    cwd="{WORKSPACE}", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
)
written = {{name: file.read_text() for name, file in files.items()}}
print(json.dumps([done.returncode, done.stdout.decode(errors="replace"), written]))
"""


@dataclass(frozen=True)
class Run:
    """How a run went: whether well, what it printed (secrets masked), and its summary."""

    went_well: bool
    output: str
    summary: str


def evaluate(text: str, contexts: Mapping[str, Mapping[str, str]]) -> str:
    """Return a text with its expressions replaced; each is texts and names with `||` between.

    Raises:
        ValueError: an expression has something else in it.
    """

    def replace(found: re.Match[str]) -> str:
        for term in found[1].split("||"):
            if (known := _TEXT_OR_NAME.fullmatch(term.strip())) is None:
                raise ValueError(f"{found[0]}: this double does not know what that means")
            literal, name = known.groups()
            context, _dot, key = (name or "").partition(".")
            # What a context does not have is empty; a context that there is not is a mistake.
            if value := literal or (contexts[context].get(key, "") if name else ""):
                return value
        return ""

    return _EXPRESSION.sub(replace, text)


def variables(written: str) -> dict[str, str]:
    """Return the variables in a GITHUB_ENV file.

    Raises:
        ValueError: a line is not NAME=VALUE, the only form that this double knows.
    """
    lines = [line.partition("=") for line in written.splitlines()]
    if wrong := [name for name, equals, _value in lines if not equals or "<<" in name]:
        raise ValueError(f"GITHUB_ENV has lines that are not NAME=VALUE: {wrong}")
    return {name: value for name, _equals, value in lines}


class Runner:
    """A runner on a device, with the variables and secrets of the repository that it is for."""

    def __init__(self, execute: Callable[..., str], settings: Mapping[str, str]) -> None:
        """Take note of how the device runs a command as root, and of the repository's variables."""
        self._execute = execute
        self._variables = settings

    def _as_user(self, *command: str, stdin: str = "") -> str:
        who = ("runuser", "--user", "pi", "--")
        return self._execute(*who, *command, stdin=stdin, timeout=STEP_SECONDS)

    def _check_out(self, repository: Path, commit: str) -> None:
        """Lay a commit out in an empty workspace, and empty TEMP, as the runner does."""
        archive = subprocess.run(
            ["git", "-C", str(repository), "archive", commit], capture_output=True, check=True
        ).stdout
        unpack = (
            f"rm -rf {WORKSPACE} {TEMP} && mkdir -p {WORKSPACE} {TEMP}"
            f" && base64 --decode | tar --extract --directory={WORKSPACE}"
        )
        self._as_user("sh", "-c", unpack, stdin=base64.b64encode(archive).decode())

    def run(self, repository: Path, secrets: Mapping[str, str]) -> Run:
        """Run the only job of the only workflow of a repository at its newest commit.

        Args:
            repository: a clone on this machine.
            secrets: the repository's secrets, and what is GITHUB_TOKEN.
        """
        (path,) = (repository / ".github/workflows").glob("*.yml")
        workflow: dict[str, Any] = yaml.safe_load(path.read_text())
        (job,) = workflow["jobs"].values()
        if workflow["defaults"] != {"run": {"shell": "bash"}}:
            raise ValueError("this double runs bash, and has to be told so")
        head = ["git", "-C", str(repository), "rev-parse", "HEAD"]
        commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
        github = {
            "actor": "anna",
            "repository": "Anna/my-camera",
            "repository_id": "1296269",
            "run_attempt": "1",
            "run_id": "4711",
            "server_url": "https://github.com",
            "sha": commit,
        }
        contexts = {"github": github, "secrets": secrets, "vars": self._variables}
        env = {
            "HOME": "/home/pi",
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "RUNNER_NAME": "builder",
            "RUNNER_TEMP": TEMP,
            **{f"GITHUB_{name.upper()}": value for name, value in github.items()},
            **{name: evaluate(value, contexts) for name, value in job["env"].items()},
        }
        went_well, output, summary = True, "", ""
        for step in job["steps"]:
            if step.get("if", "success()") not in ("success()", "always()"):
                raise ValueError(f"this double does not know when {step['if']} is")
            if not went_well and step.get("if") != "always()":
                continue
            if "uses" in step:
                assert step["uses"].startswith("actions/checkout@")
                self._check_out(repository, commit)
                continue
            own = {name: evaluate(value, contexts) for name, value in step.get("env", {}).items()}
            told = {"script": step["run"], "env": env | own}
            code, said, written = json.loads(
                self._as_user("python3", "-c", _STEP, stdin=json.dumps(told))
            )
            output += f"## {step['name']}\n{said}"
            summary += written["GITHUB_STEP_SUMMARY"]
            env |= variables(written["GITHUB_ENV"])
            went_well = went_well and code == 0
        for secret in filter(None, secrets.values()):
            output = output.replace(secret, "***")
        return Run(went_well, output, summary)
