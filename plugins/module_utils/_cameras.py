# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What says that a camera is there, and how it adds up.

Every source is read into sightings of cameras; `inspect` merges the sightings of one camera and
judges it. Programs are started through the runner that is given; nothing here opens a camera.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.rpi_camera.fleet.plugins.module_utils._boot_config import (
    BootConfig,
    read_config,
)
from ansible_collections.rpi_camera.fleet.plugins.module_utils._holders import (
    Holder,
    Processes,
    read_processes,
)
from ansible_collections.rpi_camera.fleet.plugins.module_utils._kernel import (
    KernelView,
    read_board,
    read_sysfs,
)
from ansible_collections.rpi_camera.fleet.plugins.module_utils._listings import (
    TREE_NODE,
    Answer,
    Question,
    Runner,
    ask_firmware,
    ask_libcamera,
)
from ansible_collections.rpi_camera.fleet.plugins.module_utils._sightings import (
    Evidence,
    Receiver,
    Sighting,
    Source,
    count,
    read,
)
from ansible_collections.rpi_camera.fleet.plugins.module_utils._tools import within

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
ADVICE_HUNG = (
    "libcamera hangs, as it does when a camera's driver is stuck: switch the power off and on, and"
    " check the camera's cable and the power supply."
)
ADVICE_LEGACY = (
    "Turn the legacy camera stack off, as libcamera sees no camera beside it: in config.txt remove"
    " the line start_x=1 (and start_file=…x.elf), set camera_auto_detect=1, and reboot."
)
ADVICE_CABLE = (
    "Check the ribbon cable at both ends, at the board and at the camera: fully in, straight,"
    " latch closed, and its contacts on the side of the connector's contacts.",
    "Power off before a CSI camera is plugged in, and start again afterwards: it is looked for at"
    " boot only.",
)
ADVICE_CONFIG = (
    "Check that /boot/firmware/config.txt (older: /boot/config.txt) has camera_auto_detect=1, or a"
    " dtoverlay line for a sensor that is not found by itself, and reboot after a change."
)
ADVICE_USB = (
    "For a USB camera, check that lsusb lists it; if not, try another cable, another port, or a"
    " hub with a power supply."
)
CSI_IN_USE = (
    "libcamera was not asked, as a CSI camera is in use: making its list writes to the sensor."
)


@dataclass
class Camera:
    """A camera after all sources have been heard; *receivers*: those that it can hang on."""

    id: str
    index: int | None
    number: int | None
    model: str | None
    sensor: str | None
    bus: str
    location: str | None
    rotation: int | None
    receivers: tuple[Receiver, ...]
    listed: bool
    detected: bool = True
    usable: bool | None = None
    busy: bool | None = None
    holders: list[Holder] = field(default_factory=list)
    reason: str | None = None
    evidence: list[Evidence] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        """Return what the module returns."""
        own = asdict(self)
        return {name: own[name] for name in own if name not in ("receivers", "listed")}

    @property
    def users(self) -> str:
        """Say who has it, of a camera that is busy."""
        users = [holder for holder in self.holders if holder.exclusive]
        if users:
            return ", ".join(map(str, users))
        if self.holders:
            return f"one of {', '.join(map(str, self.holders))}"
        return "a process that only root can see"


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
        text = read(root / name)
        if text is None:
            continue
        sightings = [
            Sighting(
                id=camera,
                bus="virtual",
                model=model,
                evidence=[Evidence("virtual", f"configured in /{name}")],
            )
            for camera, model in parse_virtual(text)
        ]
        return Source("virtual", True, f"/{name} has {count(len(sightings))}."), sightings
    return Source("virtual", False, "libcamera's virtual pipeline is not configured."), []


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


def _of(sighting: Sighting, order: Sequence[str] = ()) -> Camera:
    listed = sighting.id in order
    return Camera(
        id=sighting.id,
        index=order.index(sighting.id) if listed else None,
        number=sighting.number,
        model=sighting.model,
        sensor=sighting.sensor,
        bus=sighting.bus,
        location=sighting.location,
        rotation=sighting.rotation,
        receivers=sighting.receivers,
        listed=listed,
        evidence=list(sighting.evidence),
    )


