"""Arguments and sizes only: what a real camera does is tested where there is one."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from camera_server.camera_process import default_command, open_process
from camera_server.cameras import CameraError
from camera_server.cameras.picamera2_source import (
    find_camera,
    full_view_mode,
    trim,
)
from camera_server.framing import Kind, Record
from camera_server.task import CameraTask
from server_helpers import decode

FAKE = Path(__file__).with_name("fake_picamera2")
CAMERAS = [{"Id": "vcam1", "Num": 1}, {"Id": "vcam0", "Num": 0}]
IMX708 = [
    {"size": (1536, 864), "bit_depth": 10, "fps": 120.13, "crop_limits": (768, 432, 3072, 1728)},
    {"size": (2304, 1296), "bit_depth": 10, "fps": 56.03, "crop_limits": (0, 0, 4608, 2592)},
    {"size": (4608, 2592), "bit_depth": 10, "fps": 14.35, "crop_limits": (0, 0, 4608, 2592)},
]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "calls"
    monkeypatch.setenv("PYTHONPATH", str(FAKE))
    monkeypatch.setenv("FAKE_PICAMERA2_LOG", str(path))
    return path


def calls(log: Path, name: str) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    return [entry for entry in entries if entry.pop("call") == name]


def records(
    monkeypatch: pytest.MonkeyPatch, count: int, camera_id: str | None = None, **behaviour: Any
) -> list[Record]:
    """Run the camera's process with the fake module; return its first records."""
    monkeypatch.setenv("FAKE_PICAMERA2", json.dumps(behaviour))
    task = CameraTask("front", "picamera2", 640, 480, 25, 70, camera_id, os.getpid())

    async def read() -> list[Record]:
        found: list[Record] = []
        async with asyncio.timeout(20), open_process(default_command(task), task) as process:
            while len(found) < count and (record := await process.read()) is not None:
                found.append(record)
        return found

    return asyncio.run(read())


def reason(found: list[Record]) -> str:
    assert found[-1].kind is Kind.ERROR
    return str(found[-1].metadata["error"])


def test_frames_come_whole_although_libraries_print(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = records(monkeypatch, 5)
    assert [record.kind for record in found] == [Kind.FRAME] * 5
    assert {decode(record.jpeg).size for record in found} == {(640, 480)}
    times = [record.captured_ns for record in found]
    assert times == sorted(set(times))
    assert 0 <= time.monotonic_ns() - times[-1] < 2e9
    assert calls(log, "open") == [{"camera_num": 0}]
    assert calls(log, "create_video_configuration") == [
        {
            "main": {"size": [640, 480], "format": "YUV420"},
            "controls": {"FrameDurationLimits": [40000, 40000]},
        }
    ]
    assert calls(log, "start_recording") == [{"encoder": "JpegEncoder", "q": 70}]


def test_a_sensor_is_asked_for_its_full_view(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records(monkeypatch, 1, modes=IMX708)
    (made,) = calls(log, "create_video_configuration")
    assert made["sensor"] == {"output_size": [2304, 1296], "bit_depth": 10}


def test_a_usb_camera_is_not_asked_for_modes(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records(monkeypatch, 1, sensor=False, modes=IMX708)
    (made,) = calls(log, "create_video_configuration")
    assert "sensor" not in made


def test_a_usb_camera_s_own_jpegs_pass_through(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = records(monkeypatch, 2, sensor=False, formats=["YUYV", "MJPEG"])
    assert calls(log, "start_recording") == [{"encoder": "Encoder", "q": None}]
    assert decode(found[0].jpeg).size == (640, 480)
    assert found[0].jpeg.endswith(b"\xff\xd9")


def test_the_size_that_came_counts(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = "the camera gives 1280x720 instead of 640x480; set a width and height that it has"
    assert reason(records(monkeypatch, 1, size=[1280, 720])) == expected
    assert not calls(log, "start_recording")
    assert reason(records(monkeypatch, 1, jpeg_size=[1280, 720])) == expected


@pytest.mark.usefixtures("log")
def test_what_fails_is_said_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(records(monkeypatch, 1, cameras=[])).startswith("no camera found")
    busy = "Failed to acquire camera: Device or resource busy"
    expected = f"Camera __init__ sequence did not complete: {busy}"
    assert reason(records(monkeypatch, 1, open_error=busy)) == expected
    assert "gives YUYV, which cannot" in reason(records(monkeypatch, 1, formats=["YUYV"]))
    missing = reason(records(monkeypatch, 1, camera_id="imx219"))
    assert missing == "there is no camera 'imx219'; connected are 0: /base/soc/imx708@1a"


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "picamera2.py").write_text("import no_such_library")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert reason(records(monkeypatch, 1)) == (
        "picamera2 cannot be used here (it is the system's package python3-picamera2): "
        "No module named 'no_such_library'"
    )


@pytest.mark.parametrize(
    ("camera_id", "index"), [(None, 0), ("vcam0", 1), ("vcam1", 0), ("0", 0), ("1", 1)]
)
def test_a_camera_is_found_by_its_place_in_the_list(camera_id: str | None, index: int) -> None:
    assert find_camera(CAMERAS, camera_id) == index


@pytest.mark.parametrize("camera_id", ["2", "vcam", "-1"])
def test_a_camera_that_is_not_there(camera_id: str) -> None:
    with pytest.raises(CameraError, match="connected are 0: vcam1, 1: vcam0"):
        find_camera(CAMERAS, camera_id)


@pytest.mark.parametrize(
    ("size", "fps", "chosen"),
    [
        ((640, 480), 30, (2304, 1296)),
        ((640, 480), 10, (2304, 1296)),
        ((3840, 2160), 10, (4608, 2592)),
        ((640, 480), 100, (1536, 864)),
        ((3840, 2160), 30, None),
    ],
)
def test_the_fullest_view_that_is_large_and_fast_enough_is_chosen(
    size: tuple[int, int], fps: int, chosen: tuple[int, int] | None
) -> None:
    mode = full_view_mode(IMX708, size, fps)
    assert (mode and mode["size"]) == chosen
    assert full_view_mode([{"format": "YUYV"}], size, fps) is None


def test_bytes_behind_a_jpeg_are_cut_off() -> None:
    jpeg = b"\xff\xd8\xff\xe1EXIF\xff\xd9\xff\xdascan\xff\x00\xff\xd9"
    assert trim(jpeg + b"\0" * 100 + b"\xff\xd9") == jpeg
    assert trim(b"no end") == b"no end"
