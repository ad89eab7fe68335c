"""What the role says and leaves when GitHub, a download or the device is not as it should be."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.github_runner.pi import ANCIENT, FOLDER, HOME, NEWEST, PI, USER, Pi
from tests.lab import runner

# Requests, as the double's faults take them. The first ones are the controller's.
RUNNERS = r"^GET /api/v3/repos/octo/camera/actions/runners\?"
PAGE = "^GET /api/v3/repos/octo/camera$"
REGISTRATION = "^POST .*/registration-token$"
REMOVAL = "^POST .*/remove-token$"
LABELS = "^PUT .*/labels$"
NEWEST_RELEASE = "^GET .*/actions/runners/downloads$"
ARCHIVE = "^GET /actions/runner/releases/download/"
# These are those of config.sh.
LET_IN = "^POST /api/v3/actions/runner-registration$"
ENROLL = "^(POST|PUT) /_services/repos/octo/camera/agents(/[0-9]+)?$"

OTHER = f"{HOME}/other"
WRONG = "0" * 64
# A version that no other test installs.
FRESH = "2.335.0"
NAME = runner.archive_name(FRESH)


def refused(pi: Pi, *options: str, tasks: str = "", **variables: Any) -> str:
    """Apply the role, which has to fail; return what it says."""
    run = pi.apply(*options, tasks=tasks, **variables)
    assert not run.went_well, run.output
    return run.output


def without(pi: Pi, request: str, after: int = 0, **variables: Any) -> str:
    """Have the role fail since GitHub answers no such request any more; return what it says.

    Args:
        pi: where.
        request: which one.
        after: how many of them are answered before.
        variables: as for `apply`. What comes before the module is left out, which takes its time:
            it asks GitHub the same.
    """
    # It asks for no pause between its tries.
    pi.github.fault(request, after=after, status=503, retry_after=0)
    try:
        output = refused(pi, tasks="runner", **variables)
    finally:
        pi.github.clear_faults()
    assert "503" in output or "ServiceUnavailable" in output
    return output


def cut(pi: Pi, request: str, **variables: Any) -> str:
    """Have the role fail since GitHub does what is asked, and the answer is lost."""
    pi.github.fault(request, cut=0)
    try:
        return refused(pi, tasks="runner", **variables)
    finally:
        pi.github.clear_faults()


def state(pi: Pi) -> list[str]:
    """Return what a refusal leaves alone: the process that listens, files, and what GitHub has."""
    files = f"cd {FOLDER}; sha256sum .runner .credentials .env .service .version *.sh"
    return [pi.listener, pi.run(files), *map(str, pi.runners())]


# The download.


@contextmanager
def mirror(folder: Path) -> Iterator[str]:
    """Yield the address of a server of this machine that has the files of a folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def kept(pi: Pi) -> list[str]:
    """Return which archives, whole or not, the controller keeps."""
    found = [path.name for path in pi.cache.iterdir()] if pi.cache.exists() else []
    return [name for name in found if not name.endswith(".lock")]


def test_an_archive_with_another_checksum_is_refused(pi: Pi) -> None:
    version = "2.335.9"
    found = pi.github.put_release(version, "x64", runner.build(version), checksum=WRONG)
    shutil.rmtree(pi.cache, ignore_errors=True)
    before = state(pi)
    output = refused(pi, version=version)
    assert f"has the SHA-256 {found}, not {WRONG}: it is damaged, or another file" in output
    assert state(pi) == before
    assert kept(pi) == []


def test_a_download_that_breaks_off_is_tried_again_and_given_up(pi: Pi) -> None:
    shutil.rmtree(pi.cache, ignore_errors=True)
    pi.github.put_release(FRESH, "x64", runner.build(FRESH))
    before, mark = state(pi), pi.github.mark()
    pi.github.fault(ARCHIVE, cut=1000)
    output = refused(pi, tasks="runner", version=FRESH)
    assert "could not be downloaded in 3 tries: the connection ends after 1000 of" in output
    assert sum("/download/" in request.path for request in pi.github.requests(mark)) == 3
    assert state(pi) == before
    assert kept(pi) == []

    pi.github.clear_faults()
    pi.github.fault(ARCHIVE, cut=1000, times=1)
    run = pi.apply(version=FRESH)
    assert run.went_well, run.output
    assert run.result["version"] == FRESH
    assert len(kept(pi)) == 1


