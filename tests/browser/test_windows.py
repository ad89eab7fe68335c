"""Several windows of one browser: they share the connections that it opens to a server."""

from __future__ import annotations

import re
from contextlib import closing

import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect, sync_playwright

from tests.browser.chromium import (
    count_pictures,
    count_pictures_of_all,
    launch,
    open_page,
    wait_until,
    wait_until_live,
)
from tests.browser.conftest import Server

MOST_STREAMS = 4
ONE_A_SECOND = "live, one picture a second: this browser already shows 4 streams"


def open_beside(page: Page, count: int) -> list[Page]:
    """Open the page again, in so many windows of the same browser. To all of them it is shown."""
    others = [page.context.new_page() for _turn in range(count)]
    for other in others:
        other.goto(page.url, wait_until="commit")
    return others


def wait_for_states(pages: list[Page], streams: int) -> None:
    """Wait until the first so many pages show streams, and the others snapshots; all say so."""
    for place, page in enumerate(pages):
        text = "live" if place < streams else ONE_A_SECOND
        expect(page.locator("[aria-live]")).to_have_text(text, timeout=15_000)


def test_seven_windows_all_show_pictures_that_move(server: Server) -> None:
    with open_page(server.url) as first:
        wait_until_live(first)
        pages = [first, *open_beside(first, 6)]
        wait_for_states(pages, MOST_STREAMS)
        wait_until(lambda: server.viewers() == MOST_STREAMS, "as many viewers as streams")
        counts = count_pictures_of_all([page.locator("img") for page in pages], 3)
        assert min(counts) >= 2, counts
        assert server.viewers() == MOST_STREAMS

        # The oldest goes, the fifth takes its place; then three more, and there is room for all.
        pages.pop(0).close()
        # It says so when it goes; nobody has to wait for its silence.
        stream = re.compile("^cameras/camera/video")
        expect(pages[3].locator("img")).to_have_attribute("src", stream, timeout=2500)
        wait_for_states(pages, MOST_STREAMS)
        for page in pages[1:4]:
            page.close()
        pages = [pages[0], *pages[4:]]
        wait_for_states(pages, len(pages))
        wait_until(lambda: server.viewers() == len(pages), "a stream for each window")
        assert count_pictures(pages[-1].locator("img"), 1) > 10


def test_a_window_that_falls_silent_gives_its_place_away(server: Server) -> None:
    with open_page(server.url) as page:
        wait_until_live(page)
        # An older page with four cameras, which is never heard again.
        page.evaluate(
            "new BroadcastChannel('camera-server').postMessage({ page: '0', wants: 4 })",
        )
        wait_until(lambda: server.viewers() == 0, "the stream ends")
        expect(page.locator("[aria-live]")).to_have_text(ONE_A_SECOND)
        assert count_pictures(page.locator("img"), 2) >= 2
        wait_until(lambda: server.viewers() == 1, "a stream again")
        expect(page.locator("[aria-live]")).to_have_text("live")


def test_a_lost_camera_is_not_shown_by_its_last_snapshot(server: Server) -> None:
    with open_page(server.url) as page:
        wait_until_live(page)
        page.evaluate("""
          const others = new BroadcastChannel("camera-server");
          setInterval(() => others.postMessage({ page: "0", wants: 4 }), 100);
        """)
        state = page.locator("[aria-live]")
        expect(state).to_have_text(ONE_A_SECOND)
        wait_until_live(page)
        # A state as the server would tell it: the camera does not come back by itself.
        page.route(
            re.compile("/cameras$"),
            lambda route: route.fulfill(
                json={"cameras": [server.cameras()[0] | {"state": "lost", "reason": "gone"}]}
            ),
        )
        expect(state).to_have_text("no camera: gone")
        width = "image => image.naturalWidth"
        wait_until(lambda: page.locator("img").evaluate(width) == 1, "an empty picture")
        page.unroute(re.compile("/cameras$"))
        wait_until_live(page)
        assert count_pictures(page.locator("img"), 3) >= 2


def open_tab_behind_another(browser: Browser, server: Server) -> tuple[CDPSession, str]:
    """Open the page in a tab, and once it shows the picture another tab before it."""
    session = browser.new_browser_cdp_session()
    tab = session.send("Target.createTarget", {"url": server.url})["targetId"]
    wait_until(lambda: server.viewers() == 1, "the picture is shown")
    session.send("Target.createTarget", {"url": "about:blank"})
    return session, tab


def test_a_hidden_tab_gives_its_stream_back(server: Server) -> None:
    """Playwright has all its pages believe that they are shown. So these are none of its own."""
    with sync_playwright() as playwright, launch(playwright) as browser:
        session, tab = open_tab_behind_another(browser, server)
        wait_until(lambda: server.viewers() == 0, "another tab is shown instead")
        session.send("Target.activateTarget", {"targetId": tab})
        wait_until(lambda: server.viewers() == 1, "the picture is shown again")


def test_a_glance_at_another_tab_does_not_end_the_stream(server: Server) -> None:
    with sync_playwright() as playwright, launch(playwright) as browser:
        session, tab = open_tab_behind_another(browser, server)
        session.send("Target.activateTarget", {"targetId": tab})
        with pytest.raises(AssertionError, match="a stream less"):
            wait_until(lambda: server.viewers() == 0, "a stream less", timeout=5)


def test_hidden_tabs_leave_the_streams_to_those_that_are_shown(server: Server) -> None:
    with sync_playwright() as playwright, launch(playwright) as browser:
        session = browser.new_browser_cdp_session()
        for _turn in range(MOST_STREAMS + 1):
            session.send("Target.createTarget", {"url": server.url})
        # Each is hidden by the next one.
        wait_until(lambda: server.viewers() == 1, "the last tab's stream only")
        first = server.cameras()[0]["frames"]
        wait_until(lambda: server.cameras()[0]["frames"] > first, "frames")


def test_a_window_beyond_the_server_s_bound_shows_snapshots_until_there_is_room() -> None:
    server = Server(MAX_VIEWERS="1")
    try:
        server.start()
        with closing(server.watch()) as viewer, open_page(server.url) as page:
            full = "live, one picture a second: as many watch as may"
            expect(page.locator("[aria-live]")).to_have_text(full, timeout=15_000)
            (count,) = count_pictures_of_all([page.locator("img")], 3)
            assert count >= 2
            viewer.close()
            expect(page.locator("[aria-live]")).to_have_text("live", timeout=15_000)
            wait_until(lambda: server.viewers() == 1, "the page's stream")
    finally:
        server.stop()
