"""Which engine the lab takes and which it refuses, and whom it believes what it may stop."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import console, engine

DOCKER = "Client: Docker Engine - Community\n Version: 27.1\nServer: Docker Engine - Community"
PODMAN = "Client:       Podman Engine\nVersion:      4.3.1"
PODMAN_S_SOCKET = f"{DOCKER.partition('Server')[0]}Server: linux/amd64\n Podman Engine:\n  4.3.1"

FakeDocker = Callable[..., Path]


@pytest.fixture
def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocker]:
    """Put a program `docker` on the PATH; return the file that lists its calls."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    # As root: a fake engine must not make the machine's sudo ask for a password.
    monkeypatch.setattr(engine, "sudo", list)
    engine.docker_command.cache_clear()

    def make(version: str, security: str = "[name=seccomp]", before: str = "") -> Path:
        calls = tmp_path / "calls"
        program = tmp_path / "docker"
        program.write_text(
            f"#!/bin/sh\necho $* >>'{calls}'\n{before}\n"
            f"case $1 in info) echo '{security}';; version) echo '{version}';; esac\n"
        )
        program.chmod(0o755)
        return calls

    yield make
    engine.docker_command.cache_clear()


def _raise_when(there: Path, error: type[BaseException]) -> Callable[[float], bool]:
    def wait(_seconds: float) -> bool:
        while not there.exists():
            time.sleep(0.05)
        raise error

    return wait


def test_an_engine_that_answers_is_asked_once(fake_docker: FakeDocker) -> None:
    calls = fake_docker(DOCKER)
    assert [engine.docker_command() for _i in range(3)] == [("docker",)] * 3
    assert [line.split()[0] for line in calls.read_text().splitlines()] == ["version", "info"]


def test_an_engine_that_gives_no_answer_is_asked_again(fake_docker: FakeDocker) -> None:
    fake_docker(DOCKER, before="exit 1")
    with pytest.raises(engine.NoEngineError):
        engine.docker_command()
    fake_docker(DOCKER)
    assert engine.docker_command() == ("docker",)


def test_one_that_hangs_gives_no_answer(
    fake_docker: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_docker(DOCKER, before="exec sleep 60")
    monkeypatch.setattr(engine, "output", lambda command: console.output(command, timeout=0.2))
    with pytest.raises(engine.NoEngineError):
        engine.docker_command()


@pytest.mark.parametrize(
    ("version", "security", "says"),
    [
        (PODMAN, "", "Install docker.io"),
        (PODMAN_S_SOCKET, "", "unset DOCKER_HOST"),
        (DOCKER, "[name=seccomp name=rootless]", "docker context use default"),
    ],
)
def test_an_engine_that_will_not_do_is_refused(
    fake_docker: FakeDocker, version: str, security: str, says: str
) -> None:
    fake_docker(version, security)
    with pytest.raises(console.LabError, match=says) as refusal:
        engine.docker_command()
    # Else the lab would start an engine beside it.
    assert not isinstance(refusal.value, engine.NoEngineError)


@pytest.mark.parametrize("error", [KeyboardInterrupt, None])
def test_an_engine_of_the_lab_s_own_ends_with_the_lease(
    fake_docker: FakeDocker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException] | None,
) -> None:
    alive = tmp_path / "alive"
    fake_docker(DOCKER, before=f"test -e '{alive}' || exit 1; case $1 in ps) exit;; esac")
    dockerd = tmp_path / "dockerd"
    dockerd.write_text(
        f"#!/bin/sh\ntrap \"rm '{alive}'; exit\" TERM\ntouch '{alive}'\n"
        "while :; do sleep 0.1; done\n"
    )
    dockerd.chmod(0o755)
    own = engine.own_folder(tmp_path / "state")
    monkeypatch.setattr(engine, "_state_folder", lambda: own)
    if error:
        # Ctrl-C while the engine starts.
        monkeypatch.setattr(engine, "_wait_for_answer", _raise_when(alive, error))
        with pytest.raises(error), engine.lease():
            pass
    else:
        with engine.lease():
            assert alive.exists()
            assert engine.docker_command() == ("docker",)
    assert not alive.exists()
    assert not (own / "engine.json").exists()
    with pytest.raises(engine.NoEngineError):
        engine.docker_command()


def test_the_record_s_folder_is_the_user_s_alone(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    assert engine.own_folder(folder) == folder
    assert engine.own_folder(folder) == folder
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o500])
def test_a_folder_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(console.LabError, match=str(tmp_path)):
        engine.own_folder(tmp_path)
    tmp_path.chmod(0o700)


def test_a_link_and_a_file_are_refused(tmp_path: Path) -> None:
    for name in ("link", "file"):
        path = tmp_path / name
        path.symlink_to(tmp_path) if name == "link" else path.touch(mode=0o700)
        with pytest.raises(console.LabError, match=name):
            engine.own_folder(path)


def test_somebody_else_s_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(console.LabError, match="find out who made it"):
        engine.own_folder(tmp_path)


@pytest.mark.parametrize("others", ["", "0123456789ab"], ids=["unused", "with others' containers"])
def test_our_engine_ends_only_when_nobody_has_containers_on_it(
    fake_docker: FakeDocker, tmp_path: Path, others: str
) -> None:
    fake_docker(DOCKER, before=f'case "$*" in "ps --quiet") echo {others};; esac')
    with subprocess.Popen(["sleep", "60"]) as stand_in:
        record = {"pid": stand_in.pid, "start_time": engine._start_time(stand_in.pid)}
        (tmp_path / "engine.json").write_text(json.dumps(record))
        engine._stop_if_ours_and_unused(tmp_path)
        running = engine._start_time(stand_in.pid) == record["start_time"]
        stand_in.kill()
    assert running is bool(others)
