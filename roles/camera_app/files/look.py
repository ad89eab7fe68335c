"""Print what the role has to know of a device before it does anything there, in one call.

It only looks. What it looks for is its argument, what it finds its output, both as JSON.
The argument:
    service, replaces: units of systemd
    port: a TCP port
    packages: names of the distribution's packages
    root: the folder of the releases
    credentials: a file
    files: that are to be root's, 0644
"""

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path


def ask(*command: str, check: bool = True) -> list[str]:
    """Return the lines that a command prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=check)
    return done.stdout.splitlines()


def ask_systemd(unit: str, *properties: str) -> dict[str, str]:
    """Return these properties of a unit."""
    lines = ask("/usr/bin/systemctl", "show", f"--property={','.join(properties)}", unit)
    return dict(line.split("=", 1) for line in lines)


def ask_installed(packages: list[str]) -> list[str]:
    """Return which of the packages are installed."""
    names = "--showformat=${db:Status-Status} ${Package}\n"
    lines = ask("/usr/bin/dpkg-query", "--show", names, *packages, check=False)
    return [name for name in packages if f"installed {name}" in lines]


def checksum(file: Path) -> str:
    """Return the SHA-256 of a file; nothing if it is not there, or not as it is to be."""
    if not file.is_file():
        return ""
    there = file.lstat()
    if (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) != (0, 0, 0o644):
        return ""
    return hashlib.sha256(file.read_bytes()).hexdigest()


wanted = json.loads(sys.argv[1])
root = Path(wanted["root"])
releases = [str(path) for path in root.glob("releases/*") if path.is_dir()]
replaces = {
    unit: ask_systemd(unit, "ActiveState", "UnitFileState", "MainPID")
    for unit in wanted["replaces"]
}
links = {
    name: os.readlink(root / name) if (root / name).is_symlink() else ""
    for name in ("current", "previous", "rollback/release")
}
found = {
    # A release belongs to one Python: after an upgrade of the distribution it is another.
    "python": "{}.{}".format(*sys.version_info),
    "service": ask_systemd(wanted["service"], "ActiveState", "MainPID", "NeedDaemonReload"),
    # What runs, or is started at boot and was stopped by a run that was broken off.
    "replaced": [
        unit
        for unit, is_ in replaces.items()
        if is_["ActiveState"] == "active" or is_["UnitFileState"] == "enabled"
    ],
    # An update of a container that is under way is not started again, and must not go on beside the
    # server.
    "in_the_way": [
        unit
        for unit, is_ in replaces.items()
        if is_["ActiveState"] in ("active", "activating", "reloading")
        or is_["UnitFileState"] == "enabled"
    ],
    "replaced_pids": [is_["MainPID"] for is_ in replaces.values()],
    "listeners": ask(
        *("/usr/bin/ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes"),
        f"sport = :{wanted['port']}",
    ),
    "installed": ask_installed(wanted["packages"]),
    "links": links,
    "rollback": (root / "rollback").exists(),
    "complete": [path for path in releases if Path(path, "complete").exists()],
    "unused": sorted(set(releases) - set(links.values())),
    "checksums": {path: checksum(Path(path)) for path in wanted["files"]},
    "credentials": os.path.lexists(wanted["credentials"]),
}
print(json.dumps(found))
