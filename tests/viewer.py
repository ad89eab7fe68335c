"""A viewer of an MJPEG stream, as the tests use it: reads parts off one HTTP connection.

It shares no code with the collection's own reader, so that neither hides the other's mistakes.
"""

from __future__ import annotations

import http.client
import io
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from PIL import Image


@dataclass(frozen=True)
class Part:
    """One part of the stream: when it had arrived whole (monotonic, s), its state, its JPEG."""

    when: float
    state: str
    jpeg: bytes

    @property
    def live(self) -> bool:
        """Whether the camera gave this frame; if not, the server drew it."""
        return self.state == "live"

    def decode(self) -> Image.Image:
        """Return the picture, decoded to its last line; a cut JPEG raises OSError."""
        image = Image.open(io.BytesIO(self.jpeg))
        image.load()
        return image


class Viewer:
    """One connection to a stream's address; iterate over it to get its parts."""

    def __init__(self, url: str, timeout: float = 10) -> None:
        """Connect; `timeout` (s) bounds every single wait for bytes."""
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(address.netloc, timeout=timeout)
        query = f"?{address.query}" if address.query else ""
        self._connection.request("GET", f"{address.path}{query}")
        self._response = self._connection.getresponse()
        assert self._response.status == 200, self._response.read()
        self.content_type = self._response.headers["Content-Type"]

    def __iter__(self) -> Iterator[Part]:
        """Yield parts until the server ends the stream."""
        while True:
            headers = self._part_headers()
            if headers is None:
                return
            jpeg = self._response.read(int(headers["content-length"]))
            yield Part(time.monotonic(), headers.get("x-frame-state", ""), jpeg)

    def _part_headers(self) -> dict[str, str] | None:
        headers: dict[str, str] = {}
        while True:
            line = self._response.readline()
            if not line:
                return None
            text = line.decode("ascii").strip()
            if text and not text.startswith("--"):
                name, _colon, value = text.partition(":")
                headers[name.strip().lower()] = value.strip()
            elif not text and headers:
                return headers

    def first(self, live: bool = True) -> Part:
        """Return the next part that the camera gave (or, with live=False, that was drawn)."""
        return next(part for part in self if part.live is live)

    def watch(self, seconds: float) -> list[Part]:
        """Return the camera's frames for so many seconds, counted from the first of them."""
        first = self.first()
        parts = [first]
        for part in self:
            if part.when - first.when > seconds:
                break
            if part.live:
                parts.append(part)
        return parts

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()


class Watcher:
    """Watches a stream in a thread for as long as its context lasts, and comes back when it ends.

    It begins with a live frame: one that never comes raises TimeoutError.
    """

    def __init__(self, url: str | Callable[[], str]) -> None:
        """Take note of the stream's address; nothing is asked yet.

        Args:
            url: the address, or what tells it before each connection, or raises OSError while there
                is none.
        """
        self._url = url
        self._times: list[float] = []
        self._widths: list[int] = []
        self._began = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.is_set():
            try:
                url = self._url if isinstance(self._url, str) else self._url()
                with Viewer(url, timeout=3) as viewer:
                    for part in viewer:
                        if part.live:
                            self._take_note(part)
                        if self._over.is_set():
                            break
            except (OSError, http.client.HTTPException, AssertionError):
                # Refused or cut off: a gap, which the next live frame ends.
                time.sleep(0.05)

    def _take_note(self, part: Part) -> None:
        # No more than its header is read.
        width = Image.open(io.BytesIO(part.jpeg)).width
        if self._widths[-1:] != [width]:
            self._widths.append(width)
        self._times.append(part.when)
        self._began.set()

    @property
    def widths(self) -> list[int]:
        """How wide the live frames were: each width once, and again when it has come back."""
        return list(self._widths)

    def wait_for(self, width: int, seconds: float) -> None:
        """Wait until the newest live frame is so wide.

        Raises:
            TimeoutError: it is not by then.
        """
        deadline = time.monotonic() + seconds
        while self._widths[-1:] != [width]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no frame {width} wide within {seconds:.0f} s: {self._widths}")
            time.sleep(0.05)

    @property
    def largest_gap(self) -> float:
        """The longest time (s) without a live frame, up to now."""
        times = [*self._times, time.monotonic()]
        return max(after - before for before, after in itertools.pairwise(times))

    def __enter__(self) -> Watcher:
        self._thread.start()
        if not self._began.wait(30):
            raise TimeoutError(f"no live frame from {self._url} within 30 s")
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join(timeout=15)
