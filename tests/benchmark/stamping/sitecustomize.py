"""Stamps the frames of the camera process that has this folder in its PYTHONPATH.

Python imports a module of this name by itself when it starts, so that the server under test is the
one that ships. Light, since the server imports it too.
"""

from __future__ import annotations

import functools
import itertools
import struct
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camera_server.framing import Kind

# A picture's beginning: a comment of 29 bytes, the last 16 of which are the stamp (stamp.h).
MAGIC = b"\xff\xd8\xff\xfe\x00\x1dRPICAMSTAMP"
_STAMP = struct.Struct("<QQ")
BLANK = bytes(_STAMP.size)


def stamped(jpeg: bytes, sequence: int) -> bytes:
    """Return the picture with the frame's number, from 1 on, and the time now in its stamp."""
    stamp = _STAMP.pack(sequence, time.monotonic_ns())
    return b"".join((MAGIC, stamp, memoryview(jpeg)[len(MAGIC) + len(stamp) :]))


def _stamp_all_frames() -> None:
    from camera_server.cameras import output
    from camera_server.framing import pack

    numbers = itertools.count(1)

    @functools.lru_cache
    def behind_the_stamp(jpeg: bytes) -> memoryview:
        return memoryview(jpeg)[len(MAGIC) + len(BLANK) :]

    def stamping(
        kind: Kind, captured_ns: int, jpeg: bytes, metadata: Mapping[str, Any]
    ) -> list[bytes | memoryview]:
        """Do what pack() does; the picture stays where it is, the stamp goes before the rest."""
        header, _jpeg, text = pack(kind, captured_ns, jpeg, metadata)
        if not jpeg:
            return [header, text]
        stamp = MAGIC + _STAMP.pack(next(numbers), time.monotonic_ns())
        return [header, stamp, behind_the_stamp(jpeg), text]

    vars(output)["pack"] = stamping


if "camera_server.cameras" in sys.orig_argv:
    _stamp_all_frames()
