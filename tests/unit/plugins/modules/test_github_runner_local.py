# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found of a runner on a device, and its steps, in a folder and with a systemd of ours."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pwd
import shutil
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rpi_camera.fleet.plugins.modules import github_runner_local
from ansible_collections.rpi_camera.fleet.plugins.modules.github_runner_local import (
    ASIDE,
    CONFIGURATION,
    DROP_IN,
    NEXT,
    PARTS,
    STAGED,
    STAMP,
    Runner,
    StepError,
)
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import Run

USER = pwd.getpwuid(os.getuid()).pw_name
UNIT = "actions.runner.octo-camera.pi.service"
VERSION = "2.336.0"
SAID = {
    "agentId": 7,
    "agentName": "pi",
    "poolId": 1,
    "gitHubUrl": "https://github.com/octo/camera",
    "workFolder": "/srv/work",
}
FOUND = {
    "id": 7,
    "name": "pi",
    "url": "https://github.com/octo/camera",
    "work_folder": "/srv/work",
    "ephemeral": False,
    "disable_update": False,
}
# It writes down what it is told, and says of every unit what `shown` has.
SYSTEMCTL = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/told"
case $1 in
    show) cat "$here/shown" ;;
    "$(cat "$here/failing" 2> /dev/null)") echo "Job failed."; exit 1 ;;
