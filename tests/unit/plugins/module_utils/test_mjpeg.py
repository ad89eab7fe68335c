# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes into parts, parts into counted frames."""

from __future__ import annotations

import io

import pytest
from ansible_collections.rpi_camera.fleet.plugins.module_utils._mjpeg import (
    MAX_PART,
    Jpeg,
    MultipartParser,
    Part,
    StreamError,
    Tally,
    boundary_of,
    whole_jpeg,
)
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import jpeg, part
from PIL import Image

ONE, TWO = jpeg(1), jpeg(2)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/x-mixed-replace; boundary=frame", "frame"),
        ('multipart/x-mixed-replace;boundary="frame"', "frame"),
        ("multipart/x-mixed-replace; boundary=--frame", "frame"),
        ('Multipart/X-Mixed-Replace; charset=utf-8; boundary="--a b:c"', "a b:c"),
    ],
)
def test_boundary(content_type: str, boundary: str) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    ("content_type", "reason"),
    [
        ("", "missing"),
        ("text/html; charset=utf-8", "text/html"),
        ("image/jpeg", "image/jpeg"),
        ("multipart/mixed; boundary=frame", "multipart/mixed"),
        ("multipart/x-mixed-replace", "no boundary"),
        ('multipart/x-mixed-replace; boundary=""', "no boundary"),
    ],
)
def test_no_boundary(content_type: str, reason: str) -> None:
    with pytest.raises(StreamError, match=reason):
        boundary_of(content_type)


# Each stream holds ONE and TWO, and then a boundary.
STREAMS = {
    "with lengths": part(ONE) + part(TWO) + b"--frame\r\n",
    "without lengths": part(ONE, length=False) + part(TWO, length=False) + b"--frame\r\n",
    "boundary right behind the body": b"--frame\r\nContent-Length: %d\r\n\r\n" % len(ONE)
    + ONE
    + part(TWO),
    "line ends before the first boundary": b"\r\n\r\n" + part(ONE) + part(TWO),
    "text before the first boundary": b"a preamble --frame\r\n" + part(ONE) + part(TWO),
    "bare line feeds": (
        part(ONE, length=False).replace(b"\r\n", b"\n")
        + part(TWO, length=False).replace(b"\r\n", b"\n")
        + b"--frame\n"
    ),
    "more dashes": part(ONE, boundary="--frame") + part(TWO, boundary="--frame"),
    "blanks behind the boundary": part(ONE).replace(b"--frame", b"--frame \t") + part(TWO),
    "no headers in a part": b"--frame\r\n\r\n"
    + ONE
    + b"\r\n--frame\r\n\r\n"
    + TWO
    + b"\r\n--frame--",
    "the end mark": part(ONE, length=False) + part(TWO, length=False) + b"--frame--\r\nepilogue",
    "a length that is no number": part(ONE, "Content-Length: many", length=False)
    + part(TWO)
    + b"--frame\r\n",
}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
@pytest.mark.parametrize("name", STREAMS)
def test_parts_however_the_bytes_arrive(name: str, size: int) -> None:
    parser = MultipartParser("frame")
    stream = STREAMS[name]
    parts: list[Part] = []
    for start in range(0, len(stream), size):
        parts += parser.feed(stream[start : start + size])
    assert [found.body for found in parts] == [ONE, TWO]


def test_a_part_with_a_length_is_there_with_its_last_byte() -> None:
    parser = MultipartParser("frame")
    stream = part(ONE).removesuffix(b"\r\n")
    assert parser.feed(stream[:-1]) == []
    assert len(parser.feed(stream[-1:])) == 1


def test_headers_are_found_by_lower_case_name() -> None:
    (found,) = MultipartParser("frame").feed(part(ONE, "x-FRAME-state:  live "))
    assert found.headers["x-frame-state"] == "live"


def test_a_boundary_that_only_begins_like_ours_is_part_of_the_body() -> None:
    body = b"x\r\n--framework\r\n" + b"y" * 100
    stream = part(body, length=False) + b"--frame\r\n"
    assert [found.body for found in MultipartParser("frame").feed(stream)] == [body]


def test_after_a_wrong_length_the_next_parts_are_found_again() -> None:
    wrong = part(ONE).replace(b"Content-Length: %d" % len(ONE), b"Content-Length: 5")
    parts = MultipartParser("frame").feed(wrong + part(TWO))
    assert [found.body for found in parts] == [ONE[:5], TWO]


