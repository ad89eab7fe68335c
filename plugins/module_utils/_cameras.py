# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What says that a camera is there, and how it adds up.

Every source is read into sightings of cameras; `inspect` merges the sightings of one camera and
judges it. Only `ask_libcamera` starts a program, through the runner that it is given; nothing here
opens a camera.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.rpi_camera.fleet.plugins.module_utils._tools import Outcome, ToolRun

Runner = Callable[[Sequence[str], float, Mapping[str, str]], ToolRun]

PYTHON = "/usr/bin/python3"
MARK = "rpi_camera.fleet cameras: "
# Exit status of LISTING where the binding is not installed (EX_UNAVAILABLE).
NO_BINDING = 69

# Lists the cameras through libcamera's Python binding without acquiring one. The line with the
# answer is marked, since libcamera logs to the same output; os._exit skips the binding's tear-down,
# which is known to crash after everything has been said.
LISTING = f"""
import json, os, sys
try:
    import libcamera
except ModuleNotFoundError:
    sys.exit({NO_BINDING})
cameras = []
for camera in libcamera.CameraManager.singleton().cameras:
    values = {{key.name: value for key, value in camera.properties.items()}}
    location, rotation = values.get("Location"), values.get("Rotation")
    cameras.append({{
        "id": camera.id,
        "model": values.get("Model"),
        "location": None if location is None else int(location),
        "rotation": None if rotation is None else int(rotation),
    }})
print("\\n" + {MARK!r} + json.dumps(cameras), flush=True)
os._exit(0)
"""

# libcamera's property Location, by number.
LOCATIONS = ("front", "back", "external")

# Kernel drivers that receive a CSI camera's data: up to the Pi 4, and on the Pi 5.
RECEIVERS = ("unicam", "rp1-cfe")

# I2C devices of a camera module that are not its sensor: drivers of lenses and flashes.
NOT_A_SENSOR = re.compile(r"(dw9|ad5398|ad5820|ak73|lm35|lm36|vcm|lc898)")

# A device on an I2C bus as sysfs names it: bus and address, "10-001a".
I2C_DEVICE = re.compile(r"\d+-([0-9a-f]{4})")

# libcamera's name for a CSI camera is its node in the device tree; it ends in "imx708@1a".
TREE_NODE = re.compile(r"/([^/@]+)@([0-9a-f]+)$")

# libcamera's name for a USB camera ends in ports, interface, vendor and product.
USB_ID = re.compile(r"(?:[^-/]*:\d+\.\d+-)?[0-9a-f]{4}:[0-9a-f]{4}$")

# A line of `cam -l`: number from 1, location or quoted model or both, libcamera's name in brackets.
CAM_LINE = re.compile(r"^(?P<number>\d+): (?P<text>.*\S) \((?P<id>.*)\)$")
CAM_MODEL = re.compile(r"'(?P<model>.*)'")

# A camera in the virtual pipeline's file: a key at the left margin, mostly in quotes. The device
# may have no YAML parser; the file's format is libcamera's own and needs no more than this.
VIRTUAL_CAMERA = re.compile(
    r"""^(?:"(?P<double>[^"]+)"|'(?P<single>[^']+)'|(?P<bare>\w[^\s:#]*))\s*:"""
)
VIRTUAL_MODEL = re.compile(r"""^\s+model\s*:\s*["']?(?P<model>[^"'#]*[^"'#\s])""")

# libcamera looks for the pipeline's file here, and reads the first that exists.
VIRTUAL_FILES = (
    "etc/libcamera/pipeline/virtual/virtual.yaml",
    "usr/share/libcamera/pipeline/virtual/virtual.yaml",
)

ADVICE_LIBCAMERA = (
    "Install python3-libcamera, so that libcamera itself can be asked which cameras it can use."
)
ADVICE_VIRTUAL = (
    "For virtual cameras, libcamera needs its virtual pipeline compiled in (Debian trixie's has it,"
    " bookworm's has not), and LIBCAMERA_PIPELINES_MATCH_LIST, where it is set, has to name it."
)
ADVICE_NONE_SEEN = (
    "Check the ribbon cable at both ends, at the board and at the camera: fully in, straight,"
    " latch closed, and its contacts on the side of the connector's contacts.",
    "Power off before a CSI camera is plugged in, and start again afterwards: it is looked for at"
    " boot only.",
    "Check that /boot/firmware/config.txt (older: /boot/config.txt) has camera_auto_detect=1, or a"
    " dtoverlay line for a sensor that is not found by itself, and reboot after a change.",
    "For a USB camera, check that lsusb lists it; if not, try another cable, another port, or a"
    " hub with a power supply.",
)


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


