import asyncio
import contextlib
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from unittest.mock import Mock

import pytest
from camera_server import camera_process
from camera_server.broadcaster import Frame, FrameState
from camera_server.feed import CameraFeed, Fault, Patience, State
from camera_server.placeholder import draw_placeholder
from camera_server.settings import CameraSettings
from camera_server.task import CameraTask
from server_helpers import decode, is_running

QUICK = Patience(frame=0.3, first_frame=5, retry=0.05, retry_most=2)
FAKE = str(Path(__file__).with_name("fake_camera.py"))


@pytest.fixture
def starts(tmp_path: Path) -> Path:
    return tmp_path / "starts"


def play(
    way: str,
    starts: Path,
    scene: Callable[[CameraFeed], Awaitable[None]],
    patience: Patience = QUICK,
    idle_seconds: float = 60,
    command: list[str] | None = None,
    began: list[float] | None = None,
) -> None:
    """Run a feed with a fake camera, and the scene beside it; note when it began each start."""

    def fake_command(task: CameraTask) -> list[str]:
        del task
        if began is not None:
            began.append(time.monotonic())
        return command or [sys.executable, FAKE, way, str(starts)]

    async def run() -> None:
        feed = CameraFeed(CameraSettings(), idle_seconds, command=fake_command, patience=patience)
        async with running(feed), asyncio.timeout(20):
            await scene(feed)
        if feed.pid is not None:
            assert not is_running(feed.pid)

    asyncio.run(run())


