# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a tool that may hang, for a bounded time.

C(AnsibleModule.run_command) has no time-out, and C(timeout) from coreutils waits for its child:
both hang for ever on a process in uninterruptible sleep, which is what a broken camera driver
leaves behind and what no signal ends. Here such a process is given up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

T = TypeVar("T")

# How long a killed process may take to go before it is given up, in seconds.
GRACE = 1.0


class Outcome(Enum):
    """How the run of a tool came to its end."""

    EXITED = "exited"
    ABSENT = "absent"
    HUNG = "hung"


@dataclass(frozen=True)
class ToolRun:
    """What a tool did: its output so far, its duration in seconds, its status if it exited."""

    outcome: Outcome
    duration: float
    status: int = 0
    stdout: str = ""
    stderr: str = ""


class _Listener(asyncio.SubprocessProtocol):
    """Keeps what a tool says; `over` is done when it has exited and its output is closed."""

    def __init__(self) -> None:
        self.said = {1: bytearray(), 2: bytearray()}
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keep a piece of stdout (1) or stderr (2)."""
        self.said[fd] += data

    def connection_lost(self, _exc: Exception | None) -> None:
        """Take note of the end."""
        self.over.set_result(None)


async def _run(arguments: Sequence[str], timeout: float, environment: Mapping[str, str]) -> ToolRun:
    start = time.monotonic()
    try:
        transport, listener = await asyncio.get_running_loop().subprocess_exec(
            _Listener,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    except OSError:
        return ToolRun(Outcome.ABSENT, time.monotonic() - start)
    await asyncio.wait((listener.over,), timeout=timeout)
    hung = not listener.over.done()
    if hung:
        # The tool and all that it has started; they get a moment to go, and no more.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
        await asyncio.wait((listener.over,), timeout=GRACE)
    status = transport.get_returncode()
    transport.close()
    # One turn of the loop, in which the transport closes its pipes.
    await asyncio.sleep(0)
    stdout, stderr = (listener.said[fd].decode(errors="replace") for fd in (1, 2))
    if hung:
        return ToolRun(Outcome.HUNG, time.monotonic() - start, 0, stdout, stderr)
    return ToolRun(Outcome.EXITED, time.monotonic() - start, status or 0, stdout, stderr)


def run_tool(arguments: Sequence[str], timeout: float, environment: Mapping[str, str]) -> ToolRun:
    """Run *arguments* for at most *timeout* seconds, with *environment* added to the own one.

    A tool that is not there or cannot be started is ABSENT; one that takes longer is killed with
    all that it started, and HUNG. Nothing is raised.
    """
    return asyncio.run(_run(arguments, timeout, environment))


def within(timeout: float, work: Callable[[], T]) -> T | None:
    """Return what *work* returns, or None if that takes longer than *timeout* seconds.

    It is left behind then, in a thread that does not hold up this process's end. Reading
    /proc/PID/maps waits for a process that is stuck in a driver's mmap, for instance.
    """
    answers: queue.SimpleQueue[T] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(work()), daemon=True).start()
    try:
        return answers.get(timeout=timeout)
    except queue.Empty:
        return None
