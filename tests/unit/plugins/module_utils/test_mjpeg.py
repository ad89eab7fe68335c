# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes into parts, parts into counted frames."""

from __future__ import annotations

import time

import pytest
from ansible_collections.rpi_camera.fleet.plugins.module_utils import _mjpeg
from ansible_collections.rpi_camera.fleet.plugins.module_utils._jpeg import Jpeg
from ansible_collections.rpi_camera.fleet.plugins.module_utils._mjpeg import (
    MAX_PART,
    MultipartParser,
    Part,
    StreamError,
    Tally,
    boundary_of,
)
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import jpeg, part

ONE, TWO = jpeg(1), jpeg(2)


def cut_inside(whole: bytes) -> bytes:
    """Return a JPEG in whose picture data, between untouched ends, stands something else."""
    middle = len(whole) * 3 // 4
    return whole[:middle] + b"<p>not found</p>" + whole[middle + 16 :]


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


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("claimed", [0, 5, len(ONE) + 10, len(ONE) + 100, 30_000_000])
def test_after_a_wrong_length_the_next_parts_are_found_again(claimed: int, size: int) -> None:
    parser = MultipartParser("frame")
    right = b"Content-Length: %d" % len(ONE)
    stream = part(ONE).replace(right, b"Content-Length: %d" % claimed) + part(TWO)
    parts: list[Part] = []
    for start in range(0, len(stream), size):
        parts += parser.feed(stream[start : start + size])
    tally = Tally()
    for found in parts:
        tally.add(found, 1.0)
    assert parts[-1].body == TWO
    assert (tally.frames, tally.broken, parser.wrong_lengths) == (1, 1, 1)


@pytest.mark.parametrize("claimed", [len(ONE) - 2, len(ONE) + 1, len(ONE) + 2])
def test_a_length_that_is_wrong_by_a_line_end(claimed: int) -> None:
    parser = MultipartParser("frame")
    right = b"Content-Length: %d" % len(ONE)
    parts = parser.feed(part(ONE).replace(right, b"Content-Length: %d" % claimed) + part(TWO))
    assert len(parts) == 2
    # Servers that count the line end in front of the boundary do no harm.
    assert parser.wrong_lengths == (claimed < len(ONE))


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
        (b"--frame\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", "larger than"),
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
    assert (tally.size, tally.first_at) == ((1280, 720), 1.0)
    assert not tally.state
    assert tally.rate == pytest.approx(2.0)


def test_the_first_frame_is_decoded_and_each_one_after_a_broken_one() -> None:
    rubbish = live(cut_inside(ONE))
    tally = Tally()
    for _turn in range(5):
        tally.add(rubbish, 1.0)
    assert (tally.frames, tally.broken) == (0, 5)
    tally.add(live(ONE), 1.0)
    assert (tally.frames, tally.broken) == (1, 5)


def test_decoding_takes_a_bounded_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    def slow(jpeg: Jpeg) -> bool:
        decoded.append(jpeg)
        clock[0] += 0.1
        return True

    clock = [100.0]
    monkeypatch.setattr(_mjpeg, "decodes", slow)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    tally = Tally()
    for number in range(1000):
        tally.add(live(ONE), number / 100)
    assert tally.frames == 1000
    assert len(decoded) == 5


def test_no_rate_without_a_time_between_frames() -> None:
    tally = Tally()
    assert tally.rate is None
    tally.add(live(ONE), 1.0)
    assert tally.rate is None
    tally.add(live(TWO), 1.0)
    assert tally.rate is None
