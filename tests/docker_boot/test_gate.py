"""A new image is kept only if it is well; otherwise the old one runs again."""

from __future__ import annotations

import json
import time

import pytest

from tests.conftest import SWITCH, eventually
from tests.docker_boot.conftest import Watching
from tests.docker_boot.pi import FIRST, SERVICE, UPDATE, USE, VARIABLES, Pi
from tests.lab.registry import Registry
from tests.lab.variants import LAST_WORDS

WINDOW = VARIABLES["docker_boot_health_window"]


def test_an_image_that_ends_at_once_is_rejected_and_not_fetched_again(
    pi: Pi, hub: Registry, watching: Watching
) -> None:
    good = pi.current()
    bad = pi.push("exits")
    with watching("an image that ends at once"):
        assert not pi.update().went_well
    state = pi.state()
    assert state["running"]["reference"] == state["current"]["reference"] == good
    assert state["last_check"]["result"] == "rolled_back"
    assert state["last_switch"]["result"] == "rolled_back"
    assert state["last_switch"]["dark_seconds"] > 0
    (rejected,) = state["rejected"]
    assert rejected["reference"] == bad
    assert "status 3" in rejected["reason"]
    assert LAST_WORDS in rejected["reason"]
    assert pi.run(f"systemctl is-failed {UPDATE}").strip() == "failed"

    cursor = hub.cursor()
    with watching("the same image once more"):
        assert not pi.update().went_well
    assert pi.state()["last_check"]["result"] == "rejected"
    assert not [line for line in hub.requests(cursor) if "/blobs/" in line][1:], "only its settings"

    # The tag moves on: what was rejected is forgotten.
    wanted = pi.push("good-2")
    assert pi.update().went_well
    assert pi.state()["rejected"] == []
    assert pi.current() == wanted


def test_an_image_that_never_turns_healthy(pi: Pi, watching: Watching) -> None:
    bad = pi.push("hangs")
    with watching(
        f"an image that never turns healthy (window {WINDOW} s)", at_most=WINDOW + SWITCH
    ):
        assert not pi.update().went_well
    state = pi.state()
    assert state["rejected"][0]["reference"] == bad
    assert f"not well within {WINDOW} s" in state["rejected"][0]["reason"]
    assert state["last_switch"]["dark_seconds"] >= WINDOW
    # It is nowhere any more.
    assert not pi.tries(bad)
    assert bad.rpartition("@")[2] not in pi.run("docker images --digests")


def test_an_image_that_turns_unhealthy_after_the_window(pi: Pi, watching: Watching) -> None:
    pi.push("sickens")
    assert pi.update().went_well
    first = pi.container(".Id")
    cursor = pi.cursor()
    with watching("an image that turns unhealthy later", "sickens", None), pi.sick():
        eventually("it is started anew", lambda: pi.container(".Id") not in (None, first))
    assert "unhealthy" in "\n".join(pi.journal(cursor))


def test_an_image_that_stays_unhealthy_gives_the_one_before_it_a_turn(
    pi: Pi, watching: Watching
) -> None:
    before = pi.current()
    sick = pi.push("sickens")
    assert pi.update().went_well
    with watching("an image that stays unhealthy", at_most=None), pi.sick():
        eventually(
            "the one before it runs",
            lambda: (pi.state()["running"] or {}).get("reference") == before,
            180,
        )
    # It is no worse than before: nothing was rejected, and the state says what runs.
    assert pi.current() == sick
    assert not pi.update().went_well
    assert "does not stay well" in pi.state()["last_check"]["reason"]
    pi.run(f"systemctl restart {SERVICE}")
    eventually("it has its turn again", lambda: pi.streams("sickens"))


@pytest.mark.parametrize("how", ["kill --signal=KILL", "restart"])
def test_an_engine_that_is_ended_in_mid_switch(pi: Pi, watching: Watching, how: str) -> None:
    bad = pi.push("hangs")
    with watching(f"engine ended in mid-switch: {how}", at_most=None):
        pi.begin_update()
        eventually("it is tried", lambda: pi.tries(bad))
        pi.run(f"systemctl {how} docker.service")
        eventually("the update ends", lambda: not pi.updating(), 120)
    # It was tried again, and is not blamed for the end of an engine.
    (rejected,) = pi.state()["rejected"]
    assert rejected["reference"] == bad
    assert "not well within" in rejected["reason"]


