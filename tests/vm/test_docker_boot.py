"""The last good image at boot, after a power cut or with a wrong clock; then the newer one."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.docker_boot.pi import FIRST
from tests.vm.virtual_pi import STREAMING, VirtualPi, virtual_pi

MEGABYTES = 13
BEHIND = 30 * 86400


@pytest.fixture(scope="module")
def made() -> Iterator[VirtualPi]:
    with virtual_pi() as pi:
        yield pi


@pytest.fixture
def pi(made: VirtualPi) -> VirtualPi:
    """Return the Pi, switched off, as it was when it had its first image."""
    made.machine.go_back(STREAMING)
    made.machine.clock = ""
    made.push(FIRST)
    return made


def test_a_wrong_clock_at_boot(pi: VirtualPi) -> None:
    good = pi.push(FIRST)
    wanted = pi.push("good-2")
    then = time.gmtime(time.time() - BEHIND)
    pi.machine.clock = time.strftime("%Y-%m-%dT%H:%M:%S", then)
    pi.switch_on()
    pi.wait_for_stream(FIRST)
    waits = "the next try is in"
    pi.wait_until("the update waits", lambda: waits in pi.last_words())
    assert f"the certificate of {pi.hub.name} is not valid now" in pi.last_words()
    # Nobody has set it right meanwhile, and the image runs on.
    assert time.time() - float(pi.run("date +%s")) > BEHIND / 2
    assert pi.current() == good
    assert pi.streams(FIRST)
    pi.run(f"date --set=@{time.time():.0f}")
    pi.wait_for(wanted)
    pi.wait_for_stream("good-2")
    pi.wait_until("the update has ended", lambda: not pi.updating())
    assert pi.state()["last_check"]["result"] == "updated"


def test_a_power_cut_in_mid_pull(pi: VirtualPi) -> None:
    pi.settle()
    good = pi.current()
    wanted = pi.push(f"pair-{MEGABYTES}")
    pi.machine.write_lazily()
    with pi.hub.slow("1mbit"):
        pi.begin_update()
        pi.wait_until("one layer of two is here", lambda: "is here" in pi.last_words())
        pi.kill()
        pi.switch_on()
        pi.wait_for_stream(FIRST)
        assert pi.current() == good
    pi.wait_for(wanted)
    pi.wait_for_stream("pair")
    assert pi.has(1)
    assert pi.has(MEGABYTES)


def test_a_power_cut_in_mid_switch(pi: VirtualPi) -> None:
    pi.settle()
    good = pi.current()
    bad = pi.push("hangs")
    pi.machine.write_lazily()
    pi.begin_update()
    pi.wait_until("it is tried", lambda: pi.tries(bad))
    pi.kill()
    # By the time that power is back, there is a better one.
    wanted = pi.push("good-2")
    with pi.hub.stopped():
        pi.switch_on()
        pi.wait_for_stream(FIRST)
        state = pi.state()
        assert state["running"]["reference"] == state["current"]["reference"] == good
        assert state["rejected"] == []
    pi.wait_for(wanted)
    pi.wait_for_stream("good-2")


def test_a_power_cut_right_after_a_switch(pi: VirtualPi) -> None:
    pi.settle()
    wanted = pi.push(f"big-{MEGABYTES}")
    pi.machine.write_lazily()
    pi.begin_update()
    pi.wait_for(wanted)
    pi.kill()
    with pi.hub.stopped():
        pi.switch_on()
        pi.wait_for_stream("big")
        assert pi.has(MEGABYTES)
        assert pi.state()["running"]["reference"] == wanted
