# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tools say of cameras: which are asked, in which order, and what their output means.

libcamera is asked through its Python binding; where that is not installed, through `cam`; where
that is not installed either, through `rpicam-hello`, which acquires and configures every camera
and so is asked only where nobody can be disturbed. Each has a time-out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.rpi_camera.fleet.plugins.module_utils._sightings import (
    LOCATIONS,
    Evidence,
    Sighting,
    Source,
    count,
    location_of,
)
from ansible_collections.rpi_camera.fleet.plugins.module_utils._tools import Outcome, ToolRun

Runner = Callable[[Sequence[str], float, Mapping[str, str]], ToolRun]

PYTHON = "/usr/bin/python3"
CAMERAS_MARK = "rpi_camera.fleet cameras: "
BUSY_MARK = "rpi_camera.fleet busy: "
# Exit status of LISTING where the binding is not installed (EX_UNAVAILABLE).
NO_BINDING = 69

# Lists the cameras through libcamera's Python binding in the form of Picamera2.global_camera_info,
# with their device numbers. Then tries whether the cameras that its arguments name can be acquired,
# and releases them at once; that is asked of virtual cameras only (see `Question`). The lines with
# the answers are marked, since libcamera logs to the same output; os._exit skips the binding's
# tear-down, which is known to crash after everything has been said.
LISTING = f"""
import errno, json, os, sys
try:
    import libcamera
except ModuleNotFoundError:
    sys.exit({NO_BINDING})
cameras, records = list(libcamera.CameraManager.singleton().cameras), []
for number, camera in enumerate(cameras):
    values = {{key.name: value for key, value in camera.properties.items()}}
    record = {{"Id": camera.id, "Num": number}}
    if "Model" in values:
        record["Model"] = values["Model"]
    for name in ("Location", "Rotation"):
        if name in values:
            record[name] = int(values[name])
    if "SystemDevices" in values:
        record["SystemDevices"] = [int(device) for device in values["SystemDevices"]]
    records.append(record)
print("\\n" + {CAMERAS_MARK!r} + json.dumps(records), flush=True)
busy = {{}}
for camera in cameras:
    if camera.id in sys.argv[1:]:
        try:
            # Bindings before 0.1 return a negative number instead of raising.
            code = camera.acquire() or 0
        except RuntimeError as error:
            code = -errno.EBUSY if os.strerror(errno.EBUSY) in str(error) else -errno.EIO
        if code == 0:
            camera.release()
        if code in (0, -errno.EBUSY):
            busy[camera.id] = code != 0
print("\\n" + {BUSY_MARK!r} + json.dumps(busy), flush=True)
os._exit(0)
"""

# libcamera's name for a CSI camera is its node in the device tree; it ends in "imx708@1a".
TREE_NODE = re.compile(r"/([^/@]+)@([0-9a-f]+)$")

# libcamera's name for a USB camera ends in ports, interface, vendor and product.
USB_ID = re.compile(r"(?:[^-/]*:\d+\.\d+-)?[0-9a-f]{4}:[0-9a-f]{4}$")

# A line of `cam -l`: number from 1, location or quoted model or both, libcamera's name in brackets.
CAM_LINE = re.compile(r"^(?P<number>\d+): (?P<text>.*\S) \((?P<id>.*)\)$")
CAM_MODEL = re.compile(r"'(?P<model>.*)'")

# A camera of `rpicam-hello --list-cameras`: number, model, mostly size and more, libcamera's name.
# The lines of its modes begin with blanks or with "Modes:".
HELLO_LINE = re.compile(r"^\d+ : (?P<model>.+?)(?: \[\d+x\d+[^\]]*\])? \((?P<id>[^()]*)\)$")
HELLO_NONE = "No cameras available!"

# The answer of `vcgencmd get_camera`.
FIRMWARE = re.compile(
    r"supported=\d+ detected=(?P<detected>\d+)(?:,\s*libcamera interfaces=(?P<interfaces>\d+))?"
)


