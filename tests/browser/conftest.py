"""A camera server with a test pattern, for the browser to look at."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest


class Server:
    """A server that can be stopped, and started again at the same address."""

    def __init__(self) -> None:
        self.url = ""
        self._port = "0"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it listens; the first time, the system picks the port."""
        settings = {"CAMERA_SERVER_CAMERA": "test-pattern", "CAMERA_SERVER_PORT": self._port}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "camera_server"],
            env={**os.environ, **settings},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        said = ""
        while (address := re.search(r"http://[\d.]+:(\d+)", said)) is None:
            line = self._process.stderr.readline()
            assert line, f"the server has ended: {said}"
            said += line
        self.url, self._port = f"{address[0]}/", address[1]

    def stop(self) -> None:
        """End it, if it runs, and wait until it is gone."""
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=10)
            self._process = None


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Yield the page's address of a server that all tests share."""
    server = Server()
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def server() -> Iterator[Server]:
    """Yield a server that the test may stop."""
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.stop()
