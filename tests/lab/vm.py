"""Simulated devices with a kernel of their own: virtual machines, reached over SSH like the others.

They show what a container cannot: memory limits, a wrong clock, a power cut, a boot. Without
/dev/kvm they are emulated, and some ten times slower than the machine they run on.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import secrets
import shlex
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from . import device, image
from .console import CACHE, LabError, install_packages, output, say, step, sudo
from .engine import docker, docker_command, lease

SOURCE = Path(__file__).parent / "vm-image"
RELEASE = image.KINDS[0]
DISK_SIZE = "6G"
MEMORY = "1G"
# Emulated, a boot takes half a minute on a machine that has nothing else to do.
BOOT_SECONDS = 300
COMMAND_SECONDS = 120
KVM_SECONDS = 10


@dataclass(frozen=True)
class _Platform:
    """How QEMU makes a machine of this architecture: Debian's package, program, board, console."""

    package: str
    program: str
    board: str
    console: str


_PLATFORMS = {
    "x86_64": _Platform("qemu-system-x86", "qemu-system-x86_64", "q35", "ttyS0"),
    "aarch64": _Platform("qemu-system-arm", "qemu-system-aarch64", "virt", "ttyAMA0"),
}


def _platform() -> _Platform:
    """Return how to make a machine of the host's own architecture."""
    try:
        return _PLATFORMS[platform.machine()]
    except KeyError:
        raise LabError(f"no virtual machines here on {platform.machine()}") from None


