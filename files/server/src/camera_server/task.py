"""What a camera process is told to do. Light on imports: both sides use it."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class CameraTask:
    """A camera process's work: ``width`` and ``height`` in pixels, JPEG ``quality`` 1 to 95.

    ``model`` is the file of a network that the camera is to run, for an IMX500.
    ``server_pid`` is the process that it belongs to and must not outlive. ``replay`` is the path
    of a recording. ``hflip`` and ``vflip`` have the camera mirror its picture.
    """

    name: str
    source: str
    width: int
    height: int
    fps: int
    quality: int
    camera_id: str | None
    model: str | None
    server_pid: int
    replay: str | None = None
    hflip: bool = False
    vflip: bool = False

    def to_json(self) -> bytes:
        """Return the task as one line, as it is written to the process's standard input."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_json(cls, line: bytes) -> "CameraTask":
        """Read what to_json() wrote. Raises ValueError or TypeError for anything else."""
        return cls(**json.loads(line))
