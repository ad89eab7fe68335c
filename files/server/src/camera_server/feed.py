"""A camera's life as the server sees it: opened on demand, watched, started again.

Nothing here knows a camera library; a camera is a process that writes records.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from camera_server.broadcaster import Broadcaster, FrameState
from camera_server.camera_process import CameraProcess, StartError, default_command, open_process
from camera_server.framing import FRAME, FramingError, Kind, Record
from camera_server.placeholder import draw_placeholder
from camera_server.settings import CameraSettings
from camera_server.task import CameraTask

_log = logging.getLogger(__name__)

# The measured rate is that of the frames of this many seconds.
_RATE_SECONDS = 2.0

# How long to wait after a fault in this program before the next try, in seconds.
_FAULT_SECONDS = 1.0


class State(StrEnum):
    """idle: closed, nobody watches. lost: no picture although somebody watches."""

    IDLE = "idle"
    STARTING = "starting"
    LIVE = "live"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a feed waits, in seconds.

    A frame is missed after ``frame`` or a few of the camera's periods, whichever is
    longer. The first one may take ``first_frame`` from when the process says that its
    camera runs. Until it says so, it has ``opening``: a small board takes a while to load
    the camera's library from a cold disk, and some sensors load firmware first.
    Retries begin after ``retry``, doubling up to ``retry_most``; a camera that has given
    frames for ``steady`` begins anew.
    """

    frame: float = 2.0
    periods: int = 4
    first_frame: float = 10.0
    opening: float = 60.0
    retry: float = 0.25
    retry_most: float = 30.0
    steady: float = 10.0


# By these names since they are needed for every frame: see framing.FRAME.
_STATE_LIVE, _FRAME_LIVE = State.LIVE, FrameState.LIVE

# What a feed does beyond waiting for its camera takes no longer than this, in seconds.
_MARGIN_SECONDS = 10.0


class Fault(StrEnum):
    """The kinds of losses of a camera."""

    # It takes longer than it may.
    HUNG = "hung"
    # It says itself why it cannot: busy, not connected, another size than asked for …
    FAILED = "failed"
    # Its process ended without a word.
    ENDED = "ended"
    # Its process sent what is no frame.
    GARBLED = "garbled"
    # Its process cannot be started.
    UNSTARTABLE = "unstartable"


