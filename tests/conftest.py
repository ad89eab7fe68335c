"""What all tests share: where to put screenshots, and which device to look at."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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
