"""Print the options with which `docker run` gives a container this device's cameras, a line each.

    options=$(python3 run_options.py) && docker run $options --publish 8080:8080 IMAGE

The kernel numbers its device nodes anew at each boot and whenever something is plugged, so this is
run before each start, by a user who may open the nodes. It needs Python's own library only.

What libcamera opens was read in its source (src/libcamera/pipeline/rpi, …/uvcvideo, sysfs.cpp,
media_object.cpp, dma_buf_allocator.cpp), what Picamera2 opens in its dma_heap.py and platform.py.
"""

import ctypes
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

DEV = Path("/dev")
SYS = Path("/sys")
UDEV = Path("/run/udev")

# The drivers of the media devices that libcamera takes for a camera on a Raspberry Pi: sensor and
# image processor up to a Pi 4, the same of a Pi 5, USB. Codecs, which are media devices, stay out.
UNTIL_PI_4 = ("unicam", "bcm2835-isp")
DRIVERS = (*UNTIL_PI_4, "rp1-cfe", "pispbe", "uvcvideo")

# Where buffers come from, and each takes the first that there is. Raspberry Pi OS links the first
# name to the heap that fits the board.
PICAMERA2_HEAPS = ("dma_heap/vidbuf_cached", "dma_heap/linux,cma")
# For the lens' shading, up to a Pi 4; the second where the kernel's command line sets its size.
LIBCAMERA_HEAPS = ("dma_heap/linux,cma", "dma_heap/reserved")

# libcamera names a camera by its place in the firmware's tree, /sys/firmware, which Docker covers.
# Without, there is no camera on USB and no IMX500, and others have another name. Docker uncovers
# that and parts of /proc together or not at all; there, modes hold off a user without capabilities.
FIRMWARE = "--security-opt=systempaths=unconfined"

# A container's first process hears no signal before it asks for it, and a server asks late: Docker
# would wait 10 s for one that it has just started. Its own init passes them on.
INIT = "--init"

# What no camera needs is taken away.
LIMITS = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")


class _DeviceInfo(ctypes.Structure):
    """struct media_device_info (linux/media.h)."""

    _fields_ = [
        ("driver", ctypes.c_char * 16),
        ("model", ctypes.c_char * 32),
        ("serial", ctypes.c_char * 40),
        ("bus_info", ctypes.c_char * 32),
        ("versions_and_reserved", ctypes.c_uint32 * 34),
    ]


class _Interface(ctypes.Structure):
    """struct media_v2_interface with its device node (linux/media.h)."""

    _fields_ = [
        ("id", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("flags_and_reserved", ctypes.c_uint32 * 10),
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("raw", ctypes.c_uint32 * 14),
    ]


class _List(ctypes.Structure):
    """One of the lists in struct media_v2_topology."""

    _fields_ = [
        ("count", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("pointer", ctypes.c_uint64),
    ]


class _Topology(ctypes.Structure):
    """struct media_v2_topology (linux/media.h)."""

    _fields_ = [
        ("version", ctypes.c_uint64),
        ("entities", _List),
        ("interfaces", _List),
        ("pads", _List),
        ("links", _List),
    ]


def _ioctl_number(number: int, size: int) -> int:
    """Return _IOWR('|', number, size) as asm-generic/ioctl.h makes it."""
    return (3 << 30) | (size << 16) | (ord("|") << 8) | number


_DEVICE_INFO = _ioctl_number(0x00, ctypes.sizeof(_DeviceInfo))
_G_TOPOLOGY = _ioctl_number(0x04, ctypes.sizeof(_Topology))

# MEDIA_INTF_T_V4L_*: libcamera wants them all, down to those that it never opens. The sound of a
# camera on USB is an interface, too, of another kind.
_V4L = range(0x200, 0x300)


def _node(number: str) -> Path:
    """Return the node of a character device, given as MAJOR:MINOR."""
    for line in (SYS / "dev/char" / number / "uevent").read_text().splitlines():
        key, _equals, value = line.partition("=")
        if key == "DEVNAME":
            return DEV / value
    raise OSError(f"{number} has no device node")


def _ask(media: BinaryIO, request: int, answer: ctypes.Structure) -> None:
    """Have the kernel fill in a structure. Raises OSError, with the node's name."""
    try:
        fcntl.ioctl(media, request, answer)
    except OSError as error:
        raise OSError(error.errno, error.strerror, media.name) from None


def media_device(path: Path) -> tuple[str, list[Path]]:
    """Return a media device's driver and, if it is a camera's, its node and those of its parts.

    Raises:
        OSError: it cannot be asked.

    """
    with path.open("rb", buffering=0) as media:
        info = _DeviceInfo()
        _ask(media, _DEVICE_INFO, info)
        driver = info.driver.decode()
        if driver not in DRIVERS:
            return driver, []
        topology = _Topology()
        _ask(media, _G_TOPOLOGY, topology)
        interfaces = (_Interface * topology.interfaces.count)()
        topology = _Topology()
        topology.interfaces.count = len(interfaces)
        topology.interfaces.pointer = ctypes.addressof(interfaces)
        _ask(media, _G_TOPOLOGY, topology)
    parts = [part for part in interfaces if part.type in _V4L]
    return driver, [path, *(_node(f"{part.major}:{part.minor}") for part in parts)]


def _first(names: tuple[str, ...]) -> list[Path]:
    return [DEV / name for name in names if (DEV / name).exists()][:1]


def cameras() -> list[tuple[str, list[Path]]]:
    """Return the driver and the device nodes of each media device that is part of a camera.

    Raises:
        OSError: a media device cannot be asked.

    """
    media = [path for path in DEV.glob("media*") if path.name[len("media") :].isdecimal()]
    media.sort(key=lambda path: (len(path.name), path.name))
    asked = [media_device(path) for path in media]
    return [(driver, nodes) for driver, nodes in asked if nodes]


def options(found: list[tuple[str, list[Path]]]) -> Iterator[str]:
    """Yield the options for `docker run` that give it cameras."""
    nodes = [node for _driver, group in found for node in group] + _first(PICAMERA2_HEAPS)
    if any(driver in UNTIL_PI_4 for driver, _group in found):
        nodes += _first(LIBCAMERA_HEAPS)
    granted = list(dict.fromkeys(nodes))
    for node in granted:
        # A link's own name is what is asked for, and its target what Docker would name it.
        yield f"--device={os.path.realpath(node)}:{node}:rw"
    # By number: the container's names for groups are its own.
    for group in sorted({node.stat().st_gid for node in granted} - {0}):
        yield f"--group-add={group}"
    if UDEV.exists():
        yield f"--volume={UDEV}:{UDEV}:ro"
    yield FIRMWARE
    yield INIT
    yield from LIMITS


def main() -> int:
    """Print the options; return the exit status."""
    try:
        found = cameras()
        print(*options(found), sep="\n")
    except OSError as error:
        refused = isinstance(error, PermissionError)
        hint = "; run it as root or as a member of the group video" if refused else ""
        print(f"{sys.argv[0]}: {error}{hint}", file=sys.stderr)
        return 1
    if not found:
        print(f"{sys.argv[0]}: there is no camera here to grant", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