@dataclass
class Sighting:
    """A camera as one source shows it; keys are what other sources' names for it can match."""

    id: str
    bus: str
    evidence: Evidence
    model: str | None = None
    number: int | None = None
    location: str | None = None
    rotation: int | None = None
    keys: tuple[str, ...] = ()


@dataclass
class Camera:
    """A camera after all sources have been heard; the fields are those that the module returns."""

    id: str
    model: str | None
    bus: str
    index: int | None = None
    number: int | None = None
    location: str | None = None
    rotation: int | None = None
    detected: bool = True
    usable: bool | None = None
    reason: str | None = None
    evidence: list[Evidence] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """What libcamera said: its cameras, or None if it could not be asked; and who was asked."""

    sightings: list[Sighting] | None
    sources: list[Source]


def _read(path: Path) -> str | None:
    """Return a small file's text without white space around it, or None."""
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\r\n")
    return None


def _entries(folder: Path, pattern: str) -> list[Path]:
    """Return the folder's matching entries in the order of their numbers; none if unreadable."""
    with contextlib.suppress(OSError):
        return sorted(folder.glob(pattern), key=lambda path: (len(path.name), path.name))
    return []


def _link_name(link: Path) -> str | None:
    """Return the last part of where a link leads, or None if it is no link."""
    with contextlib.suppress(OSError):
        return link.readlink().name
    return None


def _tree_node(device: Path) -> str | None:
    """Return a device's path in the device tree as libcamera names it ("/base/…"), or None."""
    with contextlib.suppress(OSError):
        target = (device / "of_node").resolve(strict=True)
        _before, found, node = str(target).partition("/devicetree/base/")
        return f"/base/{node}" if found else None
    return None


def _sensor(entry: Path) -> Sighting | None:
    """Return the CSI sensor behind a v4l-subdev entry, or None if it is something else."""
    device = entry / "device"
    driver = _link_name(device / "driver")
    name = _read(entry / "name") or ""
    place = I2C_DEVICE.search(device.resolve().name) or I2C_DEVICE.search(name)
    kind = driver or name.partition(" ")[0]
    if place is None or not kind or NOT_A_SENSOR.match(kind):
        return None
    address = int(place[1], 16)
    node = _tree_node(device)
    return Sighting(
        id=node or f"{place[0]} {kind}",
        bus="csi",
        model=name.partition(" ")[0] or kind,
        evidence=Evidence("sysfs", f"{entry.name}: sensor {name or kind}, driver {driver}"),
        keys=(node or "", f"{kind}@{address:x}"),
    )


def _usb_camera(entry: Path, path_name: str | None) -> Sighting | None:
    """Return the USB camera behind a video entry, or None if it is something else."""
    device = entry / "device"
    driver = _link_name(device / "driver")
    if path_name is None and (driver != "uvcvideo" or (_read(entry / "index") or "0") != "0"):
        return None
    name = _read(entry / "name")
    interface = device.resolve()
    vendor = _read(interface.parent / "idVendor")
    product = _read(interface.parent / "idProduct")
    ports = interface.name.partition("-")[2]
    usb_id = f"{vendor}:{product}" if vendor and product else ""
    seen = ", ".join(filter(None, (name, driver and f"driver {driver}", usb_id, path_name)))
    return Sighting(
        id=f"/dev/v4l/by-path/{path_name}" if path_name else f"/dev/{entry.name}",
        bus="usb",
        model=name,
        evidence=Evidence("sysfs", f"{entry.name}: {seen}"),
        keys=(f"{ports}-{usb_id}" if ports and usb_id else "", usb_id),
    )


def _usb_paths(root: Path) -> dict[str, str]:
    """Return video device name -> name in by-path, for the first stream of each USB camera.

    udev may name one device twice ("…-usb-…" and "…-usbv2-…"): the first name is taken.
    """
    names: dict[str, str] = {}
    for link in _entries(root / "dev/v4l/by-path", "*usb*index0"):
        video = _link_name(link)
        if video is not None:
            names.setdefault(video, link.name)
    return names


