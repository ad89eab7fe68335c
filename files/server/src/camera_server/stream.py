"""The endless response of ``/video``: whole frames, the newest first, at each viewer's speed."""

import asyncio
import fcntl
import logging
import os
import struct
import termios
from typing import cast

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from camera_server.broadcaster import BOUNDARY, OPENING, Part
from camera_server.feed import CameraFeed
from camera_server.handover import connection_of

_log = logging.getLogger(__name__)

# A viewer who has taken nothing for so long is gone, in seconds.
STALL_SECONDS = 30.0

# How long a viewer who does not read may hold up the end of the server, in seconds.
_LAST_SEND_SECONDS = 0.3


class Pace:
    """Picks frames so that no more than ``fps`` of them go by in a second."""

    __slots__ = ("_next", "_period", "_slack")

    def __init__(self, fps: float, camera_fps: float) -> None:
        self._period = 1 / fps
        # Frames come a little early or late: the one that is nearest to its time counts.
        self._slack = 0.5 / camera_fps
        self._next = float("-inf")

    def is_due(self, now: float) -> bool:
        """Tell whether a frame at ``now`` (seconds of CLOCK_MONOTONIC) is one of them."""
        if now < self._next - self._slack:
            return False
        # Later than by a frame of the camera's: there was a pause, which is not made up for.
        on_time = now - self._next <= 2 * self._slack
        self._next = (self._next if on_time else now) + self._period
        return True


