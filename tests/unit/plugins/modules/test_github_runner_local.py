# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found of a runner on a device, and its steps, in a folder and with a systemd of ours."""

from __future__ import annotations

import errno
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
# A program of the archive: it waits for its input's end.
PROGRAM = "#!/bin/sh\nread -r end\n"
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
        for folder in (self.folder, self.work):
            folder.chmod(0o750)
        self.program("systemctl", SYSTEMCTL)
        self.show(User=USER)
        # What was given to the user.
        self.given: list[str] = []

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
            "unit": UNIT,
            "starts": False,
            "version": VERSION,
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
            path.write_text(PROGRAM)
            path.chmod(0o755)
        if folder is None:
            (self.folder / ".version").write_text(f"{version}\n")

    def stage(self) -> None:
        """Have another version lie beside it."""
        self.install(self.folder / STAGED)

    def config(self, text: str) -> None:
        """Have config.sh be another."""
        (self.folder / "config.sh").write_text(f"#!/bin/sh\n{text}\n")
        (self.folder / "config.sh").chmod(0o755)

    def configure(self, **changes: Any) -> None:
        """Write what config.sh writes."""
        text = json.dumps({**SAID, **changes}, indent=2)
        (self.folder / ".runner").write_text(text, "utf-8-sig")
        for name in CONFIGURATION[1:]:
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
        """What systemd was told, without what it was asked."""
        path = self.bin / "told"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if not line.startswith("show ")]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    monkeypatch.setattr(github_runner_local, "UNITS", host.units)
    monkeypatch.setenv("PATH", f"{host.bin}:/usr/bin:/bin")

    def fchown(folder: int, _uid: int, _gid: int) -> None:
        host.given.append(os.readlink(f"/proc/self/fd/{folder}"))

    def chown(path: str, _uid: int, _gid: int) -> None:
        # Of what was looked at, by no name that may be another's by now.
        assert path.startswith("/proc/self/fd/")
        host.given.append(os.readlink(path))

    # Whoever runs the tests owns all of it.
    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setattr(os, "fchown", fchown)
    if os.geteuid() != 0:
        # Only root can be somebody else.
        begin = subprocess.Popen

        def popen(*arguments: Any, **options: Any) -> subprocess.Popen[Any]:
            for name in ("user", "group", "extra_groups"):
                options.pop(name, None)
            return begin(*arguments, **options)

        monkeypatch.setattr(subprocess, "Popen", popen)
    return host


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing of the device be the user's."""
    owner = (os.getuid() + 1, os.getgid())
    monkeypatch.setattr(Runner, "_owner", lambda _runner: owner)


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
    assert host.runner().configuration(host.folder, CONFIGURATION[1:]) == FOUND


def test_a_configuration_without_one_is_read_too(host: Host) -> None:
    host.configure()
    (host.folder / ".runner").write_text(json.dumps(SAID))
    assert host.runner().configuration(host.folder, ()) == FOUND


def test_what_is_only_there_when_it_is_true(host: Host) -> None:
    host.configure(ephemeral=True, disableUpdate=True)
    found = host.runner().configuration(host.folder, ())
    assert found == {**FOUND, "ephemeral": True, "disable_update": True}


@pytest.mark.parametrize(
    "content",
    [
        *[b"", b"\xef\xbb\xbf{", b"[]", b"{}", b"null", b"\xff\xfe\x00", b'{"agentId": "x"}'],
        # What a job may write to have the look fail.
        *[b'{"agentId": Infinity}', b"[" * 500_000],
        json.dumps({**SAID, "agentName": "\ud800"}).encode(),
    ],
)
def test_a_broken_configuration(host: Host, content: bytes) -> None:
    host.configure()
    (host.folder / ".runner").write_bytes(content)
    assert host.runner().configuration(host.folder, ()) == {}


@pytest.mark.parametrize("name", CONFIGURATION[1:])
def test_a_configuration_that_was_cut_off_is_broken(host: Host, name: str) -> None:
    host.configure()
    for content in ("", "\0" * 300, '{"scheme": "OA', "[]"):
        (host.folder / name).write_text(content)
        assert host.runner().configuration(host.folder, CONFIGURATION[1:]) == {}
    (host.folder / name).unlink()
    assert host.runner().configuration(host.folder, CONFIGURATION[1:]) == {}


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


def test_a_version_is_what_was_written_when_it_was_put_in_place(host: Host) -> None:
    host.install()
    assert host.runner().version() == VERSION


