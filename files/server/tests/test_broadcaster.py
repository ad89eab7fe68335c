import asyncio
import time

import pytest
from camera_server import broadcaster as broadcaster_module
from camera_server.broadcaster import Broadcaster, FrameState


def publish(broadcaster: Broadcaster, jpeg: bytes, state: FrameState = FrameState.LIVE) -> None:
    broadcaster.publish(jpeg, state, time.monotonic_ns())


def test_a_viewer_who_was_busy_gets_the_newest_frame_next() -> None:
    async def watch() -> None:
        broadcaster = Broadcaster()
        publish(broadcaster, b"one")
        first = await broadcaster.next_part(0)
        assert first is not None
        for jpeg in (b"two", b"three", b"four"):
            publish(broadcaster, jpeg)
        second = await broadcaster.next_part(first[0])
        assert second is not None
        assert b"\r\n\r\nfour\r\n" in second[1]

    asyncio.run(watch())


def test_all_viewers_share_one_part() -> None:
    async def watch() -> None:
        broadcaster = Broadcaster()
        waiting = [asyncio.create_task(broadcaster.next_part(0)) for _turn in range(3)]
        await asyncio.sleep(0)
        publish(broadcaster, b"jpeg")
        parts = [await task for task in waiting]
        assert parts[0] is not None
        assert all(part is not None and part[1] is parts[0][1] for part in parts)

    asyncio.run(watch())


def test_a_part_tells_what_it_is_and_brings_the_next_boundary() -> None:
    async def watch() -> None:
        broadcaster = Broadcaster()
        publish(broadcaster, b"x", FrameState.STARTING)
        publish(broadcaster, b"jpeg", FrameState.LOST)
        upcoming = await broadcaster.next_part(0)
        assert upcoming is not None
        head, _blank, rest = upcoming[1].partition(b"\r\n\r\n")
        headers = dict(line.split(b": ") for line in head.split(b"\r\n"))
        assert rest == b"jpeg\r\n--frame\r\n"
        assert headers[b"Content-Type"] == b"image/jpeg"
        assert headers[b"Content-Length"] == b"4"
        assert headers[b"X-Frame-State"] == b"lost"
        assert headers[b"X-Frame-Sequence"] == b"2"
        assert abs(float(headers[b"X-Timestamp"]) - time.time()) < 1

    asyncio.run(watch())


def test_the_last_frame_comes_again_once_a_second() -> None:
    async def watch() -> None:
        broadcaster = Broadcaster()
        publish(broadcaster, b"jpeg")
        turn, began, parts = 0, time.monotonic(), []
        for _turn in range(3):
            upcoming = await broadcaster.next_part(turn)
            assert upcoming is not None
            turn = upcoming[0]
            parts.append(upcoming[1])
        assert 1.9 < time.monotonic() - began < 3
        assert parts[0] is parts[2]

    asyncio.run(watch())


def test_nothing_is_repeated_once_it_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcaster_module, "REPEAT_SECONDS", 0.02)

    async def watch() -> None:
        broadcaster = Broadcaster()
        publish(broadcaster, b"one")
        broadcaster.clear()
        await asyncio.sleep(0.1)  # nothing must happen, so there is nothing to wait for
        publish(broadcaster, b"two")
        upcoming = await broadcaster.next_part(0)
        assert upcoming is not None
        assert upcoming[0] == 2, "the second turn, since two frames were all that there was"

    asyncio.run(watch())


def test_one_viewer_who_gives_up_leaves_the_others_waiting() -> None:
    async def watch() -> None:
        broadcaster = Broadcaster()
        leaver, stayer = (asyncio.create_task(broadcaster.next_part(0)) for _turn in range(2))
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.sleep(0)
        publish(broadcaster, b"jpeg")
        assert await stayer is not None

    asyncio.run(watch())


def test_a_snapshot_waits_for_a_live_frame_that_is_young_enough() -> None:
    async def watch() -> None:
        broadcaster = Broadcaster()
        broadcaster.publish(b"old", FrameState.LIVE, 1000)
        old = await broadcaster.next_live(0)
        assert old is not None
        assert old.jpeg == b"old"
        waiting = asyncio.create_task(broadcaster.next_live(2000))
        await asyncio.sleep(0)
        broadcaster.publish(b"drawn", FrameState.LOST, 3000)
        await asyncio.sleep(0)
        assert not waiting.done()
        broadcaster.publish(b"new", FrameState.LIVE, 4000)
        new = await waiting
        assert new is not None
        assert new.jpeg == b"new"

    asyncio.run(watch())


def test_closing_ends_those_who_wait_and_those_who_come_later() -> None:
    async def watch() -> None:
        broadcaster = Broadcaster()
        publish(broadcaster, b"drawn", FrameState.LOST)
        waiting = asyncio.create_task(broadcaster.next_part(1))
        snapshot = asyncio.create_task(broadcaster.next_live(0))
        await asyncio.sleep(0)
        broadcaster.close()
        assert await waiting is None
        assert await snapshot is None
        publish(broadcaster, b"late")
        assert await broadcaster.next_part(0) is None

    asyncio.run(watch())