class MjpegStream(Response):
    """Sends a camera's frames until the viewer leaves or the server ends.

    ``fps``: send no more than so many a second; None means all.
    """

    def __init__(self, feed: CameraFeed, fps: float | None = None) -> None:
        super().__init__()
        self._feed = feed
        self._pace = None if fps is None else Pace(fps, feed.settings.fps)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one viewer, in whose name the camera stays open."""
        connection = connection_of(scope)
        if connection is None:
            await _stream_by_asgi(self._feed, self._pace, receive, send)
            return
        connection.leave_out_chunks()
        await send(_start(connection_header=True))
        connection.hand_over(DirectViewer(self._feed, self._pace))


def _start(connection_header: bool = False) -> Message:
    media_type = b"multipart/x-mixed-replace; boundary=" + BOUNDARY
    headers = [(b"content-type", media_type), (b"x-accel-buffering", b"no")]
    if connection_header:
        headers.append((b"connection", b"close"))
    return {"type": "http.response.start", "status": 200, "headers": headers}


class DirectViewer(asyncio.Protocol):
    """A viewer whose connection is ours: frames go from memory into its socket.

    What the socket does not take of a frame waits in the transport, and until it is gone the
    viewer is busy. ``get_write_buffer_size()`` says so, and nothing else does: a transport may
    keep what it was given until the event loop's turn is over, and must not be overtaken.
    """

    __slots__ = (
        "_busy_since",
        "_fd",
        "_feed",
        "_pace",
        "_partial",
        "_sequence",
        "_transport",
        "_waiting",
        "_write_buffer_size",
    )

    def __init__(self, feed: CameraFeed, pace: Pace | None) -> None:
        self._feed = feed
        self._pace = pace
        # The last frame that it was sent.
        self._sequence = 0
        # Of one that is busy: with which frame, how many bytes of it wait, and since when
        # (seconds of CLOCK_MONOTONIC) that has not changed.
        self._waiting = (0, 0)
        self._busy_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to send: the response's head is on its way already."""
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        self._fd = self._transport.get_extra_info("socket").fileno()
        self._write_buffer_size = self._transport.get_write_buffer_size
        # Say when all is gone, not when there is little left.
        self._transport.set_write_buffer_limits(high=0)
        self._transport.write(OPENING)
        self._partial = True
        self._feed.hold()
        self._feed.broadcaster.join(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave; the camera may close."""
        del exc
        self._feed.broadcaster.leave(self)
        self._feed.release()

    def resume_writing(self) -> None:
        """Go on at once with the newest frame: the next one may be a second away."""
        broadcaster = self._feed.broadcaster
        part = broadcaster.part
        if part is not None and part.sequence != self._sequence:
            broadcaster.totals.sent += self.offer(part)

    def offer(self, part: Part) -> bool:
        """Send the part, unless the one before it has not gone yet."""
        data, sequence, now = part
        if self._partial:
            if self._write_buffer_size():
                self._look_for_life(now)
                return False
            self._partial = False
        if self._pace is not None and not self._pace.is_due(now):
            return False
        try:
            written = os.write(self._fd, data)
        except BlockingIOError:
            self._look_for_life(now)
            return False
        except OSError:
            self._transport.abort()
            return False
        if written < len(data):
            self._transport.write(memoryview(data)[written:])
            self._partial = True
        if sequence - self._sequence > 1:
            _count_skipped(self._feed, part, self._sequence, self._pace)
        self._sequence = sequence
        return True

    def close(self) -> None:
        """End the response; what a busy viewer has not taken yet is lost."""
        if self._write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    def _look_for_life(self, now: float) -> None:
        """Let a busy viewer go who has taken nothing for long; look once a second."""
        if self._waiting[0] == self._sequence and now - self._busy_since < 1:
            return
        waiting = (self._sequence, self._write_buffer_size() + _unacknowledged(self._fd))
        if waiting != self._waiting:
            self._waiting = waiting
            self._busy_since = now
        elif now - self._busy_since > STALL_SECONDS:
            _expel(self._feed)
            self._transport.abort()


def _unacknowledged(fd: int) -> int:
    """Return how many bytes a socket holds that its other end has not confirmed."""
    (count,) = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0\0\0\0"))
    return int(count)


def _count_skipped(feed: CameraFeed, part: Part, before: int, pace: Pace | None) -> None:
    """Count the frames between this one and the one ``before``: 0 if there was none."""
    if pace is None and before:
        feed.broadcaster.totals.skipped += part.sequence - before - 1


def _expel(feed: CameraFeed) -> None:
    feed.broadcaster.totals.expelled += 1
    _log.info("viewer let go, nothing taken any more", extra={"camera": feed.settings.name})


class _Slot:
    """A viewer to whom frames go by ASGI: holds the newest until it can be sent."""

    def __init__(self, pace: Pace | None) -> None:
        self.changed = asyncio.Event()
        self.closed = False
        self.part: Part | None = None
        self._pace = pace

    def offer(self, part: Part) -> bool:
        """Hold this part instead of the one before it; it is sent later."""
        if self._pace is None or self._pace.is_due(part.time):
            self.part = part
            self.changed.set()
        return False

    def close(self) -> None:
        """Have the stream end after what is being sent."""
        self.closed = True
        self.changed.set()


async def _stream_by_asgi(
    feed: CameraFeed, pace: Pace | None, receive: Receive, send: Send
) -> None:
    """Serve a viewer whose connection cannot be taken over: another server, or TLS."""
    slot = _Slot(pace)
    with feed.wanted():
        feed.broadcaster.join(slot)
        sending = asyncio.create_task(_send_parts(feed, slot, pace, send))
        leaving = asyncio.create_task(_disconnected(receive))
        closing = asyncio.create_task(feed.broadcaster.closed.wait())
        tasks = {sending, leaving, closing}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if closing.done() and not leaving.done():
                await asyncio.wait({sending}, timeout=_LAST_SEND_SECONDS)
        finally:
            feed.broadcaster.leave(slot)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
    # Being cancelled is how these tasks usually end; anything else is a fault to show.
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _send_parts(feed: CameraFeed, slot: _Slot, pace: Pace | None, send: Send) -> None:
    await send(_start())
    await send({"type": "http.response.body", "body": OPENING, "more_body": True})
    sequence = 0
    while not slot.closed:
        await slot.changed.wait()
        slot.changed.clear()
        part, slot.part = slot.part, None
        if part is None:
            continue
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await send({"type": "http.response.body", "body": part.data, "more_body": True})
                # The server waits before a send, not after it. This one waits until the viewer
                # has taken the part, so that the part chosen next is the newest one then.
                await send({"type": "http.response.body", "body": b"", "more_body": True})
        except TimeoutError:
            _expel(feed)
            return
        feed.broadcaster.totals.sent += 1
        if part.sequence - sequence > 1:
            _count_skipped(feed, part, sequence, pace)
        sequence = part.sequence
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
