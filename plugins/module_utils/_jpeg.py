# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says whether a JPEG is whole, by its markers and by its picture data. No input or output.

The tables and sections that are named here are those of ISO/IEC 10918-1 (ITU-T T.81).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

START = b"\xff\xd8"
END = b"\xff\xd9"

# Markers without a length (table B.1): TEM, RST0 to RST7, SOI, EOI.
BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xDA)})
# Start of frame, any process: C0 to CF without DHT, JPG and DAC.
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Baseline and extended sequential, both Huffman-coded: the data of others is not decoded.
SEQUENTIAL = frozenset({0xC0, 0xC1})
HUFFMAN_TABLES = 0xC4
START_OF_SCAN = 0xDA
RESTART_INTERVAL = 0xDD
# What ends a scan: any marker but a stuffed byte and a restart (B.1.1.5, B.1.1.2).
END_OF_SCAN = re.compile(rb"\xff+(?=[^\x00\xff\xd0-\xd7])")
RESTART = re.compile(rb"\xff+([\xd0-\xd7])")

# Larger picture data, in bytes, is not decoded: it would take a small board many seconds.
MAX_DECODED = 512 * 1024
# How many bytes that are no filling may stand behind the last block.
MAX_SURPLUS = 32

# Of the 16 bits that come next: how many a code and the value behind it take, times 256, plus the
# coefficients that it stands for; 0 where no code begins so.
Codes = list[int]


@dataclass(frozen=True)
class Component:
    """One colour component of a frame (B.2.2): its number and how often a unit samples it."""

    number: int
    across: int
    down: int


@dataclass
class Jpeg:
    """A whole JPEG: its size in pixels, and what its picture data is decoded with."""

    width: int = 0
    height: int = 0
    frame: int = 0
    components: list[Component] = field(default_factory=list)
    # By class (0: DC, 1: AC) and place, as DHT numbers them: how many codes there are of each
    # length from 1 to 16, and what they stand for (B.2.4.2).
    tables: dict[tuple[int, int], tuple[bytes, bytes]] = field(default_factory=dict)
    restart_interval: int = 0
    # Header and picture data of each scan.
    scans: list[tuple[bytes, bytes]] = field(default_factory=list)


def whole_jpeg(data: bytes) -> Jpeg | None:
    """Return a JPEG taken apart, or None unless it is whole by its markers.

    Whole: from SOI over a frame header and a scan to EOI, each segment where the one before it
    ends; line ends and zero bytes that a server writes behind it are no harm.
    """
    data = data.rstrip(b"\0\r\n")
    if not data.startswith(START) or not data.endswith(END):
        return None
    jpeg = Jpeg()
    position = len(START)
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in BARE_MARKERS:
            if marker in START + END:
                # Another picture begins in this one, or this one ends before its data does.
                return None
            position += 2
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position + 4 : end]
        if end > len(data) or not _take_segment(jpeg, marker, segment):
            return None
        if marker == START_OF_SCAN:
            stop = END_OF_SCAN.search(data, end)
            if stop is None:
                return None
            jpeg.scans.append((segment, data[end : stop.start()]))
            end = stop.end() - 1
        position = end
    complete = position == len(data) - len(END) and jpeg.scans and jpeg.width
    return jpeg if complete else None


def _take_segment(jpeg: Jpeg, marker: int, segment: bytes) -> bool:
    """Note what a segment says; return whether it can be one."""
    if marker in FRAME_MARKERS:
        if len(segment) < 6 or len(segment) < 6 + 3 * segment[5]:
            return False
        jpeg.frame = marker
        jpeg.height = int.from_bytes(segment[1:3], "big")
        jpeg.width = int.from_bytes(segment[3:5], "big")
        jpeg.components = [
            Component(segment[at], segment[at + 1] >> 4, segment[at + 1] & 15)
            for at in range(6, 6 + 3 * segment[5], 3)
        ]
    elif marker == HUFFMAN_TABLES:
        while segment:
            counts, values = segment[1:17], segment[17 : 17 + sum(segment[1:17])]
            if len(counts) < 16 or len(values) < sum(counts):
                return False
            jpeg.tables[segment[0] >> 4, segment[0] & 15] = counts, values
            segment = segment[17 + sum(counts) :]
    elif marker == RESTART_INTERVAL:
        jpeg.restart_interval = int.from_bytes(segment[:2], "big")
    return True


