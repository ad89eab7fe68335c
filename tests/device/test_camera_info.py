"""What camera_info says of a device's cameras, and that it disturbs none of them."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from tests.device.conftest import Device
from tests.lab.console import BIN, CACHE, environment
from tests.lab.device import folder
from tests.viewer import Part, Viewer

VIRTUAL = "/usr/share/libcamera/pipeline/virtual/virtual.yaml"

# Takes a camera as any program would, tells systemd, and keeps it.
HOLD = """
import libcamera, os, signal, socket, sys
(camera,) = [c for c in libcamera.CameraManager.singleton().cameras if c.id == sys.argv[1]]
camera.acquire()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
signal.pause()
"""


def _ask(device: Device, *options: str) -> dict[str, Any]:
    """Run the module on the device, as root by its option `--become`, and return its answer."""
    done = subprocess.run(
        [
            *[str(BIN / "ansible"), device.name, "--module-name", "rpi_camera.fleet.camera_info"],
            *["--inventory", str(folder(device.group) / "inventory.yml"), *options],
        ],
        env=environment(),
        cwd=CACHE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.partition("=>")[2])
    assert answer["changed"] is False
    return answer


def _cameras(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {camera["id"]: camera for camera in answer["cameras"]}


@pytest.fixture
def idle(device: Device) -> Device:
    """Return the device with a server that has opened no camera."""
    device.run("systemctl", "restart", "camera-server")
    return device


@contextmanager
def _held(device: Device, camera: str) -> Iterator[int]:
    """Have a program hold a camera; give its pid."""
    unit = ("--quiet", "--collect", "--unit=camera-holder", "--property=Type=notify")
    device.run("systemd-run", *unit, "python3", "-c", HOLD, camera)
    try:
        yield int(device.run("systemctl", "show", "--value", "--property=MainPID", "camera-holder"))
    finally:
        device.run("systemctl", "stop", "camera-holder")


def _is_well(answer: dict[str, Any]) -> bool:
    """Whether both cameras are there, usable and free."""
    cameras = answer["cameras"]
    states = [(c["detected"], c["usable"], c["busy"], c["holders"], c["reason"]) for c in cameras]
    return states == [(True, True, False, [], None)] * 2 and answer["reason"] is None


def test_a_free_camera_is_usable_and_not_busy(idle: Device) -> None:
    answer = _ask(idle, "--become")
    assert _is_well(answer), answer
    assert (answer["present"], answer["usable"], answer["pipeline"]) == (True, True, ["virtual"])
    named = [(c["id"], c["index"], c["number"], c["model"], c["bus"]) for c in answer["cameras"]]
    assert named == [
        ("vcam1", 0, 0, "vcam-bars", "virtual"),
        ("vcam0", 1, 1, "vcam-lines", "virtual"),
    ]
    assert {source["name"]: source["available"] for source in answer["sources"]}["libcamera"]


def _collect(viewer: Viewer, parts: list[Part], over: threading.Event) -> None:
    for part in viewer:
        parts.append(part)
        if over.is_set():
            return


def test_a_camera_in_use_by_the_server_is_busy_and_keeps_its_frames(idle: Device) -> None:
    parts: list[Part] = []
    over = threading.Event()
    with idle.viewer() as viewer:
        viewer.first()
        before = idle.state()
        thread = threading.Thread(target=_collect, args=(viewer, parts, over), daemon=True)
        thread.start()
        answers = [_ask(idle, "--become") for _turn in range(5)]
        over.set()
        thread.join(timeout=20)
    after = idle.state()
    for answer in answers:
        busy = _cameras(answer)["vcam1"]
        assert (busy["detected"], busy["usable"], busy["busy"]) == (True, True, True)
        (holder,) = busy["holders"]
        assert (holder["pid"], holder["unit"]) == (before["pid"], "camera-server.service")
        assert holder["exclusive"] is True
        assert busy["reason"] == (
            f"In use by {holder['command']} (pid {before['pid']}, camera-server.service)."
        )
        free = _cameras(answer)["vcam0"]
        assert (free["usable"], free["busy"], free["holders"]) == (True, False, [])
        assert (answer["usable"], answer["reason"]) == (True, None)
    assert all(part.live for part in parts)
    assert (after["pid"], after["restarts"]) == (before["pid"], before["restarts"])
    # The modules take their share of the processor, but not of the camera.
    assert len(parts) >= 20 * (parts[-1].when - parts[0].when)
    assert max(later.when - part.when for part, later in pairwise(parts)) < 2


def test_a_camera_held_by_another_program_is_busy(idle: Device) -> None:
    with _held(idle, "vcam0") as pid:
        answer = _ask(idle, "--become")
        assert idle.run("systemctl", "is-active", "camera-holder").strip() == "active"
    cameras = _cameras(answer)
    assert (cameras["vcam0"]["busy"], cameras["vcam1"]["busy"]) == (True, False)
    (holder,) = cameras["vcam0"]["holders"]
    assert (holder["pid"], holder["unit"]) == (pid, "camera-holder.service")
    assert holder["command"].startswith("python3")
    assert _is_well(_ask(idle, "--become"))


def test_without_root_it_says_what_it_could_not_see(idle: Device) -> None:
    with _held(idle, "vcam0"):
        answer = _ask(idle)
    camera = _cameras(answer)["vcam0"]
    assert (camera["usable"], camera["busy"], camera["holders"]) == (True, True, [])
    assert camera["reason"] == "In use by a process that only root can see."
    details = {source["name"]: source["detail"] for source in answer["sources"]}
    assert "could not be looked into without root" in details["processes"]
    assert _is_well(_ask(idle))


def test_a_camera_without_its_configuration_is_gone_and_comes_back(idle: Device) -> None:
    idle.run("mv", VIRTUAL, f"{VIRTUAL}.away")
    try:
        answer = _ask(idle, "--become")
    finally:
        idle.run("mv", f"{VIRTUAL}.away", VIRTUAL)
    assert (answer["present"], answer["usable"], answer["cameras"]) == (False, False, [])
    assert answer["reason"] == (
        "No camera was detected: the kernel shows no CSI sensor and no USB camera, and libcamera"
        " lists none."
    )
    assert "ribbon cable" in answer["advice"][0]
    assert _is_well(_ask(idle, "--become"))


def test_a_camera_that_libcamera_does_not_offer_is_not_detected(idle: Device) -> None:
    # libcamera refuses a picture of an odd width.
    idle.run("sh", "-c", f"cp -p {VIRTUAL} /run/virtual.yaml")
    broken = '"vcam2":\\n  supported_formats:\\n    - width: 641\\n      height: 480\\n'
    idle.run("sh", "-c", f"printf '{broken}' >> {VIRTUAL}")
    try:
        answer = _ask(idle, "--become")
    finally:
        idle.run("sh", "-c", f"cp -p /run/virtual.yaml {VIRTUAL} && rm /run/virtual.yaml")
    camera = _cameras(answer)["vcam2"]
    assert (camera["detected"], camera["usable"]) == (False, False)
    assert camera["reason"] == (
        "It is configured, but libcamera's virtual pipeline does not offer it."
    )
    assert (answer["present"], answer["usable"], answer["reason"]) == (True, True, None)
    assert _is_well(_ask(idle, "--become"))
