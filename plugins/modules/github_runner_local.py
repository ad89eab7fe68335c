#!/usr/bin/python
# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The half of github_runner that works on the device: it looks there, and does one step."""

from __future__ import annotations

DOCUMENTATION = r"""
module: github_runner_local
short_description: What M(rpi_camera.fleet.github_runner) does on the device itself
version_added: 0.1.0
description:
  - Looks at what is on a device of a GitHub Actions runner, or does one step there.
  - It is called by M(rpi_camera.fleet.github_runner), which decides what is to be done, and is not
    meant to be used by itself; its options may change in any release.
options:
  step:
    description: What is to be done.
    type: str
    required: true
    choices: [look, stage, swap, set_aside, put_back, configure, unregister, forget, tidy,
              install_service, uninstall_service, settings, start, restart, stop, wait]
  folder:
    description: Where the runner is installed.
    type: path
    required: true
  user:
    description: As whom it runs.
    type: str
    required: true
  work_folder:
    description: Where its jobs work.
    type: path
    required: true
  environment:
    description: The lines of C(.env).
    type: list
    elements: str
    default: []
  path:
    description: The content of C(.path).
    type: str
    default: ""
  drop_in:
    description: What is added to the unit.
    type: str
    default: ""
  archive:
    description: The runner's archive, on the device.
    type: path
  sha256:
    description: Its checksum.
    type: str
  config:
    description: The arguments of C(config.sh), without the token.
    type: list
    elements: str
    default: []
  token:
    description: A registration token or a remove token.
    type: str
  seconds:
    description: How long the step may take.
    type: int
    default: 120
attributes:
  check_mode:
    description: Can run in check mode and say there what it would change.
    support: partial
    details:
      - In check mode there is only O(step=look).
  diff_mode:
    description: Returns what has changed, or would change, in diff mode.
    support: none
seealso:
  - module: rpi_camera.fleet.github_runner
author:
  - rpi_camera.fleet contributors (@rpi-camera)
"""

EXAMPLES = r"""
- name: Look at a runner's files and unit
  rpi_camera.fleet.github_runner_local:
    step: look
    folder: /opt/github-runner
    user: github-runner
    work_folder: /var/lib/github-runner/work
"""

RETURN = r"""
found:
  description: What is there.
  returned: when O(step=look)
  type: dict
  sample: {"service": "actions.runner.octo-camera.pi-1.service", "units": [], "workers": []}
said:
  description: What the step's program has printed.
  returned: when there is one
  type: str
  sample: "√ Runner successfully added"
busy:
  description: Whether the step was not done because a job runs.
  returned: when O(step) stops the listener
  type: bool
  sample: false
heard:
  description: Whether the journal says that the runner listens for jobs.
  returned: when O(step=wait)
  type: bool
  sample: true
"""

import contextlib
import hashlib
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

UNITS = Path("/etc/systemd/system")
READY = "Listening for Jobs"
DELETED = "registration has been deleted from the server"
DROP_IN = "rpi_camera.conf"
# By it the running service says with which settings it was started.
STAMP = "RPI_CAMERA_RUNNER_SETTINGS"
# What a runner cannot do without; each is written anew by another step than the next.
PARTS = ("config.sh", "run.sh", "env.sh", "bin/Runner.Listener", "bin/runsvc.sh")
# What a version is unpacked to; its name while it is put in place; and an older configuration that
# is kept until the next one is there.
STAGED = ".staged"
NEXT = ".next"
ASIDE = ".aside"
CONFIGURATION = (".runner", ".credentials", ".credentials_rsaparams")
PRIVATE = (*CONFIGURATION, ".env", ".path")
_PROPERTIES = "LoadState,ActiveState,UnitFileState,MainPID,InvocationID,NeedDaemonReload,User"


class StepError(Exception):
    """Why a step could not be done, in one sentence, and what its program has said."""


