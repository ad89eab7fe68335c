"""The pictures drawn in a camera's place: a few big words, and the reason below them."""

import functools
import io

from PIL import Image, ImageDraw, ImageFont

_BACKGROUND = "#20242a"
_TITLE = "#ffffff"
_TEXT = "#c8ced6"


def draw_placeholder(width: int, height: int, title: str, text: str) -> bytes:
    """Return a JPEG of ``width`` x ``height`` pixels with a title and text, broken into lines."""
    image = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    margin = width // 20
    room = width - 2 * margin

    title_font = _font(_fitting_size(title, room, height // 5))
    draw.text((width / 2, height * 0.4), title, _TITLE, title_font, anchor="mm")

    size = max(8, min(height // 16, width // 24))
    font = _font(size)
    top = height * 0.56
    for line in _break(text, font, room):
        draw.text((width / 2, top), line, _TEXT, font, anchor="ma")
        top += size * 1.3

    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


@functools.lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fitting_size(text: str, room: int, wanted: int) -> int:
    """Return the largest font size up to ``wanted`` at which the text is ``room`` pixels wide."""
    length = max(1.0, _font(wanted).getlength(text))
    return max(8, min(wanted, int(wanted * room / length)))


def _break(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> list[str]:
    """Break the text into lines of at most ``room`` pixels, inside a word only if it must be."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        candidate = f"{line} {word}" if line else word
        if font.getlength(candidate) <= room:
            line = candidate
            continue
        if line:
            lines.append(line)
        line = word
        while font.getlength(line) > room and len(line) > 1:
            cut = max(1, int(len(line) * room / font.getlength(line)))
            lines.append(line[:cut])
            line = line[cut:]
    return [*lines, line] if line else lines
