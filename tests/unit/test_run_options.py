"""What a container is granted, on devices that are made up: trees of files, and a kernel's answers.

That kernels answer so, and that the grants are enough and needed, is shown in tests/vm.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from files.server.container import run_options

ROOT = Path(__file__).resolve().parents[2]
VIDEO, SUBDEV, SOUND = 0x200, 0x203, 0x300
PRIVILEGED = re.compile(r"--privileged|\bprivileged\s*[:=]\s*(true|yes)", re.IGNORECASE)


@dataclass
class Board:
    """A device's trees under a folder, and the media devices that its kernel tells of."""

    root: Path
    media: dict[str, tuple[str, list[tuple[int, str]]]] = field(default_factory=dict)

    def node(self, name: str) -> Path:
        """Make a device node."""
        path = self.root / "dev" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    def link(self, name: str, target: str) -> None:
        """Make a link to a device node, as udev does."""
        (self.root / "dev" / name).symlink_to(self.node(target))

    def media_device(self, name: str, driver: str, parts: list[tuple[int, str]]) -> None:
        """Have a media device with parts, each with its kind and its node."""
        self.node(name)
        self.media[name] = driver, parts
        for _kind, part in parts:
            self.node(part)
            entry = self.root / "sys/dev/char" / self.number(part)
            entry.mkdir(parents=True)
            (entry / "uevent").write_text(f"MAJOR=81\nMINOR=0\nDEVNAME={part}\n")

    def number(self, part: str) -> str:
        """Return what stands for a part's device number."""
        return f"81:{sorted(self._parts()).index(part)}"

    def _parts(self) -> set[str]:
        # Made up ones have a place in an alphabet that does not grow.
        names = ("video", "v4l-subdev", "snd/pcmC")
        return {f"{name}{index}" for name in names for index in range(40)}

    def ioctl(self, device: BinaryIO, request: int, structure: Any) -> int:
        """Answer as the kernel does."""
        driver, parts = self.media[Path(device.name).name]
        if request == 0xC1007C00:
            structure.driver = driver.encode()
            return 0
        assert request == 0xC0487C04
        interfaces = structure.interfaces
        if interfaces.pointer:
            assert interfaces.count == len(parts)
            for index, (kind, part) in enumerate(parts):
                major, minor = map(int, self.number(part).split(":"))
                # id, type, flags, 9 reserved, major, minor: 112 bytes with what follows.
                fields = (ctypes.c_uint32 * 14)(1, kind, *[0] * 10, major, minor)
                ctypes.memmove(interfaces.pointer + index * 112, fields, ctypes.sizeof(fields))
        interfaces.count = len(parts)
        return 0

    def options(self) -> list[str]:
        """Return what is printed."""
        return list(run_options.options(run_options.cameras()))

    def granted(self, option: str) -> list[str]:
        """Return the values of an option that are printed, without the folder of the trees."""
        printed = [line.partition("=") for line in self.options()]
        values = [value for name, _equals, value in printed if name == option]
        return [value.replace(str(self.root), "") for value in values]

    def nodes(self) -> list[str]:
        """Return the nodes that are granted, by the names that they have in the container."""
        return [value.split(":")[1] for value in self.granted("--device")]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board(tmp_path.resolve())
    for name, folder in (("DEV", "dev"), ("SYS", "sys"), ("UDEV", "run/udev")):
        (made.root / folder).mkdir(parents=True)
        monkeypatch.setattr(run_options, name, made.root / folder)
    monkeypatch.setattr("fcntl.ioctl", made.ioctl)
    return made


def test_structures_and_numbers_are_those_of_linux_media_h() -> None:
    assert run_options._DEVICE_INFO == 0xC1007C00
    assert run_options._G_TOPOLOGY == 0xC0487C04
    assert ctypes.sizeof(run_options._DeviceInfo) == 256
    assert ctypes.sizeof(run_options._Topology) == 72
    assert ctypes.sizeof(run_options._Interface) == 112
    assert run_options._Interface.type.offset == 4
    assert run_options._Interface.major.offset == 48


def test_a_pi_4_with_a_sensor(board: Board) -> None:
    board.media_device("media0", "bcm2835-codec", [(VIDEO, "video10"), (VIDEO, "video11")])
    board.media_device("media10", "unicam", [(VIDEO, "video0"), (SUBDEV, "v4l-subdev0")])
    board.media_device("media1", "rpivid", [(VIDEO, "video19")])
    board.media_device("media2", "bcm2835-isp", [(VIDEO, "video13"), (VIDEO, "video14")])
    board.link("dma_heap/vidbuf_cached", "dma_heap/linux,cma")
    board.node("dma_heap/system")
    assert board.nodes() == [
        *("/dev/media2", "/dev/video13", "/dev/video14"),
        *("/dev/media10", "/dev/video0", "/dev/v4l-subdev0"),
        # The same, under the name that Picamera2 asks for and under libcamera's.
        *("/dev/dma_heap/vidbuf_cached", "/dev/dma_heap/linux,cma"),
    ]
    assert "/dev/dma_heap/linux,cma:/dev/dma_heap/vidbuf_cached:rw" in board.granted("--device")


def test_a_pi_4_whose_heap_has_another_name(board: Board) -> None:
    board.media_device("media0", "unicam", [(VIDEO, "video0")])
    board.link("dma_heap/vidbuf_cached", "dma_heap/reserved")
    assert board.nodes()[2:] == ["/dev/dma_heap/vidbuf_cached", "/dev/dma_heap/reserved"]


