"""The pages by keyboard, by screen reader, and for eyes that need contrast."""

from __future__ import annotations

from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.chromium import open_page, wait_until_live
from tests.browser.conftest import SIX_CAMERAS, RestrictedServer, Server

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")

# Every text that is shown, with the contrast of its colour to the nearest background behind it:
# https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio. No colour of ours is see-through in part.
CONTRASTS = """
() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = colour => {
    const [red, green, blue] = numbers(colour).map(value => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const background = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    throw new Error("nothing behind it");
  };
  const found = {};
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].filter(node => node.nodeType === Node.TEXT_NODE);
    const text = own.map(node => node.data.trim()).join("");
    if (!text || !element.checkVisibility()) continue;
    const pair = [getComputedStyle(element).color, background(element)].map(luminance).sort();
    found[text] = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  }
  return found;
}
"""

# What is in focus, and whether it is seen to be.
FOCUS = """
() => {
  const style = getComputedStyle(document.activeElement);
  const name = document.activeElement.ariaLabel || document.activeElement.textContent;
  return [name, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
}
"""


def sign_in(page: Page, server: RestrictedServer) -> None:
    page.goto(f"{server.url}?token={server.token}", wait_until="commit")
    expect(page).to_have_url(server.url)
    wait_until_live(page)


def press_tab(page: Page, times: int) -> list[str]:
    """Press Tab so often; return what was in focus each time. Fails if that could not be seen."""
    names = []
    for _turn in range(times):
        page.keyboard.press("Tab")
        name, seen = page.evaluate(FOCUS)
        assert seen, name
        names.append(name)
    return names


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_text_stands_out(server_url: str, scheme: Scheme) -> None:
    with open_page(server_url) as page:
        page.emulate_media(color_scheme=scheme)
        wait_until_live(page)
        for state in ("idle", "starting", "live", "lost", "unreachable"):
            page.locator("[data-state]").evaluate("(line, s) => line.dataset.state = s", state)
            contrasts: dict[str, float] = page.evaluate(CONTRASTS)
            assert {"Camera", "live", "Snapshot"} <= contrasts.keys()
            assert min(contrasts.values()) >= 4.5, (state, contrasts)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_text_of_the_form_stands_out(restricted: RestrictedServer, scheme: Scheme) -> None:
    with open_page(restricted.url) as page:
        page.emulate_media(color_scheme=scheme)
        page.get_by_label("User name").fill("anna")
        page.get_by_label("Password").fill("not her password")
        page.get_by_role("button", name="Sign in", exact=True).click(no_wait_after=True)
        expect(page.get_by_role("alert")).to_be_visible()
        contrasts: dict[str, float] = page.evaluate(CONTRASTS)
        assert {"Sign in", "Wrong user name or password."} <= contrasts.keys()
        assert min(contrasts.values()) >= 4.5, contrasts


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing(restricted_six: RestrictedServer, scheme: Scheme) -> None:
    with open_page(restricted_six.url) as page:
        page.emulate_media(color_scheme=scheme)
        expect(page).to_have_url(restricted_six.url + "sign-in")
        assert violations(page) == []
        sign_in(page, restricted_six)
        expect(page.locator("[aria-live]")).to_have_count(len(SIX_CAMERAS))
        assert violations(page) == []


def test_axe_finds_nothing_with_one_camera(server_url: str) -> None:
    with open_page(server_url) as page:
        wait_until_live(page)
        assert violations(page) == []


def violations(page: Page) -> list[str]:
    """Return what axe-core finds, its best practices too: https://github.com/dequelabs/axe-core."""
    results = Axe().run(page).response["violations"]
    return [f"{found['id']}: {node['html']}" for found in results for node in found["nodes"]]


