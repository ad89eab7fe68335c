import itertools

import pytest
from camera_server.framing import HEADER, MAGIC, FramingError, Kind, Record, RecordReader, pack


def packed(*records: Record) -> bytes:
    return b"".join(itertools.chain.from_iterable(pack(*record) for record in records))


def read_all(data: bytes, piece: int = 2**30) -> list[Record]:
    """Read the data as it comes in pieces of so many bytes."""
    records: list[Record] = []
    reader = RecordReader(records.append)
    for begin in range(0, len(data), piece):
        reader.feed(data[begin : begin + piece])
    return records


@pytest.mark.parametrize("piece", [1, 23, 24, 25, 7000, 2**30])
def test_records_come_out_as_they_went_in(piece: int) -> None:
    records = [
        Record(Kind.FRAME, 2**60 + 1, b"\xff\xd8" + bytes(20_000) + MAGIC, {"frame": 7}),
        Record(Kind.FRAME, 5, b"x"),
        Record(Kind.ERROR, 6, metadata={"error": "kein Bild: Käbel?"}),
    ]
    assert read_all(packed(*records), piece) == records


def test_a_record_is_there_as_soon_as_it_is_whole() -> None:
    whole = packed(Record(Kind.FRAME, 1, b"jpeg"))
    assert len(read_all(whole + whole[:-1])) == 1
    assert len(read_all(whole + whole)) == 2


@pytest.mark.parametrize("length", [1, HEADER.size - 1, HEADER.size, HEADER.size + 3])
def test_a_record_cut_short_is_the_end(length: int) -> None:
    whole = packed(Record(Kind.FRAME, 1, b"jpeg"))
    assert read_all(whole + whole[:length]) == [Record(Kind.FRAME, 1, b"jpeg")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"INFO: a library says hello\n", "began with"),
        (HEADER.pack(MAGIC, 9, 0, 0, 2) + b"{}", "unknown kind 9"),
        (HEADER.pack(MAGIC, Kind.FRAME, 0, 2**32 - 1, 2), "claims 4294967295"),
        (HEADER.pack(MAGIC, Kind.FRAME, 0, 0, 2) + b"{x", "not JSON"),
        (HEADER.pack(MAGIC, Kind.FRAME, 0, 0, 2) + b"[]", "not an object"),
    ],
)
def test_what_is_no_record_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FramingError, match=message):
        read_all(data)
