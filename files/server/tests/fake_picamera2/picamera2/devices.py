"""The IMX500's class: what its constructor looks at, in picamera2's order; no sensor."""

import os
import struct
from pathlib import Path

from picamera2 import Picamera2, note


class IMX500:
    def __init__(
        self, network_file: str, camera_id: str = "", tensor_injection: bool = False
    ) -> None:
        assert not tensor_injection
        note("IMX500", network_file=network_file, camera_id=camera_id)
        # The kernel's nodes, which are not in the order of picamera2's list.
        for camera in reversed(Picamera2.global_camera_info()):
            if camera["Model"] == "imx500" and camera_id in "/firmware/devicetree" + camera["Id"]:
                self.camera_num = camera["Num"]
                break
        else:
            raise RuntimeError("IMX500: Requested camera dev-node not found")
        print("IMX500 firmware update progress bar is not available")
        if not os.path.isfile(network_file):
            raise RuntimeError(f"Firmware file {network_file} does not exist.")
        struct.unpack(">4sI", Path(network_file).read_bytes()[:8])

    def __del__(self) -> None:
        note("close the sensor's node")
