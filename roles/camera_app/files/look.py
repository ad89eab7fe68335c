"""Print what the role has to know of a device, in one call. It only looks.

What it looks for is its argument, as JSON: `service` and `replaces` are units of systemd, `port` is
one of TCP, `packages` are the distribution's, `root` is the folder of the releases, `files` are
those that are to be root's, 0644, and `kept` those that a switch keeps.

What it found is printed as JSON too; the variables of the role say what that is good for.
"""

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path


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


def ask_systemd(unit: str, *properties: str) -> dict[str, str]:
    """Return these properties of a unit; timers and sockets lack some."""
    lines = ask("/usr/bin/systemctl", "show", f"--property={','.join(properties)}", unit)
    return dict(line.split("=", 1) for line in lines)


def ask_installed(packages: list[str]) -> list[str]:
    """Return which of the packages are installed."""
    form = "--showformat=${db:Status-Status} ${Package}\n"
    lines = ask("/usr/bin/dpkg-query", "--show", form, *packages, check=False)
    return [name for name in packages if f"installed {name}" in lines]


def checksum(path: str) -> str:
    """Return the SHA-256 of a file; nothing if there is none that is root's, 0644."""
    if not os.path.isfile(path):
        return ""
    status = os.lstat(path)
    if (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) != (0, 0, 0o644):
        return ""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def target(link: Path) -> str:
    """Return where a link points to; nothing if there is none."""
    return os.readlink(link) if link.is_symlink() else ""


wanted = json.loads(sys.argv[1])
root = Path(wanted["root"])
releases = [
    str(path) for path in root.glob("releases/[!.]*") if path.is_dir() and not path.is_symlink()
]
links = {name: target(root / name) for name in ("current", "previous", "rollback/release")}
replaces = {
    unit: ask_systemd(unit, "ActiveState", "UnitFileState", "MainPID")
    for unit in wanted["replaces"]
}
misplaced = [
    {"path": str(root / name), "kind": "link"}
    for name in ("current", "previous")
    if (root / name).exists() and not (root / name).is_symlink()
] + [
    {"path": path, "kind": "file"}
    for path in wanted["kept"]
    if os.path.lexists(path) and not os.path.isfile(path)
]
enabled = [unit for unit, is_ in replaces.items() if is_["UnitFileState"] == "enabled"]
found = {
    # A release belongs to one Python: after an upgrade of the distribution it is another.
    "python": "{}.{}".format(*sys.version_info),
    "service": ask_systemd(wanted["service"], "ActiveState", "MainPID", "NeedDaemonReload"),
    # What runs, or is started at boot and was stopped by a run that was broken off.
    "replaced": [
        unit for unit, is_ in replaces.items() if is_["ActiveState"] == "active" or unit in enabled
    ],
    # An update of a container that is under way is not started again, and must not go on beside the
    # server.
    "in_the_way": [
        unit
        for unit, is_ in replaces.items()
        if is_["ActiveState"] in ("active", "activating", "reloading") or unit in enabled
    ],
    # A socket is systemd's own.
    "replaced_pids": [
        is_.get("MainPID", "1" if unit.endswith(".socket") else "0")
        for unit, is_ in replaces.items()
    ],
    "listeners": ask(
        *("/usr/bin/ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes"),
        f"sport = :{wanted['port']}",
    ),
    "installed": ask_installed(wanted["packages"]),
    "links": links,
    "misplaced": misplaced,
    "rollback": (root / "rollback").exists(),
    "complete": [path for path in releases if os.path.exists(f"{path}/complete")],
    "unused": sorted(set(releases) - set(links.values())),
    "checksums": {path: checksum(path) for path in wanted["files"]},
    "kept": [path for path in wanted["kept"] if os.path.lexists(path)],
}
print(json.dumps(found))
