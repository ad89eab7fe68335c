"""Recordings on the disk, to be replayed: where their pictures lie, and what is wrong with them.

A recording is a folder of JPEGs, in the order of their names, or a film: JPEGs one after the other
in a file, as ffmpeg (``-f mjpeg``) and V4L2 (``v4l2-ctl --stream-to``) write them. What belongs
to a picture lies beside it as a JSON object: for ``0001.jpg`` in ``0001.json``, for a picture of
``film.mjpeg`` in its line of ``film.jsonl``.

Nothing is decoded, and never more than one picture is held: a JPEG tells its size and its end to
whoever goes from one of its segments to the next (ITU-T T.81, annex B). To search for the marker of
the end would not do: thumbnails in the segments have one, too.
"""

import itertools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camera_server.framing import MAX_JPEG_BYTES, MAX_METADATA_BYTES

PICTURE_SUFFIXES = (".jpg", ".jpeg")
FILM_SUFFIXES = (".mjpeg", ".mjpg")
ALLOWED = (
    "a folder of JPEGs (*.jpg, *.jpeg) or a film of them (*.mjpeg, *.mjpg), all of the set size"
)

# A picture is looked for in so many bytes at first, then in twice as many, and so on.
_CHUNK_BYTES = 128 * 1024

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
JPEG_BEGIN, JPEG_END = bytes((0xFF, _SOI)), bytes((0xFF, _EOI))
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD8))
_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
# In a scan FF 00 stands for FF, and FF D0 to FF D7 restart the decoder.
_MARKER_BEHIND_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)

Size = tuple[int, int]


class RecordingError(Exception):
    """The recording cannot be replayed; the text says which file is why."""


class _CutShortError(Exception):
    """There are too few bytes for a whole picture."""


class _NoJpegError(Exception):
    """The bytes are no JPEG; the text says more."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where bytes lie in a file."""

    path: str
    offset: int
    length: int

    def read(self) -> bytes:
        """Return the bytes. Raises OSError, and RecordingError when they are no longer there."""
        with open(self.path, "rb", buffering=0) as file:
            data = os.pread(file.fileno(), self.length, self.offset)
        if len(data) < self.length:
            raise RecordingError(f"{self.path} has become shorter while it is replayed")
        return data


@dataclass(frozen=True, slots=True)
class Picture:
    """Where a picture's JPEG lies, and its metadata if it has any."""

    jpeg: Place
    metadata: Place | None

    def read_metadata(self) -> dict[str, Any]:
        """Return the metadata, empty if there is none. Raises OSError and RecordingError."""
        if self.metadata is None:
            return {}
        return _parse(self.metadata.read(), self.metadata.path)


def pictures(recording: Path, size: Size) -> Iterator[Picture]:
    """Yield a recording's pictures in their order, each as soon as it is known to be good.

    ``size`` is the width and height (pixels) that they must have. Raises RecordingError at the
    first thing that is wrong.
    """
    try:
        if recording.is_dir():
            yield from _folder(recording, size)
        elif not recording.exists():
            raise RecordingError("there is no such folder or file")
        elif recording.is_file() and recording.suffix.lower() in FILM_SUFFIXES:
            yield from _film(recording, size)
        else:
            raise RecordingError("it is neither a folder nor a film")
    except OSError as error:
        raise RecordingError(
            f"{error.filename or recording} cannot be read: {error.strerror}"
        ) from None


def _folder(folder: Path, size: Size) -> Iterator[Picture]:
    # What hides is no picture: file managers and macOS leave such files.
    names = sorted(
        name
        for name in os.listdir(folder)
        if name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(".")
    )
    if not names:
        raise RecordingError("the folder has no picture")
    for name in names:
        path = folder / name
        if not path.is_file():
            raise RecordingError(f"{path} is no file")
        with open(path, "rb", buffering=0) as file:
            end = _check_picture(file.fileno(), str(path), size)
        beside = path.with_suffix(".json")
        metadata = None
        if beside.exists():
            if not beside.is_file():
                raise RecordingError(f"{beside} is no file")
            metadata = Place(str(beside), 0, beside.stat().st_size)
            _parse(metadata.read(), metadata.path)
        yield Picture(Place(str(path), 0, end), metadata)


def _film(film: Path, size: Size) -> Iterator[Picture]:
    lines = film.with_suffix(".jsonl")
    if lines.exists() and not lines.is_file():
        raise RecordingError(f"{lines} is no file")
    if not lines.exists():
        for jpeg in _film_jpegs(film, size):
            yield Picture(jpeg, None)
        return
    for number, (place, line) in enumerate(
        itertools.zip_longest(_film_jpegs(film, size), _lines(lines)), 1
    ):
        if line is None:
            raise RecordingError(f"{lines} ends before line {number}, and the film goes on")
        if place is None:
            raise RecordingError(f"{lines} has a line {number}, and the film has no such picture")
        yield Picture(place, line)


