# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at real servers in threads, good ones and bad ones."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.rpi_camera.fleet.plugins.module_utils import _stream
from ansible_collections.rpi_camera.fleet.plugins.module_utils._options import OptionError
from ansible_collections.rpi_camera.fleet.plugins.module_utils._stream import parse_url, watch
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import (
    HEAD,
    Serve,
    Wire,
    jpeg,
    part,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

KEYS = {
    "streaming",
    "frames",
    "distinct_frames",
    "placeholder_frames",
    "broken_frames",
    "width",
    "height",
    "rate",
    "first_frame_seconds",
    "duration",
    "status",
    "content_type",
    "stalled",
    "reason",
}


def look(url: str, frames: int = 5, timeout: float = 10, stall: float = 5) -> dict[str, Any]:
    """Look at a stream; what holds for every result is asserted here."""
    start = time.monotonic()
    result = watch(parse_url(url), frames, timeout, stall)
    assert time.monotonic() - start < timeout + 1
    assert set(result) == KEYS
    assert result["streaming"] is (result["reason"] is None)
    return result


def send_frames(wire: Wire, count: int, *headers: str, length: bool = True) -> None:
    """Send frames a hundredth of a second apart."""
    for number in range(count):
        wire.send(part(jpeg(number), *headers, length=length))
        wire.pause(0.01)


@pytest.mark.parametrize("length", [True, False], ids=["with length", "without length"])
def test_a_good_stream(serve: Serve, length: bool) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        send_frames(wire, 100, length=length)

    result = look(serve(behave))
    assert (result["streaming"], result["frames"], result["distinct_frames"]) == (True, 5, 5)
    assert (result["width"], result["height"]) == (640, 480)
    assert 10 < result["rate"] < 100
    assert 0 < result["first_frame_seconds"] < result["duration"]
    assert (result["status"], result["stalled"]) == (200, False)
    assert result["content_type"] == "multipart/x-mixed-replace; boundary=frame"


def test_a_chunked_stream(serve: Serve) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked"))
        for number in range(50):
            data = part(jpeg(number))
            for piece in (data[:30], data[30:]):
                wire.send(b"%x\r\n" % len(piece), piece, b"\r\n")
            wire.pause(0.01)

    assert look(serve(behave))["frames"] == 5


def test_a_frozen_picture(serve: Serve) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        for _number in range(20):
            wire.send(part(jpeg(1)))

    result = look(serve(behave))
    assert (result["frames"], result["distinct_frames"]) == (5, 1)


def test_placeholders_first_and_live_frames_then(serve: Serve) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        send_frames(wire, 3, "X-Frame-State: starting")
        send_frames(wire, 50, "X-Frame-State: live")

    result = look(serve(behave))
    assert (result["streaming"], result["frames"], result["placeholder_frames"]) == (True, 5, 3)


@pytest.mark.parametrize("state", ["starting", "lost"])
def test_placeholders_only(serve: Serve, state: str) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        send_frames(wire, 1000, f"X-Frame-State: {state}")

    result = look(serve(behave), timeout=0.5)
    assert (result["streaming"], result["frames"], result["stalled"]) == (False, 0, False)
    assert result["placeholder_frames"] > 3
    assert state in result["reason"]
    assert (result["width"], result["rate"], result["first_frame_seconds"]) == (None, None, None)


def test_a_camera_that_is_lost_on_the_way(serve: Serve) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        send_frames(wire, 4, "X-Frame-State: live")
        send_frames(wire, 1000, "X-Frame-State: lost")

    result = look(serve(behave), timeout=0.5)
    assert (result["streaming"], result["frames"]) == (False, 4)
    assert "'lost'" in result["reason"]


def test_a_slow_stream_is_one_all_the_same(serve: Serve) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        for number in range(100):
            wire.send(part(jpeg(number)))
            wire.pause(0.2)

    result = look(serve(behave), frames=30, timeout=1)
    assert result["streaming"]
    assert 3 <= result["frames"] <= 6
    assert result["duration"] == pytest.approx(1, abs=0.3)


def test_one_frame_is_enough_only_if_one_is_asked_for(serve: Serve) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD, part(jpeg()))
        wire.hang()

    one = look(serve(behave), frames=1)
    assert (one["streaming"], one["rate"]) == (True, None)
    two = look(serve(behave), frames=2, timeout=0.3)
    assert (two["streaming"], two["reason"]) == (
        False,
        "Too few frames: 1 live frame within 0.3 s.",
    )


