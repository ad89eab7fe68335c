"""What the benchmark needs: its programs in C, the pictures, the packages, a run of the load."""

from __future__ import annotations

import hashlib
import io
import json
import resource
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from tests.lab.console import CACHE, LabError, install_packages, output, say, step

from .stamping.sitecustomize import BLANK, MAGIC

SOURCES = Path(__file__).parent
BUILD = CACHE / "benchmark"
PICTURES = BUILD / "pictures"
LOAD = BUILD / "load"
LIMIT = BUILD / "limit"
STANDIN = BUILD / "v4l2_standin.so"

PICTURE_COUNT = 30
SIZE = (640, 480)

# A viewer is a file descriptor on either side.
_DESCRIPTORS = 4096


def build() -> None:
    """Compile the programs in C that are older than their source.

    Raises:
        LabError: gcc failed, or is not there and cannot be installed.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    if not shutil.which("gcc"):
        install_packages("gcc", "libc6-dev")
    for target in (LOAD, LIMIT, STANDIN):
        source = SOURCES / f"{target.stem}.c"
        newest = max(path.stat().st_mtime for path in (source, SOURCES / "stamp.h"))
        if target.exists() and target.stat().st_mtime > newest:
            continue
        shared = ["-shared", "-fPIC"] if target.suffix == ".so" else []
        flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", *shared]
        step(
            f"Compile {source.name}",
            ["gcc", *flags, "-o", str(target), str(source)],
            "It needs gcc and the C library's headers (on Debian: gcc, libc6-dev).",
        )


def draw_pictures() -> None:
    """Make the pictures if they are not there: always the same, 42 KB, with room for a stamp."""
    names = [PICTURES / f"{number:02d}.jpg" for number in range(PICTURE_COUNT)]
    if all(name.exists() for name in names):
        return
    say(f"   Draw {PICTURE_COUNT} pictures")
    PICTURES.mkdir(parents=True, exist_ok=True)
    # Noise, but the same each time.
    noise = hashlib.shake_256(b"benchmark").digest(SIZE[0] * SIZE[1])
    grain = Image.frombytes("L", SIZE, noise)
    ramp = Image.linear_gradient("L").resize(SIZE)
    for number, name in enumerate(names):
        moved = Image.new("L", SIZE)
        moved.paste(grain, (-number * 7, 0))
        moved.paste(grain, (SIZE[0] - number * 7, 0))
        # The grain is what makes the JPEG as large as one of a real scene.
        picture = Image.blend(ramp, moved, 0.095).convert("RGB")
        left = number * (SIZE[0] - 80) // PICTURE_COUNT
        ImageDraw.Draw(picture).rectangle((left, 200, left + 80, 280), fill="orange")
        jpeg = io.BytesIO()
        picture.save(jpeg, "JPEG", quality=75)
        name.write_bytes(MAGIC + BLANK + jpeg.getvalue()[2:])


def install_ustreamer() -> str:
    """Have ustreamer, the server to compare with, from the distribution; return its version."""
    if not shutil.which("ustreamer"):
        install_packages("ustreamer")
    return output(["ustreamer", "--version"]).strip()


def raise_descriptors() -> None:
    """Let this process and its children have as many connections as the viewers need.

    Raises:
        LabError: the system forbids it.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < 1024:
        raise LabError(
            f"only {hard} open files are allowed here; `ulimit -Hn 4096` as root allows more"
        )


@dataclass(frozen=True)
class Seen:
    """What the viewers saw, and the CPU time that they took.

    Latencies are in ms, from the stamp to the JPEG's last byte.
    """

    viewers: int
    seconds: float
    frames: int
    fps_min: float
    fps_mean: float
    missed: int
    repeated: int
    unstamped: int
    gone: int
    cpu_seconds: float
    latency_ms: dict[str, float]


def load(
    port: int,
    path: str,
    viewers: int,
    seconds: float,
    warm_up: float,
    *,
    rate: float = 0,
    at: Callable[[str], None] | None = None,
) -> Seen:
    """Have so many viewers look at a stream; return what they saw.

    Args:
        port: the server's, on loopback.
        path: the stream's.
        viewers: how many.
        seconds: how long it is measured.
        warm_up: how long (s) they have all been watching before that.
        rate: bytes a second that each of them reads; 0: as fast as they come.
        at: called with `begin` and `end` at the measurement's, while all are connected.

    Raises:
        LabError: they did not all get a picture; with what the load client said.
    """
    slow = ["--rate", str(rate)] if rate else []
    child = subprocess.Popen(
        [str(LOAD), *slow, *map(str, (port, path, viewers, warm_up, seconds))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            for moment in ("begin", "end"):
                if child.stdout.readline().strip() != moment:
                    raise LabError(f"{viewers} viewers: {child.stderr.read().strip()}")
                if at is not None:
                    at(moment)
            child.stdin.close()
            return Seen(**json.loads(child.stdout.read()))
        finally:
            child.kill()
