# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras out of what a device shows: samples of real tools, fake file systems."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.rpi_camera.fleet.plugins.module_utils._cameras import (
    ADVICE_LIBCAMERA,
    ADVICE_NONE_SEEN,
    ADVICE_VIRTUAL,
    LISTING,
    MARK,
    NO_BINDING,
    PYTHON,
    inspect,
    parse_cam,
    parse_listing,
    parse_virtual,
    picamera2_order,
    read_sysfs,
    read_virtual,
)
from ansible_collections.rpi_camera.fleet.plugins.module_utils._tools import (
    Outcome,
    ToolRun,
    run_tool,
)
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import Device

IMX708 = "/base/soc/i2c0mux/i2c@1/imx708@1a"
USB = "/base/soc/usb@7e980000/usb1@1-1.2:1.0-32e4:9422"
ABSENT = ToolRun(Outcome.ABSENT, 0.0)
NO_PYTHON_BINDING = ToolRun(Outcome.EXITED, 0.1, NO_BINDING)


def listing(*cameras: tuple[str, str | None, int | None, int | None]) -> ToolRun:
    """Return the run of the binding's program for (id, model, location, rotation)."""
    names = ("id", "model", "location", "rotation")
    answer = json.dumps([dict(zip(names, camera, strict=True)) for camera in cameras])
    return ToolRun(Outcome.EXITED, 0.4, 0, f"[0:01:02] [7]  INFO Camera log\n\n{MARK}{answer}\n")


def ask(device: Device, binding: ToolRun, cam: ToolRun = ABSENT) -> dict[str, Any]:
    """Inspect a device whose tools answer as given."""

    def run(arguments: Sequence[str], _timeout: float, _environment: Mapping[str, str]) -> ToolRun:
        return binding if arguments[0] == PYTHON else cam

    return inspect(device.root, run, 5)


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


def test_the_binding_s_answer_stands_between_log_lines() -> None:
    run = listing((IMX708, "imx708_wide", 2, 180), ("vcam0", "vcam-bars", None, None))
    found = parse_listing(run.stdout + "[0:01:03] [7] INFO later\n")
    assert found is not None
    assert [(c.number, c.id, c.model, c.location, c.rotation) for c in found] == [
        (0, IMX708, "imx708_wide", "external", 180),
        (1, "vcam0", "vcam-bars", None, None),
    ]


@pytest.mark.parametrize("text", ["", "nothing marked\n[]\n", f"{MARK}[{{\n"])
def test_no_answer_of_the_binding(text: str) -> None:
    assert parse_listing(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("%YAML 1.1\n---\n", []),
        ('"vcam0":\n  model: "vcam-bars"\n', [("vcam0", "vcam-bars")]),
        (
            '%YAML 1.1\n---\n# "old": a remark\n"vcam0":\n  supported_formats:\n  - width: 640\n'
            '  test_pattern: "bars"\n  model: "vcam: bars"\n"vcam1":\n  location: "x"\n',
            [("vcam0", "vcam: bars"), ("vcam1", None)],
        ),
        (
            "'one':\n  model: 'the one'\ntwo :\n  model: plain # why\n",
            [("one", "the one"), ("two", "plain")],
        ),
    ],
)
def test_virtual_configuration(text: str, expected: list[tuple[str, str | None]]) -> None:
    assert parse_virtual(text) == expected


def test_the_administrator_s_virtual_configuration_hides_the_shipped_one(device: Device) -> None:
    device.write("usr/share/libcamera/pipeline/virtual/virtual.yaml", '"shipped":\n')
    assert [c.id for c in read_virtual(device.root)[1]] == ["shipped"]
    device.write("etc/libcamera/pipeline/virtual/virtual.yaml", '"own":\n')
    assert [c.id for c in read_virtual(device.root)[1]] == ["own"]


def test_picamera2_counts_downwards_by_name_and_usb_last() -> None:
    assert picamera2_order(["vcam0", USB, "vcam1"]) == ["vcam1", "vcam0", USB]


@pytest.mark.parametrize(
    ("name", "driver", "model"),
    [
        ("imx219 10-0010", "imx219", "imx219"),
        ("imx708_wide", "imx708", "imx708_wide"),
        ("imx477 10-001a", "imx477", "imx477"),
        ("ov5647 10-0036", "ov5647", "ov5647"),
        ("imx500", "imx500", "imx500"),
    ],
)
def test_a_sensor_in_sysfs(device: Device, name: str, driver: str, model: str) -> None:
    device.subdevice(0, "unicam-subdev", "fe801000.csi", "unicam")
    device.subdevice(1, name, "10-001a", driver)
    device.subdevice(2, "dw9807 10-000c", "10-000c", "dw9807-vcm")
    source, found = read_sysfs(device.root)
    assert [(camera.bus, camera.model) for camera in found] == [("csi", model)]
    assert f"driver {driver}" in found[0].evidence.detail
    assert source.available


