"""Print, as JSON, in which forms the camera server is on the device.

app: what the app `camera` of docker_boot is. That is `own` if it is the camera server as bootstrap
    sets it up, `another` if it is something else, and nothing if there is none.
native: what systemd says of the native server.
native_left: whether anything of a native one is there.

Of files that hold secrets only names are looked at.
"""

# The device's own Python may be an old one: a role says so later.
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

UNIT = "camera-server.service"
USER = "camera-server"
LEFT = ("/opt/rpi_camera/releases", "/etc/rpi_camera/camera-server.toml")


def app() -> str:
    """Return what the app is."""
    for name in ("camera.json", "camera.json.new"):
        file = Path("/etc/rpi_camera/docker_boot", name)
        if file.exists():
            try:
                paths = json.loads(file.read_text()).get("secret_paths", {})
            except (ValueError, AttributeError):
                # A power cut can leave an empty one.
                continue
            return "own" if "camera-server.toml" in paths else "another"
    return ""


def native() -> dict[str, str]:
    """Return properties of the unit."""
    properties = "--property=LoadState,ActiveState,UnitFileState"
    command = ("/usr/bin/systemctl", "show", properties, UNIT)
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        sys.exit(str(error))
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def native_left() -> bool:
    """Whether the role has left anything; its user is what it makes first and removes last."""
    accounts = Path("/etc/passwd").read_bytes().splitlines()
    users = [account.partition(b":")[0].decode(errors="replace") for account in accounts]
    return USER in users or any(Path(path).exists() for path in LEFT)


unit = native()
left = unit["LoadState"] != "not-found" or native_left()
print(json.dumps({"app": app(), "native": unit, "native_left": left}))
