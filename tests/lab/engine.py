"""The Docker engine under the lab: the one that answers, or one that the lab starts and ends.

An engine is the machine's, not a checkout's: several checkouts may use it at once. Whoever uses it
holds a lease (a shared lock). The lab's own engine ends when the last lease has ended, no device
of any checkout is left, and nobody else's container runs on it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from .console import LabError, install_packages, output, say, sudo

LABEL = "rpi_camera.lab"
START_SECONDS = 60
STOP_SECONDS = 60


class NoEngineError(LabError):
    """No Docker engine answers."""


def own_folder(folder: Path) -> Path:
    """Make a folder that is this user's alone, or see that it is; return it.

    Raises:
        LabError: it is somebody else's, or others may look into it.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if (found.st_uid, found.st_mode) != (os.geteuid(), stat.S_IFDIR | 0o700):
        raise LabError(
            f"{folder} says which engine the lab may stop, so it must be a folder of yours with"
            " mode 0700, and it is not: find out who made it, then remove it"
        )
    return folder


def _state_folder() -> Path:
    """Return the folder of lock and record: root's in /run, else the user's own."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    base = Path("/run") if os.geteuid() == 0 else Path(runtime)
    return own_folder(base / f"rpi-camera-lab-{os.geteuid()}")


def _refuse_what_cannot_run_devices(client: tuple[str, ...], version: str) -> None:
    """Raise LabError, with what to do, for an engine that answers and will not do.

    Args:
        client: how to reach it.
        version: what `docker version` said of client and server.
    """
    if "podman" in version.lower():
        raise LabError(
            "`docker` is Podman here, and the lab runs on a Docker engine only. Install docker.io"
            " in place of podman-docker (or unset DOCKER_HOST, if it leads to Podman)."
        )
    if "rootless" in output([*client, "info", "--format", "{{.SecurityOptions}}"]):
        raise LabError(
            "this Docker engine runs rootless, where simulated devices get no device nodes. Use"
            " the system's engine: `docker context use default`, and unset DOCKER_HOST."
        )


@cache
def docker_command() -> tuple[str, ...]:
    """Return how to reach an engine that answers, by sudo if need be; remembered until it ends.

    Raises:
        NoEngineError: no engine answers.
        LabError: one does that cannot run simulated devices.
    """
    if shutil.which("docker"):
        for prefix in ([], sudo()):  # For root both are the same.
            client = (*prefix, "docker")
            try:
                version = output([*client, "version"])
            except LabError:
                continue
            _refuse_what_cannot_run_devices(client, version)
            return client
    raise NoEngineError("no Docker engine answers; `make demo` starts one when it is missing")


def docker(*arguments: str, stdin: str = "", timeout: float = 60) -> str:
    """Run the Docker client and return its standard output.

    Raises:
        LabError: no engine answers, or the command failed.
    """
    return output([*docker_command(), *arguments], stdin=stdin, timeout=timeout)


def _answers() -> bool:
    try:
        docker_command()
    except NoEngineError:
        return False
    return True


def _wait_for_answer(seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if _answers():
            return True
        time.sleep(0.5)
    return False


def _start_time(pid: int) -> str | None:
    """Return when a process started (field 22 of proc(5)'s stat), None if there is none."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return line.rpartition(")")[2].split()[19]


def _start(folder: Path) -> None:
    # After an install on a machine with systemd, the distribution has started it already.
    if not shutil.which("dockerd"):
        install_packages("docker.io")
        if Path("/run/systemd/system").exists() and _wait_for_answer(20):
            return
    log = folder / "dockerd.log"
    say(f"   Start a Docker engine for the lab (none answers); its log is {log}")
    with log.open("wb") as sink:
        child = subprocess.Popen(
            [*sudo(), "dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    record = {"pid": child.pid, "start_time": _start_time(child.pid)}
    (folder / "engine.json").write_text(json.dumps(record))
    if not _wait_for_answer(START_SECONDS):
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise LabError(f"dockerd gives no answer after {START_SECONDS} s:\n{tail}")


def _stop_if_ours_and_unused(folder: Path) -> None:
    record_file = folder / "engine.json"
    if not record_file.exists():
        return
    record = json.loads(record_file.read_text())
    pid = int(record["pid"])
    if _start_time(pid) != record["start_time"]:
        record_file.unlink()
        return
    if _answers():
        if docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}").strip():
            return
        # Whoever else has found this engine answering may run containers of their own on it.
        if docker("ps", "--quiet").strip():
            say("   The Docker engine that the lab started goes on: containers of others run on it")
            return
    say("   Stop the Docker engine that the lab started: no simulated device is left")
    subprocess.run([*sudo(), "kill", f"-{signal.SIGTERM.value}", str(pid)], check=False)
    deadline = time.monotonic() + STOP_SECONDS
    while _start_time(pid) == record["start_time"]:
        # As our child it stays a zombie until it is waited for.
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            raise LabError(f"dockerd (process {pid}) does not end; see {folder / 'dockerd.log'}")
        time.sleep(0.2)
    docker_command.cache_clear()
    record_file.unlink()


@contextmanager
def lease() -> Iterator[None]:
    """Have an engine answer for as long as the block runs, starting one when none does.

    Raises:
        LabError: there is none and it could not be started.
    """
    folder = _state_folder()
    with (folder / "lease").open("w") as lease_lock, (folder / "start").open("w") as start_lock:
        fcntl.flock(lease_lock, fcntl.LOCK_SH)
        try:
            fcntl.flock(start_lock, fcntl.LOCK_EX)
            docker_command.cache_clear()
            if not _answers():
                _start(folder)
            fcntl.flock(start_lock, fcntl.LOCK_UN)
            yield
        finally:
            fcntl.flock(lease_lock, fcntl.LOCK_UN)
            try:
                fcntl.flock(lease_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # Somebody else still uses it; the last one stops it.
            else:
                _stop_if_ours_and_unused(folder)
