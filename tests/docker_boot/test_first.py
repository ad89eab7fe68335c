"""What the scenario has made of the Pi: the image behind the tag streams."""

from __future__ import annotations

from tests.docker_boot.pi import FIRST, Pi
from tests.lab.variants import width


def test_what_is_behind_the_tag_streams_and_the_state_says_so(the_pi: Pi) -> None:
    wanted = the_pi.push(FIRST)
    assert the_pi.width() == width(FIRST)
    state = the_pi.state()
    assert state["running"]["reference"] == wanted
    assert state["current"]["reference"] == wanted
