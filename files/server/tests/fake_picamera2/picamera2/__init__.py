"""Stands in for picamera2 where there is none: its names and shapes, none of its work.

It refuses what picamera2 0.3.38 refuses: a control that the camera does not have, an encoder
for MJPEG, and an encoder for a camera without the control FrameDurationLimits.

FAKE_PICAMERA2 (JSON) says how it behaves; FAKE_PICAMERA2_LOG is a file that gets a line
of JSON for each call.
"""

import json
import os
import threading
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from libcamera import Transform

from picamera2.encoders import Encoder
from picamera2.outputs import Output
from picamera2.pictures import draw

BEHAVIOUR: dict[str, Any] = {
    "cameras": [{"Model": "imx708", "Location": 2, "Id": "/base/soc/imx708@1a", "Num": 0}],
    "sensor": True,
    "modes": [],
    "formats": ["YUV420"],
    "controls": ["FrameDurationLimits"],
    "size": None,
    "jpeg_size": None,
    "open_error": None,
    "behind_ms": 0,
    "mirrors": True,
} | json.loads(os.environ.get("FAKE_PICAMERA2", "{}"))

# What the real one and the libraries under it do.
print("picamera2 says hello on standard output")
os.write(1, b"libcamera says hello on file descriptor 1\n")


def note(call: str, **arguments: Any) -> None:
    with Path(os.environ["FAKE_PICAMERA2_LOG"]).open("a") as log:
        log.write(json.dumps({"call": call, **arguments}) + "\n")


note("import", log_levels=os.environ.get("LIBCAMERA_LOG_LEVELS"))


def sensor_ns() -> int:
    """When the sensor began the frame that is handed out now."""
    began = time.monotonic_ns() - int(BEHAVIOUR["behind_ms"]) * 1_000_000
    note("frame", sensor_ns=began)
    return began


class CompletedRequest:
    def __init__(self, jpeg: bytes) -> None:
        self._jpeg: bytes | None = jpeg
        self._sensor_ns = sensor_ns()

    def make_buffer(self, name: str) -> memoryview:
        assert name == "main"
        assert self._jpeg is not None, "the request has been released"
        # All of the buffer: picamera2's allocator maps it whole, whatever is used of it.
        return memoryview(self._jpeg + bytes(1000))

    def get_metadata(self) -> dict[str, Any]:
        assert self._jpeg is not None, "the request has been released"
        return {"SensorTimestamp": self._sensor_ns}

    def release(self) -> None:
        note("release")
        self._jpeg = None


class Picamera2:
    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        cameras: list[dict[str, Any]] = BEHAVIOUR["cameras"]
        return cameras

    def __init__(self, camera_num: int = 0) -> None:
        note("open", camera_num=camera_num)
        if BEHAVIOUR["open_error"]:
            try:
                raise RuntimeError(BEHAVIOUR["open_error"])
            except RuntimeError as error:
                raise RuntimeError("Camera __init__ sequence did not complete.") from error
        self.camera_properties = {"ColorFilterArrangement": 0} if BEHAVIOUR["sensor"] else {}
        self.sensor_modes = BEHAVIOUR["modes"]
        self.camera_ctrl_info = {
            name: (name, SimpleNamespace(min=1, max=1_000_000, default=1))
            for name in BEHAVIOUR["controls"]
        }

    @property
    def camera_controls(self) -> dict[str, tuple[int, int, int]]:
        return {
            name: (info.min, info.max, info.default)
            for name, (_id, info) in self.camera_ctrl_info.items()
        }

    def create_video_configuration(
        self, main: dict[str, Any], transform: Transform | None = None, **options: Any
    ) -> dict[str, Any]:
        noted = {} if transform is None else {"transform": asdict(transform)}
        note("create_video_configuration", main=main, **noted, **options)
        return {"main": main, "transform": transform or Transform(), **options}

    def configure(self, configuration: dict[str, Any]) -> None:
        main = dict(configuration["main"])
        if BEHAVIOUR["size"]:
            main["size"] = tuple(BEHAVIOUR["size"])
        if main["format"] not in BEHAVIOUR["formats"]:
            main["format"] = BEHAVIOUR["formats"][0]
        self._main = main
        # Without a word, as libcamera does.
        self._transform = configuration["transform"] if BEHAVIOUR["mirrors"] else Transform()
        for name in configuration.get("controls", {}):
            if name not in self.camera_ctrl_info:
                raise RuntimeError(f"Control {name} is not advertised by libcamera")

    def camera_configuration(self) -> dict[str, Any]:
        return {"main": self._main, "transform": self._transform}

    def start(self) -> None:
        note("start")

    def capture_request(self) -> CompletedRequest:
        assert self._main["format"] == "MJPEG", "a picture that is no JPEG"
        time.sleep(0.02)
        return CompletedRequest(self._draw())

    def start_recording(self, encoder: Encoder, output: Output) -> None:
        note("start_recording", encoder=type(encoder).__name__, q=getattr(encoder, "q", None))
        encoder.set_format(self._main["format"])
        assert self.camera_ctrl_info["FrameDurationLimits"][1].min
        threading.Thread(target=self._record, args=(encoder, output), daemon=True).start()

    def _draw(self) -> bytes:
        width, height = BEHAVIOUR["jpeg_size"] or self._main["size"]
        return draw(width, height)

    def _record(self, encoder: Encoder, output: Output) -> None:
        jpeg = self._draw()
        for _turn in range(200):
            print("a frame was made")
            now_us = sensor_ns() // 1000
            if encoder.firsttimestamp is None:
                encoder.firsttimestamp = now_us
            output.outputframe(jpeg, True, now_us - encoder.firsttimestamp, None, False)
            time.sleep(0.02)
