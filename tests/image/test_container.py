"""The image on a simulated Pi: how it is made, and its cameras under what run_options.py grants.

That is asked by hand first, and then by the role docker_boot.
"""

from __future__ import annotations

import io
import json
import signal
import tarfile
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.conftest import eventually
from tests.image.conftest import BASE, GROUP, HUB, IMAGE, LOGIN, Site, on
from tests.lab import device as lab
from tests.lab.camera_image import PAYLOAD
from tests.play import Play, run_playbook
from tests.viewer import Viewer

RUN_OPTIONS = PAYLOAD / "container" / "run_options.py"
NAME = "camera"
FREEZE = "/run/vcam"
SMALL_MB = 120
PATIENCE = 120.0
# Waits until the server answers.
SERVES = (
    "curl --silent --fail --retry 60 --retry-delay 1 --retry-all-errors"
    " http://127.0.0.1:8080/healthz"
)

# The sensor: what makes a simulated Pi's cameras, plugged into the container as it is.
SENSOR = [
    f"{path}:{path}:ro"
    for path in (
        "/etc/ld.so.preload",
        "/usr/local/lib/dmashim.so",
        "/usr/local/lib/python3.13/dist-packages/libcamera",
        "/usr/share/libcamera/pipeline/virtual/virtual.yaml",
        FREEZE,
    )
]


def inside(script: str) -> str:
    """Run a script in the container and return its standard output."""
    return on(HUB, f"docker exec {NAME} sh -c '{script}'")


def told(what: str) -> Any:
    """Return what Docker says of the container, by a path such as `.State.Health`."""
    return json.loads(on(HUB, f"docker inspect --format '{{{{json {what}}}}}' {NAME}"))


def granted() -> list[str]:
    """Return what run_options.py prints on the Pi."""
    return on(HUB, "python3 -", stdin=RUN_OPTIONS.read_text()).split()


def apply(**variables: object) -> Play:
    """Apply the role docker_boot to the Pi, for the container's name."""
    told = {"docker_boot_name": NAME, **variables}
    roles = [{"role": "rpi_camera.fleet.docker_boot", "vars": told}]
    playbook = lab.folder(GROUP) / "docker-boot.yml"
    # It holds the registry's password.
    playbook.touch(mode=0o600)
    swift = {"ansible_pipelining": True}
    play = {"hosts": HUB, "gather_facts": False, "become": True, "vars": swift, "roles": roles}
    playbook.write_text(yaml.safe_dump([play]))
    return run_playbook(GROUP, playbook)


def state() -> str:
    """Return what its server says that the camera is doing; this opens nothing."""
    return str(json.loads(on(HUB, "curl --silent http://127.0.0.1:8080/state"))["state"])


def viewer() -> Viewer:
    """Connect to the container's stream, from outside the Pi."""
    port = lab.port(GROUP, HUB, lab.SERVER_PORT)
    return Viewer(f"http://127.0.0.1:{port}/video", timeout=60)


def seen() -> None:
    """See that the camera's pictures come, one after the other."""
    with viewer() as connected:
        parts = [connected.first() for _picture in range(5)]
    assert {part.decode().size for part in parts} == {(640, 480)}
    assert len({part.jpeg for part in parts}) == len(parts)


@pytest.fixture
def container(first: str) -> Iterator[None]:
    """Run the image under what run_options.py prints on the Pi, and under nothing else."""
    options = [*granted(), *(f"--volume={volume}" for volume in SENSOR)]
    on(
        HUB,
        f"mkdir -p {FREEZE} && docker run --detach --name {NAME} {' '.join(options)}"
        " --env CAMERA_SERVER_ACCESS=open --env CAMERA_SERVER_IDLE_SECONDS=1"
        f" --publish 8080:8080 {IMAGE}@{first} && {SERVES}",
    )
    yield
    on(HUB, f"docker rm --force {NAME} && rm -f {FREEZE}/freeze")


@pytest.mark.usefixtures("container")
def test_the_real_picamera2_streams_and_the_container_may_do_nothing_else() -> None:
    with viewer() as connected:
        assert connected.first().decode().size == (640, 480)
        assert state() == "live"
        commands = {
            pid: inside(f"cat /proc/{pid}/cmdline 2>/dev/null || :")
            for pid in inside("cd /proc && echo [0-9]*").split()
        }
        # Docker's init, the server, the camera's process; a health check comes and goes.
        processes = [
            pid
            for pid, command in commands.items()
            if "camera" in command and "camera_server.health" not in command
        ]
        assert len(processes) == 3
        assert "1" in processes
        for pid in processes:
            status = inside(f"cat /proc/{pid}/status")
            assert "\nUid:\t64080\t64080\t64080\t64080\n" in status
            assert "\nNoNewPrivs:\t1\n" in status
            for capabilities in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
                assert f"\n{capabilities}:\t0000000000000000\n" in status
    write = f"docker exec --user 0 {NAME} touch /opt/file"
    assert "Read-only file system" in on(HUB, f"{write} 2>&1 || :")