def read_sysfs(root: Path) -> tuple[Source, list[Sighting]]:
    """Return what the kernel shows under *root*/sys and *root*/dev."""
    folder = root / "sys/class/video4linux"
    sightings = [
        sighting
        for entry in _entries(folder, "v4l-subdev*")
        if (sighting := _sensor(entry)) is not None
    ]
    by_path = _usb_paths(root)
    receivers: dict[str, list[str]] = {}
    videos = _entries(folder, "video*")
    for entry in videos:
        camera = _usb_camera(entry, by_path.pop(entry.name, None))
        if camera is not None:
            sightings.append(camera)
        names = (_link_name(entry / "device/driver") or "", _read(entry / "name") or "")
        for receiver in RECEIVERS:
            if any(name.startswith(receiver) for name in names):
                receivers.setdefault(receiver, []).append(entry.name)
    # What /dev names and sysfs does not show, as in a container that was given one device.
    sightings += [
        Sighting(
            id=f"/dev/v4l/by-path/{path_name}",
            bus="usb",
            evidence=Evidence("sysfs", f"{video}: {path_name}"),
        )
        for video, path_name in by_path.items()
    ]
    if not folder.is_dir() and not sightings:
        return Source("sysfs", False, "The kernel shows no video device at all."), []
    csi = sum(sighting.bus == "csi" for sighting in sightings)
    detail = f"CSI sensors: {csi}; USB cameras: {len(sightings) - csi}"
    for receiver, entries in receivers.items():
        detail += f"; receiver {receiver} ({', '.join(entries)})"
    return Source("sysfs", True, f"{detail}."), sightings


def parse_virtual(text: str) -> list[tuple[str, str | None]]:
    """Return (id, model or None) of the cameras in the virtual pipeline's YAML file."""
    cameras: list[tuple[str, str | None]] = []
    for line in text.splitlines():
        if key := VIRTUAL_CAMERA.match(line):
            cameras.append((key["double"] or key["single"] or key["bare"], None))
        elif cameras and (model := VIRTUAL_MODEL.match(line)):
            cameras[-1] = (cameras[-1][0], model["model"])
    return cameras


def read_virtual(root: Path) -> tuple[Source, list[Sighting]]:
    """Return the cameras that libcamera's virtual pipeline is set up with under *root*."""
    for name in VIRTUAL_FILES:
        text = _read(root / name)
        if text is None:
            continue
        sightings = [
            Sighting(
                id=camera,
                bus="virtual",
                model=model,
                evidence=Evidence("virtual", f"configured in /{name}"),
            )
            for camera, model in parse_virtual(text)
        ]
        return Source("virtual", True, f"/{name} has {_count(len(sightings))}."), sightings
    return Source("virtual", False, "libcamera's virtual pipeline is not configured."), []


def _bus_of(camera: str) -> str:
    """Tell a camera's bus from libcamera's name for it."""
    if "/usb" in camera or (camera[:1] in "/\\" and USB_ID.search(camera)):
        return "usb"
    if re.fullmatch(r"Virtual\d+", camera):
        return "virtual"
    return "csi" if TREE_NODE.search(camera) else "unknown"


def _listed(
    source: str,
    number: int,
    camera: str,
    model: str | None,
    location: str | None,
    rotation: int | None = None,
) -> Sighting:
    """Return a camera that libcamera lists."""
    return Sighting(
        id=camera,
        bus=_bus_of(camera),
        model=model,
        number=number,
        location=location,
        rotation=rotation,
        evidence=Evidence(source, f"listed by libcamera as number {number}"),
    )


def parse_listing(text: str) -> list[Sighting] | None:
    """Return the cameras of LISTING's output, or None if the marked line is missing or broken."""
    for line in text.splitlines():
        if not line.startswith(MARK):
            continue
        try:
            cameras = json.loads(line.removeprefix(MARK))
        except ValueError:
            return None
        return [
            _listed(
                "libcamera",
                number,
                camera["id"],
                camera["model"],
                _location(camera["location"]),
                camera["rotation"],
            )
            for number, camera in enumerate(cameras)
        ]
    return None


