"""A moving picture with a clock and the frame's number, for trying things without a camera.

Cheap by redrawing little: one canvas, on which the places that changed are restored
from the background and painted with glyphs rendered once. What is left is the JPEG
encoder's time, about half a millisecond for 640x480.
"""

import io
import time

from PIL import Image, ImageDraw, ImageFont

from camera_server.cameras.output import RecordWriter
from camera_server.task import CameraTask

_BARS = ("#c0c0c0", "#c0c000", "#00c0c0", "#00c000", "#c000c0", "#c00000", "#0000c0")
_CHARACTERS = "0123456789: #"
_NS = 1_000_000_000


def run(task: CameraTask, writer: RecordWriter) -> None:
    """Write frames at the task's rate until the process is killed."""
    pattern = Pattern(task.width, task.height, task.quality)
    period = _NS // task.fps
    due = time.monotonic_ns()
    number = 0
    while True:
        now = time.monotonic_ns()
        if now < due:
            time.sleep((due - now) / _NS)
        elif now - due > _NS:
            due = now  # after a long pause: go on from here, do not catch up
        captured_ns = time.monotonic_ns()
        jpeg = pattern.jpeg(number, time.strftime("%H:%M:%S"))
        writer.frame(jpeg, captured_ns, {"frame": number})
        number += 1
        due += period


class Pattern:
    """Draws the picture of ``width`` x ``height`` pixels as JPEG of the given quality."""

    def __init__(self, width: int, height: int, quality: int) -> None:
        self._quality = quality
        self._background = _draw_background(width, height)
        self._canvas = self._background.copy()
        self._dirty: list[tuple[int, int, int, int]] = []
        size = max(8, min(height // 8, width // 10))
        self._glyphs = _render_glyphs(size)
        self._left = size // 2
        self._lines = (height // 6, height // 6 + size + size // 4)
        block = max(8, height // 12)
        self._block = Image.new("RGB", (block, block), "white")
        self._track = (max(1, width - block), height - block - height // 12)

    def jpeg(self, number: int, clock: str) -> bytes:
        """Return the frame with this number; ``clock`` is the time to show, HH:MM:SS."""
        for box in self._dirty:
            self._canvas.paste(self._background.crop(box), box)
        self._dirty.clear()
        self._write(clock, self._lines[0])
        self._write(f"#{number:07d}", self._lines[1])
        length, top = self._track
        there_and_back = (number * 4) % (2 * length)
        self._paste(self._block, min(there_and_back, 2 * length - there_and_back), top)
        buffer = io.BytesIO()
        self._canvas.save(buffer, "JPEG", quality=self._quality)
        return buffer.getvalue()

    def _write(self, text: str, top: int) -> None:
        left = self._left
        for character in text:
            glyph = self._glyphs[character]
            self._paste(glyph, left, top)
            left += glyph.width

    def _paste(self, image: Image.Image, left: int, top: int) -> None:
        box = (left, top, left + image.width, top + image.height)
        self._canvas.paste(image, box)
        self._dirty.append(box)


def _draw_background(width: int, height: int) -> Image.Image:
    """Seven colour bars above a grey ramp, as a picture to judge colours and cropping by."""
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    for index, colour in enumerate(_BARS):
        left, right = (width * i // len(_BARS) for i in (index, index + 1))
        draw.rectangle((left, 0, right, height), fill=colour)
    ramp = Image.linear_gradient("L").rotate(90).resize((width, height // 4))
    image.paste(ramp.convert("RGB"), (0, height - height // 4))
    draw.rectangle((0, 0, width - 1, height - 1), outline="white")
    return image


def _render_glyphs(size: int) -> dict[str, Image.Image]:
    """Every character that is needed, white on black, all ``size`` pixels high and equally wide."""
    font = ImageFont.load_default(size)
    ascent = int(font.getbbox("0")[3])
    width = max(int(font.getlength(character)) for character in _CHARACTERS) + 2
    glyphs = {}
    for character in _CHARACTERS:
        glyph = Image.new("RGB", (width, size + size // 8), "black")
        place = (width / 2, ascent)
        ImageDraw.Draw(glyph).text(place, character, "white", font, anchor="ms")
        glyphs[character] = glyph
    return glyphs
