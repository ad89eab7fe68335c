"""Print what the role has to know of a device before it does anything there, in one call.

It only looks. What it looks for is its argument, what it finds its output, both as JSON.
The argument:
    service, timer, replaces: units of systemd
    name: the app's
    ports: of the device, as 8080/tcp
    folders: [{"path": …, "mode": "0755"}], to be root's
    files: {path: mode}, likewise
    program, service_file: what the service is started from
    staged: a file
"""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

# How the engine tells of a container: whose it is, and its name.
CONTAINER = '{{.Label "rpi_camera.docker_boot"}} {{.Names}}'


def ask(*command: str) -> list[str]:
    """Return the lines that a command prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def ask_systemd(unit: str) -> dict[str, str]:
    """Return what the role goes by of a unit."""
    properties = "LoadState,ActiveState,UnitFileState,ActiveEnterTimestamp,NeedDaemonReload,MainPID"
    command = ("/usr/bin/systemctl", "show", "--timestamp=unix", f"--property={properties}", unit)
    return dict(line.split("=", 1) for line in ask(*command))


def ask_engine(*filters: str) -> list[str]:
    """Return containers, as CONTAINER has it; an engine that does not run is not started."""
    if not docker or units[0]["ActiveState"] != "active":
        return []
    return ask(docker, "ps", "--format", CONTAINER, *filters)


def is_roots(path: str, mode: str) -> bool:
    """Whether a path is root's, with this mode."""
    there = os.lstat(path)
    return (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (0, 0, int(mode, 8))


def is_newer(path: str, start: int) -> bool:
    """Whether a file was written after the second in which something started."""
    return os.path.isfile(path) and os.lstat(path).st_mtime > start + 1


def checksum(path: str) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


wanted = json.loads(sys.argv[1])
docker, skopeo = shutil.which("docker") or "", shutil.which("skopeo") or ""
units = [ask_systemd(unit) for unit in ("docker.service", wanted["service"], wanted["timer"])]
replaces = {unit: ask_systemd(unit) for unit in wanted["replaces"]}
started = int(units[1]["ActiveEnterTimestamp"].lstrip("@") or 0)
found = {
    "docker": docker,
    "skopeo": skopeo,
    "engine": units[0],
    "service": units[1],
    "timer": units[2],
    # What runs, or is started at boot and was stopped by a run that was broken off.
    "replaced": [
        unit
        for unit, is_ in replaces.items()
        if is_["ActiveState"] == "active" or is_["UnitFileState"] == "enabled"
    ],
    "replaced_pids": [is_["MainPID"] for is_ in replaces.values()],
    "ports": [
        {
            "listeners": ask(
                *("/usr/bin/ss", "--no-header", "--listening", f"--{protocol}", "--numeric"),
                *("--processes", f"sport = :{number}"),
            ),
            # The engine listens for its containers.
            "containers": ask_engine(f"--filter=publish={number}/{protocol}"),
        }
        for number, protocol in (port.split("/") for port in wanted["ports"])
    ],
    "namesakes": ask_engine("--all", f"--filter=name=^/?{wanted['name']}([.]next)?$"),
    "folders": [
        folder
        for folder in wanted["folders"]
        if os.path.isdir(folder["path"]) and is_roots(folder["path"], folder["mode"])
    ],
    "checksums": {
        path: checksum(path)
        for path, mode in wanted["files"].items()
        if os.path.isfile(path) and is_roots(path, mode)
    },
    # Another app's run may have brought the program, or one that was broken off after it.
    "outdated": any(is_newer(wanted[key], started) for key in ("program", "service_file")),
    "staged": os.path.lexists(wanted["staged"]),
}
print(json.dumps(found))