def _film_jpegs(film: Path, size: Size) -> Iterator[Place]:
    with open(film, "rb", buffering=0) as file:
        fd = file.fileno()
        number = 1
        offset = _skip_padding(fd, 0)
        while offset is not None:
            which = f"{film}, picture {number} (byte {offset}),"
            came, length = _find(fd, offset, which)
            _check(came, length, which, size)
            yield Place(str(film), offset, length)
            number += 1
            offset = _skip_padding(fd, offset + length)
        if number == 1:
            raise RecordingError(f"{film} is empty")


def _skip_padding(fd: int, offset: int) -> int | None:
    """Return the next place that is no zero, with which some drivers fill up; None at the end."""
    while data := os.pread(fd, _CHUNK_BYTES, offset):
        rest = data.lstrip(b"\0")
        offset += len(data) - len(rest)
        if rest:
            return offset
    return None


def _check_picture(fd: int, path: str, size: Size) -> int:
    """Return the length of the JPEG that a file begins with, reading no more of it than need be."""
    end = os.fstat(fd).st_size
    came, _scan = _find(fd, 0, path, header_only=True)
    # Some cameras append something of their own: there the end has to be found.
    if os.pread(fd, 2, max(0, end - 2)) != JPEG_END:
        _came, end = _find(fd, 0, path)
    _check(came, end, path, size)
    return end


def _check(came: Size, length: int, which: str, size: Size) -> None:
    if came != size:
        raise RecordingError(
            f"{which} is {came[0]}x{came[1]}, and width = {size[0]} and height = {size[1]} are set"
        )
    if length > MAX_JPEG_BYTES:
        raise RecordingError(f"{which} has {length} bytes, and {MAX_JPEG_BYTES} are the most")


def _find(fd: int, offset: int, which: str, *, header_only: bool = False) -> tuple[Size, int]:
    """Do what walk() does with what lies in a file. Raises RecordingError."""
    chunk = _CHUNK_BYTES
    while True:
        data = os.pread(fd, chunk, offset)
        try:
            return walk(data, header_only=header_only)
        except _NoJpegError as error:
            raise RecordingError(f"{which} is no JPEG: {error}") from None
        except _CutShortError:
            if len(data) < chunk:
                raise RecordingError(f"{which} is cut short") from None
        if chunk > MAX_JPEG_BYTES:
            raise RecordingError(f"{which} has no end within {chunk} bytes")
        chunk *= 2


def walk(data: bytes, *, header_only: bool = False) -> tuple[Size, int]:
    """Return the size (width, height) of the JPEG that ``data`` begins with, and its length.

    With ``header_only`` it goes no further than to the first scan, and says where that begins.
    Raises _NoJpegError and _CutShortError.
    """
    if not data.startswith(b"\xff\xd8"):
        if b"\xff\xd8".startswith(data):
            raise _CutShortError
        raise _NoJpegError(f"it begins with {data[:4].hex(' ').upper()} instead of FF D8")
    size: Size | None = None
    place = 2
    while True:
        marker = _MARKER.match(data, place)
        if marker is None:
            if data[place:].strip(b"\xff"):
                raise _NoJpegError(f"a marker is missing at its byte {place}")
            raise _CutShortError
        code, place = marker[1][0], marker.end()
        if code in _WITHOUT_LENGTH:
            continue
        if code == _SOI:  # the next picture, before this one has ended
            raise _CutShortError
        if code in (_EOI, _SOS) and size is None:
            raise _NoJpegError("it does not say its size")
        if code == _EOI and size is not None:
            return size, place
        end = place + int.from_bytes(data[place : place + 2], "big")
        if len(data) < max(end, place + 2):
            raise _CutShortError
        if code in _FRAME_HEADERS:
            # Length (2 bytes), precision (1), height (2), width (2).
            height, width = (int.from_bytes(data[place + i : place + i + 2], "big") for i in (3, 5))
            size = width, height
        place = end
        if code == _SOS and size is not None:
            if header_only:
                return size, place
            behind = _MARKER_BEHIND_SCAN.search(data, place)
            if behind is None:
                raise _CutShortError
            place = behind.start()


def _lines(path: Path) -> Iterator[Place]:
    """Yield the place of each line, which is a JSON object. Raises RecordingError."""
    offset = 0
    with open(path, "rb") as file:
        for number in itertools.count(1):
            line = file.readline(MAX_METADATA_BYTES + 1)
            if not line:
                return
            _parse(line, f"{path}, line {number},")
            yield Place(str(path), offset, len(line))
            offset += len(line)


def _parse(text: bytes, which: str) -> dict[str, Any]:
    """Return a JSON object that can be written as JSON again, too. Raises RecordingError."""
    try:
        value = json.loads(text)
        # Python reads more than it should: NaN, 1e999, and halves of characters.
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        # As the camera's process writes it.
        written = json.dumps(value, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{which} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise RecordingError(f"{which} is no JSON object but {written[:40]}")
    if len(written) > MAX_METADATA_BYTES:
        raise RecordingError(f"{which} has more than {MAX_METADATA_BYTES} bytes")
    return value
