"""A device that starts: the last good image at once, whatever there is of a network."""

from __future__ import annotations

import time

from tests.conftest import DarkTimes, eventually
from tests.docker_boot.conftest import Watching
from tests.docker_boot.pi import FIRST, SERVICE, Pi
from tests.lab.registry import Registry
from tests.lab.variants import width

# Over what `docker run` of the same image takes by hand (s).
BOOT_SECONDS = 10
# How a device waits for a network that does not come: as the distribution's own units for that do.
WAITS = """\
[Unit]
Before=network-online.target
[Service]
Type=oneshot
ExecStart=/bin/sleep 40
[Install]
WantedBy=network-online.target
"""


def _frame(pi: Pi, seconds: float = 90) -> float:
    """Return how long it takes until there is a live frame (s)."""
    began = time.monotonic()
    while True:
        try:
            with pi.viewer() as viewer:
                viewer.first()
            return time.monotonic() - began
        except (OSError, StopIteration, AssertionError, ValueError):
            assert time.monotonic() - began < seconds, f"no frame within {seconds:.0f} s"
            time.sleep(0.05)


def _by_hand(pi: Pi) -> float:
    """Return how long `docker run` of the same image takes to the first frame (s)."""
    image = pi.current()
    pi.run(f"systemctl stop {SERVICE}")
    began = time.monotonic()
    pi.run(f"docker run --detach --init --name by-hand --publish 8080:8080 {image}")
    try:
        _frame(pi)
        return time.monotonic() - began
    finally:
        pi.run("docker rm --force by-hand")


def test_the_newest_image_after_a_reboot(pi: Pi, watching: Watching) -> None:
    wanted = pi.push("good-2")
    with watching("device killed; a newer image at its boot", "good-2", None) as watcher:
        pi.kill()
        pi.boot()
        watcher.wait_for(width("good-2"), 120)
        eventually("it is kept", lambda: pi.current() == wanted)
    # What it had came first.
    assert watcher.widths == [width(FIRST), width("good-2")]


def test_no_registry_and_no_network_at_boot(pi: Pi, hub: Registry, dark_times: DarkTimes) -> None:
    by_hand = _by_hand(pi)
    unit = "/etc/systemd/system/waits-for-a-network.service"
    pi.run(f"cat > {unit} && systemctl enable --quiet {unit}", stdin=WAITS)
    try:
        with hub.unreachable():
            pi.kill()
            began = time.monotonic()
            pi.switch_on()
            _frame(pi)
            seconds = time.monotonic() - began
            waits = pi.run("systemctl is-active network-online.target || :").strip()
            assert waits == "inactive", "it streams while others still wait for a network"
        dark_times["`docker run` of the same image by hand"] = by_hand, None
        dark_times["device start without a network"] = seconds, by_hand + BOOT_SECONDS
    finally:
        pi.run(f"systemctl disable --quiet {unit}; rm {unit}")
        pi.boot()


def test_a_device_that_is_killed_in_mid_pull(pi: Pi, hub: Registry, watching: Watching) -> None:
    wanted = pi.push("big-13")
    with watching("device killed in mid-pull", "big", None):
        with hub.slow():
            pi.begin_update()
            eventually("it is fetched", lambda: "is fetched" in pi.last_words())
            time.sleep(3)
            pi.kill()
        pi.boot()
        eventually("it streams", lambda: pi.streams(FIRST) or pi.streams("big"))
        eventually("it is up to date", lambda: pi.current() == wanted, 120)


def test_a_device_that_is_killed_in_mid_switch(pi: Pi, watching: Watching) -> None:
    good = pi.current()
    bad = pi.push("hangs")
    with watching("device killed in mid-switch", at_most=None):
        pi.begin_update()
        eventually("it is tried", lambda: pi.tries(bad))
        pi.kill()
        pi.boot()
        eventually("it streams", lambda: pi.streams(FIRST))
        assert pi.state()["running"]["reference"] == good
        # The update after the boot tries it for as long as it may, and then knows.
        eventually("it is rejected", lambda: bool(pi.state()["rejected"]), 120)
        eventually("the update ends", lambda: not pi.updating())
    assert pi.container(".State.Running")
