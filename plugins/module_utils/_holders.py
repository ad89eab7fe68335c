# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has a camera open, and who has it for itself.

All of it is read in /proc. libcamera takes a camera with a POSIX lock (`lockf`) on the media device
of its receiver, MediaDevice::lock() in PipelineHandler::acquire(), and keeps it until the release.
The kernel shows the lock to everybody in /proc/locks, by the node's file system and inode, and in
/proc/PID/fdinfo, which also shows the lock of a process that has the node by another inode, as in
a container. A program that streams by V4L2 without libcamera takes no lock, but has the video
device's buffers mapped. A node that is merely open says nothing: pipewire and udev open all.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.rpi_camera.fleet.plugins.module_utils._sightings import (
    Source,
    count,
    read,
)

# A lock in /proc/locks and fdinfo: "1: POSIX ADVISORY WRITE 812 00:06:412 0 EOF"; major and minor
# number of the file system in hexadecimal, inode in decimal. One that waits has "->".
LOCK = re.compile(r"\d+: POSIX\s+ADVISORY\s+WRITE\s+(\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) ")

# A kernel thread's flag in /proc/PID/stat.
PF_KTHREAD = 0x00200000

LIBCAMERA = re.compile(r"/libcamera\.so", re.MULTILINE)


@dataclass(frozen=True)
class Holder:
    """A process that has a camera open.

    *command*: its name without arguments, which can hold secrets; *unit*: the systemd service that
    it belongs to; *exclusive*: whether it has the camera for itself. Each is None if that cannot be
    seen.
    """

    pid: int
    command: str | None
    unit: str | None
    exclusive: bool | None

    def __str__(self) -> str:
        where = f"pid {self.pid}" if self.unit is None else f"pid {self.pid}, {self.unit}"
        return f"{self.command or 'a program'} ({where})"


@dataclass
class Processes:
    """What the processes of a host have open: node or library -> pids.

    *opened*: node -> pids; *locked*, *mapped*: the same of those that have it for themselves;
    *libcamera*: those that have libcamera loaded; *unread*: how many could not be looked into;
    *locks_known*: whether /proc/locks could be read.
    """

    root: Path
    opened: dict[str, set[int]] = field(default_factory=dict)
    locked: dict[str, set[int]] = field(default_factory=dict)
    mapped: dict[str, set[int]] = field(default_factory=dict)
    libcamera: set[int] = field(default_factory=set)
    unread: int = 0
    locks_known: bool = False

    @property
    def without_libcamera(self) -> bool:
        """Whether it is certain that no process has loaded libcamera."""
        return not self.libcamera and not self.unread

    def holder(self, pid: int, exclusive: bool | None) -> Holder:
        """Return a process as a holder."""
        process = self.root / "proc" / str(pid)
        return Holder(pid, read(process / "comm") or None, _unit(process), exclusive)

    def of(self, nodes: frozenset[str]) -> list[Holder]:
        """Return who has one of the nodes open, first who has it for itself."""
        holding: set[int] = set()
        using: set[int] = set()
        for node in nodes:
            own = self.locked.get(node, set()) | self.mapped.get(node, set())
            using |= own
            holding |= own | self.opened.get(node, set())
        return [
            self.holder(pid, pid in using)
            for pid in sorted(holding, key=lambda pid: (pid not in using, pid))
        ]

    def source(self) -> Source:
        """Say in short what was seen."""
        held = set().union(*self.opened.values(), *self.locked.values())
        detail = f"{count(len(held), 'process', 'processes')} with a camera's device open"
        if self.libcamera:
            detail += f"; {len(self.libcamera)} with libcamera loaded"
        if self.unread:
            detail += f"; {self.unread} could not be looked into without root"
        if not self.locks_known:
            detail += "; /proc/locks cannot be read"
        return Source("processes", self.locks_known or self.unread == 0, f"{detail}.")


def _unit(process: Path) -> str | None:
    """Return the systemd service that a process belongs to, or None."""
    for line in (read(process / "cgroup") or "").splitlines():
        _number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers in ("", "name=systemd"):
            name = path.rpartition("/")[2]
            if name.endswith(".service"):
                return name
    return None


def _is_kernel_thread(process: Path) -> bool:
    fields = (read(process / "stat") or "").rpartition(")")[2].split()
    return len(fields) > 6 and fields[6].isdigit() and bool(int(fields[6]) & PF_KTHREAD)


def _locks(text: str) -> Iterator[tuple[tuple[int, int, int], int]]:
    """Return ((major, minor, inode), pid) of every lock in /proc/locks."""
    for lock in LOCK.finditer(text):
        yield (int(lock[2], 16), int(lock[3], 16), int(lock[4])), int(lock[1])


def _read_locks(root: Path, nodes: frozenset[str], seen: Processes) -> None:
    """Note who has locked which node."""
    text = read(root / "proc/locks")
    if text is None:
        return
    seen.locks_known = True
    owners: dict[tuple[int, int, int], set[int]] = {}
    for place, pid in _locks(text):
        owners.setdefault(place, set()).add(pid)
    for node in nodes:
        with contextlib.suppress(OSError):
            status = (root / "dev" / node).stat()
            place = (os.major(status.st_dev), os.minor(status.st_dev), status.st_ino)
            if place in owners:
                seen.locked.setdefault(node, set()).update(owners[place])


def _read_process(process: Path, nodes: frozenset[str], maps: bool, seen: Processes) -> None:
    """Note which nodes a process has open and mapped.

    Raises OSError if it is gone, or closed to us.
    """
    pid = int(process.name)
    own: set[str] = set()
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(descriptor.readlink())
            node = target.removeprefix("/dev/")
            if node == target or node not in nodes:
                continue
            own.add(node)
            seen.opened.setdefault(node, set()).add(pid)
            if LOCK.search(read(process / "fdinfo" / descriptor.name) or ""):
                seen.locked.setdefault(node, set()).add(pid)
    if not own and not maps:
        return
    text = (process / "maps").read_text(encoding="utf-8", errors="replace")
    if LIBCAMERA.search(text):
        seen.libcamera.add(pid)
    for node in own:
        if re.search(rf"/dev/{node}$", text, re.MULTILINE):
            seen.mapped.setdefault(node, set()).add(pid)


def read_processes(root: Path, nodes: frozenset[str], maps: bool) -> Processes:
    """Return who has *nodes* (names under /dev) open, and with *maps* who has libcamera loaded.

    Without root other users' processes cannot be looked into; they are counted.
    """
    seen = Processes(root)
    _read_locks(root, nodes, seen)
    if not nodes and not maps:
        return seen
    with contextlib.suppress(OSError):
        for process in (root / "proc").iterdir():
            if not process.name.isdigit() or process.name == str(os.getpid()):
                continue
            try:
                _read_process(process, nodes, maps, seen)
            except PermissionError:
                seen.unread += not _is_kernel_thread(process)
            except OSError:
                # It has ended meanwhile.
                continue
    return seen
