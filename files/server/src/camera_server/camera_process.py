"""Starts a camera's process, and ends it for certain."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Sequence

from camera_server.framing import Record, read_record
from camera_server.task import CameraTask

_log = logging.getLogger(__name__)

# How long a killed process may take to be gone, in seconds. One that waits for hardware
# (state D) does not hear SIGKILL until the hardware answers.
KILL_SECONDS = 2.0

# How long a process may take from the end of its output to its own, in seconds.
_EXIT_SECONDS = 0.5

# The pipe's reader holds up to twice as much before the process has to wait.
_BUFFER_BYTES = 1024 * 1024


def default_command(task: CameraTask) -> list[str]:
    """Return the command of a camera process; -P keeps the working directory's modules out."""
    return [sys.executable, "-P", "-m", "camera_server.cameras", task.name]


class StartError(Exception):
    """A camera process cannot be started; the text says why."""


class CameraProcess:
    """A running camera process; made by open_process()."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
    ) -> None:
        self._process = process
        self._stdin = stdin
        self._stdout = stdout

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

    async def read(self) -> Record | None:
        """Return the next record, None at the end. Raises framing.FramingError."""
        return await read_record(self._stdout)

    async def how_it_ended(self) -> str:
        """Say in one line how the process ended, once its output has."""
        code = await self._wait(_EXIT_SECONDS)
        if code is None:
            return "camera process closed its output"
        if code >= 0:
            return f"camera process ended with exit code {code}"
        return f"camera process was killed by signal {-code} ({signal.strsignal(-code)})"

    async def kill(self) -> None:
        """Kill the process and wait for its end and that of its output, but not for ever."""
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
        """Read the output to its end, so that nothing of the process is left to clean up."""
        self._stdin.close()
        with contextlib.suppress(TimeoutError, BrokenPipeError, ConnectionResetError):
            async with asyncio.timeout(_EXIT_SECONDS):
                await self._stdout.read()
                await self._stdin.wait_closed()

    async def _wait(self, seconds: float) -> int | None:
        try:
            async with asyncio.timeout(seconds):
                return await self._process.wait()
        except TimeoutError:
            return None


@contextlib.asynccontextmanager
async def open_process(command: Sequence[str], task: CameraTask) -> AsyncIterator[CameraProcess]:
    """Run the command as a camera process with this task; kill it when the context ends.

    Raises StartError.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_BUFFER_BYTES,
            # Ctrl-C in a terminal is meant for the server, which then ends its cameras.
            start_new_session=True,
        )
    except OSError as error:
        raise StartError(error.strerror or str(error)) from error
    if process.stdin is None or process.stdout is None:
        raise StartError("it has no pipes")
    camera = CameraProcess(process, process.stdin, process.stdout)
    try:
        await camera.tell(task)
        yield camera
    finally:
        await _see_through(asyncio.create_task(camera.kill()))


async def _see_through(task: asyncio.Task[None]) -> None:
    """Wait for a task's end even when cancelled, as when a server stops in the middle of it."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
