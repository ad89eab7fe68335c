"""The runner's double keeps the contract that was read from the real runner's source.

It speaks with a small service in this process. Most of it runs on this machine as a user without
rights; what is systemd's runs on the device `pi` of the group that the command line names.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import signal
import ssl
import stat
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.lab import device
from tests.lab.runner import archive_name, build

VERSION = "2.336.0"
BUILT = datetime(2026, 8, 17, tzinfo=UTC)
USER = "nobody"
PATIENCE = 20.0
ROOT_FOLDER = "/opt/runner"
# Beside the role's own, which may be there.
UNIT = "actions.runner.octo-camera.walk.service"


def until(what: str, holds: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


class Hub:
    """What the double of GitHub is to runners: registrations, sessions, jobs.

    Attributes:
        tokens: those that register and remove.
        agents: the registrations by their id, as they were sent.
        jobs: those that wait.
        reports: what was told of each job.
        sessions: the ids of the runners that are connected.
        refusal: what is answered to who asks for a session, if not 200.
    """

    def __init__(self, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        """Listen at an address, at a port of its own choice."""
        self.tokens = {"good"}
        self.agents: dict[int, dict[str, Any]] = {}
        self.jobs: list[dict[str, Any]] = []
        self.reports: dict[str, dict[str, Any]] = {}
        self.sessions: set[int] = set()
        self.refusal: tuple[int, str] | None = None
        self.broken = False
        self._ids = 0
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length) or "{}")
                authorization = self.headers.get("Authorization", "")
                status, content = hub._answer(self.command, self.path, authorization, body)
                sent = b"" if status == 204 else json.dumps(content).encode()
                with suppress(BrokenPipeError, ConnectionResetError):
                    self._send(status, sent)

            def _send(self, status: int, sent: bytes) -> None:
                self.send_response(status)
                self.send_header("X-GitHub-Request-Id", "C0DE")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def do_POST(self) -> None:
                self.do_GET()

            def do_PUT(self) -> None:
                self.do_GET()

            def do_DELETE(self) -> None:
                self.do_GET()

            def log_message(self, *_words: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((address, 0), Handler)
        self._scheme = "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self.url = self.url_by("127.0.0.1" if tls is None else "localhost")
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def url_by(self, host: str) -> str:
        """Return its address for who calls its host by a name."""
        return f"{self._scheme}://{host}:{self._server.server_port}"

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, method: str, path: str, authorization: str, body: Any) -> tuple[int, Any]:
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if self.broken:
            return 503, {}
        if parts.path == "/api/v3/actions/runner-registration":
            if authorization.removeprefix("RemoteAuth ") not in self.tokens:
                return 404, {"message": "Not Found"}
            at = urlsplit(body["url"])
            services = f"{at.scheme}://{at.netloc}/_services{at.path}"
            return 200, {"url": services, "token": "t", "token_schema": "OAuthAccessToken"}
        where = re.fullmatch(r"/_services/octo/camera/(\w+)(?:/(\w+))?(?:/(\w+))?", parts.path)
        assert where, path
        kind, key, part = where.groups()
        if kind == "oauth":
            known = [agent["client_id"] for agent in self.agents.values()]
            return (200, {"token": "t"}) if body["client_id"] in known else (401, {})
        assert authorization == "Bearer t"
        if kind == "groups":
            return 200, {"groups": [{"id": 1, "name": "Default"}, {"id": 2, "name": "Cameras"}]}
        if kind == "jobs":
            self.reports[key] = body
            return 200, {}
        if key is None:
            return self._agents(method, query, body)
        return self._agent(method, int(key), part, body)

    def _agents(self, method: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if method == "POST":
            self._ids += 1
            self.agents[self._ids] = body | {"client_id": f"client-{self._ids}"}
            return 201, {"id": self._ids, "client_id": f"client-{self._ids}"}
        found = [
            {"id": key, "name": agent["name"]}
            for key, agent in self.agents.items()
            if agent["name"] == query["name"]
        ]
        return 200, {"agents": found}

    def _agent(self, method: str, key: int, part: str | None, body: Any) -> tuple[int, Any]:
        if key not in self.agents:
            return 404, {}
        if part == "session":
            return self._session(method, key)
        if part == "message":
            if key not in self.sessions:
                return 409, {}
            if self.jobs:
                return 200, {"job": self.jobs.pop(0)}
            time.sleep(0.1)
            return 202, {}
        if method == "PUT":
            self.agents[key] = body | {"client_id": f"client-{key}"}
            return 200, {"id": key, "client_id": f"client-{key}"}
        del self.agents[key]
        return 204, {}

    def _session(self, method: str, key: int) -> tuple[int, Any]:
        if method == "DELETE":
            self.sessions.discard(key)
            return 204, {}
        if self.refusal:
            return self.refusal[0], {"message": self.refusal[1]}
        if key in self.sessions:
            return 409, {}
        self.sessions.add(key)
        return 201, {"session": f"s{key}"}


class Runner:
    """An unpacked runner on this machine.

    Attributes:
        root: its folder.
        hub: what it is to be registered with.
    """

    def __init__(self, root: Path, hub: Hub) -> None:
        """Unpack one."""
        self.root = root
        self.hub = hub
        root.mkdir()
        unpack = ["tar", "--extract", "--gzip", "--directory", str(root)]
        subprocess.run(unpack, input=build(VERSION, built=BUILT), check=True)
        if os.geteuid() == 0:
            subprocess.run(["chown", "--recursive", USER, root], check=True)

    def start(
        self, *command: str, user: str = USER, output: Any = subprocess.PIPE, **environment: str
    ) -> subprocess.Popen[str]:
        """Start one of its programs, as a user without rights unless another is named."""
        return subprocess.Popen(
            [self.root / command[0], *command[1:]],
            cwd=self.root,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"} | environment,
            user=user if os.geteuid() == 0 else None,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output if output is not subprocess.PIPE else subprocess.PIPE,
            text=True,
        )

    def run(
        self, *command: str, user: str = USER, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one of its programs to its end."""
        process = self.start(*command, user=user, **environment)
        output, error = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, output, error)

    def configure(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Register it as `pi`, unless the words say another name before."""
        usual = ["--unattended", "--url", f"{self.hub.url}/octo/camera", "--token", "good"]
        return self.run("config.sh", *words, *usual, "--name", "pi", **environment)

    def settings(self) -> dict[str, Any]:
        """Return what `.runner` holds."""
        return dict(json.loads((self.root / ".runner").read_text(encoding="utf-8-sig")))

    def has(self, name: str) -> bool:
        """Whether its folder has a file."""
        return (self.root / name).exists()

    def set_environment(self, **values: str) -> None:
        """Add to `.env`."""
        with (self.root / ".env").open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in values.items())

    def script(self, name: str, text: str) -> str:
        """Write a file into its folder; return its path."""
        (self.root / name).write_text(text)
        return str(self.root / name)

    @contextmanager
    def running(self, program: str = "bin/Runner.Listener", *words: str) -> Iterator[Listening]:
        """Have it listen while the block runs."""
        words = words or ("run",) if program == "bin/Runner.Listener" else words
        log = self.root.parent / "output"
        with log.open("w") as output:
            process = self.start(program, *words, output=output)
        listening = Listening(process, log)
        try:
            yield listening
        finally:
            process.terminate()
            process.wait(PATIENCE)


class Listening:
    """A listener that runs, and what it says."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        """Take its process, and where its output goes."""
        self.process = process
        self._log = log

    @property
    def output(self) -> str:
        """What it has said so far."""
        return self._log.read_text()

    def says(self, text: str) -> None:
        """Wait until it says something."""
        until(f"it says {text}", lambda: text in self.output)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Yield a service for runners."""
    own = Hub()
    yield own
    own.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield an empty folder that every user may look into."""
    own = Path(tempfile.mkdtemp())
    own.chmod(0o755)
    yield own
    shutil.rmtree(own)


@pytest.fixture
def runner(folder: Path, hub: Hub) -> Runner:
    """Return a runner that is not configured."""
    return Runner(folder / "runner", hub)


@pytest.fixture
def configured(runner: Runner) -> Runner:
    """Return a runner that is registered as `pi`."""
    done = runner.configure()
    assert done.returncode == 0, done.stderr
    return runner


def mode(path: Path) -> int:
    """Return a file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


# The release.


def test_the_archive_holds_what_a_release_holds() -> None:
    with tarfile.open(fileobj=io.BytesIO(build(VERSION, built=BUILT))) as archive:
        members = {member.name.removeprefix("./"): member for member in archive}
    top = {name.partition("/")[0] for name in members} - {"."}
    scripts = {"config.sh", "run.sh", "env.sh", "safe_sleep.sh"}
    assert top == scripts | {"run-helper.sh.template", "bin", "externals"}
    for name in (*scripts, "bin/Runner.Listener", "bin/Runner.Worker", "bin/runsvc.sh"):
        assert members[name].mode == 0o755, name
    assert not [name for name in members if "__pycache__" in name]
    assert {member.mtime for member in members.values()} == {BUILT.timestamp()}
    assert archive_name("2.336.0", "arm64") == "actions-runner-linux-arm64-2.336.0.tar.gz"


def test_the_archive_is_the_same_for_the_same_arguments_and_as_large_as_is_wanted() -> None:
    archive = build(VERSION, padding=1_000_000, built=BUILT)
    assert archive == build(VERSION, padding=1_000_000, built=BUILT)
    assert len(archive) - len(build(VERSION, built=BUILT)) > 999_000
    assert len(gzip.compress(archive)) > 999_000
    with pytest.raises(ValueError, match="riscv"):
        build(VERSION, "riscv")


@pytest.mark.parametrize("program", ["config.sh", "bin/Runner.Listener"])
def test_it_tells_its_version(runner: Runner, program: str) -> None:
    done = runner.run(program, "--version")
    assert (done.returncode, done.stdout) == (0, f"{VERSION}\n")


# config.sh, in its order.


def test_root_may_not_configure_it(runner: Runner) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be root")
    done = runner.run("config.sh", "--version", user="root")
    assert (done.returncode, done.stdout) == (1, "Must not run with sudo\n")
    assert not runner.has(".env")
    assert runner.run("config.sh", "--version", user="root", RUNNER_ALLOW_RUNASROOT="1").stdout == (
        f"{VERSION}\n"
    )


def test_a_library_that_is_missing_is_named(runner: Runner, folder: Path) -> None:
    (folder / "ldconfig").write_text("#!/bin/sh\necho libc.so.6\n")
    (folder / "ldconfig").chmod(0o755)
    done = runner.configure(PATH=f"{folder}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "Libicu" in done.stdout
    assert not runner.has(".env")


def test_it_is_registered(runner: Runner, hub: Hub) -> None:
    done = runner.configure("--labels", "camera,Camera,,indoor", LANG="C.UTF-8")
    assert (done.returncode, done.stderr) == (0, "")
    said = re.findall("√ .*", done.stdout)
    assert said == ["√ Connected to GitHub", "√ Runner successfully added", "√ Settings Saved."]

    assert (runner.root / ".runner").read_bytes().startswith(b"\xef\xbb\xbf{\n  ")
    assert runner.settings() == {
        "agentId": 1,
        "agentName": "pi",
        "poolId": 1,
        "poolName": "Default",
        "serverUrl": f"{hub.url}/_services/octo/camera",
        "gitHubUrl": f"{hub.url}/octo/camera",
        "workFolder": "_work",
    }
    credentials = json.loads((runner.root / ".credentials").read_text(encoding="utf-8-sig"))
    assert credentials["scheme"] == "OAuth"
    assert credentials["data"].keys() == {
        *("clientId", "authorizationUrl", "requireFipsCryptography")
    }
    assert mode(runner.root / ".credentials_rsaparams") == 0o600
    assert mode(runner.root / "svc.sh") == 0o755
    assert (runner.root / ".path").read_text() == f"{os.environ['PATH']}\n"
    assert (runner.root / ".env").read_text() == "LANG=C.UTF-8\n"

    (agent,) = hub.agents.values()
    own = [{"name": name, "type": "read-only"} for name in ("self-hosted", "Linux", "X64")]
    custom = [{"name": name, "type": "custom"} for name in ("camera", "indoor")]
    assert agent["labels"] == own + custom
    assert (agent["version"], agent["os"], agent["group_id"]) == (VERSION, "Linux", 1)
    assert (agent["ephemeral"], agent["disable_update"]) == (False, False)


def test_what_was_chosen_stands_in_its_settings(runner: Runner, hub: Hub) -> None:
    words = ["--ephemeral", "--disableupdate", "--work", "/srv/work", "--runnergroup", "cameras"]
    assert runner.configure(*words).returncode == 0
    settings = runner.settings()
    assert (settings["ephemeral"], settings["disableUpdate"]) == (True, True)
    assert settings["workFolder"] == "/srv/work"
    assert (settings["poolId"], settings["poolName"]) == (2, "Cameras")
    (agent,) = hub.agents.values()
    assert (agent["ephemeral"], agent["disable_update"], agent["group_id"]) == (True, True, 2)


@pytest.mark.parametrize("words", [(), ("--replace",)])
def test_it_is_not_configured_twice(configured: Runner, words: tuple[str, ...]) -> None:
    done = configured.configure(*words)
    assert done.returncode == 1
    assert done.stderr == (
        "Cannot configure the runner because it is already configured. To reconfigure the runner,"
        " run 'config.cmd remove' or './config.sh remove' first.\n"
    )


def test_without_a_token(runner: Runner, hub: Hub) -> None:
    done = runner.run("config.sh", "--unattended", "--url", f"{hub.url}/octo/camera")
    assert done.returncode == 1
    assert done.stderr == (
        "Invalid configuration provided for token. Terminating unattended configuration.\n"
    )
    assert runner.has(".env")
    assert runner.has(".path")


def test_with_a_bad_token(runner: Runner, hub: Hub) -> None:
    done = runner.configure("--token", "bad")
    assert done.returncode == 1
    at = f"{hub.url}/api/v3/actions/runner-registration"
    assert f"Http response code: NotFound from 'POST {at}' (Request Id: C0DE)\n" in done.stderr
    assert "Connected" not in done.stdout
    assert not runner.has(".credentials_rsaparams")


def test_an_unknown_group(runner: Runner) -> None:
    done = runner.configure("--runnergroup", "X")
    assert done.returncode == 1
    assert done.stderr == 'Could not find any self-hosted runner group named "X".\n'
    assert "√ Connected to GitHub" in done.stdout
    assert mode(runner.root / ".credentials_rsaparams") == 0o600
    assert not runner.has(".credentials")
    assert runner.configure().returncode == 0


def test_a_name_that_is_taken(configured: Runner, hub: Hub, folder: Path) -> None:
    other = Runner(folder / "other", hub)
    done = other.configure()
    assert (done.returncode, done.stderr) == (1, "A runner exists with the same name pi.\n")
    assert "A runner exists with the same name\n" in done.stdout
    assert not other.has(".runner")
    assert not other.has("svc.sh")

    done = other.configure("--replace", "--labels", "new")
    assert done.returncode == 0, done.stderr
    assert "A runner exists with the same name\n√ Successfully replaced the runner\n" in done.stdout
    (agent,) = hub.agents.values()
    assert agent["labels"][-1]["name"] == "new"
    assert other.settings()["agentId"] == configured.settings()["agentId"]


def test_no_default_labels(runner: Runner, hub: Hub) -> None:
    assert runner.configure("--no-default-labels").returncode == 1
    assert not hub.agents
    assert runner.configure("--no-default-labels", "--labels", "a").returncode == 0
    (agent,) = hub.agents.values()
    assert agent["labels"] == [{"name": "a", "type": "custom"}]


@pytest.mark.parametrize(("architecture", "label"), [("arm64", "ARM64"), ("arm", "ARM")])
def test_the_label_of_its_architecture(architecture: str, label: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(build(VERSION, architecture))) as archive:
        found = archive.extractfile("./bin/architecture")
        assert found
        assert found.read().decode().strip().upper() == label


# Its arguments.


def test_their_case_does_not_count_and_the_first_of_two_wins(runner: Runner, hub: Hub) -> None:
    assert runner.configure("--NAME", "first", "--name", "second", "--Ephemeral").returncode == 0
    (agent,) = hub.agents.values()
    assert (agent["name"], agent["ephemeral"]) == ("first", True)


def test_a_flag_with_a_value_is_none(runner: Runner) -> None:
    assert runner.configure("--ephemeral", "true").returncode == 0
    assert "ephemeral" not in runner.settings()


def test_a_value_that_begins_with_a_dash_is_ignored(runner: Runner, hub: Hub) -> None:
    assert runner.configure("--labels", "-x").returncode == 0
    (agent,) = hub.agents.values()
    assert len(agent["labels"]) == 3


def test_what_it_does_not_know_it_tells_and_goes_on(runner: Runner) -> None:
    done = runner.configure("--colour", "red", "--loud")
    assert done.returncode == 0
    expected = "Unrecognized command-line input arguments for command configure: 'loud, colour'"
    assert done.stderr.startswith(expected)


def by_environment(values: dict[str, str]) -> dict[str, str]:
    """Return the environment that says what arguments do."""
    return {f"ACTIONS_RUNNER_INPUT_{name.upper()}": value for name, value in values.items()}


def test_they_also_come_by_the_environment(runner: Runner, hub: Hub) -> None:
    done = runner.run(
        "config.sh",
        **by_environment(
            {
                "unattended": "true",
                "url": f"{hub.url}/octo/camera",
                "token": "good",
                "name": "other",
                "ephemeral": "1",
            }
        ),
    )
    assert done.returncode == 0, done.stderr
    (agent,) = hub.agents.values()
    assert (agent["name"], agent["ephemeral"]) == ("other", False)


# config.sh remove.


def test_it_is_removed(configured: Runner, hub: Hub) -> None:
    done = configured.run("config.sh", "remove", "--token", "good")
    assert (done.returncode, done.stderr) == (0, "")
    said = re.findall("√ .*", done.stdout)
    assert said == [
        *("√ Runner removed successfully", "√ Removed .credentials", "√ Removed .runner")
    ]
    assert not hub.agents
    assert not configured.has(".credentials_rsaparams")
    assert configured.has("svc.sh")
    done = configured.run("config.sh", "remove")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_runner_that_github_does_not_know_is_removed(configured: Runner, hub: Hub) -> None:
    hub.agents.clear()
    assert configured.run("config.sh", "REMOVE", "--token", "good").returncode == 0
    assert not configured.has(".runner")


def test_a_bad_token_removes_nothing(configured: Runner, hub: Hub) -> None:
    done = configured.run("config.sh", "remove", "--token", "bad")
    assert done.returncode == 1
    assert "Http response code: NotFound from 'POST" in done.stderr
    assert configured.has(".runner")
    assert hub.agents


def test_it_is_not_removed_while_it_is_a_service(configured: Runner) -> None:
    configured.script(".service", "unit\n")
    done = configured.run("config.sh", "remove", "--token", "good")
    assert done.returncode == 1
    assert "Removing service\n" in done.stdout
    assert done.stderr == "Failed: Removing service\nUninstall service first\n"


def test_it_is_removed_only_here(configured: Runner, hub: Hub) -> None:
    for name in (".service", ".runner_migrated", ".credentials_migrated"):
        configured.script(name, "{}")
    assert configured.run("config.sh", "remove", "--local").returncode == 0
    kept = {path.name for path in configured.root.iterdir() if path.name.startswith(".")}
    assert kept == {".service", ".env", ".path"}
    assert configured.has("svc.sh")
    assert hub.agents


# Running.


def job(*steps: str, **env: str) -> dict[str, Any]:
    """Return a job."""
    return {"id": "7", "steps": list(steps), "env": env}


def test_it_runs_jobs(configured: Runner, hub: Hub) -> None:
    configured.set_environment(COLOUR="red")
    steps = ["pwd", "echo $COLOUR $SIZE", "tr '\\0' ' ' < /proc/$PPID/cmdline"]
    with configured.running() as listening:
        listening.says("Listening for Jobs")
        until("it is connected", lambda: hub.sessions)
        hub.jobs.append(job(*steps, SIZE="large"))
        until("the job is done", lambda: hub.reports)
    assert listening.process.returncode == 0
    assert not hub.sessions
    assert hub.reports["7"]["conclusion"] == "success"
    where, env, command = hub.reports["7"]["log"].splitlines()
    assert where == str(configured.root / "_work")
    assert env == "red large"
    assert "bin/Runner.Worker" in command
    output = listening.output
    assert output.startswith(f"\n√ Connected to GitHub\n\nCurrent runner version: '{VERSION}'\n")
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ: Running job: 7\n", output)
    assert "Z: Job 7 completed with result: Succeeded\n" in output


def test_a_step_that_fails_ends_the_job(configured: Runner, hub: Hub) -> None:
    hub.jobs.append(job("echo one; false; echo two", "echo three"))
    with configured.running() as listening:
        listening.says("Job 7 completed with result: Failed")
    assert hub.reports["7"]["conclusion"] == "failure"
    assert "two" not in hub.reports["7"]["log"]
    assert "three" not in hub.reports["7"]["log"]


def test_a_token_of_the_environment_is_kept_from_jobs(configured: Runner, hub: Hub) -> None:
    hub.jobs.append(job("env"))
    configured.set_environment(**by_environment({"token": "secret"}))
    with configured.running() as listening:
        listening.says("Succeeded")
    assert "secret" not in hub.reports["7"]["log"]


@pytest.mark.parametrize(
    ("started", "completed", "conclusion", "log"),
    [
        ("echo started", "echo completed", "success", ["started", "step", "completed"]),
        ("false; echo started", "echo completed", "failure", ["completed"]),
        ("echo started", "exit 3", "failure", ["started", "step"]),
        (None, "echo completed", "failure", ["completed"]),
    ],
)
def test_hooks(
    configured: Runner,
    hub: Hub,
    started: str | None,
    completed: str,
    conclusion: str,
    log: list[str],
) -> None:
    first = configured.script("started.sh", started) if started else "/nowhere/started.sh"
    configured.set_environment(
        ACTIONS_RUNNER_HOOK_JOB_STARTED=first,
        ACTIONS_RUNNER_HOOK_JOB_COMPLETED=configured.script("completed.sh", completed),
    )
    hub.jobs.append(job("echo step"))
    with configured.running() as listening:
        listening.says("Job 7 completed")
    assert hub.reports["7"]["conclusion"] == conclusion
    lines = hub.reports["7"]["log"].splitlines()
    assert [line for line in lines if line in ("started", "step", "completed")] == log


def test_a_signal_ends_it_and_its_job(configured: Runner, hub: Hub) -> None:
    hub.jobs.append(job("sleep 1000 & echo $! > pid; wait"))
    pid = configured.root / "_work/pid"
    with configured.running() as listening:
        until("the step runs", lambda: pid.exists() and pid.read_text())
        listening.process.terminate()
        assert listening.process.wait(PATIENCE) == 0
    assert hub.reports["7"]["conclusion"] == "failure"
    assert not hub.sessions
    # Whose parent is gone is taken by one that need not bury it.
    proc = Path("/proc", pid.read_text().strip(), "stat")
    until("the step is gone", lambda: not proc.exists() or " Z " in proc.read_text())


def test_an_ephemeral_one_forgets_itself_after_a_job(runner: Runner, hub: Hub) -> None:
    assert runner.configure("--ephemeral").returncode == 0
    hub.jobs.append(job("true"))
    with runner.running() as listening:
        assert listening.process.wait(PATIENCE) == 0
    assert hub.reports["7"]["conclusion"] == "success"
    for name in (".runner", ".credentials", ".credentials_rsaparams"):
        assert not runner.has(name), name


def test_one_that_is_not_configured(runner: Runner) -> None:
    done = runner.run("bin/Runner.Listener", "run")
    assert done.returncode == 1
    assert "Not configured" in done.stderr


def test_one_that_github_does_not_know(configured: Runner, hub: Hub) -> None:
    hub.agents.clear()
    done = configured.run("bin/Runner.Listener", "run")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "Failed to create a session. The runner registration has been deleted from the server,"
        " please re-configure."
    )


def test_one_that_github_forgets(configured: Runner, hub: Hub) -> None:
    with configured.running() as listening:
        listening.says("Listening for Jobs")
        hub.agents.clear()
        assert listening.process.wait(PATIENCE) == 1


def test_a_session_that_has_ended_is_followed_by_another(configured: Runner, hub: Hub) -> None:
    with configured.running() as listening:
        until("it is connected", lambda: hub.sessions)
        hub.sessions.clear()
        hub.jobs.append(job("true"))
        listening.says("Succeeded")


def test_there_is_one_session_at_a_time(configured: Runner, hub: Hub) -> None:
    hub.sessions.add(1)
    done = configured.run("bin/Runner.Listener", "run")
    assert done.returncode == 5
    assert "A session for this runner already exists." in done.stderr


def test_a_version_that_is_too_old(configured: Runner, hub: Hub) -> None:
    hub.refusal = (403, "Runner version v2.1.0 is deprecated and cannot receive messages.")
    done = configured.run("bin/Runner.Listener", "run")
    assert done.returncode == 1
    assert "is deprecated" in done.stderr
    told = {"ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE": "1"}
    assert configured.run("bin/Runner.Listener", "run", **told).returncode == 7
    assert configured.run("run.sh", **told).returncode == 7
    assert configured.run("run.sh").returncode == 0


def test_an_outage_is_waited_for(configured: Runner, hub: Hub) -> None:
    with configured.running() as listening:
        listening.says("Listening for Jobs")
        hub.broken = True
        listening.says("Retrying")
        assert listening.process.poll() is None
        hub.broken = False
        listening.says("Runner reconnected.")
        hub.jobs.append(job("true"))
        listening.says("Succeeded")


def test_a_server_that_is_not_there_is_waited_for(configured: Runner, hub: Hub) -> None:
    hub.close()
    with configured.running() as listening:
        listening.says("Retrying")
        listening.process.terminate()
        assert listening.process.wait(PATIENCE) == 0


# Who starts the listener.


def listener_that_exits(runner: Runner, *codes: int) -> Path:
    """Have a listener that ends with one code after the other, and then with 0.

    Returns:
        A file with a line for each time that it ran.
    """
    words = " ".join(str(code) for code in codes)
    text = f"""#!/bin/bash
echo ran >> count
codes=({words})
exit "${{codes[$(wc -l < count) - 1]:-0}}"
"""
    (runner.root / "bin/Runner.Listener").write_text(text)
    # These pauses are not for tests.
    for path in (runner.root / "bin/double/service.py", runner.root / "safe_sleep.sh"):
        path.write_text(path.read_text().replace("_PAUSE = 5.0", "_PAUSE = 0.0"))
    (runner.root / "safe_sleep.sh").write_text("#!/bin/sh\n")
    return runner.root / "count"


@pytest.mark.parametrize(
    ("codes", "runs"),
    [((0,), 1), ((1,), 1), ((5,), 1), ((2, 3, 4), 4), ((2,) * 20, 10), ((6,) * 11, 12)],
)
def test_the_wrapper_starts_it_anew_by_its_exit_code(
    runner: Runner, codes: tuple[int, ...], runs: int
) -> None:
    count = listener_that_exits(runner, *codes)
    assert runner.run("bin/RunnerService").returncode == 0
    assert len(count.read_text().splitlines()) == runs


def test_the_wrapper_may_be_told_to_end_after_unknown_codes(runner: Runner) -> None:
    count = listener_that_exits(runner, *(6,) * 11)
    runner.run("bin/RunnerService", GITHUB_ACTIONS_SERVICE_EXIT_AFTER_N_FAILURES="3")
    assert len(count.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("codes", "runs"), [((0,), 1), ((1,), 1), ((5,), 1), ((2, 2), 3), ((6,), 1), ((7,), 1)]
)
def test_run_sh_repeats_only_what_may_be_repeated(
    runner: Runner, codes: tuple[int, ...], runs: int
) -> None:
    count = listener_that_exits(runner, *codes)
    assert runner.run("run.sh").returncode == 0
    assert len(count.read_text().splitlines()) == runs


def test_the_service_ends_with_its_job_and_has_the_path_of_its_configuration(
    configured: Runner, hub: Hub
) -> None:
    shutil.copy(configured.root / "bin/runsvc.sh", configured.root / "runsvc.sh")
    path = f"{configured.root}/tools:{os.environ['PATH']}"
    configured.script(".path", f"{path}\n")
    hub.jobs.append(job("echo $PATH", "sleep 1000"))
    with configured.running("runsvc.sh") as listening:
        listening.says("Running job: 7")
        listening.process.send_signal(signal.SIGTERM)
        listening.process.wait(PATIENCE)
    assert hub.reports["7"]["conclusion"] == "failure"
    assert not hub.sessions
    assert f".path={path}\n" in listening.output


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3])
def test_the_service_ends_however_soon_it_is_asked_to(configured: Runner, seconds: float) -> None:
    shutil.copy(configured.root / "bin/runsvc.sh", configured.root / "runsvc.sh")
    with configured.running("runsvc.sh") as listening:
        # What this is about is a moment: there is nothing else to wait for.
        time.sleep(seconds)
        listening.process.terminate()
        listening.process.wait(5)
    assert not configured.hub.sessions