class _LostError(Exception):
    """The camera gives no more frames; the text is the reason."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault


class CameraFeed:
    """Keeps one camera open while somebody wants it, and publishes what it gives."""

    def __init__(
        self,
        settings: CameraSettings,
        idle_seconds: float,
        *,
        command: Callable[[CameraTask], Sequence[str]] = default_command,
        patience: Patience | None = None,
    ) -> None:
        self.settings = settings
        self.broadcaster = Broadcaster()
        self.state = State.IDLE
        self.reason: str | None = None
        self.frames = 0
        self.restarts = 0
        self.faults = dict.fromkeys(Fault, 0)
        # What makes the JPEGs, as the camera's process says; None until one has said it.
        self.encoder: str | None = None
        self.process: CameraProcess | None = None
        self._idle_seconds = idle_seconds
        self._command = command
        self._patience = patience = patience or Patience()
        # How long, in seconds, the next frame may take once frames have come.
        self.frame_allowance = max(patience.frame, patience.periods / settings.fps)
        self._users = 0
        self._demand = asyncio.Event()
        self._lease: asyncio.Timeout | None = None
        self._arrivals: deque[float] = deque(maxlen=256)
        self._last_captured_ns: int | None = None
        self._delay = self._patience.retry
        # Of the process that runs: since when it has given frames, how long its next one may take,
        # and until when.
        self._live_since = self._allowed = self._due = 0.0
        # When the feed must have come to its next step (time.monotonic()), while it is at work.
        self._next_step: float | None = None
        self._failing = False

    @property
    def stuck(self) -> bool:
        """Whether the feed does not do its work: a fault in this program, not in a camera."""
        if self._next_step is None:
            return False
        if self._failing:
            return time.monotonic() > self._next_step
        # While frames come, no more than their time is noted: see _take().
        return time.monotonic() > max(self._next_step, self._due + _MARGIN_SECONDS)

    @property
    def pid(self) -> int | None:
        """The camera process's id; None while there is none."""
        return None if self.process is None else self.process.pid

    @property
    def rate(self) -> float:
        """Frames a second that came in the last seconds."""
        now = time.monotonic()
        times = [arrival for arrival in self._arrivals if now - arrival <= _RATE_SECONDS]
        if len(times) < 2:
            return 0.0
        return (len(times) - 1) / (times[-1] - times[0])

    @property
    def frame_age(self) -> float | None:
        """Seconds since the camera's last frame was captured; None before the first."""
        if self._last_captured_ns is None:
            return None
        return (time.monotonic_ns() - self._last_captured_ns) / 1e9

    def hold(self) -> None:
        """Keep the camera open until release(), and the idle time after it."""
        self._users += 1
        self._demand.set()
        if self._next_step is None:
            self._expect_step(0)
        self._extend_lease(None)

    def release(self) -> None:
        """Undo one hold()."""
        self._users -= 1
        if not self._users:
            self._demand.clear()
            self._extend_lease(asyncio.get_running_loop().time() + self._idle_seconds)

    @contextlib.contextmanager
    def wanted(self) -> Iterator[None]:
        """Keep the camera open as long as the context lasts, and the idle time after it."""
        try:
            self.hold()
            yield
        finally:
            self.release()

    async def run(self) -> None:
        """Open the camera whenever it is wanted. Ends only by being cancelled."""
        while True:
            if not self._demand.is_set():
                self._next_step = None
                self._failing = False
            await self._demand.wait()
            try:
                await self._open_until_idle()
            except Exception:
                # A fault in this program. Ending would leave the viewers waiting for ever.
                _log.exception("a fault in the server", extra=self._log_fields())
                if not self._failing:
                    self._expect_step(_FAULT_SECONDS)
                self._failing = True
                await asyncio.sleep(_FAULT_SECONDS)

    async def _open_until_idle(self) -> None:
        """Keep the camera open until nobody has wanted it for the idle time."""
        try:
            async with asyncio.timeout(None) as self._lease:
                if not self._users:  # came and went before we looked
                    self._extend_lease(asyncio.get_running_loop().time() + self._idle_seconds)
                await self._keep_open()
        except TimeoutError:
            _log.info("camera closed, nobody watches", extra=self._log_fields())
        finally:
            self._lease = None
            self.broadcaster.clear()
            self._arrivals.clear()
            self._change(State.IDLE, None)

    def _extend_lease(self, until: float | None) -> None:
        """Set when the camera closes (the loop's time), None for not at all."""
        lease = self._lease
        # One that is ending cannot be changed; run() then opens the camera once more.
        if lease is not None and not lease.expired():
            lease.reschedule(until)

    async def _keep_open(self) -> None:
        self._expect_step(0)
        self._change(State.STARTING, None)
        await self._show(FrameState.STARTING, "starting", f"opening {self.settings.name}")
        self._delay = self._patience.retry
        while True:
            await self._run_process()
            self._failing = False
            self._expect_step(self._delay)
            await asyncio.sleep(self._delay)
            self._delay = min(self._delay * 2, self._patience.retry_most)
            self.restarts += 1

    async def _run_process(self) -> None:
        """Run one camera process for as long as it gives frames, then say that it no longer does.

        The viewers are told before the process is killed: one that waits for hardware
        takes its time.
        """
        task = CameraTask(
            name=self.settings.name,
            source=self.settings.source,
            width=self.settings.width,
            height=self.settings.height,
            fps=self.settings.fps,
            quality=self.settings.quality,
            camera_id=self.settings.camera_id,
            model=self.settings.model,
            server_pid=os.getpid(),
            replay=self.settings.replay,
            hflip=self.settings.hflip,
            vflip=self.settings.vflip,
        )
        self._allow(self._patience.opening)
        try:
            async with open_process(self._command(task), task, self._take) as process:
                self.process = process
                try:
                    await self._watch(process)
                except _LostError as loss:
                    process.stop_taking()
                    await self._lose(loss.fault, str(loss))
        except StartError as error:
            await self._lose(Fault.UNSTARTABLE, f"camera process cannot be started: {error}")
        finally:
            self.process = None

    async def _lose(self, fault: Fault, reason: str) -> None:
        # A file's name may hold what no answer can.
        reason = reason.encode(errors="backslashreplace").decode()
        _log.warning("camera lost", extra=self._log_fields(fault=fault.value, reason=reason))
        self.faults[fault] += 1
        self._expect_step(0)
        self._change(State.LOST, reason)
        await self._show(FrameState.LOST, "no camera", reason)

    async def _watch(self, process: CameraProcess) -> None:
        """Watch the process for as long as it gives frames. Raises _LostError."""
        while True:
            left = self._due - time.monotonic()
            if left <= 0:
                raise _LostError(Fault.HUNG, f"no frame for {self._allowed:.1f} s")
            try:
                # The time that is left may become less meanwhile, as after a camera's start.
                if await process.ended(min(left, self.frame_allowance)):
                    raise _LostError(Fault.ENDED, await process.how_it_ended())
            except FramingError as error:
                reason = f"camera process sent something that is no frame: {error}"
                raise _LostError(Fault.GARBLED, reason) from None

    def _allow(self, seconds: float) -> None:
        """Let the next frame take so long."""
        self._allowed = seconds
        self._due = time.monotonic() + seconds
        self._expect_step(seconds)

    def _take(self, record: Record) -> None:
        """Publish a frame that the process has written. Raises _LostError."""
        if record.kind is FRAME:
            now = time.monotonic()
            self.frames += 1
            self._arrivals.append(now)
            self._last_captured_ns = record.captured_ns
            self._due = now + self.frame_allowance
            if self.state is not _STATE_LIVE:
                self._live_since = now
                self._allowed = self.frame_allowance
                self._change(State.LIVE, None)
            elif now - self._live_since > self._patience.steady:
                self._delay = self._patience.retry
            self.broadcaster.publish(record.jpeg, _FRAME_LIVE, record.captured_ns)
            self._failing = False
        elif record.kind is Kind.STARTED:
            self.encoder = str(record.metadata.get("encoder", "unknown"))
            # Frames may have overtaken it: the allowance never grows.
            first = max(self._patience.first_frame, self.frame_allowance)
            self._allow(min(self._allowed, first))
        else:
            reason = str(record.metadata.get("error", "camera failed without a reason"))
            raise _LostError(Fault.FAILED, reason)

    async def _show(self, state: FrameState, title: str, text: str) -> None:
        """Publish a drawn frame; drawn in a thread, since other cameras' frames go on."""
        width, height = self.settings.width, self.settings.height
        jpeg = await asyncio.to_thread(draw_placeholder, width, height, title, text)
        self.broadcaster.publish(jpeg, state, time.monotonic_ns())

    def _change(self, state: State, reason: str | None) -> None:
        if state is not self.state:
            if state is State.LIVE:
                _log.info("camera live", extra=self._log_fields())
            self.state = state
        self.reason = reason

    def _expect_step(self, seconds: float) -> None:
        """Say that the next step comes within so many seconds, and what it takes to go there.

        While this program fails, its tries count as no steps.
        """
        if not self._failing:
            self._next_step = time.monotonic() + seconds + _MARGIN_SECONDS

    def _log_fields(self, **fields: str) -> dict[str, str]:
        return {"camera": self.settings.name, **fields}
