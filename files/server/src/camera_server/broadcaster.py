"""From one camera to its viewers: the newest frame wins.

There is one part, built once, for everybody, and no queue for anybody. A viewer who
was busy while frames went by gets the newest one next; nobody waits for anybody.
"""

import asyncio
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

BOUNDARY = b"frame"
OPENING = b"--" + BOUNDARY + b"\r\n"
_BETWEEN = b"\r\n" + OPENING

_HEAD = (
    b"Content-Type: image/jpeg\r\n"
    b"Content-Length: %d\r\n"
    b"X-Frame-State: %b\r\n"
    b"X-Frame-Sequence: %d\r\n"
    b"X-Frame-Age: %d.%03d\r\n"
    b"X-Timestamp: %d.%06d\r\n"
)

# How long nothing new may come before the last frame is sent again, in seconds: a viewer
# sees that the connection lives, and a proxy in between does not close it.
REPEAT_SECONDS = 1.0


class FrameState(StrEnum):
    """What a viewer looks at: the camera's picture, or one drawn in its place."""

    LIVE = "live"
    STARTING = "starting"
    LOST = "lost"


class Frame(NamedTuple):
    """A JPEG, its state, its number, and when it was captured (ns of CLOCK_MONOTONIC)."""

    jpeg: bytes | memoryview
    state: FrameState
    sequence: int
    captured_ns: int

    @property
    def tag(self) -> str:
        """What no other frame has, quoted as an ETag; numbers begin anew with the server."""
        return f'"{self.captured_ns:x}-{self.sequence:x}"'

    def head(self, now_ns: int) -> bytes:
        """Return what is told about a frame as header lines, for a stream and a snapshot alike."""
        age_us = max(0, now_ns - self.captured_ns) // 1000
        captured_us = time.time_ns() // 1000 - age_us
        age, captured = divmod(age_us // 1000, 1000), divmod(captured_us, 1_000_000)
        return _HEAD % (len(self.jpeg), self.state.encode(), self.sequence, *age, *captured)

    def part(self, now_ns: int) -> bytes:
        """Return the frame as a part, from its headers to the next boundary.

        The boundary before it has been sent already: browsers show a part only when the
        next boundary has come, so each part brings the one behind it along.
        """
        return b"".join((self.head(now_ns), b"\r\n", self.jpeg, _BETWEEN))


class Part(NamedTuple):
    """What is sent to every viewer: a frame, made ready once."""

    data: bytes
    sequence: int
    # When it was made ready, in seconds of CLOCK_MONOTONIC.
    time: float


class Viewer(Protocol):
    """Somebody who watches. Called in the event loop; never waits."""

    def offer(self, part: Part) -> bool:
        """Send the part, unless the viewer is busy or wants fewer; return whether it was sent."""

    def close(self) -> None:
        """Send the viewer home."""


@dataclass(slots=True)
class Totals:
    """What became of frames since the server's start, over all viewers of a camera."""

    sent: int = 0
    # Gone by while a viewer was busy. What a viewer did not want (?fps=) is none of them.
    skipped: int = 0
    # Viewers who had to go since they took nothing any more.
    expelled: int = 0


class Broadcaster:
    """Holds the newest frame, and gives it to viewers and to those who wait for it."""

    def __init__(self) -> None:
        self.newest: Frame | None = None
        self.part: Part | None = None
        self.totals = Totals()
        self.closed = asyncio.Event()
        # A dict, since it keeps the order in which they came.
        self._viewers: dict[Viewer, None] = {}
        self._sequence = 0
        # Set at the next frame; there only while somebody waits for it.
        self._published: asyncio.Event | None = None
        self._repetition: asyncio.TimerHandle | None = None

    @property
    def viewers(self) -> int:
        """How many watch."""
        return len(self._viewers)

    def join(self, viewer: Viewer) -> None:
        """Offer the viewer each frame from now on, beginning with the newest."""
        self._viewers[viewer] = None
        if self.closed.is_set():
            viewer.close()
        elif self.part is not None:
            self.totals.sent += viewer.offer(self.part)

    def leave(self, viewer: Viewer) -> None:
        """Offer the viewer nothing any more. One who has left already may leave again."""
        self._viewers.pop(viewer, None)

    def publish(self, jpeg: bytes | memoryview, state: FrameState, captured_ns: int) -> None:
        """Make this the newest frame."""
        self._sequence += 1
        self.newest = Frame(jpeg, state, self._sequence, captured_ns)
        if self._published is not None:
            self._published.set()
            self._published = None
        self._send(self.newest)

    def clear(self) -> None:
        """Forget the newest frame, so that the next viewer is not shown an old picture."""
        self.newest = None
        self.part = None
        if self._repetition is not None:
            self._repetition.cancel()
            self._repetition = None

    def close(self) -> None:
        """End all streams, now and from now on."""
        self.clear()
        self.closed.set()
        if self._published is not None:
            self._published.set()
        for viewer in list(self._viewers):
            viewer.close()

    async def next_live(self, since_ns: int) -> Frame | None:
        """Wait for a live frame captured at ``since_ns`` or later; None once closed."""
        while not self.closed.is_set():
            frame = self.newest
            if frame and frame.state is FrameState.LIVE and frame.captured_ns >= since_ns:
                return frame
            if self._published is None:
                self._published = asyncio.Event()
            await self._published.wait()
        return None

    def _send(self, frame: Frame) -> None:
        if self.closed.is_set():
            return
        now_ns = time.monotonic_ns()
        self.part = part = Part(frame.part(now_ns), frame.sequence, now_ns / 1e9)
        sent = 0
        for viewer in list(self._viewers):
            if viewer.offer(part):
                sent += 1
        self.totals.sent += sent
        # One timer that looks how things are, rather than one for each frame.
        if self._repetition is None:
            self._set_repetition(REPEAT_SECONDS)

    def _set_repetition(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._repetition = loop.call_later(seconds, self._repeat)

    def _repeat(self) -> None:
        self._repetition = None
        if self.newest is None or self.part is None:
            return
        left = self.part.time + REPEAT_SECONDS - time.monotonic()
        if left > 0:
            self._set_repetition(left)
        else:
            self._send(self.newest)
