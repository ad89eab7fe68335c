"""Takes a connection over from uvicorn, once a response's head is on its way.

An ASGI ``send()`` for each frame and viewer costs as much as the kernel's copy does. A stream that
has its connection to itself writes without it, needs no task, and a server that ends does not wait
for it. This leans on how uvicorn's httptools protocol is made: where it is made in another way, or
another server runs the application, there is no connection to take, and stream.py uses ``send()``.
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from camera_server.protocol import BoundedProtocol

_EXTENSION = "camera_server.connection"


class Connection:
    """A request's connection, as long as it is uvicorn's."""

    __slots__ = ("_cycle", "_protocol")

    def __init__(self, protocol: "HandoverProtocol", cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    def leave_out_chunks(self) -> None:
        """Have uvicorn send the response's head for a body that ends with the connection.

        It would announce chunks otherwise, which an HTTP/1.0 client does not know.
        """
        self._cycle.chunked_encoding = False

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """Make this the connection's protocol; uvicorn takes the client for gone.

        It is told ``connection_made()``, or nothing at all when the client is gone indeed.
        """
        # Of all requests on the connection uvicorn marks the last one only.
        self._cycle.disconnected = True
        transport = self._protocol.transport
        if transport.is_closing():
            return
        transport.set_protocol(protocol)
        # With an error, since uvicorn closes the transport when there is none.
        self._protocol.connection_lost(ConnectionResetError("handed over"))
        protocol.connection_made(transport)


# Whoever connects to the server's Unix socket, which has no addresses.
PROXY = "unix"


class HandoverProtocol(BoundedProtocol):
    """Offers its connection to whoever answers a request."""

    def connection_made(self, transport: Any) -> None:
        """Give a proxy a name by which uvicorn can trust it."""
        super().connection_made(transport)
        if self.client is None:
            self.client = (PROXY, 0)

    def on_headers_complete(self) -> None:
        """Begin to answer the request, of which the body may not have come yet."""
        super().on_headers_complete()
        # Not self.scope: with a further request in the same packet that is another one soon.
        scope = cast(MutableMapping[str, Any], self.cycle.scope)
        if scope["scheme"] == "http":  # under TLS the socket takes no plain bytes
            scope["extensions"] = {_EXTENSION: Connection(self, self.cycle)}


def connection_of(scope: MutableMapping[str, Any]) -> Connection | None:
    """Return the connection that a request's response may take over, or None."""
    connection = scope.get("extensions", {}).get(_EXTENSION)
    return connection if isinstance(connection, Connection) else None