@dataclass(frozen=True)
class Question:
    """What libcamera may be asked.

    *virtual*: names of virtual cameras that may be tried for whether they can be acquired. Such a
    camera has no media device, so libcamera knows of no other process that has it, and a try can
    take it from nobody. *acquiring*: whether a tool may be used that acquires every camera.
    """

    virtual: tuple[str, ...] = ()
    acquiring: bool = False


@dataclass
class Answer:
    """What libcamera said.

    *sightings*: its cameras, None if it could not be asked; *busy*: name of a virtual camera ->
    whether acquiring it failed since another has it; *missing*: whether nothing that could be asked
    is installed; *hung*: whether what was asked hung; *sources*: who was asked.
    """

    sightings: list[Sighting] | None
    sources: list[Source]
    busy: dict[str, bool] = field(default_factory=dict)
    missing: bool = False
    hung: bool = False

    @property
    def unasked(self) -> str | None:
        """Say why libcamera could not be asked; None if it has answered."""
        if self.sightings is not None:
            return None
        why = " ".join(source.detail for source in self.sources)
        return why if why.startswith("libcamera") else f"libcamera could not be asked: {why}"


def bus_of(camera: str) -> str:
    """Tell a camera's bus from libcamera's name for it."""
    if "/usb" in camera or (camera[:1] in "/\\" and USB_ID.search(camera)):
        return "usb"
    if re.fullmatch(r"Virtual\d+", camera):
        return "virtual"
    return "csi" if TREE_NODE.search(camera) else "unknown"


def _listed(
    source: str,
    camera: str,
    *,
    number: int | None = None,
    model: str | None = None,
    location: str | None = None,
    rotation: int | None = None,
    devices: Sequence[int] = (),
) -> Sighting:
    """Return a camera that libcamera lists."""
    node = TREE_NODE.search(camera)
    bus = bus_of(camera)
    said = "listed by libcamera" if number is None else f"listed by libcamera as number {number}"
    return Sighting(
        id=camera,
        bus=bus,
        model=model,
        sensor=node[1] if node and bus == "csi" else None,
        number=number,
        location=location,
        rotation=rotation,
        evidence=[Evidence(source, said)],
        devices=frozenset(devices),
    )


def parse_camera_info(source: str, cameras: list[dict[str, Any]]) -> list[Sighting]:
    """Return the cameras of a list in the form of `Picamera2.global_camera_info()`."""
    return [
        _listed(
            source,
            camera["Id"],
            number=camera.get("Num"),
            model=camera.get("Model"),
            location=location_of(camera.get("Location")),
            rotation=camera.get("Rotation"),
            devices=camera.get("SystemDevices", ()),
        )
        for camera in cameras
    ]


def _marked(text: str, mark: str) -> Any:
    """Return the JSON of the line that has the mark, or None if it is missing or broken."""
    for line in text.splitlines():
        if line.startswith(mark):
            try:
                return json.loads(line.removeprefix(mark))
            except ValueError:
                return None
    return None


def parse_listing(text: str) -> list[Sighting] | None:
    """Return the cameras of LISTING's output, or None if the marked line is missing or broken."""
    cameras = _marked(text, CAMERAS_MARK)
    return None if cameras is None else parse_camera_info("libcamera", cameras)


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
                camera["id"],
                number=int(camera["number"]) - 1,
                model=model["model"] if model else None,
                location=place if place in LOCATIONS else None,
            )
        )
    return sightings


def parse_hello(text: str) -> list[Sighting] | None:
    """Return the cameras of `rpicam-hello --list-cameras`, or None if it gave no list.

    Its numbers are its own: later versions leave USB cameras out and sort the others.
    """
    lines = [line.rstrip() for line in text.splitlines()]
    if HELLO_NONE in lines:
        return []
    if "Available cameras" not in lines:
        return None
    return [
        _listed("rpicam-hello", camera["id"], model=camera["model"])
        for line in lines
        if (camera := HELLO_LINE.match(line))
    ]


