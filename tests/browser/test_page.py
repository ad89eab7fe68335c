"""The server's page in a real browser, with a test pattern for a camera."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.browser.chromium import (
    DESKTOP,
    PHONE,
    open_page,
    picture,
    wait_until_it_moves,
    wait_until_live,
)
from tests.browser.conftest import Server


def test_the_picture_moves(server_url: str) -> None:
    with open_page(server_url) as page:
        wait_until_live(page)
        wait_until_it_moves(page)


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
