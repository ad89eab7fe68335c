# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""config.txt as the firmware reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.rpi_camera.fleet.plugins.module_utils._boot_config import (
    BOARDS,
    BootConfig,
    parse_config,
    read_config,
    sensors_of,
)
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import Device

PI_5 = "Raspberry Pi 5 Model B Rev 1.0"
PI_4 = "Raspberry Pi 4 Model B Rev 1.5"
CONFIG = "boot/firmware/config.txt"


def parse(text: str, board: str | None = PI_5) -> BootConfig:
    """Return what a config.txt says."""
    return parse_config("/config.txt", text.splitlines(), board)


@pytest.mark.parametrize(
    ("text", "detect", "overlays", "legacy"),
    [
        pytest.param("", None, [], [], id="empty"),
        pytest.param("camera_auto_detect=1\n", True, [], [], id="as shipped"),
        pytest.param(
            "camera_auto_detect=0\ndtoverlay=imx708,cam0\n", False, ["imx708,cam0"], [], id="named"
        ),
        pytest.param("camera_auto_detect=1\ncamera_auto_detect=0\n", False, [], [], id="last wins"),
        pytest.param("#camera_auto_detect=1\n# start_x=1\n", None, [], [], id="comments"),
        pytest.param("dtoverlay=vc4-kms-v3d\ndtparam=audio=on\n", None, [], [], id="others"),
        pytest.param(
            "dtoverlay=imx219,cam0\ndtoverlay=ov5647,cam1\n",
            None,
            ["imx219,cam0", "ov5647,cam1"],
            [],
            id="two",
        ),
        pytest.param(
            "dtoverlay=camera-mux-4port,cam0-imx219,cam1-ov9281\n",
            None,
            ["camera-mux-4port,cam0-imx219,cam1-ov9281"],
            [],
            id="multiplexer",
        ),
        pytest.param("start_x=1\ngpu_mem=128\n", None, [], ["start_x=1"], id="legacy"),
        pytest.param("start_x=1\nstart_x=0\n", None, [], [], id="legacy taken back"),
        pytest.param("start_file=start4x.elf\n", None, [], ["start_file=start4x.elf"], id="file"),
    ],
)
def test_what_it_says(
    text: str, detect: bool | None, overlays: list[str], legacy: list[str]
) -> None:
    config = parse(text)
    assert (config.camera_auto_detect, config.overlays) == (detect, overlays)
    assert (config.legacy, config.unclear) == (legacy, [])


@pytest.mark.parametrize(
    ("board", "holding"),
    [
        (PI_5, {"pi5"}),
        ("Raspberry Pi 500 Rev 1.0", {"pi5", "pi500"}),
        ("Raspberry Pi Compute Module 5 Rev 1.0", {"pi5", "cm5"}),
        (PI_4, {"pi4"}),
        ("Raspberry Pi 400 Rev 1.0", {"pi4", "pi400"}),
        ("Raspberry Pi Compute Module 4 Rev 1.1", {"pi4", "cm4"}),
        ("Raspberry Pi Compute Module 4S Rev 1.0", {"pi4", "cm4s"}),
        ("Raspberry Pi 3 Model B Rev 1.2", {"pi3"}),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", {"pi3", "pi3+"}),
        ("Raspberry Pi Compute Module 3 Plus Rev 1.0", {"pi3", "cm3", "cm3+"}),
        ("Raspberry Pi 2 Model B Rev 1.1", {"pi2"}),
        ("Raspberry Pi Model B Plus Rev 1.2", {"pi1"}),
        ("Raspberry Pi Zero Rev 1.3", {"pi0"}),
        ("Raspberry Pi Zero W Rev 1.1", {"pi0", "pi0w"}),
        ("Raspberry Pi Zero 2 W Rev 1.0", {"pi0", "pi0w", "pi02"}),
    ],
)
def test_the_filters_that_a_board_sees(board: str, holding: set[str]) -> None:
    text = "".join(f"[{name}]\ndtoverlay=imx708,{name}\n" for name in BOARDS)
    assert {line.partition(",")[2] for line in parse(text, board).overlays} == holding


