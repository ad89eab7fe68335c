"""Runner.Listener: configures the runner, or takes its jobs from GitHub and has them run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import FrameType
from typing import Any, NoReturn, TypeVar

from . import configure, folder, github
from .arguments import Arguments
from .folder import ROOT, Settings
from .github import RefusedError, Service

DONE = 0
TERMINATED = 1
RETRYABLE = 2
SESSION_CONFLICT = 5
VERSION_DEPRECATED = 7

_USAGE = """\
Commands:
 ./config.sh         Configures the runner
 ./config.sh remove  Unconfigures the runner
 ./run.sh            Runs the runner interactively
"""
_DELETED = (
    "The runner registration has been deleted from the server, please re-configure. Runner"
    " registrations are automatically deleted for runners that have not connected to the service"
    " recently."
)
_CONFLICT = "A session for this runner already exists."
# The real one tries for four minutes. One that was killed is not missed at once.
_SESSION_TRIES = 8
_LONGEST_PAUSE = 10.0
# How long a job that is ended has after each signal (s).
_GRACE = ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5), (signal.SIGKILL, None))

T = TypeVar("T")


class StoppedError(BaseException):
    """The listener is asked to end: whatever is done then takes it for no error."""


class FailedError(Exception):
    """The listener ends by itself.

    Attributes:
        code: its exit code.
    """

    def __init__(self, message: str, code: int = TERMINATED) -> None:
        """Take why, and the exit code."""
        super().__init__(message)
        self.code = code


def main(words: list[str]) -> int:
    """Run the command that the words say; return the exit code."""
    _load_environment()
    arguments = Arguments(words)
    if unknown := arguments.unknown():
        print(unknown, file=sys.stderr)
    if arguments.flag("help"):
        print(_USAGE)
        return DONE
    if arguments.flag("version"):
        print(folder.version())
        return DONE
    if arguments.command in ("configure", "remove"):
        return configure.run(arguments)
    try:
        if not folder.SETTINGS.exists():
            raise FailedError(
                "An error occurred: Not configured. Run config.(sh/cmd) to configure the runner."
            )
        return _run(Settings.load(), once=arguments.flag("once"))
    except FailedError as error:
        print(error, file=sys.stderr)
        return error.code
    except Exception as error:
        print(f"An error occurred: {error}", file=sys.stderr)
        return RETRYABLE


def _load_environment() -> None:
    """Take what `.env` says into the environment."""
    path = ROOT / ".env"
    for line in path.read_text().splitlines() if path.exists() else ():
        name, equals, value = line.partition("=")
        if name and equals and value:
            os.environ[name] = value
        elif name and equals:
            os.environ.pop(name, None)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    # Once is enough: what is done now ends by itself.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise StoppedError(f"signal {number}")


def _run(settings: Settings, once: bool) -> int:
    """Take jobs until there is to be none any more; return the exit code."""
    session = Session(settings)
    done = False
    try:
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, _stop)
        session.begin()
        print("\n√ Connected to GitHub\n")
        print(f"Current runner version: '{folder.version()}'")
        print(f"{_now()}: Listening for Jobs")
        while not done:
            _run_job(session, session.next_job())
            done = once or settings.ephemeral
    except StoppedError:
        print("Exiting...")
    finally:
        session.end()
    if done and settings.ephemeral:
        folder.delete()
    return DONE


class Session:
    """The runner's connection with GitHub, of which there is one at a time."""

    def __init__(self, settings: Settings) -> None:
        """Take who the runner is; `begin` connects it."""
        self.settings = settings
        self._agent = f"/agents/{settings.agent_id}"
        self._service: Service | None = None
        self._id = ""
        self._patient = True

    def begin(self) -> None:
        """Connect.

        Raises:
            FailedError: GitHub does not know the runner, or has another session of it.
        """
        for attempt in range(_SESSION_TRIES):
            try:
                self._ask("POST", f"{self._agent}/session", once=self._open)
            except RefusedError as error:
                if error.status == 403:
                    raise FailedError(
                        f"An error occurred: {error.reason}", _code_of_old_version()
                    ) from error
                if error.status != 409:
                    why = _DELETED if error.status in (401, 404) else error.reason
                    raise FailedError(f"Failed to create a session. {why}") from error
                if attempt == 0:
                    print(_CONFLICT, file=sys.stderr)
                time.sleep(1)
            else:
                return
        raise FailedError(f"Failed to create session. {_CONFLICT}", SESSION_CONFLICT)

    def _open(self, service: Service, *request: Any) -> dict[str, Any]:
        """Ask for the session, and know it before this ends: who knows none cannot end it."""
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
        try:
            answer = service.call(*request)
            self._id = str(answer["session"])
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        return answer

    def next_job(self) -> dict[str, Any]:
        """Wait for a job.

        Raises:
            FailedError: GitHub does not know the runner any more.
        """
        while True:
            try:
                path = f"{self._agent}/message?session={self._id}&wait=5"
                message = self._ask("GET", path)
            except RefusedError as error:
                if error.status != 409:
                    raise FailedError(f"An error occurred: {_DELETED}") from error
                # GitHub has ended this session.
                self.begin()
                continue
            if "job" in message:
                return dict(message["job"])

    def hurry(self) -> None:
        """Try nothing more than once from now on."""
        self._patient = False

    def report(self, job: str, succeeded: bool, log: str) -> None:
        """Tell how a job went."""
        body = {"conclusion": "success" if succeeded else "failure", "log": log}
        try:
            self._ask("POST", f"/jobs/{job}", body)
        except StoppedError:
            # The job has ended: GitHub is to know that first.
            self.hurry()
            self.report(job, succeeded, log)
            raise
        except (RefusedError, *github.TROUBLE) as error:
            print(error, file=sys.stderr)

    def end(self) -> None:
        """Let another session be, if GitHub can be told."""
        if self._id and self._service:
            try:
                self._service.call("DELETE", f"{self._agent}/session?session={self._id}")
            except RefusedError:
                # The registration of an ephemeral runner went with its job.
                pass
            except github.TROUBLE as error:
                print(error, file=sys.stderr)

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        once: Callable[..., dict[str, Any]] = Service.call,
    ) -> dict[str, Any]:
        """Ask GitHub, again if its token has run out.

        Args:
            method: the HTTP method.
            path: what is asked for.
            body: what to send.
            once: how a service is asked, if not only by its own method.

        Raises:
            FailedError: GitHub does not know the runner.
            RefusedError: it refuses for another reason.
            OSError: it is not reached, and this is in a hurry.
            HTTPException: it is broken, and this is in a hurry.
        """

        def logged_in() -> Service:
            try:
                return github.log_in(self.settings.server_url, folder.client_id())
            except RefusedError as error:
                if error.status != 401:
                    raise
                raise FailedError(f"Failed to create a session. {_DELETED}") from error

        service = self._service = self._service or self._retrying(logged_in)
        try:
            return self._retrying(lambda: once(service, method, path, body))
        except RefusedError as error:
            if error.status != 401:
                raise
        service = self._service = self._retrying(logged_in)
        return self._retrying(lambda: once(service, method, path, body))

    def _retrying(self, ask: Callable[[], T]) -> T:
        """Return what a call returns; while there is trouble with the connection, try again."""
        pause = 0.5
        while True:
            try:
                answer = ask()
            except (RefusedError, *github.TROUBLE) as error:
                refused = isinstance(error, RefusedError) and error.status < 500
                if refused or not self._patient:
                    raise
                if pause < 1:
                    message = f"Runner connect error: {error}. Retrying until reconnected."
                    print(f"{_now()}: {message}", file=sys.stderr)
                pause = min(2 * pause, _LONGEST_PAUSE)
                time.sleep(pause)
            else:
                if pause >= 1:
                    print(f"{_now()}: Runner reconnected.")
                return answer


