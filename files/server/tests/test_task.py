"""What a camera's process is told is what was set."""

import asyncio
import contextlib
from dataclasses import asdict

import pytest
from camera_server.camera_process import default_command
from camera_server.feed import CameraFeed
from camera_server.settings import CameraSettings
from camera_server.task import CameraTask


@pytest.mark.parametrize(
    "settings",
    [
        CameraSettings(
            name="door",
            width=66,
            height=68,
            fps=7,
            quality=9,
            camera_id="1",
            model="/x",
            hflip=True,
        ),
        CameraSettings(vflip=True),
        CameraSettings(source="replay", replay="/film.mjpeg"),
    ],
    ids=["hflip", "vflip", "replay"],
)
def test_a_task_has_all_of_the_camera_s_settings(settings: CameraSettings) -> None:
    async def run() -> CameraTask:
        told: asyncio.Queue[CameraTask] = asyncio.Queue()

        def command(task: CameraTask) -> list[str]:
            told.put_nowait(task)
            return ["true"]

        feed = CameraFeed(settings, 60, command=command)
        running = asyncio.create_task(feed.run())
        with feed.wanted():
            task = await told.get()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        return task

    task = asyncio.run(run())
    assert asdict(task) | settings.model_dump() == asdict(task)
    assert CameraTask.from_json(task.to_json()) == task
    assert default_command(task)[-1] == settings.name
