"""A real Chromium for the tests: opens a page and takes pictures of it."""

from __future__ import annotations

import io
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageChops
from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

# Without these, Chromium talks to its maker's hosts at every start.
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=390, height=844)


def executable() -> str | None:
    """Return the distribution's Chromium; None means the one that Playwright installs."""
    return shutil.which("chromium")


# A host's name that means this machine. To a browser it is an address like that of a device
# on the LAN: unlike 127.0.0.1, it is not trusted over plain HTTP.
LAN_HOST = "camera.test"


@contextmanager
def open_page(url: str, size: ViewportSize = DESKTOP, script: bool = True) -> Iterator[Page]:
    """Open a page in a new, empty browser profile, with a window of so many pixels.

    ``script``: whether JavaScript is on.
    """
    arguments = [*_ARGUMENTS, f"--host-resolver-rules=MAP {LAN_HOST} 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=arguments)
        try:
            # A context by itself, so that the page may have others beside it.
            page = browser.new_context(viewport=size, java_script_enabled=script).new_page()
            # A page with an endless image never ends loading.
            page.goto(url, wait_until="commit")
            yield page
        finally:
            browser.close()


def picture(page: Page) -> Image.Image:
    """Return what the page's live picture looks like now."""
    return Image.open(io.BytesIO(page.locator("img").first.screenshot())).convert("RGB")


def wait_until_live(page: Page, timeout: float = 15) -> None:
    """Wait (s) until the page says that its picture is live, and one has been decoded."""
    expect(page.locator("[aria-live]")).to_have_text(re.compile("live"), timeout=timeout * 1000)
    deadline = time.monotonic() + timeout
    # wait_for_function would need the page's content security policy to allow eval.
    while page.locator("img").first.evaluate("image => image.naturalWidth") == 0:
        assert time.monotonic() < deadline, f"no picture within {timeout:.0f} s"
        page.wait_for_timeout(50)


def wait_until_it_moves(page: Page, tries: int = 20) -> tuple[Image.Image, Image.Image]:
    """Return two pictures of the page that differ.

    Raises:
        AssertionError: so many pictures, a tenth of a second apart, are all the same.
    """
    before = picture(page)
    for _turn in range(tries):
        page.wait_for_timeout(100)
        after = picture(page)
        if ImageChops.difference(before, after).getbbox():
            return before, after
    raise AssertionError(f"the picture has not moved in {tries} looks")
