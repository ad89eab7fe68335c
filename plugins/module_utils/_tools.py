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
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

# How long a killed process may take to go before it is given up, in seconds.
GRACE = 1.0


class Outcome(Enum):
    """How the run of a tool came to its end."""

    EXITED = "exited"
    ABSENT = "absent"
    HUNG = "hung"


@dataclass(frozen=True)
class ToolRun:
    """What a tool did: its exit status and output if it exited, and its duration in seconds."""

    outcome: Outcome
    duration: float
    status: int = 0
    stdout: str = ""
    stderr: str = ""


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the tool and all that it started; wait for it a moment, never for ever."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), GRACE)


async def _run(arguments: Sequence[str], timeout: float, environment: Mapping[str, str]) -> ToolRun:
    start = time.monotonic()
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    except OSError:
        return ToolRun(Outcome.ABSENT, time.monotonic() - start)
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(), timeout)
    except TimeoutError:
        await _end(process)
        return ToolRun(Outcome.HUNG, time.monotonic() - start)
    return ToolRun(
        Outcome.EXITED,
        time.monotonic() - start,
        process.returncode or 0,
        stdout.decode(errors="replace"),
        stderr.decode(errors="replace"),
    )


def run_tool(arguments: Sequence[str], timeout: float, environment: Mapping[str, str]) -> ToolRun:
    """Run *arguments* for at most *timeout* seconds, with *environment* added to the own one.

    A tool that is not there or cannot be started is ABSENT; one that takes longer is killed with
    all that it started, and HUNG. Nothing is raised.
    """
    return asyncio.run(_run(arguments, timeout, environment))