@contextlib.asynccontextmanager
async def running(feed: CameraFeed) -> AsyncIterator[None]:
    task = asyncio.create_task(feed.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def shown(feed: CameraFeed, *states: FrameState) -> list[Frame]:
    """Watch until frames of these states have come in this order; return the first of each."""
    found = []
    for state in states:
        while feed.broadcaster.newest is None or feed.broadcaster.newest.state is not state:
            await asyncio.sleep(0.005)
        found.append(feed.broadcaster.newest)
    return found


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


@pytest.mark.alone
def test_it_starts_for_a_viewer_and_shows_the_camera(starts: Path) -> None:
    async def scene(feed: CameraFeed) -> None:
        assert (feed.state, feed.frame_age) == (State.IDLE, None)
        assert not starts.exists()
        with feed.wanted():
            starting, live = await shown(feed, FrameState.STARTING, FrameState.LIVE)
            assert decode(starting.jpeg).size == (640, 480)
            assert decode(live.jpeg).getpixel((320, 240)) == pytest.approx((0, 128, 0), abs=3)
            assert feed.state is State.LIVE
            assert feed.pid is not None
            await until(lambda: feed.frames > 20)
            assert 20 < feed.rate < 60
            assert feed.frame_age is not None
            assert feed.frame_age < 0.3

    play("good", starts, scene)


def test_a_camera_process_is_told_all_of_its_camera_s_settings(starts: Path) -> None:
    camera = CameraSettings(
        name="door", width=320, height=240, fps=5, quality=60, camera_id="1", model="/x.rpk"
    )
    told: list[CameraTask] = []

    def command(task: CameraTask) -> list[str]:
        told.append(task)
        return [sys.executable, FAKE, "good", str(starts)]

    async def run() -> None:
        feed = CameraFeed(camera, 60, command=command, patience=QUICK)
        async with running(feed), asyncio.timeout(20):
            with feed.wanted():
                await shown(feed, FrameState.LIVE)

    asyncio.run(run())
    assert asdict(told[0]) == camera.model_dump() | {"server_pid": os.getpid()}


@pytest.mark.parametrize(
    ("way", "fault", "reason"),
    [
        ("error", Fault.FAILED, "the cable is out"),
        ("exit", Fault.ENDED, "camera process ended with exit code 3"),
        ("killed", Fault.ENDED, "camera process was killed by signal 9 (Killed)"),
        (
            "junk",
            Fault.GARBLED,
            "camera process sent something that is no frame: a record began with b'INFO'",
        ),
        ("closes", Fault.ENDED, "camera process closed its output"),
        ("hangs-once", Fault.HUNG, "no frame for 0.3 s"),
        ("overtaken", Fault.HUNG, "no frame for 0.3 s"),
    ],
)
def test_a_lost_camera_is_shown_counted_and_logged_with_its_reason(
    starts: Path, way: str, fault: Fault, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(feed: CameraFeed) -> None:
        with feed.wanted():
            (lost,) = await shown(feed, FrameState.LOST)
            assert decode(lost.jpeg).size == (640, 480)
            assert feed.state is State.LOST
            assert feed.reason is not None
            assert feed.reason.startswith(reason)
            assert feed.faults == dict.fromkeys(Fault, 0) | {fault: 1}
            assert not feed.stuck

    play(way, starts, scene)
    # asyncio has a word of its own now and then, about a process killed as it ended.
    told = vars([record for record in caplog.records if record.name == "camera_server.feed"][-1])
    assert (told["camera"], told["fault"]) == ("camera", fault.value)
    assert told["reason"].startswith(reason)


def test_a_camera_without_a_first_frame_is_given_longer(starts: Path) -> None:
    async def scene(feed: CameraFeed) -> None:
        began = time.monotonic()
        with feed.wanted():
            await shown(feed, FrameState.STARTING, FrameState.LOST)
        assert feed.reason == "no frame for 0.8 s"
        assert time.monotonic() - began >= 0.8

    play("silent", starts, scene, Patience(frame=0.1, first_frame=0.8))


def test_a_camera_that_opens_slowly_is_not_killed_for_it(starts: Path) -> None:
    async def scene(feed: CameraFeed) -> None:
        with feed.wanted():
            await shown(feed, FrameState.STARTING, FrameState.LIVE)
        assert feed.restarts == 0

    play("opens-slowly", starts, scene, Patience(frame=0.3, first_frame=0.3))


def test_a_camera_that_never_opens_is_not_waited_for_for_ever(starts: Path) -> None:
    async def scene(feed: CameraFeed) -> None:
        with feed.wanted():
            await shown(feed, FrameState.STARTING, FrameState.LOST)
        assert feed.reason == "no frame for 0.6 s"

    play("opens-never", starts, scene, Patience(first_frame=0.1, opening=0.6))


def test_a_slow_camera_is_given_a_few_periods() -> None:
    assert CameraFeed(CameraSettings(fps=1), 60).frame_allowance == 4
    assert CameraFeed(CameraSettings(fps=30), 60).frame_allowance == 2


def test_a_program_that_is_not_there_is_a_reason_too(starts: Path) -> None:
    async def scene(feed: CameraFeed) -> None:
        with feed.wanted():
            await shown(feed, FrameState.LOST)
            assert feed.reason == "camera process cannot be started: No such file or directory"

    play("", starts, scene, command=["/nowhere/camera"])


@pytest.fixture
def a_fault_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first drawing of a placeholder fail in a way that nothing foresees."""
    faults = [ValueError("a fault for this test")]

    def draw_or_fail(width: int, height: int, title: str, text: str) -> bytes:
        if faults:
            raise faults.pop()
        return draw_placeholder(width, height, title, text)

    monkeypatch.setattr("camera_server.feed.draw_placeholder", draw_or_fail)


@pytest.mark.usefixtures("a_fault_of_our_own")
def test_a_fault_of_our_own_does_not_end_the_feed(
    starts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(feed: CameraFeed) -> None:
        with feed.wanted():
            await shown(feed, FrameState.STARTING, FrameState.LIVE)

    play("good", starts, scene)
    assert "a fault for this test" in caplog.text


def test_a_feed_is_stuck_when_our_own_faults_do_not_end(
    starts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("camera_server.feed._MARGIN_SECONDS", 0.5)
    monkeypatch.setattr("camera_server.feed._FAULT_SECONDS", 0.1)
    faults: list[str] = []

    def draw_or_fail(width: int, height: int, title: str, text: str) -> bytes:
        if len(faults) < 10**6:
            faults.append(title)
            raise ValueError("a fault for this test")
        return draw_placeholder(width, height, title, text)

    monkeypatch.setattr("camera_server.feed.draw_placeholder", draw_or_fail)

    async def scene(feed: CameraFeed) -> None:
        assert not feed.stuck
        with feed.wanted():
            await until(lambda: len(faults) > 2)
            assert not feed.stuck
            await until(lambda: feed.stuck)
            faults.extend([""] * 10**6)
            await shown(feed, FrameState.LIVE)
            assert not feed.stuck
        await until(lambda: feed.state is State.IDLE)
        await asyncio.sleep(0.7)  # longer than a step may take
        assert not feed.stuck

    play("good", starts, scene, idle_seconds=0.1)


def test_a_feed_that_does_not_turn_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camera_server.feed._MARGIN_SECONDS", 0.2)

    async def scene() -> None:
        feed = CameraFeed(CameraSettings(), 60)  # and nobody runs it
        with feed.wanted():
            assert not feed.stuck
            await until(lambda: feed.stuck)

    asyncio.run(scene())


@pytest.mark.usefixtures("a_fault_of_our_own")
def test_who_comes_and_goes_after_a_fault_of_our_own_is_a_viewer_like_any_other(
    starts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(feed: CameraFeed) -> None:
        with feed.wanted():
            await until(lambda: "a fault in the server" in caplog.text)
            assert feed.state is State.IDLE
            with feed.wanted():
                pass
            with feed.wanted():
                await shown(feed, FrameState.STARTING, FrameState.LIVE)
        await until(lambda: feed.state is State.IDLE)
        assert feed.pid is None

    play("good", starts, scene, idle_seconds=0.2)


def test_a_viewer_whose_arrival_fails_is_not_counted(
    starts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(feed: CameraFeed) -> None:
        with feed.wanted():
            await shown(feed, FrameState.LIVE)
            with monkeypatch.context() as patch:
                patch.setattr(
                    feed, "_extend_lease", Mock(side_effect=RuntimeError("for this test"))
                )
                with pytest.raises(RuntimeError, match="for this test"), feed.wanted():
                    pass
        await until(lambda: feed.state is State.IDLE)

    play("good", starts, scene, idle_seconds=0.2)


def test_a_fault_in_drawing_is_not_blamed_on_the_camera_s_program(
    starts: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def draw_or_fail(width: int, height: int, title: str, text: str) -> bytes:
        if text == "the cable is out" and "the font is gone" not in caplog.text:
            raise OSError("the font is gone")
        return draw_placeholder(width, height, title, text)

    monkeypatch.setattr("camera_server.feed.draw_placeholder", draw_or_fail)

    async def scene(feed: CameraFeed) -> None:
        with feed.wanted():
            await shown(feed, FrameState.LOST)
            assert feed.reason == "the cable is out"

    play("error", starts, scene)
    assert "a fault in the server" in caplog.text
    assert "cannot be started" not in caplog.text


def test_a_hung_camera_is_killed_and_comes_back(starts: Path) -> None:
    async def scene(feed: CameraFeed) -> None:
        with feed.wanted():
            await shown(feed, FrameState.LIVE)
            first = feed.pid
            assert first is not None
            await shown(feed, FrameState.LOST, FrameState.LIVE)
            assert not is_running(first)
            assert feed.pid != first
            assert (feed.state, feed.reason, feed.restarts) == (State.LIVE, None, 1)

    play("hangs-once", starts, scene)


def test_retries_come_at_growing_intervals_until_frames_flow_again(starts: Path) -> None:
    patience = Patience(frame=0.3, first_frame=5, retry=0.2, retry_most=5, steady=0.2)
    began: list[float] = []

    async def scene(feed: CameraFeed) -> None:
        with feed.wanted():
            await until(lambda: feed.restarts >= 4 and len(began) > 4)
        gaps = [after - before for before, after in itertools.pairwise(began)]
        for gap, wait in zip(gaps, (0.2, 0.4, 0.8), strict=False):
            assert gap >= wait, gaps
        # The fourth start gave frames for 0.6 s, longer than ``steady``: no 1.6 s after it.
        assert 0.6 + 0.2 <= gaps[3] < 0.6 + 1.6, gaps

    play("recovers", starts, scene, patience, began=began)


def test_it_closes_when_idle_and_opens_again(starts: Path) -> None:
    async def scene(feed: CameraFeed) -> None:
        for _turn in range(2):
            with feed.wanted():
                await shown(feed, FrameState.STARTING, FrameState.LIVE)
                pid = feed.pid
                assert pid is not None
            left = time.monotonic()
            await until(lambda: feed.state is State.IDLE)
            assert 0.3 <= time.monotonic() - left < 2
            assert not is_running(pid)
            assert feed.broadcaster.newest is None, "nobody is shown an old picture"
        assert feed.restarts == 0

    play("good", starts, scene, idle_seconds=0.3)


def test_a_viewer_who_returns_in_time_finds_it_open(starts: Path) -> None:
    async def scene(feed: CameraFeed) -> None:
        with feed.wanted():
            await shown(feed, FrameState.LIVE)
            pid = feed.pid
        with feed.wanted():
            frames = feed.frames
            await until(lambda: feed.frames > frames + 30)  # longer than the idle time
            assert feed.pid == pid
        assert len(starts.read_text().splitlines()) == 1

    play("good", starts, scene, idle_seconds=0.3)


def test_one_viewer_of_two_who_leaves_closes_nothing(starts: Path) -> None:
    async def scene(feed: CameraFeed) -> None:
        with feed.wanted():
            with feed.wanted():
                await shown(feed, FrameState.LIVE)
            frames = feed.frames
            await until(lambda: feed.frames > frames + 10)
            assert feed.state is State.LIVE

    play("good", starts, scene, idle_seconds=0)


def test_a_process_that_cannot_be_killed_is_left_behind(
    starts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_process, "KILL_SECONDS", 0.3)
    kept = []

    async def scene(feed: CameraFeed) -> None:
        with monkeypatch.context() as patch, feed.wanted():
            await shown(feed, FrameState.LIVE)
            process = feed.process
            assert process is not None
            kept.append(process)
            patch.setattr(process._process, "kill", lambda: None)
            await shown(feed, FrameState.LOST, FrameState.LIVE)
            assert is_running(process.pid)
            assert feed.pid != process.pid
        await kept[0].kill()
        assert not is_running(kept[0].pid)

    play("hangs-once", starts, scene)


def test_a_start_that_is_broken_off_leaves_no_descriptor() -> None:
    task = CameraTask("camera", "test-pattern", 640, 480, 30, 80, None, None, os.getpid())

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def start() -> None:
        async with camera_process.open_process(["/bin/sleep", "60"], task, lambda _record: None):
            await asyncio.sleep(60)

    async def run() -> None:
        before = 0
        for turns in (100, *range(40)):  # at first whatever is made once and kept
            starting = asyncio.create_task(start())
            for _turn in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            before = before or descriptors()
        async with asyncio.timeout(5):
            await until(lambda: descriptors() <= before)

    asyncio.run(run())
