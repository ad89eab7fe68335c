"""A simulated device that has been bootstrapped, as tests reach it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.lab import device as lab
from tests.play import Play, ask_module, inventory, run_playbook
from tests.viewer import Viewer

# What makes the device's cameras; while FREEZE exists, they give no picture.
VIRTUAL = "/usr/share/libcamera/pipeline/virtual/virtual.yaml"
FREEZE = "/run/vcam/freeze"

# Takes a camera as any program would, tells systemd, and keeps it.
HOLD = """
import libcamera, os, signal, socket, sys
(camera,) = [c for c in libcamera.CameraManager.singleton().cameras if c.id == sys.argv[1]]
camera.acquire()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
signal.pause()
"""


@dataclass(frozen=True)
class Device:
    """A bootstrapped device: its group and name in the lab, and the address of its page."""

    group: str
    name: str
    url: str

    def run(self, *command: str) -> str:
        """Run a command on it as root and return its standard output."""
        return lab.execute(self.group, self.name, *command)

    def pid(self) -> str:
        """Return the process id of its server."""
        return self.run(
            "systemctl", "show", "--value", "--property=MainPID", "camera-server"
        ).strip()

    @property
    def inventory(self) -> Path:
        """The inventory that reaches it."""
        return inventory(self.group)

    def bootstrap(self, *options: str, **variables: object) -> Play:
        """Run bootstrap on it with extra variables and options of ansible-playbook."""
        limit = ("--limit", self.name, "--extra-vars", json.dumps(variables))
        return self.bootstrap_all(self.inventory, *limit, *options)

    def bootstrap_all(self, inventory: Path, *options: str) -> Play:
        """Run bootstrap on all devices of an inventory."""
        return run_playbook(self.group, "rpi_camera.fleet.bootstrap", *options, hosts=inventory)

    def camera_info(self, *options: str) -> dict[str, Any]:
        """Run the module on the device, as root by its option `--become`, and return its answer."""
        return ask_module(self.group, self.name, "camera_info", *options)

    @contextmanager
    def holding(self, camera: str) -> Iterator[int]:
        """Have a program hold a camera; give its pid."""
        unit = ("--quiet", "--collect", "--unit=camera-holder", "--property=Type=notify")
        self.run("systemd-run", *unit, "python3", "-c", HOLD, camera)
        try:
            yield int(
                self.run("systemctl", "show", "--value", "--property=MainPID", "camera-holder")
            )
        finally:
            self.run("systemctl", "stop", "camera-holder")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have the cameras give no picture."""
        self.run("sh", "-c", f"mkdir -p {FREEZE.rpartition('/')[0]} && touch {FREEZE}")
        try:
            yield
        finally:
            self.run("rm", FREEZE)

    @contextmanager
    def without_cameras(self) -> Iterator[None]:
        """Take away what makes the cameras, as a pulled cable would."""
        self.run("mv", VIRTUAL, f"{VIRTUAL}.away")
        try:
            yield
        finally:
            self.run("mv", f"{VIRTUAL}.away", VIRTUAL)

    def viewer(self) -> Viewer:
        """Connect to its stream."""
        return Viewer(f"{self.url}video")

    def state(self) -> dict[str, Any]:
        """Return what its server says of its first camera."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        connection.request("GET", "/state")
        return dict(json.load(connection.getresponse()))


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> Device:
    """Return the device that the command line names."""
    group, name = pytestconfig.getoption("group"), pytestconfig.getoption("device")
    return Device(group, name, f"http://127.0.0.1:{lab.port(group, name, lab.SERVER_PORT)}/")


@pytest.fixture
def idle(device: Device) -> Device:
    """Return the device with a server that has opened no camera."""
    device.run("systemctl", "restart", "camera-server")
    return device