def _code_of_old_version() -> int:
    name = "ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE"
    return VERSION_DEPRECATED if os.environ.get(name) == "1" else TERMINATED


def _run_job(session: Session, job: dict[str, Any]) -> None:
    """Have a job run, and tell how it went; if the listener is to end, the job is ended first."""
    settings = session.settings
    name = str(job["id"])
    print(f"{_now()}: Running job: {name}")
    # A job may take the folder away, and the first has none yet.
    settings.work.mkdir(parents=True, exist_ok=True)
    log = ROOT / "_diag" / f"Worker_{datetime.now(UTC):%Y%m%d-%H%M%S}-utc.log"
    log.parent.mkdir(exist_ok=True)
    environment = {
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "RUNNER_ARCH": folder.architecture(),
        "RUNNER_NAME": settings.agent_name,
        "RUNNER_OS": "Linux",
    }
    with log.open("wb") as sink:
        worker = subprocess.Popen(
            [ROOT / "bin/Runner.Worker", "spawnclient"],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=sink,
            cwd=settings.work,
            env=os.environ | environment,
            start_new_session=True,
        )
        succeeded = False
        try:
            worker.communicate(json.dumps(job).encode())
            succeeded = worker.returncode == 0
        except StoppedError:
            session.hurry()
            raise
        finally:
            _end(worker)
            result = "Succeeded" if succeeded else "Failed"
            session.report(name, succeeded, log.read_text(errors="replace"))
            print(f"{_now()}: Job {name} completed with result: {result}")


def _end(worker: subprocess.Popen[bytes]) -> None:
    """End a worker, if it still runs, and all that it left behind."""
    for number, seconds in _GRACE:
        if worker.poll() is None:
            os.killpg(worker.pid, number)
            with suppress(subprocess.TimeoutExpired):
                worker.wait(seconds)
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