@pytest.mark.usefixtures("container")
def test_the_health_check_lets_a_camera_sleep_and_says_when_it_is_lost() -> None:
    eventually(
        "Docker finds it healthy", lambda: told(".State.Health.Status") == "healthy", PATIENCE
    )
    assert state() == "idle"
    with viewer() as connected:
        connected.first()
        on(HUB, f"touch {FREEZE}/freeze")
        connected.first(live=False)
        eventually("it is told to be lost", lambda: state() == "lost", PATIENCE)
        ask = f"docker exec {NAME} python -m camera_server.health"
        words = on(HUB, f"{ask} && echo well || :")
        assert "no frame for" in words
        assert "well" not in words
        on(HUB, f"rm {FREEZE}/freeze")
        connected.first()
        assert on(HUB, ask) == "ready\n"


@pytest.mark.usefixtures("container")
def test_it_ends_when_it_is_asked_to() -> None:
    with viewer() as connected:
        connected.first()
        on(HUB, f"docker stop --time 30 {NAME}")
    # 137 would be a server that had to be killed.
    assert told(".State.ExitCode") == 128 + signal.SIGTERM


def test_it_ends_when_it_is_asked_to_as_soon_as_it_has_begun(first: str) -> None:
    on(HUB, f"docker run --detach --name {NAME} {' '.join(granted())} {IMAGE}@{first}")
    try:
        on(HUB, f"docker stop --time 30 {NAME}")
        assert told(".State.ExitCode") == 128 + signal.SIGTERM
    finally:
        on(HUB, f"docker rm --force {NAME}")


def test_docker_boot_takes_it_for_well_and_grants_it_its_cameras_at_each_start(
    pi: Site, first: str
) -> None:
    on(HUB, f"mkdir -p {FREEZE}")
    try:
        play = apply(
            docker_boot_image=f"{IMAGE}:latest",
            docker_boot_registry_username=LOGIN,
            docker_boot_registry_password=pi.hub.password,
            docker_boot_camera=True,
            docker_boot_volumes=SENSOR,
            docker_boot_env={"CAMERA_SERVER_ACCESS": "open"},
            docker_boot_ports=["8080:8080"],
            docker_boot_health="http",
            docker_boot_health_urls=["http://127.0.0.1:8080/snapshot?max_age=0"],
        )
        assert play.went_well, play.output
        known = json.loads(on(HUB, f"cat /var/lib/rpi_camera/docker_boot/{NAME}.json"))
        assert known["current"]["reference"] == f"{IMAGE}@{first}"
        assert known["last_switch"]["result"] == "kept"
        host = told(".HostConfig")
        assert host["ReadonlyRootfs"]
        assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], None, False)
        nodes = [":".join(node.values()) for node in host["Devices"] or []]
        assert [f"--device={node}" for node in nodes] == [
            option for option in granted() if option.startswith("--device=")
        ]
        seen()
        before = told(".Id")
        on(HUB, f"systemctl restart docker-boot@{NAME} && {SERVES}")
        seen()
        assert told(".Id") != before
    finally:
        play = apply(docker_boot_state="absent")
    assert play.went_well, play.output
    assert on(HUB, f"docker ps --all --quiet --filter name={NAME}") == ""
    folders = "/etc/rpi_camera /opt/rpi_camera /var/lib/rpi_camera"
    assert on(HUB, f"ls -d {folders} /etc/systemd/system/docker-boot* 2>/dev/null || :") == ""


def test_without_camera_packages_it_is_small_and_another_device_makes_the_same_layers(
    pi: Site, small: str
) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(pi.repository / "server", "server")
    unpack = "rm -rf server && base64 --decode | tar --extract"
    on(HUB, unpack, stdin=b64encode(packed.getvalue()).decode())
    on(HUB, f"docker pull --quiet {BASE} && docker pull --quiet {IMAGE}@{small}")
    on(
        HUB,
        f"docker build --quiet --no-cache --build-arg BASE={BASE}"
        " --build-arg CAMERA_PACKAGES= --tag again server",
    )
    pulled, again = json.loads(on(HUB, f"docker inspect {IMAGE}@{small} again"))
    assert pulled["Size"] < SMALL_MB * 1_000_000
    assert pulled["RootFS"]["Layers"] == again["RootFS"]["Layers"]
    assert len(again["RootFS"]["Layers"]) == 3
