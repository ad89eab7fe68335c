"""A camera in a container: what it is granted is enough, all of it is needed, no more is there.

Two cameras show it together. libcamera's virtual one streams through the server as a user sees it,
out of a heap of the kernel. `vivid`, a camera made up by the kernel, has device nodes.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab.console import ROOT, say
from tests.viewer import Viewer
from tests.vm import containers
from tests.vm.conftest import PATIENCE
from tests.vm.containers import Host, Outcome

PAGE = ROOT / "docs/container.md"
PYTHON = "--entrypoint=/opt/rpi_camera/current/venv/bin/python"

# What stands in for a sensor, of the lab's own: never in the image.
BINDING = "/usr/local/lib/python3.13/dist-packages/libcamera"
PIPELINE = "/usr/share/libcamera/pipeline/virtual/virtual.yaml"
SENSOR = (
    f"--volume={BINDING}:{BINDING}:ro",
    f"--volume={PIPELINE}:{PIPELINE}:ro",
    # libcamera 0.4.0's virtual pipeline never sets the status of a frame: it is what was in memory.
    "--env=GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.perturb=255",
    *("--env=CAMERA_SERVER_CAMERA=picamera2", "--env=CAMERA_SERVER_ACCESS=open"),
)
AS_USB = "/usr/local/lib/vivid_as_usb.so"
KERNEL_CAMERA = (f"--volume={AS_USB}:{AS_USB}:ro", f"--env=LD_PRELOAD={AS_USB}", PYTHON)

HEAD = (
    "| Without | `vivid`, in Picamera2 | the virtual camera, in the server |",
    "|---|---|---|",
)
NONE = "has none"
TABLE = re.compile(rf"{re.escape(HEAD[0])}\n(\|.*\n)+")

# Takes frames of the only camera there is, and says how many of them differ.
CAPTURE = """
import os
os.environ |= {"LIBCAMERA_LOG_LEVELS": "V4L2:ERROR,*:WARN", "LIBCAMERA_LOG_NO_COLOR": "1"}
from picamera2 import Picamera2
(found,) = Picamera2.global_camera_info() or [None]
if found is None:
    raise SystemExit("no camera")
camera = Picamera2(0)
camera.configure(camera.create_video_configuration({"size": (640, 360), "format": "YUYV"}))
camera.start()
frames = {camera.capture_buffer("main").tobytes() for _turn in range(5)}
print(found["Id"], len(frames), "frames", flush=True)
os._exit(0)
"""

INSIDE = (ROOT / "tests/vm/inside.py").read_text()
# What is in every container.
NODES = {f"/dev/{name}" for name in ("full", "null", "random", "tty", "urandom", "zero")}
NODES.add("/dev/pts/ptmx")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with containers.host() as made:
        yield made


@dataclass(frozen=True)
class Vivid:
    """The kernel's camera."""

    host: Host

    def plug(self, *parameters: str) -> None:
        """Plug it in, anew if it is in already, with parameters of its module."""
        self.unplug()
        self.host.machine.run("modprobe", "vivid", *parameters)
        self.host.machine.run("udevadm", "settle")

    def unplug(self) -> None:
        """Pull it out."""
        self.host.machine.run("modprobe", "--remove", "vivid")

    def nodes(self) -> set[str]:
        """Return its device nodes, as the kernel tells of them."""
        find = "cd /sys/devices/platform && ls -d vivid.*/media* vivid.*/video4linux/*"
        found = self.host.machine.run("sh", "-c", find).split()
        return {f"/dev/{path.rpartition('/')[2]}" for path in found}


@pytest.fixture
def vivid(host: Host) -> Iterator[Vivid]:
    """Plug the kernel's camera in for as long as a test runs."""
    camera = Vivid(host)
    # Like one on USB, with a node for its pictures and one for what it tells about them.
    camera.plug("n_devs=1", "node_types=0x20001")
    yield camera
    camera.unplug()


def streams(host: Host, options: list[str]) -> Outcome:
    """Run the server in a container until a frame of the camera or a reason against it was seen."""
    host.begin([*options, *SENSOR])
    address = f"127.0.0.1:{host.machine.server_port}"
    # Emulated, a container takes as long to start as a camera does.
    deadline = time.monotonic() + 2 * PATIENCE
    try:
        while time.monotonic() < deadline:
            try:
                with Viewer(f"http://{address}/video", timeout=60) as viewer:
                    for part in viewer:
                        if part.live:
                            assert part.decode().size == (640, 480)
                            return Outcome(True, "frames")
                        if part.state == "lost" and (reason := _reason(address)):
                            return Outcome(False, reason)
            except (OSError, http.client.HTTPException):
                # QEMU answers for a port that nobody listens on yet, and hangs up.
                time.sleep(0.5)
        raise AssertionError(f"neither a frame nor a reason within {2 * PATIENCE:.0f} s")
    finally:
        say(host.end())


