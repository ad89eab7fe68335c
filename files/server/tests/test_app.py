import asyncio
import json
import time

import pytest
from camera_server import app
from camera_server.broadcaster import FrameState
from camera_server.feed import CameraFeed
from camera_server.settings import CameraSettings
from fastapi import Response


def snapshot(age: float | None, max_age: float | None) -> Response:
    """Ask for a picture of a camera whose only frame is so many seconds old; None: it has none."""

    async def ask() -> Response:
        feed = CameraFeed(CameraSettings(), idle_seconds=60)
        if age is not None:
            captured_ns = time.monotonic_ns() - int(age * 1e9)
            feed.broadcaster.publish(b"jpeg", FrameState.LIVE, captured_ns)
        return await app.snapshot(feed, max_age)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("age", "max_age", "status"),
    [(1, 2, 200), (3, 2, 503), (0.4, 0.5, 200), (0.6, 0.5, 503), (3, None, 200)],
)
def test_a_snapshot_s_age_is_counted_in_seconds(
    monkeypatch: pytest.MonkeyPatch, age: float, max_age: float | None, status: int
) -> None:
    monkeypatch.setattr(app, "SNAPSHOT_SECONDS", 0.05)
    assert snapshot(age, max_age).status_code == status


def test_a_snapshot_does_not_wait_as_long_as_a_camera_may_take_to_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert app.SNAPSHOT_SECONDS <= 10
    monkeypatch.setattr(app, "SNAPSHOT_SECONDS", 1)
    began = time.monotonic()
    response = snapshot(None, None)
    assert 0.9 < time.monotonic() - began < 3
    assert response.status_code == 503
    assert json.loads(bytes(response.body))["reason"] == "no frame within 1 s"