@lru_cache(maxsize=16)
def _codes(kind: int, counts: bytes, values: bytes) -> Codes:
    """Return the codes of a table of class *kind* (annex C); a camera's hardly ever change."""
    table: Codes = []
    value = iter(values)
    for length, count in enumerate(counts, start=1):
        for symbol in [next(value) for _code in range(count)]:
            if kind == 0:
                # A DC code names the length of the difference behind it (F.1.2.1).
                entry = (length + symbol) << 8 | 1
            else:
                # An AC code names a run of zeros and a length; EOB ends the block (F.1.2.2).
                entry = (length + (symbol & 15)) << 8 | (64 if symbol == 0 else (symbol >> 4) + 1)
            table += [entry] * (1 << (16 - length))
    return (table + [0] * (1 << 16))[: 1 << 16]


def decodes(jpeg: Jpeg) -> bool:
    """Return whether the picture data of a whole JPEG holds exactly its blocks (annex F.2).

    Only codes are followed, no picture is made. What is not looked into passes: other processes
    than sequential Huffman coding, several scans, absent tables (cameras leave them out where
    they are the usual ones), and what is too large.
    """
    if jpeg.frame not in SEQUENTIAL or len(jpeg.scans) != 1:
        return True
    header, data = jpeg.scans[0]
    units = _units(jpeg, header)
    if units is None or len(data) > MAX_DECODED:
        return True
    blocks, count = units
    pieces = RESTART.split(data)
    restarts = [mark[0] - 0xD0 for mark in pieces[1::2]]
    if restarts != [number % 8 for number in range(len(restarts))]:
        return False
    interval = jpeg.restart_interval or count
    for piece in pieces[::2]:
        due = min(interval, count)
        count -= due
        surplus = 0 if count else MAX_SURPLUS
        if due == 0 or not _holds(piece.replace(b"\xff\0", b"\xff"), blocks * due, surplus):
            return False
    return count == 0


def _units(jpeg: Jpeg, header: bytes) -> tuple[list[tuple[Codes, Codes]], int] | None:
    """Return the codes of each block of a unit (A.2.3), and how many units there are.

    None if the scan does not hold all components, or a table is absent.
    """
    chosen = {header[at]: header[at + 1] for at in range(1, len(header) - 3, 2)}
    if not jpeg.components or {part.number for part in jpeg.components} != set(chosen):
        return None
    parts = jpeg.components
    if len(parts) == 1:
        # A component that is alone comes block by block (A.2.2).
        parts = [Component(parts[0].number, 1, 1)]
    blocks: list[tuple[Codes, Codes]] = []
    for part in parts:
        tables = chosen[part.number]
        direct, alternating = jpeg.tables.get((0, tables >> 4)), jpeg.tables.get((1, tables & 15))
        if direct is None or alternating is None or not (part.across and part.down):
            return None
        codes = _codes(0, *direct), _codes(1, *alternating)
        blocks += [codes] * (part.across * part.down)
    across = 8 * max(part.across for part in parts)
    down = 8 * max(part.down for part in parts)
    return blocks, -(-jpeg.width // across) * -(-jpeg.height // down)


def _holds(data: bytes, blocks: list[tuple[Codes, Codes]], surplus: int) -> bool:
    """Return whether *data* holds these blocks and at most *surplus* bytes more.

    The loop is what takes the time.
    """
    # Ones fill the last byte (F.1.2.3); behind it nothing may be read that counts.
    padded = data + b"\xff\xff\xff"
    three = zip(padded, padded[1:], padded[2:], strict=False)
    windows = [first << 16 | second << 8 | third for first, second, third in three]
    bits, at = 8 * len(data), 0
    for direct, alternating in blocks:
        entry = direct[windows[at >> 3] >> (8 - (at & 7)) & 0xFFFF]
        place = 1
        at += entry >> 8
        while entry and place < 64 and at < bits:
            entry = alternating[windows[at >> 3] >> (8 - (at & 7)) & 0xFFFF]
            at += entry >> 8
            place += entry & 0xFF
        # An end of block counts 64 from wherever it stands; a run has to end within the block.
        overrun = place > 64 and entry & 0xFF != 64
        if not entry or place < 64 or overrun or at > bits:
            return False
    # Cameras fill up with zeros or ones, as far as they like.
    return len(data[-(-at // 8) :].strip(b"\0\xff")) <= surplus
