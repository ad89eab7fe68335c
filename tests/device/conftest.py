"""A simulated device that has been bootstrapped, as tests reach it."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.lab import device as lab
from tests.viewer import Viewer


@dataclass(frozen=True)
class Device:
    """A bootstrapped device: its group and name in the lab, and the address of its page."""

    group: str
    name: str
    url: str

    def run(self, *command: str) -> str:
        """Run a command on it as root and return its standard output."""
        return lab.execute(self.group, self.name, *command)

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