@pytest.mark.parametrize("how", ["kill --signal=KILL", "stop"])
def test_an_update_that_is_ended_in_mid_switch(pi: Pi, watching: Watching, how: str) -> None:
    bad = pi.push("hangs")
    with watching(f"update ended in mid-switch: {how}", at_most=None):
        pi.begin_update()
        eventually("it is tried", lambda: pi.tries(bad))
        pi.run(f"systemctl {how} {UPDATE}", timeout=20)
        eventually("the update ends", lambda: not pi.updating(), 10)
    assert "broken off" in pi.state()["last_check"]["reason"]
    assert pi.state()["rejected"] == [], "nothing is known of the image"


def test_a_service_that_is_killed_keeps_its_container(pi: Pi, watching: Watching) -> None:
    container = pi.container(".Id")
    with watching("service killed"):
        pi.run(f"systemctl kill --signal=KILL {SERVICE}")
        time.sleep(3)
        eventually(
            "it is back", lambda: pi.run(f"systemctl is-active {SERVICE} || :") == "active\n"
        )
    assert pi.container(".Id") == container


def test_a_container_that_is_removed_by_hand_comes_back(pi: Pi, watching: Watching) -> None:
    with watching("container removed by hand", at_most=None):
        pi.run(f"docker rm --force {USE}")
        time.sleep(1)


def test_an_image_that_does_not_want_to_end(pi: Pi) -> None:
    pi.push("stubborn")
    assert pi.update().went_well
    wanted = pi.push("good-2")
    # It gets docker_boot_stop_seconds, and no more.
    assert pi.update().went_well
    assert pi.current() == wanted


def test_the_last_good_image_is_gone_from_the_disk(pi: Pi) -> None:
    before = pi.current()
    wanted = pi.push("good-2")
    assert pi.update().went_well
    identity = pi.container(".Image")
    pi.run(f"docker rm --force {USE}; docker rmi --force {identity}")
    eventually("the one before it runs", lambda: pi.streams(FIRST))
    assert pi.state()["running"]["reference"] == before
    assert pi.update().went_well
    assert pi.state()["running"]["reference"] == wanted
    assert pi.streams("good-2")


@pytest.mark.parametrize(
    ("how", "urls"),
    [
        ("http", ["http://127.0.0.1:8080/snapshot?max_age=0"]),
        ("mjpeg", ["http://127.0.0.1:8080/video"]),
        ("running", []),
    ],
)
def test_other_ways_to_know_that_it_is_well(
    pi: Pi, watching: Watching, how: str, urls: list[str]
) -> None:
    window = 6
    health = json.loads(pi.configuration())["health"]
    health |= {"type": how, "urls": urls, "window": window}
    with watching(f"a switch, judged by {how}", "unchecked"):
        assert pi.configure(health=health).went_well
        pi.push("unchecked")
        assert pi.update().went_well
        assert pi.state()["last_switch"]["dark_seconds"] < window
    if urls:
        pi.push("hangs")
        case = f"a rollback, judged by {how} (window {window} s)"
        with watching(case, "unchecked", window + SWITCH):
            assert not pi.update().went_well
        reason = pi.state()["rejected"][0]["reason"]
        assert f"not well within {window} s" in reason
        assert "127.0.0.1:8080" in reason


def test_a_configuration_that_does_not_work_is_not_kept(pi: Pi, watching: Watching) -> None:
    before = pi.configuration()
    with watching("a configuration that does not work"):
        play = pi.apply(docker_boot_env={"CAMERA_SERVER_FPS": "many"})
    assert not play.went_well
    assert "CAMERA_SERVER_FPS" in play.output
    assert pi.configuration() == before
    assert pi.run("ls -A /etc/rpi_camera/docker_boot").split() == [f"{USE}.json"]
    assert pi.state()["rejected"] == [], "the image is not to blame"