def _reason(address: str) -> str | None:
    """Return why the camera gives no frames, None if it is for slowness, or has begun anew."""
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", "/state")
    reason: str | None = json.load(connection.getresponse())["reason"]
    return None if reason and reason.startswith("no frame for ") else reason


def captures(host: Host, options: list[str]) -> Outcome:
    """Have the real Picamera2 take frames of the kernel's camera in a container."""
    return host.run([*options, *KERNEL_CAMERA], "-c", CAPTURE)


def granted(options: list[str]) -> list[str]:
    """Return what of the options gives something; the others take something away."""
    gives = ("--device=", "--group-add=", "--volume=", "--security-opt=systempaths=")
    return [option for option in options if option.startswith(gives)]


def _short(option: str) -> str:
    """Return an option as the table has it: a node by its name in the container."""
    name, _equals, value = option.partition("=")
    if name == "--group-add":
        return "group"
    return f"`{value.split(':')[1] if name == '--device' else option}`"


def _row(host: Host, taken: str | None, virtual: list[str], kernel: list[str]) -> str:
    """Return a row of the table: what comes of both cameras without an option."""
    seen = {"virtual": NONE}
    for camera, run, options in (("kernel", captures, kernel), ("virtual", streams, virtual)):
        if taken is None or taken in options:
            outcome = run(host, [option for option in options if option != taken])
            seen[camera] = "frames" if outcome.went_well else outcome.reason
            say(f"   without {taken or 'nothing'}, {camera}: {seen[camera]}")
    row = f"| {_short(taken) if taken else 'nothing'} | {seen['kernel']} | {seen['virtual']} |"
    # Whoever writes the table sees it grow, should the end not be reached.
    say(f"   {row}")
    return row


@pytest.mark.usefixtures("vivid")
def test_each_grant_is_needed(host: Host, write_table: bool) -> None:
    virtual, kernel = host.options(), host.options("vivid")
    rows = [_row(host, taken, virtual, kernel) for taken in (None, *granted(kernel))]
    table = "\n".join([*HEAD, *rows])
    say(table)
    assert rows[0] == "| nothing | frames | frames |"
    for row in rows[1:]:
        _empty, _taken, *cells, _end = (cell.strip() for cell in row.split("|"))
        assert set(cells) - {"frames", NONE}, f"not needed: {row}"
    page = PAGE.read_text()
    written = TABLE.search(page)
    assert written
    if write_table:
        PAGE.write_text(page.replace(written[0], f"{table}\n"))
    else:
        assert table == written[0].strip(), "write it anew, see `docs/container.md`"


def test_a_camera_of_another_kind_is_not_granted(host: Host, vivid: Vivid) -> None:
    assert vivid.nodes()
    assert not [
        option for option in host.options() if "/dev/media" in option or "/dev/video" in option
    ]


def test_nodes_are_granted_as_the_kernel_has_them_now(host: Host, vivid: Vivid) -> None:
    def nodes() -> set[str]:
        devices = [option.split(":")[1] for option in host.options("vivid") if ":/dev/" in option]
        return {device for device in devices if "dma_heap" not in device}

    assert nodes() == vivid.nodes() == {"/dev/media0", "/dev/video0", "/dev/video1"}
    # Two of them, and not where they were.
    vivid.plug("n_devs=2", "node_types=0x1,0x20001", "vid_cap_nr=7,3", "meta_cap_nr=-1,9")
    assert nodes() == vivid.nodes()
    assert nodes() == {
        f"/dev/{name}" for name in ("media0", "media1", "video3", "video7", "video9")
    }


def test_the_limits_hold_inside(host: Host, vivid: Vivid) -> None:
    options = host.options("vivid")
    seen = json.loads(host.run([*options, PYTHON], "-c", INSIDE).printed)
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(seen["status"][capabilities], 16) == 0
    assert seen["status"]["NoNewPrivs"] == "1"
    # Docker's filter of system calls.
    assert seen["status"]["Seccomp"] == "2"
    (group,) = (int(option.partition("=")[2]) for option in options if "--group-add" in option)
    assert set(seen["ids"]) == {64080, group}
    for place in ("/", "/run/udev", "/sys"):
        assert "ro" in seen["mounts"][place]
    assert seen["a new file"] == "EROFS"
    # Neither the disk nor the kernel's log is there, and no node can be made.
    assert set(seen["devices"]) == NODES | vivid.nodes() | {"/dev/dma_heap/linux,cma"}
    assert seen["a new node"] == "EPERM"
    # What Docker covers otherwise lies open, and none of it can be written.
    assert seen["written"] == []
