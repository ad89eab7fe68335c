"""Releases of the server on a bootstrapped device: good ones, broken ones, and the way back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Edit
from tests.device.conftest import Device
from tests.viewer import Watcher

RELEASES = "/opt/rpi_camera/releases"


def _releases(device: Device) -> set[str]:
    return set(device.run("ls", RELEASES).split())


def _running(device: Device) -> str:
    """Return the release that the server was started from."""
    command = device.run("cat", f"/proc/{device.pid()}/cmdline")
    return command.removeprefix(f"{RELEASES}/").partition("/")[0]


@pytest.fixture
def restored(device: Device) -> Iterator[Device]:
    """Yield the device, and bootstrap it as its inventory says when the test has ended."""
    yield device
    play = device.bootstrap()
    assert play.went_well, play.output


def test_a_changed_payload_is_a_release_beside_the_one_before(restored: Device, edit: Edit) -> None:
    first = _running(restored)
    name = "src/camera_server/__init__.py"
    edit(name, '"""', '# Another release.\n"""')
    play = restored.bootstrap()
    assert play.went_well, play.output
    second = _running(restored)
    assert _releases(restored) == {first, second}
    edit(name, "# Another", "# Yet another")
    play = restored.bootstrap()
    assert play.went_well, play.output
    # The one that ran before stays, the one before that is gone.
    assert _releases(restored) == {second, _running(restored)}


# One that gives no frame is tests/role's.
BROKEN = {
    "exits at once": (
        "src/camera_server/cli.py",
        "    from camera_server.server import",
        "    sys.exit(3)\n    from camera_server.server import",
    ),
    "wrong Python": (
        "pyproject.toml",
        'requires-python = ">=3.11"',
        'requires-python = ">=3.99"',
    ),
}
SAID = {
    "exits at once": "status=3",
    "wrong Python": "requires a different Python",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_release_leaves_the_one_before_streaming(
    device: Device, edit: Edit, kind: str
) -> None:
    before, pid, releases = _running(device), device.pid(), _releases(device)
    edit(*BROKEN[kind])
    with Watcher(f"{device.url}video") as watcher:
        play = device.bootstrap()
        gap = watcher.largest_gap
    assert not play.went_well
    assert gap < 3
    assert (_running(device), device.pid(), _releases(device)) == (before, pid, releases)
    assert [said for said in SAID.values() if said in play.output] == [SAID[kind]]
    assert "camera-server-trial" not in device.run("systemctl", "list-units", "--all", "--plain")


def test_a_release_that_fails_with_the_camera_gives_way_to_the_one_before(
    device: Device, edit: Edit
) -> None:
    before, releases = _running(device), _releases(device)
    # Its trial has drawn pictures, and goes well.
    edit(
        "src/camera_server/cameras/picamera2_source.py",
        "    camera.start_recording(",
        '    raise CameraError("this release cannot use the camera")\n    camera.start_recording(',
    )
    play = device.bootstrap()
    assert not play.went_well
    assert "this release cannot use the camera" in play.output
    assert "What ran before runs again." in play.output
    assert (_running(device), _releases(device)) == (before, releases)
    with device.viewer() as viewer:
        viewer.first()


def test_a_configuration_that_fails_with_the_camera_gives_way_to_the_one_before(
    device: Device,
) -> None:
    configuration = device.run("cat", "/etc/rpi_camera/camera-server.toml")
    camera = {"name": "camera", "source": "picamera2", "width": 9152, "height": 9152}
    play = device.bootstrap(camera_app_cameras=[camera])
    assert not play.went_well
    assert "instead of 9152x9152; set a width and height that it has" in play.output
    assert device.run("cat", "/etc/rpi_camera/camera-server.toml") == configuration
    with device.viewer() as viewer:
        viewer.first()


def test_a_release_that_cannot_be_made_anew_stays_and_one_that_can_is(device: Device) -> None:
    before, pid, releases = _running(device), device.pid(), _releases(device)
    module = f"{RELEASES}/{before}/venv/lib/python3*/site-packages/camera_server/server.py"
    # Nothing can be run as the server's user: what is there does not work, nor does a new one.
    runuser = "/usr/local/bin/runuser"
    device.run("sh", "-ec", f"rm {module}; ln -s /bin/false {runuser}")
    try:
        play = device.bootstrap()
    finally:
        device.run("rm", runuser)
    assert not play.went_well
    assert f"The release {before} could not be made, and nothing else was changed." in play.output
    assert _releases(device) == releases
    assert (_running(device), device.pid()) == (before, pid)
    play = device.bootstrap()
    assert play.went_well, play.output
    assert f"{before}.aside" not in _releases(device)
    device.run("sh", "-c", f"test -s {module}")
    with device.viewer() as viewer:
        viewer.first()


def test_a_switch_that_was_broken_off_is_finished_by_the_next_run(device: Device) -> None:
    before = device.pid()
    # As a run leaves it that has kept the way back and lost its connection then.
    device.run(
        "sh",
        "-ec",
        "mkdir -m 0700 /opt/rpi_camera/rollback; cd /opt/rpi_camera/rollback;"
        " cp -a /etc/rpi_camera/camera-server.toml /etc/systemd/system/camera-server.service .;"
        ' ln -s "$(readlink ../current)" release',
    )
    play = device.bootstrap()
    assert play.went_well, play.output
    assert device.pid() != before
    assert "rollback" not in device.run("ls", "/opt/rpi_camera").split()
    play = device.bootstrap()
    assert play.went_well, play.output
    assert play.changed == 0


def test_a_link_to_the_release_that_is_gone_is_put_back(device: Device) -> None:
    link = "/opt/rpi_camera/current"
    release = device.run("readlink", link)
    device.run("rm", link)
    play = device.bootstrap()
    assert play.went_well, play.output
    assert device.run("readlink", link) == release
    assert f"{RELEASES}/{_running(device)}\n" == release
