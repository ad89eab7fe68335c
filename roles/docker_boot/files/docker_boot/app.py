"""An app: its configuration, and the places of its files."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

CONFIGURATIONS = Path("/etc/rpi_camera/docker_boot")
STATES = Path("/var/lib/rpi_camera/docker_boot")
RUNTIME = Path("/run/rpi_camera/docker_boot")

# Anything shorter is in too many words.
SHORTEST_SECRET = 6
LONGEST_REASON = 500

# The labels of a container of ours.
NAME_LABEL = "rpi_camera.docker_boot"
REFERENCE_LABEL = f"{NAME_LABEL}.reference"
CONFIGURATION_LABEL = f"{NAME_LABEL}.configuration"


@dataclass(frozen=True)
class Health:
    """How it is known that a container is well."""

    type: str = "auto"  # or healthcheck, http, mjpeg, running
    urls: list[str] = field(default_factory=list)  # each one is asked
    token_file: str = ""
    window: float = 180  # s until a new one has to be well
    interval: float = 30  # s between two questions


@dataclass(frozen=True)
class App:
    """The configuration of an app, as the role writes it.

    What has a default may be missing: this program may be newer than the role that wrote it.
    """

    name: str
    image: str
    fingerprint: str  # a digest of all of it
    ports: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)  # file names, and contents
    # Where the container finds those that are not in /run/secrets.
    secret_paths: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    # Units of systemd in whose place the container comes.
    replaces: list[str] = field(default_factory=list)
    camera: bool = False
    registry: dict[str, str] | None = None
    health: Health = field(default_factory=Health)
    update_window: float = 3600
    stop_seconds: int = 10
    textfile_folder: str = ""

    @property
    def repository(self) -> str:
        """The image's name without tag or digest."""
        name = self.image.partition("@")[0]
        folder, slash, last = name.rpartition("/")
        return folder + slash + last.partition(":")[0]

    @property
    def pinned(self) -> str:
        """The reference of an image that the user has named by digest, else nothing."""
        return self.image if "@" in self.image else ""

    @property
    def registry_host(self) -> str:
        """The registry, as Docker reads an image's name."""
        host, slash, _rest = self.repository.partition("/")
        named = slash and ("." in host or ":" in host or host == "localhost")
        return host if named else "docker.io"

    def hush(self, text: str) -> str:
        """Return what a container or a registry said as others may read it: short, no secrets."""
        # A file that has a place of its own is a configuration, of which a server speaks.
        secrets = [text for name, text in self.secrets.items() if name not in self.secret_paths]
        secrets.append((self.registry or {}).get("password", ""))
        # A token may stand there.
        secrets.extend(url.partition("?")[2] for url in self.health.urls)
        for secret in secrets:
            for line in secret.splitlines():
                text = text.replace(line, "…") if len(line) >= SHORTEST_SECRET else text
        return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"


def load(path: Path) -> App:
    """Return the app that a file describes; keys that this program does not know are left out."""
    text = path.read_bytes()
    told: dict[str, Any] = dict(json.loads(text))
    health = dict(told.get("health", {}))
    told["health"] = Health(**{key: health[key] for key in _names(Health) & health.keys()})
    told["fingerprint"] = hashlib.sha256(text).hexdigest()[:16]
    return App(**{key: told[key] for key in _names(App) & told.keys()})


def _names(kind: type) -> set[str]:
    return {one.name for one in fields(kind)}


def local(name: str, reference: str) -> tuple[str, str]:
    """Return repository and tag under which the engine keeps an image for us.

    What has no tag is taken by `docker image prune`; and who removes another name of the image
    removes its digest's with it.
    """
    return f"localhost/docker-boot/{name}", reference.rpartition(":")[2][:12]


def configuration(name: str) -> Path:
    """Return the configuration that is in force."""
    return CONFIGURATIONS / f"{name}.json"


def staged(name: str) -> Path:
    """Return where a new configuration waits until a container has been well with it."""
    return CONFIGURATIONS / f"{name}.json.new"


def runtime(name: str) -> Path:
    """Return the app's folder for what does not outlast a boot; made if there is none."""
    folder = RUNTIME / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(name: str, what: str) -> Iterator[None]:
    """Have other processes that want the same of the same app wait while the block runs."""
    with (runtime(name) / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write(path: Path, text: str, mode: int) -> None:
    """Write a file so that a power cut leaves the old one or the new one, whole."""
    new = path.with_name(f".{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    replace(new, path)


def replace(new: Path, path: Path) -> None:
    """Put a file in another's place, on the disk too."""
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
