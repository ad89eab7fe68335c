"""The records that a camera process writes to its pipe, and how to read them.

A record is a header, a JPEG and a JSON object. The header, big-endian, 24 bytes:
magic ``CAM1``, kind (1 byte), 3 bytes of padding, capture time (8 bytes,
nanoseconds of CLOCK_MONOTONIC), length of the JPEG and of the JSON (4 bytes each).
Only a frame has a JPEG. An error's JSON says why: ``{"error": "…"}``; a start's says what makes
the JPEGs: ``{"encoder": "…"}``.
"""

import json
import struct
from collections.abc import Callable, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple

MAGIC = b"CAM1"
HEADER = struct.Struct(">4sB3xQII")

# More than any JPEG of the largest size that can be set, so that what is no
# record is not waited for as if it were a long one.
MAX_JPEG_BYTES = 64 * 1024 * 1024
MAX_METADATA_BYTES = 1024 * 1024


_NOTHING = b"{}"
_NO_METADATA: Mapping[str, Any] = MappingProxyType({})


class FramingError(Exception):
    """What came through the pipe is not a record."""


class Kind(IntEnum):
    """What a record carries. STARTED: the camera runs, its first frame is due."""

    FRAME = 1
    ERROR = 2
    STARTED = 3


# By this name where it is looked for in every frame: an enum's members are found by calling Python.
FRAME = Kind.FRAME

_KINDS = {kind.value: kind for kind in Kind}


class Record(NamedTuple):
    """One record: ``captured_ns`` in nanoseconds of CLOCK_MONOTONIC, ``jpeg`` may be empty."""

    kind: Kind
    captured_ns: int
    jpeg: bytes | memoryview = b""
    metadata: Mapping[str, Any] = _NO_METADATA


def pack(
    kind: Kind, captured_ns: int, jpeg: bytes | memoryview, metadata: Mapping[str, Any]
) -> list[bytes | memoryview]:
    """Return a record as bytes for the pipe, in pieces."""
    text = _NOTHING
    if metadata:
        text = json.dumps(metadata, separators=(",", ":")).encode()
    return [HEADER.pack(MAGIC, kind, captured_ns, len(jpeg), len(text)), jpeg, text]


class RecordReader:
    """Puts records together from what comes out of a pipe.

    ``take`` gets each record as soon as it is whole.
    """

    def __init__(self, take: Callable[[Record], None]) -> None:
        self._take = take
        # What has come of the next record, and how long that is; how long it must be to go on.
        self._chunks: list[bytes] = []
        self._length = 0
        self._wanted = HEADER.size

    def feed(self, data: bytes) -> None:
        """Take what has come. Raises FramingError when the bytes are no record."""
        self._chunks.append(data)
        self._length += len(data)
        if self._length < self._wanted:
            return
        # Most often a record comes whole and by itself, and nothing is joined.
        data = data if len(self._chunks) == 1 else b"".join(self._chunks)
        place = 0
        while len(data) - place >= self._wanted:
            magic, kind, captured_ns, jpeg_length, metadata_length = HEADER.unpack_from(data, place)
            if (
                magic != MAGIC
                or kind not in _KINDS
                or jpeg_length > MAX_JPEG_BYTES
                or metadata_length > MAX_METADATA_BYTES
            ):
                raise _refusal(magic, kind, jpeg_length, metadata_length)
            metadata_place = place + HEADER.size + jpeg_length
            end = metadata_place + metadata_length
            self._wanted = end - place
            if end > len(data):
                break
            # Not copied here: it is copied once, into the part that all viewers get.
            jpeg = memoryview(data)[place + HEADER.size : metadata_place]
            metadata = _metadata(data[metadata_place:end])
            place, self._wanted = end, HEADER.size
            self._take(Record(_KINDS[kind], captured_ns, jpeg, metadata))
        rest = data[place:] if place else data
        self._chunks = [rest] if rest else []
        self._length = len(rest)


def _refusal(magic: bytes, kind: int, jpeg_length: int, metadata_length: int) -> FramingError:
    if magic != MAGIC:
        return FramingError(f"a record began with {magic!r} instead of {MAGIC!r}")
    if kind not in _KINDS:
        return FramingError(f"a record is of the unknown kind {kind}")
    return FramingError(f"a record claims {jpeg_length} + {metadata_length} bytes")


def _metadata(text: bytes) -> Mapping[str, Any]:
    if text == _NOTHING:
        return _NO_METADATA
    try:
        metadata = json.loads(text)
    except ValueError as error:
        raise FramingError(f"a record's metadata is not JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise FramingError(f"a record's metadata is not an object: {metadata!r}")
    return metadata
