"""What the role makes of a runner, whatever it finds, and that it leaves alone what is right."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import ROOT, eventually
from tests.github_runner.pi import FOLDER, HOME, NEWEST, OLD, PI, USER, WORK, Pi, Run
from tests.lab import device as lab
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
TAKE = "chown --recursive --no-dereference root: .; chmod 755 ."
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
        f"set +e; cd {FOLDER} 2> /dev/null && unit=$(cat .service 2> /dev/null) || exit 0\n"
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
    tidy(the_pi)
    went(the_pi.apply())
    return how_it_is(the_pi)


def tidy(pi: Pi) -> None:
    """Have GitHub be itself again, without runners that only a test was about."""
    pi.github.clear_faults()
    for item in pi.github.runners():
        if item.name == PI and item.scope == REPOSITORY:
            pi.github.force(item.id)
        elif item.name != OLD:
            pi.github.remove_runner(item.id)


@pytest.fixture
def pi(the_pi: Pi, sound: str) -> Iterator[Pi]:
    """Yield the Pi as a runner that listens as the scenario has it, whatever was before.

    The role is run only where it is not so already: most tests leave it so.
    """
    tidy(the_pi)
    if how_it_is(the_pi) != sound:
        went(the_pi.apply())
        assert how_it_is(the_pi) == sound
    yield the_pi
    tidy(the_pi)
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
        facts = FACTS(*self.facts)
        rows: list[Any] = []
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
        ("other", "broken", "none", "listening"),
        "echo '{' > .runner; rm .service",
    ),
    Case(
        "a power cut has left zeros in .credentials",
        ("other", "broken", "none", "none"),
        f"{UNINSTALL} head --bytes=300 /dev/zero > .credentials",
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
        "deleted at GitHub, and a job has put a closed folder in the place of .service",
        ("none", "right", "none", "deaf"),
        f"rm .service; install --directory --owner={USER} .service .service/a .service/a/b;"
        " chmod 0 .service/a",
        "deleted",
    ),
    Case("the name is another's, offline", ("other", "right", "named", "deaf"), at_github="taken"),
    Case(
        ".service names a unit that is not there",
        ("own", "right", "named", "none"),
        "echo actions.runner.octo-old.pi.service > .service",
    ),
    Case(
        ".service is lost, and all else is root's",
        ("own", "right", "none", "listening"),
        f"rm .service; {TAKE}",
    ),
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
        ("other", "broken", "none", "listening"),
        "echo '{' > .runner; rm .service",
    ),
    Case(
        "it is configured as something else",
        ("own", "wrong", "none", "none"),
        f"{UNINSTALL} sed --in-place s,{WORK},/srv/elsewhere, .runner; {TAKE}",
    ),
    Case("deleted at GitHub", ("none", "right", "named", "deaf"), at_github="deleted"),
)


def test_each_row_of_the_tables_has_a_case() -> None:
    for table, cases in ((PRESENT, TO_BE_PRESENT), (ABSENT, (*TO_BE_ABSENT, GONE))):
        covered = [row for case in cases for row in case.rows(table)]
        assert [row.meaning for row in table if row not in covered] == []


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in TO_BE_PRESENT])
def test_whatever_has_happened_it_listens_in_the_end(pi: Pi, case: Case) -> None:
    # More than GitHub lists on a page by itself.
    crowd = [f"neighbour-{number}" for number in range(45)]
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


# From nothing, and to nothing.


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        pytest.param(case, kind, id=f"{case.name}, then by {kind}")
        for case, kind in zip(TO_BE_ABSENT, ("token", "app", "registration", ""), strict=True)
    ],
)
def test_it_goes_and_comes_again(pi: Pi, case: Case, kind: str) -> None:
    case.bring_about(pi)
    run = went(pi.apply(state="absent"))
    case.check(run, ABSENT)
    assert pi.github.runners(REPOSITORY) == [
        item for item in pi.github.runners(REPOSITORY) if item.name == OLD
    ]
    left = (
        f"ls -d {FOLDER} {HOME} /etc/systemd/system/*runner* 2> /dev/null || getent passwd {USER}"
    )
    assert pi.run(f"{left} || :") == ""
    if kind == "":
        mark = pi.github.mark()
        run = went(pi.apply(state="absent"))
        GONE.check(run, ABSENT)
        assert run.play.changed == 0
        assert changes(pi, mark) == []
        return

    given = pi.credentials(kind)
    mark = pi.github.mark()
    if kind == "app":
        before = lab.snapshot(pi.group, pi.name)
        would = went(pi.apply("--check", "--diff", **given))
        assert would.actions == ["upgrade", "register", "install_service", "start"]
        assert would.play.changed > 0
        assert changes(pi, mark) == []
        assert lab.snapshot(pi.group, pi.name) == before

    run = went(pi.apply(**given))
    assert run.actions == ["upgrade", "register", "install_service", "start"]
    assert run.result["version"] == NEWEST
    assert pi.is_listening
    assert pi.github.wait_for_runner(PI).id == agent(pi)
    assert minted(pi, mark) == ([] if kind == "registration" else ["registration-token"])
    check_what_it_may(pi)

    listener, mark = pi.listener, pi.github.mark()
    again = went(pi.apply(**given))
    assert (again.play.changed, again.actions, again.result["differed"]) == (0, [], [])
    assert changes(pi, mark) == []
    assert len(sent(pi, mark)) == again.result["api_requests"]
    assert again.result["api_requests"] <= (0 if kind == "registration" else 3)
    assert pi.listener == listener


def minted(pi: Pi, since: int) -> list[str]:
    """Return the kinds of token that GitHub was asked for since a mark, an App's own left out."""
    return [item.rpartition("/")[2] for item in changes(pi, since)]