def parse_firmware(text: str) -> bool | None:
    """Tell from `vcgencmd get_camera` whether the legacy stack has a camera; None if not said.

    The firmware counts the cameras of its own, legacy stack: 0 says nothing about libcamera's.
    """
    answer = FIRMWARE.search(text)
    return (
        None
        if answer is None
        else answer["detected"] != "0" and answer["interfaces"] in (None, "0")
    )


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
    hung = f"{tool} did not answer within {run.duration:.1f} s and was ended."
    if found is not None:
        said = f"libcamera lists {count(len(found))}."
        # It may hang after all that was asked for has been said.
        detail = f"{said} {hung}" if run.outcome is Outcome.HUNG else said
        return Source(name, True, detail, duration)
    if run.outcome is Outcome.HUNG:
        return Source(name, False, hung, duration)
    return Source(name, False, f"{tool} {_last_words(run)}", duration)


# libcamera logs every step of its start otherwise.
QUIET = {"LIBCAMERA_LOG_LEVELS": "*:ERROR"}


def ask_libcamera(run: Runner, timeout: float, question: Question) -> Answer:
    """Ask libcamera for its cameras, through the first tool that is installed.

    Where one hangs or fails the next is not asked: they stand on the same library, and a host on
    which everything hangs costs one time-out.
    """
    # -B: a module that only looks leaves no compiled files behind.
    binding = run((PYTHON, "-IB", "-c", LISTING, *question.virtual), timeout, QUIET)
    found = parse_listing(binding.stdout)
    if binding.outcome is not Outcome.ABSENT and binding.status != NO_BINDING:
        source = _judge_run("libcamera", "The Python binding", binding, found)
        busy = _marked(binding.stdout, BUSY_MARK) or {}
        return Answer(found, [source], busy, hung=binding.outcome is Outcome.HUNG)
    sources = [
        Source(
            "libcamera", False, "python3-libcamera is not installed.", round(binding.duration, 3)
        )
    ]
    cam = run(("cam", "-l"), timeout, QUIET)
    found = parse_cam(cam.stdout) if cam.outcome is Outcome.EXITED else None
    sources.append(_judge_run("cam", "cam", cam, found))
    if cam.outcome is not Outcome.ABSENT:
        return Answer(found, sources, hung=cam.outcome is Outcome.HUNG)
    if not question.acquiring:
        said = "rpicam-hello was not asked, as it acquires every camera and one may be in use."
        return Answer(None, [*sources, Source("rpicam-hello", False, said)], missing=True)
    for tool in ("rpicam-hello", "libcamera-hello"):
        hello = run((tool, "--list-cameras"), timeout, QUIET)
        if hello.outcome is not Outcome.ABSENT:
            break
    found = (
        parse_hello(f"{hello.stdout}\n{hello.stderr}") if hello.outcome is Outcome.EXITED else None
    )
    return Answer(
        found,
        [*sources, _judge_run("rpicam-hello", "rpicam-hello", hello, found)],
        missing=hello.outcome is Outcome.ABSENT,
        hung=hello.outcome is Outcome.HUNG,
    )


def ask_firmware(run: Runner, timeout: float) -> tuple[Source, bool]:
    """Ask the firmware, and tell whether its legacy camera stack has a camera."""
    asked = run(("vcgencmd", "get_camera"), timeout, {})
    legacy = parse_firmware(asked.stdout) if asked.outcome is Outcome.EXITED else None
    if legacy is None:
        return _judge_run("vcgencmd", "vcgencmd", asked, None), False
    weight = (
        "so the legacy camera stack is turned on."
        if legacy
        else "which says nothing about cameras that libcamera uses."
    )
    said = f"The firmware says {asked.stdout.strip()}, {weight}"
    return Source("vcgencmd", True, said, round(asked.duration, 3)), legacy