def test_the_rest_of_an_ended_stream() -> None:
    parser = MultipartParser("frame")
    assert parser.finish() is None
    parser.feed(part(ONE, length=False).removesuffix(b"\r\n"))
    rest = parser.finish()
    assert rest is not None
    assert rest.body == ONE


def test_an_end_mark_leaves_no_rest() -> None:
    parser = MultipartParser("frame")
    assert len(parser.feed(part(ONE, length=False) + b"--frame--\r\nmore\r\n" + part(TWO))) == 1
    assert parser.finish() is None


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"--frame\r\n<html>\r\n\r\n", "not followed by headers"),
        (b"--frame\r\n" + b"a: b\r\n" * 20_000, "headers do not end"),
        (b"--frame\r\nContent-Length: %d\r\n\r\n" % (MAX_PART + 1), "larger than"),
    ],
)
def test_what_is_no_stream(stream: bytes, reason: str) -> None:
    with pytest.raises(StreamError, match=reason):
        MultipartParser("frame").feed(stream)


def test_a_part_without_an_end_does_not_fill_the_memory() -> None:
    parser = MultipartParser("frame")
    parser.feed(b"--frame\r\n\r\n" + b"x" * MAX_PART)
    with pytest.raises(StreamError, match="larger than"):
        parser.feed(b"x")


def test_bytes_without_a_boundary_do_not_fill_the_memory() -> None:
    parser = MultipartParser("frame")
    for _turn in range(50):
        assert parser.feed(b"x" * 100_000) == []
    assert len(parser._buffer) < 1000


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"optimize": True, "quality": 10},
        {"subsampling": 0, "exif": b"Exif\0\0" + b"\xff\xd8\xff\xc0\xff\xd9" * 9},
    ],
)
def test_the_size_of_real_jpegs(options: dict[str, object]) -> None:
    file = io.BytesIO()
    Image.effect_noise((330, 250), 60).convert("RGB").save(file, "JPEG", **options)
    assert whole_jpeg(file.getvalue()) == Jpeg(width=330, height=250)
    assert whole_jpeg(file.getvalue()[:-1]) is None
    assert whole_jpeg(file.getvalue()[: len(file.getvalue()) // 2]) is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(ONE + b"\r\n", id="line end behind it"),
        pytest.param(ONE + bytes(8), id="zero bytes behind it"),
        pytest.param(ONE[:2] + b"\xff\xff" + ONE[2:], id="fill bytes"),
        pytest.param(ONE[:2] + b"\xff\x01" + ONE[2:], id="marker without a length"),
        pytest.param(ONE.replace(b"\xff\xc0", b"\xff\xc2"), id="progressive"),
    ],
)
def test_whole(data: bytes) -> None:
    assert whole_jpeg(data) == Jpeg(width=640, height=480)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xd8\xff\xd9", id="only the ends"),
        pytest.param(ONE[:-2], id="no end"),
        pytest.param(ONE[2:], id="no start"),
        pytest.param(ONE.replace(b"\xff\xc0", b"\xff\xc4"), id="no frame header"),
        pytest.param(ONE.replace(b"\xff\xda", b"\xff\xdb"), id="no scan"),
        pytest.param(ONE[:2] + b"?" + ONE[2:], id="rubbish between segments"),
        pytest.param(b"\x89PNG\r\n\x1a\n", id="a PNG"),
    ],
)
def test_not_whole(data: bytes) -> None:
    assert whole_jpeg(data) is None


def live(body: bytes) -> Part:
    return Part({}, body)


def test_a_tally_tells_live_drawn_and_broken_frames_apart() -> None:
    tally = Tally()
    tally.add(Part({"x-frame-state": "starting"}, ONE), 0.1)
    tally.add(Part({"x-frame-state": "LOST"}, ONE), 0.2)
    assert tally.state == "lost"
    tally.add(Part({"x-frame-state": "live"}, ONE), 1.0)
    tally.add(live(ONE), 1.5)
    tally.add(live(jpeg(3, 1280, 720)), 2.0)
    tally.add(live(ONE[:-1]), 2.5)
    assert (tally.frames, tally.distinct, tally.placeholders, tally.broken) == (3, 2, 2, 1)
    assert (tally.size, tally.first_at) == (Jpeg(1280, 720), 1.0)
    assert not tally.state
    assert tally.rate == pytest.approx(2.0)


def test_no_rate_without_a_time_between_frames() -> None:
    tally = Tally()
    assert tally.rate is None
    tally.add(live(ONE), 1.0)
    assert tally.rate is None
    tally.add(live(TWO), 1.0)
    assert tally.rate is None