def test_a_stall(serve: Serve) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        send_frames(wire, 3)
        wire.hang()

    result = look(serve(behave), stall=0.3)
    assert (result["streaming"], result["stalled"], result["frames"]) == (False, True, 3)
    assert result["reason"] == "The stream stalls: no byte for 0.3 s after 3 live frames."
    assert result["duration"] < 2


def test_silence_instead_of_an_answer(serve: Serve) -> None:
    result = look(serve(Wire.hang), stall=0.3)
    assert (result["stalled"], result["status"]) == (True, None)
    assert "sends no byte for 0.3 s" in result["reason"]


@pytest.mark.parametrize(
    "where", [b"HTTP/1.1 200 OK\r\nX-Endless: ", HEAD + b"--frame\r\nX-Endless: "]
)
def test_a_byte_now_and_then_does_not_hold_the_look(serve: Serve, where: bytes) -> None:
    def behave(wire: Wire) -> None:
        wire.send(where)
        while not wire.over.is_set():
            wire.send(b"x")
            wire.pause(0.05)

    result = look(serve(behave), timeout=0.6, stall=0.3)
    assert (result["streaming"], result["stalled"]) == (False, False)
    assert result["duration"] == pytest.approx(0.6, abs=0.3)


@pytest.mark.parametrize("ending", [b"", b"--frame--\r\n"])
def test_a_stream_that_ends_early(serve: Serve, ending: bytes) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        send_frames(wire, 3)
        wire.send(ending)

    result = look(serve(behave))
    assert (result["frames"], result["stalled"]) == (3, False)
    assert result["reason"] == "The stream ends after 3 live frames."


def test_a_stream_that_ends_within_a_frame(serve: Serve) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD, part(jpeg()), part(jpeg())[:-20])

    result = look(serve(behave))
    assert (result["frames"], result["broken_frames"]) == (1, 1)
    assert "1 part without a whole JPEG" in result["reason"]


def test_a_chunked_stream_that_breaks_off(serve: Serve) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked"))
        wire.send(b"1000\r\n", part(jpeg()))

    result = look(serve(behave))
    assert result["frames"] == 1
    assert "after 1 live frame" in result["reason"]


def test_broken_jpegs(serve: Serve) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        for number in range(1000):
            wire.send(part(jpeg(number)[:-2]))
            wire.pause(0.01)

    result = look(serve(behave), timeout=0.5)
    assert (result["streaming"], result["frames"], result["width"]) == (False, 0, None)
    assert result["broken_frames"] > 3
    assert result["reason"].startswith("No part holds a whole JPEG")


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", 404, "HTTP status 404 (Not Found)"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", 503, "HTTP status 503 (Service Unavailable)"),
        (b"HTTP/1.1 799 Odd\r\n\r\n", 799, "HTTP status 799."),
        (b"HTTP/1.1 200 OK\r\n\r\n", 200, "Content-Type is missing"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>", 200, "is text/html"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg(), 200, "is image/jpeg"),
        (HEAD + b"--frame\r\n<html>\r\n\r\n", 200, "not followed by headers"),
        (b"SSH-2.0-OpenSSH_10.0\r\n", None, "is not HTTP"),
        (b"", None, "without an answer"),
    ],
)
def test_what_is_no_stream(serve: Serve, answer: bytes, status: int | None, reason: str) -> None:
    result = look(serve(lambda wire: wire.send(answer)))
    assert (result["streaming"], result["frames"], result["status"]) == (False, 0, status)
    assert reason in result["reason"]


def test_a_redirection_is_said_without_its_secrets(serve: Serve) -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: https://u:p@cam.example/v?token=geheim\r\n\r\n"
    result = look(serve(lambda wire: wire.send(answer)))
    assert result["reason"].endswith("which leads to https://cam.example; ask there.")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_refused() -> None:
    port = free_port()
    result = look(f"http://127.0.0.1:{port}/video")
    assert result["reason"] == f"127.0.0.1:{port} refuses the connection: nothing listens there."
    assert result["status"] is None


