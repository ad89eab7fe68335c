"""Packs the program that devices run into one archive: `python3 pack.py COLLECTION [ARCHIVE]`.

Python runs it as it is. It prints the archive's SHA-256: the same files give the same archive, byte
by byte and wherever they lie, so that a device is seen to have it already.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from pathlib import Path, PurePosixPath

OWN = Path("roles/docker_boot/files/docker_boot")
OPTIONS = Path("files/server/container/run_options.py")
# What watches streams is the modules', and keeps its name.
SHARED = Path("plugins/module_utils")
SHARED_NAMES = ("_jpeg", "_mjpeg", "_options", "_stream", "_target")
SHARED_PLACE = PurePosixPath("ansible_collections/rpi_camera/fleet") / SHARED
MAIN = "import sys\n\nfrom docker_boot.__main__ import main\n\nsys.exit(main())\n"
# The first that an archive can have.
DATE = (1980, 1, 1, 0, 0, 0)


def contents(collection: Path) -> dict[str, bytes]:
    """Return what is in the archive, by its names there; those of folders end in a slash."""
    files = {"__main__.py": MAIN.encode()}
    for path in (collection / OWN).glob("*.py"):
        files[f"{OWN.name}/{path.name}"] = path.read_bytes()
    files[OPTIONS.name] = (collection / OPTIONS).read_bytes()
    for name in SHARED_NAMES:
        files[f"{SHARED_PLACE / name}.py"] = (collection / SHARED / f"{name}.py").read_bytes()
    # Without them Python does not find packages that have no __init__.py.
    for name in list(files):
        files |= {f"{folder}/": b"" for folder in PurePosixPath(name).parents if folder.name}
    return dict(sorted(files.items()))


def main() -> None:
    """Write it, if it has a place, and print its digest."""
    collection, *places = map(Path, sys.argv[1:])
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for name, content in contents(collection).items():
            packed.writestr(zipfile.ZipInfo(name, DATE), content)
    for place in places:
        place.write_bytes(archive.getvalue())
    print(hashlib.sha256(archive.getvalue()).hexdigest())


if __name__ == "__main__":
    main()
