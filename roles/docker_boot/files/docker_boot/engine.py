"""The Docker engine, over its socket.

Its API and not its client, since what waits here has to end: a pull that stalls, an engine that is
gone. Paths without a version mean the engine's own newest (docs.docker.com/reference/api/engine).
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any
from urllib.parse import quote, urlencode

SOCKET = "/run/docker.sock"
SERVICE = "docker.service"
TIMEOUT = 60.0
# A card may be busy with one layer for that long and tell nothing.
STALL = 120.0


class EngineError(Exception):
    """The engine refuses; the text says why, in its words."""

    def __init__(self, words: str, status: int = 0) -> None:
        super().__init__(words)
        self.status = status


class EngineGoneError(EngineError):
    """No engine answers."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def _send(
    connection: _Connection,
    method: str,
    path: str,
    query: dict[str, Any],
    headers: dict[str, str],
) -> http.client.HTTPResponse:
    """Ask, and return an answer of success, not read yet."""
    try:
        connection.request(method, f"{path}?{urlencode(query)}", headers=headers)
        response = connection.getresponse()
        if response.status < http.client.BAD_REQUEST:
            return response
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise EngineGoneError(f"no Docker engine answers at {SOCKET}: {error}") from error
    try:
        words = json.loads(body)["message"]
    except (ValueError, LookupError):
        words = body.decode(errors="replace")
    raise EngineError(words.strip(), response.status)


def ask(method: str, path: str, timeout: float = TIMEOUT, **query: Any) -> Any:
    """Return the engine's answer to a question; None if it is empty.

    Raises:
        EngineGoneError: it does not answer.
        EngineError: it refuses.

    """
    with closing(_Connection(timeout)) as connection:
        response = _send(connection, method, path, query, {})
        try:
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineGoneError(f"the Docker engine broke off: {error}") from error
    return json.loads(body) if body else None


def _lines(
    method: str, path: str, timeout: float | None, headers: dict[str, str], **query: Any
) -> Iterator[dict[str, Any]]:
    with closing(_Connection(TIMEOUT)) as connection:
        response = _send(connection, method, path, query, headers)
        if connection.sock:
            connection.sock.settimeout(timeout)
        try:
            for line in response:
                yield json.loads(line)
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EngineGoneError(f"the Docker engine broke off: {error}") from error