@pytest.mark.parametrize("name", PARTS)
def test_a_version_of_which_a_part_is_empty_is_none(host: Host, name: str) -> None:
    host.install()
    (host.folder / name).write_text("")
    assert host.runner().version() == ""


def test_a_version_that_nobody_has_written_down_is_none(host: Host) -> None:
    host.install()
    (host.folder / ".version").unlink()
    assert host.runner().version() == ""


def test_a_version_of_the_runner_s_own_update_is_in_the_link(host: Host) -> None:
    host.install(version="2.335.0")
    (host.folder / "bin").rename(host.folder / "bin.2.336.0")
    (host.folder / "bin").symlink_to(host.folder / "bin.2.336.0")
    assert host.runner().version() == "2.336.0"
    (host.folder / "bin").unlink()
    (host.folder / "bin.2.336.0").rename(host.folder / "bin.new")
    (host.folder / "bin").symlink_to("bin.new")
    assert host.runner().version() == "2.335.0"


# A job may have put anything into the folder. Root reads files there, and nothing else.


def _link(path: Path) -> None:
    path.rename(path.with_name("target"))
    path.symlink_to("target")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("become", [_link, _pipe, _folder])
def test_what_is_no_file_is_not_read(host: Host, become: Callable[[Path], None]) -> None:
    host.install()
    host.configure()
    host.serve()
    (host.folder / ASIDE).mkdir()
    shutil.copy2(host.folder / ".runner", host.folder / ASIDE)
    runner = host.runner()
    found = runner.look()
    assert (found["version"], found["configuration"], found["aside"], found["service"]) == (
        VERSION,
        FOUND,
        FOUND,
        UNIT,
    )
    runner.settings()
    assert runner.differs() == []
    names = (".version", ".runner", f"{ASIDE}/.runner", ".service", ".env", ".path", "runsvc.sh")
    for name in names:
        become(host.folder / name)
    found = runner.look()
    assert (found["version"], found["configuration"], found["aside"], found["service"]) == (
        "",
        {},
        {},
        "",
    )
    written = (".env", ".path", "runsvc.sh")
    assert {str(host.folder / name) for name in written} <= set(found["differs"])
    (host.folder / "..env.new").mkdir()
    runner.settings()
    assert [
        name for name in written if not stat.S_ISREG((host.folder / name).lstat().st_mode)
    ] == []


def test_a_file_is_not_read_without_an_end(host: Host) -> None:
    with (host.folder / ".service").open("wb") as file:
        file.truncate(github_runner_local.LONGEST * 100)
    assert len(host.runner().service()) == github_runner_local.LONGEST


def test_what_is_written_does_not_go_to_where_a_link_leads(host: Host, tmp_path: Path) -> None:
    host.install()
    host.serve()
    target = tmp_path / "target"
    for name in (".env", ".path", "runsvc.sh"):
        target.write_text("of root")
        (host.folder / name).symlink_to(target)
    host.runner().settings()
    assert host.runner().differs() == []
    assert target.read_text() == "of root"
    for name in (".env", ".path", "runsvc.sh"):
        assert not (host.folder / name).is_symlink()


@pytest.mark.parametrize(
    "said", ["ssh.service", "../units/ssh.service", "/etc/systemd/system/ssh.service", "--now", "*"]
)
def test_root_does_not_go_by_what_the_service_file_says(host: Host, said: str) -> None:
    host.install()
    host.unit()
    other = host.units / "ssh.service"
    other.write_text("[Service]\nExecStart=/usr/sbin/sshd\n")
    (host.folder / ".service").write_text(said)
    runner = host.runner()
    for step in (runner.settings, runner.start, runner.restart, runner.uninstall_service):
        step()
    runner.install_service()
    runner.uninstall_service()
    assert other.read_text() == "[Service]\nExecStart=/usr/sbin/sshd\n"
    assert list(host.units.iterdir()) == [other]
    assert {line.split()[-1] for line in host.told} == {"daemon-reload", UNIT}


