# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sources of evidence are read into, and ways to read small files."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Evidence:
    """What one source says for a camera."""

    source: str
    detail: str


@dataclass
class Source:
    """A source of evidence: whether it answered, what it said in short, and seconds it took."""

    name: str
    available: bool
    detail: str
    duration: float | None = None


@dataclass(frozen=True)
class Receiver:
    """The kernel device that takes in a camera's data: a CSI receiver or a USB interface.

    *nodes*: names under /dev of its video, subdevice and media nodes; *numbers*: device numbers of
    its video nodes, as libcamera gives them for its cameras.
    """

    driver: str
    nodes: frozenset[str] = frozenset()
    numbers: frozenset[int] = frozenset()

    @property
    def media(self) -> frozenset[str]:
        """The nodes that libcamera locks while it has one of the receiver's cameras."""
        return frozenset(node for node in self.nodes if node.startswith("media"))


@dataclass
class Sighting:
    """A camera as one source shows it.

    *keys*: what other sources' names for it can match; *receivers*: those that it can hang on, one
    if that is known; *devices*: device numbers that libcamera names for it.
    """

    id: str
    bus: str
    evidence: list[Evidence]
    model: str | None = None
    sensor: str | None = None
    number: int | None = None
    location: str | None = None
    rotation: int | None = None
    keys: tuple[str, ...] = ()
    receivers: tuple[Receiver, ...] = ()
    devices: frozenset[int] = field(default_factory=frozenset)


# libcamera's property Location and the device tree's orientation, by number.
LOCATIONS = ("front", "back", "external")


def location_of(value: int | None) -> str | None:
    """Return the name of a location's number, or None if there is no such number."""
    return LOCATIONS[value] if value is not None and 0 <= value < len(LOCATIONS) else None


def count(number: int, one: str = "camera", many: str = "cameras") -> str:
    """Say how many there are."""
    return f"1 {one}" if number == 1 else f"{number} {many}"


def read(path: Path) -> str | None:
    """Return a small file's text without white space around it, or None."""
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\r\n")
    return None


def entries(folder: Path, pattern: str) -> list[Path]:
    """Return the folder's matching entries in the order of their numbers; none if unreadable."""
    with contextlib.suppress(OSError):
        return sorted(folder.glob(pattern), key=lambda path: (len(path.name), path.name))
    return []


def link_name(link: Path) -> str | None:
    """Return the last part of where a link leads, or None if it is no link."""
    with contextlib.suppress(OSError):
        return link.readlink().name
    return None