def _location(value: int | None) -> str | None:
    return LOCATIONS[value] if value is not None and 0 <= value < len(LOCATIONS) else None


def parse_cam(text: str) -> list[Sighting] | None:
    """Return the cameras of `cam -l`, or None if it never came to its heading.

    Log lines may stand between the cameras' lines. The tool counts from 1, libcamera from 0.
    """
    lines = iter(text.splitlines())
    if not any(line.strip() == "Available cameras:" for line in lines):
        return None
    sightings = []
    for line in lines:
        camera = CAM_LINE.match(line.strip())
        if camera is None:
            continue
        model = CAM_MODEL.search(camera["text"])
        words = camera["text"].split()
        place = words[1] if words[0] == "Internal" and len(words) > 1 else words[0].lower()
        sightings.append(
            _listed(
                "cam",
                int(camera["number"]) - 1,
                camera["id"],
                model["model"] if model else None,
                place if place in LOCATIONS else None,
            )
        )
    return sightings


def _count(cameras: int) -> str:
    return "1 camera" if cameras == 1 else f"{cameras} cameras"


def _last_words(run: ToolRun) -> str:
    """Return a failed tool's last line, for a person."""
    lines = (run.stderr.strip() or run.stdout.strip()).splitlines()
    said = f": {lines[-1].strip()}" if lines else ""
    how = f"signal {-run.status}" if run.status < 0 else f"status {run.status}"
    return f"ended with {how}{said}"


def _judge_run(name: str, tool: str, run: ToolRun, found: list[Sighting] | None) -> Source:
    """Say how asking a tool went."""
    duration = round(run.duration, 3)
    if run.outcome is Outcome.ABSENT:
        return Source(name, False, f"{tool} is not installed.", duration)
    if run.outcome is Outcome.HUNG:
        return Source(
            name,
            False,
            f"{tool} did not answer within {run.duration:.1f} s and was ended.",
            duration,
        )
    if found is None:
        return Source(name, False, f"{tool} {_last_words(run)}", duration)
    return Source(name, True, f"libcamera lists {_count(len(found))}.", duration)


def ask_libcamera(run: Runner, timeout: float) -> Answer:
    """Ask libcamera for its cameras: by its Python binding, or by `cam -l` if that is absent.

    Where the binding hangs or fails `cam` is not asked: it stands on the same library.
    """
    quiet = {"LIBCAMERA_LOG_LEVELS": "*:ERROR"}
    # -B: a module that only looks leaves no compiled files behind.
    binding = run((PYTHON, "-IB", "-c", LISTING), timeout, quiet)
    found = parse_listing(binding.stdout) if binding.outcome is Outcome.EXITED else None
    absent = binding.outcome is Outcome.ABSENT or binding.status == NO_BINDING
    if not absent:
        source = _judge_run("libcamera", "The Python binding", binding, found)
        return Answer(found, [source])
    missing = Source(
        "libcamera", False, "python3-libcamera is not installed.", round(binding.duration, 3)
    )
    cam = run(("cam", "-l"), timeout, quiet)
    found = parse_cam(cam.stdout) if cam.outcome is Outcome.EXITED else None
    return Answer(found, [missing, _judge_run("cam", "cam", cam, found)])


def _same(known: Sighting, listed: Sighting) -> bool:
    """Tell whether a passive sighting and one of libcamera are the same camera."""
    if known.id == listed.id:
        return True
    if known.bus != listed.bus:
        return False
    if known.bus == "csi":
        node = TREE_NODE.search(listed.id)
        # With both paths known, different paths are different cameras of one kind.
        return (
            node is not None
            and not known.id.startswith("/base/")
            and (f"{node[1]}@{node[2].lstrip('0')}" in known.keys)
        )
    if known.bus == "usb":
        keys = [key for key in known.keys if key]
        return any(listed.id.endswith(f"-{key}") for key in keys) or (
            not keys and known.model is not None and known.model == listed.model
        )
    return False


def picamera2_order(ids: Sequence[str]) -> list[str]:
    """Return libcamera's names in the order in which Picamera2 counts cameras: USB ones last.

    It is the order of `Picamera2.global_camera_info()`, whose rule this repeats.
    """
    return sorted(ids, key=lambda name: ("/usb" not in name, name), reverse=True)


