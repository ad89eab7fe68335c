"""The lab's images: built from Debian's packages, named by a digest of all that goes into them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .console import CACHE, ROOT, install_packages, output, step, sudo
from .engine import LABEL, docker, docker_command

SOURCE = Path(__file__).parent / "device-image"
# What a device can be; it is the first unless its name says another.
KINDS = ("trixie", "bookworm", "docker")
# Not a device, but what Debian gives to Docker: an image to begin others with.
DEBIAN = "debian"
# Each is a stage of the Dockerfile that begins with a release.
_RELEASES = {"trixie": "trixie", "bookworm": "bookworm", "docker": "trixie", DEBIAN: "trixie"}
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
BINFMT = Path("/proc/sys/fs/binfmt_misc")


def checkout_id() -> str:
    """Return a short name for this checkout, so that two on one machine keep apart."""
    return hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]


def repository() -> str:
    """Return what the names of this checkout's images begin with, before the colon."""
    return f"rpi-camera-lab-{checkout_id()}"


def _prune() -> None:
    """Remove what a build has left without a name; every image inherits the label of its base."""
    ours = f"label={LABEL}={repository()}"
    docker("image", "prune", "--force", "--filter", ours, timeout=120)


def _host_cas() -> list[Path]:
    return sorted(HOST_CA.rglob("*.crt")) if HOST_CA.exists() else []


def _packages(kind: str) -> tuple[str, ...]:
    return ("ca-certificates",) if kind == DEBIAN else PACKAGES


def name(kind: str, architecture: str = "") -> str:
    """Return the name that the image of a kind has."""
    settings = repr((kind, _packages(kind), architecture))
    return name_of(kind, settings, [*files_in(SOURCE), *_host_cas()])


def files_in(folder: Path) -> list[Path]:
    """Return the files below a folder in an order that is always the same, without caches."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if "__pycache__" not in path.parts)


def name_of(kind: str, settings: str, files: list[Path]) -> str:
    """Return a name for an image of this checkout, with a digest of all that goes into it.

    Args:
        kind: what it is for.
        settings: what counts beside the files.
        files: the files that are in its build's context.
    """
    digest = hashlib.sha256(settings.encode())
    for path in files:
        digest.update(f"{path.name} {path.stat().st_mode & 0o777:o}\n".encode())
        digest.update(path.read_bytes())
    return f"{repository()}:{kind}-{digest.hexdigest()[:12]}"


def exists(wanted: str) -> bool:
    """Whether the engine has an image of this name."""
    return bool(docker("images", "--quiet", wanted).strip())


@contextmanager
def alone() -> Iterator[None]:
    """Have other processes of this checkout wait with their builds while the block runs."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(kind: str, architecture: str = "") -> str:
    """Return an image's name, after building it if this checkout has none of this digest.

    Args:
        kind: one of KINDS, or DEBIAN.
        architecture: Debian's name of another one than this machine's, which is emulated.

    Raises:
        LabError: a step of the build failed.
    """
    with alone():
        wanted = name(kind, architecture)
        if not exists(wanted):
            _build(kind, architecture, wanted)
    return wanted


def _build(kind: str, architecture: str, wanted: str) -> None:
    """Build the image of a kind under the name that is wanted."""
    base = _base(_RELEASES[kind], architecture, _packages(kind))
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="image-") as scratch:
        context = Path(scratch) / "context"
        shutil.copytree(SOURCE, context)
        (context / "host-ca").mkdir()
        for path in _host_cas():
            shutil.copy(path, context / "host-ca")
        step(
            f"Build the image {kind}",
            [
                *[*build_command(), "--build-arg", f"ROOTFS={base}", "--target", kind],
                *[*platform(architecture), "--tag", wanted, str(context)],
            ],
            "Are Debian's package archive and PyPI in reach from inside a container?",
        )


def platform(architecture: str) -> list[str]:
    """Return Docker's option for an architecture; none for this machine's own."""
    return [f"--platform=linux/{architecture}"] if architecture else []


def build_command() -> list[str]:
    """Return the beginning of a command that builds an image.

    Another builder of buildx than the engine's own would neither find the base nor leave the image
    in the engine. `env` takes this through sudo.
    """
    *prefix, client = docker_command()
    return [*prefix, "env", "BUILDX_BUILDER=default", client, "build"]


def _emulate(architecture: str) -> None:
    """Have this machine run programs of another architecture.

    Raises:
        LabError: it cannot.
    """
    # mmdebstrap brings one of them, for itself.
    if not all(map(shutil.which, ("qemu-aarch64-static", "update-binfmts", "arch-test"))):
        install_packages("qemu-user-static", "binfmt-support", "arch-test")
    if not BINFMT.joinpath("register").exists():
        output([*sudo(), "mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)])
    output([*sudo(), "update-binfmts", "--enable"])
    output(["arch-test", architecture])


def _base(release: str, architecture: str, packages: tuple[str, ...]) -> str:
    """Return the name of an image with a release's packages, after making it if there is none.

    Kinds with the same packages share it, and so the stages that they have in common.
    """
    digest = hashlib.sha256(repr((packages, architecture)).encode()).hexdigest()
    base = f"{repository()}:base-{release}-{digest[:12]}"
    if exists(base):
        return base
    # Ubuntu has mmdebstrap without Debian's keys.
    if not shutil.which("mmdebstrap") or not any(KEYRINGS.glob("debian-archive-keyring.*")):
        install_packages("mmdebstrap", "debian-archive-keyring")
    for_architecture = []
    if architecture:
        _emulate(architecture)
        for_architecture = [f"--architectures={architecture}"]
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="image-") as scratch:
        root_tar = Path(scratch) / "root.tar"
        step(
            f"Make a Debian {release} root file system",
            [
                *[*sudo(), "mmdebstrap", "--variant=minbase", *for_architecture],
                *["--include=" + ",".join(packages), release, str(root_tar)],
            ],
            "Is Debian's package archive in reach from here?",
        )
        packed = _pack(root_tar, architecture, base)
        load = [*docker_command(), "load", "--input", str(packed)]
        step(f"Load {release} into Docker", load, "Is there room on the disk?")
    _prune()
    return base


def _pack(root_tar: Path, architecture: str, name: str) -> Path:
    """Return an image of one layer as `docker load` takes it.

    `docker import` would do, but older engines take what they import for their own architecture.
    """
    with root_tar.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    config = {
        "architecture": architecture or output(["dpkg", "--print-architecture"]).strip(),
        "os": "linux",
        "config": {"Labels": {LABEL: repository()}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": [root_tar.name]}]
    for file_name, content in (("config.json", config), ("manifest.json", manifest)):
        root_tar.with_name(file_name).write_text(json.dumps(content))
    packed = root_tar.with_name("image.tar")
    with tarfile.open(packed, "w") as archive:
        for file_name in ("config.json", "manifest.json", root_tar.name):
            archive.add(root_tar.with_name(file_name), file_name)
    return packed


def remove_if_unused() -> bool:
    """Remove the images of this checkout and return True, or False if a device still needs them."""
    if docker("ps", "--all", "--filter", f"name=^{repository()}-", "--quiet").strip():
        return False
    names = docker("images", "--format", "{{.Repository}}:{{.Tag}}", repository()).split()
    if names:
        docker("rmi", *names, timeout=120)
    _prune()
    return True
