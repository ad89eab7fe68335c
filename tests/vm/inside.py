"""Runs in a container, and prints as JSON what its process may do and what it has around it."""

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

# What Docker covers or protects from writing, unless it is told not to.
KERNEL = (
    *("/proc/acpi", "/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/kcore"),
    *("/proc/keys", "/proc/latency_stats", "/proc/scsi", "/proc/sched_debug", "/proc/sys"),
    *("/proc/sysrq-trigger", "/proc/timer_list", "/proc/timer_stats"),
    *("/sys/devices/virtual/powercap", "/sys/firmware"),
)

# The only place that can be written to, and a block device's mode.
MEMORY = Path("/dev") / "shm"
DISK_MODE = stat.S_IFBLK | 0o600


def outcome(action: Callable[[], object]) -> str:
    """Return the name of an action's error, or `done`."""
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def files(top: str) -> Iterator[Path]:
    """Yield a path itself, or all that is in a folder that is no folder."""
    if not os.path.isdir(top):
        yield Path(top)
    for at, _folders, names in os.walk(top):
        yield from (Path(at, name) for name in names)


def is_device(path: Path) -> bool:
    """Whether a path is a device node, and no link to one."""
    mode = path.lstat().st_mode
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def rewrite(path: Path) -> None:
    """Write what a file holds into it. Raises OSError where that is refused."""
    with path.open("r+b", buffering=0) as file:
        held = file.read()
        file.seek(0)
        file.write(held)


def main() -> None:
    """Print it."""
    accessible = [path for top in KERNEL for path in files(top) if os.access(path, os.W_OK)]
    status = Path("/proc/self/status").read_text().splitlines()
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    told = {
        "status": dict(line.split(":\t", 1) for line in status),
        "mounts": {mount[1]: mount[3].split(",") for mount in mounts},
        "ids": [os.getuid(), os.getgid(), *os.getgroups()],
        "devices": [str(path) for path in files("/dev") if is_device(path)],
        "a new file": outcome(Path("/new").touch),
        "a new node": outcome(lambda: os.mknod(MEMORY / "new", DISK_MODE, os.makedev(254, 0))),
        "written": [str(path) for path in accessible if outcome(partial(rewrite, path)) == "done"],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
