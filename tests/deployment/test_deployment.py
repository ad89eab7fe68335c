"""The playbook bootstrap takes the camera from the native server to a container, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import SWITCH, DarkTimes
from tests.device.conftest import FREEZE, Device
from tests.docker_boot.pi import FIRST, PI, SERVICE, TAG, Pi
from tests.lab import device as lab
from tests.lab.variants import LAST_WORDS, width
from tests.play import Play
from tests.viewer import Viewer, Watcher

NATIVE_WIDTH = 640
NATIVE = "camera-server.service"
PATIENCE = 60.0


def _bootstrap(pi: Pi, *options: str, **variables: object) -> Play:
    """Run the playbook on the Pi, with a camera that is drawn."""
    own = {
        "camera_app_cameras": [{"name": "camera", "source": "test-pattern"}],
        "docker_boot_health_window": 20,
        "docker_boot_health_interval": 3,
        "docker_boot_stop_seconds": 5,
    }
    home = lab.folder(pi.group)
    told = (
        "--extra-vars",
        f"@{home / 'registry.yml'}",
        "--extra-vars",
        json.dumps(own | variables),
    )
    device = Device(pi.group, PI, "")
    return device.bootstrap_all(home / "inventory.yml", "--limit", PI, *told, *options)


def _contain(pi: Pi, *options: str, **variables: object) -> Play:
    """Run the playbook for a container of the tag's image."""
    image = {"bootstrap_deployment": "container", "docker_boot_image": f"{pi.image}:{TAG}"}
    return _bootstrap(pi, *options, **(image | variables))


def _url(pi: Pi) -> str:
    token = pi.run("cat /etc/rpi_camera/token").strip()
    return f"{pi.url()}?token={token}"


def _width(pi: Pi) -> int:
    with Viewer(_url(pi)) as viewer:
        return viewer.first().decode().width


def _active(pi: Pi) -> list[str]:
    """Return what systemd says of the native server and of the container."""
    return pi.run(f"systemctl is-active {NATIVE} {SERVICE} || :").split()


def _refused(pi: Pi) -> bool:
    """Whether somebody without a token sees nothing."""
    with pytest.raises(AssertionError, match=r"token|sign|401|password"), Viewer(pi.url()):
        pass
    return True


@pytest.fixture(scope="module")
def native(the_pi: Pi) -> Pi:
    """Return the Pi with the native server alone, as each test leaves it."""
    play = _bootstrap(the_pi)
    assert play.went_well, play.output
    assert _width(the_pi) == NATIVE_WIDTH
    return the_pi


@contextmanager
def _frozen(pi: Pi) -> Iterator[None]:
    """Have the cameras that are not drawn give no picture."""
    pi.run(f"mkdir -p {FREEZE.rpartition('/')[0]} && touch {FREEZE}")
    try:
        yield
    finally:
        pi.run(f"rm {FREEZE}")


def test_check_mode_tells_and_writes_nothing(native: Pi) -> None:
    before = lab.snapshot(native.group, PI)
    play = _contain(native, "--check")
    assert play.went_well, play.output
    assert lab.snapshot(native.group, PI) == before


def test_an_image_that_ends_leaves_the_native_server(native: Pi) -> None:
    native.push("exits")
    url = _url(native)
    # With nobody to let in, the image is not asked for credentials, and so is tried as a server.
    play = _contain(native, camera_app_access="open")
    assert not play.went_well
    assert LAST_WORDS in play.output
    assert "The native server runs again." in play.output
    with Viewer(url) as viewer:
        assert viewer.first().decode().width == NATIVE_WIDTH
    assert _active(native) == ["active", "inactive"]
    assert native.run("docker ps --all --quiet") == ""


def test_from_native_to_a_container_and_back(native: Pi, dark_times: DarkTimes) -> None:
    native.push(FIRST)
    url = _url(native)
    with Watcher(lambda: url) as watcher:
        play = _contain(native)
        assert play.went_well, play.output
        watcher.wait_for(width(FIRST), PATIENCE)
        assert watcher.widths == [NATIVE_WIDTH, width(FIRST)]
        dark_times["from the native server to a container"] = watcher.largest_gap, SWITCH
    # The address with the token stays good, and the image's own word does not count.
    assert _url(native) == url
    assert _refused(native)
    assert _active(native) == ["inactive", "active"]
    assert "camera-server:" not in native.run("cat /etc/passwd")

    play = _contain(native)
    assert play.went_well, play.output
    assert play.changed == 0, play.output

    # One camera of two gives no picture, so what was before is in force again.
    before = native.configuration()
    cameras = [
        {"name": "camera", "source": "test-pattern"},
        # The image has no Picamera2.
        {"name": "second", "source": "picamera2"},
    ]
    play = _contain(native, camera_app_cameras=cameras)
    assert not play.went_well
    assert "is not what it was to become" in " ".join(play.output.split())
    assert "/cameras/second/snapshot" in play.output
    assert native.configuration() == before
    assert _width(native) == width(FIRST)

    with _frozen(native):
        play = _bootstrap(native, camera_app_cameras=[{"name": "camera", "source": "picamera2"}])
    assert not play.went_well
    assert "What it was to replace runs again: docker-boot" in " ".join(play.output.split())
    assert _width(native) == width(FIRST)
    assert _active(native) == ["inactive", "active"]

    with Watcher(lambda: url) as watcher:
        play = _bootstrap(native)
        assert play.went_well, play.output
        watcher.wait_for(NATIVE_WIDTH, PATIENCE)
        assert watcher.widths == [width(FIRST), NATIVE_WIDTH]
        dark_times["from a container to the native server"] = watcher.largest_gap, SWITCH
    assert _url(native) == url
    assert _active(native) == ["active", "inactive"]
    assert native.run("docker ps --all --quiet") == ""
    assert "docker_boot" not in native.run("ls /opt/rpi_camera /etc/rpi_camera")