def test_one_camera_by_keyboard(restricted: RestrictedServer) -> None:
    with open_page(restricted.url) as page:
        sign_in(page, restricted)
        assert press_tab(page, 2) == ["Snapshot of Camera", "Sign out"]
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        expect(page).to_have_url(restricted.url + "cameras/camera/snapshot")
        sign_in(page, restricted)
        press_tab(page, 2)
        page.keyboard.press("Enter")
        expect(page).to_have_url(restricted.url + "sign-in")
        assert page.context.cookies() == []


def test_several_cameras_by_keyboard(restricted_six: RestrictedServer) -> None:
    with open_page(restricted_six.url) as page:
        sign_in(page, restricted_six)
        expect(page.locator("[aria-live]")).to_have_count(len(SIX_CAMERAS))
        links = [f"Snapshot of Camera {name}" for name in SIX_CAMERAS]
        assert press_tab(page, 1) == ["Sign out"]
        # It stays in focus while the page asks for the states and shows them.
        figures = page.locator(".figures").first
        for _turn in range(2):
            figures.evaluate("line => line.textContent = 'before'")
            expect(figures).not_to_have_text("before")
        assert page.evaluate(FOCUS) == ["Sign out", True]
        assert press_tab(page, len(links)) == links
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{restricted_six.url}cameras/{SIX_CAMERAS[-1]}/snapshot")


def test_the_form_by_keyboard(restricted: RestrictedServer) -> None:
    with open_page(restricted.url) as page:
        expect(page).to_have_url(restricted.url + "sign-in")
        page.keyboard.press("Tab")
        page.keyboard.type("anna")
        page.keyboard.press("Tab")
        page.keyboard.type(restricted.password)
        page.keyboard.press("Enter")
        expect(page).to_have_url(restricted.url)


def test_what_a_screen_reader_finds(restricted_six: RestrictedServer) -> None:
    with open_page(restricted_six.url) as page:
        sign_in(page, restricted_six)
        expect(page.locator("[aria-live]")).to_have_count(len(SIX_CAMERAS))
        banner = page.get_by_role("banner")
        expect(banner.get_by_role("heading", level=1, name="Cameras")).to_have_count(1)
        expect(banner.get_by_role("button", name="Sign out")).to_have_count(1)
        main = page.get_by_role("main")
        for name in SIX_CAMERAS:
            region = main.get_by_role("region", name=f"Camera {name}", exact=True)
            expect(region.get_by_role("heading", level=2)).to_have_text(f"Camera {name}")
            expect(region.get_by_role("img", name=f"Picture of Camera {name}")).to_have_count(1)
            expect(region.get_by_role("link", name=f"Snapshot of Camera {name}")).to_have_count(1)
            expect(region.get_by_role("status")).to_have_attribute("aria-live", "polite")
            # In no other live region, and no other in it.
            expect(region.locator("[aria-live], [role=status], [role=alert]")).to_have_count(1)
        expect(page.locator("[aria-live]")).to_have_count(len(SIX_CAMERAS))


def test_a_state_is_announced_once_when_it_changes(server: Server) -> None:
    with open_page(server.url) as page:
        wait_until_live(page)
        page.evaluate("""
          window.announced = [];
          const line = document.querySelector("[aria-live]");
          new MutationObserver(() => announced.push(line.textContent))
            .observe(line, { childList: true, characterData: true, subtree: true });
        """)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        questions = f"{server.url}cameras"
        while asked.count(questions) < 3:
            page.wait_for_timeout(100)
        assert page.evaluate("announced") == []
        server.stop()
        expect(page.locator("[aria-live]")).to_have_text("server unreachable")
        asked.clear()
        while asked.count(questions) < 3:
            page.wait_for_timeout(100)
        assert page.evaluate("announced") == ["server unreachable"]
        server.start()
        expect(page.locator("[aria-live]")).to_have_text("live", timeout=15_000)
        announced = page.evaluate("announced")
        assert announced[0] == "server unreachable"
        assert announced[-1] == "live"
        assert set(announced[1:-1]) <= {"idle", "starting"}
        assert len(announced) == len(set(announced)), announced