def _of(sighting: Sighting) -> Camera:
    return Camera(
        id=sighting.id,
        model=sighting.model,
        bus=sighting.bus,
        number=sighting.number,
        location=sighting.location,
        rotation=sighting.rotation,
        evidence=[sighting.evidence],
    )


def merge(passive: Sequence[Sighting], listed: Sequence[Sighting]) -> list[Camera]:
    """Return one camera for all sightings of it; libcamera's name, model and number win."""
    cameras = []
    unmatched = list(passive)
    order = picamera2_order([sighting.id for sighting in listed])
    for sighting in listed:
        camera = _of(sighting)
        camera.index = order.index(sighting.id)
        match = next((known for known in unmatched if _same(known, sighting)), None)
        if match is not None:
            unmatched.remove(match)
            camera.bus = match.bus
            camera.model = sighting.model or match.model
            camera.evidence.insert(0, match.evidence)
        cameras.append(camera)
    cameras.sort(key=lambda camera: camera.index or 0)
    return cameras + [_of(sighting) for sighting in unmatched]


def judge(camera: Camera, unasked: str | None) -> None:
    """Set a camera's `detected`, `usable` and `reason`.

    *unasked*: why libcamera could not be asked, or None if it has answered.
    """
    if camera.number is not None:
        camera.usable = True
    elif unasked is not None:
        camera.reason = f"libcamera could not be asked: {unasked}"
    elif camera.bus == "virtual":
        # Nothing but libcamera makes a virtual camera: what it does not list does not exist.
        camera.detected = camera.usable = False
        camera.reason = "It is configured, but libcamera's virtual pipeline does not offer it."
    else:
        camera.usable = False
        camera.reason = "The kernel sees it, but libcamera does not list it."


def _host_reason(cameras: Sequence[Camera], unasked: str | None) -> str | None:
    """Say in a sentence why the host has no usable camera; None if it has one or may have."""
    if any(camera.usable for camera in cameras):
        return None
    detected = sum(camera.detected for camera in cameras)
    if detected and unasked is None:
        return f"{_count(detected)} detected, but libcamera lists none."
    if detected:
        return (
            f"{_count(detected)} detected, but whether one is usable is not known:"
            f" libcamera could not be asked: {unasked}"
        )
    seen = "No camera was detected: the kernel shows no CSI sensor and no USB camera, and libcamera"
    return f"{seen} lists none." if unasked is None else f"{seen} could not be asked: {unasked}"


def _advice(cameras: Sequence[Camera], answer: Answer) -> list[str]:
    """Return what a person can do about having no usable camera, the likeliest first."""
    if any(camera.usable for camera in cameras):
        return []
    steps = []
    if answer.sightings is None and not answer.sources[0].detail.startswith("The Python binding"):
        steps.append(ADVICE_LIBCAMERA)
    if answer.sightings is not None and any(camera.bus == "virtual" for camera in cameras):
        steps.append(ADVICE_VIRTUAL)
    if not any(camera.detected for camera in cameras):
        steps = [*ADVICE_NONE_SEEN, *steps]
    return steps


def inspect(root: Path, run: Runner, timeout: float) -> dict[str, Any]:
    """Return what the module returns.

    *root*: where /sys, /dev, /etc and /usr are; *timeout*: seconds for each tool.
    """
    sysfs, kernel = read_sysfs(root)
    virtual, configured = read_virtual(root)
    answer = ask_libcamera(run, timeout)
    unasked = answer.sources[-1].detail if answer.sightings is None else None
    if len(answer.sources) > 1 and unasked is not None:
        unasked = " ".join(source.detail for source in answer.sources)
    cameras = merge([*kernel, *configured], answer.sightings or [])
    for camera in cameras:
        judge(camera, unasked)
    present = any(camera.detected for camera in cameras)
    usable: bool | None = any(camera.usable for camera in cameras)
    if present and unasked is not None:
        usable = None
    return {
        "present": present,
        "usable": usable,
        "reason": _host_reason(cameras, unasked),
        "advice": _advice(cameras, answer),
        "cameras": [asdict(camera) for camera in cameras],
        "sources": [asdict(source) for source in (sysfs, virtual, *answer.sources)],
    }
