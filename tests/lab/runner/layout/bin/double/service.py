"""RunnerService: keeps a listener running for the unit, unless it ended for good."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from types import FrameType

from .folder import ROOT

_FOR_GOOD = {
    0: "Runner listener exit with 0 return code, stop the service, no retry needed.",
    1: "Runner listener exit with terminated error, stop the service, no retry needed.",
    5: "Runner listener exit with Session Conflict error, stop the service, no retry needed.",
}
_RETRYABLE = (2, 3, 4)
_MOST_RETRIES = 10
_PAUSE = 5.0
# How long a listener has that is asked to end (s).
_GRACE = 30.0


class Service:
    """A listener that is started anew, and how often it failed in a row."""

    def __init__(self, limit: int) -> None:
        """Take how often a listener may fail for unknown reasons; 0 is for ever."""
        self._limit = limit
        self._retries = 0
        self._unknown = 0
        self._stopping = False
        self._listener: subprocess.Popen[str] | None = None

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        """Ask the listener to end, and start no other; it is killed if it takes too long."""
        print("Shutting down runner listener")
        self._stopping = True
        if self._listener:
            print("Sending SIGINT to runner listener to stop")
            self._listener.send_signal(signal.SIGINT)
            signal.setitimer(signal.ITIMER_REAL, _GRACE)

    def kill(self, _number: int, _frame: FrameType | None) -> None:
        """End a listener that was asked in vain."""
        if self._listener:
            self._listener.kill()

    def run(self) -> None:
        """Run listeners until one has ended for good."""
        while not self._stopping:
            self._judge(self._listen())
            until = time.monotonic() + _PAUSE
            while not self._stopping and time.monotonic() < until:
                time.sleep(0.1)

    def _listen(self) -> int:
        """Run a listener, and pass on what it says; return its exit code."""
        print("Starting Runner listener with startup type: service")
        self._listener = subprocess.Popen(
            [ROOT / "bin/Runner.Listener", "run", "--startuptype", "service"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(f"Started listener process, pid: {self._listener.pid}")
        if self._stopping:
            # The signal came while this one was being started.
            self._listener.send_signal(signal.SIGINT)
        for line in self._listener.stdout or ():
            if "Listening for Jobs" in line:
                self._retries = self._unknown = 0
            print(line, end="")
        return self._listener.wait()

    def _judge(self, code: int) -> None:
        """Decide by a listener's exit code whether another is started."""
        print(f"Runner listener exited with error code {code}")
        if code in _FOR_GOOD:
            print(_FOR_GOOD[code])
            self._stopping = True
        elif code in _RETRYABLE:
            self._retries, self._unknown = self._retries + 1, 0
            why = "with retryable error" if code == 2 else "because of updating"
            print(f"Runner listener exit {why}, re-launch runner in 5 seconds.")
            if self._retries >= _MOST_RETRIES:
                print(f"Stopping the runner after {_MOST_RETRIES} consecutive re-tryable failures")
                self._stopping = True
        else:
            self._retries, self._unknown = 0, self._unknown + 1
            unknown = "Runner listener exit with undefined return code"
            if self._unknown == self._limit:
                print(f"{unknown}, exiting service after {self._limit} consecutive failures")
                self._stopping = True
            else:
                print(f"{unknown}, re-launch runner in 5 seconds.")


def main(_words: list[str]) -> int:
    """Keep a listener running; return 0 when one has ended for good."""
    limit = os.environ.get("GITHUB_ACTIONS_SERVICE_EXIT_AFTER_N_FAILURES", "")
    service = Service(int(limit) if limit.isdigit() else 0)
    signal.signal(signal.SIGINT, service.stop)
    signal.signal(signal.SIGTERM, service.stop)
    signal.signal(signal.SIGALRM, service.kill)
    print("Started running service")
    service.run()
    return 0
