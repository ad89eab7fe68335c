import asyncio
import itertools
import socket
import time
from typing import Any, cast

import pytest
from camera_server import stream as stream_module
from camera_server.broadcaster import OPENING, FrameState
from camera_server.feed import CameraFeed
from camera_server.settings import CameraSettings
from camera_server.stream import DirectViewer, MjpegStream, Pace


class Connection:
    """A connection with uvicorn's flow control: a send waits *before* it writes.

    It is full once it has taken a body that holds ``fills``.
    """

    fills = b"never"

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.writable = asyncio.Event()
        self.writable.set()
        self.left = asyncio.Event()

    async def send(self, message: Any) -> None:
        await self.writable.wait()
        self.written.append(message.get("body", b""))
        if self.fills in self.written[-1]:
            self.writable.clear()

    async def receive(self) -> dict[str, str]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def until(self, ending: bytes) -> None:
        while not any(ending in body for body in self.written):
            await asyncio.sleep(0)


def publish(feed: CameraFeed, jpeg: bytes) -> None:
    feed.broadcaster.publish(jpeg, FrameState.LIVE, time.monotonic_ns())


def test_a_viewer_who_was_stuck_goes_on_with_the_newest_frame() -> None:
    async def watch() -> None:
        feed, connection = CameraFeed(CameraSettings(), 60), Connection()
        stream = MjpegStream(feed)
        task = asyncio.create_task(stream({}, connection.receive, connection.send))
        connection.fills = b"first"
        publish(feed, b"first")
        await connection.until(b"first")
        for jpeg in (b"second", b"third", b"fourth"):
            publish(feed, jpeg)
            for _turn in range(10):  # turns of the event loop: as far as the viewer can get
                await asyncio.sleep(0)
        connection.writable.set()
        await connection.until(b"fourth")
        everything = b"".join(connection.written)
        assert b"second" not in everything
        assert b"third" not in everything
        connection.left.set()
        await task
        assert feed.broadcaster.viewers == 0

    asyncio.run(watch())


def test_a_fault_while_sending_is_not_swallowed() -> None:
    async def watch() -> None:
        async def send(message: Any) -> None:
            raise ValueError(f"cannot send {message['type']}")

        stream = MjpegStream(CameraFeed(CameraSettings(), 60))
        with pytest.raises(ValueError, match="cannot send"):
            await stream({}, Connection().receive, send)

    asyncio.run(watch())


def test_a_viewer_who_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "STALL_SECONDS", 0.1)

    async def watch() -> None:
        feed, connection = CameraFeed(CameraSettings(), 60), Connection()
        connection.fills = b"first"
        publish(feed, b"first")
        async with asyncio.timeout(5):
            await MjpegStream(feed)({}, connection.receive, connection.send)
        assert feed.broadcaster.totals.expelled == 1
        assert feed.broadcaster.viewers == 0

    asyncio.run(watch())


@pytest.mark.parametrize(
    ("camera_fps", "fps", "expected"),
    [(30, 10, 10), (30, 20, 20), (30, 7, 7), (30, 0.5, 0.5), (30, 30, 30), (30, 60, 30), (5, 3, 3)],
)
def test_a_thinner_stream_has_the_rate_that_was_asked_for(
    camera_fps: int, fps: float, expected: float
) -> None:
    pace = Pace(fps, camera_fps)
    # Frames that come up to a quarter of their period early or late.
    offsets = itertools.cycle([0, 0.25, -0.25, 0.1])
    seconds = 20
    times = [100 + (number + next(offsets)) / camera_fps for number in range(seconds * camera_fps)]
    chosen = [time for time in times if pace.is_due(time)]
    assert len(chosen) == pytest.approx(expected * seconds, abs=1)
    gaps = [after - before for before, after in itertools.pairwise(chosen)]
    assert max(gaps) < 1 / min(fps, camera_fps) + 1.6 / camera_fps


def test_a_thinner_stream_does_not_catch_up_at_its_start_or_after_a_pause() -> None:
    pace = Pace(0.5, 30)
    for begin in (1000, 2000):
        times = [begin + number / 30 for number in range(120)]
        chosen = [time - begin for time in times if pace.is_due(time)]
        assert chosen == pytest.approx([0, 2], abs=0.04)


class Transport:
    """A transport of which the test says how much waits in it."""

    def __init__(self, connection: socket.socket) -> None:
        self.waiting = 1
        self._connection = connection

    def get_extra_info(self, name: str) -> socket.socket:
        assert name == "socket"
        return self._connection

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 0

    def write(self, data: bytes) -> None:
        assert data == OPENING


def test_a_viewer_who_is_free_again_does_not_wait_for_the_frame_after() -> None:
    async def watch() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            feed, transport = CameraFeed(CameraSettings(), 60), Transport(ours)
            viewer = DirectViewer(feed, None)
            viewer.connection_made(cast(asyncio.BaseTransport, transport))
            publish(feed, b"first")
            publish(feed, b"second")
            with pytest.raises(BlockingIOError):
                theirs.recv(1000)
            transport.waiting = 0
            viewer.resume_writing()
            assert b"\r\n\r\nsecond\r\n--frame\r\n" in theirs.recv(1000)
            viewer.resume_writing()
            with pytest.raises(BlockingIOError):
                theirs.recv(1000)
            viewer.connection_lost(None)
            assert feed.broadcaster.viewers == 0

    asyncio.run(watch())
