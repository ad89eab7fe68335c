"""The camera process's side of the pipe to the server."""

import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from camera_server.framing import Kind, Record, pack


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
        self._write(Record(Kind.FRAME, captured_ns, jpeg, metadata or {}))

    def started(self, encoder: str) -> None:
        """Write that the camera runs: what takes long and needs patience is over.

        ``encoder`` says what makes the JPEGs.
        """
        self._write(Record(Kind.STARTED, time.monotonic_ns(), metadata={"encoder": encoder}))

    def error(self, reason: str) -> None:
        """Write why there will be no more pictures: one line, for people."""
        self._write(Record(Kind.ERROR, time.monotonic_ns(), metadata={"error": reason}))

    def _write(self, record: Record) -> None:
        rest = memoryview(pack(record))
        with self._lock:
            try:
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
            except OSError:
                os._exit(1)
