"""The collection as users get it: built into an archive, and installed from that archive."""

from __future__ import annotations

import tempfile
from pathlib import Path

from .console import BIN, CACHE, ROOT, collections, output, say

GALAXY = str(BIN / "ansible-galaxy")


def build(folder: Path) -> Path:
    """Build the archive in an empty folder and return its path.

    Raises:
        LabError: ansible-galaxy refused it.
    """
    output([GALAXY, "collection", "build", str(ROOT), "--output-path", str(folder)])
    (archive,) = folder.glob("*.tar.gz")
    return archive


def install(group: str) -> None:
    """Build the archive and install it where the playbooks for a group of devices run from.

    Raises:
        LabError: ansible-galaxy refused it.
    """
    own = collections(group)
    own.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="archive-") as folder:
        archive = build(Path(folder))
        output([GALAXY, "collection", "install", str(archive), "-p", str(own), "--force"])
    say(f"   Installed {archive.name} into {own.relative_to(ROOT)}")
