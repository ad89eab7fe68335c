"""HTTP as uvicorn speaks it, with bounds for what comes before a request is complete.

uvicorn asks the application only when a request's head has come whole, and bounds neither its
size nor the time that it takes: whoever reaches the port could fill a small board's memory, or use
up its connections, without credentials.
"""

import asyncio
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

# What browsers and tools send is a few kilobytes, at once.
HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 10.0


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request has a head too large, or not whole in time."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Begin to wait for a head: uvicorn makes an object for each connection that it accepts."""
        super().__init__(config, server_state, app_state, _loop)
        self._deadline: asyncio.TimerHandle | None = None
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes, unless they make the head too large."""
        if self._deadline is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.transport.close()
                return
        super().data_received(data)
        # What is no request stops uvicorn's own wait for the next one.
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._wait_for_head()

    def on_message_begin(self) -> None:
        """Begin to wait for the head of a further request on the same connection."""
        super().on_message_begin()
        if self._deadline is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        """Take note that the head is whole."""
        self._end_wait()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._end_wait()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        self._head_bytes = 0
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self.transport.close()

    def _end_wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