def test_a_sensor_is_named_by_its_node_in_the_device_tree(device: Device) -> None:
    device.subdevice(0, "imx708_wide", "10-001a", "imx708", node=IMX708)
    assert [camera.id for camera in read_sysfs(device.root)[1]] == [IMX708]


@pytest.mark.parametrize(
    ("name", "driver"), [("unicam-image", "unicam"), ("rp1-cfe-csi2_ch0", "rp1-cfe")]
)
def test_a_receiver_is_said_but_is_no_camera(device: Device, name: str, driver: str) -> None:
    device.video(0, name, driver)
    device.video(10, "bcm2835-codec-decode", "bcm2835-codec")
    source, found = read_sysfs(device.root)
    assert found == []
    assert f"receiver {driver} (video0)" in source.detail


def test_a_usb_camera_in_sysfs_is_one_camera(device: Device) -> None:
    device.usb_camera(0, "H264 USB Camera: USB Camera", "1-1.2", ("32e4", "9422"))
    _source, found = read_sysfs(device.root)
    assert [(camera.bus, camera.model) for camera in found] == [
        ("usb", "H264 USB Camera: USB Camera")
    ]
    assert found[0].id == "/dev/v4l/by-path/platform-usb-0:1.2:1.0-video-index0"


def test_a_usb_camera_that_only_dev_shows(device: Device) -> None:
    device.link("dev/v4l/by-path/platform-usb-0:1.2:1.0-video-index0", "dev/video0")
    device.link("dev/v4l/by-path/platform-usbv2-0:1.2:1.0-video-index0", "dev/video0")
    device.link("dev/v4l/by-path/platform-usb-0:1.2:1.0-video-index1", "dev/video1")
    source, found = read_sysfs(device.root)
    assert source.available
    assert [camera.bus for camera in found] == ["usb"]


def test_sysfs_without_the_driver_s_links_takes_the_name(device: Device) -> None:
    device.write("sys/class/video4linux/v4l-subdev0/name", "imx219 10-0010\n")
    assert [camera.model for camera in read_sysfs(device.root)[1]] == ["imx219"]


def test_one_camera_seen_by_kernel_and_libcamera_is_one(device: Device) -> None:
    device.subdevice(0, "imx708_wide", "10-001a", "imx708")
    device.usb_camera(0, "H264 USB Camera: USB Camera", "1-1.2", ("32e4", "9422"))
    device.write("etc/libcamera/pipeline/virtual/virtual.yaml", '"vcam0":\n  model: "bars"\n')
    result = ask(
        device,
        listing(
            (USB, "H264 USB Camera: USB Camera", 2, None),
            (IMX708, "imx708_wide", 2, 180),
            ("vcam0", "bars", 2, None),
        ),
    )
    assert [
        (c["id"], c["bus"], c["index"], c["number"], c["usable"], c["reason"])
        for c in result["cameras"]
    ] == [
        ("vcam0", "virtual", 0, 2, True, None),
        (IMX708, "csi", 1, 1, True, None),
        (USB, "usb", 2, 0, True, None),
    ]
    assert [[e["source"] for e in c["evidence"]] for c in result["cameras"]] == [
        ["virtual", "libcamera"],
        ["sysfs", "libcamera"],
        ["sysfs", "libcamera"],
    ]
    assert (result["present"], result["usable"], result["reason"]) == (True, True, None)
    assert result["advice"] == []


def test_two_sensors_of_one_kind_stay_two(device: Device) -> None:
    nodes = ("/base/axi/rp1/i2c@88000/imx708@1a", "/base/axi/rp1/i2c@80000/imx708@1a")
    for number, node in enumerate(nodes):
        device.subdevice(number, "imx708_wide", f"{10 + number}-001a", "imx708", node=node)
    result = ask(device, listing((nodes[1], "imx708_wide", None, None)))
    assert [(c["id"], c["usable"]) for c in result["cameras"]] == [
        (nodes[1], True),
        (nodes[0], False),
    ]


def test_a_usb_camera_named_by_acpi_is_matched(device: Device) -> None:
    device.usb_camera(0, "HP Wide Vision FHD Camera: HP W", "1-5", ("0408", "5251"))
    name = r"\_SB_.PCI0.XHC_.RHUB.HS05-5:1.0-0408:5251"
    result = ask(device, listing((name, "HP Wide Vision FHD Camera: HP W", 0, None)))
    assert [(c["id"], c["location"]) for c in result["cameras"]] == [(name, "front")]


def test_a_camera_that_libcamera_does_not_list_is_not_usable(device: Device) -> None:
    device.subdevice(0, "imx219 10-0010", "10-0010", "imx219")
    result = ask(device, listing())
    (camera,) = result["cameras"]
    assert (camera["detected"], camera["usable"]) == (True, False)
    assert "libcamera does not list it" in camera["reason"]
    assert (result["present"], result["usable"]) == (True, False)
    assert result["reason"] == "1 camera detected, but libcamera lists none."


