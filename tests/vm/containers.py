"""The camera server's image, and a virtual machine whose Docker engine has it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab import camera_image, vm
from tests.lab.console import say
from tests.lab.engine import docker, lease

GROUP = "vm-container"
NAME = "vm-2"
RUN_OPTIONS = camera_image.PAYLOAD / "container" / "run_options.py"
IMAGE = f"{camera_image.NAME}:latest"
CONTAINER = "camera"
# Emulated, an engine reads an image for minutes.
LOAD_SECONDS = 1800
RUN_SECONDS = 300

# Lines that tell what goes wrong: Python's, and libcamera's, which begin with time since boot,
# thread, severity, category, place and perhaps the device.
_ERROR = re.compile(r"^(\w+Error: .*)", re.MULTILINE)
_LOG = re.compile(r"\[[0-9:.]+\] \[\d+\] +(?:WARN|ERROR) +\w+ +\S+:\d+ (?:/dev/\S+: )?(.*)")


@dataclass(frozen=True)
class Outcome:
    """What a container came to: whether all went well, and what it printed."""

    went_well: bool
    printed: str

    @property
    def reason(self) -> str:
        """What went wrong first, in Python's words, or libcamera's, or else the last line."""
        told = _ERROR.search(self.printed) or _LOG.search(self.printed)
        words = told[1].strip() if told else self.printed.strip().rpartition("\n")[2]
        return re.sub(r"^\[Errno \d+\] ", "", words)


@dataclass(frozen=True)
class Host:
    """A virtual machine whose Docker engine has the camera server's image."""

    machine: vm.Machine
    image: str

    def options(self, *drivers: str) -> list[str]:
        """Return what run_options.py prints there; `drivers` are taken for cameras as well."""
        more = "".join(f", {driver!r}" for driver in drivers)
        text = RUN_OPTIONS.read_text().replace('"uvcvideo")', f'"uvcvideo"{more})')
        assert not drivers or text != RUN_OPTIONS.read_text()
        return self.machine.run("python3", "-", stdin=text).splitlines()

    def run(self, options: Sequence[str], *command: str) -> Outcome:
        """Run a program in a container to its end, in place of the server.

        Args:
            options: for `docker run`.
            command: the program with its arguments, or the arguments of the entry point.
        """
        run = ["docker", "run", "--rm", *options, self.image, *command]
        # SSH's own failures have another number than a container's.
        script = f"{shlex.join(run)} 2>&1 && echo went well || echo failed: $?"
        lines = self.machine.run("sh", "-c", script, timeout=RUN_SECONDS).splitlines()
        return Outcome(lines[-1] == "went well", "\n".join(lines[:-1]))

    def begin(self, options: Sequence[str]) -> None:
        """Start the server in a container, and leave it running."""
        port = ("--publish", "8080:8080", "--name", CONTAINER)
        run = ("docker", "run", "--detach", *port, *options, self.image)
        self.machine.run(*run, timeout=RUN_SECONDS)

    def end(self) -> str:
        """Remove that container; return its log."""
        log = self.machine.run("sh", "-c", f"docker logs {CONTAINER} 2>&1")
        self.machine.run("docker", "rm", "--force", CONTAINER)
        return log


@contextmanager
def host() -> Iterator[Host]:
    """Have a virtual machine whose Docker engine has the image, for as long as the block runs."""
    with vm.machine(GROUP, NAME, {}) as machine:
        camera_image.build()
        saved = str(machine.home / "image.tar")
        with lease():
            docker("save", "--output", saved, IMAGE, timeout=600)
        machine.disks = ("image.tar",)
        machine.start()
        machine.run("systemctl", "start", "docker.service", timeout=RUN_SECONDS)
        say("   The engine reads the image …")
        machine.run("sh", "-c", "docker load --quiet < /dev/vdc", timeout=LOAD_SECONDS)
        yield Host(machine, IMAGE)
