# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests stand on: JPEGs, the server's side of a connection, fake devices."""

from __future__ import annotations

import io
import os
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n"
    b"Connection: close\r\n\r\n"
)


@cache
def jpeg(seed: int = 0, width: int = 640, height: int = 480) -> bytes:
    """Return a grey JPEG; *seed* stands in it as a comment and makes it differ from others."""
    file = io.BytesIO()
    Image.new("L", (width, height), 128).save(file, "JPEG", comment=str(seed))
    return file.getvalue()


def part(body: bytes, *headers: str, length: bool = True, boundary: str = "frame") -> bytes:
    """Return a part as a server sends it: the boundary first, a line's end behind the body."""
    lines = [f"--{boundary}", "Content-Type: image/jpeg", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body + b"\r\n"


@dataclass
class Wire:
    """A server's side of a connection: its request, and a way to send and to wait."""

    connection: socket.socket
    request: bytes
    over: threading.Event = field(default_factory=threading.Event)

    def send(self, *pieces: bytes) -> None:
        """Send pieces one by one."""
        for piece in pieces:
            self.connection.sendall(piece)

    def hang(self) -> None:
        """Keep the connection open and silent until the test is over."""
        self.over.wait(30)

    def pause(self, seconds: float) -> None:
        """Let time pass between two frames."""
        self.over.wait(seconds)


class Serve(Protocol):
    """Starts a server with one behaviour, over TLS if told how, and returns its URL."""

    def __call__(self, behave: Callable[[Wire], None], tls: ssl.SSLContext | None = None) -> str:
        """Start it."""


@dataclass(frozen=True)
class Device:
    """A device's file system, as far as cameras show in it."""

    root: Path

    def write(self, name: str, text: str) -> None:
        """Write a file and the folders above it."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def link(self, name: str, target: str) -> None:
        """Make a link to another path of the device, which need not exist."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(self.root / target)

    def subdevice(self, number: int, name: str, place: str, driver: str, node: str = "") -> None:
        """Add an I2C device with a v4l-subdev entry; *node*: its path in the device tree."""
        device = f"sys/devices/platform/i2c/{place}"
        (self.root / device).mkdir(parents=True)
        self.link(f"{device}/driver", f"sys/bus/i2c/drivers/{driver}")
        if node:
            tree = f"sys/firmware/devicetree{node}"
            (self.root / tree).mkdir(parents=True)
            self.link(f"{device}/of_node", tree)
        entry = f"sys/class/video4linux/v4l-subdev{number}"
        self.write(f"{entry}/name", f"{name}\n")
        self.link(f"{entry}/device", device)

    def endpoint(self, node: str, phandle: int, remote: int) -> None:
        """Join a device tree node's port to that of another; phandles are numbers of ports."""
        for name, value in (("phandle", phandle), ("remote-endpoint", remote)):
            path = self.root / f"sys/firmware/devicetree{node}/port/endpoint/{name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value.to_bytes(4, "big"))

    def receiver(self, number: int, driver: str, node: str = "") -> None:
        """Add a CSI receiver with the nodes videoN and mediaN; *node*: its device tree path."""
        device = f"sys/devices/platform/{number}.csi"
        self.video(number, f"{driver}-image", driver, device)
        self.media(number, device)
        if node:
            (self.root / f"sys/firmware/devicetree{node}").mkdir(parents=True, exist_ok=True)
            self.link(f"{device}/of_node", f"sys/firmware/devicetree{node}")

    def media(self, number: int, device: str) -> None:
        """Add a media node to a device."""
        (self.root / device / f"media{number}").mkdir(parents=True)
        self.write(f"dev/media{number}", "")

    def lock(self, *holdings: tuple[int, str]) -> None:
        """Have processes hold libcamera's lock, each (pid, node), as /proc/locks shows it."""
        lines = ["1: FLOCK  ADVISORY  WRITE 77 fe:00:1 0 EOF"]
        for pid, node in holdings:
            status = (self.root / "dev" / node).stat()
            major, minor = os.major(status.st_dev), os.minor(status.st_dev)
            place = f"{major:02x}:{minor:02x}:{status.st_ino}"
            lines.append(f"{len(lines) + 1}: POSIX  ADVISORY  WRITE {pid} {place} 0 EOF")
        self.write("proc/locks", "\n".join(lines) + "\n")

    def process(
        self,
        pid: int,
        command: str,
        *opened: str,
        mapped: str = "",
        locked: str = "",
        cgroup: str = "0::/user.slice",
    ) -> None:
        """Add a process with nodes open, one file mapped, and one node locked in its own /proc."""
        folder = f"proc/{pid}"
        self.write(f"{folder}/comm", f"{command}\n")
        self.write(f"{folder}/cmdline", f"{command}\0--password\0hunter2\0")
        self.write(f"{folder}/cgroup", f"{cgroup}\n")
        self.write(f"{folder}/stat", f"{pid} ({command}) S 1 1 1 0 -1 4194560 0\n")
        self.write(f"{folder}/maps", f"7f00-7f01 rw-s 00000000 00:06 5          {mapped}\n")
        (self.root / folder / "fd").mkdir(exist_ok=True)
        for number, name in enumerate(opened):
            (self.root / folder / f"fd/{number}").symlink_to(f"/dev/{name}")
            held = "lock:\t1: POSIX  ADVISORY  WRITE 1 00:41:9 0 EOF\n" if name == locked else ""
            self.write(f"{folder}/fdinfo/{number}", f"pos:\t0\n{held}")

    def video(self, number: int, name: str, driver: str, device: str = "", index: int = 0) -> None:
        """Add a video entry, of a device of its own unless *device* names one."""
        device = device or f"sys/devices/platform/{driver}{number}"
        (self.root / device).mkdir(parents=True, exist_ok=True)
        if not (self.root / device / "driver").is_symlink():
            self.link(f"{device}/driver", f"sys/bus/any/drivers/{driver}")
        entry = f"sys/class/video4linux/video{number}"
        self.write(f"{entry}/name", f"{name}\n")
        self.write(f"{entry}/index", f"{index}\n")
        self.write(f"{entry}/dev", f"81:{number}\n")
        self.link(f"{entry}/device", device)

    def usb_camera(self, number: int, name: str, port: str, ids: tuple[str, str]) -> None:
        """Add a USB camera with a stream, a metadata entry, a media node and udev's links."""
        usb = f"sys/devices/platform/usb/usb1/{port}"
        self.write(f"{usb}/idVendor", ids[0])
        self.write(f"{usb}/idProduct", ids[1])
        for index in (0, 1):
            self.video(number + index, name, "uvcvideo", f"{usb}/{port}:1.0", index)
            self.link(
                f"dev/v4l/by-path/platform-usb-0:{port[2:]}:1.0-video-index{index}",
                f"dev/video{number + index}",
            )
        self.media(number, f"{usb}/{port}:1.0")


class Run(Protocol):
    """Runs a module's `main` with options and returns what it says to Ansible."""

    def __call__(self, main: Callable[[], None], **options: object) -> dict[str, Any]:
        """Run it."""