def test_a_pi_4_without_the_link_to_its_heap(board: Board) -> None:
    board.media_device("media0", "unicam", [(VIDEO, "video0")])
    board.node("dma_heap/linux,cma")
    board.node("dma_heap/reserved")
    # Both take the first that they know, and a node can be granted once only.
    assert board.nodes()[2:] == ["/dev/dma_heap/linux,cma"]


def test_a_pi_5_with_a_sensor_needs_one_heap(board: Board) -> None:
    board.media_device("media0", "rp1-cfe", [(VIDEO, "video0"), (SUBDEV, "v4l-subdev2")])
    board.media_device("media3", "pispbe", [(VIDEO, "video20")])
    board.media_device("media4", "rpi-hevc-dec", [(VIDEO, "video19")])
    board.link("dma_heap/vidbuf_cached", "dma_heap/system")
    board.node("dma_heap/linux,cma")
    assert board.granted("--device") == [
        "/dev/media0:/dev/media0:rw",
        "/dev/video0:/dev/video0:rw",
        "/dev/v4l-subdev2:/dev/v4l-subdev2:rw",
        "/dev/media3:/dev/media3:rw",
        "/dev/video20:/dev/video20:rw",
        "/dev/dma_heap/system:/dev/dma_heap/vidbuf_cached:rw",
    ]


def test_a_camera_on_usb_without_its_microphone(board: Board) -> None:
    parts = [(VIDEO, "video0"), (VIDEO, "video1"), (SOUND, "snd/pcmC1")]
    board.media_device("media0", "uvcvideo", parts)
    board.node("dma_heap/linux,cma")
    assert board.nodes() == [
        *("/dev/media0", "/dev/video0", "/dev/video1"),
        "/dev/dma_heap/linux,cma",
    ]


def test_nodes_are_those_of_now(board: Board) -> None:
    board.media_device("media0", "uvcvideo", [(VIDEO, "video0")])
    before = board.nodes()
    del board.media["media0"]
    (board.root / "dev/media0").unlink()
    board.media_device("media7", "uvcvideo", [(VIDEO, "video30")])
    assert (before, board.nodes()) == (
        ["/dev/media0", "/dev/video0"],
        ["/dev/media7", "/dev/video30"],
    )


def test_groups_are_numbers_and_never_roots(board: Board) -> None:
    board.media_device("media0", "uvcvideo", [(VIDEO, "video0")])
    heap = board.node("dma_heap/linux,cma")
    groups = {path: path.stat().st_gid for path in (board.root / "dev/media0", heap)}
    assert set(board.granted("--group-add")) == {str(group) for group in groups.values() if group}
    if os.geteuid() == 0:
        os.chown(board.root / "dev/media0", 0, 44)
        os.chown(heap, 0, 107)
        assert board.granted("--group-add") == ["44", "107"]


def test_what_every_container_gets(board: Board) -> None:
    printed = [line.replace(str(board.root), "") for line in board.options()]
    assert printed == [
        "--volume=/run/udev:/run/udev:ro",
        "--security-opt=systempaths=unconfined",
        "--init",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
    ]


def test_without_udev_nothing_of_it_is_mounted(board: Board) -> None:
    # Docker would make the folder on the host.
    (board.root / "run/udev").rmdir()
    assert board.granted("--volume") == []


def _refuse(error: int) -> Callable[..., int]:
    def refuse(*_arguments: object) -> int:
        raise OSError(error, os.strerror(error))

    return refuse


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            errno.EACCES,
            "Permission denied: '{}'; run it as root or as a member of the group video\n",
        ),
        (errno.EIO, "Input/output error: '{}'\n"),
    ],
)
def test_a_node_that_cannot_be_asked(
    board: Board,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: int,
    message: str,
) -> None:
    board.media_device("media0", "uvcvideo", [])
    monkeypatch.setattr("fcntl.ioctl", _refuse(error))
    assert run_options.main() == 1
    printed = capsys.readouterr()
    # Half of the options would be a container that fails later, for a reason that is hard to see.
    assert printed.out == ""
    assert printed.err.endswith(message.format(board.root / "dev/media0"))


def test_a_device_without_a_camera_is_told(
    board: Board, capsys: pytest.CaptureFixture[str]
) -> None:
    board.media_device("media0", "bcm2835-codec", [(VIDEO, "video10")])
    board.node("media0.bak")
    assert run_options.main() == 0
    printed = capsys.readouterr()
    assert "--device" not in printed.out
    assert printed.err.endswith("there is no camera here to grant\n")
    board.media_device("media1", "uvcvideo", [(VIDEO, "video0")])
    assert run_options.main() == 0
    assert capsys.readouterr().err == ""


def test_the_file_runs_by_itself() -> None:
    script = ROOT / "files/server/container/run_options.py"
    run = subprocess.run(
        [sys.executable, "-I", str(script)], capture_output=True, text=True, check=False
    )
    # This machine may have a camera that is not for whoever tests.
    assert "--read-only" in run.stdout.splitlines() or "; run it as root" in run.stderr


def test_nothing_in_the_product_is_privileged() -> None:
    folders = ("examples", "files", "roles", "playbooks", "plugins")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    texts = {path: path.read_text(errors="replace") for path in paths if path.suffix != ".pyc"}
    assert len(texts) > 50
    found = [str(path.relative_to(ROOT)) for path, text in texts.items() if PRIVILEGED.search(text)]
    assert found == []
