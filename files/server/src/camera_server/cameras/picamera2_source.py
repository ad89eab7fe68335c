"""A camera on the board or on USB, through the system's picamera2.

The library is imported by name when it is needed: it comes with the operating system,
is absent where the server is developed, and has no types. Written against the source
of picamera2 0.3.38.
"""

import importlib
import io
import time
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from camera_server.cameras import CameraError
from camera_server.cameras.output import RecordWriter
from camera_server.task import CameraTask

# What its JpegEncoder can compress. Anything else would fail in the encoder's thread,
# where picamera2 tells nobody.
_COMPRESSIBLE = ("YUV420", "XBGR8888", "XRGB8888", "BGR888", "RGB888")
_NS = 1_000_000_000


def run(task: CameraTask, writer: RecordWriter) -> None:
    """Open the camera and write its frames until the process is killed.

    Never stops the camera itself: stop() can block for ever once a camera is unplugged.
    Raises CameraError, or whatever picamera2 raises.
    """
    try:
        picamera2 = importlib.import_module("picamera2")
        encoders = importlib.import_module("picamera2.encoders")
        outputs = importlib.import_module("picamera2.outputs")
    except ImportError as error:
        raise CameraError(
            "picamera2 cannot be used here (it is the system's package python3-picamera2)"
        ) from error

    index = find_camera(picamera2.Picamera2.global_camera_info(), task.camera_id)
    camera = picamera2.Picamera2(index)
    stream = configure(camera, task)
    if stream["format"] == "MJPEG":
        encoder = encoders.Encoder()  # hands on what a USB camera has compressed itself
    else:
        encoder = encoders.JpegEncoder(q=task.quality)
    frames = FrameSink(task, writer, encoder)
    output = outputs.Output()
    # In place of a subclass, which would need the library when this file is loaded.
    output.outputframe = frames.write
    camera.start_recording(encoder, output)
    while True:
        time.sleep(1)
        # An exception in the encoder's thread would end nothing by itself.
        if frames.failure is not None:
            raise frames.failure


def find_camera(cameras: Sequence[Mapping[str, Any]], camera_id: str | None) -> int:
    """Return the index for ``Picamera2(index)``: a place in this list, not libcamera's number.

    ``camera_id`` is libcamera's id, or an index; None means the first camera.
    Raises CameraError when it is not there.
    """
    if not cameras:
        raise CameraError("no camera found: is it connected, and is its cable seated?")
    if camera_id is None:
        return 0
    for index, camera in enumerate(cameras):
        if camera_id == camera["Id"]:
            return index
    if camera_id.isdecimal() and int(camera_id) < len(cameras):
        return int(camera_id)
    known = ", ".join(f"{index}: {camera['Id']}" for index, camera in enumerate(cameras))
    raise CameraError(f"there is no camera {camera_id!r}; connected are {known}")


def configure(camera: Any, task: CameraTask) -> Mapping[str, Any]:
    """Configure the camera for the task; return its stream's configuration as it came.

    libcamera changes what it cannot do without a word, so format and size are compared
    with what was asked. Raises CameraError when they will not do.
    """
    size = (task.width, task.height)
    period_us = round(1_000_000 / task.fps)
    options: dict[str, Any] = {"controls": {"FrameDurationLimits": (period_us, period_us)}}
    if "ColorFilterArrangement" in camera.camera_properties:  # a bare sensor, not USB
        mode = full_view_mode(camera.sensor_modes, size, task.fps)
        if mode is not None:
            options["sensor"] = {"output_size": mode["size"], "bit_depth": mode["bit_depth"]}
    stream: Mapping[str, Any] = {}
    # Planar YUV first: the encoder takes it without a conversion. Many USB cameras have
    # no such format, but compress by themselves.
    for wanted in ("YUV420", "MJPEG"):
        camera.configure(
            camera.create_video_configuration(main={"size": size, "format": wanted}, **options)
        )
        stream = camera.camera_configuration()["main"]
        if stream["format"] in (*_COMPRESSIBLE, "MJPEG"):
            break
    else:
        raise CameraError(
            f"the camera gives {stream['format']}, which cannot be made into JPEG here; "
            f"wanted: MJPEG, {', '.join(_COMPRESSIBLE)}"
        )
    check_size(tuple(stream["size"]), size)
    return stream


