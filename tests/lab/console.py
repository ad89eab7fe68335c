"""What a person sees while the lab works: headings, progress, and failures that say what to do."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
BIN = Path(sys.executable).parent

# How often a long step without output of its own says that it is alive.
HEARTBEAT_SECONDS = 10


class LabError(Exception):
    """A failure that a person can act on: its text says what happened and what to do."""


def collections(group: str) -> Path:
    """Return where the collection is installed for a group of devices."""
    return CACHE / group / "collections"


def say(text: str) -> None:
    """Print one line at once, so that the order is right beside a child's output."""
    print(text, flush=True)


def heading(text: str) -> None:
    """Print a heading for the step that follows."""
    say(f"\n== {text}")


def sudo() -> list[str]:
    """Return what goes before a command that only root may run: nothing for root itself."""
    return [] if os.geteuid() == 0 else ["sudo"]


def environment(group: str) -> dict[str, str]:
    """Return the environment of our tools: the virtual environment first, a group's collections."""
    return {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(collections(group)),
        "ANSIBLE_CONFIG": str(ROOT / "tests/ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": "1" if sys.stdout.isatty() else "0",
    }


def output(command: Sequence[str], stdin: str = "", timeout: float = 60) -> str:
    """Run a short command and return its standard output.

    It never reads from the terminal: its standard input is what is given here, and then ends.

    Raises:
        LabError: it ended with another code than 0, with what it said; its standard input, which
            may hold a secret, is not repeated.
    """
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"no answer within {timeout:.0f} s: {' '.join(command)}") from None
    if done.returncode:
        raise LabError(f"failed: {' '.join(command)}\n{done.stderr.strip()}")
    return done.stdout


def step(
    title: str, command: Sequence[str], hint: str, env: Mapping[str, str] | None = None
) -> Path:
    """Run a long command, telling every few seconds that it goes on; return the log of its output.

    Args:
        title: what is done, for the person who waits; also names the log.
        command: the command and its arguments.
        hint: what to do when it fails.
        env: its environment; this process's own if None.

    Raises:
        LabError: it failed; holds the log's last lines and the hint.
    """
    log = CACHE / "log" / f"{title.replace(' ', '-').replace('/', '-').lower()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    say(f"   {title} …")
    began = time.monotonic()
    with log.open("wb") as sink:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, env=env
        )
        while True:
            try:
                code = child.wait(HEARTBEAT_SECONDS)
                break
            except subprocess.TimeoutExpired:
                say(f"   {title}: {time.monotonic() - began:.0f} s so far")
            except KeyboardInterrupt:
                # Ctrl-C reached it too: let it end before its files are removed from under it.
                child.wait()
                raise
    if code:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise LabError(f"{title}: failed (the whole log is in {log})\n{tail}\n{hint}")
    say(f"   {title}: done in {time.monotonic() - began:.0f} s")
    return log


def install_packages(*names: str) -> None:
    """Install packages of the distribution.

    Raises:
        LabError: that failed, or the distribution is not Debian or Ubuntu.
    """
    by_hand = f"Install {' and '.join(names)} by hand, then run the same command again."
    if not shutil.which("apt-get"):
        raise LabError(f"the lab installs packages on Debian and Ubuntu only. {by_hand}")
    # On trixie the Docker client is but recommended by docker.io.
    install = "apt-get -o DPkg::Lock::Timeout=300 install -qy --install-recommends"
    script = f'apt-get update -q && exec {install} "$@"'
    CACHE.mkdir(exist_ok=True)
    # apt-get update does not wait for another one, as several checks at a time begin with it.
    with (CACHE / "packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        step(
            f"Install {' '.join(names)} from the distribution",
            [*sudo(), "env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", script, "-", *names],
            by_hand,
        )


def install_chromium() -> None:
    """Have a Chromium for the browser tests: the distribution's, or Playwright's where it has none.

    Raises:
        LabError: neither could be installed.
    """
    if shutil.which("chromium"):
        return
    if "ID=debian" in Path("/etc/os-release").read_text().splitlines():
        install_packages("chromium")
    else:
        # Ubuntu's package is a snap, which a machine without snapd cannot install.
        step(
            "Install Playwright's Chromium",
            [*sudo(), str(BIN / "playwright"), "install", "--with-deps", "chromium"],
            "Install Chromium by hand, so that `chromium` starts it.",
        )
