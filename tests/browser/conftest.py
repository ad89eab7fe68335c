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
        said = ""
        while (address := re.search(r"http://[\d.]+:\d+", said)) is None:
            line = server.stderr.readline()
            assert line, f"the server has ended: {said}"
            said += line
        yield f"{address[0]}/"
        server.terminate()
        server.communicate(timeout=10)
