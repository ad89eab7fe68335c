"""The page of a server with several cameras."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser.chromium import (
    DESKTOP,
    PHONE,
    count_pictures_of_all,
    open_page,
    wait_until,
    wait_until_it_moves,
)
from tests.browser.conftest import SIX_CAMERAS, Server

MOST_STREAMS = 4


def wait_for_six(page: Page) -> None:
    """Wait until all six cameras are live, four by streams and two by snapshots."""
    states = page.locator("[aria-live]")
    expect(states).to_have_count(len(SIX_CAMERAS))
    for place in range(len(SIX_CAMERAS)):
        text = "live" if place < MOST_STREAMS else "live, one picture a second"
        expect(states.nth(place)).to_contain_text(text, timeout=20_000)


def test_each_camera_has_a_picture_that_moves(six_cameras: Server) -> None:
    with open_page(six_cameras.url) as page:
        wait_for_six(page)
        headings = [f"Camera {name}" for name in SIX_CAMERAS]
        assert page.get_by_role("heading", level=2).all_text_contents() == headings
        assert page.get_by_role("heading", level=1).all_text_contents() == ["Cameras"]
        assert page.title() == "Cameras"
        counts = count_pictures_of_all(page.locator("img").all(), 3)
        assert min(counts) >= 2, counts
        watched = [camera["viewers"] for camera in six_cameras.cameras()]
        assert watched == [1] * MOST_STREAMS + [0] * (len(SIX_CAMERAS) - MOST_STREAMS)
        last = page.get_by_role("link", name="Snapshot").last
        assert last.get_attribute("href") == f"cameras/{SIX_CAMERAS[-1]}/snapshot"


def test_the_first_camera_is_shown_without_javascript(six_cameras: Server) -> None:
    with open_page(six_cameras.url, script=False) as page:
        wait_until(lambda: six_cameras.cameras()[0]["viewers"] == 1, "the first one's viewer")
        expect(page.locator("img")).to_have_count(1)
        box = page.locator("img").bounding_box()
        assert box is not None
        assert box["width"] > 900
        wait_until_it_moves(page)


@pytest.mark.parametrize(
    ("name", "size", "columns"), [("desktop", DESKTOP, 2), ("phone", PHONE, 1)]
)
def test_the_cameras_fit_the_window(
    six_cameras: Server, screenshots: Path, name: str, size: ViewportSize, columns: int
) -> None:
    with open_page(six_cameras.url, size) as page:
        wait_for_six(page)
        page.screenshot(path=screenshots / f"six-cameras-{name}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        boxes = [image.bounding_box() for image in page.locator("img").all()]
    shown = [box for box in boxes if box is not None]
    assert len(shown) == len(SIX_CAMERAS)
    assert len({round(box["x"]) for box in shown}) == columns
    for box in shown:
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size["width"]
        assert box["width"] > 0.8 * size["width"] / columns
        assert box["height"] == pytest.approx(box["width"] * 480 / 640, abs=2)


def test_the_page_follows_a_server_that_comes_back_with_other_cameras(
    six_cameras: Server, config: Path
) -> None:
    six = config.read_text()
    with open_page(six_cameras.url) as page:
        wait_for_six(page)
        page.evaluate("window.neverReloaded = true")
        six_cameras.stop()
        config.write_text('[[camera]]\nname = "new"\nsource = "test-pattern"\n')
        six_cameras.start()
        expect(page.locator("h2")).to_have_text(["Camera new"], timeout=15_000)
        expect(page.locator("[aria-live]")).to_have_text("live", timeout=15_000)
        assert count_pictures_of_all(page.locator("img").all(), 1)[0] > 10
        assert page.title() == "Camera new"
        six_cameras.stop()
        config.write_text(six)
        six_cameras.start()
        wait_for_six(page)
        wait_until(lambda: six_cameras.viewers() == MOST_STREAMS, "four streams")
        assert page.evaluate("window.neverReloaded")
