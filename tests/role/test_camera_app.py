"""The role camera_app by itself, every variable turned round, on both releases of Debian."""

from __future__ import annotations

import http.client
import tomllib
from base64 import b64encode

import pytest
import yaml

from tests.conftest import ROOT, Edit
from tests.lab import device as lab
from tests.play import Play, run_playbook
from tests.viewer import Viewer, Watcher

SCENARIO = ROOT / "molecule/camera_app"
VARIABLES = yaml.safe_load((SCENARIO / "vars/turned-round.yml").read_text())
PORT = VARIABLES["camera_app_port"]
RELEASES = "/opt/rpi_camera/releases"
DEVICES = ("trixie-1", "bookworm-1")


@pytest.fixture
def group(pytestconfig: pytest.Config) -> str:
    """Return the lab's group of the devices."""
    return str(pytestconfig.getoption("group"))


def _converge(group: str, name: str, *options: str) -> Play:
    """Apply the role as the scenario does, to one device."""
    env = {"MOLECULE_PROJECT_DIRECTORY": str(ROOT)}
    return run_playbook(group, SCENARIO / "converge.yml", "--limit", name, *options, env=env)


def _ask(group: str, name: str, path: str, user: str = "", password: str = "") -> int:
    """Return the status of the answer to a GET, with HTTP Basic if there is a user."""
    connection = http.client.HTTPConnection(lab.address(group, name), PORT, timeout=20)
    basic = b64encode(f"{user}:{password}".encode()).decode()
    connection.request("GET", path, headers={"Authorization": f"Basic {basic}"} if user else {})
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def _stream(group: str, name: str, camera: str) -> str:
    token = lab.execute(group, name, "cat", "/etc/rpi_camera/token").strip()
    return f"http://{lab.address(group, name)}:{PORT}/cameras/{camera}/video?token={token}"


@pytest.mark.parametrize("name", DEVICES)
def test_each_camera_has_its_own_size(group: str, name: str) -> None:
    for camera in VARIABLES["camera_app_cameras"]:
        with Viewer(_stream(group, name, camera["name"])) as viewer:
            size = viewer.first().decode().size
        assert size == (camera["width"], camera["height"])


@pytest.mark.parametrize("name", DEVICES)
def test_a_recording_is_replayed(group: str, name: str) -> None:
    film = (lab.folder(group) / "film.mjpeg").read_bytes()
    with Viewer(_stream(group, name, "film")) as viewer:
        seen = {part.jpeg for part in viewer.watch(1)}
    assert len(seen) == 3, "the film has three pictures"
    assert all(jpeg in film for jpeg in seen)


@pytest.mark.parametrize("name", DEVICES)
def test_the_server_is_told_the_bound_on_viewers_and_the_origins(group: str, name: str) -> None:
    told = tomllib.loads(lab.execute(group, name, "cat", "/etc/rpi_camera/camera-server.toml"))
    for setting in ("max_viewers", "cors_origins"):
        assert told[setting] == VARIABLES[f"camera_app_{setting}"]


@pytest.mark.parametrize("name", DEVICES)
def test_who_is_named_gets_in_and_nobody_else(group: str, name: str) -> None:
    for user in VARIABLES["camera_app_users"]:
        assert _ask(group, name, "/snapshot", user["name"], user["password"]) == 200
    assert _ask(group, name, "/snapshot", "anna", "seven hedgehogs wake") == 401
    assert _ask(group, name, "/snapshot") == 401


@pytest.mark.parametrize("name", DEVICES)
def test_the_packages_came_from_the_wheelhouse_and_left_nothing(group: str, name: str) -> None:
    # The index that the devices were told is out of reach.
    assert VARIABLES["camera_app_package_index"].startswith("http://127.0.0.1:9/")
    assert lab.execute(group, name, "find", "/opt/rpi_camera", "-name", "*.whl") == ""


def test_a_broken_release_leaves_the_one_before_a_good_one_follows(group: str, edit: Edit) -> None:
    name = "bookworm-1"

    def current() -> str:
        return lab.execute(group, name, "readlink", "/opt/rpi_camera/current").strip()

    before = current()
    source = "src/camera_server/cameras/__main__.py"
    edit(source, "_end_with(task.server_pid)", "_end_with(task.server_pid); signal.pause()")
    with Watcher(_stream(group, name, "door")) as watcher:
        run = _converge(group, name)
        gap = watcher.largest_gap
    assert not run.went_well
    assert "failed its trial, so the one before runs on" in run.output
    assert "no live frames" in run.output
    assert gap < 3
    assert current() == before
    edit(source, "; signal.pause()", "  # another release")
    run = _converge(group, name)
    assert run.went_well, run.output
    assert current() != before
    assert lab.execute(group, name, "readlink", "/opt/rpi_camera/previous").strip() == before
    with Viewer(_stream(group, name, "gate")) as viewer:
        viewer.first()


def test_a_configuration_that_the_server_refuses_is_told_with_its_reason(
    group: str, edit: Edit
) -> None:
    name = "bookworm-1"
    edit("src/camera_server/cli.py", 'print("ok")', 'sys.exit("camera-server: it rains")')
    run = _converge(group, name, "--extra-vars", f"camera_app_port={PORT + 1}")
    assert not run.went_well
    told = [line for line in run.output.splitlines() if line.startswith("fatal:")]
    assert "camera-server: it rains" in told[-1]
    assert _ask(group, name, "/healthz") == 200


def test_stopped_runs_not_and_absent_leaves_nothing(group: str) -> None:
    name = "bookworm-1"
    run = _converge(group, name, "--extra-vars", "camera_app_state=stopped")
    assert run.went_well, run.output
    with pytest.raises(ConnectionRefusedError):
        _ask(group, name, "/healthz")
    run = _converge(group, name)
    assert run.went_well, run.output
    assert _ask(group, name, "/healthz") == 200
    # As a run leaves it that was broken off.
    trial = "camera-server-trial"
    lab.execute(group, name, "systemd-run", "--quiet", f"--unit={trial}", "sleep", "infinity")
    run = _converge(group, name, "--extra-vars", "camera_app_state=absent")
    assert run.went_well, run.output
    assert lab.execute(group, name, "sh", "-c", f"systemctl is-active {trial} || :") == "inactive\n"
    look = "ls -d /opt/rpi_camera /etc/rpi_camera /etc/systemd/system/camera-server* || :"
    assert lab.execute(group, name, "sh", "-c", look) == ""
