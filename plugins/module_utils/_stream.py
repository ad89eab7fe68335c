# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at an MJPEG stream over HTTP for a bounded time, and says what it saw.

http.client does the protocol. The reading beneath it is done here, because a socket's time-out
counts anew with each byte: a server that sends one byte a second would never be left.

No text that is made here holds more of the URL than its host and port: the rest may be secret.
"""

from __future__ import annotations

import base64
import http.client
import io
import queue
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ansible_collections.rpi_camera.fleet.plugins.module_utils._mjpeg import (
    MultipartParser,
    StreamError,
    Tally,
    boundary_of,
)
from ansible_collections.rpi_camera.fleet.plugins.module_utils._options import OptionError

CHUNK = 64 * 1024
DEFAULT_PORTS = {"http": 80, "https": 443}
AGENT = "rpi_camera.fleet mjpeg_stream_info"


class EndError(Exception):
    """The look is over; the text says why, in a sentence."""


class StallError(EndError):
    """No byte has come for as long as one may be waited for."""


class TimeUpError(Exception):
    """The time for the whole look is over."""


@dataclass(frozen=True)
class Target:
    """An http or https URL, taken apart; `credentials` is "user:password" or empty."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)
    credentials: str = field(repr=False)

    @property
    def address(self) -> str:
        """Host and port for a person."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_url(url: str) -> Target:
    """Take a stream's URL apart. Raise OptionError with what is wrong about it."""
    if re.search(r"[\x00-\x20\x7f]", url):
        raise OptionError("url contains a blank or a control character; write it as %20, %0A …")
    scheme, separator, _rest = url.partition("://")
    if not separator or scheme.lower() not in DEFAULT_PORTS:
        # Without a scheme what stands there could be anything, a password too.
        has = f"the scheme {scheme!r}" if re.fullmatch(r"[A-Za-z][\w+.-]*", scheme) else "no scheme"
        raise OptionError(f"url has {has}, but must begin with http:// or https://.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise OptionError(
            "url has no valid host and port; a port is a number from 1 to 65535, and an IPv6"
            " address stands in square brackets."
        ) from error
    if not parts.hostname or port == 0:
        raise OptionError("url names no host, or port 0; it must be like http://host:8080/video.")
    path = quote(parts.path or "/", safe="/%:=&~+!$,;'@()*")
    if parts.query:
        path += "?" + quote(parts.query, safe="/%:=&~+!$,;'@()*?")
    user = "" if parts.username is None else f"{unquote(parts.username)}:"
    return Target(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port or DEFAULT_PORTS[parts.scheme],
        path=path,
        credentials=user + unquote(parts.password or ""),
    )


class Clock:
    """The time of one look, in seconds since it began."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._start = time.monotonic()

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._start

    def left(self) -> float:
        """Return the seconds that are left, more than 0; raise TimeUpError if there are none."""
        left = self.timeout - self.elapsed()
        if left <= 0:
            raise TimeUpError
        return left


class _PatientReader(io.RawIOBase):
    """Reads from a socket: each time for at most `stall` seconds, in all until the time is up."""

    def __init__(self, connection: socket.socket, clock: Clock, stall: float) -> None:
        self._connection = connection
        self._clock = clock
        self._stall = stall

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._clock.left()
        self._connection.settimeout(min(left, self._stall))
        try:
            return self._connection.recv_into(buffer)
        except TimeoutError as error:
            if left <= self._stall:
                raise TimeUpError from error
            raise StallError from error


class _PatientSocket:
    """As much of a socket as http.client asks for; it is closed by whoever opened it."""

    def __init__(self, connection: socket.socket, clock: Clock, stall: float) -> None:
        self._connection = connection
        self._reader = _PatientReader(connection, clock, stall)

    def sendall(self, data: bytes) -> None:
        """Send all of *data*, within the time-out that connecting has left on the socket."""
        self._connection.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the reading side."""
        return io.BufferedReader(self._reader, CHUNK)

    def close(self) -> None:
        """Do nothing: the response is still to be read when http.client calls this."""


def _resolve(target: Target, clock: Clock) -> list[tuple[Any, ...]]:
    """Return the addresses of the target's host, as getaddrinfo does.

    It has no time-out and may take the resolver's minutes, so it runs in a thread that can be
    left behind.
    """
    answers: queue.SimpleQueue[list[tuple[Any, ...]] | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put([*socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)])
        except (OSError, UnicodeError):
            answers.put(None)

    threading.Thread(target=ask, daemon=True).start()
    try:
        found = answers.get(timeout=clock.left())
    except queue.Empty as error:
        raise EndError(
            f"The name {target.host} could not be resolved within {clock.timeout:g} s."
        ) from error
    if not found:
        raise EndError(f"The name {target.host} could not be resolved.")
    return found


def _connect(target: Target, clock: Clock) -> socket.socket:
    """Connect to the first of the target's addresses that answers. Raise EndError if none does."""
    addresses = _resolve(target, clock)
    reason = ""
    for tried, (family, kind, protocol, _name, address) in enumerate(addresses):
        connection = socket.socket(family, kind, protocol)
        # An address that swallows packets leaves the next one its share of the time.
        share = clock.left() / (len(addresses) - tried)
        connection.settimeout(share)
        try:
            connection.connect(address)
            if target.scheme == "https":
                context = ssl.create_default_context()
                connection.settimeout(clock.left())
                return context.wrap_socket(connection, server_hostname=target.host)
        except OSError as error:
            connection.close()
            reason = _why_no_connection(target, error, share)
        else:
            return connection
    raise EndError(reason)


