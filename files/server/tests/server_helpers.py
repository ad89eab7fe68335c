"""A real server in a process of its own, and a viewer who reads what it sends."""

import asyncio
import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camera_server.camera_process import default_command, open_process
from camera_server.framing import Record
from camera_server.task import CameraTask
from PIL import Image

PATIENCE = 20.0


def eventually(condition: Callable[[], bool], seconds: float = PATIENCE) -> float:
    """Wait for a condition; return how long it took. Fails when it does not come."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen"
        time.sleep(0.01)
    return time.monotonic() - began


def is_running(pid: int) -> bool:
    """Whether there is such a process that is not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def decode(jpeg: bytes | memoryview) -> Image.Image:
    """Decode a JPEG whole; Pillow raises for one that is cut short."""
    image = Image.open(io.BytesIO(jpeg))
    image.load()
    return image


@dataclass
class Part:
    headers: dict[str, str]
    jpeg: bytes

    @property
    def state(self) -> str:
        return self.headers["x-frame-state"]

    @property
    def sequence(self) -> int:
        return int(self.headers["x-frame-sequence"])


class Viewer:
    """Watches a stream as a browser does: a part is there once the next boundary is."""

    def __init__(self, port: int, path: str = "/video", **headers: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.connection.request("GET", path, headers=headers)
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()
        assert self._line() == "--frame"

    def part(self) -> Part:
        headers = {}
        while line := self._line():
            name, _colon, value = line.partition(": ")
            headers[name.lower()] = value
        jpeg = self.response.read(int(headers["content-length"]))
        assert self._line() == ""
        assert self._line() == "--frame"
        return Part(headers, jpeg)

    def until(self, state: str) -> Part:
        """Read on until a part has this state."""
        began = time.monotonic()
        while (part := self.part()).state != state:
            assert time.monotonic() - began < PATIENCE
        return part

    def read_to_the_end(self) -> None:
        """Read until the server has ended the stream, not broken it off."""
        try:
            while True:
                self.part()
        except EOFError:
            assert self.response.isclosed()

    def leave(self) -> None:
        self.response.close()
        self.connection.close()

    def _line(self) -> str:
        line = self.response.readline()
        if not line:
            raise EOFError
        assert line.endswith(b"\r\n"), line
        return line[:-2].decode()


class RunningServer:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.port = 0
        self.log: list[str] = []
        self._viewers: list[Viewer] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def watch(self, path: str = "/video", **headers: str) -> Viewer:
        self._viewers.append(Viewer(self.port, path, **headers))
        return self._viewers[-1]

    def get(self, path: str, **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
        return self._ask("GET", path, None, headers)

    def post(
        self, path: str, form: bytes, **headers: str
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return self._ask("POST", path, form, kind | headers)

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read(), response.headers

    def raw(self, request: bytes) -> bytes:
        """Send these bytes and no more; return what comes back until the server has had enough."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def state(self, path: str = "/state") -> dict[str, Any]:
        status, body, _headers = self.get(path)
        assert status == 200
        state: dict[str, Any] = json.loads(body)
        return state

    def camera_pid(self) -> int:
        pid = self.state()["pid"]
        assert isinstance(pid, int)
        return pid

    def stop(self) -> float:
        """Ask the server to end; return the seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        took = time.monotonic() - began
        self._reader.join(PATIENCE)
        return took

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stderr is not None
        self.process.stderr.close()
        for viewer in self._viewers:
            viewer.leave()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))
            if match := re.search(r"msg=listening url=(?:unix|http://.*):(\S+)$", self.log[-1]):
                # Of a Unix socket there is a path instead, which the test knows.
                self.port = int(match[1]) if match[1].isdecimal() else -1


def environment(**settings: str) -> dict[str, str]:
    """The environment for a server: nothing set for it but these."""
    ours = ("CAMERA_SERVER_", "CREDENTIALS_DIRECTORY")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return clean | settings


@contextlib.contextmanager
def running_server(*arguments: str, changed: str = "", **settings: str) -> Iterator[RunningServer]:
    """Run a server with the test pattern on a port that it chooses itself.

    ``changed``: Python that changes something of the server before it starts.
    """
    usual = {"CAMERA_SERVER_PORT": "0", "CAMERA_SERVER_CAMERA": "test-pattern"}
    start = ["-m", "camera_server"]
    if changed:
        start = [
            "-c",
            f"{changed}\nimport sys, camera_server.cli\nsys.exit(camera_server.cli.main())",
        ]
    process = subprocess.Popen(
        [sys.executable, *start, *arguments],
        env=environment(**usual | settings),
        stderr=subprocess.PIPE,
        text=True,
    )
    server = RunningServer(process)
    try:
        eventually(lambda: server.port != 0 or process.poll() is not None)
        assert server.port, server.log
        yield server
    finally:
        server.kill()


def camera_records(task: CameraTask, count: int) -> list[Record]:
    """Run a camera's process; return its first records, fewer if it ends before."""

    async def read() -> list[Record]:
        found: list[Record] = []
        command = default_command(task)
        async with asyncio.timeout(20), open_process(command, task, found.append) as process:
            while len(found) < count and not await process.ended(0.01):
                pass
        return found[:count]

    return asyncio.run(read())


def memory_kb(pid: int) -> int:
    """Return what a process holds in memory (VmRSS), in kilobytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert match
    return int(match[1])


def start_and_fail(**settings: str) -> tuple[int, list[str]]:
    """Start a server that ends at once; return its exit status and what it says."""
    ended = subprocess.run(
        [sys.executable, "-m", "camera_server"],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return ended.returncode, ended.stderr.splitlines()


def listening_socket() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))
