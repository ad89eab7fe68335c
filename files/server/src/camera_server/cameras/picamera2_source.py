"""A camera on the board or on USB, through the system's picamera2.

The library is imported by name when it is needed: it comes with the operating system,
is absent where the server is developed, and has no types. Written against the source
of picamera2 0.3.38.
"""

import importlib
import io
import os
import queue
import time
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from camera_server.cameras import CameraError
from camera_server.cameras.output import RecordWriter
from camera_server.task import CameraTask

# The control that limits how long a frame takes. picamera2's encoders need it, if only to
# guess at a rate, and end with a KeyError where a camera does not have it, as on USB.
_PERIOD = "FrameDurationLimits"

# What its JpegEncoder can compress. Anything else would fail in the encoder's thread,
# where picamera2 tells nobody.
_COMPRESSIBLE = ("YUV420", "XBGR8888", "XRGB8888", "BGR888", "RGB888")
_FLIPS = ("hflip", "vflip")
_NS = 1_000_000_000


def run(task: CameraTask, writer: RecordWriter) -> None:
    """Open the camera and write its frames until the process is killed.

    Never stops the camera itself: stop() can block for ever once a camera is unplugged.
    Raises CameraError, or whatever picamera2 raises.
    """
    # libcamera tells each camera's whole configuration otherwise. It looks when it is loaded.
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:WARN")
    try:
        picamera2 = importlib.import_module("picamera2")
        encoders = importlib.import_module("picamera2.encoders")
        outputs = importlib.import_module("picamera2.outputs")
    except ImportError as error:
        raise CameraError(
            "picamera2 cannot be used here (it is the system's package python3-picamera2)"
        ) from error

    cameras = picamera2.Picamera2.global_camera_info()
    if task.model is None:
        index = find_camera(cameras, task.camera_id)
    else:
        index = find_imx500(cameras, task.camera_id)
        # Before the camera is opened, as the sensor gets it when that starts. Held from here
        # on: it has the sensor's node open.
        _network = hand_over_network(task.model, cameras[index])
    camera = picamera2.Picamera2(index)
    stream = configure(camera, task)
    frames = FrameSink(task, writer)
    if stream["format"] == "MJPEG":
        camera.start()
        writer.started("camera")
        while True:
            pass_through(camera, frames)
    encoded = EncodedOutput(encoders.JpegEncoder(q=task.quality), frames)
    output = outputs.Output()
    # In place of a subclass, which would need the library when this file is loaded.
    output.outputframe = encoded.outputframe
    camera.start_recording(encoded.encoder, output)
    writer.started("JpegEncoder")
    # An exception in the encoder's thread would end nothing by itself.
    raise encoded.failures.get()


def pass_through(camera: Any, frames: "FrameSink") -> None:
    """Wait for one picture that the camera has compressed itself, and write it.

    Without an encoder, since picamera2's refuse the format.
    """
    request = camera.capture_request()
    # The whole buffer: picamera2's allocator does not tell how much of it is used.
    data = bytes(request.make_buffer("main"))
    sensor_ns = request.get_metadata().get("SensorTimestamp")
    request.release()
    frames.write(trim(data), sensor_ns)


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


def find_imx500(cameras: Sequence[Mapping[str, Any]], camera_id: str | None) -> int:
    """Return the index of an IMX500, as find_camera() does; None means the first of them.

    Raises CameraError when the camera is not there, or is none.
    """
    places = [index for index, camera in enumerate(cameras) if camera.get("Model") == "imx500"]
    if camera_id is None and places:
        return places[0]
    index = find_camera(cameras, camera_id)
    if index not in places:
        raise CameraError(
            f"a model is set, and the camera {cameras[index]['Id']} is no IMX500 "
            f"but {cameras[index].get('Model', 'unknown')}; leave model out, or connect an IMX500"
        )
    return index


def hand_over_network(model: str, camera: Mapping[str, Any]) -> Any:
    """Give the driver the file of the network for this IMX500; return picamera2's object for it.

    It is found by libcamera's id. Its ``camera_num`` is no index for ``Picamera2(index)``
    but libcamera's number, which with a second camera may stand for that one.
    Raises CameraError.
    """
    try:
        with open(model, "rb"):
            pass
    except OSError as error:
        raise CameraError(f"model is {model}, which cannot be read: {error.strerror}") from None
    try:
        devices = importlib.import_module("picamera2.devices")
    except ImportError as error:
        raise CameraError("picamera2 cannot use an IMX500 here") from error
    try:
        return devices.IMX500(model, camera_id=camera["Id"])
    except Exception as error:  # the driver's, the archive's, the parser's: of many kinds
        raise CameraError(f"the network {model} cannot be given to the camera") from error


