"""The Pi and the hub that the command line names by their group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.conftest import SWITCH, DarkTimes, eventually
from tests.docker_boot.pi import FIRST, Pi
from tests.lab.registry import Registry
from tests.lab.variants import width
from tests.viewer import Watcher

PATIENCE = 60.0

Watching = Callable[..., AbstractContextManager[Watcher]]


@pytest.fixture(scope="session")
def the_pi(pytestconfig: pytest.Config) -> Pi:
    """Return the Pi, as molecule/docker_boot makes it or a test has left it."""
    return Pi(str(pytestconfig.getoption("group")))


@pytest.fixture(scope="session")
def configuration(the_pi: Pi) -> str:
    """Return the configuration that the scenario makes, which the first test finds there."""
    if not the_pi.configuration():
        play = the_pi.apply()
        assert play.went_well, play.output
    return the_pi.configuration()


@pytest.fixture
def pi(the_pi: Pi, configuration: str) -> Pi:
    """Return the Pi with the first image running as the scenario has it, whatever was before."""
    # One that is started while another ends is that other one, to systemd.
    eventually("no update is under way", lambda: not the_pi.updating())
    the_pi.run_first(configuration)
    return the_pi


@pytest.fixture
def hub(the_pi: Pi) -> Iterator[Registry]:
    """Yield the registry, and see that it runs when the test has ended."""
    yield the_pi.hub
    the_pi.hub.start()


@pytest.fixture
def watching(the_pi: Pi, dark_times: DarkTimes) -> Watching:
    """Return what watches the stream while a case lasts, and notes its longest dark time."""

    @contextmanager
    def watch(case: str, then: str = FIRST, at_most: float | None = SWITCH) -> Iterator[Watcher]:
        """Watch while a case lasts.

        Args:
            case: what the table calls it.
            then: it has ended when this variant is seen.
            at_most: how long it may be dark (s); None where something died.
        """
        with the_pi.watcher() as watcher:
            yield watcher
            watcher.wait_for(width(then), PATIENCE)
            dark_times[case] = watcher.largest_gap, at_most

    return watch
