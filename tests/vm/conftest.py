"""A virtual machine that was bootstrapped once; each test gets it booted anew, as it was then.

Tests of containers have a machine of their own, see containers.py.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.lab import collection, vm
from tests.lab import device as lab
from tests.lab.console import BIN, CACHE, HEARTBEAT_SECONDS, collections, environment, heading, say
from tests.play import Play
from tests.viewer import Part, Viewer

GROUP = "vm-check"
NAME = "vm-1"
BOOTSTRAPPED = "bootstrapped"
# Emulated, a camera takes a minute to its first frame.
PATIENCE = 240.0
PAYLOAD = collections(GROUP) / "ansible_collections/rpi_camera/fleet/files/server/src/camera_server"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what `make vm-check VM=…` can ask for."""
    words = "write what is seen into the documentation, in place of comparing the two"
    parser.addoption("--write-table", action="store_true", help=words)


@pytest.fixture
def write_table(pytestconfig: pytest.Config) -> bool:
    """Whether the documentation's table is to be written."""
    return bool(pytestconfig.getoption("write_table"))


_seconds: dict[str, float] = {}
_failed: set[str] = set()


def pytest_runtest_logstart(nodeid: str) -> None:
    """Print a heading for each test."""
    heading(_title(nodeid))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how long a test took, with what it needed."""
    title = _title(report.nodeid)
    _seconds[title] = _seconds.get(title, 0.0) + report.duration
    if report.failed:
        _failed.add(title)


def pytest_terminal_summary() -> None:
    """Print what each test has shown, and the time it took."""
    heading("Summary")
    for title, seconds in _seconds.items():
        say(f"   {'FAILED' if title in _failed else 'passed'} {seconds:5.0f} s  {title}")
    say(f"   {sum(_seconds.values()) / 60:.0f} minutes in all")


def _title(nodeid: str) -> str:
    """Return a test's name as a sentence."""
    return nodeid.partition("::test_")[2].replace("_", " ")


@dataclass(frozen=True)
class Run(Play):
    """One run of Ansible against the machine, and its time (s)."""

    seconds: float


@dataclass
class Ansible:
    """Ansible at work on the machine, with its output in a log."""

    title: str
    arguments: tuple[str, ...]
    group: str = GROUP
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._log = CACHE / "log" / f"{self.group}-ansible.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        inventory = lab.folder(self.group) / "inventory.yml"
        with self._log.open("wb") as sink:
            self._process = subprocess.Popen(
                [str(BIN / self.arguments[0]), *self.arguments[1:], "--inventory", str(inventory)],
                # Emulated, each connection to the machine takes seconds.
                env=environment(self.group) | {"ANSIBLE_TIMEOUT": "120"},
                cwd=CACHE,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def wait(self) -> Run:
        """Wait for its end, and tell from time to time where it is."""
        while True:
            try:
                code = self._process.wait(HEARTBEAT_SECONDS)
                break
            except subprocess.TimeoutExpired:
                tasks = re.findall(r"^TASK \[(.*)\]", self._log.read_text(), re.MULTILINE)
                say(f"   {self.title}: {self._seconds():.0f} s so far, {(tasks or ['begins'])[-1]}")
        run = Run(code == 0, self._log.read_text(), self._seconds())
        say(f"   {self.title}: {'green' if run.went_well else 'RED'} after {run.seconds:.0f} s")
        return run

    def stop(self) -> None:
        """End it, if it has not ended yet."""
        self._process.kill()
        self._process.wait()

    def _seconds(self) -> float:
        return time.monotonic() - self._began


def eventually(
    what: str,
    condition: Callable[[], bool],
    during: Ansible | None = None,
    patience: float = PATIENCE,
) -> None:
    """Wait for a condition, and fail when it does not come.

    Args:
        what: what is waited for, in words.
        condition: is asked again and again.
        during: a run that has to go on until then, and that bounds the waiting.
        patience: how long to wait without one (s).
    """
    began = told = time.monotonic()
    while not condition():
        now = time.monotonic()
        if during:
            assert during.running(), f"over before {what}\n{during.wait().output}"
        else:
            assert now - began < patience, f"not within {patience:.0f} s: {what}"
        if now - told > HEARTBEAT_SECONDS:
            told = now
            say(f"   waiting until {what}: {now - began:.0f} s so far")
        time.sleep(0.5)


def begin_bootstrap(title: str = "bootstrap", **variables: object) -> Ansible:
    """Begin a run of bootstrap with extra variables."""
    playbook = ("ansible-playbook", "rpi_camera.fleet.bootstrap")
    return Ansible(title, (*playbook, "--extra-vars", json.dumps(variables)))


def bootstrap(title: str = "bootstrap", **variables: object) -> Run:
    """Run bootstrap with extra variables, to its end."""
    return begin_bootstrap(title, **variables).wait()


@contextmanager
def another_release() -> Iterator[None]:
    """Have the installed collection carry another release of the server while the block runs."""
    source = PAYLOAD / "__init__.py"
    text = source.read_text()
    source.write_text(f"{text}\n# Another release.\n")
    try:
        yield
    finally:
        source.write_text(text)


@dataclass(frozen=True)
class Device:
    """The bootstrapped virtual machine, as tests reach it."""

    machine: vm.Machine

    def run(self, *command: str) -> str:
        """Run a command on it as root and return its standard output."""
        return self.machine.run(*command)

    def viewer(self) -> Viewer:
        """Connect to its stream."""
        return Viewer(f"http://127.0.0.1:{self.machine.server_port}/video", timeout=60)

    def first_frame(self) -> Part:
        """Return a frame of the camera, seen from outside, as soon as there is one."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with self.viewer() as viewer:
                    return viewer.first()
            except (OSError, http.client.HTTPException, StopIteration) as error:
                # QEMU answers for a port that nobody listens on yet, and hangs up.
                if time.monotonic() > deadline:
                    log = self.run("journalctl", "--unit=camera-server", "--lines=20", "--no-pager")
                    raise AssertionError(
                        f"no frame within {PATIENCE:.0f} s: {error}\n{log}"
                    ) from error
                time.sleep(0.5)

    def unit(self, name: str) -> str:
        """Return a property of the server's unit."""
        show = ("systemctl", "show", "--value", f"--property={name}", "camera-server")
        return self.run(*show).strip()


@dataclass(frozen=True)
class FirstDay:
    """What was seen when a bare machine was bootstrapped twice."""

    machine: vm.Machine
    runs: tuple[Run, Run]
    frame: Part
    figures: dict[str, str]


@pytest.fixture(scope="session")
def first_day() -> Iterator[FirstDay]:
    """Bootstrap a bare machine twice, look at its stream, and save its disk."""
    with vm.machine(GROUP, NAME, {"camera_app_access": "open"}) as machine:
        collection.install(GROUP)
        device = Device(machine)
        machine.start()
        runs = bootstrap("first bootstrap"), bootstrap("second bootstrap")
        assert all(run.went_well for run in runs), "\n".join(run.output for run in runs)
        frame = device.first_frame()
        figures = {name: device.unit(name) for name in ("MemoryCurrent", "MemoryPeak")}
        machine.shut_down()
        machine.save(BOOTSTRAPPED)
        yield FirstDay(machine, runs, frame, figures)


@pytest.fixture
def device(first_day: FirstDay) -> Device:
    """Return the machine, booted, as it was after its first day."""
    first_day.machine.go_back(BOOTSTRAPPED)
    first_day.machine.start()
    return Device(first_day.machine)