def check_what_it_may(pi: Pi) -> None:
    """See that the runner's secrets are its own, and that it is nobody on the device."""
    modes = pi.run(f"cd {FOLDER}; stat --format='%a %U %G' {' '.join(PRIVATE)}").splitlines()
    assert set(modes) == {f"600 {USER} {USER}"}
    assert pi.run(f"stat --format='%a %U' {FOLDER}").strip() == f"750 {USER}"
    assert pi.run(f"stat --format=%U {WORK}").strip() == USER
    assert pi.run(f"passwd --status {USER}").split()[1] == "L"
    assert pi.run(f"id --name --groups {USER}").strip() == USER
    may = "sudo --non-interactive true 2>&1 || :"
    assert pi.run(f"runuser -u {USER} -- sh -c '{may}'") != ""


# Names, labels and groups.


def test_a_name_that_is_another_s_is_taken_only_while_that_one_is_offline(pi: Pi) -> None:
    script = f"{UNINSTALL} {FORGET}"
    Case("", ("other", "none", "none", "none"), script, "deleted").bring_about(pi)
    other = pi.github.add_runner(PI, status="online")
    taken = pi.github.add_runner("taken", status="online")
    before, mark = lab.snapshot(pi.group, pi.name), pi.github.mark()
    refused(
        pi.apply(), f"github_runner_name is {PI}", "another machine is online by it", str(other.id)
    )
    assert lab.snapshot(pi.group, pi.name) == before
    assert changes(pi, mark) == []
    pi.github.force(other.id, status="offline")
    assert went(pi.apply()).actions == ["replace", "install_service", "start"]
    assert agent(pi) == other.id

    pi.github.force(other.id)
    listener, mark = pi.listener, pi.github.mark()
    refused(pi.apply(name="taken"), "github_runner_name is taken", "another machine", str(taken.id))
    assert pi.listener == listener
    assert changes(pi, mark) == []
    assert pi.github.wait_for_runner(PI).id == other.id


def test_labels_are_set_without_a_restart_whoever_has_changed_them(pi: Pi) -> None:
    number, listener, mark = agent(pi), pi.listener, pi.github.mark()
    pi.github.set_labels(number, ["day"])
    run = went(pi.apply(labels=["camera", "night"]))
    assert (run.actions, run.result["differed"]) == (
        ["set_labels"],
        ["labels: day; wanted are camera, night"],
    )
    assert sorted(pi.github.runner(PI).custom_labels) == ["camera", "night"]
    assert changes(pi, mark) == [f"PUT {REPOSITORY}/actions/runners/{number}/labels"]
    same = ["Night", "self-hosted", "CAMERA", "Linux", "ARM64", "X64"]
    run = went(pi.apply(labels=same))
    assert (run.actions, run.play.changed) == ([], 0)
    assert (pi.listener, agent(pi)) == (listener, number)