def test_a_work_folder_that_is_a_link_is_refused(host: Host, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").touch()
    host.work.rmdir()
    host.work.symlink_to(target)
    assert f"{host.work} (owner)" in host.runner().differs()
    with pytest.raises(StepError, match=r"work is a link, or is below one; allowed is a folder"):
        host.runner().settings()
    assert host.given == []


@pytest.mark.usefixtures("stranger")
def test_a_work_folder_below_a_link_is_refused(host: Host, tmp_path: Path) -> None:
    host.install()
    (tmp_path / "target/below").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(StepError, match=r"below is a link, or is below one; allowed is a folder"):
        host.runner()._have(tmp_path / "link/below")
    assert host.given == []


@pytest.mark.usefixtures("stranger")
def test_a_work_folder_that_holds_what_is_others_is_refused(host: Host) -> None:
    (host.work / "deep/er").mkdir(parents=True)
    (host.work / "deep/er/file").touch()
    with pytest.raises(StepError, match=r"work holds what is not the runner's; allowed is an empt"):
        host.runner()._have(host.work)
    assert host.given == []


@pytest.mark.usefixtures("stranger")
def test_a_folder_that_holds_no_runner_is_refused(host: Host) -> None:
    with pytest.raises(StepError, match=r"runner holds what is not the runner's; allowed is an em"):
        host.runner()._have(host.folder)
    assert host.given == []


@pytest.mark.usefixtures("stranger")
def test_an_empty_folder_and_one_with_a_runner_become_the_user_s(
    host: Host, tmp_path: Path
) -> None:
    host.install()
    (host.work / "lost+found").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    (host.folder / "link").symlink_to(outside)
    # One that has another name elsewhere may be anybody's.
    os.link(outside / "file", host.folder / "hard")
    runner = host.runner()
    runner._have(host.folder)
    runner._have(host.work)
    assert set(host.given) == {
        *map(str, (host.folder, host.work, host.work / "lost+found")),
        *(str(path) for path in host.folder.rglob("*") if path.name != "hard"),
    }


# What is done as the user.


def _someone() -> str:
    """Return who is not root, if that is to be had."""
    return "nobody" if os.geteuid() == 0 else USER


def test_what_is_done_in_the_folder_is_done_as_its_user(host: Host) -> None:
    def tell() -> None:
        raise StepError(f"{os.getresuid()} {os.getresgid()} {os.umask(0)}")

    account = pwd.getpwnam(_someone())
    ids = ((account.pw_uid,) * 3, (account.pw_gid,) * 3)
    with pytest.raises(StepError) as told:
        host.runner(user=account.pw_name).inside(tell)
    assert str(told.value) == f"{ids[0]} {ids[1]} {0o022}"
    assert os.geteuid() == os.getuid()


def test_what_goes_wrong_as_the_user_is_told(host: Host) -> None:
    def act() -> None:
        raise OSError(28, "No space left on device")

    def end() -> None:
        raise SystemExit

    with pytest.raises(StepError, match=r"^\[Errno 28\] No space left on device$"):
        host.runner().inside(act)

    def tell() -> None:
        raise StepError("no text: \udcff")

    with pytest.raises(StepError, match=r"^SystemExit\(\)$"):
        host.runner().inside(end)
    with pytest.raises(StepError, match=r"^no text: \?$"):
        host.runner().inside(tell)


def test_what_goes_on_for_ever_as_the_user_is_ended(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_runner_local, "LIMIT", 1)
    with pytest.raises(StepError, match=rf"^what was to be done in {host.folder} took over 1 s$"):
        host.runner().inside(lambda: time.sleep(30))


def test_a_user_that_is_not_there_is_told(run: Run, host: Host) -> None:
    answer = run(github_runner_local.main, **_options(host, step="unregister", user="no-such-user"))
    assert answer["failed"]
    assert "name not found: 'no-such-user'" in answer["msg"]


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


def test_an_upgrade_keeps_what_is_not_the_archive_s(host: Host) -> None:
    host.install(version="2.335.0")
    host.configure()
    host.serve()
    (host.folder / "bin/old").touch()
    host.stage()
    assert host.runner().upgrade() == {"busy": False}
    assert host.runner().version() == VERSION
    assert not (host.folder / "bin/old").exists()
    assert host.runner().configuration(host.folder, CONFIGURATION[1:]) == FOUND
    assert not (host.folder / STAGED).exists()
    assert not (host.folder / NEXT).exists()
    assert host.told == [f"stop --no-block {UNIT}", f"stop {UNIT}"]


def test_an_upgrade_replaces_what_the_runner_s_own_updates_have_left(host: Host) -> None:
    host.install(version="2.335.0")
    for part in ("bin", "externals"):
        (host.folder / part).mkdir(exist_ok=True)
        (host.folder / part).rename(host.folder / f"{part}.2.335.1")
        (host.folder / part).symlink_to(f"{part}.2.335.1")
    host.stage()
    host.runner().upgrade()
    assert not (host.folder / "bin").is_symlink()
    assert list(host.folder.glob("*.2.335.1")) == []
    assert host.runner().version() == VERSION


@pytest.mark.parametrize("moved", range(len(PARTS)))
def test_an_upgrade_that_was_cut_off_is_done_again(host: Host, moved: int) -> None:
    host.install(version="2.335.0")
    host.install(host.folder / NEXT)
    for part in sorted((host.folder / NEXT).iterdir())[:moved]:
        github_runner_local._remove(host.folder / part.name)
        part.rename(host.folder / part.name)
    assert host.runner().version() == ""
    host.stage()
    host.runner().upgrade()
    assert host.runner().version() == VERSION


STARTED = ["daemon-reload", f"reset-failed {UNIT}", f"enable {UNIT}", f"start {UNIT}"]


def test_what_ran_runs_again_after_an_upgrade_with_its_settings(host: Host) -> None:
    host.install(version="2.335.0")
    host.serve()
    host.stage()
    host.runner(starts=True).upgrade()
    assert host.told == [f"stop --no-block {UNIT}", f"stop {UNIT}", "daemon-reload", *STARTED]
    assert host.runner().differs() == []


def test_an_upgrade_that_fails_starts_what_ran_again(host: Host) -> None:
    host.install(version="2.335.0")
    host.serve()
    with pytest.raises(StepError, match=rf"No such file or directory: .*{STAGED}"):
        host.runner(starts=True).upgrade()
    assert host.told == [f"stop --no-block {UNIT}", f"stop {UNIT}", *STARTED]
    assert host.runner().version() == "2.335.0"


# Another configuration, or the one before again.


ANOTHER = json.dumps({**SAID, "agentId": 8, "gitHubUrl": "https://github.com/octo/other"})
MIGRATED = (".runner_migrated", ".credentials_migrated")


def _before(host: Host) -> None:
    host.configure()
    host.serve()
    for name in MIGRATED:
        (host.folder / name).write_text("migrated")


def test_another_configuration_leaves_the_one_of_before_aside(host: Host) -> None:
    _before(host)
    host.config(f"[ ! -e .runner_migrated ] || exit 9\necho '{ANOTHER}' > .runner")
    runner = host.runner(config=["--name", "pi"], token=GIVEN)
    assert runner.reconfigure() == {"busy": False}
    assert host.told == [
        *[f"stop --no-block {UNIT}", f"stop {UNIT}"] * 2,
        f"disable {UNIT}",
        "daemon-reload",
    ]
    assert list(host.units.iterdir()) == []
    assert runner.configuration(host.folder, ()) == {
        **FOUND,
        "id": 8,
        "url": "https://github.com/octo/other",
    }
    assert runner.configuration(host.folder / ASIDE, CONFIGURATION[1:]) == FOUND
    assert {path.name for path in (host.folder / ASIDE).iterdir()} == {*CONFIGURATION, *MIGRATED}
    assert stat.S_IMODE((host.folder / ASIDE).stat().st_mode) == 0o700
    runner.tidy()
    assert not (host.folder / ASIDE).exists()
    assert [name for name in MIGRATED if (host.folder / name).exists()] == []


def test_when_another_configuration_fails_the_one_of_before_runs_again(host: Host) -> None:
    _before(host)
    # What a config.sh that was cut off has left does not stay.
    host.config(f"echo '{ANOTHER}' > .runner; echo new > .credentials; exit 1")
    runner = host.runner()
    with pytest.raises(StepError, match=r"^config\.sh has ended with status 1: $"):
        runner.reconfigure()
    assert host.told == [f"stop --no-block {UNIT}", f"stop {UNIT}", f"start {UNIT}"]
    assert runner.configuration(host.folder, CONFIGURATION[1:]) == FOUND
    assert (host.folder / ".credentials").read_text() == "{}"
    assert [name for name in MIGRATED if not (host.folder / name).exists()] == []
    assert not (host.folder / ASIDE).exists()
    assert (host.units / UNIT).exists()


def test_what_another_user_has_run_runs_again_as_the_user_that_has_its_files_now(
    host: Host,
) -> None:
    _before(host)
    host.unit(user="pi")
    host.config("exit 1")
    with pytest.raises(StepError, match=r"^config\.sh has ended"):
        host.runner().reconfigure()
    assert f"\nUser={USER}\n" in (host.units / UNIT).read_text()
    assert host.told[-2:] == ["daemon-reload", f"start {UNIT}"]


def test_when_nothing_can_be_set_aside_what_ran_runs_again(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    _before(host)
    host.config("exit 1")
    runner = host.runner()
    monkeypatch.setattr(runner, "_set_aside", (host.folder / ASIDE / "none").mkdir)
    with pytest.raises(StepError, match="No such file or directory"):
        runner.reconfigure()
    assert host.told[-1] == f"start {UNIT}"
    assert runner.configuration(host.folder, CONFIGURATION[1:]) == FOUND


def test_a_left_aside_is_replaced(host: Host) -> None:
    _before(host)
    (host.folder / ASIDE).mkdir()
    (host.folder / ASIDE / ".runner").write_text("old")
    host.config(f"echo '{ANOTHER}' > .runner")
    runner = host.runner()
    runner.reconfigure()
    assert runner.configuration(host.folder / ASIDE, CONFIGURATION[1:]) == FOUND


def _work(host: Host, start: Start) -> None:
    """Have a job run."""
    worker = host.folder / "bin/Runner.Worker"
    shutil.copy2(host.folder / "bin/Runner.Listener", worker)
    start(worker, "spawnclient")


def test_nothing_that_ends_the_listener_is_done_while_a_job_runs(host: Host, start: Start) -> None:
    host.install()
    host.configure()
    host.serve()
    _work(host, start)
    runner = host.runner()
    for step in (runner.reconfigure, runner.upgrade, runner.restart, runner.uninstall_service):
        assert step() == {"busy": True}
    assert host.told == []
    assert runner.configuration(host.folder, ()) == FOUND
    assert (host.units / UNIT).exists()


# A listener that stands still takes no job.


def _state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0]


def _becomes(process: int, state: str) -> bool:
    for _try in range(100):
        if _state(process) == state:
            return True
        time.sleep(0.05)
    return False


def test_a_listener_is_held_and_goes_on(host: Host, start: Start) -> None:
    host.install()
    listener = start(host.folder / "bin/Runner.Listener", "run")
    assert host.runner().hold() == {"busy": False}
    assert _becomes(listener, "T")
    assert host.runner().release() == {"busy": False}
    assert _becomes(listener, "S")


def test_a_listener_whose_job_runs_is_not_held(host: Host, start: Start) -> None:
    host.install()
    listener = start(host.folder / "bin/Runner.Listener", "run")
    _work(host, start)
    assert host.runner().hold() == {"busy": True}
    assert _becomes(listener, "S")


def test_a_listener_that_nobody_comes_back_to_goes_on_by_itself(
    host: Host, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_runner_local, "HOLD", 1)
    host.install()
    listener = start(host.folder / "bin/Runner.Listener", "run")
    assert host.runner().hold() == {"busy": False}
    assert _becomes(listener, "T")
    assert _becomes(listener, "S")


@pytest.mark.parametrize(
    ("own", "said"),
    [("Failed to connect.", "Failed to connect."), ("", "Started it. / Failed with result.")],
)
def test_why_it_does_not_listen_is_told_in_its_own_words(host: Host, own: str, said: str) -> None:
    host.serve()
    host.show(User=USER, ActiveState="activating")
    host.program(
        "journalctl",
        f"#!/bin/sh\ncase $* in *_SYSTEMD_UNIT=*) echo '{own}' ;;"
        " *) printf 'Started it.\\nFailed with result.\\n' ;; esac\n",
    )
    answer = host.runner(seconds=0).wait()
    assert answer == {"heard": False, "said": f"{UNIT} is activating; {said}"}


def test_nothing_is_held_where_nothing_listens(host: Host) -> None:
    assert host.runner().hold() == {"busy": False}
    assert host.runner().release() == {"busy": False}


def test_a_listener_that_is_held_ends_when_it_is_stopped(host: Host, start: Start) -> None:
    host.install()
    host.serve()
    start(host.folder / "bin/Runner.Listener", "run")
    host.runner().hold()
    host.runner().uninstall_service()
    assert host.runner().processes("Runner.Listener") == []


# Its service.


def test_a_service_is_written_as_the_runner_s_own_program_does_it(host: Host) -> None:
    # That is not run: it is the jobs' user's.
    (host.folder / "svc.sh").write_text("#!/bin/sh\ntouch ran\n")
    (host.folder / "svc.sh").chmod(0o755)
    runner = host.runner()
    runner.install_service()
    text = (host.units / UNIT).read_text()
    assert f"ExecStart={host.folder}/runsvc.sh\nUser={USER}\nWorkingDirectory={host.folder}" in text
    assert "Description=GitHub Actions Runner (octo-camera.pi)" in text
    assert runner.units() == [UNIT]
    assert runner.service() == UNIT
    assert host.told == ["daemon-reload", f"enable {UNIT}"]
    assert not (host.folder / "ran").exists()
    # Its owner may do it again.
    runner.install_service()


def test_an_empty_unit_is_written_anew(host: Host) -> None:
    (host.units / UNIT).touch()
    assert host.runner().units() == []
    host.runner().install_service()
    assert host.runner().units() == [UNIT]


def test_a_unit_that_somebody_has_changed_is_written_anew(host: Host) -> None:
    host.serve()
    assert str(host.units / UNIT) in host.runner().differs()
    host.runner().settings()
    assert f"ExecStart={host.folder}/runsvc.sh" in (host.units / UNIT).read_text()
    assert host.runner().differs() == []


@pytest.mark.parametrize("name", [UNIT, "ssh.service", "actions.runner.x/../../ssh.service", ""])
def test_a_unit_that_is_not_the_runner_s_is_not_written_over(
    host: Host, tmp_path: Path, name: str
) -> None:
    other = host.unit(UNIT, tmp_path)
    before = other.read_text()
    with pytest.raises(StepError, match=r" is there, and is not this runner's$"):
        host.runner(unit=name).install_service()
    assert other.read_text() == before
    assert list(host.units.iterdir()) == [other]
    assert host.told == []
    assert not (host.folder / ".service").exists()


def test_a_service_goes_with_what_was_added_to_it(host: Host) -> None:
    host.serve()
    (host.units / f"{UNIT}.d").mkdir()
    (host.units / f"{UNIT}.d" / DROP_IN).touch()
    other = host.unit("actions.runner.octo-camera.another.service", Path("/nonexistent"))
    host.runner().uninstall_service()
    assert list(host.units.iterdir()) == [other]
    assert not (host.folder / ".service").exists()
    assert host.told == [
        f"stop --no-block {UNIT}",
        f"stop {UNIT}",
        f"disable {UNIT}",
        "daemon-reload",
    ]


def test_what_somebody_has_added_to_a_service_stays(host: Host) -> None:
    host.serve()
    folder = host.units / f"{UNIT}.d"
    folder.mkdir()
    for name in (DROP_IN, "override.conf"):
        (folder / name).touch()
    host.runner().uninstall_service()
    assert [path.name for path in folder.iterdir()] == ["override.conf"]
    assert not (host.units / UNIT).exists()


@pytest.mark.parametrize("there", [True, False])
def test_who_has_a_service_run_as_somebody_else_is_found(host: Host, there: bool) -> None:
    if there:
        host.serve()
    folder = host.units / f"{UNIT}.d"
    folder.mkdir()
    (folder / "a.conf").write_text(f"[Service]\nNice=3\nUser={USER}\n")
    assert host.runner().overrides() == []
    (folder / "b.conf").write_text("[Service]\nUser=nobody\n")
    (folder / "c.conf").write_text("[Service]\nUser=\n")
    (folder / DROP_IN).write_text("[Service]\nUser=nobody\n")
    assert host.runner().overrides() == [str(folder / "b.conf"), str(folder / "c.conf")]


@pytest.mark.usefixtures("stranger")
def test_nothing_is_stopped_where_the_folder_cannot_be_the_user_s(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.serve()

    def chown(_path: str, _uid: int, _gid: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "chown", chown)
    for step in (host.runner().uninstall_service, host.runner().reconfigure):
        with pytest.raises(StepError, match=r"runner cannot be given to .*: .*Read-only file sys"):
            step()
    assert host.told == []
    assert (host.units / UNIT).exists()


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("step", ["uninstall_service", "install_service", "configure", "forget"])
def test_the_folder_is_the_user_s_before_anything_is_done_in_it(
    host: Host, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    host.install()
    host.configure()
    runner = host.runner()
    monkeypatch.setattr(runner, "inside", lambda _act: host.given.append("inside"))
    monkeypatch.setattr(runner, "_config", lambda *_arguments: {})
    getattr(runner, step)()
    assert {str(host.folder), f"{host.folder}/.runner", f"{host.folder}/bin"} <= set(host.given)
    assert host.given[-1] == "inside"


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
    assert host.runner().restart() == {"busy": False}
    assert host.runner().processes("Runner.Listener") == []


def test_a_systemd_that_refuses_is_told(host: Host) -> None:
    host.serve()
    (host.bin / "failing").write_text("start")
    with pytest.raises(StepError, match=rf"^systemctl start {UNIT}: Job failed\.$"):
        host.runner().start()


# The settings that the role decides.


def test_settings_are_as_they_are_wanted_and_then_nothing_differs(host: Host) -> None:
    host.install()
    host.serve()
    runner = host.runner(environment=["LANG=C.UTF-8", "A=b c"])
    drop_in = host.units / f"{UNIT}.d" / DROP_IN
    assert set(runner.differs()) == {
        str(host.folder / ".env"),
        str(host.folder / ".path"),
        str(host.folder / "runsvc.sh"),
        str(host.units / UNIT),
        str(drop_in),
    }
    runner.settings()
    assert runner.differs() == []
    assert (host.folder / ".env").read_text() == "LANG=C.UTF-8\nA=b c\n"
    assert (host.folder / ".path").read_text() == "/usr/bin:/bin\n"
    assert drop_in.read_text().startswith("[Service]\nNice=5\n\n[Service]\nEnvironment=")
    assert host.told == ["daemon-reload"]


@pytest.mark.parametrize("mode", [0o000, 0o777, 0o2750])
def test_its_folder_is_closed_to_others(host: Host, mode: int) -> None:
    runner = host.runner()
    runner.settings()
    host.folder.chmod(mode)
    assert runner.differs() == [f"{host.folder} (owner or mode)"]
    runner.settings()
    assert runner.differs() == []
    assert stat.S_IMODE(host.folder.stat().st_mode) == 0o750
    # That of jobs may be on a disk that knows no modes.
    host.work.chmod(0o755)
    assert runner.differs() == []


@pytest.mark.parametrize("name", [".service", ".runner", ".staged"])
def test_a_closed_folder_that_a_job_has_put_in_the_way_goes(host: Host, name: str) -> None:
    host.serve()
    (host.folder / name).unlink(missing_ok=True)
    inner = host.folder / name / "a/b"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        folder.chmod(0)
    host.runner()._remove_inside(name)
    assert not (host.folder / name).exists()


def test_a_tree_that_is_too_deep_stops_nothing(host: Host) -> None:
    # A path so long can be made only step by step.
    deep = "cd runner; for i in $(seq 1200); do mkdir d && cd -P d || exit 1; done"
    subprocess.run(["bash", "-c", deep], cwd=host.folder.parent, check=True)
    host.runner()._give(host.folder)
    host.runner()._remove_inside("d")
    assert not (host.folder / "d").exists()


def test_files_of_the_runner_are_its_user_s_alone(host: Host) -> None:
    _before(host)
    runner = host.runner()
    runner.settings()
    for name in (".credentials", ".credentials_migrated"):
        (host.folder / name).chmod(0o644)
        assert runner.differs() == [f"{host.folder / name} (owner and mode)"]
        runner.settings()
    runner.settings()
    assert runner.differs() == []
    modes = {
        name: stat.S_IMODE((host.folder / name).stat().st_mode)
        for name in (*CONFIGURATION, *MIGRATED, ".env", ".path")
    }
    assert modes == dict.fromkeys(modes, 0o600)
    assert len(modes) == 7


def test_a_work_folder_that_is_not_there_is_made(host: Host) -> None:
    host.work.rmdir()
    runner = host.runner()
    assert f"{host.work} (owner)" in runner.differs()
    runner.settings()
    assert host.work.is_dir()
    assert runner.differs() == []


def test_an_empty_wrapper_of_the_service_is_written_anew(host: Host) -> None:
    host.serve()
    (host.folder / "bin/runsvc.sh").write_text("#!/bin/sh\n")
    host.runner().settings()
    # An update of the runner's own has left it so.
    (host.folder / "runsvc.sh").write_text("")
    assert host.runner().differs() == [str(host.folder / "runsvc.sh")]
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
    assert host.runner().is_stale(unit) is False
    assert host.runner().is_stale({**unit, "NeedDaemonReload": "yes"}) is True


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
    assert changed.differs() == []
    assert changed.is_stale(unit) is True


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
    assert host.runner().is_stale(unit) is True


def test_a_service_that_somebody_else_has_started_is_stale(host: Host, start: Start) -> None:
    host.serve()
    host.runner().settings()
    unit = {"MainPID": str(start("/bin/sleep", "60")), "NeedDaemonReload": "no"}
    assert host.runner().is_stale(unit) is True


def test_a_service_that_does_not_run_is_not_stale(host: Host) -> None:
    host.serve()
    assert host.runner().is_stale({"MainPID": "0", "NeedDaemonReload": "no"}) is False


def test_a_stamp_says_nothing_of_what_is_secret(host: Host) -> None:
    host.serve()
    host.runner(environment=["https_proxy=http://anna:word@proxy"]).settings()
    assert "word" not in (host.units / f"{UNIT}.d" / DROP_IN).read_text()


# What is run as the user.


def test_a_token_is_in_the_environment_and_no_argument(host: Host) -> None:
    host.install()
    host.config('echo "$*"; env')
    runner = host.runner(
        config=["--name", "pi"], token=GIVEN, environment=["https_proxy=http://proxy"]
    )
    said = runner.configure()["said"].splitlines()
    assert said[0] == "--unattended --name pi"
    assert f"ACTIONS_RUNNER_INPUT_TOKEN={GIVEN}" in said
    assert "https_proxy=http://proxy" in said
    assert f"USER={USER}" in said


def test_what_a_program_says_when_it_fails_is_told_without_the_token(host: Host) -> None:
    host.config(f"echo one; echo bad {GIVEN}; exit 3")
    with pytest.raises(
        StepError, match=r"^config\.sh has ended with status 3: one / bad …$"
    ) as failure:
        host.runner(token=GIVEN).configure()
    assert GIVEN not in str(failure.value)


def test_a_program_that_does_not_end_is_killed_with_what_it_has_started(host: Host) -> None:
    host.config("sleep 60 & echo $! > started; wait")
    with pytest.raises(StepError, match=r"config\.sh has not ended within 1 s"):
        host.runner(seconds=1).configure()
    started = Path("/proc") / (host.folder / "started").read_text().strip() / "stat"
    for _try in range(100):
        # Whoever is to wait for it may be slow.
        if not started.exists() or ") Z " in started.read_text():
            return
        time.sleep(0.05)
    pytest.fail("it goes on")


def test_a_program_that_cannot_be_run_is_told(host: Host) -> None:
    with pytest.raises(StepError, match=r"^config\.sh has ended with status 127: .*No such file"):
        host.runner().configure()


def test_what_a_registration_that_was_cut_off_has_left_goes_before_the_next(host: Host) -> None:
    _before(host)
    host.config("ls -A")
    said = host.runner().configure()["said"].split()
    assert {*CONFIGURATION[1:], *MIGRATED} & set(said) == set()


def test_what_is_forgotten_is_gone_even_without_a_program(host: Host) -> None:
    _before(host)
    host.runner().forget()
    assert sorted(path.name for path in host.folder.iterdir()) == [".service", "bin"]


def test_what_is_forgotten_is_gone_even_without_its_user(host: Host, tmp_path: Path) -> None:
    host.configure()
    (host.folder / ".credentials").unlink()
    (tmp_path / "of root").touch()
    (host.folder / ".credentials").symlink_to(tmp_path / "of root")
    host.runner(user="no-such-user").forget()
    assert [path.name for path in host.folder.iterdir()] == ["bin"]
    assert (tmp_path / "of root").exists()


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
    assert host.told == []


def test_no_step_is_done_in_check_mode(run: Run, host: Host) -> None:
    host.serve()
    answer = run(github_runner_local.main, **_options(host, step="start", _ansible_check_mode=True))
    assert answer["failed"]
    assert answer["msg"] == "the step start changes something, and is not for check mode"
    assert host.told == []


def test_a_step_that_fails_says_why(run: Run, host: Host) -> None:
    answer = run(github_runner_local.main, **_options(host, step="upgrade"))
    assert answer["failed"]
    assert STAGED in answer["msg"]


def test_each_step_is_one_of_the_runner_s(run: Run, host: Host) -> None:
    documented = yaml.safe_load(github_runner_local.DOCUMENTATION)
    steps = documented["options"]["step"]["choices"]
    assert [step for step in steps if not callable(getattr(Runner, step, None))] == []
    answer = run(github_runner_local.main, **_options(host, step="dance"))
    assert f"value of step must be one of: {', '.join(steps)}, got: dance" in answer["msg"]


def test_the_options_are_those_that_are_documented(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ToldError(Exception):
        pass

    def module(**options: Any) -> None:
        raise ToldError(options)

    monkeypatch.setattr(github_runner_local, "AnsibleModule", module)
    with pytest.raises(ToldError) as told:
        github_runner_local.main()
    spec = told.value.args[0]["argument_spec"]
    documented = yaml.safe_load(github_runner_local.DOCUMENTATION)["options"]
    assert set(spec) == set(documented) == {"step", *host.runner().options}
    for name, one in spec.items():
        for key in ("type", "default", "choices", "elements"):
            assert one.get(key) == documented[name].get(key), name
        assert one.get("required", False) == documented[name].get("required", False), name
    assert {name for name, one in spec.items() if one.get("no_log")} == {"environment", "token"}