def test_an_archive_comes_from_a_mirror_or_by_hand(pi: Pi, tmp_path: Path) -> None:
    pi.run(f"echo {ANCIENT} > {FOLDER}/.version")
    content = runner.build(FRESH)
    sha256 = pi.github.put_release(FRESH, "x64", content)
    shutil.rmtree(pi.cache, ignore_errors=True)
    path = tmp_path / f"v{FRESH}" / NAME
    path.parent.mkdir()
    path.write_bytes(b"something else")
    other = hashlib.sha256(b"something else").hexdigest()
    before, mark = state(pi), pi.github.mark()

    with mirror(tmp_path) as address:
        output = refused(pi, tasks="runner", version=FRESH, mirror=address)
        assert f"{address}/v{FRESH}/{NAME} has the SHA-256 {other}, not {sha256}" in output
        output = refused(pi, tasks="runner", archive=str(path), sha256=sha256)
        assert f"{path} has the SHA-256 {other}, not {sha256}" in output
        assert state(pi) == before
        assert kept(pi) == []

        path.write_bytes(content)
        run = pi.apply(version=FRESH, mirror=address)
    assert run.went_well, run.output
    assert run.result["version"] == FRESH
    newest = tmp_path / runner.archive_name(NEWEST)
    newest.write_bytes(runner.build(NEWEST))
    digest = hashlib.sha256(newest.read_bytes()).hexdigest()
    run = pi.apply(archive=str(newest), sha256=digest)
    assert run.went_well, run.output
    assert run.result["version"] == NEWEST
    asked = [request.path for request in pi.github.requests(mark)]
    assert [path for path in asked if "/download" in path] == []


def test_a_given_checksum_that_is_not_github_s_is_refused(pi: Pi) -> None:
    pi.run(f"echo {ANCIENT} > {FOLDER}/.version")
    before = state(pi)
    output = refused(pi, tasks="runner", sha256=WRONG)
    assert f"github_runner_sha256 is {WRONG}, and GitHub says " in output
    assert runner.archive_name(NEWEST) in output
    assert state(pi) == before


# GitHub is away in the middle. What failed is mended by the next run.


def test_without_github_labels_stay_or_are_right(pi: Pi) -> None:
    before = state(pi)
    for request in (RUNNERS, PAGE, LABELS):
        output = without(pi, request, labels=["lab"])
        assert "GitHub does not answer" in output
        assert "try again" in output
        assert state(pi) == before
    # What is looked at after it was done.
    without(pi, RUNNERS, 1, labels=["lab"])
    assert pi.github.runner(PI).custom_labels == ["lab"]
    assert pi.listener == before[0]
    assert pi.apply(labels=["lab"]).play.changed == 0


def test_without_github_a_runner_stays_what_it_was(pi: Pi) -> None:
    before, listener = state(pi), pi.listener
    wanted: dict[str, Any] = {"work_folder": OTHER}
    for request, after in ((REGISTRATION, 0), (RUNNERS, 1), (RUNNERS, 2)):
        without(pi, request, after, **wanted)
        assert state(pi) == before
        # It does not stand still either.
        assert not pi.run('ps --format=stat= --pid "$1"', listener).startswith("T")

    def is_as_before() -> None:
        # Another process, since the old one was stopped.
        pi.github.wait_for_runner(PI)
        assert pi.is_listening
        assert state(pi)[1:] == before[1:]

    output = without(pi, LET_IN, **wanted)
    assert "config.sh has ended with status 1" in output
    is_as_before()
    assert pi.listener != listener
    pi.github.validity(0)
    try:
        output = refused(pi, **wanted)
    finally:
        pi.github.validity(3600)
    assert "NotFound from 'POST" in output
    is_as_before()

    # It is done, and only not seen.
    without(pi, RUNNERS, 3, **wanted)
    run = pi.apply(**wanted)
    assert run.went_well, run.output
    assert run.play.changed == 0
    assert (pi.configuration or {})["workFolder"] == OTHER
    assert pi.is_listening


