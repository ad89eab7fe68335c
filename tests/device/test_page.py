"""A bootstrapped device's page in a real browser."""

from __future__ import annotations

from pathlib import Path

from tests.browser.chromium import open_page, wait_until_it_moves, wait_until_live
from tests.device.conftest import Device


def test_the_page_shows_a_picture_that_moves(device: Device, screenshots: Path) -> None:
    with open_page(device.url) as page:
        wait_until_live(page)
        wait_until_it_moves(page)
        page.screenshot(path=screenshots / "device.png")
