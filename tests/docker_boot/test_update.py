"""What an update does, and what it does when something is in its way: the stream goes on."""

from __future__ import annotations

import time

import pytest

from tests.conftest import eventually
from tests.docker_boot.conftest import Watching
from tests.docker_boot.pi import FIRST, STATE, TAG, UPDATE, USE, Pi
from tests.lab.registry import Registry
from tests.lab.variants import width


def _foreign(pi: Pi) -> str:
    """Return all containers and images that are not ours, with what they are."""
    return pi.run(
        f"docker ps --all --format '{{{{.ID}}}} {{{{.Names}}}} {{{{.Status}}}}' | grep -v ' {USE}'"
        " | sed 's/Up .*/Up/'; docker images --digests --format"
        " '{{.Repository}}:{{.Tag}} {{.ID}}' | grep neighbour | sort"
    )


def test_a_newer_image_is_taken_up_and_the_state_says_so(pi: Pi, watching: Watching) -> None:
    before = pi.current()
    wanted = pi.push("good-2")
    with watching("a switch", "good-2") as watcher:
        assert pi.update().went_well
        watcher.wait_for(width("good-2"), 10)
    state = pi.state()
    assert state["running"]["reference"] == state["current"]["reference"] == wanted
    assert state["previous"]["reference"] == before
    assert state["last_check"]["result"] == "updated"
    assert state["last_switch"]["result"] == "kept"
    # Its health check is asked every three seconds.
    assert abs(state["last_switch"]["dark_seconds"] - watcher.largest_gap) < 5
    assert pi.run(f"stat --format=%a {STATE}").strip() == "644"


def test_nothing_new_changes_nothing(pi: Pi) -> None:
    container = pi.container(".Id")
    update = pi.update()
    assert update.went_well
    assert pi.state()["last_check"]["result"] == "up_to_date"
    assert pi.container(".Id") == container


def test_a_list_of_architectures_is_known_by_the_list_s_digest(pi: Pi) -> None:
    wanted = pi.push("listed-3")
    assert pi.update().went_well
    assert pi.current() == wanted
    assert pi.streams("listed-3")
    assert pi.update().went_well
    assert pi.state()["last_check"]["result"] == "up_to_date"


def test_only_the_last_two_images_stay_and_what_is_not_ours_is_left_alone(pi: Pi) -> None:
    # The neighbour's image is one of those that we had, too, and one of his containers has it.
    pi.run(
        f"docker tag {pi.image}@$(docker images --digests --format '{{{{.Digest}}}}' {pi.image}"
        " | head -1) neighbour:1"
        " && docker run --detach --name neighbour --entrypoint sleep neighbour:1 infinity"
    )
    try:
        before = _foreign(pi)
        references = []
        for variant in ("good-4", "good-5", "good-6"):
            references.append(pi.push(variant))
            assert pi.update().went_well
        assert _foreign(pi) == before
        kept = pi.run(f"docker images --digests --format '{{{{.Digest}}}}' {pi.image}").split()
        assert sorted(f"{pi.image}@{digest}" for digest in kept) == sorted(references[-2:])
        assert len(pi.run(f"docker images --quiet localhost/docker-boot/{USE}").split()) == 2
        # Somebody tidies up: what we need for the way back has a name, and stays.
        pi.run("docker image prune --force")
        assert pi.run(f"docker images --quiet {pi.image}").split()[1:]
    finally:
        pi.run("docker rm --force neighbour; docker rmi neighbour:1")


def test_two_updates_at_once_make_one_switch(pi: Pi, watching: Watching) -> None:
    wanted = pi.push("good-2")
    cursor = pi.cursor()
    by_hand = (
        f"for n in 1 2 3; do python3 -B /opt/rpi_camera/docker_boot.pyz update {USE} & done; wait"
    )
    with watching("two updates at once", "good-2"):
        pi.begin_update()
        pi.run(by_hand)
        eventually("the update ends", lambda: not pi.updating())
    assert pi.current() == wanted
    started = [line for line in pi.journal(cursor) if line == f"{wanted} runs"]
    assert len(started) == 1


# What is in the way of asking.


def test_a_registry_that_is_gone(pi: Pi, hub: Registry, watching: Watching) -> None:
    pi.push("good-2")
    with watching("registry gone"):
        hub.stop()
        pi.begin_update()
        eventually("it is tried again", lambda: "the next try is in" in pi.last_words())
        # It comes back while the update waits.
        hub.start()
        eventually("the update ends", lambda: not pi.updating())
        assert pi.state()["last_check"]["result"] == "updated"
        pi.push(FIRST)
        assert pi.update().went_well


