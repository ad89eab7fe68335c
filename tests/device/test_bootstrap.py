"""Bootstrap on a device that has been bootstrapped: bad input, dark cameras, changes."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.device.conftest import Device
from tests.lab.collection import COLLECTIONS
from tests.lab.console import BIN, CACHE, environment
from tests.lab.device import folder
from tests.viewer import Viewer

RELEASES = "/opt/rpi_camera/releases"
PAYLOAD = COLLECTIONS / "ansible_collections/rpi_camera/fleet/files/server/src/camera_server"


def _bootstrap(device: Device, **variables: object) -> tuple[bool, str]:
    """Run bootstrap with extra variables; return whether it went well, and what it printed."""
    command = [
        *[str(BIN / "ansible-playbook"), "rpi_camera.fleet.bootstrap"],
        *["--inventory", str(folder(device.group) / "inventory.yml")],
        *["--limit", device.name, "--extra-vars", json.dumps(variables)],
    ]
    done = subprocess.run(
        command,
        env=environment(),
        cwd=CACHE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode == 0, done.stdout


def _changed(output: str) -> int:
    (changed,) = re.findall(r"changed=(\d+)", output)
    return int(changed)


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


@pytest.fixture
def restored(device: Device) -> Iterator[Device]:
    """Yield the device, and bootstrap it as its inventory says when the test has ended."""
    yield device
    went_well, output = _bootstrap(device)
    assert went_well, output


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"camera_app_port": 80},
            "camera_app_port is 80; allowed is 1024 to 65535",
        ),
        (
            {"camera_app_cameras": [{"name": "door", "source": "test-pattern", "width": 641}]},
            "camera_app_cameras: width of door is 641; allowed is an even number from 64 to 9152",
        ),
        (
            {"camera_app_cameras": [{"name": "Door", "source": "test-pattern"}]},
            "camera_app_cameras: Door is no name for a camera; allowed are 1 to 63 lower-case"
            " letters, digits and hyphens, with no hyphen at either end",
        ),
        (
            {"camera_app_cameras": [{"name": "door", "source": "test-pattern", "fps": True}]},
            "camera_app_cameras: fps of door is True; allowed is a number from 1 to 120",
        ),
        (
            {"camera_app_cameras": [{"name": n, "source": "picamera2"} for n in ("a", "b")]},
            "camera_app_cameras: the camera_id of the picamera2 cameras is unset, unset;"
            " each needs one of its own",
        ),
        (
            {"camera_app_cameras": [{"name": "a", "source": "picamera2", "camera_id": ""}]},
            'camera_app_cameras: camera_id of a is ""; allowed is a name or a number from the list'
            " that rpi_camera.fleet.camera_info gives",
        ),
        (
            {"bootstrap_stream_url": "garden:8080"},
            "bootstrap_stream_url is garden:8080; allowed is an address that begins with http://"
            " or https://",
        ),
        (
            {"bootstrap_features": ["camera_app", "toaster"]},
            "bootstrap_features is ['camera_app', 'toaster']; allowed is ['camera_app']",
        ),
    ],
    ids=["port", "width", "name", "fps", "same camera", "no camera_id", "address", "feature"],
)
def test_bad_input_is_refused_before_the_first_change(
    device: Device, variables: dict[str, object], message: str
) -> None:
    went_well, output = _bootstrap(device, **variables)
    assert not went_well
    assert message in output
    assert _changed(output) == 0


def test_a_camera_without_frames_makes_the_play_red_and_says_why(device: Device) -> None:
    device.run("sh", "-c", "mkdir -p /run/vcam && touch /run/vcam/freeze")
    try:
        went_well, output = _bootstrap(device)
    finally:
        device.run("rm", "/run/vcam/freeze")
    assert not went_well
    assert re.search(r"The server says: no frame for [\d.]+ s", output)
    assert "journalctl -u camera-server" in output
    with device.viewer() as viewer:
        viewer.first()


def test_a_stream_that_the_controller_does_not_see_makes_the_play_red(device: Device) -> None:
    went_well, output = _bootstrap(device, bootstrap_stream_url="http://127.0.0.1:9/video")
    assert not went_well
    assert "The device streams, but the controller does not see it" in output


def test_a_port_that_another_program_has_is_told_with_the_server_s_own_words(
    restored: Device,
) -> None:
    squat = "systemd-run --quiet --unit=squatter python3 -m http.server 8081"
    restored.run("sh", "-c", squat)
    try:
        went_well, output = _bootstrap(restored, camera_app_port=8081)
    finally:
        restored.run("systemctl", "stop", "squatter")
    assert not went_well
    assert "cannot listen on 0.0.0.0 port 8081: Address already in use" in output


def test_restricted_listens_on_the_device_s_loopback_address_only(restored: Device) -> None:
    assert _answers(restored)
    went_well, output = _bootstrap(restored, camera_app_access="restricted")
    assert went_well, output
    assert "seen on the device" in output
    assert not _answers(restored)


def test_two_cameras_are_two_pictures(restored: Device) -> None:
    cameras = [
        {"name": "door", "source": "picamera2", "camera_id": "vcam0", "fps": "30"},
        {"name": "clock", "source": "test-pattern", "width": 320, "height": 240},
    ]
    went_well, output = _bootstrap(restored, camera_app_cameras=cameras)
    assert went_well, output
    for name, size in (("door", (640, 480)), ("clock", (320, 240))):
        with Viewer(f"{restored.url}cameras/{name}/video") as viewer:
            assert viewer.first().decode().size == size


def _pid(device: Device) -> str:
    return device.run("systemctl", "show", "--value", "--property=MainPID", "camera-server").strip()


def test_a_restart_that_a_broken_off_run_owes_is_made_up_for(device: Device) -> None:
    before = _pid(device)
    # As a run leaves it that has changed the configuration and lost its connection then.
    device.run("touch", "/etc/rpi_camera/camera-server.toml")
    went_well, output = _bootstrap(device)
    assert went_well, output
    assert _pid(device) != before
    went_well, output = _bootstrap(device)
    assert went_well, output
    assert _changed(output) == 0


def test_a_changed_payload_is_a_release_beside_the_one_before(restored: Device) -> None:
    def releases() -> set[str]:
        return set(restored.run("ls", RELEASES).split())

    def running() -> str:
        command = restored.run("cat", f"/proc/{_pid(restored)}/cmdline")
        return command.removeprefix(f"{RELEASES}/").partition("/")[0]

    source = PAYLOAD / "__init__.py"
    text = source.read_text()
    first, names = running(), []
    try:
        # Two new releases, each after one that runs: there and back, and on.
        for number in range(2):
            source.write_text(f"{text}\n# Another release: {number}.\n")
            went_well, output = _bootstrap(restored)
            assert went_well, output
            names.append(running())
            source.write_text(text)
            if number == 0:
                assert releases() == {first, names[0]}
                went_well, output = _bootstrap(restored)
                assert went_well, output
                assert running() == first
    finally:
        source.write_text(text)
    # The one that ran before stays; that it is the oldest of the three is no matter.
    assert releases() == {first, names[1]}


def test_stopped_is_installed_but_not_running(restored: Device) -> None:
    went_well, output = _bootstrap(restored, camera_app_state="stopped")
    assert went_well, output
    unit = restored.run(
        "systemctl", "show", "--value", "--property=ActiveState,UnitFileState", "camera-server"
    )
    assert set(unit.split()) == {"inactive", "disabled"}


def test_absent_removes_what_the_role_has_made(restored: Device) -> None:
    went_well, output = _bootstrap(restored, camera_app_state="absent")
    assert went_well, output
    made = (
        "/opt/rpi_camera",
        "/etc/rpi_camera",
        "/etc/systemd/system/camera-server.service",
        "/etc/systemd/system/multi-user.target.wants/camera-server.service",
    )
    left = restored.run("sh", "-c", f"ls -d {' '.join(made)} 2>/dev/null || :")
    assert left == ""
    assert "camera-server" not in restored.run("cat", "/etc/passwd", "/etc/group")
    went_well, output = _bootstrap(restored, camera_app_state="absent")
    assert went_well, output
    assert _changed(output) == 0
