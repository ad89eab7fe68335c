# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at an MJPEG stream over HTTP for a bounded time, and says what it saw.

http.client does the protocol. The reading beneath it is done here, because a socket's time-out
counts anew with each byte: a server that sends one byte a second would never be left.
"""

from __future__ import annotations

import http.client
import io
import queue
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.rpi_camera.fleet.plugins.module_utils._mjpeg import (
    MultipartParser,
    StreamError,
    Tally,
    boundary_of,
)
from ansible_collections.rpi_camera.fleet.plugins.module_utils._target import Target

CHUNK = 64 * 1024
AGENT = "rpi_camera.fleet mjpeg_stream_info"

# OpenSSL's x509_vfy.h, which ssl hands on as verify_code: not valid yet, expired.
NOT_YET_VALID, EXPIRED = 9, 10
# A certificate signed by itself, alone or at the end of the chain, and an issuer that is not known.
UNKNOWN_ISSUER = frozenset({18, 19, 20, 21})
WRONG_NAME = frozenset({62, 64})

BOTH_KINDS = "token, or url_username and url_password"
# What to set, by the schemes that a server names in WWW-Authenticate (RFC 9110, 11.6.1).
WANTED = {
    frozenset({"basic"}): "url_username and url_password",
    frozenset({"bearer"}): "token",
}
CHALLENGE = re.compile(r"(?:^|,)\s*(basic|bearer|digest)(?=\s|,|$)", re.IGNORECASE)


class EndError(Exception):
    """The look is over; the text says why, in a sentence."""


class StallError(EndError):
    """No byte has come for as long as one may be waited for."""


class TimeUpError(Exception):
    """The time for the whole look is over."""


@dataclass(frozen=True)
class Limits:
    """How long to look, in seconds.

    Either until `frames` live frames have come, within `timeout`; or for `duration` from the first
    live frame on, which has to come within `timeout`. `stall`: how long no byte may come.
    """

    frames: int | None
    duration: float | None
    timeout: float
    stall: float

    @property
    def lapse(self) -> float:
        """For how long no live frame may have come when the time is up."""
        return self.stall if self.duration is None else min(self.stall, self.duration / 2)


class Clock:
    """The time of one look, in seconds since it began; `timeout` is when it has to end."""

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


def _connect(
    target: Target, clock: Clock, stall: float, tls: ssl.SSLContext | None
) -> socket.socket:
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
        except OSError as error:
            connection.close()
            reason = _why_no_connection(target, error, share)
        else:
            return connection if tls is None else _secure(target, connection, clock, stall, tls)
    raise EndError(reason)


def _why_no_connection(target: Target, error: OSError, waited: float) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"{target.address} refuses the connection: nothing listens there."
    if isinstance(error, TimeoutError):
        return f"{target.address} does not answer: no connection within {waited:.1f} s."
    return f"{target.address} cannot be reached: {error.strerror}."


def _secure(
    target: Target, connection: socket.socket, clock: Clock, stall: float, tls: ssl.SSLContext
) -> ssl.SSLSocket:
    """Begin TLS on a connection, which is closed if that fails. Raise EndError with the reason."""
    left = clock.left()
    connection.settimeout(min(left, stall))
    try:
        return tls.wrap_socket(connection, server_hostname=target.host)
    except TimeoutError as error:
        connection.close()
        if left <= stall:
            raise TimeUpError from error
        raise StallError(
            f"{target.address} accepts the connection, but does not begin TLS within {stall:g} s;"
            " is it http:// there?"
        ) from error
    except ssl.SSLCertVerificationError as error:
        connection.close()
        raise EndError(_why_no_trust(target, error)) from error
    except ssl.SSLError as error:
        connection.close()
        raise EndError(
            f"{target.address} does not speak TLS as expected ({error.reason}); is it http://"
            " there?"
        ) from error
    except OSError as error:
        connection.close()
        raise EndError(f"{target.address} breaks the connection when TLS begins.") from error


def _why_no_trust(target: Target, error: ssl.SSLCertVerificationError) -> str:
    """Say why a certificate is not trusted, and what to do about it."""
    if error.verify_code in (NOT_YET_VALID, EXPIRED):
        fault = "is not valid yet" if error.verify_code == NOT_YET_VALID else "has expired"
        return (
            f"A certificate of {target.address} {fault}, by the clock of {socket.gethostname()},"
            f" which looks: it is {datetime.now(UTC):%Y-%m-%d %H:%M} UTC there. If that is wrong,"
            " set that clock; otherwise the server needs a new certificate."
        )
    if error.verify_code in WRONG_NAME:
        return (
            f"The certificate of {target.address} is not made out to {target.host}: ask by a name"
            " that it holds."
        )
    if error.verify_code in UNKNOWN_ISSUER:
        return (
            f"The certificate of {target.address} is signed by a CA that is not trusted here: set"
            " ca_path to the certificate of that CA."
        )
    return f"The certificate of {target.address} is not trusted: {error.verify_message}."


def _request(
    target: Target, connection: socket.socket, clock: Clock, stall: float
) -> http.client.HTTPResponse:
    """Ask for the stream and return the response as far as its headers."""
    kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
    client = kind(target.host, target.port)
    client.sock = _PatientSocket(connection, clock, stall)
    headers = {"Accept": "multipart/x-mixed-replace", "User-Agent": AGENT, "Connection": "close"}
    if target.credentials.header:
        headers["Authorization"] = target.credentials.header
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
        other = "http" if target.scheme == "https" else "https"
        raise EndError(
            f"What {target.address} answers is not HTTP; is it {other}:// there?"
        ) from error
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
    if response.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return f"{reason}: {_credentials_reason(target, response)}."
    if 300 <= response.status < 400:
        place = urlsplit(response.headers.get("Location", ""))
        if place.hostname:
            return f"{reason}, which leads to {place.scheme}://{place.hostname}; ask there."
        return f"{reason}, which leads elsewhere; ask there."
    return f"{reason}."


def _credentials_reason(target: Target, response: http.client.HTTPResponse) -> str:
    """Say what a response with status 401 or 403 wants, as the end of a sentence."""
    challenges = ",".join(response.headers.get_all("WWW-Authenticate", []))
    schemes = frozenset(scheme.lower() for scheme in CHALLENGE.findall(challenges))
    if schemes == {"digest"}:
        return "it wants Digest authentication, which this module does not do"
    wanted = WANTED.get(schemes - {"digest"}, BOTH_KINDS)
    sent = target.credentials
    if not sent.header:
        hint = "the query of url is not enough; " if target.has_query else ""
        return f"{hint}set {wanted}"
    if response.status == HTTPStatus.FORBIDDEN:
        return f"{sent.source} may not see this stream; set {wanted} of somebody who may"
    if wanted != BOTH_KINDS and sent.scheme not in schemes:
        return f"it does not want {sent.source}; set {wanted} instead"
    return f"it does not accept {sent.source}; set the right {wanted}"


def _number(count: int, one: str, many: str) -> str:
    return f"{count or 'no'} {one if count == 1 else many}"


def _seen(tally: Tally) -> str:
    """Say what has been seen, as the object of a sentence."""
    seen = [_number(tally.frames, "live frame", "live frames")]
    if tally.placeholders:
        seen.append(_number(tally.placeholders, "placeholder", "placeholders"))
    if tally.broken:
        seen.append(_number(tally.broken, "part", "parts") + " without a whole JPEG")
    if tally.wrong_lengths:
        seen.append(_number(tally.wrong_lengths, "part", "parts") + " with a wrong Content-Length")
    return ", ".join(seen)


def _time_up_reason(tally: Tally, limits: Limits, clock: Clock) -> str | None:
    """Say what is wrong with what was seen until the time was up, or None if it will do."""
    seen = f"{_seen(tally)} within {clock.timeout:.3g} s"
    if tally.state is not None:
        return f"The server has no live picture, the camera's state is {tally.state!r}: {seen}."
    if tally.broken and not tally.frames:
        return f"No part holds a whole JPEG: {seen}."
    if tally.last_at is None or tally.frames < 2:
        return f"Too few frames: {seen}."
    silence = clock.elapsed() - tally.last_at
    if silence > limits.lapse:
        return f"The live frames have ceased, none for {silence:.1f} s: {seen}."
    return None


def _read(response: http.client.HTTPResponse, tally: Tally, limits: Limits, clock: Clock) -> None:
    """Count the frames of a response until there are enough.

    Raise EndError if it ends before, and TimeUpError when the time is up.
    """
    try:
        parser = MultipartParser(boundary_of(response.headers.get("Content-Type", "")))
        while data := response.read1(CHUNK):
            for part in parser.feed(data):
                tally.add(part, clock.elapsed())
                if tally.frames == limits.frames:
                    return
                if tally.frames == 1 and limits.duration is not None and tally.first_at is not None:
                    clock.timeout = tally.first_at + limits.duration
            tally.wrong_lengths = parser.wrong_lengths
    except StreamError as error:
        raise EndError(f"This is no MJPEG stream: {error}.") from error
    except StallError as error:
        raise StallError(
            f"The stream stalls: no byte for {limits.stall:g} s after {_seen(tally)}."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise EndError(f"The connection breaks after {_seen(tally)}.") from error
    rest = parser.finish()
    if rest is not None:
        tally.add(rest, clock.elapsed())
    if tally.frames != limits.frames:
        raise EndError(f"The stream ends after {_seen(tally)}.")


def watch(target: Target, limits: Limits, tls: ssl.SSLContext | None = None) -> dict[str, Any]:
    """Look at a stream as long as *limits* say; return what the module returns.

    *tls*: whom to trust; given exactly for an https target.
    """
    clock = Clock(limits.timeout)
    tally = Tally()
    status: int | None = None
    content_type: str | None = None
    stalled = False
    reason: str | None = None
    try:
        with _connect(target, clock, limits.stall, tls) as connection:
            response = _request(target, connection, clock, limits.stall)
            status = response.status
            content_type = response.headers.get("Content-Type")
            reason = _status_reason(target, response)
            if reason is None:
                _read(response, tally, limits, clock)
    except TimeUpError:
        reason = (
            f"{target.address} does not answer within {limits.timeout:g} s."
            if status is None
            else _time_up_reason(tally, limits, clock)
        )
    except EndError as end:
        reason = str(end)
        stalled = isinstance(end, StallError)
    width, height = tally.size or (None, None)
    return {
        "streaming": reason is None,
        "frames": tally.frames,
        "distinct_frames": tally.distinct,
        "placeholder_frames": tally.placeholders,
        "broken_frames": tally.broken,
        "width": width,
        "height": height,
        "rate": None if tally.rate is None else round(tally.rate, 2),
        "first_frame_seconds": None if tally.first_at is None else round(tally.first_at, 3),
        "duration": round(clock.elapsed(), 3),
        "status": status,
        "content_type": None if content_type is None else target.hush(content_type),
        "stalled": stalled,
        "reason": None if reason is None else target.hush(reason),
    }
