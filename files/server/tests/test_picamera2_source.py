"""Arguments and sizes only: what a real camera does is tested where there is one."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from camera_server.cameras import CameraError
from camera_server.cameras.picamera2_source import (
    find_camera,
    find_imx500,
    full_view_mode,
    trim,
)
from camera_server.framing import Kind, Record
from camera_server.task import CameraTask
from server_helpers import camera_records, decode

FAKE = Path(__file__).with_name("fake_picamera2")
# As picamera2 sorts them: USB last, and else from Z to A, whatever libcamera's numbers are.
MANY: list[dict[str, Any]] = [
    {"Model": "imx500", "Location": 2, "Id": "/base/i2c@88000/imx500@1a", "Num": 2},
    {"Model": "imx500", "Location": 2, "Id": "/base/i2c@80000/imx500@1a", "Num": 0},
    {"Model": "HP: Cam", "Location": 2, "Id": "/base/usb@1-1.2:1.0-32e4:9422", "Num": 1},
]
NETWORK = b"9464" + bytes(60)
CAMERAS = [{"Id": "vcam1", "Num": 1}, {"Id": "vcam0", "Num": 0}]
USB: dict[str, Any] = {"sensor": False, "controls": []}
# One that bins and trims a little on the way: the first mode sees as good as everything.
OV5647 = [
    {"size": (640, 480), "bit_depth": 10, "fps": 58.92, "crop_limits": (16, 0, 2560, 1920)},
    {"size": (1296, 972), "bit_depth": 10, "fps": 46.34, "crop_limits": (0, 0, 2592, 1944)},
    {"size": (1920, 1080), "bit_depth": 10, "fps": 32.81, "crop_limits": (348, 434, 1928, 1080)},
    {"size": (2592, 1944), "bit_depth": 10, "fps": 15.63, "crop_limits": (0, 0, 2592, 1944)},
]
BOTH_WAYS = pytest.mark.parametrize(
    "camera", [{}, {"formats": ["MJPEG"], **USB}], ids=["encoded", "MJPEG"]
)
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
    monkeypatch.delenv("LIBCAMERA_LOG_LEVELS", raising=False)
    return path


def calls(log: Path, name: str) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    return [entry for entry in entries if entry.pop("call") == name]


def records(
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    camera_id: str | None = None,
    model: str | None = None,
    **behaviour: Any,
) -> list[Record]:
    """Run the camera's process with the fake module; return its first frames, or its error."""
    found = all_records(monkeypatch, count, camera_id, model, **behaviour)
    return [record for record in found if record.kind is not Kind.STARTED]


def all_records(
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    camera_id: str | None = None,
    model: str | None = None,
    flips: tuple[bool, bool] = (False, False),
    **behaviour: Any,
) -> list[Record]:
    """Do the same, with the record that says that the camera runs; it is not counted."""
    monkeypatch.setenv("FAKE_PICAMERA2", json.dumps(behaviour))
    task = CameraTask("front", "picamera2", 640, 480, 25, 70, camera_id, model, os.getpid())
    task = replace(task, hflip=flips[0], vflip=flips[1])
    found = camera_records(task, count + 1)
    # Where the camera does not come to run, the first record is one that counts.
    return found if any(record.kind is Kind.STARTED for record in found) else found[:count]


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
    records(monkeypatch, 1, sensor=False, formats=["MJPEG"], modes=IMX708)
    (made,) = calls(log, "create_video_configuration")
    assert "sensor" not in made