def _own_receivers(
    listed: Sighting, match: Sighting | None, receivers: Sequence[Receiver]
) -> tuple[Receiver, ...]:
    """Return the receivers that a listed camera can hang on, as libcamera says, or else sysfs."""
    named = tuple(receiver for receiver in receivers if receiver.numbers & listed.devices)
    return named or (match.receivers if match else ())


def merge(
    passive: Sequence[Sighting],
    expected: Sequence[Sighting],
    listed: Sequence[Sighting],
    receivers: Sequence[Receiver],
) -> list[Camera]:
    """Return one camera for all sightings of it; libcamera's name, model and number win.

    *passive*: what is there or configured; *expected*: what config.txt names.
    """
    cameras = []
    unmatched = list(passive)
    order = picamera2_order([sighting.id for sighting in listed])
    names: list[set[str]] = []
    for sighting in listed:
        camera = _of(sighting, order)
        match = next((known for known in unmatched if _same(known, sighting)), None)
        camera.receivers = _own_receivers(sighting, match, receivers)
        names.append({camera.sensor or ""})
        if match is not None:
            unmatched.remove(match)
            camera.bus = match.bus
            camera.model = sighting.model or match.model
            camera.sensor = match.sensor or sighting.sensor
            camera.location = sighting.location or match.location
            camera.rotation = match.rotation if sighting.rotation is None else sighting.rotation
            camera.evidence[:0] = match.evidence
            names[-1].update(match.keys)
        cameras.append(camera)
    cameras += [_of(sighting) for sighting in unmatched]
    names += [{*sighting.keys} for sighting in unmatched]
    for sighting in expected:
        place = next((n for n, own in enumerate(names) if sighting.sensor in own), None)
        if place is None:
            missing = _of(sighting)
            missing.detected = False
            cameras.append(missing)
        else:
            # Each overlay stands for one camera: the next of its kind is another.
            names[place] = set()
            cameras[place].evidence += sighting.evidence
    # The sort is stable: those that libcamera does not list stay in order, behind.
    cameras.sort(key=lambda camera: len(order) if camera.index is None else camera.index)
    return cameras


def _taken(receiver: Receiver, processes: Processes, usb: bool) -> bool | None:
    """Tell whether a process has a receiver for itself; None if that cannot be seen."""
    if any(node in processes.locked for node in receiver.media):
        return True
    if any(node in processes.mapped for node in receiver.nodes):
        return True
    # Of a USB camera, a program that does not use libcamera shows in its own process only.
    hidden = usb and processes.unread > 0
    return None if hidden or not processes.locks_known or not receiver.media else False


def _occupy(camera: Camera, processes: Processes | None, answer: Answer) -> bool:
    """Set a camera's `busy` and `holders`; tell whether libcamera's own lock shows it in use."""
    if not camera.detected or processes is None:
        return False
    if camera.bus == "virtual":
        # Nobody has one who has not loaded libcamera.
        camera.busy = answer.busy.get(camera.id, False if processes.without_libcamera else None)
        if camera.busy:
            camera.evidence.append(Evidence("libcamera", "it cannot be acquired: another has it"))
            sure = True if len(processes.libcamera) == 1 and not processes.unread else None
            camera.holders = [processes.holder(pid, sure) for pid in sorted(processes.libcamera)]
        return False
    taken = [_taken(one, processes, camera.bus == "usb") for one in camera.receivers]
    if taken and len(set(taken)) == 1:
        camera.busy = taken[0]
    if camera.busy or len(taken) == 1:
        nodes = frozenset(node for receiver in camera.receivers for node in receiver.nodes)
        camera.holders = processes.of(nodes)
        camera.evidence += [
            Evidence("processes", f"{holder} has it {'in use' if holder.exclusive else 'open'}")
            for holder in camera.holders
        ]
    return bool(camera.busy) and any(
        node in processes.locked for receiver in camera.receivers for node in receiver.media
    )


