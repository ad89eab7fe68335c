"""`make image`: the camera server's image, built from the lab's Debian and package archive."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from pathlib import Path

from tests.viewer import Viewer

from . import image
from .console import CACHE, ROOT, LabError, heading, say, step
from .engine import LABEL, docker, docker_command, lease

# Not the name that a user's own has: this one holds packages and CAs of the lab.
NAME = "camera-server-lab"
PAYLOAD = ROOT / "files" / "server"
# What its build takes of it, as .dockerignore says.
CONTENT = {"Dockerfile", "README.md", "container", "pyproject.toml", "requirements.txt", "src"}
FRAMES = 60
START_SECONDS = 120
# What the build prints of its sizes: a heading, or a package's.
_SIZE = re.compile(r"(?:^|\s)(== The .*| *\d+ kB  \S+)$", re.MULTILINE)


def _add_archive(context: Path) -> list[str]:
    """Put the package archive of the simulated devices into a build's context.

    Returns:
        The build's arguments that make it the source of the camera's packages.
    """
    container = docker("create", image.build(image.KINDS[0])).strip()
    try:
        docker("cp", f"{container}:/srv/archive", str(context / "container"))
    finally:
        docker("rm", container)
    key = (context / "container" / "archive" / "archive-keyring.asc").read_text()
    return ["--build-arg=ARCHIVE=file:/container/archive ./", f"--build-arg=ARCHIVE_KEY={key}"]


def _build(name: str, context: Path, base: str, *options: str) -> Path:
    """Build the server's image under a name; return the build's log.

    Args:
        name: the name.
        context: a copy of PAYLOAD.
        base: the image that it begins with.
        options: further ones of the build.
    """
    return step(
        f"Build {name}",
        [
            *[*image.build_command(), *options],
            *[f"--build-arg=BASE={base}", "--tag", name, str(context)],
        ],
        "Are Debian's package archive and PyPI in reach from inside a container?",
    )


def small() -> str:
    """Return the name of an image without camera packages, built if there is none of its digest.

    Raises:
        LabError: the build failed.
    """
    base = image.build(image.DEBIAN)
    files = [
        path for path in image.files_in(PAYLOAD) if path.relative_to(PAYLOAD).parts[0] in CONTENT
    ]
    wanted = image.name_of("server", base, files)
    with image.alone():
        if not image.exists(wanted):
            _build(wanted, PAYLOAD, base, "--build-arg=CAMERA_PACKAGES=")
    return wanted


def _watch(name: str) -> None:
    """See frames of the test pattern from an image.

    Raises:
        LabError: there are none.
    """
    container = docker(
        *["run", "--detach", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"],
        *["--env=CAMERA_SERVER_CAMERA=test-pattern", "--env=CAMERA_SERVER_ACCESS=open"],
        *["--label", LABEL, "--publish=127.0.0.1::8080", name],
    ).strip()
    try:
        address = docker("port", container, "8080/tcp").split()[0]
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with Viewer(f"http://{address}/video", timeout=START_SECONDS) as viewer:
                    for _frame in range(FRAMES):
                        viewer.first()
                return
            except (OSError, StopIteration) as error:
                if time.monotonic() > deadline:
                    log = docker("logs", "--tail", "20", container)
                    raise LabError(f"{name} shows no frames: {error}\n{log}") from error
                time.sleep(0.2)
    finally:
        docker("rm", "--force", container)


def build(architecture: str = "") -> None:
    """Build the image, and see frames of it.

    Args:
        architecture: Debian's name of another one than this machine's. It is emulated, and gets no
            camera packages, which the lab has for its own architecture only.

    Raises:
        LabError: a step failed.
    """
    name = f"{NAME}:{architecture or 'latest'}"
    with lease(), tempfile.TemporaryDirectory(dir=CACHE, prefix="image-") as scratch:
        heading(f"The image {name}")
        base = image.build(image.DEBIAN, architecture)
        context = Path(scratch) / "server"
        shutil.copytree(PAYLOAD, context)
        camera = ["--build-arg=CAMERA_PACKAGES="] if architecture else _add_archive(context)
        log = _build(name, context, base, *image.platform(architecture), *camera)
        # BuildKit puts the step's number and a time before each line.
        for line in _SIZE.findall(log.read_text(errors="replace")):
            say(f"   {line}")
        _watch(name)
        client = " ".join(docker_command())
        size = int(docker("inspect", "--format", "{{.Size}}", name)) / 1e6
    say(f"   Seen: {FRAMES} frames of its test pattern")
    say(
        f"   {name} has {size:.0f} MB; to try it, with Docker running, and see http://127.0.0.1:8080/:"
    )
    say(f"   {client} run --rm --init --publish 127.0.0.1:8080:8080 \\")
    say(f"       --env CAMERA_SERVER_ACCESS=open --env CAMERA_SERVER_CAMERA=test-pattern {name}")
