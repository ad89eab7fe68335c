"""Simulated devices: containers with a real systemd, reached over SSH as a Raspberry Pi is."""

from __future__ import annotations

import json
import secrets
import shlex
import shutil
import time
from collections.abc import Callable
from functools import partial
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
    # Docker in the device lays file systems one over the other, which its own root does not take.
    "--volume=/var/lib/docker",
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


def execute(group: str, name: str, *command: str, stdin: str = "", timeout: float = 60) -> str:
    """Run a command on a device as root, past SSH, and return its standard output."""
    to = ("exec", "--interactive", container(group, name))
    return docker(*to, *command, stdin=stdin, timeout=timeout)


def script(
    group: str, name: str, text: str, *arguments: str, stdin: str = "", timeout: float = 60
) -> str:
    """Run a script of bash on a device as root, which ends at what fails; return its output.

    Args:
        group: the device's group.
        name: the device's name.
        text: the script; its arguments are $1 and so on.
        arguments: they.
        stdin: its standard input.
        timeout: how long it may take (s).
    """
    command = ("bash", "-euo", "pipefail", "-c", text, "-", *arguments)
    return execute(group, name, *command, stdin=stdin, timeout=timeout)


def port(group: str, name: str, inner: int) -> int:
    """Return the port of 127.0.0.1 at which this machine reaches a device's port."""
    where = docker("port", container(group, name), f"{inner}/tcp").split()[0]
    return int(where.rpartition(":")[2])


def wait_until_running(
    name: str, run: Callable[..., str], last_words: Callable[[], str], seconds: float
) -> None:
    """Wait until a device has booted and takes SSH; units that failed are only told.

    Args:
        name: the device's name.
        run: runs a command on it as root and returns its output, or raises LabError.
        last_words: tells what there is of it when it answers nothing.
        seconds: how long to wait.

    Raises:
        LabError: it has not booted by then.
    """
    ask = "systemctl is-system-running; systemctl is-active ssh.service; :"
    failed_units = ("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    deadline = time.monotonic() + seconds
    while True:
        try:
            state = run("sh", "-c", ask).split()
        except LabError as error:
            state = [str(error)]
        if state == ["running", "active"]:
            return
        if state == ["degraded", "active"]:
            # Booted, and in reach: a unit may fail for a reason that lies in the host.
            units = [line.split()[0] for line in run(*failed_units).splitlines()]
            say(f"   WARNING: {name} runs, but without {', '.join(units)}, which failed to start")
            return
        if time.monotonic() > deadline:
            try:
                failed = run(*failed_units)
            except LabError:
                failed = last_words()
            raise LabError(
                f"{name} has not booted within {seconds:.0f} s; of the system and ssh.service,"
                f" systemd says: {' and '.join(state)}\n{failed}"
            )
        time.sleep(0.3)


def public_key(home: Path) -> str:
    """Return the public key that the devices of a group let in; made if there is none."""
    key = home / "id_ed25519"
    if not key.exists():
        output(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(key)])
    return key.with_suffix(".pub").read_text()


def address(group: str, name: str) -> str:
    """Return a device's address in its network, at which this machine reaches all its ports."""
    where = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return docker("inspect", "--format", where, container(group, name)).strip()


def ssh_options(home: Path, name: str) -> list[str]:
    """Return the arguments with which ssh believes only a device with the known host keys."""
    # ssh splits this option's value, so it is quoted for that.
    known_hosts = f'UserKnownHostsFile="{home / f"known_hosts.{name}"}"'
    return ["-o", known_hosts, "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"]


def inventory_host(
    home: Path, name: str, ssh_port: int, server_port: int, password: str, host_keys: list[str]
) -> dict[str, Any]:
    """Write down a device's host keys; return its inventory variables.

    Args:
        home: the folder of its group, with the key that it lets in.
        name: the device's name.
        ssh_port: the port of 127.0.0.1 at which its SSH server is reached.
        server_port: the one at which its camera server is.
        password: what sudo asks for on it.
        host_keys: its public host keys, as its own files hold them.
    """
    lines = [f"[127.0.0.1]:{ssh_port} {line}\n" for line in host_keys]
    (home / f"known_hosts.{name}").write_text("".join(lines))
    return {
        "ansible_host": "127.0.0.1",
        "ansible_port": ssh_port,
        "ansible_user": USER,
        "ansible_become_password": password,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_private_key_file": str(home / "id_ed25519"),
        "ansible_ssh_common_args": shlex.join(ssh_options(home, name)),
        "bootstrap_stream_url": f"http://127.0.0.1:{server_port}/video",
    }


