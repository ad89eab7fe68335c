# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tools print: every vintage of it, and which of them are asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.rpi_camera.fleet.plugins.module_utils._listings import (
    BUSY_MARK,
    CAMERAS_MARK,
    LISTING,
    NO_BINDING,
    PYTHON,
    Answer,
    Question,
    ask_firmware,
    ask_libcamera,
    parse_cam,
    parse_camera_info,
    parse_firmware,
    parse_hello,
    parse_listing,
)
from ansible_collections.rpi_camera.fleet.plugins.module_utils._tools import (
    Outcome,
    ToolRun,
    run_tool,
)

IMX708 = "/base/soc/i2c0mux/i2c@1/imx708@1a"
IMX500 = "/base/axi/pcie@120000/rp1/i2c@88000/imx500@1a"
IMX219_MUX = "/base/soc/i2c0mux/i2c@1/pca@70/i2c@0/imx219@10"
USB = "/base/soc/usb@7e980000/usb1@1-1.2:1.0-32e4:9422"
ABSENT = ToolRun(Outcome.ABSENT, 0.0)
NO_PYTHON_BINDING = ToolRun(Outcome.EXITED, 0.1, NO_BINDING)


def said(stdout: str, stderr: str = "", status: int = 0) -> ToolRun:
    """Return the run of a tool that printed something."""
    return ToolRun(Outcome.EXITED, 0.1, status, stdout, stderr)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1: 'imx500-virtual' (Virtual0)", (0, "imx500-virtual", "Virtual0", None, "virtual")),
        ("2: Internal front camera (Virtual1)", (1, None, "Virtual1", "front", "virtual")),
        (
            "1: External camera 'HP Wide Vision FHD Camera: HP W'"
            r" (\_SB_.PCI0.XHC_.RHUB.HS05-5:1.0-0408:5251)",
            (
                0,
                "HP Wide Vision FHD Camera: HP W",
                r"\_SB_.PCI0.XHC_.RHUB.HS05-5:1.0-0408:5251",
                "external",
                "usb",
            ),
        ),
        (
            f"3: External camera 'Bob's \"best\" (cam): 2' ({USB})",
            (2, 'Bob\'s "best" (cam): 2', USB, "external", "usb"),
        ),
        (f"1: 'imx708_wide' ({IMX708})", (0, "imx708_wide", IMX708, None, "csi")),
        (
            "1: Internal back camera (/base/soc/i2c0mux/i2c@1/pca@70/i2c@0/imx219@10)",
            (0, None, "/base/soc/i2c0mux/i2c@1/pca@70/i2c@0/imx219@10", "back", "csi"),
        ),
        (
            "1: 'imx500' (/base/axi/pcie@120000/rp1/i2c@88000/imx500@1a)",
            (0, "imx500", "/base/axi/pcie@120000/rp1/i2c@88000/imx500@1a", None, "csi"),
        ),
        (
            "1: External camera 'vcam-bars' (vcam0)",
            (0, "vcam-bars", "vcam0", "external", "unknown"),
        ),
    ],
)
def test_a_line_of_cam(line: str, expected: tuple[object, ...]) -> None:
    log = "[0:00:01.234567890] [42] ERROR DmaBufAllocator dma_buf_allocator.cpp:120 Could not open"
    found = parse_cam(f"{log}\nAvailable cameras:\n{log}\n{line}\n")
    assert found is not None
    (camera,) = found
    values = (camera.number, camera.model, camera.id, camera.location, camera.bus)
    assert values == expected


def test_cam_without_cameras_and_cam_without_an_answer_differ() -> None:
    log = "[0:00:01.2] [42] ERROR DmaBufAllocator: Could not open any dma-buf provider\n"
    assert parse_cam(f"{log}{log}Available cameras:\n") == []
    assert parse_cam(log) is None
    assert parse_cam("") is None