def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_more: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    result = look("http://camera.invalid/video")
    assert result["reason"] == "The name camera.invalid could not be resolved."


def test_a_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*_arguments: object, **_more: object) -> list[object]:
        over.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    result = look("http://camera.invalid/video", timeout=0.3)
    over.set()
    assert "could not be resolved within 0.3 s" in result["reason"]


def test_the_next_address_is_tried(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    target = parse_url(serve(lambda wire: wire.send(HEAD, part(jpeg()))))
    stream = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
    monkeypatch.setattr(
        _stream,
        "_resolve",
        lambda _target, _clock: [
            (*stream, ("127.0.0.1", free_port())),
            (*stream, ("127.0.0.1", target.port)),
        ],
    )
    assert watch(target, 1, 10, 5)["streaming"]


def test_https_asked_of_http(serve: Serve) -> None:
    url = serve(lambda wire: wire.send(HEAD)).replace("http", "https", 1)
    result = look(url, timeout=1)
    assert result["status"] is None
    assert result["reason"] is not None


def test_what_is_sent(serve: Serve) -> None:
    requests = []

    def behave(wire: Wire) -> None:
        requests.append(wire.request)
        wire.send(HEAD, part(jpeg()))

    url = serve(behave).replace("http://", "http://me:p%40ss@")
    assert look(url + "?token=geheim&größe=1#top", frames=1)["streaming"]
    lines = requests[0].split(b"\r\n")
    assert lines[0] == b"GET /video?token=geheim&gr%C3%B6%C3%9Fe=1 HTTP/1.1"
    assert b"Authorization: Basic " + base64.b64encode(b"me:p@ss") in lines


HUSH = "geheim"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 401 Unauthorized\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation: /video/?token=geheim\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"rubbish",
        b"",
        HEAD,
        HEAD + part(jpeg()),
    ],
)
def test_secrets_of_the_url_are_in_no_result(serve: Serve, answer: bytes) -> None:
    url = serve(lambda wire: wire.send(answer)).replace("http://", f"http://me:{HUSH}@")
    assert HUSH not in str(look(f"{url}?token={HUSH}"))
    assert HUSH not in repr(parse_url(f"{url}?token={HUSH}"))


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "address"),
    [
        ("http://pi", "pi", 80, "/", "pi:80"),
        ("HTTPS://Pi.local/video", "pi.local", 443, "/video", "pi.local:443"),
        ("http://[::1]:8080/a%20b?x=1", "::1", 8080, "/a%20b?x=1", "[::1]:8080"),
    ],
)
def test_urls(url: str, host: str, port: int, path: str, address: str) -> None:
    target = parse_url(url)
    assert (target.host, target.port, target.path) == (host, port, path)
    assert target.address == address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://pi/video", "url has the scheme 'ftp', but must begin with http:// or https://"),
        ("pi:8080/video", "url has no scheme"),
        (f"me:{HUSH}@pi/video", "url has no scheme"),
        ("", "url has no scheme"),
        ("http://", "url names no host"),
        ("http:///video", "url names no host"),
        ("http://pi:0/", "url names no host, or port 0"),
        (f"http://me:{HUSH}@pi:99999/", "url has no valid host and port"),
        (f"http://me:{HUSH}@pi:port/", "url has no valid host and port"),
        (f"http://[::1?token={HUSH}", "url has no valid host and port"),
        (f"http://pi/video?token={HUSH} ", "url contains a blank or a control character"),
        (f"http://pi/\r\nX: {HUSH}", "url contains a blank or a control character"),
    ],
)
def test_urls_that_are_not_allowed(url: str, reason: str) -> None:
    with pytest.raises(OptionError) as refused:
        parse_url(url)
    assert reason in str(refused.value)
    assert HUSH not in str(refused.value)


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    """A server's side of TLS with a certificate for 127.0.0.1 that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def test_a_certificate_that_nobody_has_signed_is_not_trusted(self_signed: ssl.SSLContext) -> None:
    def greet(listener: socket.socket) -> None:
        connection, _address = listener.accept()
        with contextlib.suppress(OSError), connection:
            self_signed.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=greet, args=(listener,), daemon=True).start()
        result = look(f"https://127.0.0.1:{listener.getsockname()[1]}/video")
    assert result["streaming"] is False
    assert "is not trusted" in result["reason"]
