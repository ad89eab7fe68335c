"""Stands in for picamera2 where there is none: its names and shapes, none of its work.

FAKE_PICAMERA2 (JSON) says how it behaves; FAKE_PICAMERA2_LOG is a file that gets a line
of JSON for each call.
"""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from picamera2.encoders import Encoder
from picamera2.outputs import Output
from picamera2.pictures import draw

BEHAVIOUR: dict[str, Any] = {
    "cameras": [{"Model": "imx708", "Location": 2, "Id": "/base/soc/imx708@1a", "Num": 0}],
    "sensor": True,
    "modes": [],
    "formats": ["YUV420"],
    "size": None,
    "jpeg_size": None,
    "open_error": None,
} | json.loads(os.environ.get("FAKE_PICAMERA2", "{}"))

# What the real one and the libraries under it do.
print("picamera2 says hello on standard output")
os.write(1, b"libcamera says hello on file descriptor 1\n")


def note(call: str, **arguments: Any) -> None:
    with Path(os.environ["FAKE_PICAMERA2_LOG"]).open("a") as log:
        log.write(json.dumps({"call": call, **arguments}) + "\n")


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

    def create_video_configuration(self, main: dict[str, Any], **options: Any) -> dict[str, Any]:
        note("create_video_configuration", main=main, **options)
        return {"main": main, **options}

    def configure(self, configuration: dict[str, Any]) -> None:
        main = dict(configuration["main"])
        if BEHAVIOUR["size"]:
            main["size"] = tuple(BEHAVIOUR["size"])
        if main["format"] not in BEHAVIOUR["formats"]:
            main["format"] = BEHAVIOUR["formats"][0]
        self._main = main

    def camera_configuration(self) -> dict[str, Any]:
        return {"main": self._main}

    def start_recording(self, encoder: Encoder, output: Output) -> None:
        note("start_recording", encoder=type(encoder).__name__, q=getattr(encoder, "q", None))
        size = BEHAVIOUR["jpeg_size"] or self._main["size"]
        threading.Thread(target=self._record, args=(encoder, output, size), daemon=True).start()

    def _record(self, encoder: Encoder, output: Output, size: list[int]) -> None:
        jpeg = draw(size[0], size[1])
        if self._main["format"] == "MJPEG":
            jpeg += bytes(1000)  # a USB camera's buffer is longer than its JPEG
        encoder.firsttimestamp = time.monotonic_ns() // 1000
        for _turn in range(200):
            now = time.monotonic_ns() // 1000
            print("a frame was made")
            output.outputframe(jpeg, True, now - encoder.firsttimestamp, None, False)
            time.sleep(0.02)
