"""The benchmark's tools still work, and the load client counts right."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.benchmark import designs, tools
from tests.benchmark.stamping.sitecustomize import BLANK, MAGIC, stamped

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="the tools are compiled by gcc")

PICTURE_BYTES = 42_000


@pytest.fixture(scope="module")
def limit() -> Iterator[designs.Server]:
    tools.build()
    tools.draw_pictures()
    with designs.Server("unit", designs.designs()[designs.LIMIT_OF_C]) as running:
        yield running


def test_viewers_that_read_at_once_get_every_frame(limit: designs.Server) -> None:
    moments: list[str] = []
    seen = tools.load(limit.port, "/", 3, 2, 0.2, at=moments.append)
    assert moments == ["begin", "end"]
    assert (seen.viewers, seen.missed, seen.repeated, seen.unstamped, seen.gone) == (3, 0, 0, 0, 0)
    assert seen.frames == pytest.approx(3 * 30 * 2, abs=9)
    assert seen.fps_min <= seen.fps_mean == pytest.approx(30, abs=1.5)
    latency = seen.latency_ms
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"] < 1000
    assert limit.cpu_seconds() > 0
    assert limit.memory_kb() > 0


def test_a_slow_reader_reads_no_faster_than_it_is_told(limit: designs.Server) -> None:
    rate = 400_000
    seen = tools.load(limit.port, "/", 2, 1.5, 1, rate=rate)
    per_viewer = seen.frames / seen.viewers / seen.seconds * PICTURE_BYTES
    assert per_viewer == pytest.approx(rate, rel=0.25)
    # By then its buffers hold pictures of several hundred ms.
    assert seen.latency_ms["p50"] > 100


def test_chunks_gaps_repetitions_and_pictures_without_a_stamp_are_told_apart() -> None:
    tools.build()
    blank = MAGIC + BLANK + bytes(1000)
    measuring = threading.Event()

    def part(jpeg: bytes) -> bytes:
        text = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        return text.encode() + jpeg + b"\r\n"

    def chunked(data: bytes) -> bytes:
        # Cut anywhere, in the middle of a header's line too.
        cuts = [data[at : at + 37] for at in range(0, len(data), 37)]
        return b"".join(f"{len(cut):x}\r\n".encode() + cut + b"\r\n" for cut in cuts)

    def serve() -> None:
        connection, _address = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            connection.sendall(chunked(part(stamped(blank, 1))))
            measuring.wait(10)
            for sequence in (2, 2, 5, 6):
                connection.sendall(chunked(part(stamped(blank, sequence))))
            connection.sendall(chunked(part(b"a drawn picture" * 10)))
            connection.recv(4096)

    def note(moment: str) -> None:
        if moment == "begin":
            measuring.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        seen = tools.load(listener.getsockname()[1], "/", 1, 0.5, 0, at=note)
        thread.join(10)
    assert (seen.frames, seen.missed, seen.repeated, seen.unstamped) == (3, 2, 1, 1)
