"""The server's page in a real browser, with a test pattern for a camera."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.browser.chromium import (
    DESKTOP,
    PHONE,
    count_pictures,
    open_page,
    picture,
    wait_until_it_moves,
    wait_until_live,
)
from tests.browser.conftest import RestrictedServer, Server
from tests.browser.sites import behind_a_path


def test_the_picture_moves(server_url: str) -> None:
    with open_page(server_url) as page:
        wait_until_live(page)
        wait_until_it_moves(page)


def test_the_browser_shows_as_many_pictures_a_second_as_the_camera_gives(server_url: str) -> None:
    with open_page(server_url) as page:
        wait_until_live(page)
        seconds = 2
        seen = count_pictures(page.locator("img"), seconds)
    # Of 30 a second; on two cores with other work, 29 to 31 were counted.
    assert seen >= 20 * seconds


def test_the_picture_is_not_blank(server_url: str) -> None:
    with open_page(server_url) as page:
        wait_until_live(page)
        # The test pattern has colour bars: a blank or broken picture has one colour.
        colours = picture(page).resize((64, 48)).getcolors(64 * 48)
    assert colours is not None
    assert len(colours) > 8


@pytest.mark.parametrize(("name", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_the_page_fits_its_window(
    server_url: str, screenshots: Path, name: str, size: ViewportSize
) -> None:
    with open_page(server_url, size) as page:
        wait_until_live(page)
        page.screenshot(path=screenshots / f"page-{name}.png")
        width = page.evaluate("document.documentElement.scrollWidth")
        box = page.locator("img").first.bounding_box()
    assert width <= size["width"]
    assert box is not None
    assert box["width"] > 0.8 * min(size["width"], 640)


def test_the_picture_has_a_text_and_the_state_is_announced(server_url: str) -> None:
    with open_page(server_url) as page:
        assert page.locator("img").first.get_attribute("alt")
        assert page.locator("[aria-live]").count() == 1
        assert page.title()


@pytest.mark.parametrize("noticed", [True, False])
def test_the_picture_moves_again_after_the_server_was_away(server: Server, noticed: bool) -> None:
    with open_page(server.url) as page:
        wait_until_live(page)
        wait_until_it_moves(page)
        page.evaluate("window.neverReloaded = true")
        server.stop()
        if noticed:
            expect(page.locator("[aria-live]")).to_have_text("server unreachable")
        server.start()
        wait_until_it_moves(page, tries=100)
        assert page.evaluate("window.neverReloaded")


# A process that hangs is found out by its silence, one that is dead by its end.
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSTOP])
def test_the_page_says_that_the_camera_is_lost_and_shows_it_again(
    server: Server, way: signal.Signals
) -> None:
    with open_page(server.url) as page:
        wait_until_live(page)
        page.evaluate("window.neverReloaded = true")
        # A test pattern comes back faster than the page asks. So it is lost again and again until
        # the page says so; each retry waits longer than the one before.
        state = page.locator("[aria-live]")
        for _turn in range(100):
            camera = server.cameras()[0]
            if camera["state"] == "live":
                with suppress(ProcessLookupError):
                    os.kill(camera["pid"], way)
            page.wait_for_timeout(100)
            if (text := state.text_content() or "").startswith("no camera: "):
                break
        else:
            raise AssertionError(f"the page says {text!r}")
        assert state.get_attribute("data-state") == "lost"
        wait_until_live(page, timeout=20)
        wait_until_it_moves(page)
        assert page.evaluate("window.neverReloaded")


def test_the_picture_moves_behind_a_path(server: Server) -> None:
    with behind_a_path(server.url) as url, open_page(url) as page:
        wait_until_live(page)
        wait_until_it_moves(page)
        page.get_by_role("link", name="Snapshot").click(no_wait_after=True)
        expect(page).to_have_url(url + "cameras/camera/snapshot")


def test_a_user_signs_in_and_out_behind_a_path(restricted: RestrictedServer) -> None:
    with behind_a_path(restricted.url) as url, open_page(url) as page:
        expect(page).to_have_url(url + "sign-in")
        page.get_by_label("User name").fill("anna")
        page.get_by_label("Password").fill(restricted.password)
        page.get_by_role("button", name="Sign in", exact=True).click(no_wait_after=True)
        expect(page).to_have_url(url)
        wait_until_live(page)
        wait_until_it_moves(page)
        page.get_by_role("button", name="Sign out").click(no_wait_after=True)
        expect(page).to_have_url(url + "sign-in")