def test_it_moves_to_another_repository_and_to_an_organization(pi: Pi) -> None:
    github = pi.github
    garden, octo = github.url("octo/garden"), github.url("octo")
    github.set_repository("octo/garden")
    scopes = (REPOSITORY, "repos/octo/open", "repos/octo/garden", ORGANIZATION)
    github.permit(github.token, dict.fromkeys(scopes, "write"))
    cameras, attic = github.add_group("Cameras"), github.add_group("Attic")
    github.add_group("Anybody", public=True)

    run = went(pi.apply(url=garden))
    assert run.actions == ["reconfigure", "install_service", "start"]
    assert "warnings" not in run.result
    assert [item.scope for item in github.runners() if item.name == PI] == ["repos/octo/garden"]
    assert pi.service == f"actions.runner.octo-garden.{PI}.service"
    assert pi.is_listening

    run = went(pi.apply(url=octo, group="Cameras", labels=["camera"]))
    assert run.actions == ["reconfigure", "install_service", "start"]
    (found,) = [item for item in github.runners() if item.name == PI]
    assert (found.scope, found.group_id, found.status) == (ORGANIZATION, cameras, "online")
    assert found.custom_labels == ["camera"]

    listener, number, mark = pi.listener, agent(pi), github.mark()
    same = went(pi.apply(url=octo, group="Cameras", labels=["camera"]))
    assert same.play.changed == 0
    assert same.result["api_requests"] <= 3
    refused(
        pi.apply(url=octo, group="Cellar"),
        "github_runner_group is Cellar",
        "Default, Cameras, Attic",
    )
    refused(pi.apply(url=octo, group="Anybody"), "Anybody", "open to public repositories")
    refused(pi.apply(url=github.url("octo/open")), "octo/open is public")
    assert changes(pi, mark) == []
    run = went(pi.apply(url=octo, group="Attic", labels=["night"]))
    assert run.actions == ["set_labels", "move"]
    assert run.result["differed"] == [
        "labels: camera; wanted are night",
        "group: Cameras; wanted is Attic",
    ]
    assert github.runner(PI, ORGANIZATION).group_id == attic
    assert (pi.listener, agent(pi)) == (listener, number)


# What has drifted.


def test_a_service_that_is_another_runner_s_and_one_of_before(pi: Pi) -> None:
    old = "actions.runner.octo-old.pi.service"
    disturb(
        pi,
        f"""
        cd /etc/systemd/system
        sed 's,^WorkingDirectory=.*,WorkingDirectory=/opt/neighbour,; s,^User=.*,User=pi,' \
            "$unit" > {NEIGHBOUR}
        cp "$unit" {old}
        systemctl daemon-reload
        systemctl enable --quiet {old}
        echo {NEIGHBOUR} > {FOLDER}/.service
        """,
    )
    number = agent(pi)
    try:
        run = went(pi.apply())
        assert run.actions == ["uninstall_service", "install_service", "start"]
        units = pi.run("cd /etc/systemd/system; ls -d actions.runner.*.service").split()
        assert units == sorted([pi.service, NEIGHBOUR])
        assert pi.run(f"find /etc/systemd/system -name '{old}*'") == ""
        assert pi.read(f"/etc/systemd/system/{NEIGHBOUR}") != ""
        assert pi.is_listening
        assert agent(pi) == number
    finally:
        pi.run(f"rm --force /etc/systemd/system/{NEIGHBOUR}; systemctl daemon-reload")


def test_what_is_killed_listens_again(pi: Pi) -> None:
    number = agent(pi)
    pi.run(f"pkill --signal KILL --uid {USER} --full '[R]unner'")
    run = went(pi.apply())
    assert run.actions == ["restart"]
    assert pi.is_listening
    assert agent(pi) == number


