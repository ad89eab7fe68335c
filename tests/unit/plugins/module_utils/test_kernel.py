# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel shows, over fake file systems."""

from __future__ import annotations

import pytest
from ansible_collections.rpi_camera.fleet.plugins.module_utils._kernel import (
    read_board,
    read_sysfs,
)
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import Device

IMX708 = "/base/soc/i2c0mux/i2c@1/imx708@1a"


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
def test_a_sensor(device: Device, name: str, driver: str, model: str) -> None:
    device.subdevice(0, "unicam-subdev", "fe801000.csi", "unicam")
    device.subdevice(1, name, "10-001a", driver)
    device.subdevice(2, "dw9807 10-000c", "10-000c", "dw9807-vcm")
    view = read_sysfs(device.root)
    assert [(camera.bus, camera.model, camera.sensor) for camera in view.sightings] == [
        ("csi", model, driver)
    ]
    assert f"driver {driver}" in view.sightings[0].evidence[0].detail
    assert view.source.available


def test_the_device_tree_names_and_places_a_sensor(device: Device) -> None:
    device.subdevice(0, "imx708_wide", "10-001a", "imx708", node=IMX708)
    tree = device.root / f"sys/firmware/devicetree{IMX708}"
    (tree / "rotation").write_bytes((180).to_bytes(4, "big"))
    (tree / "orientation").write_bytes((1).to_bytes(4, "big"))
    (camera,) = read_sysfs(device.root).sightings
    assert (camera.id, camera.rotation, camera.location) == (IMX708, 180, "back")


def test_without_the_driver_s_links_the_name_is_taken(device: Device) -> None:
    device.write("sys/class/video4linux/v4l-subdev0/name", "imx219 10-0010\n")
    assert [camera.model for camera in read_sysfs(device.root).sightings] == ["imx219"]


@pytest.mark.parametrize(
    ("name", "driver", "kind", "pipeline"),
    [
        ("unicam-image", "unicam", "unicam", "rpi/vc4"),
        ("unicam-image", "bcm2835-unicam", "unicam", "rpi/vc4"),
        ("rp1-cfe-csi2_ch0", "rp1-cfe", "rp1-cfe", "rpi/pisp"),
    ],
)
def test_a_receiver_is_said_but_is_no_camera(
    device: Device, name: str, driver: str, kind: str, pipeline: str
) -> None:
    device.video(0, name, driver)
    device.video(10, "bcm2835-codec-decode", "bcm2835-codec")
    view = read_sysfs(device.root)
    assert (view.sightings, view.pipelines) == ([], [pipeline])
    assert f"receiver {kind} (video0)" in view.source.detail
    assert [receiver.nodes for receiver in view.csi] == [{"video0"}]


def test_a_receiver_without_a_camera_shows_by_its_driver(device: Device) -> None:
    device.link("sys/bus/platform/drivers/rp1-cfe/1f00110000.csi", "sys/devices/1f00110000.csi")
    view = read_sysfs(device.root)
    assert view.pipelines == ["rpi/pisp"]
    assert "receiver rp1-cfe (without a video device)" in view.source.detail


def test_the_device_tree_joins_a_sensor_and_its_receiver(device: Device) -> None:
    device.subdevice(2, "imx708", "10-001a", "imx708", node="/base/i2c@1/imx708@1a")
    device.subdevice(3, "imx219 11-0010", "11-0010", "imx219", node="/base/i2c@2/imx219@10")
    device.receiver(0, "rp1-cfe", node="/base/csi@0")
    device.receiver(1, "rp1-cfe", node="/base/csi@1")
    # Nothing is joined: either receiver may be meant.
    for camera in read_sysfs(device.root).sightings:
        assert len(camera.receivers) == 2
    device.endpoint("/base/i2c@1/imx708@1a", 11, 21)
    device.endpoint("/base/csi@1", 21, 11)
    device.endpoint("/base/i2c@2/imx219@10", 12, 22)
    device.endpoint("/base/csi@0", 22, 12)
    joined = {
        camera.sensor: [receiver.nodes for receiver in camera.receivers]
        for camera in read_sysfs(device.root).sightings
    }
    assert joined == {"imx708": [{"video1", "media1"}], "imx219": [{"video0", "media0"}]}


def test_a_usb_camera_is_one_camera(device: Device) -> None:
    device.usb_camera(0, "H264 USB Camera: USB Camera", "1-1.2", ("32e4", "9422"))
    device.link("dev/v4l/by-id/usb-H264_USB_Camera-video-index0", "dev/video0")
    view = read_sysfs(device.root)
    (camera,) = view.sightings
    assert (camera.bus, camera.model) == ("usb", "H264 USB Camera: USB Camera")
    assert camera.id == "/dev/v4l/by-path/platform-usb-0:1.2:1.0-video-index0"
    assert "usb-H264_USB_Camera-video-index0" in camera.evidence[0].detail
    assert view.pipelines == ["uvcvideo"]
    assert camera.receivers[0].nodes == {"video0", "video1", "media0"}


def test_a_usb_camera_that_only_dev_shows(device: Device) -> None:
    device.link("dev/v4l/by-path/platform-usb-0:1.2:1.0-video-index0", "dev/video0")
    device.link("dev/v4l/by-path/platform-usbv2-0:1.2:1.0-video-index0", "dev/video0")
    device.link("dev/v4l/by-path/platform-usb-0:1.2:1.0-video-index1", "dev/video1")
    device.link("dev/v4l/by-id/usb-Cam-video-index0", "dev/video2")
    view = read_sysfs(device.root)
    assert view.source.available
    assert [(camera.bus, camera.id) for camera in view.sightings] == [
        ("usb", "/dev/v4l/by-path/platform-usb-0:1.2:1.0-video-index0"),
        ("usb", "/dev/v4l/by-id/usb-Cam-video-index0"),
    ]


def test_the_legacy_stack_s_driver_is_told(device: Device) -> None:
    device.video(0, "camera0", "bcm2835-camera")
    view = read_sysfs(device.root)
    assert (view.legacy, view.sightings) == ("video0 has the driver bcm2835-camera", [])


def test_the_board(device: Device) -> None:
    assert read_board(device.root) is None
    device.write("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    assert read_board(device.root) == "Raspberry Pi 5 Model B Rev 1.0"
