# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at real servers in threads, good ones and bad ones."""

from __future__ import annotations

import base64
import socket
import threading
import time
from typing import Any

import pytest
from ansible_collections.rpi_camera.fleet.plugins.module_utils import _stream
from ansible_collections.rpi_camera.fleet.plugins.module_utils._options import OptionError
from ansible_collections.rpi_camera.fleet.plugins.module_utils._stream import Limits, watch
from ansible_collections.rpi_camera.fleet.plugins.module_utils._target import parse_url
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import (
    HEAD,
    Serve,
    Wire,
    jpeg,
    part,
)

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


def look(
    url: str,
    frames: int | None = 5,
    duration: float | None = None,
    timeout: float = 10,
    stall: float = 5,
    token: str | None = None,
) -> dict[str, Any]:
    """Look at a stream; what holds for every result is asserted here."""
    start = time.monotonic()
    limits = Limits(None if duration else frames, duration, timeout, stall)
    result = watch(parse_url(url, token=token), limits)
    assert time.monotonic() - start < timeout + (duration or 0) + 1
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
        for number in range(100):
            wire.send(part(jpeg(number), length=length))
            wire.pause(0.02)

    result = look(serve(behave), frames=10)
    assert (result["streaming"], result["frames"], result["distinct_frames"]) == (True, 10, 10)
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


def test_frames_that_are_cut_inside(serve: Serve) -> None:
    whole = jpeg()
    middle = len(whole) * 3 // 4
    cut = whole[:middle] + b"<p>not found</p>" + whole[middle + 16 :]

    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        while not wire.over.is_set():
            wire.send(part(cut))
            wire.pause(0.01)

    result = look(serve(behave), timeout=0.5)
    assert (result["streaming"], result["frames"]) == (False, 0)
    assert result["broken_frames"] > 3
    assert result["reason"].startswith("No part holds a whole JPEG: no live frames,")


@pytest.mark.parametrize("wrong", [-100, 100, 10_000_000])
def test_lengths_that_are_wrong(serve: Serve, wrong: int) -> None:
    right = b"Content-Length: %d" % len(jpeg())
    claimed = b"Content-Length: %d" % (len(jpeg()) + wrong)

    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        while not wire.over.is_set():
            wire.send(part(jpeg()).replace(right, claimed))
            wire.pause(0.01)

    result = look(serve(behave), timeout=0.5)
    assert (result["streaming"], result["frames"]) == (False, 0)
    assert result["broken_frames"] > 3
    assert "parts with a wrong Content-Length within 0.5 s." in result["reason"]


def test_live_frames_that_cease_while_broken_ones_come(serve: Serve) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        send_frames(wire, 3)
        while not wire.over.is_set():
            wire.send(part(jpeg()[:-2]))
            wire.pause(0.01)

    result = look(serve(behave), timeout=1, stall=0.4)
    assert (result["streaming"], result["frames"], result["stalled"]) == (False, 3, False)
    assert result["reason"].startswith("The live frames have ceased, none for ")
    assert ": 3 live frames, " in result["reason"]


def test_a_look_of_a_duration_begins_with_the_first_live_frame(serve: Serve) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        wire.send(part(jpeg(), "X-Frame-State: starting"))
        wire.pause(0.3)
        send_frames(wire, 1000)

    result = look(serve(behave), duration=0.5, timeout=5)
    assert (result["streaming"], result["placeholder_frames"]) == (True, 1)
    assert 10 < result["frames"] <= 50
    assert result["first_frame_seconds"] >= 0.3
    assert result["duration"] == pytest.approx(result["first_frame_seconds"] + 0.5, abs=0.2)


def test_a_look_of_a_duration_waits_only_so_long_for_the_first_frame(serve: Serve) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        send_frames(wire, 1000, "X-Frame-State: starting")

    result = look(serve(behave), duration=60, timeout=0.4)
    assert (result["streaming"], result["frames"]) == (False, 0)
    assert result["duration"] == pytest.approx(0.4, abs=0.3)
    assert result["reason"].endswith("within 0.4 s.")


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ("broken", "The live frames have ceased"),
        ("lost", "The server has no live picture, the camera's state is 'lost'"),
        ("end", "The stream ends after 3 live frames."),
        ("hang", "The live frames have ceased"),
        ("stall", "The stream stalls: no byte for 0.2 s after 3 live frames."),
    ],
)
def test_a_duration_asks_for_live_frames_until_its_end(
    serve: Serve, then: str, reason: str
) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        send_frames(wire, 3)
        while then in ("broken", "lost") and not wire.over.is_set():
            wire.send(part(jpeg()[:-2] if then == "broken" else jpeg(), f"X-Frame-State: {then}"))
            wire.pause(0.01)
        if then != "end":
            wire.hang()

    result = look(serve(behave), duration=0.6, stall=0.2 if then == "stall" else 5)
    assert (result["streaming"], result["frames"]) == (False, 3)
    assert result["reason"].startswith(reason)
    assert result["stalled"] is (then == "stall")


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
    assert watch(target, Limits(1, None, 10, 5))["streaming"]


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
WANTS = {
    "nothing": b"HTTP/1.1 401 No\r\n\r\n",
    "basic": b'HTTP/1.1 401 No\r\nWWW-Authenticate: basic realm="cam"\r\n\r\n',
    "bearer": b"HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\n\r\n",
    "both": b"HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer, Basic\r\n\r\n",
    "both, line by line": (
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\n"
        b'WWW-Authenticate: Basic realm="cam"\r\n\r\n'
    ),
    "basic or digest": (
        b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="cam", nonce="1"\r\n'
        b'WWW-Authenticate: Basic realm="cam"\r\n\r\n'
    ),
    "digest": b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="cam"\r\n\r\n',
    "others": b"HTTP/1.1 403 No\r\n\r\n",
}
BOTH = "token, or url_username and url_password"


