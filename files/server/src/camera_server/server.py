"""Runs the application: its socket, its start and end, and what systemd is told."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from camera_server import notify
from camera_server.all_cameras import Cameras
from camera_server.app import create_app
from camera_server.credentials import Credentials
from camera_server.handover import PROXY, HandoverProtocol
from camera_server.settings import Settings

_log = logging.getLogger(__name__)

# How long requests other than streams may take to end once the server is stopping.
_GRACE_SECONDS = 1

# Connections that may wait to be accepted.
_BACKLOG = 1024

# What a connection may hold that has not left yet, beyond one write, in bytes. It decides how old
# a picture a slow viewer sees: by default the kernel takes megabytes, which are seconds.
_UNSENT_BYTES = 16 * 1024


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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told_to_end = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, then say so."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        # What is there by now stays: no look at all of it in the middle of a stream.
        gc.collect()
        gc.freeze()
        for listener in sockets or []:
            _log.info("listening", extra={"url": _url(listener)})
        notify.notify(notify.READY)
        interval = notify.watchdog_interval()
        if interval is not None:
            self._heartbeat = asyncio.create_task(_beat(interval, self._cameras))

    async def main_loop(self) -> None:
        """Wait for the end. uvicorn looks for it ten times a second, at an idle board's cost."""
        seconds = 0
        # It renews the time that answers tell at each tenth of its own turns.
        while not await self.on_tick(10 * seconds):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._told_to_end.wait()
            seconds += 1

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._told_to_end.set)

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


async def _beat(interval: float, cameras: Cameras) -> None:
    """Tell systemd's watchdog that the event loop turns and that each camera is seen to.

    A camera that is lost, and tried again, is seen to. One that nobody watches is, too.
    """
    while True:
        stuck = [feed.settings.name for feed in cameras.stuck]
        if stuck:
            _log.error("stuck, the watchdog is told nothing", extra={"cameras": ",".join(stuck)})
        else:
            notify.notify(notify.WATCHDOG)
        await asyncio.sleep(interval)


def listen(settings: Settings) -> socket.socket:
    """Return the listening socket of the settings. Raises ListenError."""
    if settings.socket is None:
        return _listen_on_port(settings.listen_host, settings.port)
    return _listen_on_path(Path(settings.socket))


def _listen_on_port(host: str, port: int) -> socket.socket:
    try:
        family, _kind, _protocol, _name, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        # create_server() appends the address to the reason, in a way of its own.
        reason = getattr(error, "strerror", None) or str(error)
        reason = reason.partition(" (while attempting")[0]
        raise ListenError(f"cannot listen on {host} port {port}: {reason}") from None
    # The connections inherit it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    return listener


def _listen_on_path(path: Path) -> socket.socket:
    """Listen on a Unix socket that the server's user and group may use.

    It stays when the server ends: it might be another server's by then.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            if not _is_left_over(path):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            path.unlink()
        before = os.umask(0o117)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {path}: {error.strerror or error}") from None
    return listener


def _is_left_over(path: Path) -> bool:
    """Whether nobody listens on a socket any more, as after a server that was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        # One that is too busy to answer is in use.
        client.setblocking(False)
        return client.connect_ex(str(path)) == errno.ECONNREFUSED


def serve(settings: Settings, credentials: Credentials | None) -> None:
    """Serve until SIGTERM or SIGINT. Raises ListenError."""
    app: FastAPI = create_app(settings, credentials)
    config = uvicorn.Config(
        app,
        http=HandoverProtocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        # Requests may carry tokens in their query; no log of them, then.
        access_log=False,
        log_config=None,
        server_header=False,
        # Anybody can say from where a request comes, and is believed on a Unix socket only: who
        # reaches that is the proxy. Of several addresses the last one is the proxy's own word.
        # By default uvicorn believes loopback.
        proxy_headers=settings.socket is not None,
        forwarded_allow_ips=PROXY,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    listener = listen(settings)
    if settings.socket is None and settings.access != "open" and credentials is None:
        _log.info("only this host is let in: there are no credentials, and access is not open")
    Server(config, app.state.cameras).run([listener])


def _url(listener: socket.socket) -> str:
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