def test_a_registration_whose_answer_is_lost_is_made_anew(pi: Pi) -> None:
    # GitHub has forgotten what was before, and the device has not heard of what is now.
    cut(pi, ENROLL, work_folder=OTHER, ready_seconds=10)
    run = pi.apply(work_folder=OTHER)
    assert run.went_well, run.output
    cut(pi, ENROLL, ready_seconds=10)
    run = pi.apply(work_folder=OTHER)
    assert run.went_well, run.output
    assert pi.is_listening
    assert len(pi.runners()) == 1


def test_without_github_a_version_stays_or_is_right(pi: Pi) -> None:
    pi.run(f"echo {ANCIENT} > {FOLDER}/.version")
    shutil.rmtree(pi.cache, ignore_errors=True)
    before = state(pi)
    for request, after in ((NEWEST_RELEASE, 0), (ARCHIVE, 0)):
        without(pi, request, after)
        assert state(pi) == before
    for after in (1, 2):
        without(pi, RUNNERS, after)
        assert pi.listener == before[0]
    assert pi.read(f"{FOLDER}/.version").strip() == ANCIENT
    without(pi, RUNNERS, 3)
    run = pi.apply()
    assert run.went_well, run.output
    assert run.play.changed == 0
    assert run.result["version"] == NEWEST


def test_without_github_a_configuration_that_was_lost_is_made_later(pi: Pi) -> None:
    pi.run(f"cd {FOLDER}; rm .runner .credentials")
    listener = pi.listener
    for request, after in ((REGISTRATION, 0), (RUNNERS, 1), (RUNNERS, 2)):
        without(pi, request, after)
        assert pi.listener == listener
    without(pi, RUNNERS, 3)
    without(pi, LET_IN)
    cut(pi, ENROLL)
    run = pi.apply()
    assert run.went_well, run.output
    assert pi.is_listening
    assert [found.name for found in pi.runners()] == [PI]


def test_without_github_a_removal_is_finished_later_and_so_is_a_registration(pi: Pi) -> None:
    listener = pi.listener
    gone: dict[str, Any] = {"state": "absent"}
    for request, after in ((RUNNERS, 0), (REMOVAL, 0), (RUNNERS, 1), (RUNNERS, 2)):
        without(pi, request, after, **gone)
        assert pi.listener == listener
    without(pi, RUNNERS, 3, **gone)
    assert pi.listener == ""
    output = without(pi, LET_IN, **gone)
    assert "config.sh has ended with status 1" in output
    assert pi.github.runner(PI)
    # What is looked at after it is gone.
    without(pi, RUNNERS, 2, **gone)
    assert pi.runners() == []
    run = pi.apply(**gone)
    assert run.went_well, run.output
    there = f"ls --directory /opt/{USER}* /var/lib/{USER}* /etc/systemd/system/*runner* || :"
    assert pi.run(there) == ""

    # Of a device that has nothing yet.
    shutil.rmtree(pi.cache, ignore_errors=True)
    pi.github.fault(RUNNERS, status=503, retry_after=0)
    assert "GitHub does not answer GET" in refused(pi)
    pi.github.clear_faults()
    assert pi.run(there) == "", "nothing is installed before GitHub is asked"
    pi.github.fault(REGISTRATION, close=True)
    output = refused(pi)
    assert "GitHub does not answer POST /repos/octo/camera/actions/runners/registration" in output
    pi.github.clear_faults()
    for request, after in ((NEWEST_RELEASE, 0), (ARCHIVE, 0), (LET_IN, 0)):
        without(pi, request, after)
        assert pi.runners() == []
    cut(pi, ENROLL)
    run = pi.apply()
    assert run.went_well, run.output
    assert pi.is_listening
    assert [found.name for found in pi.runners()] == [PI]


# GitHub is slow, limits, or hides something.


