"""A camera server with a test pattern, for the browser to look at."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from camera_server.credentials import (
    Credentials,
    ScryptHash,
    Token,
    User,
    write_credentials,
)


class Server:
    """A server that can be stopped, and started again at the same address.

    With a credentials file it asks who wants to watch; ``config``: a file with its cameras;
    ``settings``: variables, without their prefix.
    """

    def __init__(
        self, credentials: Path | None = None, config: Path | None = None, **settings: str
    ) -> None:
        self.url = ""
        self._settings = {f"CAMERA_SERVER_{name}": value for name, value in settings.items()}
        self._credentials = credentials
        self._arguments = [] if config is None else ["--config", str(config)]
        self._port = "0"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it listens; the first time, the system picks the port."""
        settings = {"CAMERA_SERVER_CAMERA": "test-pattern", "CAMERA_SERVER_PORT": self._port}
        if self._credentials is not None:
            settings["CAMERA_SERVER_CREDENTIALS"] = str(self._credentials)
            settings["CAMERA_SERVER_HOST"] = "127.0.0.1"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "camera_server", *self._arguments],
            env={**os.environ, **settings, **self._settings},
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

    def cameras(self) -> list[dict[str, Any]]:
        """Return what it says that its cameras do, asked by a connection that no browser knows."""
        with closing(HTTPConnection("127.0.0.1", int(self._port), timeout=10)) as connection:
            connection.request("GET", "/cameras")
            states: list[dict[str, Any]] = json.load(connection.getresponse())["cameras"]
        return states

    def watch(self) -> HTTPResponse:
        """Return the first camera's stream, once it has begun; it holds the connection."""
        connection = HTTPConnection("127.0.0.1", int(self._port), timeout=10)
        connection.request("GET", "/video")
        stream = connection.getresponse()
        assert stream.read(1000)
        return stream

    def viewers(self) -> int:
        """Return how many streams it sends now."""
        return sum(camera["viewers"] for camera in self.cameras())

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


# More than a browser shows as streams, and the longest name that the settings allow.
SIX_CAMERAS = ("front", "back", "garden", "door", "cellar", "a" + "-long-name" * 6 + "-x")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a file with six cameras."""
    path = tmp_path / "camera-server.toml"
    path.write_text(
        "".join(
            f'[[camera]]\nname = "{name}"\nsource = "test-pattern"\nfps = 10\n'
            for name in SIX_CAMERAS
        )
    )
    return path


@pytest.fixture
def six_cameras(config: Path) -> Iterator[Server]:
    """Yield a server with six cameras."""
    server = Server(config=config)
    try:
        server.start()
        yield server
    finally:
        server.stop()


class RestrictedServer(Server):
    """A server that lets in the user ``anna`` and whoever has the token."""

    def __init__(self, credentials: Path, config: Path | None = None, **settings: str) -> None:
        super().__init__(credentials, config, **settings)
        self.password = secrets.token_urlsafe(9)
        self.token = secrets.token_urlsafe(18)
        self.change(self.password)

    def change(self, password: str) -> None:
        """Write the file with this password; it counts from the next start on."""
        assert self._credentials is not None
        user = User(name="anna", scrypt=ScryptHash.of(password))
        token = Token.of("screen", self.token)
        write_credentials(self._credentials, Credentials(users=(user,), tokens=(token,)))


@pytest.fixture
def restricted(tmp_path: Path) -> Iterator[RestrictedServer]:
    """Yield a server that asks for credentials."""
    server = RestrictedServer(tmp_path / "credentials.json")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def restricted_six(tmp_path: Path, config: Path) -> Iterator[RestrictedServer]:
    """Yield a server with six cameras that asks for credentials."""
    server = RestrictedServer(tmp_path / "credentials.json", config)
    try:
        server.start()
        yield server
    finally:
        server.stop()
