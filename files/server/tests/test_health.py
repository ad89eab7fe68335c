"""The image's health check: it finds the server, says what the server says, and wakes no camera."""

import ipaddress
import subprocess
import sys
from pathlib import Path

import pytest
from camera_server.health import address
from camera_server.settings import Settings, load_settings
from server_helpers import RunningServer, environment, eventually, running_server


def ask(server: RunningServer, **settings: str) -> tuple[int, str]:
    """Run the check as the image does; return its exit status and what it prints."""
    ended = subprocess.run(
        [sys.executable, "-m", "camera_server.health"],
        env=environment(**{"CAMERA_SERVER_PORT": str(server.port)} | settings),
        stdout=subprocess.PIPE,
        text=True,
        timeout=20,
        check=False,
    )
    return ended.returncode, ended.stdout.strip()


def test_a_server_whose_camera_sleeps_is_well_and_it_sleeps_on() -> None:
    with running_server() as server:
        assert ask(server) == (0, "ready")
        assert server.state()["state"] == "idle"


def test_a_camera_that_is_lost_while_somebody_watches_is_not_well() -> None:
    with running_server(CAMERA_SERVER_CAMERA="picamera2") as server:
        server.watch()
        eventually(lambda: server.state()["state"] == "lost")
        status, words = ask(server)
        assert status == 1
        assert words.startswith("camera: picamera2 cannot be used here")


def test_a_server_that_is_gone_is_not_well() -> None:
    with running_server() as server:
        server.stop()
        status, words = ask(server)
        assert status == 1
        assert words.startswith(f"no answer at 127.0.0.1:{server.port}: ")


def test_a_server_on_a_socket_is_found(tmp_path: Path) -> None:
    path = str(tmp_path / "camera.sock")
    with running_server(CAMERA_SERVER_SOCKET=path, CAMERA_SERVER_PORT="") as server:
        assert ask(server, CAMERA_SERVER_SOCKET=path, CAMERA_SERVER_PORT="") == (0, "ready")


def where(settings: Settings) -> str | tuple[str, int]:
    """Return where a server with these settings is reached from its own machine."""
    host = ipaddress.ip_address(settings.listen_host.replace("localhost", "127.0.0.1"))
    if not host.is_unspecified:
        return settings.socket or (settings.listen_host, settings.port)
    return ("127.0.0.1" if host.version == 4 else "::1", settings.port)


@pytest.mark.parametrize(
    ("file", "variables"),
    [
        ("", {}),
        ("port = 9000", {}),
        ("port = 9000", {"PORT": "9001"}),
        ("port = 9000", {"PORT": ""}),
        ('access = "open"', {"HOST": "192.0.2.1"}),
        ('access = "open"\nhost = "0.0.0.0"', {}),
        ('access = "open"\nhost = "::"', {"PORT": "9002"}),
        ('host = "127.0.0.1"', {"HOST": "localhost"}),
        ('socket = "/run/camera.sock"', {}),
        ("", {"SOCKET": "/run/other.sock"}),
    ],
)
def test_it_reads_the_settings_as_the_server_does(
    tmp_path: Path, file: str, variables: dict[str, str]
) -> None:
    config = tmp_path / "camera-server.toml"
    config.write_text(file)
    names = {f"CAMERA_SERVER_{name}": value for name, value in variables.items()}
    assert address(config, names) == where(load_settings(config, names))


def test_the_settings_file_may_be_absent(tmp_path: Path) -> None:
    assert address(tmp_path / "none.toml", {}) == ("127.0.0.1", 8080)
