"""The Pi and the double of GitHub that the command line names by their group."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.github_runner.pi import Pi


@pytest.fixture(scope="session")
def the_pi(pytestconfig: pytest.Config) -> Pi:
    """Return the Pi, as molecule/github_runner makes it or a test has left it."""
    return Pi(str(pytestconfig.getoption("group")))


@pytest.fixture
def pi(the_pi: Pi) -> Iterator[Pi]:
    """Yield the Pi as a runner that listens as the scenario has it, whatever was before.

    The double has heard and said nothing that GitHub's description does not allow.
    """
    the_pi.github.clear_faults()
    run = the_pi.apply()
    assert run.went_well, run.output
    yield the_pi
    the_pi.github.clear_faults()
    assert the_pi.github.violations() == []
