"""What the role makes of a runner, whatever it finds, and that it leaves alone what is right."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.github_runner.pi import FOLDER, HOME, NEWEST, OLD, PI, USER, WORK, Pi, Run, eventually
from tests.lab import device as lab
from tests.lab import runner as archives
from tests.lab.github import ORGANIZATION, REPOSITORY, Request

# The tables themselves, so that a row without a case shows.
_PLAN = runpy.run_path(str(ROOT / "plugins/plugin_utils/_runner_plan.py"))
PRESENT, ABSENT, ACTIONS, FACTS, plan = (
    _PLAN[name] for name in ("PRESENT", "ABSENT", "ACTIONS", "Facts", "plan")
)
PRIVATE = (".runner", ".credentials", ".credentials_rsaparams", ".env", ".path")
NEIGHBOUR = "actions.runner.octo-neighbour.service"
# Scripts that bring states about; they run in the runner's folder, and $unit is its unit.
UNINSTALL = """
systemctl disable --now --quiet "$unit"
rm --recursive .service "/etc/systemd/system/$unit" "/etc/systemd/system/$unit.d"
systemctl daemon-reload
"""
FORGET = "rm .runner .credentials .credentials_rsaparams\n"
# The unit runs, and what it has begun says nothing and asks nobody.
DEAFEN = """
mv bin/Runner.Listener bin/kept
printf '#!/bin/sh\\nexec sleep 600\\n' > bin/Runner.Listener
chmod 755 bin/Runner.Listener
systemctl restart "$unit"
until pgrep --full '^sleep [6]00' > /dev/null; do sleep 0.1; done
mv bin/kept bin/Runner.Listener
"""


def disturb(pi: Pi, text: str) -> None:
    """Run a script in the runner's folder; $unit is its unit."""
    pi.run(f"cd {FOLDER}; unit=$(cat .service)\n{text}")


def agent(pi: Pi) -> int:
    """Return the number by which GitHub knows the runner, as the device has it."""
    configuration = pi.configuration
    assert configuration is not None
    return int(configuration["agentId"])


def sent(pi: Pi, since: int) -> list[Request]:
    """Return the requests to GitHub's API since a mark that came from the controller."""
    return [
        request
        for request in pi.github.requests(since)
        if "/_services/" not in request.path and not request.path.endswith("runner-registration")
    ]


def changes(pi: Pi, since: int) -> list[str]:
    """Return those of them that change something; an App's token does not."""
    return [
        f"{request.method} {request.path.removeprefix('/api/v3/')}"
        for request in sent(pi, since)
        if request.method != "GET" and not request.path.endswith("/access_tokens")
    ]


def went(run: Run) -> Run:
    """Return a run that went well."""
    assert run.went_well, run.play.output
    return run


def refused(run: Run, *words: str) -> None:
    """See that a run has failed, and said why."""
    assert not run.went_well
    for text in words:
        assert text in run.output, run.play.output


def how_it_is(pi: Pi) -> str:
    """Return what the scenario decides, as the device and GitHub have it."""
    on_device = pi.run(
        f"cd {FOLDER} 2> /dev/null && unit=$(cat .service 2> /dev/null) || exit 0\n"
        "grep --invert-match agentId .runner; cat .env .path bin/version; ls bin/Runner.Listener"
        " runsvc.sh; systemctl is-active $unit; systemctl is-enabled $unit; id --name --groups"
        f" {USER}; cd /etc/systemd/system; ls -d actions.runner.*; grep --invert-match"
        " _SETTINGS= $unit.d/rpi_camera.conf || :"
    )
    registered = [
        f"{item.scope} {item.name} {item.status} {item.labels} {item.group_id}"
        for item in pi.github.runners()
        if item.name == PI
    ]
    return "\n".join([on_device, *registered, str(bool(pi.listener))])


@pytest.fixture(scope="session")
def sound(the_pi: Pi) -> str:
    """Return how it is when it is as the scenario has it."""
    went(the_pi.apply())
    return how_it_is(the_pi)


@pytest.fixture
def pi(the_pi: Pi, sound: str) -> Iterator[Pi]:
    """Yield the Pi as a runner that listens as the scenario has it, whatever was before.

    The role is run only where it is not so already: most tests leave it so.
    """
    the_pi.github.clear_faults()
    for item in the_pi.github.runners():
        if item.name not in (PI, OLD) or (item.name == PI and item.scope != REPOSITORY):
            the_pi.github.remove_runner(item.id)
    if how_it_is(the_pi) != sound:
        went(the_pi.apply())
        assert how_it_is(the_pi) == sound
    yield the_pi
    the_pi.github.clear_faults()
    assert the_pi.github.violations() == []


# The tables.


