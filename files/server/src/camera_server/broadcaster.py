"""From one camera to its viewers: the newest frame wins.

There is one part, built once, for everybody, and no queue for anybody. A viewer who
was busy while frames went by gets the newest one next; nobody waits for anybody.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

BOUNDARY = b"frame"
OPENING = b"--" + BOUNDARY + b"\r\n"

# How long nothing new may come before the last frame is sent again, in seconds: a viewer
# sees that the connection lives, and a proxy in between does not close it.
REPEAT_SECONDS = 1.0


class FrameState(StrEnum):
    """What a viewer looks at: the camera's picture, or one drawn in its place."""

    LIVE = "live"
    STARTING = "starting"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Frame:
    """A JPEG, its state, its number, and when it was captured (ns of CLOCK_MONOTONIC)."""

    jpeg: bytes
    state: FrameState
    sequence: int
    captured_ns: int

    @property
    def age(self) -> float:
        """Seconds since the frame was captured or drawn."""
        return (time.monotonic_ns() - self.captured_ns) / 1e9

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return what is told about a frame, be it a part of a stream or a snapshot."""
        captured_at = time.time() - self.age
        return [
            (b"Content-Type", b"image/jpeg"),
            (b"Content-Length", b"%d" % len(self.jpeg)),
            (b"X-Frame-State", self.state.encode()),
            (b"X-Frame-Sequence", b"%d" % self.sequence),
            (b"X-Timestamp", b"%.6f" % captured_at),
        ]

    def part(self) -> bytes:
        """Return the frame as a part, from its headers to the next boundary.

        The boundary before it has been sent already: browsers show a part only when the
        next boundary has come, so each part brings the one behind it along.
        """
        head = b"".join(b"%s: %s\r\n" % header for header in self.headers())
        return b"".join((head, b"\r\n", self.jpeg, b"\r\n", OPENING))


class Broadcaster:
    """Holds the newest frame and wakes those who wait for it."""

    def __init__(self) -> None:
        self.viewers = 0
        self.newest: Frame | None = None
        self.closed = asyncio.Event()
        self._part = b""
        self._sequence = 0
        # Counts what there was to send: new frames and repetitions.
        self._turn = 0
        self._turned = asyncio.Event()
        self._repetition: asyncio.TimerHandle | None = None

    def publish(self, jpeg: bytes, state: FrameState, captured_ns: int) -> None:
        """Make this the newest frame."""
        self._sequence += 1
        self.newest = Frame(jpeg, state, self._sequence, captured_ns)
        self._part = self.newest.part()
        self._wake()

    def clear(self) -> None:
        """Forget the newest frame, so that the next viewer is not shown an old picture."""
        self.newest = None
        self._part = b""
        if self._repetition is not None:
            self._repetition.cancel()

    def close(self) -> None:
        """End all streams, now and from now on."""
        self.clear()
        self.closed.set()
        self._turned.set()

    @contextlib.contextmanager
    def viewer(self) -> Iterator[None]:
        """Count a viewer for as long as the context lasts."""
        self.viewers += 1
        try:
            yield
        finally:
            self.viewers -= 1

    async def next_part(self, turn: int) -> tuple[int, bytes] | None:
        """Wait until there is something newer than ``turn`` (at first 0) and return it.

        Returns the new turn and the part to send, or None once the broadcaster is closed.
        """
        while not self.closed.is_set():
            if self._turn != turn and self._part:
                return self._turn, self._part
            await self._turned.wait()
        return None

    async def next_live(self, since_ns: int) -> Frame | None:
        """Wait for a live frame captured at ``since_ns`` or later; None once closed."""
        while not self.closed.is_set():
            frame = self.newest
            if frame and frame.state is FrameState.LIVE and frame.captured_ns >= since_ns:
                return frame
            await self._turned.wait()
        return None

    def _wake(self) -> None:
        self._turn += 1
        if self._repetition is not None:
            self._repetition.cancel()
        if not self.closed.is_set():
            self._turned.set()
            self._turned = asyncio.Event()
            loop = asyncio.get_running_loop()
            self._repetition = loop.call_later(REPEAT_SECONDS, self._wake)
