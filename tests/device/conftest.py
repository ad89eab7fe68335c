"""A simulated device that has been bootstrapped, as tests reach it."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.lab import device as lab
from tests.lab.console import BIN, CACHE, environment
from tests.viewer import Viewer


@dataclass(frozen=True)
class Play:
    """How a run of a playbook went: whether well, and what it printed."""

    went_well: bool
    output: str

    @property
    def changed(self) -> int:
        """How many tasks changed something, of its one device."""
        (changed,) = re.findall(r"changed=(\d+)", self.output)
        return int(changed)


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

    def bootstrap(self, *options: str, **variables: object) -> Play:
        """Run bootstrap on it with extra variables and options of ansible-playbook."""
        done = subprocess.run(
            [
                *[str(BIN / "ansible-playbook"), "rpi_camera.fleet.bootstrap", *options],
                *["--inventory", str(lab.folder(self.group) / "inventory.yml")],
                *["--limit", self.name, "--extra-vars", json.dumps(variables)],
            ],
            env=environment(),
            cwd=CACHE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Play(done.returncode == 0, done.stdout)

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
def restored(device: Device) -> Iterator[Device]:
    """Yield the device, and bootstrap it as its inventory says when the test has ended."""
    yield device
    play = device.bootstrap()
    assert play.went_well, play.output