def test_what_github_asks_to_wait_for_is_waited_for(pi: Pi) -> None:
    listener = pi.listener
    pi.github.fault(RUNNERS, status=429, retry_after=1, times=1)
    pi.github.fault(PAGE, delay=3, times=1)
    pi.github.fault(LABELS, status=502, times=1)
    run = pi.apply(labels=["slow"])
    assert run.went_well, run.output
    assert pi.github.runner(PI).custom_labels == ["slow"]
    assert pi.listener == listener

    pi.github.fault(
        RUNNERS, status=403, message="You have exceeded a secondary rate limit.", retry_after=3600
    )
    output = refused(pi, tasks="runner", labels=["slow"])
    assert "GitHub limits how much is asked" in output
    assert "try again in 3600 s" in output
    pi.github.clear_faults()
    pi.github.fault(RUNNERS, status=404)
    output = refused(pi, tasks="runner", labels=["slow"])
    assert 'the token cannot see it and needs the repository permission "Administration' in output
    assert pi.listener == listener


def test_a_public_repository_is_refused_unless_that_is_permitted(pi: Pi) -> None:
    before = state(pi)
    public: dict[str, Any] = {"url": pi.github.url("octo/open")}
    output = refused(pi, **public)
    assert "octo/open is public: whoever opens a pull request there" in output
    assert "allow_public is what permits it" in output
    assert state(pi) == before
    run = pi.apply(**public, allow_public=True)
    assert run.went_well, run.output
    assert [found.scope for found in pi.runners()] == ["repos/octo/open"]
    assert pi.is_listening


# The device.

# Run the interpreter that the modules get with a clock that is an hour late.
LATE = """
mkdir -p /opt/late
printf 'import time\\n_now = time.time\\ntime.time = lambda: _now() - 3600\\n' \\
    > /opt/late/sitecustomize.py
printf '#!/bin/sh\\nPYTHONPATH=/opt/late exec /usr/bin/python3 "$@"\\n' > /opt/late/python3
chmod 755 /opt/late/python3
"""


def test_a_device_whose_clock_is_wrong_is_refused(pi: Pi) -> None:
    before = state(pi)
    pi.run(LATE)
    output = refused(
        pi, "--extra-vars=ansible_python_interpreter=/opt/late/python3", labels=["late"]
    )
    # Less by what it took to ask.
    assert re.search(r"the device's clock is 3[56][0-9]{2} s off", output)
    assert "timedatectl timesync-status" in output
    assert state(pi) == before


@contextmanager
def another(pi: Pi, path: str, edit: str) -> Iterator[None]:
    """Have a file of the kernel's say something else; `edit` is an expression of sed."""
    pi.run('sed "$2" "$1" > /run/another && mount --bind /run/another "$1"', path, edit)
    try:
        yield
    finally:
        pi.run('umount "$1"', path)


def test_what_the_device_cannot_do_is_refused(pi: Pi) -> None:
    before = state(pi)
    assert pi.run("[ -e /sys/fs/cgroup/cgroup.controllers ] || echo v1"), "another file is asked"
    with another(pi, "/proc/cgroups", "/^memory/s/1$/0/"):
        output = refused(pi, memory_max="256M")
    assert "github_runner_memory_max is 256M, and the kernel of pi does not count memory" in output
    assert "cgroup_enable=memory" in output
    with another(pi, "/proc/meminfo", "/^MemTotal/s/[0-9]\\+/480000/"):
        output = refused(pi)
    assert "pi has 468 MB of memory; allowed is 1 GB or more" in output
    assert "github_runner_allow_small is what permits it" in output
    output = refused(pi, hook_started="/usr/local/lib/nowhere.sh")
    assert "pi has no file /usr/local/lib/nowhere.sh" in output
    output = refused(pi, user="pi", folder="/opt/pi", work_folder="/srv/pi/work")
    assert "github_runner_user is pi, an account that pi has for something else" in output
    pi.run(f"gpasswd --add {USER} sudo")
    try:
        output = refused(pi)
    finally:
        pi.run(f"gpasswd --delete {USER} sudo")
    assert f"github_runner_user is {USER}, who is in the group sudo" in output
    assert state(pi) == before
