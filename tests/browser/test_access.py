"""Signing in and out, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser.chromium import (
    DESKTOP,
    LAN_HOST,
    PHONE,
    open_page,
    wait_until_it_moves,
    wait_until_live,
)
from tests.browser.conftest import RestrictedServer
from tests.browser.sites import other_site


def sign_in(page: Page, password: str) -> None:
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click(no_wait_after=True)


# On a LAN, browsers say less of where a form comes from than they do for 127.0.0.1.
@pytest.mark.parametrize("host", ["127.0.0.1", LAN_HOST])
def test_a_user_signs_in_sees_the_picture_move_and_signs_out(
    restricted: RestrictedServer, screenshots: Path, host: str
) -> None:
    url = restricted.url.replace("127.0.0.1", host)
    with open_page(url) as page:
        expect(page).to_have_url(url + "sign-in")
        page.screenshot(path=screenshots / "sign-in.png")
        sign_in(page, restricted.password)
        expect(page).to_have_url(url)
        wait_until_live(page)
        wait_until_it_moves(page)
        page.get_by_role("button", name="Sign out").click(no_wait_after=True)
        expect(page).to_have_url(url + "sign-in")
        page.goto(url, wait_until="commit")
        expect(page).to_have_url(url + "sign-in")


def test_a_wrong_password_shows_the_error(restricted: RestrictedServer) -> None:
    with open_page(restricted.url) as page:
        sign_in(page, restricted.password + "x")
        expect(page.get_by_role("alert")).to_have_text("Wrong user name or password.")
        expect(page.get_by_label("User name")).to_have_value("anna")
        expect(page.get_by_label("Password")).to_have_value("")
        sign_in(page, restricted.password)
        expect(page).to_have_url(restricted.url)


@pytest.mark.parametrize("host", ["127.0.0.1", LAN_HOST])
def test_a_link_with_a_token_ends_at_the_page_without_it(
    restricted: RestrictedServer, host: str
) -> None:
    url = restricted.url.replace("127.0.0.1", host)
    with open_page(f"{url}?token={restricted.token}") as page:
        expect(page).to_have_url(url)
        wait_until_live(page)
        wait_until_it_moves(page)


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_token_is_pasted_without_javascript(
    restricted: RestrictedServer, size: ViewportSize
) -> None:
    with open_page(restricted.url, size, script=False) as page:
        box = page.locator("main").bounding_box()
        assert box is not None
        assert box["width"] <= size["width"]
        page.get_by_text("With a token instead").click()
        page.get_by_label("Token").fill(restricted.token)
        page.get_by_role("button", name="Sign in with the token").click(no_wait_after=True)
        expect(page).to_have_url(restricted.url)
        wait_until_it_moves(page)


@pytest.fixture
def elsewhere(restricted: RestrictedServer) -> Iterator[str]:
    """Yield the address of another site's page, with the camera's picture in it."""
    picture = f"{restricted.url.replace('127.0.0.1', LAN_HOST)}video?token={restricted.token}"
    with other_site(f'<img src="{picture}" width="640" height="480">') as address:
        yield address


def test_a_picture_embedded_elsewhere_needs_only_the_token(elsewhere: str) -> None:
    with open_page(elsewhere) as page:
        wait_until_it_moves(page, tries=100)


def test_the_page_asks_to_sign_in_once_the_password_has_changed(
    restricted: RestrictedServer,
) -> None:
    with open_page(restricted.url) as page:
        sign_in(page, restricted.password)
        wait_until_live(page)
        restricted.stop()
        restricted.change("another " + restricted.password)
        restricted.start()
        expect(page).to_have_url(restricted.url + "sign-in", timeout=15_000)
