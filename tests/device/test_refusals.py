"""What bootstrap refuses before it changes anything, in words that the documentation explains."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.device.conftest import Device
from tests.play import Play, refusals, run_playbook, told

DOCUMENTED = " ".join(
    (Path(__file__).parents[2] / "docs/troubleshooting.md").read_text().replace("`", "").split()
)
CAMERA = {"name": "door", "source": "test-pattern"}
REAL = {"name": "door", "source": "picamera2"}
FILM = {"name": "door", "source": "replay"}
CONTAINER: dict[str, object] = {
    "bootstrap_deployment": "container",
    "docker_boot_image": "hub:5000/camera:stable",
}
ANNA = {"name": "anna", "password": "correct horse"}

CASES: dict[str, tuple[dict[str, object], str]] = {
    "misspelt": (
        {"camera_app_prot": 8081},
        "camera_app_prot: the role camera_app has no such variable; allowed are camera_app_access,",
    ),
    "port": (
        {"camera_app_port": 80},
        "camera_app_port is 80; allowed is 1024 to 65535",
    ),
    "width": (
        {"camera_app_cameras": [CAMERA | {"width": 641}]},
        "camera_app_cameras: width of door is 641; allowed is an even number from 64 to 9152",
    ),
    "no size": (
        {"camera_app_cameras": [CAMERA | {"height": 0}]},
        "camera_app_cameras: height of door is 0; allowed is an even number from 64 to 9152",
    ),
    "rate": (
        {"camera_app_cameras": [CAMERA | {"fps": -5}]},
        "camera_app_cameras: fps of door is -5; allowed is a number from 1 to 120",
    ),
    "quality": (
        {"camera_app_cameras": [CAMERA | {"quality": 100}]},
        "camera_app_cameras: quality of door is 100; allowed is a number from 1 to 95",
    ),
    "no number": (
        {"camera_app_cameras": [CAMERA | {"fps": True}]},
        "camera_app_cameras: fps of door is True; allowed is a number from 1 to 120",
    ),
    "source": (
        {"camera_app_cameras": [{"name": "door", "source": "webcam"}]},
        "value of source must be one of: picamera2, test-pattern, replay, got: webcam",
    ),
    "camera's name": (
        {"camera_app_cameras": [CAMERA | {"name": "Door"}]},
        "camera_app_cameras: Door is no name for a camera; allowed are 1 to 63 lower-case"
        " letters, digits and hyphens, with no hyphen at either end",
    ),
    "one name twice": (
        {"camera_app_cameras": [CAMERA, CAMERA]},
        "camera_app_cameras names door, door; it takes at least one camera, and no name twice",
    ),
    "one name twice, as a number and in quotes": (
        {"camera_app_cameras": [CAMERA | {"name": 1}, CAMERA | {"name": "1"}]},
        "it takes at least one camera, and no name twice",
    ),
    "same camera": (
        {"camera_app_cameras": [REAL, REAL | {"name": "gate"}]},
        "camera_app_cameras: the camera_id of the picamera2 cameras is unset, unset;"
        " each needs one of its own",
    ),
    "no camera_id": (
        {"camera_app_cameras": [REAL | {"camera_id": ""}]},
        'camera_app_cameras: camera_id of door is ""; allowed is a name or a number from the list'
        " that rpi_camera.fleet.camera_info gives",
    ),
    "unknown camera_id": (
        {"camera_app_cameras": [REAL | {"camera_id": "imx708"}]},
        "camera_app_cameras: camera_id is imx708; allowed is a name or a number from the list of"
        " the device's cameras: 0 or vcam1, 1 or vcam0",
    ),
    "model": (
        {"camera_app_cameras": [REAL | {"model": "/x.rpk"}]},
        "camera_app_cameras: model of door is /x.rpk, and garden has no such file; allowed is the"
        " path of a network for the IMX500 (.rpk)",
    ),
    "hidden model": (
        {"camera_app_cameras": [REAL | {"model": "/home/pi/x.rpk"}]},
        'camera_app_cameras: model of door is "/home/pi/x.rpk"; allowed is an absolute path on the'
        " device that is not in /home, /root, /run/user, /tmp or /var/tmp",
    ),
    "drawn model": (
        {"camera_app_cameras": [CAMERA | {"model": "/x.rpk"}]},
        "camera_app_cameras: model of door is /x.rpk, and its source is test-pattern; allowed is a"
        " network for a camera of source picamera2",
    ),
    "replay": (
        {"camera_app_cameras": [FILM | {"replay": "/srv/film.mp4"}]},
        "camera_app_cameras: replay of door is /srv/film.mp4, and garden has no such folder or"
        " film; allowed is the path of a folder of JPEGs (.jpg, .jpeg) or of a film of them"
        " (.mjpeg, .mjpg)",
    ),
    "hidden replay": (
        {"camera_app_cameras": [FILM | {"replay": "/home/pi/film.mjpeg"}]},
        'camera_app_cameras: replay of door is "/home/pi/film.mjpeg"; allowed is an absolute path'
        " on the device that is not in /home, /root, /run/user, /tmp or /var/tmp",
    ),
    "drawn replay": (
        {"camera_app_cameras": [CAMERA | {"replay": "/srv/film.mjpeg"}]},
        "camera_app_cameras: replay of door is /srv/film.mjpeg, and its source is test-pattern;"
        " allowed is a recording for a camera of source replay, which needs one",
    ),
    "no replay": (
        {"camera_app_cameras": [FILM]},
        "camera_app_cameras: replay of door is unset, and its source is replay; allowed is a"
        " recording for a camera of source replay, which needs one",
    ),
    "flip": (
        {"camera_app_cameras": [REAL | {"hflip": "yes"}]},
        'camera_app_cameras: hflip of door is "yes"; allowed is true or false',
    ),
    "drawn flip": (
        {"camera_app_cameras": [CAMERA | {"hflip": False, "vflip": True}]},
        "camera_app_cameras: vflip of door is true, and its source is test-pattern; allowed is"
        " true for a camera of source picamera2",
    ),
    "viewers": (
        {"camera_app_max_viewers": 0},
        "camera_app_max_viewers is 0; allowed is 1 to 10000",
    ),
    "origin": (
        {"camera_app_cors_origins": ["*", "https://site.example/"]},
        'camera_app_cors_origins: "https://site.example/" is no origin; allowed are * and'
        " scheme://host or scheme://host:port, with http or https, in lower case and with nothing"
        " behind",
    ),
    "host": (
        {"camera_app_host": "localhots"},
        "camera_app_host is localhots, which is no address of garden; allowed is one of its own,"
        " 0.0.0.0 or ::",
    ),
    "somebody else's host": (
        {"camera_app_host": "192.0.2.7"},
        "camera_app_host is 192.0.2.7, which is no address of garden; allowed is one of its own,"
        " 0.0.0.0 or ::",
    ),
    "a group's host": (
        {"camera_app_host": "224.0.0.1"},
        "which is no address of garden; allowed is one of its own, 0.0.0.0 or ::",
    ),
    "open with users": (
        {"camera_app_access": "open", "camera_app_users": [ANNA]},
        "camera_app_access is open, and camera_app_users names anna; allowed is one of the two:"
        " open asks nobody for a password",
    ),
    "user twice": (
        {"camera_app_access": "restricted", "camera_app_users": [ANNA, ANNA]},
        "camera_app_users names anna, anna; allowed is each name once",
    ),
    "user's name": (
        {"camera_app_access": "restricted", "camera_app_users": [ANNA | {"name": "Anna B"}]},
        "camera_app_users: Anna B is no name for a user; allowed are 1 to 32 lower-case letters,"
        " digits, dots, underscores and hyphens, beginning with a letter",
    ),
    "password": (
        {"camera_app_access": "restricted", "camera_app_users": [ANNA | {"password": "secret"}]},
        "camera_app_users: the password of anna has 6 characters; allowed are 8 to 1024 that can"
        " be typed, and in quotes if they are digits only",
    ),
    "password without quotes": (
        {"camera_app_access": "restricted", "camera_app_users": [ANNA | {"password": 12345678}]},
        "camera_app_users: the password of anna has 8 characters; allowed are 8 to 1024 that can"
        " be typed, and in quotes if they are digits only",
    ),
    "package index": (
        {"camera_app_package_index": "pypi.org"},
        "camera_app_package_index is pypi.org; allowed is an address that begins with http:// or"
        " https://, without a user and a password: they would stand in logs",
    ),
    "package index with a password": (
        {"camera_app_package_index": "https://me:secret@pypi.example/simple"},
        "camera_app_package_index is https://…@pypi.example/simple; allowed is an address that"
        " begins with http:// or https://, without a user and a password: they would stand in logs",
    ),
    "wheelhouse": (
        {"camera_app_wheelhouse": "wheels"},
        "camera_app_wheelhouse is wheels; allowed is a path on the controller that begins with /"
        " or ~",
    ),
    "address": (
        {"bootstrap_stream_url": "shed:8080"},
        "bootstrap_stream_url is shed:8080; allowed is an address that begins with http:// or"
        " https://, or nothing at all",
    ),
    "feature": (
        {"bootstrap_features": ["camera_app", "toaster"]},
        "bootstrap_features is ['camera_app', 'toaster']; allowed is ['camera_app']",
    ),
    "deployment": (
        {"bootstrap_deployment": "docker"},
        "bootstrap_deployment is docker; allowed is native or container",
    ),
    "container without an image": (
        {"bootstrap_deployment": "container"},
        "bootstrap_deployment is container, and docker_boot_image is not set; allowed is",
    ),
    "container's port": (
        CONTAINER | {"docker_boot_ports": ["80:80"]},
        "docker_boot_ports: with bootstrap_deployment container the playbook sets that itself",
    ),
    "container's updates": (
        CONTAINER | {"docker_boot_update_interval": "30"},
        'docker_boot_update_interval is "30"; allowed is a time with its unit',
    ),
}


def _assert_refused(device: Device, play: Play, message: str) -> None:
    """See that a play was refused with a message that is documented, and that nothing changed."""
    assert message in DOCUMENTED
    assert not play.went_well
    assert message.replace("garden", device.name) in play.output.replace("`", "")
    assert play.changed == 0


# These go all the way: the playbook's own, and some of the role's.
THROUGH_BOOTSTRAP = [
    case
    for case, (variables, _message) in CASES.items()
    if case in {"misspelt", "password", "unknown camera_id", "source"}
    or not all(name.startswith("camera_app_") for name in variables)
]
BY_ROLE = [case for case in CASES if case not in THROUGH_BOOTSTRAP]


def _alias(case: str) -> str:
    return "-".join(re.findall("[a-z]+", case))


def _documented(case: str, name: str) -> str:
    """Return a case's message for a device, once it is seen to be documented."""
    message = CASES[case][1]
    assert message in DOCUMENTED
    return message.replace("garden", name)


