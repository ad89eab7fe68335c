"""JPEGs for the fake camera."""

import io

from PIL import Image


def draw(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "blue").save(buffer, "JPEG")
    return buffer.getvalue()