def judge(camera: Camera, locked: bool, unasked: str | None, config: BootConfig | None) -> None:
    """Set a camera's `detected`, `usable` and `reason`.

    *locked*: whether a program has acquired it through libcamera; *unasked*: why libcamera could
    not be asked, or None if it has answered.
    """
    if not camera.detected:
        camera.usable = False
        where = config.path if config else "config.txt"
        camera.reason = f"{where} names {camera.sensor}, but no such sensor answered."
    elif camera.listed or locked:
        camera.usable = True
    elif unasked is not None:
        camera.reason = unasked
    elif camera.bus == "virtual":
        # Nothing but libcamera makes a virtual camera: what it does not list does not exist.
        camera.detected = camera.usable = False
        camera.reason = "It is configured, but libcamera's virtual pipeline does not offer it."
    else:
        camera.usable = False
        camera.reason = "The kernel sees it, but libcamera does not list it."
    if camera.busy:
        camera.reason = f"In use by {camera.users}."


@dataclass(frozen=True)
class Findings:
    """All that a host's reason and advice rest on; *legacy*: what shows the legacy camera stack."""

    cameras: list[Camera]
    answer: Answer
    unasked: str | None
    config: BootConfig | None
    legacy: str | None

    @property
    def free(self) -> bool:
        """Whether a camera can be used right now, as far as is known."""
        return any(camera.usable and not camera.busy for camera in self.cameras)

    @property
    def in_use(self) -> list[Camera]:
        """The cameras that others have."""
        return [camera for camera in self.cameras if camera.busy]

    @property
    def missing(self) -> list[Camera]:
        """The cameras that config.txt names, and that are not there."""
        return [c for c in self.cameras if not c.detected and c.bus == "csi"]

    @property
    def not_looked_for(self) -> bool:
        """Whether config.txt has the firmware look for no CSI camera, and there is none."""
        return (
            self.config is not None
            and not self.config.camera_auto_detect
            and not self.config.overlays
            and not self.config.unclear
            and not any(camera.detected and camera.bus == "csi" for camera in self.cameras)
        )

    def reason(self) -> str | None:
        """Say why the host has no camera that can be used; None if it has one or may have."""
        if self.free:
            return None
        if self.in_use:
            if len(self.cameras) == 1:
                return f"The camera is in use by {self.in_use[0].users}."
            each = " ".join(f"{camera.id}: {camera.reason}" for camera in self.cameras)
            return f"No camera is free. {each}"
        return " ".join((self._what_is_seen(), *self._what_is_configured()))

    def _what_is_seen(self) -> str:
        detected = sum(camera.detected for camera in self.cameras)
        if detected and self.unasked is None:
            return f"{count(detected)} detected, but libcamera lists none."
        if detected:
            seen = f"{count(detected)} detected, but whether one is usable is not known"
            return f"{seen}: {self.unasked}"
        seen = "No camera was detected: the kernel shows no CSI sensor and no USB camera, and "
        return seen + (self.unasked or "libcamera lists none.")

    def _what_is_configured(self) -> list[str]:
        said = []
        if self.legacy is not None:
            said.append(f"The legacy camera stack is turned on: {self.legacy}.")
        elif self.config is not None and self.not_looked_for:
            detect = "=0" if self.config.camera_auto_detect is False else " not set"
            said.append(
                f"{self.config.path} has camera_auto_detect{detect} and names no camera's overlay,"
                " so no CSI camera is looked for."
            )
        return said + [str(camera.reason) for camera in self.missing]

    def advice(self) -> list[str]:
        """Return what a person can do about having no camera to use, the likeliest first."""
        if self.free:
            return []
        if self.in_use:
            return [_advice_in_use(self.in_use)]
        steps = []
        if self.legacy is not None:
            steps.append(ADVICE_LEGACY)
        elif self.config is not None and self.not_looked_for:
            steps.append(
                f"In {self.config.path} set camera_auto_detect=1, or name the sensor as in"
                " dtoverlay=imx708, and reboot."
            )
        steps += [
            f"Check that the camera is an {camera.sensor} and sits in the connector that"
            f" {camera.id.removeprefix('dtoverlay=')} means (cam1 if it says none), and reboot"
            " after a change."
            for camera in self.missing
        ]
        if not any(camera.detected for camera in self.cameras):
            steps += ADVICE_CABLE
            if self.config is None:
                steps.append(ADVICE_CONFIG)
            steps.append(ADVICE_USB)
        if self.answer.missing:
            steps.append(ADVICE_LIBCAMERA)
        if self.answer.hung:
            steps.append(ADVICE_HUNG)
        if self.unasked is None and any(camera.bus == "virtual" for camera in self.cameras):
            steps.append(ADVICE_VIRTUAL)
        return steps


