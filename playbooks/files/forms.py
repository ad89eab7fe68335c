"""Print, as JSON, in which forms the camera server is on the device.

app: what the app `camera` of docker_boot is. That is `own` if it is the camera server as bootstrap
    sets it up, `another` if it is something else, and nothing if there is none.
native: what systemd says of the native server.
native_left: whether anything of a native one is there. The role makes its user first, and removes
    it last.

Of files that hold secrets only names are looked at.
"""

import json
import pwd
import subprocess
from pathlib import Path


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
    command = ("/usr/bin/systemctl", "show", properties, "camera-server.service")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


unit = native()
user = any(entry.pw_name == "camera-server" for entry in pwd.getpwall())
left = user or unit["LoadState"] != "not-found"
print(json.dumps({"app": app(), "native": unit, "native_left": left}))
