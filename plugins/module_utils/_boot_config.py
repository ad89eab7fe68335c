# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What config.txt tells the firmware about cameras.

The file's rules are those of the Raspberry Pi documentation, config.txt: a later line wins, a
`[filter]` holds until one of its kind replaces it or `[all]` ends it, `include` inserts a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.rpi_camera.fleet.plugins.module_utils._sightings import (
    Evidence,
    Sighting,
    Source,
)

# Where the boot partition is mounted: since bookworm, and before.
PLACES = ("boot/firmware/config.txt", "boot/config.txt")

# Files may include each other: no deeper than this.
DEEPEST = 8

# The filters by board, and what the board's name has after "Raspberry Pi " then. A board sees every
# filter that fits; [pi4] also holds for a Pi 400, for instance.
BOARDS = {
    "pi0": r"Zero",
    "pi0w": r"Zero (2 )?W",
    "pi02": r"Zero 2 W",
    "pi1": r"(Model [AB]|Compute Module (1 )?Rev)",
    "pi2": r"2 ",
    "pi3": r"(3 |Compute Module 3)",
    "pi3+": r"3 Model [AB] Plus",
    "pi4": r"(4 |400 |Compute Module 4)",
    "pi400": r"400 ",
    "pi5": r"(5 |500 |500\+|Compute Module 5)",
    "pi500": r"500",
    "cm1": r"Compute Module (1 )?Rev",
    "cm3": r"Compute Module 3",
    "cm3+": r"Compute Module 3 Plus",
    "cm4": r"Compute Module 4 ",
    "cm4s": r"Compute Module 4S",
    "cm5": r"Compute Module 5",
}

# Overlays that describe a camera or another source of CSI pictures.
CAMERA_OVERLAY = re.compile(
    r"(imx|ov|gc|ar|mira|irs|tc358)\d|arducam|camera-mux|adv728|vc-mipi|veye|dummy-csi-sensor"
)

# A multiplexer's overlay names its sensors in parameters: "camera-mux-4port,cam0-imx219".
MUX_SENSOR = re.compile(r"cam\d-((?:imx|ov|arducam)[\w-]*)")

# Overlays whose sensor goes by another's name in the device tree, as their drivers are shared.
SENSORS = {"imx378": "imx477", "imx327": "imx290", "imx462": "imx290", "imx500_pi5": "imx500"}

# Lines that turn on the camera stack of before 2022, and so libcamera's off.
LEGACY = re.compile(r"start_x=1|start_file=start4?x\.elf")


@dataclass
class BootConfig:
    """What a config.txt says about cameras, as far as its filters let it hold on this board.

    *overlays*: values of dtoverlay lines, "imx708,cam0"; *legacy*: lines that turn the legacy stack
    on; *unclear*: lines under a filter that cannot be judged here, with the filter before them.
    """

    path: str
    camera_auto_detect: bool | None = None
    overlays: list[str] = field(default_factory=list)
    legacy: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        """Return what the module returns."""
        return {
            "path": self.path,
            "camera_auto_detect": self.camera_auto_detect,
            "camera_overlays": self.overlays,
            "legacy": self.legacy,
            "unclear": self.unclear,
        }


def _holds(name: str, board: str | None) -> bool | None:
    """Tell whether a filter holds on a board; None if that cannot be judged."""
    if name == "none":
        return False
    if name not in BOARDS or board is None:
        return None
    return re.match(r"Raspberry Pi " + BOARDS[name], f"{board} ") is not None


def _kind(name: str) -> str:
    """Return what a filter filters by: filters of one kind replace each other."""
    if name in BOARDS or name == "none":
        return "board"
    return "serial" if name.startswith("0x") else re.split(r"[=:\d]", name)[0]


def _lines(path: Path, depth: int = 0) -> list[str]:
    """Return a file's lines, with those of the files that it includes in their places.

    An included file that cannot be read has none, as for the firmware. Raises OSError for *path*.
    """
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        word, _blank, name = line.strip().partition(" ")
        if word != "include":
            lines.append(line.strip())
        elif depth < DEEPEST:
            try:
                lines += _lines(path.parent / name.strip(), depth + 1)
            except OSError:
                continue
    return lines


def _is_about_cameras(line: str) -> bool:
    key, _equals, value = line.partition("=")
    return (
        key == "camera_auto_detect"
        or key in ("start_x", "start_file")
        or (key == "dtoverlay" and CAMERA_OVERLAY.match(value) is not None)
    )


def parse_config(path: str, lines: list[str], board: str | None) -> BootConfig:
    """Return what the lines of a config.txt at *path* say on a board of that name."""
    config = BootConfig(path)
    filters: dict[str, tuple[str, bool | None]] = {}
    legacy: dict[str, str] = {}
    for line in lines:
        if line.startswith("[") and line.endswith("]"):
            name = line[1:-1]
            if name == "all":
                filters.clear()
            else:
                filters[_kind(name)] = (name, _holds(name, board))
            continue
        if not _is_about_cameras(line) or any(holds is False for _n, holds in filters.values()):
            continue
        unknown = [f"[{name}]" for name, holds in filters.values() if holds is None]
        key, _equals, value = line.partition("=")
        if unknown:
            config.unclear.append(" ".join((*unknown, line)))
        elif key == "camera_auto_detect":
            config.camera_auto_detect = value.strip() == "1"
        elif key == "dtoverlay":
            config.overlays.append(value)
        else:
            legacy[key] = line
    config.legacy = [line for line in legacy.values() if LEGACY.fullmatch(line)]
    return config


def sensors_of(overlay: str) -> list[str]:
    """Return the names that the device tree has for the sensors of an overlay, "imx708,cam0"."""
    name, *parameters = re.split(r"[,:]", overlay)
    if name.startswith("camera-mux"):
        names = [mux[1] for word in parameters if (mux := MUX_SENSOR.fullmatch(word))]
        # "cam0-imx290-clk-freq" sets a frequency for a sensor that another parameter names.
        names = [name for name in names if not name.endswith("-clk-freq")]
    else:
        names = [name]
    names = [name.replace("-", "_") for name in names]
    return [SENSORS.get(name, name) for name in names]


def _expected(config: BootConfig) -> list[Sighting]:
    """Return the cameras that the overlays name."""
    return [
        Sighting(
            id=f"dtoverlay={overlay}",
            bus="csi",
            sensor=sensor,
            evidence=[Evidence("config", f"named in {config.path}: dtoverlay={overlay}")],
        )
        for overlay in config.overlays
        for sensor in sensors_of(overlay)
    ]


def read_config(root: Path, board: str | None) -> tuple[Source, BootConfig | None, list[Sighting]]:
    """Return what the config.txt under *root* says, and the cameras that it names."""
    for place in PLACES:
        try:
            lines = _lines(root / place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return Source("config", False, f"/{place} cannot be read: {error.strerror}."), None, []
        config = parse_config(f"/{place}", lines, board)
        detect = {None: "not set", True: "1", False: "0"}[config.camera_auto_detect]
        said = [f"camera_auto_detect is {detect}"]
        said += [f"dtoverlay={overlay}" for overlay in config.overlays]
        said += [f"{line} turns on the legacy camera stack" for line in config.legacy]
        said += [f"not judged: {line}" for line in config.unclear]
        return Source("config", True, f"/{place}: {'; '.join(said)}."), config, _expected(config)
    return Source("config", False, "There is no config.txt."), None, []
