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
    choices: [look, hold, release, stage, upgrade, configure, reconfigure, unregister, forget,
              tidy, install_service, uninstall_service, settings, start, restart, wait]
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
  unit:
    description: The name of its unit, if that is to be made.
    type: str
    default: ""
  starts:
    description: Whether an upgrade ends with the unit's start.
    type: bool
    default: false
  version:
    description: The version of the archive.
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
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
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
# What a version is unpacked to; its name while it is put in place; which one is in place; and an
# older configuration that is kept until the next one is there.
STAGED = ".staged"
NEXT = ".next"
VERSION = ".version"
ASIDE = ".aside"
CONFIGURATION = (".runner", ".credentials", ".credentials_rsaparams")
# GitHub moves a configuration by itself at times, and config.sh takes these for one.
MIGRATED = (".runner_migrated", ".credentials_migrated")
PRIVATE = (*CONFIGURATION, *MIGRATED, ".env", ".path")
# As GitHub's own svc.sh names units. What `.service` says is not gone by: it is the jobs' user's.
UNIT_NAME = re.compile(r"actions\.runner\.[A-Za-z0-9_.-]+\.service")
# A version is replaced by the runner itself as bin.VERSION, to which bin is a link then.
UPDATED = re.compile(r"(?:bin|externals)\.([0-9]+\.[0-9]+\.[0-9]+)")
# By any of these a folder is a runner's.
MARKS = {"config.sh", "run.sh", ".runner", ".credentials"}
# The mode of the runner's folders; and how deep in them files are given to their user.
CLOSED = 0o750
DEPTH = 100
# In bytes: no file that is read here is longer.
LONGEST = 1_000_000
# In seconds: how long what is done in the folder may take; a job may have put anything there.
LIMIT = 120
# In seconds: for how long a listener stands still at most.
HOLD = 60
UNIT = """\
[Unit]
Description=GitHub Actions Runner ({name})
After=network.target

[Service]
ExecStart={folder}/runsvc.sh
User={user}
WorkingDirectory={folder}
KillMode=process
KillSignal=SIGTERM
TimeoutStopSec=5min

[Install]
WantedBy=multi-user.target
"""
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
        units = self.units()
        unit = _unit(units[0]) if len(units) == 1 else {}
        return {
            "time": time.time(),
            "architecture": os.uname().machine,
            "user": self._has_user(),
            "version": self.version(),
            "built": self._built(),
            "configuration": self.configuration(self.folder, CONFIGURATION[1:]),
            "aside": self.configuration(self.folder / ASIDE, ()),
            "service": self.service(),
            "units": units,
            "unit": unit,
            "overrides": self.overrides(),
            "listeners": self.processes("Runner.Listener"),
            "workers": self.processes("Runner.Worker"),
            "heard": self.heard(unit),
            "disowned": self.is_disowned(self.unit()),
            "differs": self.differs(),
            "is_stale": self.is_stale(unit),
            "others": self.others(),
        }

    def _has_user(self) -> bool:
        try:
            pwd.getpwnam(self.user)
        except KeyError:
            return False
        return True

    def version(self) -> str:
        """Return which version is installed; nothing if there is none that is whole.

        Its program is not asked: that writes a log, and is what a job has left there.
        """
        parts = [self.folder / name for name in PARTS]
        if (self.folder / NEXT).exists() or not all(_has_content(part) for part in parts):
            return ""
        with contextlib.suppress(OSError):
            if updated := UPDATED.fullmatch(Path(os.readlink(self.folder / "bin")).name):
                return updated[1]
        return (_text(self.folder / VERSION) or "").strip()

    def _built(self) -> float:
        """Return when the installed version was built (s since 1970), as its archive says."""
        try:
            return (self.folder / "bin/Runner.Listener").stat().st_mtime
        except OSError:
            return 0.0

    def configuration(self, folder: Path, rest: tuple[str, ...]) -> dict[str, Any] | None:
        """Return what `.runner` says; None if it is not there, nothing in it if it is broken.

        Args:
            folder: where it is.
            rest: what `config.sh` writes beside it; if any is missing, it was cut off.

        """
        path = folder / ".runner"
        if not os.path.lexists(path):
            return None
        try:
            said = _json(path)
            wanted = {
                "id": int(said["agentId"]),
                "name": str(said["agentName"]),
                "url": str(said["gitHubUrl"]),
                "work_folder": str(said["workFolder"]),
                "ephemeral": bool(said.get("ephemeral", False)),
                "disable_update": bool(said.get("disableUpdate", False)),
            }
            # Ansible takes no answer with what is no text.
            json.dumps(wanted, ensure_ascii=False).encode()
            # A power cut may have left zeros in what was written before it.
            whole = all(isinstance(_json(folder / name), dict) for name in rest)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return {}
        return wanted if whole else {}

    def service(self) -> str:
        """Return what `.service` says; nothing if it is not there."""
        return (_text(self.folder / ".service") or "").strip()

    def unit(self) -> str:
        """Return the unit that is the runner's; nothing if there is none, or more than one."""
        units = self.units()
        return units[0] if len(units) == 1 else ""

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

    def _uids(self) -> set[int]:
        """Return as whom it may run: its user, or who has installed it by hand."""
        found = set()
        for name in {user for unit in self.units() for user in _values(UNITS / unit, "User")}:
            with contextlib.suppress(KeyError):
                found.add(pwd.getpwnam(name).pw_uid)
        with contextlib.suppress(OSError):
            found.add(self.folder.lstat().st_uid)
        # What root does there is no runner.
        found.discard(0)
        with contextlib.suppress(KeyError):
            found.add(self._owner()[0])
        return found

    def overrides(self) -> list[str]:
        """Return the files that somebody has put beside the unit, to have it run as another."""
        folder = UNITS / f"{self.unit() or self.options['unit']}.d"
        return [
            str(path)
            for path in sorted(folder.glob("*.conf"))
            if path.name != DROP_IN and set(_values(path, "User")) - {self.user}
        ]

    def processes(self, program: str) -> list[int]:
        """Return the processes that run a program of the folder's `bin`, or of one beside it.

        The runner's own update puts a `bin.VERSION` there, and makes `bin` a link to it.
        """
        found: list[int] = []
        uids = self._uids()
        begin = f"{os.path.realpath(self.folder)}/bin"
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if entry.stat().st_uid not in uids:
                    continue
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

    def differs(self) -> list[str]:
        """Return which of the files that the role decides are not as it wants them."""
        names = [name for name, wanted in self._wanted().items() if _text(Path(name)) != wanted]
        for name in PRIVATE:
            path = self.folder / name
            if os.path.lexists(path) and not self._is_private(path):
                names.append(f"{path} (owner and mode)")
        if self.unit() and not self._has_wrapper():
            names.append(str(self.folder / "runsvc.sh"))
        if self.folder.exists() and not (self._owns(self.folder) and self._is_closed()):
            names.append(f"{self.folder} (owner or mode)")
        if not self._owns(work := Path(self.options["work_folder"])):
            names.append(f"{work} (owner)")
        return names

    def _has_wrapper(self) -> bool:
        """Whether what the unit starts is what the installed version has for it."""
        wrapper = self.folder / "bin/runsvc.sh"
        return not _has_content(wrapper) or _text(self.folder / "runsvc.sh") == _text(wrapper)

    def _wanted(self) -> dict[str, str]:
        """Return what is to be in the files that the role decides, the drop-in at the end."""
        files = {
            str(self.folder / ".env"): "".join(f"{line}\n" for line in self.options["environment"]),
            str(self.folder / ".path"): self.options["path"] + "\n",
        }
        if unit := self.unit():
            files[str(UNITS / unit)] = self._unit_text(unit)
            files[str(UNITS / f"{unit}.d" / DROP_IN)] = self._drop_in()
        return files

    def _unit_text(self, unit: str) -> str:
        name = unit.removeprefix("actions.runner.").removesuffix(".service")
        return UNIT.format(name=name, folder=self.folder, user=self.user)

    def _drop_in(self) -> str:
        """Return what is added to the unit, with a stamp of all that the service reads at start.

        Not of their content, since a proxy's password may be in it and everybody may ask systemd.
        """
        state = [self.options["drop_in"]]
        for name in (".env", ".path"):
            with contextlib.suppress(OSError):
                status = (self.folder / name).lstat()
                state.append(f"{status.st_ino} {status.st_mtime_ns} {status.st_size}")
        stamp = hashlib.sha256("\n".join(state).encode()).hexdigest()[:16]
        return f"{self.options['drop_in'].rstrip()}\n\n[Service]\nEnvironment={STAMP}={stamp}\n"

    def is_stale(self, unit: Mapping[str, str]) -> bool:
        """Whether the service runs with other settings than those that are there."""
        main = unit.get("MainPID", "0")
        if main == "0":
            return False
        wanted = self._wanted()
        # It may have been started with what somebody has written there.
        if any(_text(Path(name)) != text for name, text in wanted.items()):
            return True
        try:
            environment = Path(f"/proc/{main}/environ").read_text(errors="replace").split("\0")
        except OSError:
            return True
        line = next((line for line in environment if line.startswith(f"{STAMP}=")), "")
        drop_in = list(wanted.values())[-1]
        return f"Environment={line}\n" not in drop_in or unit["NeedDaemonReload"] == "yes"

    def _owner(self) -> tuple[int, int]:
        account = pwd.getpwnam(self.user)
        return account.pw_uid, account.pw_gid

    def _is_private(self, path: Path) -> bool:
        status = path.lstat()
        try:
            uid = self._owner()[0]
        except KeyError:
            return False
        # With that mode its group can do nothing.
        return status.st_uid == uid and stat.S_IMODE(status.st_mode) == 0o600

    def _owns(self, top: Path) -> bool:
        """Whether a folder is the user's, and so is what lies in it.

        What is further below is seen to when the folder is given.
        """
        try:
            uid = self._owner()[0]
            with _opened(top) as folder:
                entries = [
                    os.stat(name, dir_fd=folder, follow_symlinks=False)
                    for name in os.listdir(folder)
                ]
                return os.fstat(folder).st_uid == uid and not any(
                    _can_be_given(entry, uid) for entry in entries
                )
        except (OSError, KeyError):
            return False

    def _is_closed(self) -> bool:
        """Whether nobody but the user can come into the runner's folder, who can."""
        try:
            return stat.S_IMODE(self.folder.lstat().st_mode) == CLOSED
        except OSError:
            return False

    def _give(self, top: Path) -> None:
        """Give a folder to the user, and all that is in it; no link is followed.

        Raises:
            StepError: it is none, or holds what is not the runner's.

        """
        uid, gid = self._owner()
        if os.path.realpath(top) != str(top):
            raise StepError(f"{top} is a link, or is below one; allowed is a folder itself")
        with _opened(top) as folder:
            # A disk of its own has only this in it; a runner's folder has what only runners have.
            there = set(os.listdir(folder)) - {"lost+found"}
            is_runner = top == self.folder and bool(not there or there & MARKS or self.units())
            if os.fstat(folder).st_uid != uid and there and not is_runner:
                raise StepError(f"{top} holds what is not the runner's; allowed is an empty one")
            try:
                _give_inside(folder, uid, gid, DEPTH)
                os.fchown(folder, uid, gid)
            except OSError as error:
                raise StepError(f"{top} cannot be given to {self.user}: {error}") from error

    def _have(self, top: Path) -> None:
        """Have a folder that is the user's, and so is what is in it; the runner's own is closed."""
        if not top.exists():
            top.mkdir(mode=CLOSED, parents=True)
        if not self._owns(top):
            self._give(top)
        if top == self.folder and not self._is_closed():
            with _opened(top) as folder:
                os.fchmod(folder, CLOSED)

    def _claim(self) -> None:
        """Have the folder be the user's if both are there, before anything is done in it.

        What is root's in it, or who has installed it by hand's, its user could not change.
        """
        if self.folder.exists() and self._has_user():
            self._have(self.folder)

    def settings(self) -> dict[str, Any]:
        """Have the files be as they are wanted; a restart, if need be, is another step."""
        self._have(self.folder)
        self._have(Path(self.options["work_folder"]))
        for name in (".env", ".path"):
            path, wanted = self.folder / name, self._wanted()[str(self.folder / name)]
            if _text(path) != wanted:
                self.inside(partial(_write, path, wanted, 0o600))
        for name in PRIVATE:
            path = self.folder / name
            if os.path.lexists(path) and not self._is_private(path):
                self.inside(partial(path.chmod, 0o600))
        if not (unit := self.unit()):
            return {}
        if not self._has_wrapper():
            wrapper = self.folder / "bin/runsvc.sh"
            self.inside(lambda: _write(self.folder / "runsvc.sh", wrapper.read_text(), 0o755))
        (UNITS / f"{unit}.d").mkdir(mode=0o755, exist_ok=True)
        for name, wanted in self._wanted().items():
            if Path(name).parent != self.folder and _text(Path(name)) != wanted:
                _write(Path(name), wanted, 0o644)
        _systemctl("daemon-reload")
        return {}

    # The steps.

    def inside(self, act: Callable[[], object]) -> None:
        """Do something in the folder as its user, who may have put anything there.

        Root would follow a link to where it leads; the user gets no further than a job does.

        Raises:
            StepError: it could not be done.

        """
        sys.stdout.flush()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            why = "it was not begun"
            try:
                os.close(reader)
                signal.alarm(LIMIT)
                self._become_user()
                act()
                why = ""
            except BaseException as error:
                why = str(error) or repr(error)
            finally:
                with contextlib.suppress(OSError):
                    os.write(writer, why.encode(errors="replace")[:4000])
                os._exit(1 if why else 0)
        os.close(writer)
        with open(reader, errors="replace") as answer:
            why = answer.read()
        _child, status = os.waitpid(child, 0)
        if status != 0:
            raise StepError(why or f"what was to be done in {self.folder} took over {LIMIT} s")

    def _become_user(self) -> None:
        if os.geteuid() == 0:
            uid, gid = self._owner()
            os.initgroups(self.user, gid)
            os.setgid(gid)
            os.setuid(uid)
        os.umask(0o022)

    def _config(self, *arguments: str) -> dict[str, Any]:
        """Run config.sh as the user; a proxy is in its environment, and so is the token."""
        account = pwd.getpwnam(self.user)
        environment = {
            "PATH": self.options["path"] or "/usr/local/bin:/usr/bin:/bin",
            "HOME": account.pw_dir,
            "USER": self.user,
            "LOGNAME": self.user,
            "LANG": "C.UTF-8",
            **dict(line.split("=", 1) for line in self.options["environment"]),
        }
        if self.options["token"]:
            # Not an argument, which everybody on the device could read.
            environment["ACTIONS_RUNNER_INPUT_TOKEN"] = self.options["token"]
        # With all that it has started, which would go on.
        bounded = ["/usr/bin/timeout", "--signal=KILL", str(self.seconds)]
        try:
            done = subprocess.run(
                [*bounded, str(self.folder / "config.sh"), *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
                encoding="utf-8",
                errors="replace",
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=os.getgrouplist(self.user, account.pw_gid),
            )
        except OSError as error:
            raise StepError(f"config.sh cannot be run: {error}") from error
        if done.returncode == -signal.SIGKILL:
            raise StepError(f"config.sh has not ended within {self.seconds} s")
        if done.returncode != 0:
            words = done.stdout.replace(self.options["token"] or "\0", "…")
            raise StepError(f"config.sh has ended with status {done.returncode}: {_last(words)}")
        return {"said": done.stdout}

    def configure(self) -> dict[str, Any]:
        """Register the runner."""
        self._claim()
        # Left by a run that was cut off, whose registration is replaced.
        self._remove_inside(*CONFIGURATION[1:], *MIGRATED)
        return self._config("--unattended", *self.options["config"])

    def _remove_inside(self, *names: str) -> None:
        def act() -> None:
            for name in names:
                _remove(self.folder / name)

        # Its user may be gone; removing follows no link.
        if self._has_user():
            self.inside(act)
        else:
            act()

    def reconfigure(self) -> dict[str, Any]:
        """Stop the unit unless a job runs, and register anew; if that fails, all is as before."""

        def act() -> None:
            self._claim()
            self._stop()
            try:
                self.inside(self._set_aside)
                try:
                    self.configure()
                except Exception:
                    self.inside(self._put_back)
                    raise
            except Exception:
                for unit in self.units():
                    # One that was installed by hand may be another user's, whose the files were.
                    if self.user not in _values(UNITS / unit, "User"):
                        _write(UNITS / unit, self._unit_text(unit), 0o644)
                        _run(["systemctl", "daemon-reload"])
                    _run(["systemctl", "start", unit])
                raise
            self._uninstall()

        return self._unless_busy(act)

    def _set_aside(self) -> None:
        aside = self.folder / ASIDE
        _remove(aside)
        aside.mkdir(mode=0o700)
        # `.runner` last: without it there is nothing to put back.
        for name in reversed((*CONFIGURATION, *MIGRATED)):
            if os.path.lexists(self.folder / name):
                (self.folder / name).rename(aside / name)

    def _put_back(self) -> None:
        aside = self.folder / ASIDE
        for name in reversed((*CONFIGURATION, *MIGRATED)):
            if os.path.lexists(aside / name):
                (aside / name).rename(self.folder / name)
        _remove(aside)

    def tidy(self) -> dict[str, Any]:
        """Remove the configuration that was set aside."""
        self._remove_inside(ASIDE)
        return {}

    def unregister(self) -> dict[str, Any]:
        """Have the runner remove its registration."""
        self._claim()
        return self._config("remove")

    def forget(self) -> dict[str, Any]:
        """Have the runner forget its registration, without GitHub; files that it left go too."""
        said = {}
        self._claim()
        with contextlib.suppress(StepError, KeyError):
            said = self._config("remove", "--local")
        self._remove_inside(*CONFIGURATION, *MIGRATED)
        return said

    def install_service(self) -> dict[str, Any]:
        """Write the unit, and `.service`, as the runner's own svc.sh does.

        That is the user's, as all is in the folder, and so is not run by root.
        """
        unit = self.options["unit"]
        path = UNITS / unit
        if not UNIT_NAME.fullmatch(unit) or (_has_content(path) and not self._is_ours(path)):
            raise StepError(f"{path} is there, and is not this runner's")
        self._claim()
        _write(path, self._unit_text(unit), 0o644)
        _systemctl("daemon-reload")
        _systemctl("enable", unit)
        self.inside(lambda: _write(self.folder / ".service", f"{unit}\n", 0o644))
        return {}

    def _unless_busy(self, act: Callable[[], None]) -> dict[str, Any]:
        """Do what ends the listener, unless a job has begun since GitHub was asked."""
        if self.processes("Runner.Worker"):
            return {"busy": True}
        act()
        return {"busy": False}

    def hold(self) -> dict[str, Any]:
        """Have the listener stand still unless a job runs, so that it takes none."""
        listeners = self.processes("Runner.Listener")
        for process in listeners:
            _signal(process, signal.SIGSTOP)
        if self.processes("Runner.Worker"):
            return {**self.release(), "busy": True}
        if listeners:
            # Should nobody come back, it goes on.
            later = f"sleep {HOLD}; kill -CONT {' '.join(map(str, listeners))}"
            subprocess.run(
                ["/bin/sh", "-c", f"({later}) > /dev/null 2>&1 &"],
                stdin=subprocess.DEVNULL,
                check=False,
                start_new_session=True,
            )
        return {"busy": False}

    def release(self) -> dict[str, Any]:
        """Have the listener go on."""
        for process in self.processes("Runner.Listener"):
            _signal(process, signal.SIGCONT)
        return {"busy": False}

    def uninstall_service(self) -> dict[str, Any]:
        """Stop the units that are the runner's unless a job runs; remove them and `.service`."""
        return self._unless_busy(self._uninstall)

    def _uninstall(self) -> None:
        # What cannot be done is known before anything is stopped.
        self._claim()
        self._remove_inside(".service")
        self._stop()
        for unit in self.units():
            _systemctl("disable", unit)
            (UNITS / unit).unlink(missing_ok=True)
            (UNITS / f"{unit}.d" / DROP_IN).unlink(missing_ok=True)
            # What somebody else has put there stays.
            with contextlib.suppress(OSError):
                (UNITS / f"{unit}.d").rmdir()
        _systemctl("daemon-reload")

    def _stop(self) -> None:
        """Stop the units, and what they have left behind, as their KillMode does."""
        for unit in self.units():
            # One that is held gets the signal when it goes on.
            _systemctl("stop", "--no-block", unit)
            self.release()
            _systemctl("stop", unit)
        for how in (signal.SIGTERM, signal.SIGKILL):
            for process in self.processes("Runner.Listener"):
                _signal(process, how)
            self.release()
            for _try in range(50):
                if not self.processes("Runner.Listener"):
                    return
                time.sleep(0.1)

    def start(self) -> dict[str, Any]:
        """Start the unit, now and at every boot."""
        unit = self.unit()
        _systemctl("daemon-reload")
        # It may have failed before, and systemd keeps count.
        _run(["systemctl", "reset-failed", unit])
        _systemctl("enable", unit)
        _systemctl("start", unit)
        return {"busy": False}

    def restart(self) -> dict[str, Any]:
        """Stop the unit unless a job runs, and start it."""

        def act() -> None:
            self._stop()
            self.start()

        return self._unless_busy(act)

    def wait(self) -> dict[str, Any]:
        """Wait until the journal says that the runner listens."""
        deadline = time.monotonic() + self.seconds
        name = self.unit()
        while True:
            unit = _unit(name)
            heard = bool(self.processes("Runner.Listener")) and self.heard(unit)
            if heard or time.monotonic() > deadline:
                break
            time.sleep(0.3)
        if heard:
            return {"heard": True}
        log = ("journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=15")
        # Its own words, if it has said any, and else what systemd says of it.
        words = _ask(*log, f"_SYSTEMD_UNIT={name}").strip() or _ask(*log, f"--unit={name}")
        said = f"{name} is {unit.get('ActiveState', 'not there')}; {_last(words)}"
        return {"heard": False, "said": said}

    def stage(self) -> dict[str, Any]:
        """Unpack a version beside what is there, which is not touched."""
        with Path(self.options["archive"]).open("rb") as archive:
            found = hashlib.file_digest(archive, "sha256").hexdigest()
            if found != self.options["sha256"]:
                raise StepError(
                    f"the archive has the SHA-256 {found} on the device, not"
                    f" {self.options['sha256']}"
                )
            self._have(self.folder)
            # For tar, which is given the descriptor.
            os.lseek(archive.fileno(), 0, os.SEEK_SET)

            def act() -> None:
                staged = self.folder / STAGED
                _remove(staged)
                staged.mkdir(mode=0o700)
                unpack = ["tar", "--extract", "--gzip", f"--directory={staged}"]
                done = _run(unpack, stdin=archive.fileno())
                if done.returncode != 0:
                    _remove(staged)
                    raise StepError(f"the archive cannot be unpacked: {_last(done.stdout)}")

            self.inside(act)
        # A power cut must not leave names without their content.
        os.sync()
        return {}

    def upgrade(self) -> dict[str, Any]:
        """Put the staged version in place, unless a job runs; what ran runs again after that."""

        def act() -> None:
            # What is root's, below, its user could not replace.
            self._give(self.folder)
            self._stop()
            try:
                self.inside(self._swap)
                os.sync()
                if self.options["starts"]:
                    self.settings()
            finally:
                if self.options["starts"]:
                    self.start()

        return self._unless_busy(act)

    def _swap(self) -> None:
        """Move the staged version to its place; what is not the archive's own stays.

        As long as NEXT is there, the version counts as none, so a swap that was cut off is done
        again.
        """
        upcoming = self.folder / NEXT
        _remove(upcoming)
        (self.folder / STAGED).rename(upcoming)
        for part in sorted(upcoming.iterdir()):
            _remove(self.folder / part.name)
            part.rename(self.folder / part.name)
        # What the runner's own updates have left.
        for path in self.folder.iterdir():
            if UPDATED.fullmatch(path.name):
                _remove(path)
        _write(self.folder / VERSION, self.options["version"] + "\n", 0o644)
        os.sync()
        upcoming.rmdir()


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Yield the descriptor of a folder, which is no link."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _can_be_given(entry: os.stat_result, uid: int) -> bool:
    """Whether something is not the user's, and has no second name, which may be elsewhere."""
    return entry.st_uid != uid and (stat.S_ISDIR(entry.st_mode) or entry.st_nlink == 1)


def _give_inside(folder: int, uid: int, gid: int, depth: int) -> None:
    """Give what is in an open folder to a user, who may be changing it at the same time.

    What is looked at is what is given, whatever has its name by then, and no link is followed.
    """
    for name in os.listdir(folder):
        try:
            entry = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
        except FileNotFoundError:
            continue
        try:
            status, path = os.fstat(entry), f"/proc/self/fd/{entry}"
            if _can_be_given(status, uid):
                os.chown(path, uid, gid)
            if stat.S_ISDIR(status.st_mode) and depth:
                inner = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    _give_inside(inner, uid, gid, depth - 1)
                finally:
                    os.close(inner)
        finally:
            os.close(entry)


def _signal(process: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, how)


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
    """Return what is in a file; None if it is none, which may be a link, a pipe or a folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(LONGEST).decode(errors="replace")
    finally:
        os.close(descriptor)


def _json(path: Path) -> Any:
    """Return what is in a file of JSON. Raise ValueError if that is none.

    The runner writes a byte order mark before it, which json does not take.
    """
    return json.loads((_text(path) or "").removeprefix("\ufeff"))


def _write(path: Path, content: str, mode: int) -> None:
    """Write a file as a whole or not at all; it belongs to who writes it."""
    new = path.with_name(f".{path.name}.new")
    _remove(new)
    if path.is_dir() and not path.is_symlink():
        _remove(path)
    # Not even for a moment can others read what is in it.
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    new.replace(path)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, however deep or closed; it may not be there."""
    if path.is_dir() and not path.is_symlink():
        if os.geteuid() != 0:
            _run(["chmod", "--recursive", "u+rwx", str(path)])
        done = _run(["rm", "--recursive", "--force", str(path)])
        if done.returncode != 0:
            raise StepError(_last(done.stdout))
    else:
        path.unlink(missing_ok=True)


def _run(command: list[str], stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    # Stopping a runner may take the five minutes that its unit allows.
    return subprocess.run(
        command,
        stdin=stdin,
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
                    "hold",
                    "release",
                    "stage",
                    "upgrade",
                    "configure",
                    "reconfigure",
                    "unregister",
                    "forget",
                    "tidy",
                    "install_service",
                    "uninstall_service",
                    "settings",
                    "start",
                    "restart",
                    "wait",
                ],
            },
            "folder": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "work_folder": {"type": "path", "required": True},
            "environment": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "path": {"type": "str", "default": ""},
            "drop_in": {"type": "str", "default": ""},
            "unit": {"type": "str", "default": ""},
            "starts": {"type": "bool", "default": False},
            "version": {"type": "str", "default": ""},
            "archive": {"type": "path"},
            "sha256": {"type": "str"},
            "config": {"type": "list", "elements": "str", "default": []},
            "token": {"type": "str", "no_log": True},
            "seconds": {"type": "int", "default": 120},
        },
    )
    runner = Runner(module.params)
    step = module.params["step"]
    if module.check_mode and step != "look":
        module.fail_json(msg=f"the step {step} changes something, and is not for check mode")
    try:
        if step == "look":
            module.exit_json(changed=False, found=runner.look())
        answer = getattr(runner, step)()
    except (StepError, OSError, subprocess.TimeoutExpired, KeyError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=step != "wait", **answer)


if __name__ == "__main__":
    main()