esac
"""
# A program of the archive: it says its version, or waits for its input's end.
PROGRAM = f"#!/bin/sh\n[ $1 = --version ] && exec echo {VERSION}\nread -r end\n"
GIVEN = "AABBCC"


class Host:
    """A device of ours: a runner's folder, the folder of units, a systemctl that notes."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "runner"
        self.units = root / "units"
        self.bin = root / "bin"
        for folder in (self.folder / "bin", self.units, self.bin, root / "work"):
            folder.mkdir(parents=True)
        self.work = root / "work"
        self.program("systemctl", SYSTEMCTL)
        (self.bin / "shown").touch()

    def program(self, name: str, text: str) -> None:
        """Have a program of the system be another."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def runner(self, **options: Any) -> Runner:
        """Return the module's half of it, with options."""
        least = {
            "folder": str(self.folder),
            "user": USER,
            "work_folder": str(self.work),
            "environment": ["LANG=C.UTF-8"],
            "path": "/usr/bin:/bin",
            "drop_in": "[Service]\nNice=5\n",
            "archive": None,
            "sha256": None,
            "config": [],
            "token": None,
            "seconds": 20,
        }
        return Runner({**least, **options})

    def install(self, folder: Path | None = None, version: str = VERSION) -> None:
        """Put a version in place."""
        for name in PARTS:
            path = (folder or self.folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(PROGRAM.replace(VERSION, version))
            path.chmod(0o755)

    def configure(self, **changes: Any) -> None:
        """Write what config.sh writes."""
        text = json.dumps({**SAID, **changes}, indent=2)
        (self.folder / ".runner").write_text(text, "utf-8-sig")
        for name in (".credentials", ".credentials_rsaparams", "svc.sh"):
            (self.folder / name).write_text("{}")
        for name in CONFIGURATION:
            (self.folder / name).chmod(0o600)

    def unit(self, name: str = UNIT, folder: Path | None = None, user: str = USER) -> Path:
        """Install a unit and return its file."""
        path = self.units / name
        path.write_text(f"[Service]\nUser={user}\nWorkingDirectory={folder or self.folder}\n")
        return path

    def serve(self) -> None:
        """Have a unit that `.service` names."""
        self.unit()
        (self.folder / ".service").write_text(f"{UNIT}\n")

    def show(self, **properties: str) -> dict[str, str]:
        """Have systemd say this of every unit."""
        text = "".join(f"{name}={value}\n" for name, value in properties.items())
        (self.bin / "shown").write_text(text)
        return properties

    @property
    def told(self) -> list[str]:
        """What systemd was told."""
        path = self.bin / "told"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    monkeypatch.setattr(github_runner_local, "UNITS", host.units)
    monkeypatch.setenv("PATH", f"{host.bin}:/usr/bin:/bin")
    # Whoever runs the tests owns all of it.
    monkeypatch.setattr(os, "chown", lambda *_arguments: None)
    monkeypatch.setattr(os, "fchown", lambda *_arguments: None)
    return host


Start = Callable[..., int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a program and returns its number."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*command: str | Path, **env: str) -> int:
        process = subprocess.Popen(command, env={**os.environ, **env}, stdin=subprocess.PIPE)
        started.append(process)
        # Until it waits: before that it has no arguments, and a shell has not read its program.
        while ") S " not in Path(f"/proc/{process.pid}/stat").read_text():
            assert process.poll() is None
            time.sleep(0.01)
        return process.pid

    yield begin
    for process in started:
        process.kill()
        process.communicate()


# What `.runner` says.


def test_a_configuration_begins_with_a_byte_order_mark(host: Host) -> None:
    host.configure()
    assert (host.folder / ".runner").read_bytes().startswith(b"\xef\xbb\xbf{")
    assert host.runner().configuration(host.folder, (".credentials", "svc.sh")) == FOUND


def test_a_configuration_without_one_is_read_too(host: Host) -> None:
    host.configure()
    (host.folder / ".runner").write_text(json.dumps(SAID))
    assert host.runner().configuration(host.folder, ()) == FOUND


def test_what_is_only_there_when_it_is_true(host: Host) -> None:
    host.configure(ephemeral=True, disableUpdate=True)
    found = host.runner().configuration(host.folder, ())
    assert found == {**FOUND, "ephemeral": True, "disable_update": True}


@pytest.mark.parametrize(
    "content", [b"", b"\xef\xbb\xbf{", b"[]", b"{}", b"null", b"\xff\xfe\x00", b'{"agentId": "x"}']
)
def test_a_broken_configuration(host: Host, content: bytes) -> None:
    host.configure()
    (host.folder / ".runner").write_bytes(content)
    assert host.runner().configuration(host.folder, ()) == {}


@pytest.mark.parametrize("name", [".credentials", "svc.sh"])
def test_a_configuration_that_was_cut_off_is_broken(host: Host, name: str) -> None:
    host.configure()
    (host.folder / name).write_text("")
    assert host.runner().configuration(host.folder, (".credentials", "svc.sh")) == {}
    (host.folder / name).unlink()
    assert host.runner().configuration(host.folder, (".credentials", "svc.sh")) == {}


def test_no_configuration(host: Host) -> None:
    assert host.runner().configuration(host.folder, ()) is None


# Its units and its processes.


def test_a_unit_is_the_runner_s_by_its_working_directory(host: Host, tmp_path: Path) -> None:
    other = tmp_path / "runner-2"
    other.mkdir()
    link = tmp_path / "link"
    link.symlink_to(host.folder)
    host.unit("actions.runner.octo-camera.pi.service", link)
    host.unit("actions.runner.octo-camera.another.service", other)
    host.unit("mine.service")
    assert host.runner().units() == ["actions.runner.octo-camera.pi.service"]
    assert host.runner().others() == ["actions.runner.octo-camera.another.service"]


def test_another_runner_of_another_user_is_no_other(host: Host, tmp_path: Path) -> None:
    host.unit("actions.runner.octo-camera.another.service", tmp_path, user="builder")
    assert host.runner().others() == []


@pytest.mark.parametrize("content", ["", "\n", None])
def test_a_service_file_that_names_nothing(host: Host, content: str | None) -> None:
    if content is not None:
        (host.folder / ".service").write_text(content)
    assert host.runner().service() == ""


def test_a_service_file_ends_with_a_newline(host: Host) -> None:
    host.serve()
    assert host.runner().service() == UNIT


def test_a_process_is_found_by_its_program_in_the_folder(host: Host, start: Start) -> None:
    host.install()
    listener = start(host.folder / "bin/Runner.Listener", "run")
    assert host.runner().processes("Runner.Listener") == [listener]
    assert host.runner().processes("Runner.Worker") == []


def test_a_process_is_found_after_the_runner_s_own_update(host: Host, start: Start) -> None:
    host.install()
    # As the runner does it, with what it had begun before.
    (host.folder / "bin").rename(host.folder / "bin.2.335.0")
    (host.folder / "bin").symlink_to("bin.2.335.0")
    listener = start(host.folder / "bin/Runner.Listener", "run")
    (host.folder / "bin").unlink()
    shutil.copytree(host.folder / "bin.2.335.0", host.folder / "bin.2.336.0")
    (host.folder / "bin").symlink_to("bin.2.336.0")
    assert host.runner().processes("Runner.Listener") == [listener]


def test_a_process_of_another_folder_is_not_found(host: Host, start: Start, tmp_path: Path) -> None:
    host.install(tmp_path / "runner-2")
    start(tmp_path / "runner-2/bin/Runner.Listener", "run")
    start("/bin/sh", "-c", "read -r end", "Runner.Listener")
    assert host.runner().processes("Runner.Listener") == []


# Its version.


def test_a_version_is_what_the_program_says(host: Host) -> None:
    host.install()
    assert host.runner().version() == VERSION


@pytest.mark.parametrize("name", PARTS)
def test_a_version_of_which_a_part_is_empty_is_none(host: Host, name: str) -> None:
    host.install()
    (host.folder / name).write_text("")
    assert host.runner().version() == ""


def test_a_version_that_does_not_run_is_none(host: Host) -> None:
    host.install()
    (host.folder / "bin/Runner.Listener").write_text("#!/bin/sh\nexit 1\n")
    assert host.runner().version() == ""
    (host.folder / "bin/Runner.Listener").write_text("#!/nonexistent\n")
    assert host.runner().version() == ""


# A version is unpacked beside the one that runs, and put in its place.


def _archive(path: Path, **files: str) -> str:
    """Write an archive and return its checksum."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            member.uid = 1001
            archive.addfile(member, io.BytesIO(text.encode()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_version_is_staged_beside_what_is_there(host: Host, tmp_path: Path) -> None:
    host.install()
    (host.folder / STAGED).mkdir()
    (host.folder / STAGED / "left").touch()
    sha256 = _archive(tmp_path / "a.tar.gz", **{"config.sh": "new"})
    host.runner(archive=str(tmp_path / "a.tar.gz"), sha256=sha256).stage()
    assert [path.name for path in (host.folder / STAGED).iterdir()] == ["config.sh"]
    assert host.runner().version() == VERSION


def test_an_archive_with_another_checksum_is_not_unpacked(host: Host, tmp_path: Path) -> None:
    found = _archive(tmp_path / "a.tar.gz", **{"config.sh": "new"})
    with pytest.raises(StepError, match=f"has the SHA-256 {found} on the device, not abc"):
        host.runner(archive=str(tmp_path / "a.tar.gz"), sha256="abc").stage()
    assert not (host.folder / STAGED).exists()


def test_an_archive_that_is_none_leaves_nothing(host: Host, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_text("none")
    sha256 = hashlib.sha256(b"none").hexdigest()
    with pytest.raises(StepError, match="the archive cannot be unpacked: "):
        host.runner(archive=str(tmp_path / "a.tar.gz"), sha256=sha256).stage()
    assert not (host.folder / STAGED).exists()


def test_a_swap_keeps_what_is_not_the_archive_s(host: Host) -> None:
    host.install(version="2.335.0")
    host.configure()
    (host.folder / "bin/old").touch()
    host.install(host.folder / STAGED)
    host.runner().swap()
    assert host.runner().version() == VERSION
    assert not (host.folder / "bin/old").exists()
    assert host.runner().configuration(host.folder, ()) == FOUND
    assert not (host.folder / STAGED).exists()
    assert not (host.folder / NEXT).exists()


def test_a_swap_replaces_the_links_of_the_runner_s_own_update(host: Host) -> None:
    host.install(version="2.335.0")
    (host.folder / "bin").rename(host.folder / "bin.2.335.0")
    (host.folder / "bin").symlink_to("bin.2.335.0")
    host.install(host.folder / STAGED)
    host.runner().swap()
    assert not (host.folder / "bin").is_symlink()
    assert host.runner().version() == VERSION


@pytest.mark.parametrize("moved", range(len(PARTS)))
def test_a_swap_that_was_cut_off_is_done_again(host: Host, moved: int) -> None:
    host.install(version="2.335.0")
    host.install(host.folder / NEXT)
    for part in sorted((host.folder / NEXT).iterdir())[:moved]:
        github_runner_local._remove(host.folder / part.name)
        part.rename(host.folder / part.name)
    assert host.runner().version() == ""
    host.install(host.folder / STAGED)
    host.runner().swap()
    assert host.runner().version() == VERSION


# Another configuration, or the one before again.


def test_what_is_set_aside_is_put_back_and_started(host: Host) -> None:
    host.configure()
    host.serve()
    runner = host.runner()
    assert runner.set_aside() == {"busy": False}
    assert host.told == [f"stop {UNIT}"]
    assert runner.configuration(host.folder, ()) is None
    assert runner.configuration(host.folder / ASIDE, ()) == FOUND
    # What a config.sh that was cut off has left does not stay.
    (host.folder / ".credentials").write_text("new")
    runner.put_back()
    assert host.told == [f"stop {UNIT}", f"start {UNIT}"]
    assert runner.configuration(host.folder, (".credentials", "svc.sh")) == FOUND
    assert (host.folder / ".credentials").read_text() == "{}"
    assert not (host.folder / ASIDE).exists()


def test_nothing_is_set_aside_while_a_job_runs(host: Host, start: Start) -> None:
    host.install()
    host.configure()
    host.serve()
    worker = host.folder / "bin/Runner.Worker"
    shutil.copy2(host.folder / "bin/Runner.Listener", worker)
    start(worker, "spawnclient")
    runner = host.runner()
    for step in (runner.set_aside, runner.stop, runner.restart, runner.uninstall_service):
        assert step() == {"busy": True}
    assert host.told == []
    assert runner.configuration(host.folder, ()) == FOUND
    assert (host.units / UNIT).exists()


def test_what_was_set_aside_goes_in_the_end(host: Host) -> None:
    host.configure()
    runner = host.runner()
    runner.set_aside()
    runner.tidy()
    assert not (host.folder / ASIDE).exists()


# Its service.


def test_a_service_goes_with_what_was_added_to_it(host: Host) -> None:
    host.serve()
    (host.units / f"{UNIT}.d").mkdir()
    (host.units / f"{UNIT}.d" / DROP_IN).touch()
    other = host.unit("actions.runner.octo-camera.another.service", Path("/nonexistent"))
    host.runner().uninstall_service()
    assert list(host.units.iterdir()) == [other]
    assert not (host.folder / ".service").exists()
    assert host.told == [f"disable --now {UNIT}", "daemon-reload"]


def test_a_unit_of_another_runner_that_a_copied_service_file_names_stays(
    host: Host, tmp_path: Path
) -> None:
    host.serve()
    host.unit(UNIT, tmp_path)
    (host.units / f"{UNIT}.d").mkdir()
    host.runner().uninstall_service()
    assert sorted(path.name for path in host.units.iterdir()) == [UNIT, f"{UNIT}.d"]
    assert host.told == ["daemon-reload"]


def test_a_listener_that_its_unit_has_left_behind_ends(host: Host, start: Start) -> None:
    host.install()
    host.serve()
    start(host.folder / "bin/Runner.Listener", "run")
    assert host.runner().stop() == {"busy": False}
    assert host.runner().processes("Runner.Listener") == []


def test_a_systemd_that_refuses_is_told(host: Host) -> None:
    host.serve()
    (host.bin / "failing").write_text("start")
    with pytest.raises(StepError, match=rf"^systemctl start {UNIT}: Job failed\.$"):
        host.runner().start()


# The settings that the role decides.


def test_settings_are_as_they_are_wanted_and_then_nothing_differs(host: Host) -> None:
    host.serve()
    (host.folder / "bin/runsvc.sh").write_text("#!/bin/sh\n")
    runner = host.runner(environment=["LANG=C.UTF-8", "A=b c"])
    drop_in = host.units / f"{UNIT}.d" / DROP_IN
    assert set(runner.differs(UNIT)) == {
        str(host.folder / ".env"),
        str(host.folder / ".path"),
        str(host.folder / "runsvc.sh"),
        str(drop_in),
    }
    runner.settings()
    assert runner.differs(UNIT) == []
    assert (host.folder / ".env").read_text() == "LANG=C.UTF-8\nA=b c\n"
    assert (host.folder / ".path").read_text() == "/usr/bin:/bin\n"
    assert drop_in.read_text().startswith("[Service]\nNice=5\n\n[Service]\nEnvironment=")
    assert host.told == ["daemon-reload"]


def test_files_of_the_runner_are_its_user_s_alone(host: Host) -> None:
    host.configure()
    runner = host.runner()
    runner.settings()
    (host.folder / ".credentials").chmod(0o644)
    assert runner.differs("") == [f"{host.folder / '.credentials'} (owner and mode)"]
    runner.settings()
    assert runner.differs("") == []
    modes = {
        name: stat.S_IMODE((host.folder / name).stat().st_mode)
        for name in (*CONFIGURATION, ".env", ".path")
    }
    assert modes == dict.fromkeys(modes, 0o600)


def test_a_work_folder_that_is_not_there_is_made(host: Host) -> None:
    host.work.rmdir()
    runner = host.runner()
    assert f"{host.work} (owner)" in runner.differs("")
    runner.settings()
    assert host.work.is_dir()
    assert runner.differs("") == []


def test_an_empty_wrapper_of_the_service_is_written_anew(host: Host) -> None:
    host.serve()
    (host.folder / "bin/runsvc.sh").write_text("#!/bin/sh\n")
    host.runner().settings()
    (host.folder / "runsvc.sh").write_text("")
    assert host.runner().differs(UNIT) == [str(host.folder / "runsvc.sh")]
    host.runner().settings()
    assert (host.folder / "runsvc.sh").read_text() == "#!/bin/sh\n"
    assert (host.folder / "runsvc.sh").stat().st_mode & 0o111


def _stamp(host: Host) -> str:
    """Return the stamp that the drop-in has."""
    text = (host.units / f"{UNIT}.d" / DROP_IN).read_text()
    (line,) = [line for line in text.splitlines() if STAMP in line]
    return line.rpartition("=")[2]


def test_a_service_with_the_settings_that_are_there_is_not_stale(host: Host, start: Start) -> None:
    host.serve()
    host.runner().settings()
    pid = start("/bin/sleep", "60", **{STAMP: _stamp(host)})
    unit = host.show(MainPID=str(pid), NeedDaemonReload="no")
    assert host.runner().is_stale(UNIT, unit) is False
    assert host.runner().is_stale(UNIT, {**unit, "NeedDaemonReload": "yes"}) is True


@pytest.mark.parametrize(
    "changes",
    [{"environment": ["A=b"]}, {"path": "/bin"}, {"drop_in": "[Service]\nNice=6\n"}],
    ids=["environment", "path", "drop-in"],
)
def test_a_service_with_settings_of_before_is_stale(
    host: Host, start: Start, changes: dict[str, Any]
) -> None:
    host.serve()
    host.runner().settings()
    unit = {
        "MainPID": str(start("/bin/sleep", "60", **{STAMP: _stamp(host)})),
        "NeedDaemonReload": "no",
    }
    changed = host.runner(**changes)
    changed.settings()
    assert changed.differs(UNIT) == []
    assert changed.is_stale(UNIT, unit) is True


def test_a_service_that_was_started_with_what_somebody_has_written_is_stale(
    host: Host, start: Start
) -> None:
    host.serve()
    host.runner().settings()
    unit = {
        "MainPID": str(start("/bin/sleep", "60", **{STAMP: _stamp(host)})),
        "NeedDaemonReload": "no",
    }
    (host.folder / ".env").write_text("SOMETHING=else\n")
    assert host.runner().is_stale(UNIT, unit) is True


def test_a_service_that_somebody_else_has_started_is_stale(host: Host, start: Start) -> None:
    host.serve()
    host.runner().settings()
    unit = {"MainPID": str(start("/bin/sleep", "60")), "NeedDaemonReload": "no"}
    assert host.runner().is_stale(UNIT, unit) is True


def test_a_service_that_does_not_run_is_not_stale(host: Host) -> None:
    host.serve()
    assert host.runner().is_stale(UNIT, {"MainPID": "0", "NeedDaemonReload": "no"}) is False


def test_a_stamp_says_nothing_of_what_is_secret(host: Host) -> None:
    host.serve()
    host.runner(environment=["https_proxy=http://anna:word@proxy"]).settings()
    assert "word" not in (host.units / f"{UNIT}.d" / DROP_IN).read_text()


# What is run as the user.


def test_a_token_is_in_the_environment_and_no_argument(host: Host) -> None:
    host.install()
    (host.folder / "config.sh").write_text('#!/bin/sh\necho "$*"; env\n')
    runner = host.runner(
        config=["--name", "pi"], token=GIVEN, environment=["https_proxy=http://proxy"]
    )
    said = runner.configure()["said"].splitlines()
    assert said[0] == "--unattended --name pi"
    assert f"ACTIONS_RUNNER_INPUT_TOKEN={GIVEN}" in said
    assert "https_proxy=http://proxy" in said
    assert f"USER={USER}" in said


def test_what_a_program_says_when_it_fails_is_told_without_the_token(host: Host) -> None:
    (host.folder / "config.sh").write_text(f"#!/bin/sh\necho one; echo bad {GIVEN}; exit 3\n")
    (host.folder / "config.sh").chmod(0o755)
    with pytest.raises(
        StepError, match=r"^config\.sh has ended with status 3: one / bad …$"
    ) as failure:
        host.runner(token=GIVEN).configure()
    assert GIVEN not in str(failure.value)


def test_a_program_that_does_not_end_is_told(host: Host) -> None:
    (host.folder / "config.sh").write_text("#!/bin/sh\nexec sleep 60\n")
    (host.folder / "config.sh").chmod(0o755)
    with pytest.raises(StepError, match=r"config\.sh has not ended within 1 s"):
        host.runner(seconds=1).configure()


def test_what_is_forgotten_is_gone_even_without_a_program(host: Host) -> None:
    host.configure()
    (host.folder / ".credentials_migrated").touch()
    host.runner().forget()
    assert sorted(path.name for path in host.folder.iterdir()) == ["bin", "svc.sh"]


# The module.


def _options(host: Host, **options: object) -> dict[str, object]:
    return {
        "folder": str(host.folder),
        "user": USER,
        "work_folder": str(host.work),
        **options,
    }


def test_a_look_at_nothing(run: Run, host: Host) -> None:
    shutil.rmtree(host.folder)
    found = run(github_runner_local.main, **_options(host, step="look"))["found"]
    assert (found["version"], found["configuration"], found["service"]) == ("", None, "")
    assert (found["units"], found["listeners"], found["aside"]) == ([], [], None)
    assert host.told == []


def test_a_look_changes_nothing_in_check_mode_and_without(run: Run, host: Host) -> None:
    host.install()
    host.configure()
    host.serve()
    before = sorted(host.folder.rglob("*"))
    for check in (False, True):
        options = _options(host, step="look", _ansible_check_mode=check)
        answer = run(github_runner_local.main, **options)
        assert answer["changed"] is False
        assert answer["found"]["configuration"] == FOUND
    assert sorted(host.folder.rglob("*")) == before
    assert {line.partition(" ")[0] for line in host.told} == {"show"}


def test_no_step_is_done_in_check_mode(run: Run, host: Host) -> None:
    host.serve()
    answer = run(github_runner_local.main, **_options(host, step="stop", _ansible_check_mode=True))
    assert answer["failed"]
    assert answer["msg"] == "the step stop changes something, and is not for check mode"
    assert host.told == []


def test_a_step_that_fails_says_why(run: Run, host: Host) -> None:
    answer = run(github_runner_local.main, **_options(host, step="swap"))
    assert answer["failed"]
    assert STAGED in answer["msg"]


def test_each_step_is_one_of_the_runner_s(run: Run, host: Host) -> None:
    documented = yaml.safe_load(github_runner_local.DOCUMENTATION)
    steps = documented["options"]["step"]["choices"]
    assert [step for step in steps if not callable(getattr(Runner, step, None))] == []
    answer = run(github_runner_local.main, **_options(host, step="dance"))
    assert f"value of step must be one of: {', '.join(steps)}, got: dance" in answer["msg"]