def test_a_usb_camera_s_own_jpegs_pass_through(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = records(monkeypatch, 10, formats=["YUYV", "MJPEG"], **USB)
    assert [record.kind for record in found] == [Kind.FRAME] * 10, reason(found)
    assert decode(found[0].jpeg).size == (640, 480)
    assert bytes(found[0].jpeg).endswith(b"\xff\xd9")
    times = [record.captured_ns for record in found]
    assert times == sorted(set(times))
    assert calls(log, "start") == [{}]
    assert not calls(log, "start_recording")
    assert len(calls(log, "release")) >= 10, "buffers that are kept would be missed soon"


@BOTH_WAYS
def test_a_frame_is_as_old_as_the_sensor_says(
    log: Path, monkeypatch: pytest.MonkeyPatch, camera: dict[str, Any]
) -> None:
    found = records(monkeypatch, 5, behind_ms=200, **camera)
    told = [call["sensor_ns"] // 1000 for call in calls(log, "frame")]
    assert [record.captured_ns // 1000 for record in found] == told[:5]


@BOTH_WAYS
@pytest.mark.usefixtures("log")
def test_a_time_of_another_clock_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, camera: dict[str, Any]
) -> None:
    now = time.monotonic_ns()
    for behind_ms in (3_600_000, -3_600_000):
        first = records(monkeypatch, 1, behind_ms=behind_ms, **camera)[0]
        assert now < first.captured_ns <= time.monotonic_ns()


@pytest.mark.parametrize(
    ("camera", "wanted"),
    [
        ({"formats": ["YUYV"], **USB}, "YUYV, which cannot be made into JPEG here; wanted: MJPEG"),
        (
            {"formats": ["YUV420"], **USB},
            "YUV420, which cannot be made into JPEG here; wanted: MJPEG",
        ),
        (
            {"formats": ["YUYV"]},
            "YUYV, which cannot be made into JPEG here; wanted: MJPEG, YUV420, ",
        ),
    ],
)
@pytest.mark.usefixtures("log")
def test_a_camera_without_a_format_that_helps_is_told_so(
    monkeypatch: pytest.MonkeyPatch, camera: dict[str, Any], wanted: str
) -> None:
    assert reason(records(monkeypatch, 1, **camera)).startswith(f"the camera gives {wanted}")


@pytest.mark.parametrize(
    ("camera", "encoder"),
    [({}, "JpegEncoder"), ({"formats": ["MJPEG"], **USB}, "camera")],
    ids=["encoded", "MJPEG"],
)
@pytest.mark.usefixtures("log")
def test_that_the_camera_runs_is_said_once_and_what_makes_the_jpegs(
    monkeypatch: pytest.MonkeyPatch, camera: dict[str, Any], encoder: str
) -> None:
    found = all_records(monkeypatch, 10, **camera)
    started = [record.metadata for record in found if record.kind is Kind.STARTED]
    assert started == [{"encoder": encoder}]


@BOTH_WAYS
@pytest.mark.parametrize("flips", [(True, True), (True, False), (False, True)])
def test_a_picture_is_mirrored_by_the_camera(
    log: Path, monkeypatch: pytest.MonkeyPatch, camera: dict[str, Any], flips: tuple[bool, bool]
) -> None:
    assert records(monkeypatch, 1, flips=flips, **camera)[0].kind is Kind.FRAME
    for made in calls(log, "create_video_configuration"):
        assert made["transform"] == {"hflip": flips[0], "vflip": flips[1]}


@BOTH_WAYS
def test_a_camera_that_cannot_mirror_is_said(
    log: Path, monkeypatch: pytest.MonkeyPatch, camera: dict[str, Any]
) -> None:
    found = records(monkeypatch, 1, flips=(True, False), **camera | {"mirrors": False})
    assert reason(found) == (
        "the camera gives hflip = false and vflip = false instead of hflip = true and "
        "vflip = false: it cannot mirror its picture so, as USB cameras cannot; "
        "leave hflip and vflip out"
    )
    assert not calls(log, "start")
    assert not calls(log, "start_recording")


@pytest.mark.parametrize("levels", [None, "RPI:DEBUG"])
def test_libcamera_only_warns_unless_asked_for_more(
    log: Path, monkeypatch: pytest.MonkeyPatch, levels: str | None
) -> None:
    if levels:
        monkeypatch.setenv("LIBCAMERA_LOG_LEVELS", levels)
    records(monkeypatch, 1)
    assert calls(log, "import") == [{"log_levels": levels or "*:WARN"}]


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


@pytest.mark.parametrize(("camera_id", "index"), [(None, 0), (MANY[1]["Id"], 1), ("1", 1)])
def test_a_network_is_handed_over_before_its_camera_is_opened(
    log: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    camera_id: str | None,
    index: int,
) -> None:
    model = tmp_path / "network.rpk"
    model.write_bytes(NETWORK)
    found = records(monkeypatch, 3, camera_id, str(model), cameras=MANY)
    assert [record.kind for record in found] == [Kind.FRAME] * 3, reason(found)
    made = {"network_file": str(model), "camera_id": MANY[index]["Id"]}
    assert calls(log, "IMX500") == [made]
    assert calls(log, "open") == [{"camera_num": index}]
    order = [json.loads(line)["call"] for line in log.read_text().splitlines()]
    assert order.index("IMX500") < order.index("open")
    assert "close the sensor's node" not in order


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "model is {}, which cannot be read: No such file or directory"),
        (b"", "the network {} cannot be given to the camera: unpack requires a buffer of 8 bytes"),
    ],
)
def test_a_network_that_is_none_is_said_with_its_path(
    log: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    content: bytes | None,
    expected: str,
) -> None:
    model = tmp_path / "network.rpk"
    if content is not None:
        model.write_bytes(content)
    found = records(monkeypatch, 1, None, str(model), cameras=MANY)
    assert reason(found) == expected.format(model)
    assert not calls(log, "open")