def configure(camera: Any, task: CameraTask) -> Mapping[str, Any]:
    """Configure the camera for the task; return its stream's configuration as it came.

    libcamera changes what it cannot do without a word, so format and size are compared
    with what was asked. Raises CameraError when they will not do.
    """
    size = (task.width, task.height)
    options: dict[str, Any] = {}
    usable = ["MJPEG"]
    if _PERIOD in camera.camera_controls:
        period_us = round(1_000_000 / task.fps)
        options["controls"] = {_PERIOD: (period_us, period_us)}
        usable += _COMPRESSIBLE
    if "ColorFilterArrangement" in camera.camera_properties:  # a bare sensor, not USB
        mode = full_view_mode(camera.sensor_modes, size, task.fps)
        if mode is not None:
            options["sensor"] = {"output_size": mode["size"], "bit_depth": mode["bit_depth"]}
    if task.hflip or task.vflip:
        transform = importlib.import_module("libcamera").Transform
        options["transform"] = transform(hflip=task.hflip, vflip=task.vflip)
    stream: Mapping[str, Any] = {}
    # Planar YUV first: the encoder takes it without a conversion. Many USB cameras have
    # no such format, but compress by themselves.
    for wanted in ("YUV420", "MJPEG"):
        camera.configure(
            camera.create_video_configuration(main={"size": size, "format": wanted}, **options)
        )
        stream = camera.camera_configuration()["main"]
        if stream["format"] in usable:
            break
    else:
        raise CameraError(
            f"the camera gives {stream['format']}, which cannot be made into JPEG here; "
            f"wanted: {', '.join(usable)}"
        )
    check_size(tuple(stream["size"]), size)
    if "transform" in options:
        check_flips(camera.camera_configuration()["transform"], task)
    return stream


def check_size(came: tuple[int, int], asked: tuple[int, int]) -> None:
    """Raise CameraError when the size (width, height) that came is not the one asked for."""
    if came != asked:
        raise CameraError(
            f"the camera gives {came[0]}x{came[1]} instead of {asked[0]}x{asked[1]}; "
            "set a width and height that it has"
        )


def check_flips(came: Any, task: CameraTask) -> None:
    """Raise CameraError when libcamera's Transform that came is not the one asked for."""
    if (came.hflip, came.vflip) != (task.hflip, task.vflip):
        raise CameraError(
            f"the camera gives {_flips(came)} instead of {_flips(task)}: it cannot mirror its "
            "picture so, as USB cameras cannot; leave hflip and vflip out"
        )


def _flips(flipped: Any) -> str:
    return " and ".join(f"{name} = {str(getattr(flipped, name)).lower()}" for name in _FLIPS)


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
    """Writes JPEGs as records; the first one is looked at to see that its size is right."""

    def __init__(self, task: CameraTask, writer: RecordWriter) -> None:
        self._size = (task.width, task.height)
        self._writer = writer
        self._checked = False

    def write(self, jpeg: bytes, sensor_ns: int | None) -> None:
        """Write a picture that the sensor began at ``sensor_ns`` (CLOCK_MONOTONIC).

        Raises CameraError when it has another size than asked for, PIL's OSError when it
        is no picture.
        """
        if not self._checked:
            with Image.open(io.BytesIO(jpeg)) as image:
                check_size(image.size, self._size)
            self._checked = True
        self._writer.frame(jpeg, _captured_ns(sensor_ns))


def _captured_ns(sensor_ns: int | None) -> int:
    """Return the sensor's time, or now if it is not of the last seconds.

    It is of some other clock then, and now is nearer to the truth.
    """
    now = time.monotonic_ns()
    return sensor_ns if sensor_ns is not None and now - 5 * _NS < sensor_ns <= now else now


class EncodedOutput:
    """Takes what picamera2's encoder has made; ``failures`` gets what could not be used."""

    def __init__(self, encoder: Any, frames: FrameSink) -> None:
        self.encoder = encoder
        self.failures: queue.SimpleQueue[Exception] = queue.SimpleQueue()
        self._frames = frames

    def outputframe(
        self,
        frame: Any,
        keyframe: bool = True,
        timestamp: int | None = None,
        packet: object = None,
        audio: bool = False,
    ) -> None:
        """Write a frame; signature and meaning are those of picamera2's Output.outputframe.

        ``timestamp`` counts microseconds from the encoder's first frame.
        """
        del keyframe, packet, audio
        first = self.encoder.firsttimestamp
        sensor_ns = None if first is None or timestamp is None else (first + timestamp) * 1000
        try:
            self._frames.write(bytes(frame), sensor_ns)
        except Exception as error:  # told by run(), in whose thread it ends the process
            self.failures.put(error)


def trim(data: bytes) -> bytes:
    """Cut off what a USB camera's buffer holds behind the end of the JPEG.

    The marker for the end (FF D9) cannot occur inside the scan that begins with FF DA.
    """
    end = data.find(b"\xff\xd9", data.find(b"\xff\xda") + 1)
    return data if end < 0 else data[: end + 2]