def test_files_are_put_right_without_a_restart(pi: Pi) -> None:
    disturb(
        pi,
        f"""
        chmod 644 {" ".join(PRIVATE)}
        chown root:root .credentials
        : > runsvc.sh
        mkdir --parents {WORK}/_tool/deep
        touch {WORK}/_tool/deep/file
        chown --recursive root:root {WORK}/_tool
        """,
    )
    number, listener, mark = agent(pi), pi.listener, pi.github.mark()
    before = lab.snapshot(pi.group, pi.name)
    would = went(pi.apply("--check", "--diff"))
    assert (would.actions, would.play.changed) == (["settings"], 1)
    assert f"{FOLDER}/runsvc.sh" in would.output
    assert lab.snapshot(pi.group, pi.name) == before

    run = went(pi.apply())
    assert run.actions == ["settings"]
    told = " ".join(run.result["differed"])
    assert all(f"{FOLDER}/{name} (owner and mode)" in told for name in PRIVATE)
    check_what_it_may(pi)
    assert pi.run(f"find {WORK} ! -user {USER}") == ""
    assert (
        pi.run(f"cmp {FOLDER}/runsvc.sh {FOLDER}/bin/runsvc.sh; test -x {FOLDER}/runsvc.sh") == ""
    )
    assert (pi.listener, agent(pi)) == (listener, number)
    assert changes(pi, mark) == []


@pytest.mark.parametrize("name", [".env", "drop-in"])
def test_a_setting_that_was_edited_is_put_right_by_a_restart(pi: Pi, name: str) -> None:
    path = f"{FOLDER}/{name}"
    if name == "drop-in":
        path = f"/etc/systemd/system/{pi.service}.d/rpi_camera.conf"
    number, listener, before = agent(pi), pi.listener, pi.read(path)
    mark = pi.github.mark()
    pi.run('sed --in-place "s/^\\(LANG\\|Nice\\)=.*/\\1=6/; s,/sbin,/sbin:/somewhere," "$1"', path)
    assert pi.read(path) != before
    run = went(pi.apply())
    assert run.actions == ["settings", "restart"]
    assert f"file: {path}" in run.result["differed"]
    without_stamp = [line for line in pi.read(path).splitlines() if "_SETTINGS=" not in line]
    assert without_stamp == [line for line in before.splitlines() if "_SETTINGS=" not in line]
    assert pi.is_listening
    assert pi.listener != listener
    assert agent(pi) == number
    assert changes(pi, mark) == []


def test_settings_reach_the_jobs_and_the_unit(pi: Pi) -> None:
    hook = "/opt/hook.sh"
    pi.run(f"echo 'echo the hook has run > {WORK}/hooked' > {hook}")
    wanted: dict[str, Any] = {
        "environment": {"COLOUR": "green", "DEPTH": 3},
        "path": "/opt/tools:/usr/bin:/bin",
        "no_proxy": f"{pi.github.address},localhost",
        "proxy": "http://proxy.example:3128",
        "hook_started": hook,
        "cpu_quota": "150%",
    }
    number, listener = agent(pi), pi.listener
    before = lab.snapshot(pi.group, pi.name)
    would = went(pi.apply("--check", "--diff", **wanted))
    assert would.actions == ["settings", "restart"]
    assert f"{FOLDER}/.env" in would.output
    assert lab.snapshot(pi.group, pi.name) == before
    assert pi.listener == listener

    run = went(pi.apply(**wanted))
    assert run.actions == ["settings", "restart"]
    assert agent(pi) == number
    job = pi.github.wait_for_job(pi.queue("env; cat hooked"))
    assert job.conclusion == "success", job.log
    for line in (
        "COLOUR=green",
        "DEPTH=3",
        "PATH=/opt/tools:/usr/bin:/bin",
        "https_proxy=http://proxy.example:3128",
        f"no_proxy={pi.github.address},localhost",
        "the hook has run",
    ):
        assert line in job.log
    shown = pi.run('systemctl show --property=CPUQuotaPerSecUSec --value "$1"', pi.service)
    assert float(shown.strip().rstrip("s")) == 1.5
    assert went(pi.apply(**wanted)).play.changed == 0


