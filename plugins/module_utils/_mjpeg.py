# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes an MJPEG stream apart: bytes into parts, parts into counted frames. No input or output."""

from __future__ import annotations

import hashlib
import re
import sys
import time
from dataclasses import dataclass, field
from email.message import Message
from enum import Enum

from ansible_collections.rpi_camera.fleet.plugins.module_utils._jpeg import (
    Jpeg,
    decodes,
    whole_jpeg,
)

# A part or a block of headers beyond these, in bytes, is no frame of a camera; it would only fill
# the device's memory.
MAX_PART = 32 * 1024 * 1024
MAX_HEADERS = 64 * 1024

# What may stand behind the boundary in its line: the end mark, blanks (RFC 2046, 5.1.1).
REST_OF_LINE = re.compile(rb"(?P<end>--)?[ \t]*\r?\n")

# Some servers write bare line feeds.
NO_HEADERS = re.compile(rb"\r?\n")
END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")

# The header by which camera_app's server says what a part shows, and its drawn states.
STATE_HEADER = "x-frame-state"
PLACEHOLDERS = ("starting", "lost")

# Decoding a frame's picture data in Python takes a small board longer than the frame lasts; so
# after the first one no more than this share of the time goes into it.
DECODING_SHARE = 0.05


class StreamError(ValueError):
    """The bytes are no MJPEG stream; the text says why, as the end of a sentence."""


@dataclass(frozen=True)
class Part:
    """One part: its headers by lower-case name, and its body.

    `cut`: its Content-Length reaches beyond the next boundary, before which the body was cut.
    """

    headers: dict[str, str]
    body: bytes
    cut: bool = False


def boundary_of(content_type: str) -> str:
    """Return the boundary that a Content-Type names, without leading dashes.

    Whether the parameter holds the dashes that stand before it in the stream differs from server
    to server; so they are left out here, and any number of two or more is accepted there. Raise
    StreamError if the type is not multipart/x-mixed-replace with a boundary.
    """
    message = Message()
    message["Content-Type"] = content_type
    if message.get_content_type() != "multipart/x-mixed-replace":
        raise StreamError(
            f"its Content-Type is {content_type or 'missing'}, not multipart/x-mixed-replace"
        )
    boundary = (message.get_boundary() or "").strip().lstrip("-")
    if not boundary:
        raise StreamError("its Content-Type names no boundary")
    return boundary


class _Expect(Enum):
    """What a parser is waiting for."""

    BOUNDARY = 1
    HEADERS = 2
    BODY = 3
    NOTHING = 4


