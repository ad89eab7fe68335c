# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done with a GitHub runner, by four facts: the one place that decides it.

The facts are what GitHub has registered, what the runner's own `.runner` and `.service` say, and
what systemd has. Of all that they can be together, each has one row in a table, and so one action;
`plan` follows the rows until there is nothing left to do. `make docs` puts the tables into the
role's README.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

# GitHub: no runner of that name; the one that `.runner` is; another one; GitHub cannot be asked.
REGISTRATIONS = ("none", "own", "other", "unknown")
# `.runner`: not there; as wanted; of something else than what is wanted; unreadable, or `config.sh`
# was cut off after it.
CONFIGURATIONS = ("none", "right", "wrong", "broken")
# `.service`: not there; it names a unit.
SERVICES = ("none", "named")
# The unit: not there, or not the one that `.service` names; stopped; running, with no listener that
# GitHub sees; running, and listening for jobs.
UNITS = ("none", "down", "deaf", "listening")


@dataclass(frozen=True)
class Facts:
    """How things are with a runner; each one of the words above.

    Attributes:
        registration: what GitHub has.
        configuration: what `.runner` says.
        service: what `.service` says.
        unit: what systemd has.

    """

    registration: str
    configuration: str
    service: str
    unit: str


@dataclass(frozen=True)
class Row:
    """A row of a table: the facts that it is for, an empty tuple being any, and what is done then.

    Attributes:
        registration: those of REGISTRATIONS.
        configuration: those of CONFIGURATIONS.
        service: those of SERVICES.
        unit: those of UNITS.
        action: one of ACTIONS.
        meaning: what has happened, as the README tells it.

    """

    registration: tuple[str, ...]
    configuration: tuple[str, ...]
    service: tuple[str, ...]
    unit: tuple[str, ...]
    action: str
    meaning: str

    def fits(self, facts: Facts) -> bool:
        """Whether the row is for these facts."""
        return all(
            not (allowed := getattr(self, field.name)) or getattr(facts, field.name) in allowed
            for field in fields(Facts)
        )


_ANY: tuple[str, ...] = ()
_THERE = ("down", "deaf", "listening")

# What a runner is to be: registered, and listening.
PRESENT = (
    Row(
        _ANY,
        ("none", "broken"),
        ("named",),
        _ANY,
        "uninstall_service",
        "a service is left of a runner that is no more: an ephemeral one had its job, or `.runner`"
        " is lost",
    ),
    Row(
        _ANY,
        ("none", "broken"),
        ("none",),
        _THERE,
        "uninstall_service",
        "the same, and `.service` is lost",
    ),
    Row(_ANY, ("broken",), ("none",), ("none",), "forget", "`config.sh` was cut off"),
    Row(
        _ANY,
        ("wrong",),
        _ANY,
        _ANY,
        "reconfigure",
        "another URL, name, work folder or kind is wanted now",
    ),
    Row(("none", "unknown"), ("none",), ("none",), ("none",), "register", "there is no runner yet"),
    Row(
        ("own", "other"),
        ("none",),
        ("none",),
        ("none",),
        "replace",
        "the name is taken: by what this device was before, unless it is online",
    ),
    Row(
        ("none", "other"),
        ("right",),
        ("named",),
        _ANY,
        "uninstall_service",
        "the registration was deleted at GitHub, or another machine has taken the name",
    ),
    Row(
        ("none", "other"),
        ("right",),
        ("none",),
        _THERE,
        "uninstall_service",
        "the same, and `.service` is lost",
    ),
    Row(
        ("none", "other"),
        ("right",),
        ("none",),
        ("none",),
        "forget",
        "the same, and there is no service (any more)",
    ),
    Row(
        ("own", "unknown"),
        ("right",),
        ("none",),
        ("none",),
        "install_service",
        "it is registered, and has no service yet",
    ),
    Row(
        ("own", "unknown"),
        ("right",),
        ("named",),
        ("none",),
        "uninstall_service",
        "`.service` names a unit that is not there, or not this runner's",
    ),
    Row(
        ("own", "unknown"),
        ("right",),
        ("none",),
        _THERE,
        "uninstall_service",
        "the unit is there, and `.service` is lost",
    ),
    Row(("own", "unknown"), ("right",), ("named",), ("down",), "start", "it was stopped"),
    Row(
        ("own", "unknown"),
        ("right",),
        ("named",),
        ("deaf",),
        "restart",
        "the unit runs, and its listener does not, or GitHub does not see it",
    ),
    Row(("own", "unknown"), ("right",), ("named",), ("listening",), "nothing", "all is well"),
)

