"""The release before, on which the role has found no engine: Debian's own of it, an older one."""

from __future__ import annotations

import pytest

from tests.conftest import eventually
from tests.docker_boot.pi import FIRST, OLD, SERVICE, USE, Pi
from tests.lab.variants import LAST_WORDS, width
from tests.viewer import Viewer

PATIENCE = 60.0


@pytest.fixture
def old(pytestconfig: pytest.Config) -> Pi:
    """Return the device with the first image running as the scenario has it."""
    device = Pi(str(pytestconfig.getoption("group")), OLD)
    device.run_first()
    return device


def test_it_is_an_older_engine_and_systemd(old: Pi) -> None:
    """Otherwise the rest of this file shows nothing."""
    assert old.run("docker version --format '{{.Server.APIVersion}}'").strip() == "1.41"
    assert old.run("systemctl --version").startswith("systemd 252 ")


def test_a_newer_image_is_kept_and_one_that_ends_is_not(old: Pi) -> None:
    good = old.push("good-2")
    with old.watcher() as watcher:
        update = old.update()
        assert update.went_well, update.said
        watcher.wait_for(width("good-2"), PATIENCE)
        assert old.state()["last_switch"]["result"] == "kept"
        assert old.current() == good

        bad = old.push("exits")
        assert not old.update().went_well
        eventually("it streams again", lambda: old.streams("good-2"))
    assert watcher.widths == [width(FIRST), width("good-2")]
    state = old.state()
    assert state["running"]["reference"] == state["current"]["reference"] == good
    (rejected,) = state["rejected"]
    assert rejected["reference"] == bad
    assert LAST_WORDS in rejected["reason"]


def test_after_a_reboot_it_streams_without_a_registry(old: Pi) -> None:
    with old.hub.stopped():
        old.kill()
        old.boot()
        eventually("it streams", lambda: old.streams(FIRST))
    assert old.update().went_well


def test_the_engine_is_all_that_stays(old: Pi) -> None:
    engine = old.run("systemctl show --value --property=MainPID docker").strip()
    play = old.apply(docker_boot_state="absent")
    assert play.went_well, play.output
    with pytest.raises(OSError, match="refused"), Viewer(old.url()):
        pass
    assert old.run("systemctl show --value --property=MainPID docker").strip() == engine != "0"
    assert old.run("docker ps --all --quiet; docker images --quiet") == ""
    left = (
        "ls -d /etc/systemd/system/docker-boot* /etc/rpi_camera /opt/rpi_camera"
        f" /var/lib/rpi_camera /run/rpi_camera/docker_boot/{USE} 2>/dev/null || :"
    )
    assert old.run(left) == ""
    assert old.run(f"systemctl show --value --property=LoadState {SERVICE}").strip() == "not-found"
