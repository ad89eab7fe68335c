"""Starts a camera's process, and ends it for certain."""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence

from camera_server.framing import Record, RecordReader
from camera_server.task import CameraTask

_log = logging.getLogger(__name__)

# How long a killed process may take to be gone, in seconds. One that waits for hardware
# (state D) does not hear SIGKILL until the hardware answers.
KILL_SECONDS = 2.0

# How long a process may take from the end of its output to its own, in seconds.
_EXIT_SECONDS = 0.5

# What the pipe is to hold: a frame, so that it is written and read at once. It is Linux's limit.
_PIPE_BYTES = 1024 * 1024


def default_command(task: CameraTask) -> list[str]:
    """Return the command of a camera process; -P keeps the working directory's modules out."""
    return [sys.executable, "-P", "-m", "camera_server.cameras", task.name]


class StartError(Exception):
    """A camera process cannot be started; the text says why."""


class _Output(asyncio.Protocol):
    """What comes out of a process. ``ended`` is done at the end, or has what went wrong."""

    def __init__(self, take: Callable[[Record], None]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader = RecordReader(take)

    def data_received(self, data: bytes) -> None:
        """Take bytes, unless there has been something wrong with those before."""
        if self.ended.done():
            return
        try:
            self._reader.feed(data)
        except Exception as error:  # whatever it is, who waits for the end is told
            self.stop(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end."""
        del exc
        self.stop(None)

    def stop(self, error: Exception | None) -> None:
        """Take nothing any more."""
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


class CameraProcess:
    """A running camera process; made by open_process()."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        stdin: asyncio.StreamWriter,
        transport: asyncio.ReadTransport,
        output: _Output,
    ) -> None:
        self._process = process
        self._stdin = stdin
        self._transport = transport
        self._output = output

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def tell(self, task: CameraTask) -> None:
        """Give the process its task."""
        # One that is gone before it reads it is noticed at its output's end.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._stdin.write(task.to_json())
            await self._stdin.drain()

    async def ended(self, seconds: float) -> bool:
        """Wait so long for the end of its output; return whether it has come.

        Raises framing.FramingError, and whatever ``take`` raised.
        """
        await asyncio.wait({self._output.ended}, timeout=seconds)
        if self._output.ended.done():
            self._output.ended.result()
        return self._output.ended.done()

    def stop_taking(self) -> None:
        """Take no records any more, while the process may still write some."""
        self._output.stop(None)
        self._output.ended.exception()  # or asyncio complains that nobody looked at it

    async def how_it_ended(self) -> str:
        """Say in one line how the process ended, once its output has."""
        code = await self._wait(_EXIT_SECONDS)
        if code is None:
            return "camera process closed its output"
        if code >= 0:
            return f"camera process ended with exit code {code}"
        return f"camera process was killed by signal {-code} ({signal.strsignal(-code)})"

    async def kill(self) -> None:
        """Kill the process and wait for its end, but not for ever."""
        self.stop_taking()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            if await self._wait(KILL_SECONDS) is None:
                _log.warning(
                    "camera process %d does not end after SIGKILL (it waits for hardware); "
                    "leaving it behind",
                    self.pid,
                )
        await self._close_pipes()

    async def _close_pipes(self) -> None:
        self._transport.close()
        self._stdin.close()
        with contextlib.suppress(TimeoutError, BrokenPipeError, ConnectionResetError):
            async with asyncio.timeout(_EXIT_SECONDS):
                await self._stdin.wait_closed()

    async def _wait(self, seconds: float) -> int | None:
        try:
            async with asyncio.timeout(seconds):
                return await self._process.wait()
        except TimeoutError:
            return None


@contextlib.asynccontextmanager
async def open_process(
    command: Sequence[str], task: CameraTask, take: Callable[[Record], None]
) -> AsyncIterator[CameraProcess]:
    """Run the command as a camera process with this task; kill it when the context ends.

    ``take`` gets its records. Raises StartError.
    """
    output = _Output(take)
    transport, process = await _start(command, output)
    if process.stdin is None:
        raise StartError("it has no pipe")
    camera = CameraProcess(process, process.stdin, transport, output)
    try:
        await camera.tell(task)
        yield camera
    finally:
        await _see_through(asyncio.create_task(camera.kill()))


async def _start(
    command: Sequence[str], output: _Output
) -> tuple[asyncio.ReadTransport, asyncio.subprocess.Process]:
    """Start a process whose standard output goes to ``output``. Raises StartError."""
    try:
        reading, writing = os.pipe()
        try:
            # Without it more than 64 KB take several turns.
            with contextlib.suppress(OSError):
                fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            pipe = os.fdopen(reading, "rb", buffering=0)
            loop = asyncio.get_running_loop()
            # It closes the pipe itself when it fails, or is cancelled.
            transport, _output = await loop.connect_read_pipe(lambda: output, pipe)
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=writing,
                    # Ctrl-C in a terminal is meant for the server, which then ends its cameras.
                    start_new_session=True,
                )
            except BaseException:
                transport.close()
                raise
        finally:
            os.close(writing)
    except OSError as error:
        raise StartError(error.strerror or str(error)) from error
    return transport, process


async def _see_through(task: asyncio.Task[None]) -> None:
    """Wait for a task's end even when cancelled, as when a server stops in the middle of it."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