@pytest.mark.parametrize(
    ("wants", "url", "token", "ending"),
    [
        ("nothing", "", None, f"401 (Unauthorized): set {BOTH}."),
        ("basic", "", None, "401 (Unauthorized): set url_username and url_password."),
        ("bearer", "", None, "401 (Unauthorized): set token."),
        ("both", "", None, f"401 (Unauthorized): set {BOTH}."),
        ("both, line by line", "", None, f"401 (Unauthorized): set {BOTH}."),
        ("basic or digest", "", None, "401 (Unauthorized): set url_username and url_password."),
        ("digest", "", None, "Digest authentication, which this module does not do."),
        ("bearer", f"?token={HUSH}", None, "the query of url is not enough; set token."),
        ("bearer", "", HUSH, "it does not accept token; set the right token."),
        ("nothing", "", HUSH, f"it does not accept token; set the right {BOTH}."),
        (
            "basic",
            "",
            HUSH,
            "it does not want token; set url_username and url_password instead.",
        ),
        (
            "basic",
            "me@",
            None,
            "it does not accept the user and the password in url;"
            " set the right url_username and url_password.",
        ),
        ("others", "", None, f"403 (Forbidden): set {BOTH}."),
        ("others", "", HUSH, f"token may not see this stream; set {BOTH} of somebody who may."),
    ],
)
def test_credentials_that_are_missing_or_refused(
    serve: Serve, wants: str, url: str, token: str | None, ending: str
) -> None:
    address = serve(lambda wire: wire.send(WANTS[wants]))
    if url.endswith("@"):
        address = address.replace("http://", f"http://{url}")
    else:
        address += url
    result = look(address, token=token)
    assert result["status"] in (401, 403)
    assert result["reason"].endswith(ending)


def test_a_token_is_sent(serve: Serve) -> None:
    requests = []

    def behave(wire: Wire) -> None:
        requests.append(wire.request)
        wire.send(HEAD, part(jpeg()))

    assert look(serve(behave), frames=1, token=HUSH)["streaming"]
    assert f"Authorization: Bearer {HUSH}".encode() in requests[0].split(b"\r\n")


PAIR = base64.b64encode(f"me:{HUSH}".encode())


@pytest.mark.parametrize(
    "answer",
    [
        *WANTS.values(),
        b"HTTP/1.1 301 Moved\r\nLocation: /video/?token=geheim\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        # Servers that repeat what they were asked.
        b"HTTP/1.1 400 geheim\r\nContent-Type: text/geheim; a=%b\r\n\r\n" % PAIR,
        b"HTTP/1.1 200 OK\r\nContent-Type: text/geheim; a=%b\r\n\r\n" % PAIR,
        b"rubbish",
        b"",
        HEAD,
        HEAD + part(jpeg()),
        HEAD + b"--frame\r\ngeheim\r\n\r\n",
        HEAD + part(jpeg(), "X-Frame-State: lost", "X-Geheim: geheim"),
    ],
)
def test_secrets_are_in_no_result(serve: Serve, answer: bytes) -> None:
    url = serve(lambda wire: wire.send(answer)).replace("http://", f"http://me:{HUSH}@")
    url = f"{url}?token={HUSH}"
    result = str(look(url, timeout=0.5))
    assert HUSH not in result
    assert PAIR.decode() not in result
    assert HUSH not in repr(parse_url(url))
    assert PAIR.decode() not in repr(parse_url(url))
    assert HUSH not in repr(parse_url("http://pi/", token=HUSH))


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


@pytest.mark.parametrize(
    ("url", "more", "reason"),
    [
        ("http://me@pi/", {"username": "you"}, "url holds a user, and url_username or token is"),
        ("http://me@pi/", {"token": HUSH}, "url holds a user, and url_username or token is"),
        ("http://me%3Ayou@pi/", {}, "The user's name contains a colon"),
        ("http://pi/", {"username": "me:you"}, "The user's name contains a colon"),
        ("http://pi/", {"token": ""}, "token is empty"),
        ("http://pi/", {"token": f"{HUSH}\n"}, "the end of a line"),
        ("http://pi/", {"token": f"Bearer {HUSH}"}, "it must be the token alone"),
        ("http://pi/", {"token": f"{HUSH}ö"}, "not ASCII"),
    ],
)
def test_credentials_that_are_not_allowed(url: str, more: dict[str, str], reason: str) -> None:
    with pytest.raises(OptionError) as refused:
        parse_url(url, **more)
    assert reason in str(refused.value)
    assert HUSH not in str(refused.value)
