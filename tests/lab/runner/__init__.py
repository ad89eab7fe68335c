"""A double of the GitHub Actions runner: the archive that a release has, small enough for tests.

What is in `layout/` behaves as the real one for whoever registers it, runs it and removes it. It
speaks with `tests.lab.github` in a protocol of its own.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from datetime import UTC, datetime
from pathlib import Path

ARCHITECTURES = ("x64", "arm64", "arm")
LAYOUT = Path(__file__).parent / "layout"
# The user that the real archive's files belong to.
_OWNER = 1001
# Programs, and the modules of `bin/double` that they begin.
_PROGRAMS = {"Runner.Listener": "listener", "Runner.Worker": "worker", "RunnerService": "service"}
# The interpreter writes nothing beside the modules, holds no line back, and speaks UTF-8.
_PROGRAM = """\
#!/usr/bin/python3 -BuXutf8
import sys
from double.{module} import main
sys.exit(main(sys.argv[1:]))
"""


def archive_name(version: str, architecture: str = "x64") -> str:
    """Return the name that a release's archive has."""
    return f"actions-runner-linux-{architecture}-{version}.tar.gz"


def build(
    version: str, architecture: str = "x64", padding: int = 0, built: datetime | None = None
) -> bytes:
    """Return the archive (.tar.gz) of a release; it is the same for the same arguments.

    Args:
        version: the release's, as 2.336.0.
        architecture: one of ARCHITECTURES.
        padding: how much larger it is to be (bytes).
        built: when its files were made; None is now.

    Raises:
        ValueError: there is no runner for this architecture.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"{architecture}: no runner; allowed is {', '.join(ARCHITECTURES)}")
    time = int((built or datetime.now(UTC)).timestamp())
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=time, compresslevel=6) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        contents = _contents(version, architecture, padding)
        folders = {str(parent) for name in contents for parent in Path(name).parents}
        for name in sorted({*folders, *contents}):
            entry = tarfile.TarInfo("." if name == "." else f"./{name}")
            entry.mtime, entry.uid, entry.gid = time, _OWNER, _OWNER
            content = contents.get(name)
            if content is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            else:
                entry.size = len(content)
                entry.mode = 0o755 if content.startswith(b"#!") else 0o644
            archive.addfile(entry, io.BytesIO(content or b""))
    return packed.getvalue()


def _contents(version: str, architecture: str, padding: int) -> dict[str, bytes]:
    """Return the archive's files by their paths."""
    contents = {
        str(path.relative_to(LAYOUT)): path.read_bytes()
        for path in LAYOUT.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for name, module in _PROGRAMS.items():
        contents[f"bin/{name}"] = _PROGRAM.format(module=module).encode()
    contents["bin/version"] = f"{version}\n".encode()
    contents["bin/architecture"] = f"{architecture}\n".encode()
    # What cannot be compressed.
    contents["externals/padding"] = hashlib.shake_256(version.encode()).digest(padding)
    return contents