def check_size(came: tuple[int, int], asked: tuple[int, int]) -> None:
    """Raise CameraError when the size (width, height) that came is not the one asked for."""
    if came != asked:
        raise CameraError(
            f"the camera gives {came[0]}x{came[1]} instead of {asked[0]}x{asked[1]}; "
            "set a width and height that it has"
        )


def full_view_mode(
    modes: Sequence[Mapping[str, Any]], size: tuple[int, int], fps: int
) -> Mapping[str, Any] | None:
    """Choose the sensor mode that sees everything the lens does, if there is a choice.

    Left alone, libcamera takes a cropped mode for 640x480 on some sensors
    (picamera2#1233). Among the modes that are large enough for ``size`` and fast enough
    for ``fps``, those with the largest crop are compared, and the smallest of them wins:
    it is read out fastest. ``modes`` are picamera2's ``sensor_modes``.
    """
    usable = [
        mode
        for mode in modes
        if "crop_limits" in mode
        and mode["size"][0] >= size[0]
        and mode["size"][1] >= size[1]
        and round(mode["fps"]) >= fps
    ]
    if not usable:
        return None
    widest = max(_area(mode["crop_limits"][2:]) for mode in usable)
    # Binning trims a few pixels off the edges; that is no crop.
    whole = [mode for mode in usable if _area(mode["crop_limits"][2:]) >= 0.95 * widest]
    return min(whole, key=lambda mode: (_area(mode["size"]), -mode["bit_depth"]))


def _area(size: Sequence[int]) -> int:
    return size[0] * size[1]


class FrameSink:
    """Takes picamera2's encoded frames and writes them as records.

    ``failure`` holds the reason once a frame could not be used.
    """

    def __init__(self, task: CameraTask, writer: RecordWriter, encoder: Any) -> None:
        self.failure: Exception | None = None
        self._size = (task.width, task.height)
        self._writer = writer
        self._encoder = encoder
        self._checked = False

    def write(
        self,
        frame: Any,
        keyframe: bool = True,
        timestamp: int | None = None,
        packet: object = None,
        audio: bool = False,
    ) -> None:
        """Write a frame; signature and meaning are those of picamera2's Output.outputframe."""
        del keyframe, packet
        if audio or self.failure is not None:
            return
        try:
            jpeg = trim(bytes(frame))
            if not self._checked:
                with Image.open(io.BytesIO(jpeg)) as image:
                    check_size(image.size, self._size)
                self._checked = True
        except Exception as error:  # told by run(), which sees it in a second at most
            self.failure = error
            return
        self._writer.frame(jpeg, self._captured_ns(timestamp))

    def _captured_ns(self, timestamp: int | None) -> int:
        """When the sensor began the frame, in nanoseconds of CLOCK_MONOTONIC.

        ``timestamp`` counts microseconds from the encoder's first frame. A time that is
        not of the last seconds is of some other clock, and now is nearer to the truth.
        """
        now = time.monotonic_ns()
        first = self._encoder.firsttimestamp
        if first is None or timestamp is None:
            return now
        captured = int(first + timestamp) * 1000
        return captured if now - 5 * _NS < captured <= now else now


def trim(data: bytes) -> bytes:
    """Cut off what a USB camera's buffer holds behind the end of the JPEG.

    The marker for the end (FF D9) cannot occur inside the scan that begins with FF DA.
    """
    end = data.find(b"\xff\xd9", data.find(b"\xff\xda") + 1)
    return data if end < 0 else data[: end + 2]
