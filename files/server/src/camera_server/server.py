"""Runs the application: its socket, its start and end, and what systemd is told."""

import asyncio
import contextlib
import logging
import socket

import uvicorn
from fastapi import FastAPI

from camera_server import notify
from camera_server.app import Cameras, create_app
from camera_server.credentials import Credentials
from camera_server.protocol import BoundedProtocol
from camera_server.settings import Settings

_log = logging.getLogger(__name__)

# How long requests other than streams may take to end once the server is stopping.
_GRACE_SECONDS = 1


class ListenError(Exception):
    """The server cannot listen on its address; the text says why."""


class Server(uvicorn.Server):
    """Uvicorn, with an end for endless streams and a word to systemd.

    uvicorn waits for responses to end by themselves, which a stream never does.
    """

    def __init__(self, config: uvicorn.Config, cameras: Cameras) -> None:
        super().__init__(config)
        self._cameras = cameras
        self._heartbeat: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, then say so."""
        await super().startup(sockets)
        for listener in sockets or []:
            _log.info("listening on %s", _url(listener))
        notify.notify(notify.READY)
        interval = notify.watchdog_interval()
        if interval is not None:
            self._heartbeat = asyncio.create_task(_beat(interval))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then everything else. Camera processes are gone afterwards."""
        notify.notify(notify.STOPPING)
        _log.info("stopping")
        self._cameras.end_streams()
        await super().shutdown(sockets)
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._heartbeat


async def _beat(interval: float) -> None:
    """Tell systemd's watchdog that the event loop still turns."""
    while True:
        notify.notify(notify.WATCHDOG)
        await asyncio.sleep(interval)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 means any free one. Raises ListenError."""
    try:
        family, _kind, _protocol, _name, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as error:
        # create_server() appends the address to the reason, in a way of its own.
        reason = (error.strerror or str(error)).partition(" (while attempting")[0]
        raise ListenError(f"cannot listen on {host} port {port}: {reason}") from None


def serve(settings: Settings, credentials: Credentials | None) -> None:
    """Serve until SIGTERM or SIGINT. Raises ListenError."""
    app: FastAPI = create_app(settings, credentials)
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        # Requests may carry tokens in their query; no log of them, then.
        access_log=False,
        log_config=None,
        server_header=False,
        # Anybody can say from where a request comes; by default uvicorn believes loopback.
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    listener = listen(settings.listen_host, settings.port)
    Server(config, app.state.cameras).run([listener])


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
