# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras out of what a device shows and what its tools say."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.rpi_camera.fleet.plugins.module_utils import _holders
from ansible_collections.rpi_camera.fleet.plugins.module_utils._cameras import (
    ADVICE_CABLE,
    ADVICE_CONFIG,
    ADVICE_HUNG,
    ADVICE_LEGACY,
    ADVICE_LIBCAMERA,
    ADVICE_USB,
    ADVICE_VIRTUAL,
    CSI_IN_USE,
    inspect,
    parse_virtual,
    picamera2_order,
    read_virtual,
)
from ansible_collections.rpi_camera.fleet.plugins.module_utils._listings import (
    BUSY_MARK,
    CAMERAS_MARK,
    LISTING,
    NO_BINDING,
    PYTHON,
)
from ansible_collections.rpi_camera.fleet.plugins.module_utils._tools import Outcome, ToolRun
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import Device

IMX708 = "/base/soc/i2c0mux/i2c@1/imx708@1a"
USB = "/base/soc/usb@7e980000/usb1@1-1.2:1.0-32e4:9422"
ABSENT = ToolRun(Outcome.ABSENT, 0.0)
NO_PYTHON_BINDING = ToolRun(Outcome.EXITED, 0.1, NO_BINDING)
VIRTUAL = "usr/share/libcamera/pipeline/virtual/virtual.yaml"
CONFIG = "boot/firmware/config.txt"
LIBCAMERA = "/usr/lib/aarch64-linux-gnu/libcamera.so.0.4.0"
ADVICE_NONE_SEEN = [*ADVICE_CABLE, ADVICE_CONFIG, ADVICE_USB]


def record(camera: str, model: str | None = None, **values: Any) -> dict[str, Any]:
    """Return a camera as the binding's program lists it."""
    return {"Id": camera, **({} if model is None else {"Model": model}), **values}


def listing(*cameras: dict[str, Any], busy: dict[str, bool] | None = None) -> ToolRun:
    """Return the run of the binding's program that lists cameras in libcamera's order."""
    answer = json.dumps([{**camera, "Num": number} for number, camera in enumerate(cameras)])
    text = f"{CAMERAS_MARK}{answer}\n\n{BUSY_MARK}{json.dumps(busy or {})}\n"
    return ToolRun(Outcome.EXITED, 0.4, 0, text)


def ask(
    device: Device, binding: ToolRun, asked: list[Sequence[str]] | None = None, **tools: ToolRun
) -> dict[str, Any]:
    """Inspect a device whose tools answer as given; *asked* gets the commands."""

    def run(arguments: Sequence[str], _timeout: float, _environment: Mapping[str, str]) -> ToolRun:
        if asked is not None:
            asked.append(arguments)
        if arguments[0] == PYTHON:
            return binding
        return tools.get(arguments[0].replace("-", "_"), ABSENT)

    return inspect(device.root, run, 5)


def advice(*steps: str) -> list[str]:
    """Return the advice of a device on which nothing is seen, with its own steps at the end."""
    return [*ADVICE_NONE_SEEN, *steps]


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


