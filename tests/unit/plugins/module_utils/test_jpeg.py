# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole and broken JPEGs, made by a real encoder."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest
from ansible_collections.rpi_camera.fleet.plugins.module_utils._jpeg import (
    _codes,
    _holds,
    decodes,
    whole_jpeg,
)
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import jpeg
from PIL import Image

ONE = jpeg(1)


def noise(mode: str = "RGB", **options: object) -> bytes:
    """Return a JPEG of a noisy picture, whose sides fill no unit of any subsampling.

    It is the same in each run: garbage that by chance can be decoded is a matter of luck.
    """
    file = io.BytesIO()
    # A hash without end, as plain noise.
    grey = hashlib.shake_128(b"noise").digest(331 * 251)
    Image.frombytes("L", (331, 251), grey).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


NOISE = noise()
SCAN = NOISE.index(b"\xff\xda") + 14
KINDS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "progressive": {"progressive": True},
    "tables of its own": {"optimize": True, "quality": 10},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "the best": {"quality": 95},
    "restarts": {"restart_marker_blocks": 7},
    "a restart a row": {"restart_marker_rows": 1},
    "a thumbnail": {"exif": b"Exif\0\0" + b"\xff\xd8\xff\xc0\xff\xd9" * 9},
}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", KINDS)
def test_real_jpegs_are_whole(kind: str, mode: str) -> None:
    data = noise(mode, **KINDS[kind])
    found = whole_jpeg(data)
    assert found is not None
    assert (found.width, found.height) == (331, 251)
    assert decodes(found)
    assert whole_jpeg(data[:-1]) is None
    assert whole_jpeg(data[: len(data) // 2]) is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(ONE + b"\r\n", id="line end behind it"),
        pytest.param(ONE + bytes(8), id="zero bytes behind it"),
        pytest.param(ONE[:2] + b"\xff\xff" + ONE[2:], id="fill bytes"),
        pytest.param(ONE[:-2] + b"\xff\xff\xff\xd9", id="fill bytes before the end"),
        pytest.param(ONE[:-2] + bytes(300) + ONE[-2:], id="filled up before the end"),
        pytest.param(ONE[:2] + b"\xff\x01" + ONE[2:], id="marker without a length"),
        pytest.param(ONE.replace(b"\xff\xc0", b"\xff\xc1"), id="extended sequential"),
    ],
)
def test_whole(data: bytes) -> None:
    found = whole_jpeg(data)
    assert found is not None
    assert (found.width, found.height, decodes(found)) == (640, 480, True)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xd8\xff\xd9", id="only the ends"),
        pytest.param(ONE[:-2], id="no end"),
        pytest.param(ONE[2:], id="no start"),
        pytest.param(ONE.replace(b"\xff\xc0", b"\xff\xfe"), id="no frame header"),
        pytest.param(ONE.replace(b"\xff\xda", b"\xff\xdb"), id="no scan"),
        pytest.param(ONE[:2] + b"?" + ONE[2:], id="rubbish between segments"),
        pytest.param(ONE[:4] + b"\xff\xf0" + ONE[6:], id="a segment beyond the end"),
        pytest.param(ONE.replace(b"\xff\xc0\x00\x0b", b"\xff\xc0\x00\x07"), id="short header"),
        pytest.param(ONE.replace(b"\xff\xc4\x00", b"\xff\xc4\x01"), id="a table of another length"),
        pytest.param(ONE[:-50] + ONE, id="another one begins inside"),
        pytest.param(ONE + b"--frame" + ONE, id="two, one behind the other"),
        pytest.param(NOISE[:5000] + bytes(range(256)) * 2 + NOISE[5512:], id="markers inside"),
        pytest.param(b"\x89PNG\r\n\x1a\n", id="a PNG"),
    ],
)
def test_not_whole_by_its_markers(data: bytes) -> None:
    assert whole_jpeg(data) is None


WORDS = b"<html><h1>404</h1><p>There is no camera at this address.</p></html>" * 8
# Without 0xFF, by which markers begin.
RANDOM = bytes(number * number * 31 % 251 for number in range(500))


@pytest.mark.parametrize("kind", ["as usual", "tables of its own", "4:4:4", "restarts"])
@pytest.mark.parametrize(
    "garbage",
    [WORDS, RANDOM, bytes(500), b""],
    ids=["text", "random", "zeros", "nothing"],
)
@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_garbage_between_the_markers(kind: str, garbage: bytes, where: float) -> None:
    data = noise(**KINDS[kind])
    at = int(len(data) * where)
    found = whole_jpeg(data[:at] + garbage + data[at + 500 :])
    assert found is None or not decodes(found)


@pytest.mark.parametrize("kept", [0, 1, 100, 5000])
def test_cut_and_given_a_new_end(kept: int) -> None:
    found = whole_jpeg(NOISE[: SCAN + kept] + b"\xff\xd9")
    assert found is not None
    assert not decodes(found)


def test_restarts_that_are_lost_or_out_of_order() -> None:
    data = noise(restart_marker_blocks=7)
    for change in (
        data.replace(b"\xff\xd3", b"", 1),
        data.replace(b"\xff\xd3", b"\xff\xd4", 1),
        data[: data.index(b"\xff\xd3")] + data[data.index(b"\xff\xd5") :],
        # Eights of them, so that their numbers fit again.
        data[: data.index(b"\xff\xd3")] + data[data.rindex(b"\xff\xd3") :],
    ):
        found = whole_jpeg(change)
        assert found is not None
        assert not decodes(found)


# DC: 00 is a difference of 0. AC: 0 and a bit is a coefficient, 10 are 16 of them, 110 and two bits
# is one, 111 ends the block.
DIRECT = _codes(0, bytes([0, 1, *[0] * 14]), b"\0")
ALTERNATING = _codes(1, bytes([1, 1, 2, *[0] * 13]), b"\x01\xf0\x02\x00")


@pytest.mark.parametrize(
    ("bits", "holds"),
    [
        pytest.param("00 111 111", True, id="an empty block"),
        pytest.param("00 10 10 10 110 00 111", True, id="coefficients"),
        pytest.param("01 111 111", False, id="no code"),
        pytest.param("00 10 10 10 10 111111", False, id="more than 64 coefficients"),
        pytest.param("00 10 10 10", False, id="the data ends between two codes"),
        pytest.param("00 10 10 11", False, id="the data ends within a code"),
        pytest.param("00 111 111" + "01010101" * 3, True, id="a few bytes more"),
        pytest.param("00 111 111" + "01010101" * 4, False, id="too many bytes more"),
        pytest.param("00 111 111" + "0" * 80 + "1" * 80, True, id="filling"),
    ],
)
def test_one_block(bits: str, holds: bool) -> None:
    bits = bits.replace(" ", "")
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    assert _holds(data, [(DIRECT, ALTERNATING)], 3) is holds


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(ONE.replace(b"\xff\xc4", b"\xff\xfe"), id="a camera's usual tables, absent"),
        pytest.param(ONE.replace(b"\xff\xc0", b"\xff\xc9"), id="arithmetic coding"),
        pytest.param(ONE.replace(b"\x01\x11\x00\xff", b"\x01\x00\x00\xff"), id="no sampling"),
    ],
)
def test_what_is_not_looked_into_passes(data: bytes) -> None:
    found = whole_jpeg(data)
    assert found is not None
    assert decodes(found)


def test_what_is_too_large_is_not_decoded() -> None:
    middle = b"\x55" * (512 * 1024)
    found = whole_jpeg(NOISE[: SCAN + 100] + middle + NOISE[SCAN + 100 :])
    assert found is not None
    assert decodes(found)