class Runner:
    """A runner on this device: its folder, its user and its unit."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.folder = Path(options["folder"])
        self.user = str(options["user"])
        self.seconds = int(options["seconds"])

    # Looking.

    def look(self) -> dict[str, Any]:
        """Return what is there, as JSON can hold it."""
        service = self.service()
        units = self.units()
        unit = _unit(service) if service else {}
        return {
            "time": time.time(),
            "architecture": os.uname().machine,
            "user": self._has_user(),
            "version": self.version(),
            "built": self._built(),
            "configuration": self.configuration(self.folder, (".credentials", "svc.sh")),
            "aside": self.configuration(self.folder / ASIDE, ()),
            "service": service,
            "units": units,
            "unit": unit,
            "listeners": self.processes("Runner.Listener"),
            "workers": self.processes("Runner.Worker"),
            "heard": self.heard(unit),
            "disowned": self.is_disowned(service),
            "differs": self.differs(service),
            "is_stale": self.is_stale(service, unit),
            "others": self.others(),
        }

    def _has_user(self) -> bool:
        try:
            pwd.getpwnam(self.user)
        except KeyError:
            return False
        return True

    def version(self) -> str:
        """Return which version is installed; nothing if there is none that is whole."""
        parts = [self.folder / name for name in PARTS]
        if (self.folder / NEXT).exists() or not all(_has_content(part) for part in parts):
            return ""
        try:
            done = self.run_as_user("bin/Runner.Listener", "--version")
        except StepError:
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    def _built(self) -> float:
        """Return when the installed version was built (s since 1970), as its archive says."""
        try:
            return (self.folder / "bin/Runner.Listener").stat().st_mtime
        except OSError:
            return 0.0

    def configuration(self, folder: Path, rest: tuple[str, ...]) -> dict[str, Any] | None:
        """Return what `.runner` says; None if it is not there, nothing in it if it is broken.

        It begins with a byte order mark, which json does not take.

        Args:
            folder: where it is.
            rest: what `config.sh` writes beside it; if any is missing, it was cut off.

        """
        path = folder / ".runner"
        if not path.exists():
            return None
        try:
            said = json.loads(path.read_text("utf-8-sig"))
            wanted = {
                "id": int(said["agentId"]),
                "name": str(said["agentName"]),
                "url": str(said["gitHubUrl"]),
                "work_folder": str(said["workFolder"]),
                "ephemeral": bool(said.get("ephemeral", False)),
                "disable_update": bool(said.get("disableUpdate", False)),
            }
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return wanted if all(_has_content(folder / name) for name in rest) else {}

    def service(self) -> str:
        """Return the unit that `.service` names; nothing if it names none."""
        try:
            return (self.folder / ".service").read_text().strip()
        except (OSError, ValueError):
            return ""

    def units(self) -> list[str]:
        """Return the units that run what is in the folder, whatever `.service` says."""
        return [path.name for path in _runner_units() if self._is_ours(path)]

    def _is_ours(self, path: Path) -> bool:
        own = os.path.realpath(self.folder)
        return any(os.path.realpath(folder) == own for folder in _values(path, "WorkingDirectory"))

    def others(self) -> list[str]:
        """Return the units of other runners that run as the same user."""
        return [
            path.name
            for path in _runner_units()
            if not self._is_ours(path) and self.user in _values(path, "User")
        ]

    def processes(self, program: str) -> list[int]:
        """Return the processes that run a program of the folder's `bin`, or of one beside it.

        The runner's own update puts a `bin.VERSION` there, and makes `bin` a link to it.
        """
        found = []
        begin = f"{os.path.realpath(self.folder)}/bin"
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_text(errors="replace").split("\0")
            except OSError:
                continue
            # The program, or what an interpreter with an option runs.
            for word in words[:3]:
                if os.path.basename(word) == program and _within(word, begin):
                    found.append(int(entry.name))
                    break
        return found

    def heard(self, unit: Mapping[str, str]) -> bool:
        """Whether the journal says that what runs listens, or no longer has its beginning."""
        invocation = unit.get("InvocationID", "")
        if not invocation:
            return False
        journal = ("journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=1")
        if _ask(*journal, f"--grep={READY}", f"_SYSTEMD_INVOCATION_ID={invocation}").strip():
            return True
        return not _ask(*journal, f"INVOCATION_ID={invocation}").strip()

    def is_disowned(self, service: str) -> bool:
        """Whether GitHub has said, since it last listened, that it does not know the runner.

        Its registration may be there, and be for who has replaced it.
        """
        if not service:
            return False
        log = ("--quiet", "--no-pager", "--output=cat", "--lines=200", f"--unit={service}")
        return DELETED in _ask("journalctl", *log).rpartition(READY)[2]

    # Settings: `.env`, `.path`, and what is added to the unit.

    def differs(self, service: str) -> list[str]:
        """Return which of the files that the role decides are not as it wants them."""
        names = [
            name for name, wanted in self._wanted(service).items() if _text(Path(name)) != wanted
        ]
        for name in PRIVATE:
            path = self.folder / name
            if path.exists() and not self._is_private(path):
                names.append(f"{path} (owner and mode)")
        wrapper = self.folder / "bin/runsvc.sh"
        if service and _has_content(wrapper) and _text(self.folder / "runsvc.sh") != _text(wrapper):
            names.append(str(self.folder / "runsvc.sh"))
        if not self._owns(Path(self.options["work_folder"])):
            names.append(f"{self.options['work_folder']} (owner)")
        return names

    def _wanted(self, service: str) -> dict[str, str]:
        files = {
            str(self.folder / ".env"): "".join(f"{line}\n" for line in self.options["environment"]),
            str(self.folder / ".path"): self.options["path"] + "\n",
        }
        if service:
            files[str(UNITS / f"{service}.d" / DROP_IN)] = self._drop_in()
        return files

    def _drop_in(self) -> str:
        """Return what is added to the unit, with a stamp of all that the service reads at start.

        Not of their content, since a proxy's password may be in it and everybody may ask systemd.
        """
        state = [self.options["drop_in"]]
        for name in (".env", ".path"):
            with contextlib.suppress(OSError):
                status = (self.folder / name).stat()
                state.append(f"{status.st_ino} {status.st_mtime_ns} {status.st_size}")
        stamp = hashlib.sha256("\n".join(state).encode()).hexdigest()[:16]
        return f"{self.options['drop_in'].rstrip()}\n\n[Service]\nEnvironment={STAMP}={stamp}\n"

    def is_stale(self, service: str, unit: Mapping[str, str]) -> bool:
        """Whether the service runs with other settings than those that are there."""
        main = unit.get("MainPID", "0")
        if main == "0":
            return False
        # It may have been started with what somebody has written there.
        if any(_text(Path(name)) != wanted for name, wanted in self._wanted(service).items()):
            return True
        try:
            environment = Path(f"/proc/{main}/environ").read_text(errors="replace").split("\0")
        except OSError:
            return True
        line = next((line for line in environment if line.startswith(f"{STAMP}=")), "")
        drop_in = _text(UNITS / f"{service}.d" / DROP_IN) or ""
        return f"Environment={line}\n" not in drop_in or unit["NeedDaemonReload"] == "yes"

    def _owner(self) -> tuple[int, int]:
        account = pwd.getpwnam(self.user)
        return account.pw_uid, account.pw_gid

    def _is_private(self, path: Path) -> bool:
        status = path.lstat()
        try:
            owner = self._owner()
        except KeyError:
            return False
        return (status.st_uid, status.st_gid) == owner and stat.S_IMODE(status.st_mode) == 0o600

    def _work(self, top: Path) -> Iterator[Path]:
        """Yield a work folder and what is in it, not what is below that."""
        if top.is_dir():
            yield top
            yield from top.iterdir()

    def _owns(self, top: Path) -> bool:
        """Whether a work folder is the user's, and so is what lies in it."""
        try:
            uid = self._owner()[0]
        except KeyError:
            return False
        return top.is_dir() and all(path.lstat().st_uid == uid for path in self._work(top))

    def settings(self) -> dict[str, Any]:
        """Have the files be as they are wanted; a restart, if need be, is another step."""
        uid, gid = self._owner()
        work = Path(self.options["work_folder"])
        if not self._owns(work):
            work.mkdir(mode=0o755, parents=True, exist_ok=True)
            for path in self._work(work):
                if path.lstat().st_uid != uid:
                    _run(["chown", "--recursive", "--no-dereference", f"{uid}:{gid}", str(path)])
        service = self.service()
        # The drop-in last, since its stamp is of the two others.
        for name in list(self._wanted(service)):
            wanted = self._wanted(service)[name]
            if _text(Path(name)) != wanted:
                in_folder = Path(name).parent == self.folder
                Path(name).parent.mkdir(mode=0o755, exist_ok=True)
                _write(
                    Path(name),
                    wanted,
                    0o600 if in_folder else 0o644,
                    (uid, gid) if in_folder else (0, 0),
                )
        for name in PRIVATE:
            path = self.folder / name
            if path.exists() and not path.is_symlink() and not self._is_private(path):
                os.chown(path, uid, gid)
                path.chmod(0o600)
        wrapper = _text(self.folder / "bin/runsvc.sh")
        if service and wrapper and _text(self.folder / "runsvc.sh") != wrapper:
            _write(self.folder / "runsvc.sh", wrapper, 0o755, (uid, gid))
        if service:
            _run(["systemctl", "daemon-reload"])
        return {}

    # The steps.

    def run_as_user(
        self, *command: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the folder as the runner's user, and return what it said.

        Args:
            command: the program, relative to the folder, and its arguments.
            environment: what it has beside the least; where tokens are given.

        """
        account = pwd.getpwnam(self.user)
        least = {
            "PATH": self.options["path"] or "/usr/local/bin:/usr/bin:/bin",
            "HOME": account.pw_dir,
            "USER": self.user,
            "LOGNAME": self.user,
            "LANG": "C.UTF-8",
        }
        try:
            return subprocess.run(
                [str(self.folder / command[0]), *command[1:]],
                cwd=self.folder,
                env={**least, **(environment or {})},
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=os.getgrouplist(self.user, account.pw_gid),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=self.seconds,
                check=False,
                encoding="utf-8",
                errors="replace",
            )
        except subprocess.TimeoutExpired as error:
            raise StepError(f"{command[0]} has not ended within {self.seconds} s") from error
        except OSError as error:
            raise StepError(f"{command[0]} cannot be run: {error}") from error

    def _config(self, *arguments: str) -> dict[str, Any]:
        """Run config.sh; a proxy is in its environment, and so is the token."""
        environment = dict(line.split("=", 1) for line in self.options["environment"])
        if self.options["token"]:
            # Not an argument, which everybody on the device could read.
            environment["ACTIONS_RUNNER_INPUT_TOKEN"] = self.options["token"]
        done = self.run_as_user("config.sh", *arguments, environment=environment)
        if done.returncode != 0:
            words = done.stdout.replace(self.options["token"] or "\0", "…")
            raise StepError(f"config.sh has ended with status {done.returncode}: {_last(words)}")
        return {"said": done.stdout}

    def configure(self) -> dict[str, Any]:
        """Register the runner."""
        # Left by a run that was cut off, whose registration is replaced.
        for name in CONFIGURATION[1:]:
            (self.folder / name).unlink(missing_ok=True)
        return self._config("--unattended", *self.options["config"])

    def unregister(self) -> dict[str, Any]:
        """Have the runner remove its registration."""
        return self._config("remove")

    def forget(self) -> dict[str, Any]:
        """Have the runner forget its registration, without GitHub; files that it left go too."""
        said = {}
        with contextlib.suppress(StepError):
            said = self._config("remove", "--local")
        for name in CONFIGURATION:
            (self.folder / name).unlink(missing_ok=True)
            (self.folder / f"{name}_migrated").unlink(missing_ok=True)
        return said

    def install_service(self) -> dict[str, Any]:
        """Have the runner's own svc.sh install its unit; it names it."""
        done = _run([str(self.folder / "svc.sh"), "install", self.user], cwd=self.folder)
        if done.returncode != 0 or not self.service():
            raise StepError(
                f"svc.sh install has ended with {done.returncode}: {_last(done.stdout)}"
            )
        return {"said": done.stdout}

    def _unless_busy(self, act: Callable[[], None]) -> dict[str, Any]:
        """Do what ends the listener, unless a job has begun since GitHub was asked."""
        if self.processes("Runner.Worker"):
            return {"busy": True}
        act()
        return {"busy": False}

    def uninstall_service(self) -> dict[str, Any]:
        """Stop the units that are the runner's, and remove them and `.service`.

        Not by svc.sh, which is not there when config.sh was cut off.
        """

        def act() -> None:
            for unit in self.units():
                _systemctl("disable", "--now", unit)
                (UNITS / unit).unlink(missing_ok=True)
                shutil.rmtree(UNITS / f"{unit}.d", ignore_errors=True)
            self._end_listeners()
            named = self.service()
            # Another runner's unit, which a copied `.service` names, stays.
            if named.startswith("actions.runner.") and not (UNITS / named).exists():
                shutil.rmtree(UNITS / f"{named}.d", ignore_errors=True)
            (self.folder / ".service").unlink(missing_ok=True)
            _systemctl("daemon-reload")

        return self._unless_busy(act)

    def _end_listeners(self) -> None:
        """End listeners that their unit has left behind, as its KillMode does."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            for process in self.processes("Runner.Listener"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, how)
            for _try in range(50):
                if not self.processes("Runner.Listener"):
                    return
                time.sleep(0.1)

    def stop(self) -> dict[str, Any]:
        """Stop what runs here, unless a job does."""

        def act() -> None:
            for unit in self.units():
                _systemctl("stop", unit)
            self._end_listeners()

        return self._unless_busy(act)

    def start(self) -> dict[str, Any]:
        """Start the unit, now and at every boot."""
        service = self.service()
        _systemctl("daemon-reload")
        # It may have failed before, and systemd keeps count.
        _run(["systemctl", "reset-failed", service])
        _systemctl("enable", service)
        _systemctl("start", service)
        return {"busy": False}

    def restart(self) -> dict[str, Any]:
        """Stop the unit unless a job runs, and start it."""
        return self.start() if not self.stop()["busy"] else {"busy": True}

    def wait(self) -> dict[str, Any]:
        """Wait until the journal says that the runner listens."""
        deadline = time.monotonic() + self.seconds
        service = self.service()
        while True:
            unit = _unit(service)
            heard = bool(self.processes("Runner.Listener")) and self.heard(unit)
            if heard or time.monotonic() > deadline:
                break
            time.sleep(0.3)
        if heard:
            return {"heard": True}
        log = _ask(
            "journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=15", f"--unit={service}"
        )
        return {"heard": False, "said": f"{service} is {unit['ActiveState']}; {_last(log)}"}

    def stage(self) -> dict[str, Any]:
        """Unpack a version beside what is there, which is not touched."""
        archive = Path(self.options["archive"])
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.options["sha256"]:
            raise StepError(
                f"the archive has the SHA-256 {found} on the device, not {self.options['sha256']}"
            )
        uid, gid = self._owner()
        self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        os.chown(self.folder, uid, gid)
        staged = self.folder / STAGED
        _remove(staged)
        staged.mkdir(mode=0o700)
        unpack = ["tar", "--extract", "--gzip", "--no-same-owner", f"--file={archive}"]
        done = _run([*unpack, f"--directory={staged}"])
        if done.returncode != 0:
            _remove(staged)
            raise StepError(f"the archive cannot be unpacked: {_last(done.stdout)}")
        # What its user may not change it cannot update.
        _run(["chown", "--recursive", "--no-dereference", f"{uid}:{gid}", str(staged)])
        # A power cut must not leave names without their content.
        os.sync()
        return {}

    def swap(self) -> dict[str, Any]:
        """Put the staged version in place; what is not the archive's own stays.

        As long as NEXT is there, the version counts as none, so a swap that was cut off is done
        again.
        """
        upcoming = self.folder / NEXT
        _remove(upcoming)
        (self.folder / STAGED).rename(upcoming)
        for part in sorted(upcoming.iterdir()):
            _remove(self.folder / part.name)
            part.rename(self.folder / part.name)
        os.sync()
        upcoming.rmdir()
        return {}

    def set_aside(self) -> dict[str, Any]:
        """Stop the unit unless a job runs, and set the configuration aside."""

        def act() -> None:
            for unit in self.units():
                _systemctl("stop", unit)
            self._end_listeners()
            aside = self.folder / ASIDE
            _remove(aside)
            aside.mkdir(mode=0o700)
            # `.runner` last: without it there is nothing to put back.
            for name in reversed(CONFIGURATION):
                if (self.folder / name).exists():
                    (self.folder / name).rename(aside / name)

        return self._unless_busy(act)

    def put_back(self) -> dict[str, Any]:
        """Have the configuration that was set aside again, and start its unit."""
        aside = self.folder / ASIDE
        for name in reversed(CONFIGURATION):
            if (aside / name).exists():
                (aside / name).rename(self.folder / name)
        _remove(aside)
        for unit in self.units():
            _systemctl("start", unit)
        return {}

    def tidy(self) -> dict[str, Any]:
        """Remove the configuration that was set aside."""
        _remove(self.folder / ASIDE)
        return {}


def _values(path: Path, key: str) -> list[str]:
    """Return what a unit says of a key."""
    return [
        line.partition("=")[2].strip()
        for line in (_text(path) or "").splitlines()
        if line.startswith(f"{key}=")
    ]


def _runner_units() -> list[Path]:
    return sorted(UNITS.glob("actions.runner.*.service"))


def _within(word: str, begin: str) -> bool:
    """Whether a program's path begins so, links followed; it may have been removed meanwhile."""
    return word.startswith(begin) or os.path.realpath(word).startswith(begin)


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def _write(path: Path, content: str, mode: int, owner: tuple[int, int]) -> None:
    """Write a file as a whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    # Not even for a moment can others read what is in it.
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fchown(file.fileno(), *owner)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    new.replace(path)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder; it may not be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _run(command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    # Stopping a runner may take the five minutes that its unit allows.
    return subprocess.run(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=360,
        check=False,
        encoding="utf-8",
        errors="replace",
    )


def _systemctl(*arguments: str) -> None:
    done = _run(["systemctl", *arguments])
    if done.returncode != 0:
        raise StepError(f"systemctl {' '.join(arguments)}: {_last(done.stdout)}")


def _ask(*command: str) -> str:
    """Return what a program prints; nothing if it fails."""
    done = _run(list(command))
    return done.stdout if done.returncode == 0 else ""


def _unit(name: str) -> dict[str, str]:
    """Return what systemd says of a unit."""
    said = _ask("systemctl", "show", f"--property={_PROPERTIES}", name)
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


def _last(text: str) -> str:
    """Return the last lines of what a program has said, as one."""
    return " / ".join(line.strip() for line in text.splitlines() if line.strip())[-1000:]


def main() -> None:
    """Do the step that the options name."""
    module = AnsibleModule(
        supports_check_mode=True,
        argument_spec={
            "step": {
                "type": "str",
                "required": True,
                "choices": [
                    "look",
                    "stage",
                    "swap",
                    "set_aside",
                    "put_back",
                    "configure",
                    "unregister",
                    "forget",
                    "tidy",
                    "install_service",
                    "uninstall_service",
                    "settings",
                    "start",
                    "restart",
                    "stop",
                    "wait",
                ],
            },
            "folder": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "work_folder": {"type": "path", "required": True},
            "environment": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "path": {"type": "str", "default": ""},
            "drop_in": {"type": "str", "default": ""},
            "archive": {"type": "path"},
            "sha256": {"type": "str"},
            "config": {"type": "list", "elements": "str", "default": []},
            "token": {"type": "str", "no_log": True},
            "seconds": {"type": "int", "default": 120},
        },
    )
    runner = Runner(module.params)
    step = module.params["step"]
    if step == "look":
        module.exit_json(changed=False, found=runner.look())
    if module.check_mode:
        module.fail_json(msg=f"the step {step} changes something, and is not for check mode")
    try:
        answer = getattr(runner, step)()
    except (StepError, OSError, subprocess.TimeoutExpired, KeyError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=step != "wait", **answer)


if __name__ == "__main__":
    main()