def _advice_in_use(cameras: Sequence[Camera]) -> str:
    """Say how to get a camera back."""
    holders = [holder for camera in cameras for holder in camera.holders]
    units = sorted({holder.unit for holder in holders if holder.unit and holder.exclusive})
    if not units:
        return "Only one program at a time can have a camera: end the one that has it."
    stop = f"sudo systemctl stop {' '.join(units)}"
    return f"Only one program at a time can have a camera: end the one that has it ({stop})."


def _ask(
    kernel: KernelView,
    configured: Sequence[Sighting],
    processes: Processes | None,
    run: Runner,
    timeout: float,
) -> Answer:
    """Ask libcamera as much as disturbs nobody.

    As it makes its list libcamera sets up every CSI sensor: it turns flips and test pattern off. So
    it is not asked while one is in use.
    """
    virtual = tuple(sighting.id for sighting in configured)
    if processes is None:
        return ask_libcamera(run, timeout, Question(virtual))
    if any(_taken(receiver, processes, usb=False) for receiver in kernel.csi):
        return Answer(None, [Source("libcamera", False, CSI_IN_USE)])
    question = Question(
        virtual=() if processes.without_libcamera else virtual,
        acquiring=not (processes.unread or processes.opened or processes.locked),
    )
    return ask_libcamera(run, timeout, question)


def inspect(root: Path, run: Runner, timeout: float) -> dict[str, Any]:
    """Return what the module returns.

    *root*: where /sys, /proc, /dev, /boot, /etc and /usr are; *timeout*: seconds for each tool.
    """
    board = read_board(root)
    kernel = read_sysfs(root)
    config_source, config, expected = read_config(root, board)
    virtual, configured = read_virtual(root)
    receivers = [*kernel.csi, *kernel.usb]
    nodes = frozenset(node for receiver in receivers for node in receiver.nodes)
    processes = within(timeout, lambda: read_processes(root, nodes, bool(configured)))
    answer = _ask(kernel, configured, processes, run, timeout)
    unasked = answer.unasked
    sources = [kernel.source, config_source, virtual]
    sources.append(
        Source("processes", False, f"The processes could not be read within {timeout:g} s.")
        if processes is None
        else processes.source()
    )
    sources += answer.sources
    cameras = merge([*kernel.sightings, *configured], expected, answer.sightings or [], receivers)
    for camera in cameras:
        judge(camera, _occupy(camera, processes, answer), unasked, config)
    legacy = kernel.legacy
    if config is not None and config.legacy:
        legacy = f"{config.path} has {' and '.join(config.legacy)}"
    if not any(camera.detected for camera in cameras):
        firmware, counted = ask_firmware(run, timeout)
        sources.append(firmware)
        legacy = legacy or (
            "the firmware counts a camera for it (vcgencmd get_camera)" if counted else None
        )
    findings = Findings(cameras, answer, unasked, config, legacy)
    present = any(camera.detected for camera in cameras)
    usable: bool | None = any(camera.usable for camera in cameras)
    if present and not usable and unasked is not None:
        usable = None
    pipelines = list(kernel.pipelines)
    if any(camera.detected and camera.bus == "virtual" for camera in cameras):
        pipelines.append("virtual")
    return {
        "present": present,
        "usable": usable,
        "reason": findings.reason(),
        "advice": findings.advice(),
        "board": board,
        "pipeline": pipelines,
        "config": None if config is None else config.answer(),
        "cameras": [camera.answer() for camera in cameras],
        "sources": [asdict(source) for source in sources],
    }