def test_one_camera_seen_by_kernel_and_libcamera_is_one(device: Device) -> None:
    device.subdevice(0, "imx708_wide", "10-001a", "imx708")
    device.usb_camera(0, "H264 USB Camera: USB Camera", "1-1.2", ("32e4", "9422"))
    device.write("etc/libcamera/pipeline/virtual/virtual.yaml", '"vcam0":\n  model: "bars"\n')
    result = ask(
        device,
        listing(
            record(USB, "H264 USB Camera: USB Camera", Location=2),
            record(IMX708, "imx708_wide", Location=2, Rotation=180),
            record("vcam0", "bars", Location=2),
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
    result = ask(device, listing(record(nodes[1], "imx708_wide")))
    assert [(c["id"], c["usable"]) for c in result["cameras"]] == [
        (nodes[1], True),
        (nodes[0], False),
    ]


def test_a_usb_camera_named_by_acpi_is_matched(device: Device) -> None:
    device.usb_camera(0, "HP Wide Vision FHD Camera: HP W", "1-5", ("0408", "5251"))
    name = r"\_SB_.PCI0.XHC_.RHUB.HS05-5:1.0-0408:5251"
    result = ask(device, listing(record(name, "HP Wide Vision FHD Camera: HP W", Location=0)))
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
    device.write(VIRTUAL, '"a":\n"b":\n')
    result = ask(device, NO_PYTHON_BINDING)
    assert [(c["id"], c["detected"], c["usable"]) for c in result["cameras"]] == [
        ("a", True, None),
        ("b", True, None),
    ]
    assert (result["present"], result["usable"]) == (True, None)
    assert "python3-libcamera is not installed" in result["reason"]
    assert result["advice"] == [ADVICE_LIBCAMERA]


def test_virtual_cameras_that_libcamera_does_not_offer_are_not_there(device: Device) -> None:
    device.write(VIRTUAL, '"a":\n')
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
        "config",
        "virtual",
        "processes",
        "libcamera",
        "cam",
        "rpicam-hello",
        "vcgencmd",
    ]
    assert not any(
        source["available"] for source in result["sources"] if source["name"] != "processes"
    )
    assert result["advice"] == advice(ADVICE_LIBCAMERA)
    assert "camera_auto_detect=1" in " ".join(result["advice"])


def test_libcamera_lists_none(device: Device) -> None:
    result = ask(device, listing())
    assert result["reason"].endswith("libcamera lists none.")
    assert result["advice"] == advice()


def test_cam_s_answer_counts_where_the_binding_is_absent(device: Device) -> None:
    cam = ToolRun(Outcome.EXITED, 0.2, 0, f"Available cameras:\n1: 'imx708' ({IMX708})\n")
    result = ask(device, NO_PYTHON_BINDING, cam=cam)
    assert [(c["id"], c["sensor"], c["usable"]) for c in result["cameras"]] == [
        (IMX708, "imx708", True)
    ]
    sources = {source["name"]: source["available"] for source in result["sources"]}
    assert sources["libcamera"] is False
    assert sources["cam"] is True


def test_a_hung_binding_is_said(device: Device) -> None:
    device.subdevice(0, "imx219 10-0010", "10-0010", "imx219")
    result = ask(device, ToolRun(Outcome.HUNG, 5.0))
    assert (result["present"], result["usable"]) == (True, None)
    assert "did not answer within 5.0 s" in result["cameras"][0]["reason"]
    assert result["advice"] == [ADVICE_HUNG]


def csi(device: Device) -> None:
    """Put one imx708 on a receiver with the nodes video0 and media0."""
    device.subdevice(1, "imx708_wide", "10-001a", "imx708", node=IMX708)
    device.receiver(0, "unicam")


def test_a_csi_camera_that_nobody_has_open_is_free(device: Device) -> None:
    csi(device)
    device.lock()
    (camera,) = ask(device, listing(record(IMX708, "imx708_wide")))["cameras"]
    assert (camera["usable"], camera["busy"], camera["holders"]) == (True, False, [])


def test_a_csi_camera_that_is_merely_open_is_free_too(device: Device) -> None:
    csi(device)
    device.lock()
    device.process(9, "wireplumber", "media0", "video0")
    result = ask(device, listing(record(IMX708, "imx708_wide")))
    (camera,) = result["cameras"]
    assert (camera["usable"], camera["busy"], camera["reason"]) == (True, False, None)
    assert camera["holders"] == [
        {"pid": 9, "command": "wireplumber", "unit": None, "exclusive": False}
    ]
    assert result["reason"] is None


@pytest.mark.parametrize("visible", [True, False], ids=["seen in /proc", "seen in the locks only"])
def test_a_csi_camera_in_use_is_busy_and_libcamera_is_not_asked(
    device: Device, visible: bool
) -> None:
    csi(device)
    device.process(812, "rpicam-vid", *(["media0", "video0"] if visible else []))
    device.lock((812, "media0"))
    asked: list[Sequence[str]] = []
    result = ask(device, listing(), asked)
    assert asked == []
    (camera,) = result["cameras"]
    assert (camera["id"], camera["usable"], camera["busy"]) == (IMX708, True, True)
    assert camera["reason"] == "In use by rpicam-vid (pid 812)."
    assert camera["holders"] == [
        {"pid": 812, "command": "rpicam-vid", "unit": None, "exclusive": True}
    ]
    assert "hunter2" not in json.dumps(result)
    assert (result["present"], result["usable"]) == (True, True)
    assert result["reason"] == "The camera is in use by rpicam-vid (pid 812)."
    assert result["advice"] == [
        "Only one program at a time can have a camera: end the one that has it."
    ]
    assert {s["name"]: s["detail"] for s in result["sources"]}["libcamera"] == CSI_IN_USE


def test_a_camera_of_a_container_is_in_use_by_the_lock_of_its_process(device: Device) -> None:
    csi(device)
    device.lock()
    device.process(812, "python3", "media0", locked="media0", cgroup="0::/system.slice/app.service")
    result = ask(device, listing())
    assert result["cameras"][0]["busy"] is True
    assert result["advice"][0].endswith("(sudo systemctl stop app.service).")


def test_a_second_camera_that_is_free_stays_usable_unknown_to_libcamera(device: Device) -> None:
    for number, port in enumerate(("i2c@1/imx708@1a", "i2c@2/imx219@10")):
        place = f"{10 + number}-00{port[-2:]}"
        device.subdevice(5 + number, port[6:12], place, port[6:12], node=f"/base/{port}")
        device.receiver(number, "rp1-cfe", node=f"/base/csi@{number}")
        device.endpoint(f"/base/{port}", 10 + number, 20 + number)
        device.endpoint(f"/base/csi@{number}", 20 + number, 10 + number)
    device.lock((812, "media1"))
    result = ask(device, listing())
    cameras = {c["sensor"]: (c["busy"], c["usable"], c["reason"]) for c in result["cameras"]}
    assert cameras["imx708"] == (False, None, CSI_IN_USE)
    assert cameras["imx219"] == (True, True, "In use by a program (pid 812).")


def test_of_two_receivers_that_may_be_meant_one_in_use_leaves_it_open(device: Device) -> None:
    device.subdevice(1, "imx708", "10-001a", "imx708", node=IMX708)
    device.receiver(0, "rp1-cfe")
    device.receiver(1, "rp1-cfe")
    device.lock((812, "media1"))
    assert [camera["busy"] for camera in ask(device, listing())["cameras"]] == [None]
    device.lock()
    assert [camera["busy"] for camera in ask(device, listing())["cameras"]] == [False]


def test_libcamera_tells_which_receiver_a_camera_hangs_on(device: Device) -> None:
    device.subdevice(1, "imx708", "10-001a", "imx708", node=IMX708)
    device.receiver(0, "rp1-cfe")
    device.receiver(1, "rp1-cfe")
    device.lock()
    device.process(9, "wireplumber", "media0")
    cameras = [record(IMX708, SystemDevices=[os.makedev(81, number)]) for number in (0, 1)]
    holders = [
        [holder["pid"] for holder in ask(device, listing(camera))["cameras"][0]["holders"]]
        for camera in cameras
    ]
    assert holders == [[9], []]


def mapped(device: Device) -> None:
    """Have a program stream from video0 by V4L2."""
    device.process(812, "ustreamer", "video0", mapped="/dev/video0")


def opened(device: Device) -> None:
    """Have a program look at video0."""
    device.process(812, "ustreamer", "video0")


@pytest.mark.parametrize(
    ("use", "busy", "reason"),
    [
        (mapped, True, "In use by ustreamer (pid 812)."),
        (opened, False, None),
    ],
)
def test_a_usb_camera_in_use_without_libcamera(
    device: Device, use: Callable[[Device], None], busy: bool, reason: str | None
) -> None:
    device.usb_camera(0, "H264 USB Camera: USB Camera", "1-1.2", ("32e4", "9422"))
    device.lock()
    use(device)
    (camera,) = ask(device, listing(record(USB, "H264 USB Camera: USB Camera")))["cameras"]
    assert (camera["busy"], camera["reason"], camera["usable"]) == (busy, reason, True)
    assert [holder["pid"] for holder in camera["holders"]] == [812]


def test_without_the_list_of_locks_nobody_knows_whether_it_is_busy(device: Device) -> None:
    csi(device)
    (camera,) = ask(device, listing(record(IMX708)))["cameras"]
    assert (camera["busy"], camera["usable"]) == (None, True)


def test_virtual_cameras_are_not_tried_where_nobody_has_libcamera(device: Device) -> None:
    device.write(VIRTUAL, '"a":\n')
    device.process(7, "bash")
    asked: list[Sequence[str]] = []
    (camera,) = ask(device, listing(record("a")), asked)["cameras"]
    assert asked == [(PYTHON, "-IB", "-c", LISTING)]
    assert (camera["busy"], camera["holders"]) == (False, [])


@pytest.mark.parametrize(
    ("pids", "reason", "exclusive"),
    [
        ([7], "In use by python3 (pid 7).", [True]),
        ([7, 8], "In use by one of python3 (pid 7), python3 (pid 8).", [None, None]),
    ],
)
def test_a_virtual_camera_that_cannot_be_acquired_is_busy(
    device: Device, pids: list[int], reason: str, exclusive: list[bool | None]
) -> None:
    device.write(VIRTUAL, '"a":\n"b":\n')
    for pid in pids:
        device.process(pid, "python3", mapped=LIBCAMERA)
    asked: list[Sequence[str]] = []
    run = listing(record("a"), record("b"), busy={"a": True, "b": False})
    result = ask(device, run, asked)
    assert asked == [(PYTHON, "-IB", "-c", LISTING, "a", "b")]
    cameras = {camera["id"]: camera for camera in result["cameras"]}
    assert (cameras["a"]["busy"], cameras["a"]["reason"]) == (True, reason)
    assert [holder["exclusive"] for holder in cameras["a"]["holders"]] == exclusive
    assert (cameras["b"]["busy"], cameras["b"]["reason"], cameras["b"]["holders"]) == (
        *(False, None),
        [],
    )
    assert result["reason"] is None


def test_rpicam_hello_is_asked_only_where_nobody_has_a_camera_open(device: Device) -> None:
    csi(device)
    device.lock()
    hello = ToolRun(
        Outcome.EXITED, 1.0, 0, f"Available cameras\n---\n0 : imx708_wide [4608x2592] ({IMX708})\n"
    )
    (camera,) = ask(device, NO_PYTHON_BINDING, rpicam_hello=hello)["cameras"]
    assert (camera["usable"], camera["index"], camera["number"]) == (True, 0, None)
    device.process(9, "wireplumber", "media0")
    result = ask(device, NO_PYTHON_BINDING, rpicam_hello=hello)
    assert result["cameras"][0]["usable"] is None
    assert "rpicam-hello was not asked" in result["reason"]


def test_the_legacy_stack_is_told(device: Device) -> None:
    device.write(CONFIG, "start_x=1\ncamera_auto_detect=1\n")
    result = ask(device, listing())
    assert result["reason"].endswith(
        "The legacy camera stack is turned on: /boot/firmware/config.txt has start_x=1."
    )
    assert result["advice"][0] == ADVICE_LEGACY
    assert result["config"]["legacy"] == ["start_x=1"]


def test_the_firmware_s_count_shows_the_legacy_stack_too(device: Device) -> None:
    counted = ToolRun(Outcome.EXITED, 0.1, 0, "supported=1 detected=1, libcamera interfaces=0\n")
    result = ask(device, listing(), vcgencmd=counted)
    assert "The legacy camera stack is turned on" in result["reason"]
    assert result["advice"][0] == ADVICE_LEGACY
    assert result["present"] is False


def test_the_firmware_is_not_asked_where_a_camera_is(device: Device) -> None:
    asked: list[Sequence[str]] = []
    ask(device, listing(record(IMX708)), asked)
    assert [command[0] for command in asked] == [PYTHON]


@pytest.mark.parametrize(
    ("text", "said"),
    [("camera_auto_detect=0\n", "camera_auto_detect=0"), ("", "camera_auto_detect not set")],
)
def test_a_configuration_that_looks_for_no_camera_is_told(
    device: Device, text: str, said: str
) -> None:
    device.write(CONFIG, text)
    result = ask(device, listing())
    assert f"/boot/firmware/config.txt has {said} and names no camera's overlay" in result["reason"]
    assert result["advice"][0].startswith("In /boot/firmware/config.txt set camera_auto_detect=1")


def test_a_configuration_that_is_right_is_not_doubted(device: Device) -> None:
    device.write(CONFIG, "camera_auto_detect=1\n")
    result = ask(device, listing())
    assert result["reason"].endswith("libcamera lists none.")
    assert result["advice"] == [*ADVICE_CABLE, ADVICE_USB]


def test_a_named_sensor_that_does_not_answer_is_a_camera_that_is_not_there(device: Device) -> None:
    device.write(CONFIG, "camera_auto_detect=0\ndtoverlay=imx708,cam0\n")
    result = ask(device, listing())
    (camera,) = result["cameras"]
    assert (camera["id"], camera["detected"], camera["usable"]) == (
        *("dtoverlay=imx708,cam0", False),
        False,
    )
    reason = "/boot/firmware/config.txt names imx708, but no such sensor answered."
    assert camera["reason"] == reason
    assert result["present"] is False
    assert result["reason"].endswith(reason)
    assert result["advice"][0].startswith("Check that the camera is an imx708")


def test_a_named_sensor_that_answers_is_one_camera(device: Device) -> None:
    device.write(CONFIG, "dtoverlay=imx708,cam0\ndtoverlay=imx708,cam1\n")
    csi(device)
    result = ask(device, listing(record(IMX708, "imx708_wide")))
    assert [(c["id"], c["detected"]) for c in result["cameras"]] == [
        (IMX708, True),
        ("dtoverlay=imx708,cam1", False),
    ]
    assert [e["source"] for e in result["cameras"][0]["evidence"]] == [
        *("sysfs", "libcamera", "config")
    ]
    assert (result["reason"], result["usable"]) == (None, True)


def test_what_is_said_of_the_host(device: Device) -> None:
    device.write("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.5\0")
    device.write(CONFIG, "[pi4]\ncamera_auto_detect=1\n[pi5]\nstart_x=1\n")
    device.write(VIRTUAL, '"a":\n')
    csi(device)
    result = ask(device, listing(record(IMX708), record("a")))
    assert result["board"] == "Raspberry Pi 4 Model B Rev 1.5"
    assert result["pipeline"] == ["rpi/vc4", "virtual"]
    assert result["config"] == {
        "path": "/boot/firmware/config.txt",
        "camera_auto_detect": True,
        "camera_overlays": [],
        "legacy": [],
        "unclear": [],
    }


def test_a_host_on_which_everything_hangs_costs_a_bounded_time(device: Device) -> None:
    device.write(VIRTUAL, '"a":\n')
    device.process(7, "stuck")
    maps = device.root / "proc/7/maps"
    maps.unlink()
    # Reading it waits for ever, as with a process that is stuck in a driver's mmap.
    os.mkfifo(maps)
    seconds: list[float] = []

    def run(_arguments: Sequence[str], timeout: float, _more: Mapping[str, str]) -> ToolRun:
        seconds.append(timeout)
        return ToolRun(Outcome.HUNG, timeout)

    start = time.monotonic()
    result = inspect(device.root, run, 0.5)
    elapsed = time.monotonic() - start + sum(seconds)
    assert elapsed < 3 * 0.5 + 1
    assert (result["present"], result["usable"]) == (True, None)
    details = {source["name"]: source["detail"] for source in result["sources"]}
    assert details["processes"] == "The processes could not be read within 0.5 s."
    assert result["cameras"][0]["busy"] is None


def test_without_root_no_more_is_said_than_is_known(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: Path, *_more: object) -> None:
        raise PermissionError(process)

    monkeypatch.setattr(_holders, "_read_process", refuse)
    csi(device)
    device.usb_camera(4, "Cam", "1-1.2", ("32e4", "9422"))
    device.write(VIRTUAL, '"a":\n')
    device.lock()
    device.process(5, "sshd")
    # A kernel thread has nothing open: its flags say what it is.
    device.write("proc/2/stat", "2 (kthreadd) S 0 0 0 0 -1 2129984 0\n")
    asked: list[Sequence[str]] = []
    result = ask(device, NO_PYTHON_BINDING, asked, cam=ABSENT)
    busy = {camera["bus"]: camera["busy"] for camera in result["cameras"]}
    assert busy == {"csi": False, "usb": None, "virtual": None}
    # What only asks may ask; rpicam-hello, which acquires, may not.
    assert [command[0] for command in asked] == [PYTHON, "cam"]
    assert asked[0][-1] == "a"
    details = {source["name"]: source["detail"] for source in result["sources"]}
    assert details["processes"].endswith("1 could not be looked into without root.")
