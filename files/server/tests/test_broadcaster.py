import asyncio
import time

import pytest
from camera_server import broadcaster as broadcaster_module
from camera_server.broadcaster import Broadcaster, FrameState, Part


class Recorder:
    """A viewer who is never busy and keeps all that he is offered."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.closed = False

    def offer(self, part: Part) -> bool:
        self.parts.append(part)
        return True

    def close(self) -> None:
        self.closed = True


def publish(broadcaster: Broadcaster, jpeg: bytes, state: FrameState = FrameState.LIVE) -> None:
    broadcaster.publish(jpeg, state, time.monotonic_ns())


def test_all_viewers_share_one_part() -> None:
    async def watch() -> None:
        broadcaster = Broadcaster()
        viewers = [Recorder() for _turn in range(3)]
        for viewer in viewers:
            broadcaster.join(viewer)
        assert broadcaster.viewers == 3
        publish(broadcaster, b"jpeg")
        assert len({id(viewer.parts[0].data) for viewer in viewers}) == 1

    asyncio.run(watch())


def test_who_comes_sees_the_newest_frame_at_once() -> None:
    async def watch() -> None:
        broadcaster, viewer = Broadcaster(), Recorder()
        publish(broadcaster, b"one")
        publish(broadcaster, b"two")
        broadcaster.join(viewer)
        assert [part.sequence for part in viewer.parts] == [2]

    asyncio.run(watch())


def test_who_leaves_is_offered_nothing_more() -> None:
    async def watch() -> None:
        broadcaster, leaver, stayer = Broadcaster(), Recorder(), Recorder()
        broadcaster.join(leaver)
        broadcaster.join(stayer)
        publish(broadcaster, b"one")
        broadcaster.leave(leaver)
        broadcaster.leave(leaver)
        publish(broadcaster, b"two")
        assert (len(leaver.parts), len(stayer.parts)) == (1, 2)
        assert broadcaster.viewers == 1

    asyncio.run(watch())


def headers_of(part: Part) -> dict[bytes, bytes]:
    head = part.data.partition(b"\r\n\r\n")[0]
    lines = [line.partition(b": ") for line in head.split(b"\r\n")]
    return {name: value for name, _colon, value in lines}


def test_a_part_tells_what_it_is_and_brings_the_next_boundary() -> None:
    async def watch() -> None:
        broadcaster = Broadcaster()
        publish(broadcaster, b"x", FrameState.STARTING)
        broadcaster.publish(b"jpeg", FrameState.LOST, time.monotonic_ns() - 2 * 10**9)
        assert broadcaster.part is not None
        headers = headers_of(broadcaster.part)
        assert broadcaster.part.data.partition(b"\r\n\r\n")[2] == b"jpeg\r\n--frame\r\n"
        assert headers[b"Content-Type"] == b"image/jpeg"
        assert headers[b"Content-Length"] == b"4"
        assert headers[b"X-Frame-State"] == b"lost"
        assert headers[b"X-Frame-Sequence"] == b"2"
        assert float(headers[b"X-Frame-Age"]) == pytest.approx(2, abs=0.5)
        assert float(headers[b"X-Timestamp"]) == pytest.approx(time.time() - 2, abs=0.5)

    asyncio.run(watch())


def test_the_last_frame_comes_again_once_a_second() -> None:
    async def watch() -> None:
        broadcaster, viewer = Broadcaster(), Recorder()
        broadcaster.join(viewer)
        publish(broadcaster, b"old")
        await asyncio.sleep(0.5)
        publish(broadcaster, b"jpeg")
        viewer.parts.clear()
        publish(broadcaster, b"jpeg")
        began = time.monotonic()
        while len(viewer.parts) < 3:
            await asyncio.sleep(0.01)
        assert 1.9 < time.monotonic() - began < 3
        assert {part.sequence for part in viewer.parts} == {3}
        ages = [float(headers_of(part)[b"X-Frame-Age"]) for part in viewer.parts]
        assert ages == pytest.approx([0, 1, 2], abs=0.5), "each says how old it is by now"

    asyncio.run(watch())


def test_nothing_is_repeated_once_it_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcaster_module, "REPEAT_SECONDS", 0.02)

    async def watch() -> None:
        broadcaster, viewer = Broadcaster(), Recorder()
        broadcaster.join(viewer)
        publish(broadcaster, b"one")
        broadcaster.clear()
        await asyncio.sleep(0.1)  # nothing must happen, so there is nothing to wait for
        assert len(viewer.parts) == 1
        late = Recorder()
        broadcaster.join(late)
        assert not late.parts

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
        assert new.tag != old.tag

    asyncio.run(watch())


def test_closing_ends_those_who_watch_and_those_who_come_later() -> None:
    async def watch() -> None:
        broadcaster, viewer, late = Broadcaster(), Recorder(), Recorder()
        publish(broadcaster, b"drawn", FrameState.LOST)
        broadcaster.join(viewer)
        snapshot = asyncio.create_task(broadcaster.next_live(0))
        await asyncio.sleep(0)
        broadcaster.close()
        assert viewer.closed
        assert await snapshot is None
        publish(broadcaster, b"late")
        broadcaster.join(late)
        assert late.closed
        assert (len(viewer.parts), late.parts) == (1, [])

    asyncio.run(watch())
