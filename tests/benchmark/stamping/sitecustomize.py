"""Stamps the frames of the camera process that has this folder in its PYTHONPATH.

Python imports a module of this name by itself when it starts, so that the server under test is the
one that ships. Light, since the server imports it too.
"""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Mapping
from typing import Any

# A picture's beginning: a comment of 29 bytes, the last 16 of which are the stamp (stamp.h).
MAGIC = b"\xff\xd8\xff\xfe\x00\x1dRPICAMSTAMP"
_STAMP = struct.Struct("<QQ")
BLANK = bytes(_STAMP.size)


def stamped(jpeg: bytes, sequence: int) -> bytes:
    """Return the picture with the frame's number, from 1 on, and the time now in its stamp."""
    stamp = _STAMP.pack(sequence, time.monotonic_ns())
    return b"".join((MAGIC, stamp, memoryview(jpeg)[len(MAGIC) + len(stamp) :]))


def _stamp_all_frames() -> None:
    from camera_server.cameras.output import RecordWriter

    write = RecordWriter.frame
    sequence = 0

    def frame(
        self: RecordWriter,
        jpeg: bytes,
        captured_ns: int,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        nonlocal sequence
        sequence += 1
        write(self, stamped(jpeg, sequence), captured_ns, metadata)

    RecordWriter.frame = frame  # type: ignore[method-assign]


if "camera_server.cameras" in sys.orig_argv:
    _stamp_all_frames()
