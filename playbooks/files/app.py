"""Print what the app `camera` of docker_boot is.

That is `own` if it is the camera server as bootstrap sets it up, `another` if it is something else,
and nothing if there is none.

Only names are looked at: the files hold secrets.
"""

import json
from pathlib import Path

for name in ("camera.json", "camera.json.new"):
    file = Path("/etc/rpi_camera/docker_boot", name)
    if file.exists():
        try:
            paths = json.loads(file.read_text()).get("secret_paths", {})
        except (ValueError, AttributeError):
            # A power cut can leave an empty one.
            continue
        print("own" if "camera-server.toml" in paths else "another")
        break
