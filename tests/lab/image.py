"""The device image: built from Debian's packages, named by a digest of all that goes into it."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .console import CACHE, ROOT, install_packages, step, sudo
from .engine import LABEL, docker, docker_command

SOURCE = Path(__file__).parent / "device-image"
# Each is a stage of the Dockerfile; a device has the first unless its name says another.
RELEASES = ("trixie", "bookworm")
PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "openssh-server",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
)
HOST_CA = Path("/usr/local/share/ca-certificates")
KEYRINGS = Path("/usr/share/keyrings")


def checkout_id() -> str:
    """Return a short name for this checkout, so that two on one machine keep apart."""
    return hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]


def _repository() -> str:
    return f"rpi-camera-lab-{checkout_id()}"


def _prune() -> None:
    """Remove what a build has left without a name; every image inherits the label of its base."""
    ours = f"label={LABEL}={_repository()}"
    docker("image", "prune", "--force", "--filter", ours, timeout=120)


def _host_cas() -> list[Path]:
    return sorted(HOST_CA.rglob("*.crt")) if HOST_CA.exists() else []


def name(release: str) -> str:
    """Return the name that the device image of a release has."""
    digest = hashlib.sha256(repr((release, PACKAGES)).encode())
    files = sorted(path for path in SOURCE.rglob("*") if path.is_file())
    for path in [*files, *_host_cas()]:
        digest.update(f"{path.name} {path.stat().st_mode & 0o777:o}\n".encode())
        digest.update(path.read_bytes())
    return f"{_repository()}:{release}-{digest.hexdigest()[:12]}"


@contextmanager
def _alone() -> Iterator[None]:
    """Have other processes of this checkout wait with their builds while the block runs."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(release: str) -> str:
    """Return the device image's name, after building it if this checkout has none of this digest.

    Args:
        release: one of RELEASES.

    Raises:
        LabError: a step of the build failed.
    """
    with _alone():
        wanted = name(release)
        if not docker("images", "--quiet", wanted).strip():
            _build(release, wanted)
    return wanted


def _build(release: str, wanted: str) -> None:
    """Build a release's device image under the name that is wanted."""
    # Ubuntu has mmdebstrap without Debian's keys.
    if not shutil.which("mmdebstrap") or not any(KEYRINGS.glob("debian-archive-keyring.*")):
        install_packages("mmdebstrap", "debian-archive-keyring")
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="image-") as scratch:
        root_tar = Path(scratch) / "root.tar"
        context = Path(scratch) / "context"
        step(
            f"Make a Debian {release} root file system",
            [
                *[*sudo(), "mmdebstrap", "--variant=minbase"],
                *["--include=" + ",".join(PACKAGES), release, str(root_tar)],
            ],
            "Is Debian's package archive in reach from here?",
        )
        base = f"{_repository()}:base-{release}"
        label = f"LABEL {LABEL}={_repository()}"
        step(
            f"Import {release} into Docker",
            [*docker_command(), "import", "--change", label, str(root_tar), base],
            "Is there room on the disk?",
        )
        _prune()
        shutil.copytree(SOURCE, context)
        (context / "host-ca").mkdir()
        for path in _host_cas():
            shutil.copy(path, context / "host-ca")
        # Another builder of buildx than the engine's own would neither find the base nor leave the
        # image in the engine. `env` takes this through sudo.
        *prefix, client = docker_command()
        step(
            f"Build the device image of {release}",
            [
                *[*prefix, "env", "BUILDX_BUILDER=default", client],
                *["build", "--build-arg", f"ROOTFS={base}", "--target", release],
                *["--tag", wanted, str(context)],
            ],
            "Are Debian's package archive and PyPI in reach from inside a container?",
        )


def remove_if_unused() -> bool:
    """Remove the images of this checkout and return True, or False if a device still needs them."""
    if docker("ps", "--all", "--filter", f"name=^{_repository()}-", "--quiet").strip():
        return False
    names = docker("images", "--format", "{{.Repository}}:{{.Tag}}", _repository()).split()
    if names:
        docker("rmi", *names, timeout=120)
    _prune()
    return True
