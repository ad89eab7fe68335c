"""A moving picture with a clock and the frame's number, for trying things without a camera.

Cheap by redrawing little: one canvas, on which only what changed is painted, with
glyphs rendered once. What is left is the JPEG encoder's time, about half a millisecond
for 640x480; tests/benchmark_test_pattern.py measures it all.
"""

import io
import time

from PIL import Image, ImageDraw, ImageFont

from camera_server.cameras.output import RecordWriter
from camera_server.cameras.pacing import paced
from camera_server.task import CameraTask

_BARS = ("#c0c0c0", "#c0c000", "#00c0c0", "#00c000", "#c000c0", "#c00000", "#0000c0")
_CHARACTERS = "0123456789: #"


def run(task: CameraTask, writer: RecordWriter) -> None:
    """Write frames at the task's rate until the process is killed."""
    pattern = Pattern(task.width, task.height, task.quality)
    writer.started("test-pattern")
    for number in paced(task.fps):
        captured_ns = time.monotonic_ns()
        jpeg = pattern.jpeg(number, time.strftime("%H:%M:%S"))
        writer.frame(jpeg, captured_ns, {"frame": number})


class Pattern:
    """Draws the picture of ``width`` x ``height`` pixels as JPEG of the given quality."""

    def __init__(self, width: int, height: int, quality: int) -> None:
        self._quality = quality
        self._background = _draw_background(width, height)
        self._canvas = self._background.copy()
        size = max(8, min(height // 8, width // 10))
        self._glyphs = _render_glyphs(size)
        self._left = size // 2
        self._lines = (height // 6, height // 6 + size + size // 4)
        self._shown: dict[tuple[int, int], str] = {}
        side = max(8, height // 12)
        self._block = Image.new("RGB", (side, side), "white")
        self._block_box = (0, 0, 0, 0)
        self._track = (max(1, width - side), height - side - height // 12)

    def jpeg(self, number: int, clock: str) -> bytes:
        """Return the frame with this number; ``clock`` is the time to show, HH:MM:SS."""
        self._write(clock, self._lines[0])
        self._write(f"#{number:07d}", self._lines[1])
        self._move_block(number * 4)
        buffer = io.BytesIO()
        self._canvas.save(buffer, "JPEG", quality=self._quality)
        return buffer.getvalue()

    def _write(self, text: str, top: int) -> None:
        """Paint the characters that differ from those that stand there."""
        left = self._left
        for character in text:
            glyph = self._glyphs[character]
            if self._shown.get((left, top)) != character:
                self._canvas.paste(glyph, (left, top))
                self._shown[left, top] = character
            left += glyph.width

    def _move_block(self, distance: int) -> None:
        """Move the block there and back; where it was, the background comes back."""
        self._canvas.paste(self._background.crop(self._block_box), self._block_box)
        length, top = self._track
        distance %= 2 * length
        left = min(distance, 2 * length - distance)
        self._block_box = (left, top, left + self._block.width, top + self._block.height)
        self._canvas.paste(self._block, self._block_box)


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