@dataclass(frozen=True)
class Case:
    """A state of a runner that listened.

    Attributes:
        name: what has happened.
        facts: the four facts that come of it.
        script: what brings it about on the device.
        at_github: and at GitHub: `deleted`, or `taken` by another machine, which is offline.
        keeps_listener: whether what listens is to go on.
        remade: the name that it has at GitHub is another's.
    """

    name: str
    facts: tuple[str, str, str, str]
    script: str = ":"
    at_github: str = ""
    keeps_listener: bool = False

    def bring_about(self, pi: Pi) -> None:
        """Have it be so."""
        disturb(pi, self.script)
        if not self.at_github:
            return
        pi.github.remove_runner(pi.github.runner(PI).id)
        eventually("the listener ends", lambda: not pi.listener)
        if self.at_github == "taken":
            pi.github.add_runner(PI)

    def rows(self, table: Any) -> list[Any]:
        """Return the rows of a table that lead from there to the end."""
        facts, rows = FACTS(*self.facts), []
        while True:
            (row,) = (row for row in table if row.fits(facts))
            if row.action == "nothing":
                return rows or [row]
            rows.append(row)
            facts = ACTIONS[row.action][0](facts)

    def check(self, run: Run, table: Any) -> None:
        """See that a run has found these facts, and done what the table says."""
        assert run.actions == plan(FACTS(*self.facts), table)
        found = dict(item.split(": ", 1) for item in run.result["differed"] if ": " in item)
        facts = dict(
            zip(("registration", "configuration", "service", "unit"), self.facts, strict=True)
        )
        right = {"registration": "own", "configuration": "right", "service": "named"}
        right |= {"unit": "listening"} if table is PRESENT else {}
        told = right if table is PRESENT else dict.fromkeys(facts, "none")
        assert {name: found.get(name, told[name]) for name in facts} == facts


WELL = Case("it listens", ("own", "right", "named", "listening"), keeps_listener=True)
TO_BE_PRESENT = (
    Case(
        ".runner is lost, and it listens",
        ("other", "none", "named", "listening"),
        "rm .runner",
    ),
    Case(
        ".runner is broken, .service is lost, and it listens",
        ("other", "broken", "none", "down"),
        "echo '{' > .runner; rm .service",
    ),
    Case(
        "config.sh was cut off before svc.sh",
        ("other", "broken", "none", "none"),
        f"{UNINSTALL} rm svc.sh",
    ),
    Case(
        "config.sh was cut off before .runner, and nothing is at GitHub",
        ("none", "none", "none", "none"),
        f"{UNINSTALL} rm .runner .credentials svc.sh",
        "deleted",
    ),
    Case(
        ".runner names another work folder",
        ("own", "wrong", "named", "listening"),
        f"sed --in-place s,{WORK},/srv/elsewhere, .runner",
    ),
    Case("deleted at GitHub", ("none", "right", "named", "deaf"), at_github="deleted"),
    Case(
        "deleted at GitHub, and .service is lost",
        ("none", "right", "none", "down"),
        "rm .service",
        "deleted",
    ),
    Case("the name is another's, offline", ("other", "right", "named", "deaf"), at_github="taken"),
    Case(
        ".service names a unit that is not there",
        ("own", "right", "named", "none"),
        "echo actions.runner.octo-old.pi.service > .service",
    ),
    Case(".service is lost", ("own", "right", "none", "down"), "rm .service"),
    Case("it has no service", ("own", "right", "none", "none"), UNINSTALL),
    Case("it was stopped", ("own", "right", "named", "down"), 'systemctl stop "$unit"'),
    Case(
        "it does not start at boot",
        ("own", "right", "named", "down"),
        'systemctl disable --quiet "$unit"',
        keeps_listener=True,
    ),
    Case("it runs, and does not listen", ("own", "right", "named", "deaf"), DEAFEN),
    WELL,
)
GONE = Case("it is gone already", ("none", "none", "none", "none"))
TO_BE_ABSENT = (
    WELL,
    Case(
        ".runner is broken, and .service lost",
        ("other", "broken", "none", "down"),
        "echo '{' > .runner; rm .service",
    ),
    Case(
        "it is configured as something else",
        ("own", "wrong", "none", "none"),
        f"{UNINSTALL} sed --in-place s,{WORK},/srv/elsewhere, .runner",
    ),
    Case("deleted at GitHub", ("none", "right", "named", "deaf"), at_github="deleted"),
)


def test_each_row_of_the_tables_has_a_case() -> None:
    for table, cases in ((PRESENT, TO_BE_PRESENT), (ABSENT, (*TO_BE_ABSENT, GONE))):
        covered = [row for case in cases for row in case.rows(table)]
        assert [row.meaning for row in table if row not in covered] == []


@pytest.fixture(scope="module")
def crowd(the_pi: Pi) -> Iterator[list[str]]:
    """Yield the names of more runners than GitHub lists on a page by itself."""
    yield [f"neighbour-{number}" for number in range(45)]
    for item in the_pi.github.runners():
        if item.name.startswith("neighbour-"):
            the_pi.github.remove_runner(item.id)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in TO_BE_PRESENT])
def test_whatever_has_happened_it_listens_in_the_end(pi: Pi, crowd: list[str], case: Case) -> None:
    for name in crowd:
        pi.github.add_runner(name, status="online")
    number, listener = agent(pi), pi.listener
    case.bring_about(pi)
    mark = pi.github.mark()
    run = went(pi.apply())
    case.check(run, PRESENT)
    assert pi.is_listening
    assert pi.github.runner(PI).status == "online"
    assert agent(pi) == pi.github.runner(PI).id == run.result["runner"]["id"]
    assert len(pi.run("ls -d /etc/systemd/system/actions.runner.*.service").split()) == 1
    assert (pi.listener == listener) == case.keeps_listener
    if {"register", "replace", "reconfigure"} & set(run.actions):
        assert changes(pi, mark) == [f"POST {REPOSITORY}/actions/runners/registration-token"]
    else:
        assert changes(pi, mark) == []
        assert agent(pi) == number
    assert {item.name for item in pi.github.runners(REPOSITORY)} >= {PI, *crowd}
