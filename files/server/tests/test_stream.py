import asyncio
import time
from typing import Any

import pytest
from camera_server.broadcaster import FrameState
from camera_server.feed import CameraFeed
from camera_server.settings import CameraSettings
from camera_server.stream import MjpegStream


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
