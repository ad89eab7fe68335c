"""The camera process's side of the pipe to the server."""

import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from camera_server.framing import FRAME, Kind, pack


def claim_stdout() -> int:
    """Keep standard output for records alone; return its new file descriptor.

    Camera libraries, Python and C++ alike, print to file descriptor 1: from now on
    that is standard error, so that what they print lands in the log.
    """
    sys.stdout.flush()
    pipe = os.dup(1)
    os.dup2(2, 1)
    return pipe


class RecordWriter:
    """Writes whole records to a file descriptor, from any thread.

    When nobody reads any more, the process ends: its only purpose is gone, and the
    thread that notices may not be one that could tell the others.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def frame(
        self, jpeg: bytes, captured_ns: int, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Write one picture, captured at ``captured_ns`` (CLOCK_MONOTONIC)."""
        self._write(FRAME, captured_ns, jpeg, metadata or {})

    def started(self, encoder: str) -> None:
        """Write that the camera runs: what takes long and needs patience is over.

        ``encoder`` says what makes the JPEGs.
        """
        self._write(Kind.STARTED, time.monotonic_ns(), b"", {"encoder": encoder})

    def error(self, reason: str) -> None:
        """Write why there will be no more pictures: one line, for people."""
        self._write(Kind.ERROR, time.monotonic_ns(), b"", {"error": reason})

    def _write(
        self, kind: Kind, captured_ns: int, jpeg: bytes, metadata: Mapping[str, Any]
    ) -> None:
        pieces = pack(kind, captured_ns, jpeg, metadata)
        with self._lock:
            try:
                rest = sum(map(len, pieces)) - os.writev(self._fd, pieces)
                if rest:
                    self._write_all(memoryview(b"".join(pieces))[-rest:])
            except OSError:
                os._exit(1)

    def _write_all(self, data: memoryview) -> None:
        while data:
            data = data[os.write(self._fd, data) :]
