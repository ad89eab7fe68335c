"""A recording in place of a camera: the pictures as they lie on the disk, over and over.

Cheap enough to measure the server by: a frame costs reading it, and nothing is decoded.
"""

import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from camera_server.cameras import CameraError
from camera_server.cameras.output import RecordWriter
from camera_server.cameras.pacing import paced
from camera_server.recording import Picture, RecordingError, pictures
from camera_server.task import CameraTask


def run(task: CameraTask, writer: RecordWriter) -> None:
    """Write the recording's frames at the task's rate until the process is killed.

    Raises CameraError.
    """
    if task.replay is None:
        raise CameraError("there is no recording to replay")
    try:
        recording = looped(Path(task.replay), (task.width, task.height))
        # Read before it is due; what waits is written at once.
        frames = ((picture.jpeg.read(), picture.read_metadata()) for picture in recording)
        first = next(frames)
        writer.started("replay")
        due = paced(task.fps)
        for (jpeg, metadata), _number in zip(chain([first], frames), due, strict=False):
            writer.frame(jpeg, time.monotonic_ns(), metadata)
    except (RecordingError, OSError) as error:
        raise CameraError(f"replay is {task.replay}: {error}") from None


def looped(recording: Path, size: tuple[int, int]) -> Iterator[Picture]:
    """Yield the recording's pictures without an end. Raises RecordingError.

    The first time round they are looked for one by one, so that a long film begins at once;
    afterwards it is known where they lie.
    """
    known = []
    for picture in pictures(recording, size):
        known.append(picture)
        yield picture
    while True:
        yield from known
