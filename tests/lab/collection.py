"""The collection as users get it: built into an archive, and installed from that archive."""

from __future__ import annotations

import shutil
from pathlib import Path

from .console import BIN, CACHE, ROOT, output, say

ARCHIVES = CACHE / "archive"
COLLECTIONS = CACHE / "collections"


def build() -> Path:
    """Build the archive and return its path.

    Raises:
        LabError: ansible-galaxy refused it.
    """
    shutil.rmtree(ARCHIVES, ignore_errors=True)
    galaxy = str(BIN / "ansible-galaxy")
    output([galaxy, "collection", "build", str(ROOT), "--output-path", str(ARCHIVES)])
    (archive,) = ARCHIVES.glob("*.tar.gz")
    return archive


def install() -> None:
    """Build the archive and install it where the lab's playbooks run from.

    Raises:
        LabError: ansible-galaxy refused it.
    """
    archive = build()
    galaxy = str(BIN / "ansible-galaxy")
    output([galaxy, "collection", "install", str(archive), "-p", str(COLLECTIONS), "--force"])
    say(f"   Installed {archive.name} into {COLLECTIONS.relative_to(ROOT)}")