HELLO = {
    "2024, Pi 5": (
        """Available cameras
-----------------
0 : imx500 [4056x3040 10-bit RGGB] (/base/axi/pcie@120000/rp1/i2c@88000/imx500@1a)
    Modes: 'SRGGB10_CSI2P' : 2028x1520 [30.02 fps - (0, 0)/4056x3040 crop]
                             4056x3040 [10.00 fps - (0, 0)/4056x3040 crop]
""",
        [("imx500", IMX500, "csi", "imx500")],
    ),
    "2023": (
        """Available cameras
-----------------
0 : imx708_wide [4608x2592] (/base/soc/i2c0mux/i2c@1/imx708@1a)
    Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]
""",
        [("imx708_wide", IMX708, "csi", "imx708")],
    ),
    "July 2022, two cameras": (
        """Available cameras
-----------------
0 : imx477 [4056x3040] (/base/soc/i2c0mux/i2c@1/imx477@1a)
    Modes: 'SRGGB10_CSI2P' : 1332x990 (120.00 fps)
           'SRGGB12_CSI2P' : 2028x1080 (50.03 fps) 2028x1520 (40.01 fps)

1 : imx219 [3280x2464] (/base/soc/i2c0mux/i2c@0/imx219@10)
    Modes: 'SRGGB10_CSI2P' : 640x480 (206.65 fps)
""",
        [
            ("imx477", "/base/soc/i2c0mux/i2c@1/imx477@1a", "csi", "imx477"),
            ("imx219", "/base/soc/i2c0mux/i2c@0/imx219@10", "csi", "imx219"),
        ],
    ),
    "2021": (
        """Available cameras
-----------------
0 : imx219 [3280x2464] (/base/soc/i2c0mux/i2c@1/imx219@10)
    Modes: 'SRGGB10_CSI2P' : 640x480 1640x1232 1920x1080 3280x2464
""",
        [("imx219", "/base/soc/i2c0mux/i2c@1/imx219@10", "csi", "imx219")],
    ),
    "a multiplexer": (
        """Available cameras
-----------------
0 : imx219 [3280x2464] (/base/soc/i2c0mux/i2c@1/pca@70/i2c@0/imx219@10)
""",
        [("imx219", IMX219_MUX, "csi", "imx219")],
    ),
    "a colon in the model": (
        """[0:26:30.9] [1234]  INFO Camera camera_manager.cpp:299 libcamera v0.0.1
Available cameras
-----------------
0 : imx708_wide [4608x2592] (/base/soc/i2c0mux/i2c@1/imx708@1a)
1 : H264 USB Camera: USB Camera [1920x1080] (/base/soc/usb@7e980000/usb1@1-1.2:1.0-32e4:9422)
    Modes: 'MJPEG' : 320x240 [30.00 fps - (0, 0)/0x0 crop]
""",
        [
            ("imx708_wide", IMX708, "csi", "imx708"),
            ("H264 USB Camera: USB Camera", USB, "usb", None),
        ],
    ),
    "none": ("No cameras available!\n", []),
}


@pytest.mark.parametrize(("text", "expected"), HELLO.values(), ids=HELLO)
def test_rpicam_hello(text: str, expected: list[tuple[object, ...]]) -> None:
    found = parse_hello(text)
    assert found is not None
    assert [(c.model, c.id, c.bus, c.sensor) for c in found] == expected
    assert {camera.number for camera in found} <= {None}


@pytest.mark.parametrize("text", ["", "ERROR: *** failed to acquire camera ***\n"])
def test_rpicam_hello_without_a_list(text: str) -> None:
    assert parse_hello(text) is None


@pytest.mark.parametrize(
    ("text", "legacy"),
    [
        ("supported=1 detected=0", False),
        ("supported=1 detected=1", True),
        ("supported=1 detected=1, libcamera interfaces=0", True),
        ("supported=0 detected=0, libcamera interfaces=0", False),
        ("supported=0 detected=0, libcamera interfaces=1", False),
        ("VCHI initialization failed", None),
        ("", None),
    ],
)
def test_vcgencmd(text: str, legacy: bool | None) -> None:
    assert parse_firmware(text) is legacy


def test_what_the_firmware_says_has_no_great_weight() -> None:
    def run(_arguments: Sequence[str], _timeout: float, _more: Mapping[str, str]) -> ToolRun:
        return said("supported=0 detected=0, libcamera interfaces=0\n")

    source, legacy = ask_firmware(run, 5)
    assert (source.available, legacy) == (True, False)
    assert source.detail.endswith("which says nothing about cameras that libcamera uses.")


