# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel shows of cameras by itself: sysfs, the device tree and udev's links."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.rpi_camera.fleet.plugins.module_utils._sightings import (
    Evidence,
    Receiver,
    Sighting,
    Source,
    entries,
    link_name,
    location_of,
    read,
)

# Drivers of CSI receivers, and libcamera's pipelines that they feed: up to the Pi 4, on the Pi 5.
RECEIVERS = {"unicam": "rpi/vc4", "rp1-cfe": "rpi/pisp"}

# I2C devices of a camera module that are not its sensor: drivers of lenses and flashes.
NOT_A_SENSOR = re.compile(r"(dw9|ad5398|ad5820|ak73|lm35|lm36|vcm|lc898)")

# A device on an I2C bus as sysfs names it: bus and address, "10-001a".
I2C_DEVICE = re.compile(r"\d+-([0-9a-f]{4})")


@dataclass
class KernelView:
    """What the kernel shows.

    *csi*, *usb*: the receivers of that kind; *pipelines*: libcamera's names of the pipelines that
    are there; *legacy*: what shows that the legacy camera stack's driver is loaded, or None.
    """

    source: Source
    sightings: list[Sighting] = field(default_factory=list)
    csi: list[Receiver] = field(default_factory=list)
    usb: list[Receiver] = field(default_factory=list)
    pipelines: list[str] = field(default_factory=list)
    legacy: str | None = None


def read_board(root: Path) -> str | None:
    """Return the board's name as the firmware gives it, or None where there is no device tree."""
    return read(root / "proc/device-tree/model") or None


def _tree_node(device: Path) -> str | None:
    """Return a device's path in the device tree as libcamera names it ("/base/…"), or None."""
    with contextlib.suppress(OSError):
        target = (device / "of_node").resolve(strict=True)
        _before, found, node = str(target).partition("/devicetree/base/")
        return f"/base/{node}" if found else None
    return None


def _cells(node: Path, name: str) -> set[bytes]:
    """Return the values of a property, in a device tree node and all below it."""
    values = set()
    with contextlib.suppress(OSError):
        for path in node.resolve(strict=True).rglob(name):
            values.add(path.read_bytes())
    return values


def _number(path: Path) -> int | None:
    """Return a property's number in the device tree (big-endian), or None."""
    with contextlib.suppress(OSError):
        return int.from_bytes(path.read_bytes(), "big")
    return None


def _receivers(folder: Path) -> dict[Path, Receiver]:
    """Return, by its folder in sysfs, each device that has video nodes."""
    found: dict[Path, Receiver] = {}
    for entry in entries(folder, "*"):
        device = (entry / "device").resolve()
        known = found.get(device) or Receiver(
            driver=link_name(device / "driver") or "",
            nodes=frozenset(path.name for path in entries(device, "media[0-9]*")),
        )
        numbers = known.numbers
        major, _colon, minor = (read(entry / "dev") or "").partition(":")
        if entry.name.startswith("video") and major.isdigit() and minor.isdigit():
            numbers |= {os.makedev(int(major), int(minor))}
        found[device] = Receiver(known.driver, known.nodes | {entry.name}, numbers)
    return found


def _receiver_kind(driver: str, names: list[str]) -> str | None:
    """Return which CSI receiver a device is, by its driver or its entries' names; None if none."""
    return next(
        (kind for kind in RECEIVERS if any(kind in name for name in (driver, *names))), None
    )


def _own_receivers(sensor: Path, csi: dict[Path, Receiver]) -> tuple[Receiver, ...]:
    """Return the receiver that the device tree joins a sensor to, or all that it may hang on.

    Behind a multiplexer the device tree does not join the two directly.
    """
    ends = _cells(sensor / "of_node", "remote-endpoint")
    joined = tuple(
        receiver
        for device, receiver in csi.items()
        if ends and ends & _cells(device / "of_node", "phandle")
    )
    return joined or tuple(csi.values())


def _sensor(entry: Path, csi: dict[Path, Receiver]) -> Sighting | None:
    """Return the CSI sensor behind a v4l-subdev entry, or None if it is something else."""
    device = entry / "device"
    driver = link_name(device / "driver")
    name = read(entry / "name") or ""
    place = I2C_DEVICE.search(device.resolve().name) or I2C_DEVICE.search(name)
    kind = driver or name.partition(" ")[0]
    if place is None or not kind or NOT_A_SENSOR.match(kind):
        return None
    address = int(place[1], 16)
    node = _tree_node(device)
    tree_name = node.rpartition("/")[2].partition("@")[0] if node else ""
    model = name.partition(" ")[0] or kind
    return Sighting(
        id=node or f"{place[0]} {kind}",
        bus="csi",
        model=model,
        sensor=kind,
        location=location_of(_number(device / "of_node/orientation")),
        rotation=_number(device / "of_node/rotation"),
        evidence=[Evidence("sysfs", f"{entry.name}: sensor {name or kind}, driver {driver}")],
        keys=(node or "", f"{kind}@{address:x}", kind, tree_name, model),
        receivers=_own_receivers(device, csi),
    )


