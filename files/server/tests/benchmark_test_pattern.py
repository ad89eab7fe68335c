"""Prints the part of a core that the test pattern's process takes: ``x.x % of a core``.

python tests/benchmark_test_pattern.py [--seconds 10] [--width 640 --height 480 --fps 30]
"""

import argparse
import asyncio
import os
import time
from pathlib import Path

from camera_server.camera_process import default_command, open_process
from camera_server.framing import Kind, Record
from camera_server.task import CameraTask


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, from /proc/PID/stat (proc_pid_stat(5))."""
    # The second field is a name in parentheses that may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")


async def measure(width: int, height: int, fps: int, seconds: float) -> tuple[float, float]:
    """Return the part of a core in percent, and the frames a second, after the first second."""
    task = CameraTask("benchmark", "test-pattern", width, height, fps, 80, None, None, os.getpid())
    frames = 0

    def count(record: Record) -> None:
        nonlocal frames
        frames += record.kind is Kind.FRAME

    async with open_process(default_command(task), task, count) as process:
        while frames < fps:
            await asyncio.sleep(0.01)
        began, used, before = time.monotonic(), cpu_seconds(process.pid), frames
        await asyncio.sleep(seconds)
        elapsed = time.monotonic() - began
        used = cpu_seconds(process.pid) - used
        return 100 * used / elapsed, (frames - before) / elapsed


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    percent, rate = asyncio.run(
        measure(options.width, options.height, options.fps, options.seconds)
    )
    print(f"{options.width}x{options.height}, {rate:.1f} frames a second")
    print(f"{percent:.1f} % of a core")


if __name__ == "__main__":
    main()