def test_without_a_network_any_camera_is_used_as_before(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records(monkeypatch, 1, MANY[2]["Id"], cameras=MANY)
    assert calls(log, "open") == [{"camera_num": 2}]
    assert not calls(log, "IMX500")


def test_a_camera_that_takes_no_network_is_said() -> None:
    assert find_imx500([MANY[2], MANY[0]], None) == 1
    usb = (
        "a model is set, and the camera /base/usb@1-1.2:1.0-32e4:9422 is no IMX500 but HP: Cam; "
        "leave model out, or connect an IMX500"
    )
    for cameras, camera_id in (([MANY[2]], None), (MANY, "2"), (MANY, MANY[2]["Id"])):
        with pytest.raises(CameraError) as caught:
            find_imx500(cameras, camera_id)
        assert str(caught.value) == usb
    with pytest.raises(CameraError, match="no camera found"):
        find_imx500([], None)


@pytest.mark.parametrize("camera_id", ["2", "vcam", "-1"])
def test_a_camera_that_is_not_there(camera_id: str) -> None:
    with pytest.raises(CameraError, match="connected are 0: vcam1, 1: vcam0"):
        find_camera(CAMERAS, camera_id)


@pytest.mark.parametrize(
    ("modes", "size", "fps", "chosen"),
    [
        (IMX708, (640, 480), 30, (2304, 1296)),
        (IMX708, (640, 480), 10, (2304, 1296)),
        (IMX708, (3840, 2160), 10, (4608, 2592)),
        (IMX708, (640, 480), 100, (1536, 864)),
        (IMX708, (3840, 2160), 30, None),
        (OV5647, (640, 480), 30, (640, 480)),
        (OV5647, (800, 600), 30, (1296, 972)),
        (OV5647, (1920, 1080), 15, (2592, 1944)),
    ],
)
def test_the_fullest_view_that_is_large_and_fast_enough_is_chosen(
    modes: list[dict[str, Any]],
    size: tuple[int, int],
    fps: int,
    chosen: tuple[int, int] | None,
) -> None:
    mode = full_view_mode(modes, size, fps)
    assert (mode and mode["size"]) == chosen
    assert full_view_mode([{"format": "YUYV"}], size, fps) is None


def test_bytes_behind_a_jpeg_are_cut_off() -> None:
    jpeg = b"\xff\xd8\xff\xe1EXIF\xff\xd9\xff\xdascan\xff\x00\xff\xd9"
    assert trim(jpeg + b"\0" * 100 + b"\xff\xd9") == jpeg
    assert trim(b"no end") == b"no end"