def _why_no_connection(target: Target, error: OSError, waited: float) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"{target.address} refuses the connection: nothing listens there."
    if isinstance(error, TimeoutError):
        return f"{target.address} does not answer: no connection within {waited:.1f} s."
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The certificate of {target.address} is not trusted: {error.verify_message}."
    if isinstance(error, ssl.SSLError):
        return f"{target.address} does not speak TLS as expected: {error.reason}."
    return f"{target.address} cannot be reached: {error.strerror}."


def _request(
    target: Target, connection: socket.socket, clock: Clock, stall: float
) -> http.client.HTTPResponse:
    """Ask for the stream and return the response as far as its headers."""
    kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
    client = kind(target.host, target.port)
    client.sock = _PatientSocket(connection, clock, stall)
    headers = {"Accept": "multipart/x-mixed-replace", "User-Agent": AGENT, "Connection": "close"}
    if target.credentials:
        basic = base64.b64encode(target.credentials.encode()).decode()
        headers["Authorization"] = f"Basic {basic}"
    try:
        client.request("GET", target.path, headers=headers)
        return client.getresponse()
    except StallError as error:
        raise StallError(
            f"{target.address} accepts the connection, but sends no byte for {stall:g} s."
        ) from error
    except http.client.RemoteDisconnected as error:
        raise EndError(f"{target.address} closes the connection without an answer.") from error
    except http.client.HTTPException as error:
        raise EndError(f"What {target.address} answers is not HTTP.") from error
    except OSError as error:
        raise EndError(f"{target.address} breaks the connection: {error.strerror}.") from error


def _status_reason(target: Target, response: http.client.HTTPResponse) -> str | None:
    """Say what is wrong with a response's status, or None."""
    if response.status == HTTPStatus.OK:
        return None
    try:
        phrase = f" ({HTTPStatus(response.status).phrase})"
    except ValueError:
        phrase = ""
    reason = f"{target.address} answers with HTTP status {response.status}{phrase}"
    if 300 <= response.status < 400:
        place = urlsplit(response.headers.get("Location", ""))
        if place.hostname:
            return f"{reason}, which leads to {place.scheme}://{place.hostname}; ask there."
        return f"{reason}, which leads elsewhere; ask there."
    return f"{reason}."


def _number(count: int, one: str, many: str) -> str:
    return f"{count or 'no'} {one if count == 1 else many}"


def _seen(tally: Tally) -> str:
    """Say what has been seen, as the object of a sentence."""
    seen = [_number(tally.frames, "live frame", "live frames")]
    if tally.placeholders:
        seen.append(_number(tally.placeholders, "placeholder", "placeholders"))
    if tally.broken:
        seen.append(_number(tally.broken, "part", "parts") + " without a whole JPEG")
    return ", ".join(seen)


def _time_up_reason(tally: Tally, frames: int, timeout: float) -> str | None:
    """Say what is wrong with what was seen until the time was up, or None if it will do."""
    if tally.state is not None:
        return (
            f"The server has no live picture, the camera's state is {tally.state!r}:"
            f" {_seen(tally)} within {timeout:g} s."
        )
    if tally.frames >= min(2, frames):
        return None
    if tally.broken and not tally.frames:
        return f"No part holds a whole JPEG: {_seen(tally)} within {timeout:g} s."
    return f"Too few frames: {_seen(tally)} within {timeout:g} s."


def _read(
    response: http.client.HTTPResponse, tally: Tally, frames: int, clock: Clock, stall: float
) -> None:
    """Count the frames of a response until there are enough. Raise EndError if it ends before."""
    try:
        parser = MultipartParser(boundary_of(response.headers.get("Content-Type", "")))
        while data := response.read1(CHUNK):
            for part in parser.feed(data):
                tally.add(part, clock.elapsed())
                if tally.frames == frames:
                    return
    except StreamError as error:
        raise EndError(f"This is no MJPEG stream: {error}.") from error
    except StallError as error:
        raise StallError(
            f"The stream stalls: no byte for {stall:g} s after {_seen(tally)}."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise EndError(f"The connection breaks after {_seen(tally)}.") from error
    rest = parser.finish()
    if rest is not None:
        tally.add(rest, clock.elapsed())
    if tally.frames < frames:
        raise EndError(f"The stream ends after {_seen(tally)}.")


def watch(target: Target, frames: int, timeout: float, stall: float) -> dict[str, Any]:
    """Look at a stream until it has given *frames* live frames; return what the module returns.

    *timeout*: seconds for the whole look; *stall*: seconds without a byte that end it before.
    """
    clock = Clock(timeout)
    tally = Tally()
    status: int | None = None
    content_type: str | None = None
    stalled = False
    reason: str | None = None
    try:
        with _connect(target, clock) as connection:
            response = _request(target, connection, clock, stall)
            status = response.status
            content_type = response.headers.get("Content-Type")
            reason = _status_reason(target, response)
            if reason is None:
                _read(response, tally, frames, clock, stall)
    except TimeUpError:
        reason = (
            f"{target.address} does not answer within {timeout:g} s."
            if status is None
            else _time_up_reason(tally, frames, timeout)
        )
    except EndError as end:
        reason = str(end)
        stalled = isinstance(end, StallError)
    return {
        "streaming": reason is None,
        "frames": tally.frames,
        "distinct_frames": tally.distinct,
        "placeholder_frames": tally.placeholders,
        "broken_frames": tally.broken,
        "width": tally.size.width if tally.size else None,
        "height": tally.size.height if tally.size else None,
        "rate": None if tally.rate is None else round(tally.rate, 2),
        "first_frame_seconds": None if tally.first_at is None else round(tally.first_at, 3),
        "duration": round(clock.elapsed(), 3),
        "status": status,
        "content_type": content_type,
        "stalled": stalled,
        "reason": reason,
    }
