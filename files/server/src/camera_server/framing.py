"""The records that a camera process writes to its pipe, and how to read them.

A record is a header, a JPEG and a JSON object. The header, big-endian, 24 bytes:
magic ``CAM1``, kind (1 byte), 3 bytes of padding, capture time (8 bytes,
nanoseconds of CLOCK_MONOTONIC), length of the JPEG and of the JSON (4 bytes each).
Only a frame has a JPEG. An error's JSON says why: ``{"error": "…"}``; a start's says what makes
the JPEGs: ``{"encoder": "…"}``.
"""

import asyncio
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

MAGIC = b"CAM1"
HEADER = struct.Struct(">4sB3xQII")

# More than any JPEG of the largest size that can be set, so that what is no
# record is not waited for as if it were a long one.
MAX_JPEG_BYTES = 64 * 1024 * 1024
MAX_METADATA_BYTES = 1024 * 1024


class FramingError(Exception):
    """What came through the pipe is not a record."""


class Kind(IntEnum):
    """What a record carries. STARTED: the camera runs, its first frame is due."""

    FRAME = 1
    ERROR = 2
    STARTED = 3


@dataclass(frozen=True, slots=True)
class Record:
    """One record: ``captured_ns`` in nanoseconds of CLOCK_MONOTONIC, ``jpeg`` may be empty."""

    kind: Kind
    captured_ns: int
    jpeg: bytes = b""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def pack(record: Record) -> bytes:
    """Return the record as bytes for the pipe."""
    metadata = json.dumps(record.metadata, separators=(",", ":")).encode()
    header = HEADER.pack(MAGIC, record.kind, record.captured_ns, len(record.jpeg), len(metadata))
    return b"".join((header, record.jpeg, metadata))


async def read_record(reader: asyncio.StreamReader) -> Record | None:
    """Read the next record, or None at the end of the pipe, also in the middle of a record.

    Raises FramingError when the bytes are no record.
    """
    try:
        magic, kind, captured_ns, jpeg_length, metadata_length = HEADER.unpack(
            await reader.readexactly(HEADER.size)
        )
        if magic != MAGIC:
            raise FramingError(f"a record began with {magic!r} instead of {MAGIC!r}")
        if kind not in Kind.__members__.values():
            raise FramingError(f"a record is of the unknown kind {kind}")
        if jpeg_length > MAX_JPEG_BYTES or metadata_length > MAX_METADATA_BYTES:
            raise FramingError(f"a record claims {jpeg_length} + {metadata_length} bytes")
        jpeg = await reader.readexactly(jpeg_length)
        metadata_text = await reader.readexactly(metadata_length)
    except asyncio.IncompleteReadError:
        return None
    try:
        metadata = json.loads(metadata_text)
    except ValueError as error:
        raise FramingError(f"a record's metadata is not JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise FramingError(f"a record's metadata is not an object: {metadata!r}")
    return Record(Kind(kind), captured_ns, jpeg, metadata)