def _digest() -> str:
    digest = hashlib.sha256(f"{image.name(RELEASE)} {DISK_SIZE}".encode())
    for path in sorted(path for path in SOURCE.rglob("*") if path.is_file()):
        digest.update(f"{path.name} {path.stat().st_mode & 0o777:o}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def build() -> Path:
    """Return the folder with `disk`, `kernel` and `initrd`, after making it if there is none.

    It is kept under `.cache/vm-disk` by a digest of what goes into it; other digests are removed.

    Raises:
        LabError: a step of the build failed.
    """
    target = CACHE / "vm-disk" / _digest()
    if target.exists():
        return target
    shutil.rmtree(target.parent, ignore_errors=True)
    target.parent.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch, lease():
        root_tar, folder = Path(scratch) / "root.tar", Path(scratch) / "vm"
        folder.mkdir()
        base = image.build(RELEASE)
        own = f"{base}-vm"
        *prefix, client = docker_command()
        step(
            "Install a kernel into the device image",
            [
                *[*prefix, "env", "BUILDX_BUILDER=default", client, "build"],
                *["--build-arg", f"DEVICE={base}", "--tag", own, str(SOURCE)],
            ],
            "Is Debian's package archive in reach from inside a container?",
        )
        container = docker("create", own).strip()
        try:
            docker("export", "--output", str(root_tar), container, timeout=600)
        finally:
            docker("rm", container)
            docker("rmi", own, timeout=120)
        step(
            "Make a disk of it",
            [*sudo(), str(SOURCE / "make-disk.sh"), str(root_tar), str(folder), DISK_SIZE],
            "Is there room on the disk?",
        )
        folder.rename(target)
    return target


@cache
def _accelerator() -> str:
    """Return `kvm` where a kernel starts under it, else `tcg`; found out once.

    Some machines have a /dev/kvm that stops at the first instruction it does not know.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    board, built = _platform(), build()
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="kvm-") as scratch:
        console = Path(scratch) / "console.log"
        console.touch()
        probe = _qemu(
            Path(scratch),
            *["-accel", "kvm", "-machine", board.board, "-cpu", "max", "-m", "256M"],
            *["-kernel", str(built / "kernel"), "-append", f"console={board.console}"],
            *["-serial", "file:console.log"],
        )
        deadline = time.monotonic() + KVM_SECONDS
        try:
            while "Linux version" not in console.read_text(errors="replace"):
                if probe.poll() is not None or time.monotonic() > deadline:
                    return "tcg"
                time.sleep(0.1)
            return "kvm"
        finally:
            probe.kill()
            probe.wait()


def _qemu(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start QEMU in a folder, where it writes `qemu.log`."""
    with (folder / "qemu.log").open("wb") as log:
        return subprocess.Popen(
            [
                # Not even a killed lab leaves it behind.
                *["setpriv", "--pdeathsig", "KILL", _platform().program],
                *["-nodefaults", "-no-user-config", "-display", "none"],
                *arguments,
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_access(path: Path, home: Path, password: str) -> str:
    """Write the archive with which a machine gets keys and password; return its public host key."""
    host_key = home / "ssh_host_ed25519_key"
    output(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(host_key)])
    public_host_key = host_key.with_suffix(".pub").read_text()
    user_key = device.public_key(home)
    files = {
        # name: content, mode, user id; a device's first user has 1000.
        "etc/ssh/ssh_host_ed25519_key": (host_key.read_text(), 0o600, 0),
        "etc/ssh/ssh_host_ed25519_key.pub": (public_host_key, 0o644, 0),
        "root/.ssh/authorized_keys": (user_key, 0o600, 0),
        f"home/{device.USER}/.ssh/authorized_keys": (user_key, 0o600, 1000),
        "run/lab-password": (f"{device.USER}:{password}\n", 0o600, 0),
    }
    path.touch(mode=0o600)
    with tarfile.open(path, "w") as archive:
        for name, (content, mode, user) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid, member.gid = len(content), mode, user, user
            archive.addfile(member, io.BytesIO(content.encode()))
    host_key.unlink()
    return public_host_key


@dataclass
class Machine:
    """A virtual machine of a group: its disk, access and console are in the group's folder."""

    group: str
    name: str
    ssh_port: int = field(default_factory=_free_port)
    server_port: int = field(default_factory=_free_port)
    # Files in its folder that it gets as further disks, /dev/vdc and on, which it cannot write to.
    disks: tuple[str, ...] = ()
    # What its clock says when it is switched on, in UTC (`2026-01-31T12:00:00`); else it is right.
    clock: str = ""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        """Its folder."""
        return device.folder(self.group)

    def run(self, *command: str, stdin: str = "", timeout: float = COMMAND_SECONDS) -> str:
        """Run a command on it as root and return its standard output.

        Raises:
            LabError: it failed, or took longer than `timeout` (s).
        """
        options = ("-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30")
        access = device.ssh_options(self.home, self.name)
        where = ("-i", str(self.home / "id_ed25519"), "-p", str(self.ssh_port), "root@127.0.0.1")
        ssh = ["ssh", *options, *access, *where, shlex.join(command)]
        return output(ssh, stdin=stdin, timeout=timeout)

    def start(self) -> None:
        """Switch it on, and wait until it has booted.

        Raises:
            LabError: it has not; holds the last lines of its console.
        """
        accelerator, began = _accelerator(), time.monotonic()
        self.switch_on()
        device.wait_until_running(self.name, self.run, self._last_words, BOOT_SECONDS)
        seconds = time.monotonic() - began
        say(f"   {self.name} has booted ({accelerator}), {seconds:.0f} s after it was switched on")

    def switch_on(self) -> None:
        """Switch it on, and wait for nothing."""
        board, built, accelerator = _platform(), build(), _accelerator()
        hostname = f"systemd.hostname={self.name}"
        forward = ",".join(
            f"hostfwd=tcp:127.0.0.1:{outer}-:{inner}"
            for outer, inner in ((self.ssh_port, 22), (self.server_port, device.SERVER_PORT))
        )
        self._process = _qemu(
            self.home,
            *["-accel", accelerator, "-machine", board.board, "-cpu", "max"],
            *["-smp", "2", "-m", MEMORY],
            *["-kernel", str(built / "kernel"), "-initrd", str(built / "initrd")],
            # Mitigations of a processor's faults cost an emulated one much.
            *["-append", f"root=/dev/vda rw console={board.console} mitigations=off {hostname}"],
            *["-serial", "file:console.log"],
            *(["-rtc", f"base={self.clock}"] if self.clock else []),
            # What a killed QEMU has written stays in this machine's memory, flushed or not.
            *["-drive", "file=disk,format=raw,if=virtio,cache=unsafe"],
            *[
                argument
                for disk in ("access.tar", *self.disks)
                for argument in ("-drive", f"file={disk},format=raw,if=virtio,readonly=on")
            ],
            *["-nic", f"user,model=virtio-net-pci,{forward}"],
        )

    def _last_words(self) -> str:
        logs = (self.home / "qemu.log", self.home / "console.log")
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
        return "\n".join(lines[-20:])

    def write_lazily(self) -> None:
        """Have its kernel write nothing to its disk that nobody asks to have there now."""
        lazy = [f"vm.dirty_{name}_centisecs=360000" for name in ("expire", "writeback")]
        self.run("sysctl", *lazy, "vm.dirty_background_ratio=80", "vm.dirty_ratio=90")

    def write_names(self) -> None:
        """Have every name of its file system on its disk.

        What they name is there only if somebody has asked for it.
        """
        self.run("sh", "-ec", "touch /root/other; sync /root/other; rm /root/other")

    def cut_power(self) -> None:
        """Switch it off at once; what it has not written to its disk is lost."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def shut_down(self) -> None:
        """Let it shut down in order.

        Raises:
            LabError: it does not.
        """
        if not self._process:
            return
        # It may hang up before the command has ended: that the machine stops is what counts.
        with suppress(LabError):
            self.run("systemctl", "--no-block", "poweroff")
        try:
            self._process.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} does not shut down\n{self._last_words()}") from None
        self._process = None

    def save(self, label: str) -> None:
        """Keep its disk as it is, under a label. It must be switched off."""
        _copy_disk(self.home / "disk", self.home / f"disk.{label}")

    def go_back(self, label: str) -> None:
        """Switch it off, and give it the disk that was saved under a label."""
        self.cut_power()
        _copy_disk(self.home / f"disk.{label}", self.home / "disk")


def _copy_disk(source: Path, target: Path) -> None:
    output(["cp", "--sparse=always", "--reflink=auto", str(source), str(target)], timeout=600)


@contextmanager
def machine(group: str, name: str, variables: dict[str, Any]) -> Iterator[Machine]:
    """Have a bare machine for as long as the block runs, switched off, with an inventory.

    Args:
        group: what it is for; names its folder under `.cache/`.
        name: its name.
        variables: inventory variables of the group `devices`.

    Raises:
        LabError: QEMU or the disk could not be had.
    """
    board = _platform()
    if not shutil.which(board.program):
        install_packages(board.package)
    built = build()
    made = Machine(group, name)
    shutil.rmtree(made.home, ignore_errors=True)
    made.home.mkdir(parents=True, mode=0o700)
    try:
        password = secrets.token_urlsafe(12)
        host_key = _write_access(made.home / "access.tar", made.home, password)
        host = device.inventory_host(
            made.home, name, made.ssh_port, made.server_port, password, [host_key.strip()]
        )
        device.write_inventory(made.home, {name: host}, variables)
        _copy_disk(built / "disk", made.home / "disk")
        yield made
    finally:
        made.cut_power()
        shutil.rmtree(made.home, ignore_errors=True)
