"""JPEGs and recordings to replay, each picture of its own colour."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

SIZE = (64, 64)


def picture(shade: int, size: tuple[int, int] = SIZE, *, thumbnail: bool = False) -> bytes:
    """A noisy JPEG, so that there is something in its scan; with a JPEG in its EXIF if asked."""
    image = Image.effect_noise(size, 90).convert("RGB")
    image.paste((shade, shade, shade), (0, 0, size[0] // 2, size[1]))
    more: dict[str, Any] = {}
    if thumbnail:
        more["exif"] = b"Exif\0\0" + picture(shade, (16, 16))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, **more)
    return buffer.getvalue()


def folder(path: Path, *jpegs: bytes) -> Path:
    path.mkdir()
    for number, jpeg in enumerate(jpegs, 1):
        (path / f"{number:04d}.jpg").write_bytes(jpeg)
    return path


def film(path: Path, *jpegs: bytes) -> Path:
    path.write_bytes(b"".join(jpegs))
    return path