def test_a_registry_that_accepts_and_never_answers(
    pi: Pi, hub: Registry, watching: Watching
) -> None:
    assert pi.configure(update_window=15).went_well
    with hub.silent(), watching("registry that accepts and never answers"):
        began = time.monotonic()
        update = pi.update()
        # A question to it ends by itself, so the update does.
        assert time.monotonic() - began < 120
    assert not update.went_well
    check = pi.state()["last_check"]
    assert check["result"] == "failed"
    assert hub.name in check["reason"]
    assert pi.run(f"systemctl is-failed {UPDATE}").strip() == "failed"


def test_a_name_that_does_not_resolve(pi: Pi, watching: Watching) -> None:
    pi.push("good-2")
    names = "/etc/resolv.conf"
    # A container's is a mount, which can be written and not replaced.
    before = pi.run(f"cat {names}")
    with watching("a name that does not resolve", "good-2"):
        pi.run(f"echo nameserver 127.0.0.99 > {names}")
        try:
            pi.begin_update()
            eventually("it is tried again", lambda: "the next try is in" in pi.last_words(), 120)
            assert "lookup" in pi.last_words()
        finally:
            pi.run(f"cat > {names}", stdin=before)
        eventually("the update ends", lambda: not pi.updating())
    assert pi.state()["last_check"]["result"] == "updated"


def test_a_certificate_that_is_valid_from_tomorrow(
    pi: Pi, hub: Registry, watching: Watching
) -> None:
    pi.push("good-2")
    with watching("a clock that is behind", "good-2"):
        with hub.valid_from_tomorrow():
            pi.begin_update()
            eventually("it is tried again", lambda: "the next try is in" in pi.last_words())
            assert "is not valid now" in pi.last_words()
        # As if the clock had been set.
        eventually("the update ends", lambda: not pi.updating())
    assert pi.state()["last_check"]["result"] == "updated"


def test_a_revoked_login_is_no_reason_to_wait(pi: Pi, hub: Registry, watching: Watching) -> None:
    pi.push("good-2")
    with hub.revoked(), watching("a revoked login"):
        update = pi.update()
    assert not update.went_well
    assert "the next try" not in update.said
    assert "refuses the login" in pi.state()["last_check"]["reason"]
    assert hub.password not in update.said


def test_a_tag_that_there_is_not(pi: Pi, watching: Watching) -> None:
    with watching("a tag that is gone"):
        pi.variants.remove(TAG)
        update = pi.update()
    assert not update.went_well
    assert "no such image" in pi.state()["last_check"]["reason"]


# What is in the way of fetching.


@pytest.mark.parametrize("variant", ["other-architecture", "others-listed"])
def test_an_image_for_another_architecture_is_not_fetched(
    pi: Pi, watching: Watching, variant: str
) -> None:
    bad = pi.push(variant)
    cursor = pi.hub.cursor()
    with watching("an image for another architecture"):
        update = pi.update()
    assert not update.went_well
    (rejected,) = pi.state()["rejected"]
    assert rejected["reference"] == bad
    assert "s390x" in rejected["reason"]
    config = [request for request in pi.hub.requests(cursor) if "/blobs/" in request]
    assert len(config) <= 1, "no layer was asked for"


def test_a_corrupt_layer(pi: Pi, hub: Registry, watching: Watching) -> None:
    wanted = pi.push("big-12")
    with watching("a corrupt layer"), hub.corrupt(pi.variants.own_layer(TAG)):
        pi.begin_update()
        # The engine itself tries it five times, with growing gaps.
        eventually("it is tried again", lambda: "the next try is in" in pi.last_words(), 180)
        assert "verification failed" in pi.last_words()
    eventually("the update ends", lambda: not pi.updating())
    assert pi.current() == wanted


def test_a_card_with_less_room_than_the_image(pi: Pi, watching: Watching) -> None:
    with pi.small_card(400):
        pi.update()
        eventually("it streams from there", lambda: pi.streams(FIRST))
        pi.push("big-60")
        cursor = pi.hub.cursor()
        with watching("a card with less room than the image"):
            update = pi.update()
        assert not update.went_well
        reason = pi.state()["last_check"]["reason"]
        assert "may need" in reason
        assert "nothing was fetched" in reason
        requests = pi.hub.requests(cursor)
        assert not any(pi.variants.own_layer(TAG) in request for request in requests)
    eventually("it streams again", lambda: pi.streams(FIRST))


def test_an_engine_that_is_killed_in_mid_pull(pi: Pi, hub: Registry, watching: Watching) -> None:
    # Of another size than those before, which may still be there.
    wanted = pi.push("big-11")
    with watching("engine killed in mid-pull", "big", None):
        with hub.slow():
            pi.begin_update()
            eventually("it is fetched", lambda: "is fetched" in pi.last_words())
            time.sleep(3)
            pi.run("systemctl kill --signal=KILL docker.service")
            eventually("it streams again", lambda: pi.streams(FIRST))
        eventually("the update ends", lambda: not pi.updating(), 120)
    assert pi.current() == wanted