class MultipartParser:
    """Turns bytes, in pieces of any size, into the parts of a multipart stream.

    A part with a Content-Length is given out with its last byte, one without when the next
    boundary has arrived. `wrong_lengths` counts the parts whose Content-Length was too small or
    too large; whatever it says, the parts after it are found.
    """

    def __init__(self, boundary: str) -> None:
        # It stands at the start of a line; so does the stream, and whatever follows a whole body.
        self._boundary = re.compile(rb"\n--+" + re.escape(boundary.encode("latin-1")))
        self._margin = len(boundary) + 16
        self._buffer = b"\n"
        # Up to here the buffer holds no boundary.
        self._searched = 0
        self._headers: dict[str, str] = {}
        self._expect = _Expect.BOUNDARY
        # Whether nothing but line ends should stand before the next boundary.
        self._measured = False
        self.wrong_lengths = 0

    def feed(self, data: bytes) -> list[Part]:
        """Return the parts that *data* completes. Raise StreamError on what cannot be parts."""
        self._buffer += data
        parts: list[Part] = []
        while True:
            if self._expect is _Expect.BOUNDARY:
                skipped = self._take_until_boundary()
                self._note_skipped(self._buffer[: self._searched] if skipped is None else skipped)
                if skipped is None:
                    # Nothing in front of a boundary is needed.
                    self._drop(self._searched)
                    return parts
            elif self._expect is _Expect.HEADERS:
                if not self._take_headers():
                    return parts
            elif self._expect is _Expect.BODY:
                part = self._take_part()
                if part is None:
                    return parts
                parts.append(part)
            else:
                self._buffer = b""
                return parts

    def finish(self) -> Part | None:
        """Return what is left of a part when the stream has ended without a boundary."""
        if self._expect is not _Expect.BODY or not self._buffer:
            return None
        return Part(self._headers, self._buffer)

    def _note_skipped(self, data: bytes) -> None:
        """Count a Content-Length that has left a rest in front of the next boundary."""
        if self._measured and data.strip(b"\r\n"):
            self.wrong_lengths += 1
            self._measured = False

    def _take_until_boundary(self, size: int = sys.maxsize) -> bytes | None:
        """Remove and return all up to the next boundary's line, which goes too.

        Only a boundary within the first *size* bytes counts.
        """
        for found in self._boundary.finditer(self._buffer, self._searched, size):
            line = REST_OF_LINE.match(self._buffer, found.end())
            ended = self._buffer.startswith(b"--", found.end())
            if line is None and not ended:
                if len(self._buffer) < found.end() + self._margin:
                    # The rest of the line is still to come.
                    self._searched = found.start()
                    return None
                continue
            body = self._buffer[: found.start()]
            self._drop(line.end() if line else found.end())
            self._expect = _Expect.NOTHING if ended else _Expect.HEADERS
            return body.removesuffix(b"\r")
        self._searched = max(0, min(len(self._buffer), size) - self._margin)
        return None

    def _take_headers(self) -> bool:
        """Remove the headers of a part from the buffer, if they are complete."""
        end = NO_HEADERS.match(self._buffer) or END_OF_HEADERS.search(self._buffer)
        if end is None:
            if len(self._buffer) > MAX_HEADERS:
                raise StreamError("a part's headers do not end")
            return False
        self._headers = {}
        for line in self._buffer[: end.start()].decode("latin-1").splitlines():
            name, colon, value = line.partition(":")
            if not colon:
                raise StreamError("a boundary is not followed by headers")
            self._headers[name.strip().lower()] = value.strip()
        self._drop(end.end())
        self._expect = _Expect.BODY
        return True

    def _take_part(self) -> Part | None:
        """Remove and return the part whose headers have been taken, if it is complete."""
        length = self._headers.get("content-length", "")
        self._measured = length.isascii() and length.isdigit()
        size = sys.maxsize
        if self._measured:
            # Python refuses to read thousands of digits.
            size = int(length) if len(length) < 20 else size
        _check_size(size if self._measured else len(self._buffer))
        body = self._take_until_boundary(size)
        if body is not None:
            self.wrong_lengths += self._measured
            return Part(self._headers, body, cut=self._measured)
        begun = self._boundary.search(self._buffer, self._searched, size)
        if len(self._buffer) < (size if begun is None else begun.end() + self._margin):
            return None
        body = self._buffer[:size]
        self._drop(size)
        self._buffer = b"\n" + self._buffer
        self._expect = _Expect.BOUNDARY
        return Part(self._headers, body)

    def _drop(self, count: int) -> None:
        self._buffer = self._buffer[count:]
        self._searched = 0


def _check_size(size: int) -> None:
    if size > MAX_PART:
        raise StreamError(f"a part is larger than {MAX_PART} bytes")


@dataclass
class Tally:
    """What has come out of a stream so far; times are seconds since the look began."""

    frames: int = 0
    placeholders: int = 0
    broken: int = 0
    wrong_lengths: int = 0
    # Width and height of the newest live frame in pixels.
    size: tuple[int, int] | None = None
    first_at: float | None = None
    last_at: float | None = None
    # The state that the newest part has named, if it was a placeholder.
    state: str | None = None
    _hashes: set[bytes] = field(default_factory=set)
    # Seconds that decoding has taken, and whether the next frame is decoded in any case.
    _decoding: float = 0.0
    _doubt: bool = True

    def add(self, part: Part, at: float) -> None:
        """Count a part that was complete at the time *at*."""
        state = part.headers.get(STATE_HEADER, "").lower()
        jpeg = None if part.cut else whole_jpeg(part.body)
        if jpeg is None or not self._decodes(jpeg, at):
            self.broken += 1
            return
        if state in PLACEHOLDERS:
            self.placeholders += 1
            self.state = state
            return
        self.state = None
        self.frames += 1
        self.size = (jpeg.width, jpeg.height)
        self.first_at = at if self.first_at is None else self.first_at
        self.last_at = at
        self._hashes.add(hashlib.sha256(part.body).digest())

    def _decodes(self, jpeg: Jpeg, at: float) -> bool:
        """Return whether a frame's picture data is as its headers say, or was not looked at.

        The first frame is looked at, and each one after a broken one; of the others as many as
        the time allows.
        """
        if not self._doubt and self._decoding > DECODING_SHARE * at:
            return True
        began = time.monotonic()
        self._doubt = not decodes(jpeg)
        self._decoding += time.monotonic() - began
        return not self._doubt

    @property
    def distinct(self) -> int:
        """How many of the live frames differ."""
        return len(self._hashes)

    @property
    def rate(self) -> float | None:
        """Live frames per second between the first and the last; None if not measurable."""
        if self.first_at is None or self.last_at is None or self.last_at <= self.first_at:
            return None
        return (self.frames - 1) / (self.last_at - self.first_at)