def test_picamera2_s_list() -> None:
    sample = [
        {
            "Model": "imx519",
            "Location": 2,
            "Rotation": 0,
            "Id": "/base/soc/i2c0mux/i2c@1/imx519@1a",
            "Num": 0,
        },
        {"Model": "vcam-bars", "Location": 1, "Id": "Virtual0", "Num": 1},
    ]
    found = parse_camera_info("libcamera", sample)
    values = [(c.number, c.model, c.sensor, c.bus, c.location, c.rotation) for c in found]
    assert values == [
        (0, "imx519", "imx519", "csi", "external", 0),
        (1, "vcam-bars", None, "virtual", "back", None),
    ]


def test_the_binding_s_answer_stands_between_log_lines() -> None:
    log = "[0:01:02] [7]  INFO Camera log\n\n"
    answer = json.dumps([{"Id": IMX708, "Num": 0, "SystemDevices": [20736]}])
    found = parse_listing(f"{log}{CAMERAS_MARK}{answer}\n[0:01:03] [7] INFO later\n")
    assert found is not None
    assert [(c.number, c.id, c.devices) for c in found] == [(0, IMX708, frozenset({20736}))]


@pytest.mark.parametrize("text", ["", "nothing marked\n[]\n", f"{CAMERAS_MARK}[{{\n"])
def test_no_answer_of_the_binding(text: str) -> None:
    assert parse_listing(text) is None


CAM = "Available cameras:\n1: 'imx708_wide' (/base/soc/i2c0mux/i2c@1/imx708@1a)\n"
ONE_HELLO = HELLO["2023"][0]


def ask(question: Question, **tools: ToolRun) -> tuple[Answer, list[str]]:
    """Ask libcamera on a host that has some tools; return the answer, and who was asked."""
    asked = []

    def run(arguments: Sequence[str], _timeout: float, _more: Mapping[str, str]) -> ToolRun:
        name = "binding" if arguments[0] == PYTHON else arguments[0].replace("-", "_")
        asked.append(name)
        return tools.get(name, NO_PYTHON_BINDING if name == "binding" else ABSENT)

    return ask_libcamera(run, 5, question), asked


@pytest.mark.parametrize(
    ("acquiring", "tools", "asked", "listed"),
    [
        (True, {"binding": said(f"{CAMERAS_MARK}[]")}, ["binding"], 0),
        (True, {"cam": said(CAM)}, ["binding", "cam"], 1),
        (False, {"rpicam_hello": said(ONE_HELLO)}, ["binding", "cam"], None),
        (True, {"rpicam_hello": said(ONE_HELLO)}, ["binding", "cam", "rpicam_hello"], 1),
        (
            True,
            {"libcamera_hello": said("", "No cameras available!\n")},
            ["binding", "cam", "rpicam_hello", "libcamera_hello"],
            0,
        ),
        (True, {}, ["binding", "cam", "rpicam_hello", "libcamera_hello"], None),
    ],
)
def test_who_is_asked(
    acquiring: bool, tools: dict[str, ToolRun], asked: list[str], listed: int | None
) -> None:
    answer, who = ask(Question(acquiring=acquiring), **tools)
    assert who == asked
    assert (None if answer.sightings is None else len(answer.sightings)) == listed
    assert answer.missing is (listed is None)


@pytest.mark.parametrize("how", ["hangs", "fails"])
@pytest.mark.parametrize("tool", ["binding", "cam", "rpicam_hello"])
def test_nobody_is_asked_after_one_that_hangs_or_fails(tool: str, how: str) -> None:
    broken = ToolRun(Outcome.HUNG, 5.0) if how == "hangs" else said("", "Oops\n", 1)
    answer, who = ask(Question(acquiring=True), **{tool: broken})
    assert who[-1] == tool
    assert answer.sightings is None
    assert answer.hung is (how == "hangs")
    assert answer.unasked is not None
    reason = "did not answer within 5.0 s" if how == "hangs" else "ended with status 1: Oops"
    assert reason in answer.unasked


