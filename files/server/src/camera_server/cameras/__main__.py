"""A camera process: ``python -m camera_server.cameras NAME``, started by the server.

The task comes as one line of JSON on standard input, records leave by standard
output. NAME only tells a person who looks at the list of processes which one it is.
"""

import ctypes
import importlib
import os
import signal
import sys
import traceback

from camera_server.cameras import CameraError
from camera_server.cameras.output import RecordWriter, claim_stdout
from camera_server.task import CameraTask

# Modules by source; imported when asked for, since each needs its own libraries.
SOURCES = {
    "picamera2": "camera_server.cameras.picamera2_source",
    "replay": "camera_server.cameras.replay",
    "test-pattern": "camera_server.cameras.test_pattern",
}

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> None:
    """Run the camera until the server ends this process, or until it fails."""
    writer = RecordWriter(claim_stdout())
    try:
        task = CameraTask.from_json(sys.stdin.buffer.readline())
        _end_with(task.server_pid)
        importlib.import_module(SOURCES[task.source]).run(task, writer)
    except CameraError as error:
        writer.error(explain(error))
    except Exception as error:  # whatever it is, the viewers are told
        traceback.print_exc()
        writer.error(explain(error))
    sys.stderr.flush()
    # Not sys.exit(): picamera2 closes the camera at exit, which can block for ever.
    os._exit(1)


def explain(error: BaseException) -> str:
    """Return one line for people: what went wrong, followed by its causes."""
    parts = []
    cause: BaseException | None = error
    while cause is not None:
        text = " ".join(str(cause).split()) or type(cause).__name__
        parts.append(text.rstrip("."))
        cause = cause.__cause__
    return ": ".join(parts)


def _end_with(server_pid: int) -> None:
    """Have the kernel kill this process when the server is gone, however it went."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != server_pid:  # it went before we asked
        os._exit(1)


if __name__ == "__main__":
    main()
