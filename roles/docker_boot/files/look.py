"""Print what the role has to know of a device, in one call. It only looks.

What it looks for is its argument, as JSON: `service`, `update`, `timer` and `replaces` are units of
systemd, `name` is the app's, `ports` are the device's, such as 8080/tcp, `folders` have a `path`
and a `mode` and are to be root's, `files` are to be root's, 0644, `started_from` are those that the
service is started from, and `staged` is one more.

What it found is printed as JSON too; the variables of the role say what that is good for.
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
    """Return the lines that a command prints; say what went wrong, and end."""
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        sys.exit(str(error))
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def ask_systemd(unit: str) -> dict[str, str]:
    """Return what the role goes by of a unit; timers and sockets lack some."""
    properties = "LoadState,ActiveState,UnitFileState,ActiveEnterTimestamp,NeedDaemonReload,MainPID"
    command = ("/usr/bin/systemctl", "show", "--timestamp=unix", f"--property={properties}", unit)
    return dict(line.split("=", 1) for line in ask(*command))


def ask_engine(*filters: str) -> list[str]:
    """Return containers, as CONTAINER has it; an engine that does not run is not started."""
    if not docker or (engine["LoadState"], engine["ActiveState"]) != ("loaded", "active"):
        return []
    return ask(docker, "ps", "--format", CONTAINER, *filters)


def is_roots(path: str, mode: str) -> bool:
    """Whether a path is root's, with this mode."""
    status = os.lstat(path)
    return (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, 0, int(mode, 8))


def checksum(path: str) -> str:
    """Return the SHA-256 of a file; nothing if there is none that is root's, 0644."""
    if not os.path.isfile(path) or not is_roots(path, "0644"):
        return ""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def is_newer(path: str, start: int) -> bool:
    """Whether a file was written after the second in which something started."""
    return os.path.isfile(path) and os.lstat(path).st_mtime > start + 1


wanted = json.loads(sys.argv[1])
docker = shutil.which("docker") or ""
engine = ask_systemd("docker.service")
units = (wanted["service"], wanted["update"], wanted["timer"])
own = {unit: ask_systemd(unit) for unit in units}
service, timer = own[wanted["service"]], own[wanted["timer"]]
replaces = {unit: ask_systemd(unit) for unit in wanted["replaces"]}
started = int(service["ActiveEnterTimestamp"].lstrip("@") or 0)
found = {
    "docker": docker,
    "skopeo": shutil.which("skopeo") or "",
    "engine": engine,
    "service": service,
    "timer": timer,
    # Written by a run that was broken off before systemd had read them.
    "unread": [unit for unit, is_ in own.items() if is_["NeedDaemonReload"] == "yes"],
    # What runs, or is started at boot and was stopped by a run that was broken off.
    "replaced": [
        unit
        for unit, is_ in replaces.items()
        if is_["ActiveState"] == "active" or is_["UnitFileState"] == "enabled"
    ],
    # A socket is systemd's own.
    "replaced_pids": [
        is_.get("MainPID", "1" if unit.endswith(".socket") else "0")
        for unit, is_ in replaces.items()
    ],
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
    "checksums": {path: checksum(path) for path in wanted["files"]},
    # Another app's run may have brought the program, or one that was broken off after it.
    "outdated": any(is_newer(path, started) for path in wanted["started_from"]),
    "staged": os.path.lexists(wanted["staged"]),
}
print(json.dumps(found))
