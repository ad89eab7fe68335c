"""A recording in place of a camera: the pictures as they lie on the disk, over and over.

Cheap enough to measure the server by: a frame costs reading it, and nothing is decoded.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camera_server.cameras import CameraError
from camera_server.cameras.output import RecordWriter
from camera_server.cameras.pacing import paced
from camera_server.recording import (
    JPEG_BEGIN,
    JPEG_END,
    Picture,
    RecordingError,
    pictures,
)
from camera_server.task import CameraTask

# How much of a recording is kept in memory, so that a short one is read once.
_KEPT_BYTES = 16 * 1024 * 1024


def run(task: CameraTask, writer: RecordWriter) -> None:
    """Write the recording's frames at the task's rate until the process is killed.

    Raises CameraError.
    """
    if task.replay is None:
        raise CameraError("there is no recording to replay")
    due: Iterator[int] | None = None
    try:
        # A frame is read before it is due, and then written at once.
        for frame in looped(Path(task.replay), (task.width, task.height)):
            if due is None:
                writer.started("replay")
                due = paced(task.fps)
            next(due)
            writer.frame(frame.jpeg, time.monotonic_ns(), frame.metadata)
    except (RecordingError, OSError) as error:
        raise CameraError(f"replay is {task.replay}: {error}") from None


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture that has been read."""

    jpeg: bytes
    metadata: dict[str, Any]


def looped(recording: Path, size: tuple[int, int]) -> Iterator[Frame]:
    """Yield the recording's pictures without an end. Raises RecordingError.

    The first time round they are looked for one by one, so that a long film begins at once;
    afterwards it is known where they lie. Those that there is room for are kept.
    """
    known: list[Picture | Frame] = []
    room = _KEPT_BYTES
    for picture in pictures(recording, size):
        frame = _read(picture)
        room -= len(frame.jpeg)
        known.append(frame if room >= 0 else picture)
        yield frame
    while True:
        for each in known:
            yield each if isinstance(each, Frame) else _read(each)


def _read(picture: Picture) -> Frame:
    jpeg = picture.jpeg.read()
    # It was looked at when the recording began.
    if not (jpeg.startswith(JPEG_BEGIN) and jpeg.endswith(JPEG_END)):
        raise RecordingError(f"{picture.jpeg.path} has changed while it is replayed")
    return Frame(jpeg, picture.read_metadata())
