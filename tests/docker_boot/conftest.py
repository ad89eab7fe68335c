"""The Pi and the hub that the command line names by their group, and a table of dark times."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.docker_boot.pi import FIRST, Pi
from tests.lab.console import CACHE
from tests.lab.registry import Registry
from tests.lab.variants import width
from tests.viewer import Watcher

# What a viewer saw of each case: how long no live frame came (s). `make bench-boot` judges them.
TABLE = CACHE / "dark-times.json"
# Not to be mistaken for those: no more than that a case has not been dark for good.
PATIENCE = 60.0

Watching = Callable[..., AbstractContextManager[Watcher]]


@pytest.fixture(scope="session")
def the_pi(pytestconfig: pytest.Config) -> Pi:
    """Return the Pi, as molecule/docker_boot has made it or a test has left it."""
    return Pi(str(pytestconfig.getoption("group")))


@pytest.fixture
def pi(the_pi: Pi) -> Pi:
    """Return the Pi with the first image running as the scenario has it, whatever was before."""
    wanted = the_pi.push(FIRST)
    if not the_pi.as_converged() or not the_pi.update().went_well:
        play = the_pi.apply(docker_boot_state="absent")
        assert play.went_well, play.output
        play = the_pi.apply()
        assert play.went_well, play.output
    assert the_pi.state()["current"]["reference"] == wanted
    assert the_pi.width() == width(FIRST)
    return the_pi


@pytest.fixture
def hub(the_pi: Pi) -> Iterator[Registry]:
    """Yield the registry, and see that it runs when the test has ended."""
    yield the_pi.hub
    the_pi.hub.start()


@pytest.fixture(scope="session")
def dark_times() -> Iterator[dict[str, float]]:
    """Yield the table; what is in it at the end is kept."""
    table: dict[str, float] = {}
    yield table
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(json.dumps(table))


@pytest.fixture
def watching(the_pi: Pi, dark_times: dict[str, float]) -> Watching:
    """Return what watches the stream while a case lasts, and notes its longest dark time."""

    @contextmanager
    def watch(case: str, then: str = FIRST) -> Iterator[Watcher]:
        """Watch; a case has ended when the variant `then` is seen."""
        with the_pi.watcher() as watcher:
            yield watcher
            watcher.wait_for(width(then), PATIENCE)
            dark_times[case] = watcher.largest_gap

    return watch


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of this run."""
    if TABLE.exists():
        terminalreporter.section("longest time without a live frame (s)")
        for case, seconds in json.loads(TABLE.read_text()).items():
            terminalreporter.write_line(f"{seconds:6.1f}  {case}")
