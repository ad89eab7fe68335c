# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has a camera: fake processes, and real ones of this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.rpi_camera.fleet.plugins.module_utils._holders import (
    Holder,
    read_processes,
)
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import Device

NODES = frozenset({"video0", "media0"})


def test_an_open_device_makes_a_holder_and_no_more(device: Device) -> None:
    device.lock()
    device.process(9, "wireplumber", "media0", "video0", "null")
    device.process(10, "bash", "null")
    seen = read_processes(device.root, NODES, maps=False)
    assert seen.of(NODES) == [Holder(9, "wireplumber", None, exclusive=False)]
    assert (seen.locked, seen.mapped, seen.unread) == ({}, {}, 0)


@pytest.mark.parametrize(
    ("mapped", "locked"),
    [pytest.param("/dev/video0", "", id="buffers"), pytest.param("", "media0", id="lock")],
)
def test_a_process_that_has_it_for_itself_comes_first(
    device: Device, mapped: str, locked: str
) -> None:
    device.process(9, "wireplumber", "media0")
    device.process(812, "rpicam-vid", "media0", "video0", mapped=mapped, locked=locked)
    holders = read_processes(device.root, NODES, maps=False).of(NODES)
    assert [(holder.command, holder.exclusive) for holder in holders] == [
        ("rpicam-vid", True),
        ("wireplumber", False),
    ]


def test_the_list_of_locks_names_one_whose_files_cannot_be_seen(device: Device) -> None:
    device.write("dev/media0", "")
    device.write("proc/812/comm", "rpicam-vid\n")
    device.lock((812, "media0"))
    seen = read_processes(device.root, NODES, maps=False)
    assert seen.of(NODES) == [Holder(812, "rpicam-vid", None, exclusive=True)]


def test_a_lock_on_another_file_is_no_camera_s(device: Device) -> None:
    device.write("dev/media0", "")
    device.write("dev/other", "")
    device.lock((812, "other"))
    assert read_processes(device.root, NODES, maps=False).of(NODES) == []


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/camera-server.service", "camera-server.service"),
        ("9:name=systemd:/\n8:pids:/x.service\n0::/system.slice/a.service", "a.service"),
        ("1:name=systemd:/system.slice/b.service\n2:cpu:/", "b.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope", None),
        ("", None),
    ],
)
def test_the_service_that_a_process_belongs_to(
    device: Device, cgroup: str, unit: str | None
) -> None:
    device.process(812, "python3", "video0", cgroup=cgroup)
    (holder,) = read_processes(device.root, NODES, maps=False).of(NODES)
    assert holder.unit == unit


@pytest.mark.parametrize(
    ("unit", "said"),
    [(None, "rpicam-vid (pid 812)"), ("cam.service", "rpicam-vid (pid 812, cam.service)")],
)
def test_how_a_holder_is_said(unit: str | None, said: str) -> None:
    assert str(Holder(812, "rpicam-vid", unit, exclusive=True)) == said


def test_who_has_libcamera_loaded(device: Device) -> None:
    device.process(7, "python3", mapped="/usr/lib/aarch64-linux-gnu/libcamera.so.0.4.0")
    device.process(8, "python3", mapped="/usr/lib/libcamera-base.so.0.4.0")
    assert read_processes(device.root, frozenset(), maps=True).libcamera == {7}
    assert read_processes(device.root, frozenset(), maps=False).libcamera == set()


def test_nothing_to_read_raises_nothing(device: Device) -> None:
    seen = read_processes(device.root, NODES, maps=True)
    assert (seen.locks_known, seen.of(NODES)) == (False, [])
    assert "/proc/locks cannot be read" in seen.source().detail


HOLD = """
import fcntl, sys
file = open("/dev/full", "r+b", buffering=0)
if sys.argv[1] == "lock":
    fcntl.lockf(file, fcntl.LOCK_EX)
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(*how: str) -> Iterator[int]:
    """Have another process hold the device file /dev/full; give its number."""
    command = [sys.executable, "-c", HOLD, *how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.kill()


@pytest.mark.parametrize("how", ["open", "lock"])
def test_the_kernel_s_own_proc_is_understood(how: str) -> None:
    nodes = frozenset({"full"})
    with holding(how) as pid:
        seen = read_processes(Path("/"), nodes, maps=False)
    holders = {holder.pid: holder.exclusive for holder in seen.of(nodes)}
    assert holders[pid] is (how == "lock")
    assert seen.locks_known
    assert (pid in seen.locked.get("full", set())) is (how == "lock")
