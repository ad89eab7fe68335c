"""Simulated devices: containers with a real systemd, reached over SSH as a Raspberry Pi is."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

import yaml

from . import image
from .console import CACHE, LabError, output, say
from .engine import LABEL, docker

USER = "pi"
BOOT_SECONDS = 60
SERVER_PORT = 8080

# What a systemd of its own needs, each for a reason: mounts; networks; sandboxes of units; device
# nodes of sandboxes. `--privileged` would ask for capabilities that some build machines withhold.
_RUN_OPTIONS = (
    *(f"--cap-add={name}" for name in ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "MKNOD")),
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--cgroupns=private",
    "--tmpfs=/run",
    "--tmpfs=/tmp:exec",
    "--env=container=docker",
    # systemd 257 refuses cgroup v1 without being told twice; unused on cgroup v2.
    "--env=SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1",
    "--stop-signal=SIGRTMIN+3",
)


def folder(group: str) -> Path:
    """Return where a group of devices keeps its inventory and keys."""
    return CACHE / group


def container(group: str, name: str) -> str:
    """Return the container's name of one device."""
    return f"rpi-camera-lab-{image.checkout_id()}-{group}-{name}"


def _network(group: str) -> str:
    return f"rpi-camera-lab-{image.checkout_id()}-{group}"


def _containers(group: str) -> list[str]:
    # A prefix would do for `name=`, and so catch another group: the label is exact.
    own = f"label={LABEL}={_network(group)}"
    return docker("ps", "--all", "--filter", own, "--format", "{{.Names}}").split()


def execute(group: str, name: str, *command: str, stdin: str = "") -> str:
    """Run a command on a device as root, past SSH, and return its standard output."""
    return docker("exec", "--interactive", container(group, name), *command, stdin=stdin)


def port(group: str, name: str, inner: int) -> int:
    """Return the port of 127.0.0.1 at which this machine reaches a device's port."""
    where = docker("port", container(group, name), f"{inner}/tcp").split()[0]
    return int(where.rpartition(":")[2])


def _wait_until_running(group: str, name: str) -> None:
    ask = "systemctl is-system-running; systemctl is-active ssh.service; :"
    failed_units = ("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            state = execute(group, name, "sh", "-c", ask).split()
        except LabError as error:
            state = [str(error)]
        if state == ["running", "active"]:
            return
        if state == ["degraded", "active"]:
            # Booted, and in reach: a unit may fail for a reason that lies in the host.
            units = [line.split()[0] for line in execute(group, name, *failed_units).splitlines()]
            say(f"   WARNING: {name} runs, but without {', '.join(units)}, which failed to start")
            return
        if time.monotonic() > deadline:
            try:
                failed = execute(group, name, *failed_units)
            except LabError:
                failed = docker("logs", "--tail", "20", container(group, name))
            raise LabError(
                f"{name} has not booted within {BOOT_SECONDS} s; of the system and ssh.service,"
                f" systemd says: {' and '.join(state)}\n{failed}"
            )
        time.sleep(0.3)


def _give_access(group: str, name: str) -> dict[str, Any]:
    """Give a device its user's password and key; return its inventory variables."""
    home = folder(group)
    key = home / "id_ed25519"
    if not key.exists():
        output(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(key)])
    password = secrets.token_urlsafe(12)
    execute(group, name, "chpasswd", stdin=f"{USER}:{password}\n")
    write = "umask 077; mkdir -p ~/.ssh; cat > ~/.ssh/authorized_keys"
    public_key = key.with_suffix(".pub").read_text()
    execute(group, name, "runuser", "-l", USER, "-c", write, stdin=public_key)
    ssh_port = port(group, name, 22)
    host_keys = execute(group, name, "sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub").splitlines()
    known_hosts = home / f"known_hosts.{name}"
    known_hosts.write_text("".join(f"[127.0.0.1]:{ssh_port} {line}\n" for line in host_keys))
    return {
        "ansible_host": "127.0.0.1",
        "ansible_port": ssh_port,
        "ansible_user": USER,
        "ansible_become_password": password,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": (
            # Quoted twice: Ansible splits the words, and ssh splits this option's value.
            f"""-o 'UserKnownHostsFile="{known_hosts}"' -o StrictHostKeyChecking=yes"""
            " -o IdentitiesOnly=yes"
        ),
        "bootstrap_stream_url": f"http://127.0.0.1:{port(group, name, SERVER_PORT)}/video",
    }


