"""The endless response of ``/video``."""

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from camera_server.broadcaster import BOUNDARY, OPENING
from camera_server.feed import CameraFeed

# How long a viewer who does not read may hold up the end of the server, in seconds.
_LAST_SEND_SECONDS = 0.3


class MjpegStream(Response):
    """Sends a camera's frames until the viewer leaves or the server ends.

    ASGI directly rather than a streaming response around a generator, which costs a
    thread or a task group for each viewer.
    """

    def __init__(self, feed: CameraFeed) -> None:
        super().__init__()
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one viewer, in whose name the camera stays open."""
        del scope
        broadcaster = self._feed.broadcaster
        with broadcaster.viewer(), self._feed.wanted():
            sending = asyncio.create_task(self._send(send))
            leaving = asyncio.create_task(_disconnected(receive))
            closing = asyncio.create_task(broadcaster.closed.wait())
            tasks = {sending, leaving, closing}
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if closing.done() and not leaving.done():
                    await asyncio.wait({sending}, timeout=_LAST_SEND_SECONDS)
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
        # Being cancelled is how these tasks usually end; anything else is a fault to show.
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _send(self, send: Send) -> None:
        media_type = b"multipart/x-mixed-replace; boundary=" + BOUNDARY
        headers = [(b"content-type", media_type), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": OPENING, "more_body": True})
        turn = 0
        while (upcoming := await self._feed.broadcaster.next_part(turn)) is not None:
            turn, part = upcoming
            await send({"type": "http.response.body", "body": part, "more_body": True})
            # The server waits before a send, not after it. This one waits until the viewer
            # has taken the part, so that the part chosen next is the newest one then.
            await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