# What is left of a runner that is to go.
ABSENT = (
    Row(_ANY, _ANY, ("named",), _ANY, "uninstall_service", "its service is there"),
    Row(_ANY, _ANY, ("none",), _THERE, "uninstall_service", "the same, and `.service` is lost"),
    Row(
        _ANY, ("wrong",), ("none",), ("none",), "unregister", "it is configured, as something else"
    ),
    Row(("own",), ("right",), ("none",), ("none",), "unregister", "it is configured"),
    Row(
        ("none", "other", "unknown"),
        ("right",),
        ("none",),
        ("none",),
        "forget",
        "GitHub has forgotten it, or cannot be asked",
    ),
    Row(_ANY, ("broken",), ("none",), ("none",), "forget", "`config.sh` was cut off"),
    Row(
        ("own", "other"),
        ("none",),
        ("none",),
        ("none",),
        "delete",
        "GitHub still has it, and the device does not",
    ),
    Row(("none", "unknown"), ("none",), ("none",), ("none",), "nothing", "it is gone"),
)


def _unregistered(facts: Facts) -> Facts:
    # What GitHub has by that name may be another runner's, which stays.
    left = "none" if facts.registration == "own" else facts.registration
    return replace(facts, configuration="none", registration=left)


def _forgotten(facts: Facts) -> Facts:
    left = "other" if facts.registration == "own" else facts.registration
    return replace(facts, configuration="none", registration=left)


# What each action makes of the facts, and what it is called in the README.
ACTIONS: dict[str, tuple[Callable[[Facts], Facts], str]] = {
    "nothing": (lambda facts: facts, "nothing"),
    "uninstall_service": (
        lambda facts: replace(facts, service="none", unit="none"),
        "stop the unit, and remove it and `.service`",
    ),
    "unregister": (
        _unregistered,
        "`config.sh remove` with a remove token; with `--local` if none is to be had",
    ),
    "forget": (_forgotten, "`config.sh remove --local`"),
    "register": (
        lambda facts: replace(facts, registration="own", configuration="right"),
        "`config.sh` with a registration token",
    ),
    "replace": (
        lambda facts: replace(facts, registration="own", configuration="right"),
        "`config.sh --replace`; refused while the other one is online",
    ),
    "reconfigure": (
        lambda _facts: Facts("own", "right", "none", "none"),
        "stop the unit, set the configuration aside, `config.sh`, and then remove what was before;"
        " if that fails, put it back and start it",
    ),
    "install_service": (
        lambda facts: replace(facts, service="named", unit="down"),
        "write the unit and `.service`, as `svc.sh install` does",
    ),
    "start": (lambda facts: replace(facts, unit="listening"), "start the unit"),
    "restart": (lambda facts: replace(facts, unit="listening"), "restart the unit"),
    "delete": (
        lambda facts: replace(facts, registration="none"),
        "delete it at GitHub, unless it is online",
    ),
}


def plan(facts: Facts, table: tuple[Row, ...]) -> list[str]:
    """Return what is to be done, in its order; nothing if all is as it is to be.

    Args:
        facts: how things are.
        table: PRESENT or ABSENT.

    Raises:
        RuntimeError: the table goes round in a circle, or does not know the facts.

    """
    actions: list[str] = []
    # The longest way has five steps.
    while len(actions) < 10:
        row = next((row for row in table if row.fits(facts)), None)
        if row is None:
            break
        if row.action == "nothing":
            return actions
        actions.append(row.action)
        facts = ACTIONS[row.action][0](facts)
    raise RuntimeError(f"there is no way to the end from {facts}: {', '.join(actions)}")
