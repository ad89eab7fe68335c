"""A runner over time: jobs, versions, neighbours, what a power cut does to it, and its end."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import eventually
from tests.github_runner.pi import (
    ANCIENT,
    FOLDER,
    NEWEST,
    OLDER,
    PI,
    USER,
    WORK,
    Pi,
    long_job,
)
from tests.lab import device as lab
from tests.lab import runner
from tests.lab.github import REPOSITORY
from tests.play import inventory

STARTED, COMPLETED = "/usr/local/lib/lab-started.sh", "/usr/local/lib/lab-completed.sh"
HOOKS = f"""
echo 'echo "before, as $(id --user --name)"' > {STARTED}
echo 'echo after' > {COMPLETED}
"""
# What a job does, and what its log has of it.
STEPS = {
    "id --user --name": USER,
    "pwd": WORK,
    'echo "$PLACE, $COUNT"': "door, 3",
    'echo "$PATH"': "/opt/tools:/usr/bin:/bin",
    "echo mine > result && cat result": "mine",
    "touch /etc/mine 2> /dev/null || echo not in /etc": "not in /etc",
    "sudo --non-interactive true 2> /dev/null || echo no sudo": "no sudo",
    "ls /home/pi 2> /dev/null || echo nobody lives here": "nobody lives here",
    "touch /tmp/mine && ls /tmp": "mine",
    "grep NoNewPrivs /proc/self/status": "NoNewPrivs:\t1",
    "grep CapBnd /proc/self/status": "CapBnd:\t0000000000000000",
}
ASK = 'systemctl show --property=NRestarts --property=ActiveState "$1"'
# Half of a swap of versions.
HALF = f"""
cd {FOLDER}
install --directory --owner={USER} .next
mv bin config.sh .next
rm --recursive externals
"""
# So many files take their time to be removed. A job with containers leaves some that are root's.
CROWD = f"""
mkdir -p {FOLDER}/externals/crowd
cd {FOLDER}/externals/crowd
seq 30000 | xargs touch
"""
# Stop whatever swaps the versions once it has begun.
FREEZE = f"until [ -e {FOLDER}/.next ]; do :; done; pkill --signal STOP --exact python3"
# Has the runner of a unit and a folder be as people have it who have installed it for themselves,
# once it has updated itself.
BY_HAND = """
systemctl stop "$1"
cd "$2"
mv bin bin.2.336.0
ln --symbolic bin.2.336.0 bin
rm .version
sed --in-place s,/var/lib/attic/work,_work, .runner
chown --recursive --no-dereference pi: .
chmod 755 .
rm --recursive "/etc/systemd/system/$1.d"
sed --in-place s/^User=.*/User=pi/ "/etc/systemd/system/$1"
systemctl daemon-reload
systemctl start "$1"
"""
# What there is of users' runners by their names: files, whoever there is, and units.
REMAINS = """
find /etc /opt /run /var/lib -xdev -name "*$1*"
getent passwd | grep -- "$1" || :
grep -- "$1" /etc/group /etc/subuid /etc/subgid || :
systemctl list-units --all --plain --no-legend "*$1*"
"""
# All of it goes.
TAKE_AWAY = """
systemctl stop "*$1*"
find /etc /opt /var/lib -xdev -name "*$1*" -prune -exec rm --recursive {} +
userdel "$1"
systemctl daemon-reload
systemctl reset-failed
"""
FLEET = 10


def journal(pi: Pi) -> str:
    """Return what the runner that runs now has said."""
    return pi.run(
        "journalctl --sync; journalctl --output=cat --no-pager"
        ' _SYSTEMD_INVOCATION_ID="$(systemctl show --value --property=InvocationID "$1")"',
        pi.service,
    )


def is_inactive(pi: Pi, service: str) -> bool:
    """Return whether a unit has ended, and is not to begin again."""
    return "ActiveState=inactive" in pi.run(ASK, service)


def another(pi: Pi) -> str:
    """Return a version that is not installed."""
    return NEWEST if pi.read(f"{FOLDER}/.version").strip() == OLDER else OLDER


def remains(pi: Pi, *words: str) -> list[str]:
    """Return what there is on the device with these words in its name."""
    return [line for word in words for line in pi.run(REMAINS, word).splitlines()]


# Jobs.


def test_a_job_is_the_user_s_in_a_sandbox_and_between_its_hooks(pi: Pi) -> None:
    pi.run(HOOKS)
    run = pi.apply(
        hook_started=STARTED,
        hook_completed=COMPLETED,
        environment={"PLACE": "door", "COUNT": 3},
        path="/opt/tools:/usr/bin:/bin",
    )
    assert run.went_well, run.output
    job = pi.github.wait_for_job(pi.queue(*STEPS))
    lines = [line for line in job.log.splitlines() if "has been configured by" not in line]
    assert lines == [f"before, as {USER}", *STEPS.values(), "after"]
    assert job.conclusion == "success"
    assert pi.read(f"{WORK}/result") == "mine\n"
    assert "mine" not in pi.run("ls /tmp")


def test_a_job_may_use_cameras_if_that_is_said_and_one_is_there(pi: Pi) -> None:
    camera = "/usr/share/libcamera/pipeline/virtual/virtual.yaml"
    run = pi.apply(camera=True, labels=["bench"])
    assert run.went_well, run.output
    labels = pi.github.runner(PI).custom_labels
    assert set(labels) == {"bench", "camera"}
    groups = pi.github.wait_for_job(pi.github.queue_job("id --groups --name", labels=["camera"]))
    assert "video" in groups.log.split()
    pi.run('mv "$1" "$1.away"', camera)
    try:
        assert pi.apply(camera=True, labels=["bench"]).actions == ["set_labels"]
    finally:
        pi.run('mv "$1.away" "$1"', camera)
    assert pi.github.runner(PI).custom_labels == ["bench"]


# Versions.


def test_another_version_takes_the_place_of_one_and_all_else_is_kept(pi: Pi) -> None:
    run = pi.apply(version=OLDER)
    assert run.went_well, run.output
    assert f"Current runner version: '{OLDER}'" in journal(pi)
    kept = f"cd {FOLDER}; cat .runner .credentials .env .path .service; cat {WORK}/kept"
    pi.run(f"install --owner={USER} /dev/stdin {WORK}/kept", stdin="of a job")
    before, listener = pi.run(kept), pi.listener

    run = pi.apply(version=NEWEST)
    assert run.actions == ["upgrade"], run.output
    assert run.result["version"] == NEWEST
    assert f"Current runner version: '{NEWEST}'" in journal(pi)
    assert pi.is_listening
    assert pi.listener != listener
    assert pi.run(kept) == before
    assert pi.apply(version=NEWEST).play.changed == 0


def test_one_that_is_too_old_is_refused_and_replaced(pi: Pi) -> None:
    listener = pi.listener
    run = pi.apply(version=ANCIENT)
    assert not run.went_well
    assert f"github_runner_version is {ANCIENT}" in run.output
    assert "allowed is that or a newer one" in run.output
    assert pi.listener == listener

    # As one that could not update itself for long.
    pi.run(f"echo {ANCIENT} > {FOLDER}/.version")
    run = pi.apply()
    assert run.actions == ["upgrade"], run.output
    assert run.result["version"] == NEWEST
    assert pi.is_listening


def test_one_that_github_will_soon_give_no_jobs_is_warned_of(pi: Pi) -> None:
    stale = "2.333.0"
    built = datetime.now(UTC) - timedelta(days=40)
    pi.github.put_release(stale, "x64", runner.build(stale, built=built))
    for changes in (True, False):
        run = pi.apply(version=stale)
        assert run.went_well, run.output
        assert run.result["changed"] is changes
        words = f"The runner {stale} on {PI} was built 40 days ago"
        assert words in run.output


def test_an_upgrade_waits_for_the_end_of_a_job(pi: Pi) -> None:
    listener, mark, version = pi.listener, pi.github.mark(), another(pi)

    def asked() -> int:
        path = "/actions/runners?name="
        return sum(path in request.path for request in pi.github.requests(mark))

    with ThreadPoolExecutor() as pool:
        with long_job(pi):
            upgrade = pool.submit(pi.apply, version=version)
            eventually("it asks whether the job has ended", lambda: asked() > 3 or upgrade.done())
            assert not upgrade.done()
            assert pi.listener == listener
        run = upgrade.result()
    assert run.went_well, run.output
    assert f"{PI} is busy with a job; waiting for its end" in run.output
    assert run.result["version"] == version
    assert pi.listener != listener


def test_nothing_that_ends_the_listener_is_done_while_a_job_runs(pi: Pi) -> None:
    other: dict[str, Any] = {"environment": {"PLACE": "door"}}
    listener = pi.listener
    files = f"cd {FOLDER}; cat .runner .service .version; cat /etc/systemd/system/actions.*.service"
    before = pi.run(files)

    def is_refused(**variables: Any) -> None:
        run = pi.apply(tasks="runner", drain_seconds=0, **variables)
        assert not run.went_well
        assert f"{PI} is busy with a job, and has been for 0 s" in run.output
        assert "drain_seconds" in run.output
        assert pi.listener == listener
        assert pi.run(files) == before

    with long_job(pi):
        # Labels are GitHub's alone.
        assert pi.apply(labels=["busy"]).actions == ["set_labels"]
        assert pi.listener == listener
        is_refused(version=another(pi))
        is_refused(state="absent")
        is_refused(**other)
        # It has begun since GitHub was asked.
        number = pi.github.runner(PI).id
        pi.github.force(number, busy=False)
        is_refused(**other)
        pi.github.force(number)
    assert pi.apply(**other).went_well
    assert pi.listener != listener


def test_a_job_is_not_ended_whose_runner_has_lost_its_files(pi: Pi) -> None:
    listener = pi.listener
    with long_job(pi):
        pi.run(f"cd {FOLDER}; rm .runner .credentials")
        for state in ("present", "absent"):
            run = pi.apply(tasks="runner", drain_seconds=0, state=state)
            assert not run.went_well
            assert f"{PI} is busy with a job, and has been for 0 s" in run.output
            assert pi.listener == listener
    run = pi.apply()
    assert run.went_well, run.output
    assert pi.is_listening


# What is cut off.


def test_a_swap_of_versions_that_was_cut_off_is_done_again(pi: Pi) -> None:
    pi.run(HALF)
    run = pi.apply()
    assert run.actions == ["upgrade"], run.output
    assert pi.is_listening
    assert pi.run(f"ls --almost-all {FOLDER} | grep -e next -e staged || :") == ""


def test_a_power_cut_in_an_upgrade_is_mended(pi: Pi) -> None:
    pi.run(CROWD)
    agent, version = pi.configuration, another(pi)
    with ThreadPoolExecutor() as pool:
        upgrade = pool.submit(pi.apply, version=version)
        pi.run(FREEZE)
        lab.kill(pi.group, pi.name)
        assert not upgrade.result().went_well
    lab.boot(pi.group, pi.name)
    assert pi.run(f"ls {FOLDER}/.next"), "it was not in the middle of it"
    run = pi.apply(version=version)
    assert run.went_well, run.output
    assert run.result["version"] == version
    assert pi.is_listening
    assert agent
    assert (pi.configuration or {})["agentId"] == agent["agentId"]
    assert pi.run(f"ls --almost-all {FOLDER} | grep -e next -e staged || :") == ""


def test_after_a_power_cut_it_listens_by_itself(pi: Pi) -> None:
    listener = pi.listener
    lab.kill(pi.group, pi.name)
    pi.github.wait_for_runner(PI, "offline")
    lab.boot(pi.group, pi.name)
    pi.github.wait_for_runner(PI)
    assert pi.is_listening
    assert pi.listener != listener
    assert pi.github.wait_for_job(pi.queue("true")).conclusion == "success"
    assert pi.apply().play.changed == 0


# One job each.


def test_an_ephemeral_one_has_one_job_and_the_next_run_makes_the_next(pi: Pi) -> None:
    numbers = set()
    for turn in range(3):
        run = pi.apply(ephemeral=True)
        assert run.went_well, run.output
        registered = pi.github.runner(PI)
        assert registered.ephemeral
        numbers.add(registered.id)
        service = pi.service
        if turn == 0:
            assert pi.apply(ephemeral=True).play.changed == 0
        job = pi.github.wait_for_job(pi.queue("echo $RUNNER_NAME"))
        assert (job.conclusion, job.log) == ("success", f"{PI}\n")
        eventually("it ends", partial(is_inactive, pi, service))
        assert pi.run(ASK, service).splitlines() == ["NRestarts=0", "ActiveState=inactive"]
        assert pi.runners() == []
        assert pi.configuration is None
    assert len(numbers) == 3


# Several on one device.


def test_two_runners_on_one_device_know_nothing_of_each_other(pi: Pi) -> None:
    second = replace(pi, user="attic")
    both: dict[str, Any] = {"name": "pi-attic", "user": second.user}
    first, listener = pi.github.runner(PI), pi.listener
    try:
        run = pi.apply(**both)
        assert run.went_well, run.output
        assert second.is_listening
        assert pi.listener == listener
        # Each has jobs of its own.
        for number, user in ((first.id, USER), (run.result["runner"]["id"], second.user)):
            job = pi.github.queue_job("id --user --name; ls --directory $PWD", runner=number)
            assert pi.github.wait_for_job(job).log.split() == [user, f"/var/lib/{user}/work"]
        assert pi.apply(**both).play.changed == 0

        run = pi.apply(name="pi-third", folder="/opt/third")
        assert not run.went_well
        assert f"github_runner_user is {USER}, as whom {pi.service} runs" in run.output
        assert "allowed is a user for each" in run.output
    finally:
        run = pi.apply(**both, state="absent")
    assert run.went_well, run.output
    assert remains(pi, second.user) == []
    assert pi.listener == listener
    assert [found.name for found in pi.runners()] == [PI]


@pytest.mark.parametrize("state", ["present", "absent"])
def test_one_that_was_installed_by_hand_and_has_updated_itself_is_taken_over(
    pi: Pi, state: str
) -> None:
    attic = replace(pi, user="attic")
    chosen: dict[str, Any] = {"name": "pi-attic", "user": attic.user}
    try:
        run = pi.apply(**chosen)
        assert run.went_well, run.output
        pi.run(BY_HAND, attic.service, attic.folder)
        pi.github.wait_for_runner("pi-attic")
        run = pi.apply(**chosen, state=state)
        assert run.went_well, run.output
        if state == "present":
            assert run.actions == ["reconfigure", "install_service", "start"]
            assert attic.is_listening
            assert pi.run(f"pgrep --full --uid {attic.user} Runner[.]Listener")
            assert pi.apply(**chosen).play.changed == 0
    finally:
        run = pi.apply(**chosen, state="absent")
    assert run.went_well, run.output
    assert remains(pi, attic.user) == []
    assert [found.name for found in pi.runners()] == [PI]


def test_a_fleet_downloads_an_archive_once(pi: Pi, tmp_path: Path) -> None:
    # All of them are this device, each a user of it.
    host = yaml.safe_load(inventory(pi.group).read_text())["devices"]["hosts"][PI]
    names = [f"{USER}-{number}" for number in range(FLEET)]
    hosts = tmp_path / "fleet.yml"
    hosts.write_text(yaml.safe_dump({"all": {"hosts": dict.fromkeys(names, host)}}))
    shutil.rmtree(pi.cache)
    mark = pi.github.mark()
    each: dict[str, Any] = {"user": "{{ inventory_hostname }}", "docker": "none"}
    try:
        run = pi.apply(f"--forks={FLEET}", hosts=hosts, **each)
        assert run.went_well, run.output
        asked = [request.path for request in pi.github.requests(mark)]
        assert len([path for path in asked if "/releases/download/" in path]) == 1
        online = {found.name for found in pi.runners() if found.status == "online"}
        assert online == {PI, *names}
    finally:
        # By hand: with the role, which other tests see to, it takes as long as all of the above.
        for name in names:
            pi.run(TAKE_AWAY, name)
        for found in pi.runners():
            if found.name in names:
                pi.github.remove_runner(found.id)
    assert remains(pi, *names) == []


# The end.


@pytest.mark.parametrize("state", ["stopped", "unknown to GitHub", "without .runner"])
def test_it_can_be_removed_whatever_is_left_of_it(pi: Pi, state: str) -> None:
    if state == "stopped":
        pi.run('systemctl stop "$1"', pi.service)
    elif state == "unknown to GitHub":
        pi.github.remove_runner(pi.github.runner(PI).id)
    else:
        pi.run(f"rm {FOLDER}/.runner")
    run = pi.apply(state="absent")
    assert run.went_well, run.output
    assert remains(pi, USER, "actions.runner") == []
    assert pi.runners() == []


def test_it_can_be_removed_while_it_runs_and_again(pi: Pi) -> None:
    listener = pi.listener
    expired = pi.github.mint({REPOSITORY: "write"}, seconds=0)
    run = pi.apply(state="absent", token=expired)
    assert not run.went_well
    assert "the token is not valid or has expired" in run.output
    assert pi.is_listening
    assert pi.listener == listener

    run = pi.apply(state="absent")
    assert run.actions == ["uninstall_service", "unregister"], run.output
    assert remains(pi, USER, "actions.runner") == []
    assert pi.runners() == []
    run = pi.apply(state="absent")
    assert run.went_well, run.output
    assert run.play.changed == 0


def test_one_whose_device_is_gone_is_forgotten_from_here(the_pi: Pi, tmp_path: Path) -> None:
    # Of the addresses that nobody has (RFC 5737).
    hosts = tmp_path / "gone.yml"
    hosts.write_text(yaml.safe_dump({"all": {"hosts": {"gone": {"ansible_host": "192.0.2.1"}}}}))
    number = the_pi.github.add_runner("gone", status="online").id
    run = the_pi.apply(hosts=hosts, state="forgotten")
    assert not run.went_well
    assert "gone is online" in run.output
    assert "so it is not gone" in run.output
    the_pi.github.runner("gone")

    the_pi.github.force(number, status="offline")
    run = the_pi.apply(hosts=hosts, state="forgotten")
    assert run.actions == ["delete"], run.output
    assert "gone" not in [found.name for found in the_pi.runners()]
    run = the_pi.apply(hosts=hosts, state="forgotten")
    assert run.went_well, run.output
    assert run.play.changed == 0
