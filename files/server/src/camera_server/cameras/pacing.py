"""The rate of pictures that no sensor paces."""

import time
from collections.abc import Iterator

_NS = 1_000_000_000


def paced(fps: int) -> Iterator[int]:
    """Yield 0, 1, 2 and so on, each when the frame of this number is due; never ends."""
    period = _NS // fps
    due = time.monotonic_ns()
    number = 0
    while True:
        now = time.monotonic_ns()
        if now < due:
            time.sleep((due - now) / _NS)
        elif now - due > _NS:
            due = now  # after a long pause: go on from here, do not catch up
        yield number
        number += 1
        due += period