def up(group: str, names: list[str], variables: dict[str, Any]) -> Path:
    """Have the devices of a group run, and write the inventory that reaches them.

    Args:
        group: what they are for; names their folder under `.cache/`.
        names: the devices' names.
        variables: inventory variables of the group `devices`.

    Returns:
        The inventory's path (mode 0600: it holds the password that sudo asks for).

    Raises:
        LabError: the image could not be built, or a device has not booted.
    """
    wanted = image.build()
    network = _network(group)
    home = folder(group)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not docker("network", "ls", "--quiet", "--filter", f"name=^{network}$").strip():
        docker("network", "create", "--label", LABEL, network)
    hosts = {}
    for name in names:
        own = container(group, name)
        exists = own in _containers(group)
        if exists and docker("inspect", "--format", "{{.Config.Image}}", own).strip() != wanted:
            say(f"   Remove the simulated device {name}: it runs on an older image")
            docker("rm", "--force", "--volumes", own, timeout=120)
            exists = False
        if not exists:
            say(f"   Start the simulated device {name}")
            docker(
                *["run", "--detach", "--name", own, "--hostname", name, "--network", network],
                *["--label", f"{LABEL}={network}", *_RUN_OPTIONS],
                *["--publish", "127.0.0.1::22", "--publish", f"127.0.0.1::{SERVER_PORT}"],
                wanted,
            )
        docker("start", own)
        _wait_until_running(group, name)
        hosts[name] = _give_access(group, name)
    inventory = home / "inventory.yml"
    inventory.touch(mode=0o600)
    inventory.write_text(
        "# Written by the lab; it holds the password that sudo asks for on the simulated device.\n"
        + yaml.safe_dump({"devices": {"hosts": hosts, "vars": variables}}, sort_keys=False)
    )
    return inventory


def down(group: str) -> None:
    """Remove the devices of a group, their network and their folder."""
    containers = _containers(group)
    if containers:
        docker("rm", "--force", "--volumes", *containers, timeout=120)
    network = _network(group)
    if docker("network", "ls", "--quiet", "--filter", f"name=^{network}$").strip():
        docker("network", "rm", network)
    shutil.rmtree(folder(group), ignore_errors=True)


def snapshot(group: str, name: str) -> dict[str, str]:
    """Return every file of a device with its owner, mode, time and digest.

    Left out are what changes by itself (/proc /sys /dev /run /tmp /var/log) and Ansible's own
    temporary folder.
    """
    return dict(json.loads(execute(group, name, "python3", "-c", _SNAPSHOT)))


_SNAPSHOT = """
import hashlib, json, os
out = {}
skip = {"/proc", "/sys", "/dev", "/run", "/tmp", "/var/log", "/var/tmp", "/home/pi/.ansible",
        "/root/.ansible"}
for folder, folders, files in os.walk("/"):
    folders[:] = [f for f in folders if os.path.join(folder, f) not in skip]
    for name in folders + files:
        path = os.path.join(folder, name)
        s = os.lstat(path)
        what = f"{s.st_mode:o} {s.st_uid}:{s.st_gid}"
        if os.path.islink(path):
            what += " -> " + os.readlink(path)
        elif os.path.isfile(path):
            with open(path, "rb") as f:
                what += f" {s.st_mtime_ns} " + hashlib.file_digest(f, "sha256").hexdigest()
        out[path] = what
print(json.dumps(out))
"""