def test_another_name_and_another_kind_are_registered_and_the_old_one_removed(pi: Pi) -> None:
    before, mark = lab.snapshot(pi.group, pi.name), pi.github.mark()
    would = went(pi.apply("--check", "--diff", name="attic"))
    assert would.actions == ["reconfigure", "install_service", "start"]
    assert f"configured: {PI} at" in would.output
    assert changes(pi, mark) == []
    assert lab.snapshot(pi.group, pi.name) == before

    old = agent(pi)
    run = went(pi.apply(name="attic"))
    assert run.actions == would.actions
    assert {item.name for item in pi.github.runners(REPOSITORY)} - {OLD} == {"attic"}
    assert changes(pi, mark) == [
        f"POST {REPOSITORY}/actions/runners/registration-token",
        f"DELETE {REPOSITORY}/actions/runners/{old}",
    ]
    assert pi.service == "actions.runner.octo-camera.attic.service"
    assert pi.run("find /etc/systemd/system -name 'actions.runner.*.pi.*'") == ""
    assert pi.is_listening

    number = agent(pi)
    wanted: dict[str, Any] = {"ephemeral": True, "version": NEWEST, "work_folder": "/srv/jobs/work"}
    run = went(pi.apply(name="attic", **wanted))
    assert run.actions == ["reconfigure", "install_service", "start"]
    found = pi.github.runner("attic")
    assert (found.id, found.ephemeral, found.disable_update) == (number, True, True)
    configuration = pi.configuration
    assert configuration is not None
    assert configuration["workFolder"] == "/srv/jobs/work"
    assert pi.run("stat --format=%U /srv/jobs/work").strip() == USER
    assert "Restart=no" in pi.run('systemctl cat "$1"', pi.service)
    assert went(pi.apply(name="attic", **wanted)).play.changed == 0


# What is no runner in the end, and who is not let in.


def test_one_that_never_listens_fails_in_the_journal_s_words(pi: Pi) -> None:
    disturb(
        pi,
        """
        systemctl stop "$unit"
        mv bin/Runner.Listener bin/kept
        printf '#!/bin/sh\\n[ "$1" != --version ] || exec cat bin/version\\n%s\\n' \
            'echo "libeye.so.7 is missing" >&2; exit 9' > bin/Runner.Listener
        chmod 755 bin/Runner.Listener
        """,
    )
    try:
        run = pi.apply(ready_seconds=10)
        refused(run, "does not listen for jobs after 10 s", "libeye.so.7 is missing")
    finally:
        disturb(pi, "mv bin/kept bin/Runner.Listener")


def test_one_that_github_does_not_see_fails(pi: Pi) -> None:
    disturb(pi, 'systemctl stop "$unit"')
    pi.github.force(agent(pi), status="offline")
    try:
        refused(pi.apply(ready_seconds=10), "the runner listens, and after 10 s", "offline")
        assert pi.is_listening
    finally:
        pi.github.force(agent(pi))


def test_who_is_not_let_in_is_told_why_and_nothing_is_changed(pi: Pi) -> None:
    github = pi.github
    expired = github.mint({REPOSITORY: "write"})
    github.expire(expired)
    # There is something to do, which needs more than to look.
    script = f"{UNINSTALL} {FORGET}"
    Case("", ("none", "none", "none", "none"), script, "deleted").bring_about(pi)
    app = github.app
    wrong_app = {"app_id": app.id, "app_installation": 1, "app_key": app.key}
    needs = 'needs the repository permission "Administration: write"'
    before, mark = lab.snapshot(pi.group, pi.name), github.mark()
    for given, words in (
        ({"token": expired}, "the token is not valid or has expired"),
        (
            {"token": github.mint({REPOSITORY: "none"})},
            f"403: Resource not accessible by personal access token): the token {needs}",
        ),
        (
            {"token": github.mint({})},
            f"404: Not Found): it does not exist, or the token cannot see it and {needs}",
        ),
        (
            {"token": github.mint({REPOSITORY: "read"})},
            f"403: Resource not accessible by personal access token): the token {needs}",
        ),
        ({"token": None, **wrong_app}, "the App has no installation of this number"),
    ):
        refused(pi.apply(**given), words)
    assert lab.snapshot(pi.group, pi.name) == before
    assert {request.status for request in sent(pi, mark) if request.method != "GET"} <= {403, 404}
