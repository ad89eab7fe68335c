"""Print what the role has to know of a device, in one call. It only looks.

What it looks for is its argument, as JSON: `packages` are the distribution's, `user` is the
runner's, `units` are of systemd, `files` and `engine` are root's, 0644, `scripts` are what jobs run
first and last, `folders` are the user's, and `installed` is what every installed runner has.

What it found is printed as JSON too; the variables of the role say what that is good for.
"""

import grp
import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path

NUMBERS = ("/etc/subuid", "/etc/subgid")
CONTROLLERS = Path("/sys/fs/cgroup/cgroup.controllers")


def ask(*command: str, check: bool = True) -> list[str]:
    """Return the lines that a command prints; say what went wrong, and end."""
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        sys.exit(str(error))
    if check and done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def ask_installed(packages: list[str]) -> list[str]:
    """Return which of the packages are installed."""
    form = "--showformat=${db:Status-Status} ${Package}\n"
    if not packages:
        return []
    lines = ask("/usr/bin/dpkg-query", "--show", form, *packages, check=False)
    return [name for name in packages if f"installed {name}" in lines]


def ask_systemd(unit: str) -> dict[str, str]:
    """Return what the role goes by of a unit."""
    properties = "--property=LoadState,ActiveState,UnitFileState,NeedDaemonReload"
    return dict(line.split("=", 1) for line in ask("/usr/bin/systemctl", "show", properties, unit))


def ask_user(name: str) -> dict[str, object]:
    """Return a user's number, home and groups; nothing if there is none."""
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        return {}
    numbers = os.getgrouplist(name, account.pw_gid)
    known = {group.gr_gid: group.gr_name for group in grp.getgrall()}
    return {
        "uid": account.pw_uid,
        "home": account.pw_dir,
        "groups": [known.get(number, str(number)) for number in numbers],
    }


def checksum(path: str) -> str:
    """Return the SHA-256 of a file; nothing if there is none that is root's, 0644."""
    if not os.path.isfile(path):
        return ""
    status = os.lstat(path)
    if (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) != (0, 0, 0o644):
        return ""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def numbers(path: str) -> list[tuple[str, int, int]]:
    """Return whose subordinate numbers a file names: the user, the first and how many."""
    try:
        rows = [line.split(":") for line in Path(path).read_text().splitlines()]
    except OSError:
        return []
    return [(row[0], int(row[1]), int(row[2])) for row in rows if len(row) == 3]


def has_numbers(user: str) -> bool:
    """Whether a user has enough of both kinds."""
    return all(
        any(name == user and count >= 65536 for name, _first, count in numbers(path))
        for path in NUMBERS
    )


def next_number() -> int:
    """Return the first subordinate number behind those that are taken."""
    taken = [first + count for path in NUMBERS for _name, first, count in numbers(path)]
    return max([100000, *taken])


def counts_memory() -> bool:
    """Whether the kernel's control group for memory is on."""
    if CONTROLLERS.exists():
        return "memory" in CONTROLLERS.read_text().split()
    rows = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()]
    return any(row[0] == "memory" and row[3] == "1" for row in rows)


def memory() -> int:
    """Return how much memory the kernel has (kB)."""
    rows = [line.split() for line in Path("/proc/meminfo").read_text().splitlines()]
    return next(int(row[1]) for row in rows if row[0] == "MemTotal:")


wanted = json.loads(sys.argv[1])
user = ask_user(wanted["user"])
found = {
    "is_root": os.geteuid() == 0,
    "installed": ask_installed(wanted["packages"]),
    "user": user,
    "units": {unit: ask_systemd(unit) for unit in wanted["units"]},
    "files": [checksum(path) for path in wanted["files"]],
    "missing": [path for path in wanted["scripts"] if not os.path.isfile(path)],
    "folders": [
        path
        for path in wanted["folders"]
        if os.path.isdir(path) and bool(user) and os.lstat(path).st_uid == user["uid"]
    ],
    "engine_file": checksum(wanted["engine"]),
    "has_numbers": has_numbers(wanted["user"]),
    "next_number": next_number(),
    "has_runner": os.path.isfile(wanted["installed"]),
    "groups": [group.gr_name for group in grp.getgrall()],
    "memory": memory(),
    "counts_memory": counts_memory(),
}
print(json.dumps(found))