def test_what_was_said_before_a_hang_counts() -> None:
    run = ToolRun(Outcome.HUNG, 5.0, 0, f'{CAMERAS_MARK}[{{"Id": "vcam0", "Num": 0}}]\n')
    answer, _who = ask(Question(("vcam0",)), binding=run)
    assert answer.sightings is not None
    assert (answer.sources[0].available, answer.busy) == (True, {})
    assert "did not answer within 5.0 s" in answer.sources[0].detail


def test_the_binding_is_told_which_cameras_it_may_try() -> None:
    arguments: list[Sequence[str]] = []

    def run(command: Sequence[str], _timeout: float, _more: Mapping[str, str]) -> ToolRun:
        arguments.append(command)
        return said(f'{CAMERAS_MARK}[]\n{BUSY_MARK}{{"vcam1": true}}\n')

    answer = ask_libcamera(run, 5, Question(("vcam1",)))
    assert arguments == [(PYTHON, "-IB", "-c", LISTING, "vcam1")]
    assert answer.busy == {"vcam1": True}


FAKE_BINDING = """
class Key:
    def __init__(self, name): self.name = name
class Camera:
    def __init__(self, id, acquire, **values):
        self.id = id
        self.acquire = acquire
        self.properties = {Key(name): value for name, value in values.items()}
    def release(self): print("released", self.id)
def busy(): raise RuntimeError("Failed to acquire camera: Device or resource busy")
def broken(): raise RuntimeError("Failed to acquire camera: No such device")
def free(): print("acquired")
class CameraManager:
    @staticmethod
    def singleton():
        print("[0:01:02] [7] INFO to the same output", end="")
        return CameraManager()
    cameras = [
        Camera("/base/imx708@1a", busy, Model="imx708_wide", Location=2, Rotation=180,
               SystemDevices=(20736, 20737), Other=[1]),
        Camera("busy", busy, Model="vcam-bars", Location=1),
        Camera("busy of old", lambda: -16),
        Camera("broken", broken),
        Camera("free", free),
        Camera("free of old", lambda: 0),
    ]
"""


def fake_binding(tmp_path: Path, text: str, *names: str) -> ToolRun:
    """Run the binding's program with a binding of our own."""
    (tmp_path / "libcamera.py").write_text(text)
    return run_tool(("python3", "-c", LISTING, *names), 20, {"PYTHONPATH": str(tmp_path)})


def test_the_program_lists_what_the_binding_has(tmp_path: Path) -> None:
    run = fake_binding(tmp_path, FAKE_BINDING)
    found = parse_listing(run.stdout)
    assert found is not None, run.stderr
    first, second, *_more = [
        (c.id, c.number, c.model, c.location, c.rotation, c.devices) for c in found
    ]
    assert first == (
        "/base/imx708@1a",
        0,
        "imx708_wide",
        "external",
        180,
        frozenset({20736, 20737}),
    )
    assert second == ("busy", 1, "vcam-bars", "back", None, frozenset())


def test_the_program_acquires_nothing_that_it_is_not_told_to(tmp_path: Path) -> None:
    assert "acquired" not in fake_binding(tmp_path, FAKE_BINDING).stdout


def test_the_program_tries_what_it_is_told_to_and_releases_it(tmp_path: Path) -> None:
    names = ("busy", "busy of old", "broken", "free", "free of old", "gone")
    run = fake_binding(tmp_path, FAKE_BINDING, *names)
    (line,) = [line for line in run.stdout.splitlines() if line.startswith(BUSY_MARK)]
    tried: dict[str, Any] = json.loads(line.removeprefix(BUSY_MARK))
    assert tried == {"busy": True, "busy of old": True, "free": False, "free of old": False}
    released = [line for line in run.stdout.splitlines() if line.startswith("released")]
    assert released == ["released free", "released free of old"]


def test_the_program_says_that_the_binding_is_absent(tmp_path: Path) -> None:
    run = fake_binding(tmp_path, "raise ModuleNotFoundError('libcamera')")
    assert run.status == NO_BINDING