def test_virtual_cameras_before_libcamera_can_be_asked(device: Device) -> None:
    device.write("usr/share/libcamera/pipeline/virtual/virtual.yaml", '"a":\n"b":\n')
    result = ask(device, NO_PYTHON_BINDING)
    assert [(c["id"], c["detected"], c["usable"]) for c in result["cameras"]] == [
        ("a", True, None),
        ("b", True, None),
    ]
    assert (result["present"], result["usable"]) == (True, None)
    assert "python3-libcamera is not installed" in result["reason"]
    assert result["advice"] == [ADVICE_LIBCAMERA]


def test_virtual_cameras_that_libcamera_does_not_offer_are_not_there(device: Device) -> None:
    device.write("usr/share/libcamera/pipeline/virtual/virtual.yaml", '"a":\n')
    result = ask(device, listing())
    (camera,) = result["cameras"]
    assert (camera["detected"], camera["usable"]) == (False, False)
    assert result["present"] is False
    assert result["advice"][-1] == ADVICE_VIRTUAL


def test_a_device_without_anything(device: Device) -> None:
    result = ask(device, ABSENT)
    assert (result["present"], result["usable"], result["cameras"]) == (False, False, [])
    assert [source["name"] for source in result["sources"]] == [
        "sysfs",
        "virtual",
        "libcamera",
        "cam",
    ]
    assert not any(source["available"] for source in result["sources"])
    assert result["advice"] == [*ADVICE_NONE_SEEN, ADVICE_LIBCAMERA]
    assert "camera_auto_detect=1" in " ".join(result["advice"])


def test_libcamera_lists_none(device: Device) -> None:
    result = ask(device, listing())
    assert result["reason"].endswith("libcamera lists none.")
    assert result["advice"] == list(ADVICE_NONE_SEEN)


def test_cam_is_asked_where_the_binding_is_absent(device: Device) -> None:
    cam = ToolRun(Outcome.EXITED, 0.2, 0, f"Available cameras:\n1: 'imx708' ({IMX708})\n")
    result = ask(device, NO_PYTHON_BINDING, cam)
    assert [(c["id"], c["usable"]) for c in result["cameras"]] == [(IMX708, True)]
    sources = {source["name"]: source["available"] for source in result["sources"]}
    assert sources["libcamera"] is False
    assert sources["cam"] is True


def test_cam_is_not_asked_where_the_binding_fails(device: Device) -> None:
    broken = ToolRun(
        Outcome.EXITED, 0.2, 1, "", "Traceback …\nRuntimeError: Failed to start CameraManager\n"
    )
    result = ask(device, broken, ToolRun(Outcome.EXITED, 0.1, 0, "Available cameras:\n"))
    assert [source["name"] for source in result["sources"]][-1] == "libcamera"
    assert "Failed to start CameraManager" in result["sources"][-1]["detail"]
    assert result["present"] is False


def test_a_hung_binding_is_said(device: Device) -> None:
    device.subdevice(0, "imx219 10-0010", "10-0010", "imx219")
    result = ask(device, ToolRun(Outcome.HUNG, 5.0))
    assert (result["present"], result["usable"]) == (True, None)
    assert "did not answer within 5.0 s" in result["cameras"][0]["reason"]


FAKE_BINDING = """
class Key:
    def __init__(self, name): self.name = name
class Camera:
    def __init__(self, id, **values):
        self.id = id
        self.properties = {Key(name): value for name, value in values.items()}
class CameraManager:
    @staticmethod
    def singleton():
        print("[0:01:02] [7] INFO to the same output", end="")
        return CameraManager()
    cameras = [Camera("/base/imx708@1a", Model="imx708_wide", Location=2, Rotation=180, Other=[1]),
               Camera("vcam0", Model="vcam-bars", Location=1)]
"""


def test_the_program_lists_what_the_binding_has(tmp_path: Path) -> None:
    (tmp_path / "libcamera.py").write_text(FAKE_BINDING)
    run = run_tool(("python3", "-c", LISTING), 20, {"PYTHONPATH": str(tmp_path)})
    found = parse_listing(run.stdout)
    assert found is not None, run.stderr
    assert [(c.id, c.model, c.location, c.rotation) for c in found] == [
        ("/base/imx708@1a", "imx708_wide", "external", 180),
        ("vcam0", "vcam-bars", "back", None),
    ]


def test_the_program_says_that_the_binding_is_absent(tmp_path: Path) -> None:
    (tmp_path / "libcamera.py").write_text("raise ModuleNotFoundError('libcamera')")
    run = run_tool(("python3", "-c", LISTING), 20, {"PYTHONPATH": str(tmp_path)})
    assert run.status == NO_BINDING
