"""What tests share: where screenshots go, which device to look at, another server to deliver.

Also a table of how long a stream was dark, and waiting for what is to come.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.console import CACHE, collections

ROOT = Path(__file__).resolve().parents[1]
# What a viewer saw of each case: how long no live frame came, and how long that may be (s).
TABLE = CACHE / "dark-times.json"
# What the second of these is for a switch. `make bench-boot` judges by it, tests do not: they have
# seen to it that a case is not dark for good.
SWITCH = 3.0

DarkTimes = dict[str, tuple[float, float | None]]
Edit = Callable[[str, str, str], None]


def eventually(what: str, condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for a condition, and fail when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.3)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let tests/device be told which simulated device to look at."""
    parser.addoption("--group", default="demo", help="the lab's group of devices")
    parser.addoption("--device", default="camera-1", help="the device's name in it")


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Return the folder that screenshots are put in."""
    folder = ROOT / ".cache" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def dark_times() -> Iterator[DarkTimes]:
    """Yield the table of dark times; what is in it at the end is kept."""
    table: DarkTimes = {}
    yield table
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(json.dumps(table))


@pytest.fixture
def edit(pytestconfig: pytest.Config) -> Iterator[Edit]:
    """Return a function that replaces a text in a file of the server that the controller has."""
    installed = collections(pytestconfig.getoption("group"))
    payload = installed / "ansible_collections/rpi_camera/fleet/files/server"
    texts: dict[str, str] = {}

    def replace(name: str, old: str, new: str) -> None:
        text = (payload / name).read_text()
        texts.setdefault(name, text)
        assert old in text
        (payload / name).write_text(text.replace(old, new))

    yield replace
    for name, text in texts.items():
        (payload / name).write_text(text)