@pytest.fixture(scope="module")
def bootstrapped(device: Device, tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Bootstrap the device under as many names as there are cases, each with its bad input."""
    inventory = yaml.safe_load(device.inventory.read_text())
    own = inventory["devices"]["hosts"][device.name]
    inventory["devices"]["hosts"] = {
        _alias(case): own | CASES[case][0] for case in THROUGH_BOOTSTRAP
    }
    path = tmp_path_factory.mktemp("refusals") / "inventory.yml"
    path.write_text(yaml.safe_dump(inventory))
    # One sshd lets in at most ten sessions of a connection.
    return device.bootstrap_all(path, "--forks=3")


@pytest.mark.parametrize("case", THROUGH_BOOTSTRAP)
def test_bad_input_is_refused_before_the_first_change(bootstrapped: Play, case: str) -> None:
    name = _alias(case)
    output = bootstrapped.output
    said = "".join(re.findall(rf"^(?:fatal|failed): \[{name}\][: ].*$", output, re.MULTILINE))
    assert _documented(case, name) in said.replace("`", "").replace('\\"', '"')
    assert re.search(rf"^{name} .* changed=0 .* failed=1 ", output, re.MULTILINE)
    assert "correct horse" not in output


@pytest.fixture(scope="module")
def refused(device: Device, tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Have the role look at each bad input, as loudly as Ansible can."""
    play = {"hosts": "all", "become": True, "vars": {"ansible_pipelining": True}}
    role = {"name": "rpi_camera.fleet.camera_app", "tasks_from": "preflight.yml"}
    path = tmp_path_factory.mktemp("refusals") / "refusals.yml"
    path.write_text(yaml.safe_dump([refusals(play, role, [CASES[case][0] for case in BY_ROLE])]))
    return run_playbook(device.group, path, "--limit", device.name, "-vvv")


@pytest.mark.parametrize("case", BY_ROLE)
def test_bad_input_is_refused_by_the_role(refused: Play, device: Device, case: str) -> None:
    said = told(refused.output, BY_ROLE.index(case))
    assert _documented(case, device.name) in said.replace("`", "")
    assert refused.changed == 0
    assert "correct horse" not in refused.output


def test_a_port_that_another_program_has_is_refused_with_its_name(device: Device) -> None:
    before = device.pid()
    squat = "systemd-run --quiet --unit=squatter python3 -m http.server 8081"
    device.run("sh", "-ec", f"{squat}; until ss -Hltn 'sport = :8081' | grep -q .; do :; done")
    try:
        pid = device.run("systemctl", "show", "--value", "--property=MainPID", "squatter").strip()
        play = device.bootstrap(camera_app_port=8081)
    finally:
        device.run("systemctl", "stop", "squatter")
    message = (
        f"camera_app_port is 8081, and on garden another program listens there: python3, pid {pid};"
        " allowed is a free port from 1024 to 65535"
    )
    assert message.replace(pid, "812") in DOCUMENTED
    assert not play.went_well
    assert message.replace("garden", device.name) in play.output
    assert play.changed == 0
    assert device.pid() == before


@contextmanager
def _mounted(device: Device, size: str) -> Iterator[None]:
    """Hide the installed releases behind an empty file system, so that one has to be made."""
    device.run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", "/opt")
    try:
        yield
    finally:
        device.run("umount", "/opt")


def test_a_disk_without_room_is_refused(device: Device) -> None:
    with _mounted(device, "100M"):
        play = device.bootstrap()
    _assert_refused(
        device,
        play,
        "garden has 100 MB free on the file system of /opt; a release of the server takes 200 MB"
        " while it is made",
    )


def test_an_index_that_the_device_does_not_reach_is_refused(device: Device) -> None:
    with _mounted(device, "1G"):
        play = device.bootstrap(camera_app_package_index="http://127.0.0.1:9/simple")
    _assert_refused(
        device,
        play,
        "camera_app_package_index is http://127.0.0.1:9/simple, which garden does not reach:",
    )


def test_a_wheelhouse_for_another_python_is_refused(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A controller without internet that has only what does not fit.
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    (tmp_path / "uvloop-0.23.0-cp312-cp312-manylinux2014_aarch64.whl").touch()
    python = device.run(
        "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"
    ).strip()
    machine = device.run("uname", "-m").strip()
    with _mounted(device, "1G"):
        play = device.bootstrap(camera_app_wheelhouse=str(tmp_path))
    message = (
        f"camera_app_wheelhouse is {tmp_path}, which lacks packages for Python {python} on"
        f" {machine}, and the controller could not fetch them: ERROR: "
    )
    documented = message.replace(str(tmp_path), "/home/me/wheels")
    assert documented.replace(python, "3.13").replace(machine, "aarch64") in DOCUMENTED
    assert not play.went_well
    assert message in play.output
    assert play.changed == 1  # the try to fetch them, on the controller


def test_a_device_of_another_architecture_is_refused(device: Device) -> None:
    # The kernel says to whoever is started by it that it is a 32-bit one.
    wrapper = "/usr/local/bin/python-of-another-machine"
    script = '#!/bin/sh\\nexec setarch i686 /usr/bin/python3 "$@"\\n'
    device.run("sh", "-ec", f"printf '{script}' > {wrapper}; chmod +x {wrapper}")
    try:
        play = device.bootstrap(ansible_python_interpreter=wrapper)
    finally:
        device.run("rm", wrapper)
    _assert_refused(
        device,
        play,
        "supported are Raspberry Pi OS and Debian, bookworm and trixie, on aarch64 and x86_64,"
        " 64 bit",
    )


def test_a_system_that_is_not_supported_is_refused(device: Device) -> None:
    device.run(
        "sh",
        "-ec",
        "sed 's/trixie/bullseye/; s/13/11/' /etc/os-release > /run/os-release;"
        " mount --bind /run/os-release /etc/os-release",
    )
    try:
        play = device.bootstrap()
    finally:
        device.run("umount", "/etc/os-release")
    message = (
        "garden runs Debian bullseye on aarch64, 64 bit; supported are Raspberry Pi OS and Debian,"
        " bookworm and trixie, on aarch64 and x86_64, 64 bit"
    )
    assert message in DOCUMENTED
    assert not play.went_well
    machine = device.run("uname", "-m").strip()
    assert (
        message.replace("on aarch64, 64 bit;", f"on {machine}, 64 bit;").replace(
            "garden", device.name
        )
        in play.output
    )
    assert play.changed == 0
