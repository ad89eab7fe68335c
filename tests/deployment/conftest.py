"""A Pi, and a hub with the image that it may run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docker_boot.pi import DEVICES, Pi
from tests.lab import collection
from tests.lab import device as lab
from tests.lab.engine import lease

GROUP = "deployment"


@pytest.fixture(scope="session")
def the_pi() -> Iterator[Pi]:
    """Yield the Pi; no role has been applied to it."""
    with lease():
        lab.down(GROUP)
        collection.install(GROUP)
        lab.up(GROUP, list(DEVICES), {})
        try:
            pi = Pi(GROUP)
            pi.prepare()
            yield pi
        finally:
            lab.down(GROUP)
