"""A camera server with a test pattern, for the browser to look at."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Run the server on a port that the system picks; yield the page's address."""
    settings = {"CAMERA_SERVER_CAMERA": "test-pattern", "CAMERA_SERVER_PORT": "0"}
    with subprocess.Popen(
        [sys.executable, "-m", "camera_server"],
        env={**os.environ, **settings},
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        addresses = (re.search(r"http://[\d.]+:\d+", line) for line in server.stderr)
        yield next(address[0] for address in addresses if address) + "/"
        server.terminate()
        server.communicate(timeout=10)
