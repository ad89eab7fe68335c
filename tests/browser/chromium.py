"""A real Chromium for the tests: opens a page and takes pictures of it."""

from __future__ import annotations

import io
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image, ImageChops
from playwright.sync_api import (
    Browser,
    Locator,
    Page,
    Playwright,
    ViewportSize,
    expect,
    sync_playwright,
)

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
def launch(playwright: Playwright) -> Iterator[Browser]:
    """Start a browser, and end it."""
    arguments = [*_ARGUMENTS, f"--host-resolver-rules=MAP {LAN_HOST} 127.0.0.1"]
    browser = playwright.chromium.launch(executable_path=executable(), args=arguments)
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def open_page(url: str, size: ViewportSize = DESKTOP, script: bool = True) -> Iterator[Page]:
    """Open a page in a new, empty browser profile, with a window of so many pixels.

    ``script``: whether JavaScript is on.
    """
    with sync_playwright() as playwright, launch(playwright) as browser:
        # A context by itself, so that the page may have others beside it.
        page = browser.new_context(viewport=size, java_script_enabled=script).new_page()
        # A page with an endless image never ends loading.
        page.goto(url, wait_until="commit")
        yield page


def picture(page: Page) -> Image.Image:
    """Return what the page's live picture looks like now."""
    return Image.open(io.BytesIO(page.locator("img").first.screenshot())).convert("RGB")


def wait_until_live(page: Page, timeout: float = 15) -> None:
    """Wait (s) until the page says that its picture is live, and one has been decoded."""
    state = page.locator("[aria-live]").first
    expect(state).to_have_text(re.compile("^live"), timeout=timeout * 1000)
    deadline = time.monotonic() + timeout
    # wait_for_function would need the page's content security policy to allow eval. The empty
    # picture that the page puts in the place of a stream is one pixel wide.
    while page.locator("img").first.evaluate("image => image.naturalWidth") <= 1:
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


# Looks whenever the browser paints, at a quarter of the test pattern's size, which tells one of
# its pictures from the next.
_COUNT_PICTURES = """
(image, seconds) => { image.counted = new Promise(resolve => {
  const canvas = new OffscreenCanvas(160, 120);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const end = performance.now() + seconds * 1000;
  let last;
  let count = 0;
  const look = () => {
    context.drawImage(image, 0, 0, 160, 120);
    const pixels = new Uint32Array(context.getImageData(0, 0, 160, 120).data.buffer);
    const digest = pixels.reduce((sum, pixel) => (sum * 31 + pixel) | 0, 0);
    if (digest !== last) count += 1;
    last = digest;
    if (performance.now() < end) requestAnimationFrame(look);
    else resolve(count);
  };
  look();
}); }
"""


def count_pictures(image: Locator, seconds: float) -> int:
    """Return how many pictures, each unlike the one before, the browser shows in so many seconds.

    One that stands still counts as one.
    """
    return count_pictures_of_all([image], seconds)[0]


def count_pictures_of_all(images: list[Locator], seconds: float) -> list[int]:
    """Return for each of these images what ``count_pictures`` does, of the same seconds."""
    for image in images:
        image.evaluate(_COUNT_PICTURES, seconds)
    return [int(image.evaluate("image => image.counted")) for image in images]


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 15) -> None:
    """Wait (s) for something that happens outside of the page.

    Raises:
        AssertionError: it has not; ``what`` says so.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.1)
