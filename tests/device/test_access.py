"""Who gets at a bootstrapped device's pictures, and where its secrets are not."""

from __future__ import annotations

import base64
import http.client
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.device.conftest import Device
from tests.play import Play
from tests.viewer import Viewer

PHRASE = "seven hedgehogs sleep in the shed"
ANNA = {"name": "anna", "password": PHRASE}
PATHS = ("video", "snapshot", "snapshot?max_age=1", "state")


@pytest.fixture(scope="module")
def play(device: Device) -> Iterator[Play]:
    """Bootstrap the device for a user and a token, as loudly as Ansible can; open it afterwards."""
    yield device.bootstrap("-vvv", camera_app_access="restricted", camera_app_users=[ANNA])
    opened = device.bootstrap()
    assert opened.went_well, opened.output
    assert device.run("ls", "/etc/rpi_camera").split() == ["camera-server.toml", "token"]
    with device.viewer() as viewer:
        viewer.first()


@pytest.fixture
def token(play: Play) -> str:
    """Return the token that bootstrap has printed in the address."""
    assert play.went_well, play.output
    (found,) = set(re.findall(r"seen from the controller at http\S+/\?token=(\w+)", play.output))
    return str(found)


def _ask(device: Device, path: str, **headers: str) -> tuple[int, bytes]:
    """Return status and body of the answer to a GET from another host than the device."""
    connection = http.client.HTTPConnection(urlsplit(device.url).netloc, timeout=10)
    connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    response = connection.getresponse()
    try:
        return response.status, response.read(200_000)
    finally:
        connection.close()


@pytest.mark.usefixtures("token")
def test_without_credentials_nothing_but_health_is_readable(device: Device) -> None:
    assert _ask(device, "/healthz")[0] == 200
    assert _ask(device, "/readyz") == (200, b"ready\n")
    for path in (
        *PATHS,
        *(f"cameras/{name}/{path}" for name in ("camera", "no") for path in PATHS),
    ):
        assert _ask(device, f"/{path}")[0] == 401
    assert _ask(device, "/openapi.json")[0] == 401


@pytest.mark.usefixtures("token")
def test_a_browser_is_asked_to_sign_in(device: Device) -> None:
    assert _ask(device, "/", Accept="text/html")[0] == 303
    status, page = _ask(device, "/sign-in", Accept="text/html")
    assert status == 200
    assert b"password" in page


def test_the_printed_address_shows_the_picture(device: Device, token: str) -> None:
    with Viewer(f"{device.url}video?token={token}") as viewer:
        assert viewer.first().decode().size == (640, 480)


@pytest.mark.usefixtures("token")
def test_a_user_sees_the_picture_with_the_password_and_not_with_another(device: Device) -> None:
    def basic(password: str) -> str:
        return "Basic " + base64.b64encode(f"anna:{password}".encode()).decode()

    status, jpeg = _ask(device, "/snapshot", Authorization=basic(PHRASE))
    assert status == 200
    assert jpeg.startswith(b"\xff\xd8")
    assert _ask(device, "/snapshot", Authorization=basic("correct horse"))[0] == 401


def test_secrets_are_in_no_log_and_no_file_that_others_can_read(
    device: Device, play: Play, token: str
) -> None:
    assert PHRASE not in play.output
    address = f"/?token={token}"
    assert play.output.replace(address, "").count(token) == 0
    # The journal has what Ansible's modules say of themselves, and what the server says.
    journal = device.run("journalctl", "--no-pager", "--output=verbose")
    assert token not in journal
    assert PHRASE not in journal
    command = f"grep -rlF -e '{token}' -e '{PHRASE}' /etc /var /opt /run/systemd /tmp || :"
    assert device.run("sh", "-c", command).split() == ["/etc/rpi_camera/token"]
    modes = device.run("stat", "--format=%a %U", "/etc/rpi_camera/token")
    modes += device.run("stat", "--format=%a %U", "/etc/rpi_camera/credentials.json")
    assert modes == "600 root\n600 root\n"
    assert token not in device.run("ps", "-eo", "args")


def test_once_more_changes_nothing_and_another_password_changes_that_one(
    device: Device, token: str
) -> None:
    again = device.bootstrap(camera_app_access="restricted", camera_app_users=[ANNA])
    assert again.went_well, again.output
    assert again.changed == 0
    other: dict[str, object] = {
        "camera_app_access": "restricted",
        "camera_app_users": [ANNA | {"password": "another horse altogether"}],
    }
    assert device.bootstrap("--check", **other).changed > 0
    device.run("chmod", "644", "/etc/rpi_camera/token")
    changed = device.bootstrap(**other)
    assert changed.went_well, changed.output
    assert device.run("stat", "--format=%a", "/etc/rpi_camera/token").strip() == "600"
    assert f"/?token={token}" in changed.output
    basic = base64.b64encode(f"anna:{PHRASE}".encode()).decode()
    assert _ask(device, "/snapshot", Authorization=f"Basic {basic}")[0] == 401
    # As a power cut may leave it.
    device.run("truncate", "--size=0", "/etc/rpi_camera/token")
    healed = device.bootstrap(**other)
    assert healed.went_well, healed.output
    (anew,) = set(re.findall(r"seen from the controller at http\S+/\?token=(\w+)", healed.output))
    assert anew != token