def _usb_camera(
    entry: Path, path_name: str | None, id_name: str | None, receiver: Receiver | None
) -> Sighting | None:
    """Return the USB camera behind a video entry, or None if it is something else."""
    device = entry / "device"
    driver = link_name(device / "driver")
    linked = path_name is not None or id_name is not None
    if not linked and (driver != "uvcvideo" or (read(entry / "index") or "0") != "0"):
        return None
    name = read(entry / "name")
    interface = device.resolve()
    vendor = read(interface.parent / "idVendor")
    product = read(interface.parent / "idProduct")
    ports = interface.name.partition("-")[2]
    usb_id = f"{vendor}:{product}" if vendor and product else ""
    seen = ", ".join(
        filter(None, (name, driver and f"driver {driver}", usb_id, path_name, id_name))
    )
    return Sighting(
        id=_usb_name(entry.name, path_name, id_name),
        bus="usb",
        model=name,
        sensor=driver,
        evidence=[Evidence("sysfs", f"{entry.name}: {seen}")],
        keys=(f"{ports}-{usb_id}" if ports and usb_id else "", usb_id),
        receivers=() if receiver is None else (receiver,),
    )


def _usb_name(video: str, path_name: str | None, id_name: str | None) -> str:
    """Return the steadiest name of a USB camera: two of one kind differ in by-path only."""
    if path_name:
        return f"/dev/v4l/by-path/{path_name}"
    return f"/dev/v4l/by-id/{id_name}" if id_name else f"/dev/{video}"


def _usb_links(folder: Path) -> dict[str, str]:
    """Return video device name -> udev's link to it, for the first stream of each USB camera.

    udev may name one device twice ("…-usb-…" and "…-usbv2-…"): the first name is taken.
    """
    names: dict[str, str] = {}
    for link in entries(folder, "*usb*index0"):
        video = link_name(link)
        if video is not None:
            names.setdefault(video, link.name)
    return names


def read_sysfs(root: Path) -> KernelView:
    """Return what the kernel shows under *root*/sys and *root*/dev."""
    folder = root / "sys/class/video4linux"
    all_receivers = _receivers(folder)
    kinds: dict[str, list[str]] = {
        kind: []
        for kind in RECEIVERS
        if entries(root / "sys/bus/platform/drivers", f"*{kind}*/*.csi")
    }
    csi: dict[Path, Receiver] = {}
    for device, receiver in all_receivers.items():
        videos = sorted(node for node in receiver.nodes if node.startswith("video"))
        kind = _receiver_kind(
            receiver.driver, [read(folder / video / "name") or "" for video in videos]
        )
        if kind is not None:
            kinds.setdefault(kind, []).extend(videos)
            csi[device] = receiver
    sightings = [
        sighting
        for entry in entries(folder, "v4l-subdev*")
        if (sighting := _sensor(entry, csi)) is not None
    ]
    legacy = None
    by_path, by_id = (_usb_links(root / f"dev/v4l/{kind}") for kind in ("by-path", "by-id"))
    for entry in entries(folder, "video*"):
        receiver_of_entry = all_receivers.get((entry / "device").resolve())
        camera = _usb_camera(
            entry, by_path.pop(entry.name, None), by_id.pop(entry.name, None), receiver_of_entry
        )
        if camera is not None:
            sightings.append(camera)
        driver = link_name(entry / "device/driver") or ""
        if driver in ("bcm2835-camera", "bcm2835-v4l2"):
            legacy = f"{entry.name} has the driver {driver}"
    # What /dev names and sysfs does not show, as in a container that was given one device.
    sightings += [
        Sighting(
            id=_usb_name(video, by_path.get(video), by_id.get(video)),
            bus="usb",
            evidence=[Evidence("sysfs", f"{video}: {by_path.get(video) or by_id[video]}")],
            receivers=(Receiver("", frozenset({video})),),
        )
        for video in dict.fromkeys((*by_path, *by_id))
    ]
    usb = [sighting for sighting in sightings if sighting.bus == "usb"]
    pipelines = [RECEIVERS[kind] for kind in kinds] + ["uvcvideo"] * bool(usb)
    if not folder.is_dir() and not sightings and not kinds:
        return KernelView(Source("sysfs", False, "The kernel shows no video device at all."))
    detail = f"CSI sensors: {len(sightings) - len(usb)}; USB cameras: {len(usb)}"
    for kind, videos in kinds.items():
        detail += f"; receiver {kind} ({', '.join(videos) or 'without a video device'})"
    if legacy is not None:
        detail += f"; {legacy}"
    return KernelView(
        Source("sysfs", True, f"{detail}."),
        sightings,
        list(csi.values()),
        [receiver for camera in usb for receiver in camera.receivers],
        pipelines,
        legacy,
    )
