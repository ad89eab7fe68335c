import asyncio

import pytest
from camera_server.framing import HEADER, MAGIC, FramingError, Kind, Record, pack, read_record


def read_all(data: bytes) -> list[Record]:
    async def read() -> list[Record]:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        records = []
        while (record := await read_record(reader)) is not None:
            records.append(record)
        return records

    return asyncio.run(read())


def test_records_come_out_as_they_went_in() -> None:
    records = [
        Record(Kind.FRAME, 2**60 + 1, b"\xff\xd8" + bytes(200_000) + MAGIC, {"frame": 7}),
        Record(Kind.FRAME, 5, b"x"),
        Record(Kind.ERROR, 6, metadata={"error": "kein Bild: Käbel?"}),
    ]
    assert read_all(b"".join(map(pack, records))) == records


@pytest.mark.parametrize("length", [1, HEADER.size - 1, HEADER.size, HEADER.size + 3])
def test_a_record_cut_short_is_the_end(length: int) -> None:
    whole = pack(Record(Kind.FRAME, 1, b"jpeg"))
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