# TLS.


def test_a_certificate_must_be_believed(runner: Runner, folder: Path) -> None:
    key, certificate = folder / "key", folder / "certificate"
    subprocess.run(
        [
            *["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            *["-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
            *["-keyout", str(key), "-out", str(certificate)],
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    runner.hub = Hub(tls=context)
    try:
        done = runner.configure()
        assert done.returncode == 1
        assert "CERTIFICATE_VERIFY_FAILED" in done.stderr
        assert runner.configure(SSL_CERT_FILE=str(certificate)).returncode == 0
    finally:
        runner.hub.close()


# svc.sh.


def unit_of(runner: Runner) -> str:
    """Return the unit's name that `svc.sh` knows."""
    found = re.search('^name="(.*)"$', (runner.root / "svc.sh").read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_the_units_name(configured: Runner) -> None:
    assert unit_of(configured) == "actions.runner.octo-camera.pi.service"


def test_a_long_name_is_cut(runner: Runner) -> None:
    assert runner.configure("--name", "n" * 140).returncode == 0
    unit = unit_of(runner)
    assert len(unit) == 150
    assert re.fullmatch(r"actions\.runner\.octo-camera\.n+-\d{4}\.service", unit)


def test_only_root_may_use_it(configured: Runner) -> None:
    done = configured.run("svc.sh", "status")
    assert (done.returncode, done.stdout) == (1, "Must run as sudo\n")


@pytest.fixture
def group(pytestconfig: pytest.Config) -> str:
    """Return the group of the device."""
    return str(pytestconfig.getoption("group"))


_UNPACK = """
ldconfig -p | grep --quiet libicu || apt-get install -qy libicu76
rm --recursive --force "$1"
mkdir "$1"
base64 --decode | tar --extract --gzip --directory "$1"
chown --recursive pi "$1"
ip route show default | cut -d ' ' -f 3
"""
_CONFIGURE = """
cd "$1"
runuser -u pi -- ./config.sh --unattended --url "$2" --token good --name walk "${@:3}"
"""


class Device:
    """A runner on a device, with a service in this process."""

    def __init__(self, group: str) -> None:
        """Unpack and register it."""
        self._group = group
        self.hub = Hub("")
        archive = subprocess.run(
            ["base64"], input=build(VERSION, built=BUILT), capture_output=True, check=True
        )
        self._gateway = self.on(_UNPACK, ROOT_FOLDER, stdin=archive.stdout.decode()).split()[-1]

    def on(self, text: str, *arguments: str, stdin: str = "") -> str:
        """Run a script on the device as root, in the runner's folder if there is one."""
        return device.script(self._group, "pi", text, *arguments, stdin=stdin, timeout=300)

    def configure(self, *words: str) -> None:
        """Register it as `pi`."""
        self.on(_CONFIGURE, ROOT_FOLDER, f"{self.hub.url_by(self._gateway)}/octo/camera", *words)

    def svc(self, *words: str) -> tuple[int, str, str]:
        """Run `svc.sh`; return its exit code and its standard output and error."""
        text = """
        cd "$1"
        status=0
        ./svc.sh "${@:2}" > /tmp/out 2> /tmp/err || status=$?
        printf '%s\\0' $status; cat /tmp/out; printf '\\0'; cat /tmp/err
        """
        status, output, error = self.on(text, ROOT_FOLDER, *words).split("\0")
        return int(status), output, error

    def unit(self, name: str) -> str:
        """Return a property of its unit."""
        return self.on(f"systemctl show --value --property={name} {UNIT}").strip()


@pytest.fixture
def pi(group: str) -> Iterator[Device]:
    """Yield a runner on a device, which is registered; nothing is left of it."""
    own = Device(group)
    yield own
    own.on(
        f"systemctl stop {UNIT} || :; systemctl disable {UNIT} || :"
        f"; rm --recursive --force {ROOT_FOLDER} /etc/systemd/system/{UNIT}"
        "; systemctl daemon-reload"
    )
    own.hub.close()


def test_svc_sh_installs_it_once(pi: Device) -> None:
    pi.configure()
    status, output, _error = pi.svc("status")
    assert (status, output.strip()) == (1, "not installed")
    status, output, _error = pi.svc("jump")
    assert status == 0
    assert "Usage:" in output

    status, _output, error = pi.svc("install", "pi")
    assert status == 0, error
    lines = pi.on(f"cat /etc/systemd/system/{UNIT}").splitlines()
    for line in (
        f"ExecStart={ROOT_FOLDER}/runsvc.sh",
        "User=pi",
        f"WorkingDirectory={ROOT_FOLDER}",
        "KillMode=process",
        "KillSignal=SIGTERM",
        "TimeoutStopSec=5min",
        "WantedBy=multi-user.target",
    ):
        assert line in lines
    assert not [line for line in lines if line.startswith("Restart=")]
    assert pi.on(f"cat {ROOT_FOLDER}/.service") == f"{UNIT}\n"
    assert pi.on(f"stat --format='%a %U' {ROOT_FOLDER}/runsvc.sh") == "755 pi\n"
    assert pi.unit("UnitFileState") == "enabled"
    assert pi.unit("ActiveState") == "inactive"
    assert pi.svc("status")[0] == 0

    status, _output, error = pi.svc("install", "pi")
    assert (status, error) == (1, f"Failed: error: exists /etc/systemd/system/{UNIT}\n")


def test_svc_sh_starts_stops_and_uninstalls_it(pi: Device) -> None:
    pi.configure()
    pi.svc("install", "pi")
    status, output, _error = pi.svc("start")
    assert status == 0
    assert "active (running)" in output
    until("it is connected", lambda: pi.hub.sessions)
    pi.hub.jobs.append(job("id --user --name"))
    until("the job is done", lambda: pi.hub.reports)
    assert pi.hub.reports["7"]["log"] == "pi\n"
    journal = pi.on(f"journalctl --sync; journalctl --output=cat --unit={UNIT}")
    assert "Listening for Jobs" in journal

    with pytest.raises(Exception, match="Uninstall service first"):
        pi.on(f"cd {ROOT_FOLDER} && runuser -u pi -- ./config.sh remove --token good")

    assert pi.svc("stop")[0] == 0
    assert not pi.hub.sessions
    assert pi.svc("status")[0] == 0
    pi.svc("start")
    for _time in range(2):
        assert pi.svc("uninstall")[0] == 0
        assert pi.unit("LoadState") == "not-found"
        assert "gone" in pi.on(f"[ -e {ROOT_FOLDER}/.service ] || echo gone")


def test_an_ephemeral_runner_stays_dead_under_its_unit(pi: Device) -> None:
    pi.configure("--ephemeral")
    pi.svc("install", "pi")
    pi.hub.jobs.append(job("true"))
    pi.svc("start")
    until("the unit is dead", lambda: pi.unit("ActiveState") == "inactive")
    assert pi.hub.reports["7"]["conclusion"] == "success"
    assert (pi.unit("Result"), pi.unit("NRestarts")) == ("success", "0")
    assert ".runner" not in pi.on(f"ls --almost-all {ROOT_FOLDER}").split()


def test_a_removed_registration_ends_the_unit(pi: Device) -> None:
    pi.configure()
    pi.svc("install", "pi")
    pi.hub.agents.clear()
    pi.svc("start")
    until("the unit is dead", lambda: pi.unit("ActiveState") == "inactive")
    journal = pi.on(f"journalctl --sync; journalctl --output=cat --unit={UNIT}")
    assert "has been deleted from the server" in journal
