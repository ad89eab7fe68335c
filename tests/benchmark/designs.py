"""The servers that are compared: how each is started, and what it takes while it runs."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from camera_server.credentials import Credentials, Token, write_credentials

from tests.lab.console import BIN, ROOT, LabError

from .tools import BUILD, LIMIT, PICTURES, SOURCES, STANDIN

OURS, USTREAMER, LIMIT_OF_C, BLOG = "camera-server", "ustreamer", "limit", "blog"

_START_SECONDS = 30
_STARTS = 3
_LISTENING = re.compile(r"http://127\.0\.0\.1:(\d+)|Listening HTTP on \[127\.0\.0\.1\]:(\d+)")


@dataclass(frozen=True)
class Design:
    """One server.

    `title` and `colour` are those of its line in the plot, `path` is its stream's. `{port}` in its
    command stands for a free port, for one that cannot pick one itself. It is not asked to serve
    more viewers than `most`.
    """

    title: str
    colour: str
    command: tuple[str, ...]
    path: str
    environment: Mapping[str, str] = field(default_factory=dict)
    most: int = 1000


def designs() -> dict[str, Design]:
    """Return the servers by name; writes what their commands refer to."""
    token = secrets.token_urlsafe(18)
    credentials = BUILD / "credentials.json"
    entries = (Token.of("benchmark", token),)
    write_credentials(credentials, Credentials(users=(), tokens=entries))
    device = BUILD / "video-standin"
    device.touch()
    return {
        LIMIT_OF_C: Design("C, write() only", "#59636e", (str(LIMIT), str(PICTURES)), "/"),
        # With its defaults; --tcp-nodelay would halve its latencies and cost a tenth more CPU.
        USTREAMER: Design(
            "ustreamer",
            "#b35900",
            (
                *("ustreamer", "--device", str(device), "--format", "MJPEG", "--encoder", "HW"),
                *("--host", "127.0.0.1", "--port", "{port}"),
            ),
            "/stream",
            {
                "LD_PRELOAD": str(STANDIN),
                "STANDIN_DEVICE": str(device),
                "STANDIN_PICTURES": str(PICTURES),
            },
        ),
        # Its pool of 40 threads is far behind by then.
        BLOG: Design(
            "a tutorial's FastAPI",
            "#8250df",
            (sys.executable, "-m", "tests.benchmark.blog", str(PICTURES)),
            "/video",
            most=200,
        ),
        OURS: Design(
            "camera-server",
            "#0b57a4",
            # Without the settings that this machine may have.
            (str(BIN / "camera-server"), "--config", "/dev/null"),
            f"/video?token={token}",
            {
                "CAMERA_SERVER_CAMERA": "replay",
                "CAMERA_SERVER_REPLAY": str(PICTURES),
                "CAMERA_SERVER_CREDENTIALS": str(credentials),
                "CAMERA_SERVER_HOST": "127.0.0.1",
                "CAMERA_SERVER_PORT": "0",
                "CAMERA_SERVER_IDLE_SECONDS": "1",
                "CAMERA_SERVER_MAX_VIEWERS": "1000",
                "PYTHONPATH": str(SOURCES / "stamping"),
            },
        ),
    }


class Server:
    """A running server; as a context, it is gone in the end."""

    def __init__(self, name: str, design: Design) -> None:
        """Take note of it; `name` names its log."""
        self.design = design
        self.port = 0
        self._log = BUILD / "log" / f"{name}.log"
        self._log.parent.mkdir(exist_ok=True)

    def __enter__(self) -> Server:
        """Start it and wait until it listens. Raises LabError."""
        for _start in range(_STARTS):
            self._start()
            try:
                if self._listens():
                    return self
            except BaseException:
                self.stop(1)
                raise
            self.stop(1)
        said = "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])
        raise LabError(
            f"{self.design.title} does not start (its log is {self._log}):\n{said}\n"
            "If another program took its port, run the same command again."
        )

    def __exit__(self, *_error: object) -> None:
        self.stop(5)

    def _start(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        ours = ("CAMERA_SERVER_", "PYTHONPATH")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        with self._log.open("wb") as sink:
            self._process = subprocess.Popen(
                [part.format(port=port) for part in self.design.command],
                cwd=ROOT,
                env={**environment, **self.design.environment},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )

    def _listens(self) -> bool:
        """Wait until its log tells the port; return False if it ended or said nothing."""
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if found := _LISTENING.search(self._log.read_text(errors="replace")):
                self.port = int(found[1] or found[2])
                return True
            time.sleep(0.02)
        return False

    def stop(self, patience: float) -> float | None:
        """Tell it to end (SIGTERM); return how long (s) that took, None if it had to be killed."""
        began = time.monotonic()
        self._process.terminate()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return None
        return time.monotonic() - began

    def cpu_seconds(self) -> float:
        """CPU time that it and its children have taken so far: as in /proc/PID/stat, but in ns."""
        total = 0.0
        for pid in _tree(self._process.pid):
            # One that has ended meanwhile has no clock any more.
            with suppress(OSError):
                # clock_getcpuclockid(3) of another process, which Python does not have.
                total += time.clock_gettime((~pid << 3) | 2)
        return total

    def memory_kb(self) -> int:
        """Resident memory of its main process."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found[1]) if found else 0

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def children(self) -> list[int]:
        """Process ids of its children, such as a camera's."""
        return _tree(self._process.pid)[1:]


def busy_seconds() -> float:
    """Return the CPU time that all of the machine has been busy for, guests' waiting included."""
    fields = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    user, nice, system, _idle, _waiting, *interrupts = map(int, fields)
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _tree(root: int) -> list[int]:
    """Return a process's id, followed by those of all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # What follows the name, which may hold anything, begins with state and parent.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    tree = [root]
    for pid in tree:
        tree += children.get(pid, [])
    return tree