def _or_none(path: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = ask("GET", path)
    except EngineError as error:
        if error.status == http.client.NOT_FOUND:
            return None
        raise
    return found


def image(reference: str) -> dict[str, Any] | None:
    """Return what the engine knows of an image, None if it has none of that name, or not all of it.

    Of one whose layers were lost in a power cut, the engine knows the name and fails over the rest.
    """
    try:
        return _or_none(f"/images/{quote(reference)}/json")
    except EngineGoneError:
        raise
    except EngineError as error:
        if error.status < http.client.INTERNAL_SERVER_ERROR:
            raise
        return None


def container(name: str) -> dict[str, Any] | None:
    """Return what the engine knows of a container, None if there is none of that name."""
    return _or_none(f"/containers/{quote(name)}/json")


def containers(label: str) -> list[dict[str, Any]]:
    """Return all containers with a label, those that have ended too."""
    filters = json.dumps({"label": [label]})
    found: list[dict[str, Any]] = ask("GET", "/containers/json", all="true", filters=filters)
    return found


def images() -> list[dict[str, Any]]:
    """Return all images."""
    found: list[dict[str, Any]] = ask("GET", "/images/json")
    return found


def info() -> dict[str, Any]:
    """Return what the engine says of itself."""
    found: dict[str, Any] = ask("GET", "/info")
    return found


def version() -> dict[str, Any]:
    """Return the engine's version, that of its API, and its architecture in Go's words."""
    found: dict[str, Any] = ask("GET", "/version")
    return found


def start(container_id: str) -> None:
    """Start a container that has been created."""
    ask("POST", f"/containers/{container_id}/start")


def stop(container_id: str, seconds: int) -> None:
    """Ask a container to end, and kill it after so many seconds."""
    ask("POST", f"/containers/{container_id}/stop", timeout=seconds + TIMEOUT, t=seconds)


def remove(container_id: str) -> None:
    """Kill and remove a container with its unnamed volumes; one that is gone is well, too."""
    try:
        ask("DELETE", f"/containers/{container_id}", force="true", v="true")
    except EngineError as error:
        if error.status not in {http.client.NOT_FOUND, http.client.CONFLICT}:
            raise


def rename(container_id: str, name: str) -> None:
    """Give a container another name."""
    ask("POST", f"/containers/{container_id}/rename", name=name)


def tag(reference: str, repository: str, name: str) -> None:
    """Give an image one more name."""
    ask("POST", f"/images/{quote(reference)}/tag", repo=repository, tag=name)


def remove_image(reference: str) -> None:
    """Take a name from an image, and remove it if that was its last.

    One that a container uses stays, so does one that the engine cannot remove.
    """
    try:
        ask("DELETE", f"/images/{quote(reference)}", timeout=STALL)
    except EngineGoneError:
        raise
    except EngineError:
        return


def last_words(container_id: str) -> str:
    """Return the last line that a container has written, nothing if there is none."""
    path = f"/containers/{container_id}/logs"
    query = {"stdout": "true", "stderr": "true", "tail": "20"}
    with closing(_Connection(TIMEOUT)) as connection, suppress(EngineError, OSError):
        body = _send(connection, "GET", path, query, {}).read()
        text = b""
        # Without a terminal each piece has a header: which stream, three zeros, its length.
        while len(body) >= 8:
            (length,) = struct.unpack(">4xI", body[:8])
            text, body = text + body[8 : 8 + length], body[8 + length :]
        lines = [line.strip() for line in text.decode(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")
    return ""


def events(container_id: str, since: float) -> Iterator[str]:
    """Yield what happens to a container, from a time on (s, 1970), until it ends: `die`.

    Raises EngineGoneError when the engine ends first.
    """
    filters = json.dumps({"type": ["container"], "container": [container_id]})
    for event in _lines("GET", "/events", None, {}, filters=filters, since=f"{since:.3f}"):
        yield str(event["Action"])
        # Nobody may listen on: an engine that is asked to end would wait for him.
        if event["Action"] == "die":
            return
    raise EngineGoneError("the Docker engine ends")


def pull(
    reference: str, login: dict[str, str] | None, host: str, told: Callable[[str], None]
) -> None:
    """Have the engine fetch an image.

    Args:
        reference: REPOSITORY@DIGEST.
        login: username and password of the registry, if it wants one.
        host: the registry.
        told: gets a line for each layer that is complete, and on the disk.

    Raises:
        TimeoutError: nothing came for a while. The engine gives up when nobody listens.
        EngineError: it could not; its words.

    """
    # Docker Hub has a name of its own for logins.
    server = "https://index.docker.io/v1/" if host == "docker.io" else host
    account = {**(login or {}), "serveraddress": server}
    header = base64.urlsafe_b64encode(json.dumps(account).encode()).decode()
    repository, _at, digest = reference.partition("@")
    path, query = "/images/create", {"fromImage": repository, "tag": digest}
    for line in _lines("POST", path, STALL, {"X-Registry-Auth": header}, **query):
        if "error" in line:
            raise EngineError(str(line["error"]))
        if line.get("status") == "Pull complete":
            # The engine has the layer's name on the disk now, and its files in memory. After a
            # power cut they would be empty, and not fetched again.
            os.sync()
            told(f"layer {line.get('id', '')} is here")


def _hurry() -> None:
    """Have systemd start the engine now.

    Debian's and Docker's units wait for network-online.target, which on a device without a network
    takes a minute or two. An image that is here already needs no network.
    """
    state = subprocess.run(
        ["/usr/bin/systemctl", "show", "--value", "--property=ActiveState", SERVICE],
        capture_output=True,
        text=True,
        check=False,
    )
    if state.stdout.strip() == "inactive":
        start_now = ("start", "--no-block", "--job-mode=ignore-dependencies", SERVICE)
        subprocess.run(["/usr/bin/systemctl", *start_now], check=False)


def wait(seconds: float) -> None:
    """Wait until the engine answers.

    Raises:
        EngineGoneError: it does not within so many seconds.

    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            ask("GET", "/version", timeout=1)
            return
        except EngineGoneError:
            if time.monotonic() > deadline:
                raise
        _hurry()
        time.sleep(0.1)
