"""Bootstrap on a device that has been bootstrapped: dark cameras, states, several cameras."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.device.conftest import Device
from tests.viewer import Viewer


def _answers(device: Device) -> bool:
    """Whether the device's server answers from outside the device."""
    connection = http.client.HTTPConnection(urlsplit(device.url).netloc, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except ConnectionError:
        return False
    finally:
        connection.close()


def test_a_camera_without_frames_makes_the_play_red_and_says_why(device: Device) -> None:
    with device.frozen():
        play = device.bootstrap()
    assert not play.went_well
    assert re.search(r"gives no picture. The server says: no frame for [\d.]+ s", play.output)
    assert "journalctl -u camera-server" in play.output
    with device.viewer() as viewer:
        viewer.first()


def test_a_stream_that_the_controller_does_not_see_makes_the_play_red(device: Device) -> None:
    play = device.bootstrap(bootstrap_stream_url="http://127.0.0.1:9/video")
    assert not play.went_well
    assert "The device streams, but the controller does not see it" in play.output


@pytest.fixture(scope="module")
def changed(device: Device) -> Iterator[Device]:
    """Yield the device to tests that each say all that it is to be; then it is as it was again."""
    yield device
    play = device.bootstrap()
    assert play.went_well, play.output


def test_on_its_loopback_address_only_the_device_itself_sees_the_frames(changed: Device) -> None:
    assert _answers(changed)
    play = changed.bootstrap(camera_app_host="127.0.0.1", bootstrap_stream_url="")
    assert play.went_well, play.output
    assert not _answers(changed)


def test_two_cameras_are_two_pictures(changed: Device) -> None:
    cameras = [
        {"name": "door", "source": "picamera2", "camera_id": "vcam0", "fps": "30"},
        {"name": "clock", "source": "test-pattern", "width": 320, "height": 240},
    ]
    play = changed.bootstrap(camera_app_cameras=cameras)
    assert play.went_well, play.output
    for name, size in (("door", (640, 480)), ("clock", (320, 240))):
        with Viewer(f"{changed.url}cameras/{name}/video") as viewer:
            assert viewer.first().decode().size == size


def test_stopped_is_installed_but_not_running(changed: Device) -> None:
    play = changed.bootstrap(camera_app_state="stopped")
    assert play.went_well, play.output
    unit = changed.run(
        "systemctl", "show", "--value", "--property=ActiveState,UnitFileState", "camera-server"
    )
    assert set(unit.split()) == {"inactive", "disabled"}


def test_absent_removes_what_the_role_has_made(changed: Device) -> None:
    play = changed.bootstrap(camera_app_state="absent")
    assert play.went_well, play.output
    made = (
        "/opt/rpi_camera",
        "/etc/rpi_camera",
        "/etc/systemd/system/camera-server.service",
        "/etc/systemd/system/multi-user.target.wants/camera-server.service",
    )
    left = changed.run("sh", "-c", f"ls -d {' '.join(made)} 2>/dev/null || :")
    assert left == ""
    assert "camera-server" not in changed.run("cat", "/etc/passwd", "/etc/group")
    play = changed.bootstrap(camera_app_state="absent")
    assert play.went_well, play.output
    assert play.changed == 0