def write_inventory(home: Path, hosts: dict[str, Any], variables: dict[str, Any]) -> Path:
    """Write the inventory of a group; return its path (mode 0600)."""
    inventory = home / "inventory.yml"
    inventory.touch(mode=0o600)
    inventory.write_text(
        "# Written by the lab; it holds the password that sudo asks for on the simulated device.\n"
        + yaml.safe_dump({"devices": {"hosts": hosts, "vars": variables}}, sort_keys=False)
    )
    return inventory


def _give_access(group: str, name: str) -> dict[str, Any]:
    """Give a device its user's password and key; return its inventory variables."""
    home = folder(group)
    password = secrets.token_urlsafe(12)
    # It is random, and sudo asks for it at each task: a slow hash would take a core's twentieth.
    fast = ("--crypt-method=SHA256", "--sha-rounds=1000")
    execute(group, name, "chpasswd", *fast, stdin=f"{USER}:{password}\n")
    write = "umask 077; mkdir -p ~/.ssh; cat > ~/.ssh/authorized_keys"
    execute(group, name, "runuser", "-l", USER, "-c", write, stdin=public_key(home))
    host_keys = execute(group, name, "sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub").splitlines()
    ports = port(group, name, 22), port(group, name, SERVER_PORT)
    return inventory_host(home, name, *ports, password, host_keys)


def _boot(group: str, name: str) -> dict[str, Any]:
    """Start a device unless it runs, and wait for it; return its inventory variables."""
    own = container(group, name)
    docker("start", own)
    wait_until_running(
        name,
        partial(execute, group, name),
        partial(docker, "logs", "--tail", "20", own),
        BOOT_SECONDS,
    )
    return _give_access(group, name)


def split_name(text: str) -> tuple[str, str]:
    """Return name and kind of a device that is written as NAME or NAME@KIND.

    Raises:
        LabError: the lab has no such kind.
    """
    name, _at, kind = text.partition("@")
    kind = kind or image.KINDS[0]
    if kind not in image.KINDS:
        raise LabError(f"{text}: there is no {kind} here; allowed is {' or '.join(image.KINDS)}")
    return name, kind


def up(group: str, names: list[str], variables: dict[str, Any]) -> Path:
    """Have the devices of a group run, and write the inventory that reaches them.

    Args:
        group: what they are for; names their folder under `.cache/`.
        names: the devices' names, as NAME or NAME@KIND. They reach each other by NAME.
        variables: inventory variables of the group `devices`.

    Returns:
        The inventory's path (mode 0600: it holds the password that sudo asks for).

    Raises:
        LabError: the image could not be built, or a device has not booted.
    """
    devices = dict(split_name(text) for text in names)
    images = {kind: image.build(kind) for kind in sorted(set(devices.values()))}
    network = _network(group)
    home = folder(group)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not docker("network", "ls", "--quiet", "--filter", f"name=^{network}$").strip():
        docker("network", "create", "--label", LABEL, network)
    hosts = {}
    for name, kind in devices.items():
        own, wanted = container(group, name), images[kind]
        exists = own in _containers(group)
        if exists and docker("inspect", "--format", "{{.Config.Image}}", own).strip() != wanted:
            say(f"   Remove the simulated device {name}: it runs on another image")
            docker("rm", "--force", "--volumes", own, timeout=120)
            exists = False
        if not exists:
            say(f"   Start the simulated device {name}")
            docker(
                *["run", "--detach", "--name", own, "--hostname", name],
                *["--network", network, "--network-alias", name],
                *["--label", f"{LABEL}={network}", *_RUN_OPTIONS],
                *["--publish", "127.0.0.1::22", "--publish", f"127.0.0.1::{SERVER_PORT}"],
                wanted,
            )
        hosts[name] = _boot(group, name)
    return write_inventory(home, hosts, variables)


def boot(group: str, name: str) -> None:
    """Have a device of a group run that is up, and write down where it is reached now.

    Raises:
        LabError: it has not booted.
    """
    home = folder(group)
    devices = yaml.safe_load((home / "inventory.yml").read_text())["devices"]
    devices["hosts"][name] = _boot(group, name)
    write_inventory(home, devices["hosts"], devices["vars"])


def kill(group: str, name: str) -> None:
    """Have a device go out at once, as without power; `boot` starts it, at another port."""
    docker("kill", container(group, name))


def switch_on(group: str, name: str) -> None:
    """Have a device start that has gone out, and do not wait for it."""
    docker("start", container(group, name))


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
