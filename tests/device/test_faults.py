"""What viewers and checks are told while a camera fails, and that all is well again by itself."""

from __future__ import annotations

import http.client
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.device.conftest import Device

# What the server says of each fault, and camera_info of the camera, or of the device without one.
FAULTS = {
    "frozen": ("no frame for", "camera-server.service"),
    "held": ("busy", "camera-holder.service"),
    "gone": ("no camera found", "No camera was detected"),
}


def _begin(device: Device, fault: str) -> AbstractContextManager[Any]:
    if fault == "frozen":
        return device.frozen()
    return device.holding("vcam1") if fault == "held" else device.without_cameras()


def _readyz(device: Device) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(device.url).netloc, timeout=10)
    connection.request("GET", "/readyz")
    response = connection.getresponse()
    return response.status, response.read().decode()


@pytest.mark.parametrize("fault", FAULTS)
def test_everyone_is_told_what_is_wrong_and_it_heals_by_itself(idle: Device, fault: str) -> None:
    server_says, camera_info_says = FAULTS[fault]
    with ExitStack() as trouble:
        trouble.enter_context(_begin(idle, fault))
        with idle.viewer() as viewer:
            lost = next(part for part in viewer if part.state == "lost")
            assert lost.decode().size == (640, 480)
            state = idle.state()
            assert (state["state"], server_says in state["reason"].lower()) == ("lost", True), state
            status, text = _readyz(idle)
            assert (status, server_says in text.lower()) == (503, True), text
            answer = idle.camera_info("--become")
            reasons = [camera["reason"] for camera in answer["cameras"]] + [answer["reason"]]
            assert any(camera_info_says in reason for reason in reasons if reason), answer
            trouble.close()
            viewer.first()
    assert _readyz(idle)[0] == 200
    assert idle.state()["state"] == "live"
