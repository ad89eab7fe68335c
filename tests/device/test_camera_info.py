"""What camera_info says of a device's cameras, and that it disturbs none of them."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any

from tests.device.conftest import VIRTUAL, Device
from tests.viewer import Part, Viewer


def _cameras(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {camera["id"]: camera for camera in answer["cameras"]}


def _is_well(answer: dict[str, Any]) -> bool:
    """Whether both cameras are there, usable and free."""
    cameras = answer["cameras"]
    states = [(c["detected"], c["usable"], c["busy"], c["holders"], c["reason"]) for c in cameras]
    return states == [(True, True, False, [], None)] * 2 and answer["reason"] is None


def test_a_free_camera_is_usable_and_not_busy(idle: Device) -> None:
    answer = idle.camera_info("--become")
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
        answers = [idle.camera_info("--become") for _turn in range(5)]
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
    with idle.holding("vcam0") as pid:
        answer = idle.camera_info("--become")
        assert idle.run("systemctl", "is-active", "camera-holder").strip() == "active"
    cameras = _cameras(answer)
    assert (cameras["vcam0"]["busy"], cameras["vcam1"]["busy"]) == (True, False)
    (holder,) = cameras["vcam0"]["holders"]
    assert (holder["pid"], holder["unit"]) == (pid, "camera-holder.service")
    assert holder["command"].startswith("python3")
    assert _is_well(idle.camera_info("--become"))


def test_without_root_it_says_what_it_could_not_see(idle: Device) -> None:
    with idle.holding("vcam0"):
        answer = idle.camera_info()
    camera = _cameras(answer)["vcam0"]
    assert (camera["usable"], camera["busy"], camera["holders"]) == (True, True, [])
    assert camera["reason"] == "In use by a process that only root can see."
    details = {source["name"]: source["detail"] for source in answer["sources"]}
    assert "could not be looked into without root" in details["processes"]
    assert _is_well(idle.camera_info())


def test_a_camera_without_its_configuration_is_gone_and_comes_back(idle: Device) -> None:
    with idle.without_cameras():
        answer = idle.camera_info("--become")
    assert (answer["present"], answer["usable"], answer["cameras"]) == (False, False, [])
    assert answer["reason"] == (
        "No camera was detected: the kernel shows no CSI sensor and no USB camera, and libcamera"
        " lists none."
    )
    assert "ribbon cable" in answer["advice"][0]
    assert _is_well(idle.camera_info("--become"))


def test_a_camera_that_libcamera_does_not_offer_is_not_detected(idle: Device) -> None:
    # libcamera refuses a picture of an odd width.
    idle.run("sh", "-c", f"cp -p {VIRTUAL} /run/virtual.yaml")
    broken = '"vcam2":\\n  supported_formats:\\n    - width: 641\\n      height: 480\\n'
    idle.run("sh", "-c", f"printf '{broken}' >> {VIRTUAL}")
    try:
        answer = idle.camera_info("--become")
    finally:
        idle.run("sh", "-c", f"cp -p /run/virtual.yaml {VIRTUAL} && rm /run/virtual.yaml")
    camera = _cameras(answer)["vcam2"]
    assert (camera["detected"], camera["usable"]) == (False, False)
    assert camera["reason"] == (
        "It is configured, but libcamera's virtual pipeline does not offer it."
    )
    assert (answer["present"], answer["usable"], answer["reason"]) == (True, True, None)
    assert _is_well(idle.camera_info("--become"))
