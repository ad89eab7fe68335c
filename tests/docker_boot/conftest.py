"""The Pi and the hub that the command line names by their group."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docker_boot.pi import FIRST, Pi
from tests.lab.registry import Registry
from tests.lab.variants import width


@pytest.fixture(scope="session")
def the_pi(pytestconfig: pytest.Config) -> Pi:
    """Return the Pi, as molecule/docker_boot has made it or a test has left it."""
    return Pi(str(pytestconfig.getoption("group")))


@pytest.fixture
def pi(the_pi: Pi) -> Pi:
    """Return the Pi with the first image running as the scenario has it, whatever was before."""
    the_pi.push(FIRST)
    play = the_pi.apply(docker_boot_state="absent")
    assert play.went_well, play.output
    play = the_pi.apply()
    assert play.went_well, play.output
    assert the_pi.width() == width(FIRST)
    return the_pi


@pytest.fixture
def hub(the_pi: Pi) -> Iterator[Registry]:
    """Yield the registry, and see that it runs when the test has ended."""
    yield the_pi.hub
    the_pi.hub.start()