@pytest.mark.parametrize(
    ("text", "overlays", "unclear"),
    [
        pytest.param("[none]\ndtoverlay=imx708\n[all]\n", [], [], id="none"),
        pytest.param("[pi4]\n[all]\ndtoverlay=imx708\n", ["imx708"], [], id="all ends it"),
        pytest.param("[pi4]\n[pi5]\ndtoverlay=imx708\n", ["imx708"], [], id="one replaces another"),
        pytest.param(
            "[gpio4=1]\ndtoverlay=imx708\n", [], ["[gpio4=1] dtoverlay=imx708"], id="not judged"
        ),
        pytest.param("[gpio4=1]\n[pi4]\ndtoverlay=imx708\n", [], [], id="both have to hold"),
        pytest.param(
            "[0x12345678]\n[EDID=VSC-TD2220]\nstart_x=1\n",
            [],
            ["[0x12345678] [EDID=VSC-TD2220] start_x=1"],
            id="two not judged",
        ),
    ],
)
def test_filters_add_up(text: str, overlays: list[str], unclear: list[str]) -> None:
    config = parse(text)
    assert (config.overlays, config.unclear, config.legacy) == (overlays, unclear, [])


def test_a_model_s_filter_is_not_judged_on_an_unknown_board() -> None:
    assert parse("[pi5]\ncamera_auto_detect=1\n", None).unclear == ["[pi5] camera_auto_detect=1"]


@pytest.mark.parametrize(
    ("overlay", "sensors"),
    [
        ("imx708,cam0", ["imx708"]),
        ("imx708", ["imx708"]),
        ("imx219:rotation=0", ["imx219"]),
        ("imx378", ["imx477"]),
        ("imx462,clock-frequency=74250000", ["imx290"]),
        ("imx500-pi5", ["imx500"]),
        ("arducam-64mp,cam1", ["arducam_64mp"]),
        (
            "camera-mux-2port,cam0,cam0-imx219,cam1-imx290,cam1-imx290-clk-freq",
            ["imx219", "imx290"],
        ),
    ],
)
def test_the_sensors_of_an_overlay(overlay: str, sensors: list[str]) -> None:
    assert sensors_of(overlay) == sensors


def test_the_newer_place_goes_before_the_older(device: Device) -> None:
    device.write("boot/config.txt", "camera_auto_detect=0\n")
    _source, config, _cameras = read_config(device.root, PI_5)
    assert config is not None
    assert (config.path, config.camera_auto_detect) == ("/boot/config.txt", False)
    device.write(CONFIG, "camera_auto_detect=1\n")
    source, config, _cameras = read_config(device.root, PI_5)
    assert config is not None
    assert (config.path, config.camera_auto_detect) == ("/boot/firmware/config.txt", True)
    assert source.available


def test_an_included_file_stands_in_its_place(device: Device) -> None:
    device.write(CONFIG, "[pi4]\ninclude more.txt\ninclude absent.txt\ncamera_auto_detect=0\n")
    device.write("boot/firmware/more.txt", "start_x=1\n[pi5]\ndtoverlay=imx708\n")
    _source, config, cameras = read_config(device.root, PI_5)
    assert config is not None
    assert (config.legacy, config.overlays, config.camera_auto_detect) == ([], ["imx708"], False)
    assert [(c.id, c.sensor) for c in cameras] == [("dtoverlay=imx708", "imx708")]


def test_files_that_include_each_other_come_to_an_end(device: Device) -> None:
    device.write(CONFIG, "include config.txt\ncamera_auto_detect=1\n")
    _source, config, _cameras = read_config(device.root, PI_5)
    assert config is not None
    assert config.camera_auto_detect is True


def test_no_file_and_an_unreadable_one_differ(device: Device, tmp_path: Path) -> None:
    source, config, _cameras = read_config(device.root, PI_5)
    assert (source.available, config) == (False, None)
    assert source.detail == "There is no config.txt."
    (tmp_path / CONFIG).mkdir(parents=True)
    source, config, _cameras = read_config(device.root, PI_5)
    assert (source.available, config) == (False, None)
    assert source.detail == "/boot/firmware/config.txt cannot be read: Is a directory."
