# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it."""

from __future__ import annotations

import base64
import syslog
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible_collections.rpi_camera.fleet.plugins.modules import mjpeg_stream_info
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.authority import Authority
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import (
    HEAD,
    Run,
    Serve,
    Wire,
    jpeg,
    part,
)


def test_a_stream_is_a_result(run: Run, serve: Serve) -> None:
    url = serve(lambda wire: wire.send(HEAD, *(part(jpeg(number)) for number in range(3))))
    result = run(mjpeg_stream_info.main, url=url, frames=3)
    assert not result.get("failed")
    assert (result["changed"], result["streaming"], result["frames"]) == (False, True, 3)


@pytest.mark.parametrize("check", [False, True])
def test_trouble_is_a_result_too(run: Run, serve: Serve, check: bool) -> None:
    url = serve(lambda wire: wire.send(b"HTTP/1.1 404 Not Found\r\n\r\n"))
    result = run(mjpeg_stream_info.main, url=url, _ansible_check_mode=check)
    assert not result.get("failed")
    assert (result["streaming"], result["status"]) == (False, 404)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, "frames is 0, but must be a number above 0, 86400 at most."),
        ({"timeout": -1}, "timeout is -1.0, but must be a number above 0, 86400 at most."),
        ({"stall": "nan"}, "stall is nan, but must be a number above 0, 86400 at most."),
        ({"duration": 0}, "duration is 0.0, but must be a number above 0, 86400 at most."),
        (
            {"frames": 3, "duration": 3},
            "parameters are mutually exclusive: frames|duration",
        ),
        (
            {"token": "x.y.z", "url_username": "me"},
            "parameters are mutually exclusive: token|url_username",
        ),
        (
            {"url_password": "x.y.z"},
            "missing parameter(s) required by 'url_password': url_username",
        ),
        (
            {"url": "https://127.0.0.1:9/", "ca_path": "/nowhere/ca.pem"},
            "ca_path is /nowhere/ca.pem, but there is no such file.",
        ),
        (
            {"url": "ftp://pi/geheim"},
            "url has the scheme 'ftp', but must begin with http:// or https://.",
        ),
    ],
)
def test_options_that_are_not_allowed(run: Run, options: dict[str, object], message: str) -> None:
    result = run(mjpeg_stream_info.main, **({"url": "http://127.0.0.1:9/"} | options))
    assert result["failed"]
    assert result["msg"] == message


def test_a_duration_in_place_of_a_number_of_frames(run: Run, serve: Serve) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD)
        for number in range(1000):
            wire.send(part(jpeg(number)))
            wire.pause(0.005)

    result = run(mjpeg_stream_info.main, url=serve(behave), duration=0.5)
    assert result["streaming"]
    assert result["frames"] > 30


def test_a_certificate_of_ones_own_ca(run: Run, serve: Serve, tmp_path: Path) -> None:
    house = Authority(tmp_path, "house")
    frames = [part(jpeg(number)) for number in range(3)]

    def ask(**options: object) -> dict[str, Any]:
        url = serve(lambda wire: wire.send(HEAD, *frames), house.server())
        return run(mjpeg_stream_info.main, url=url, frames=3, **options)

    assert "set ca_path" in ask()["reason"]
    assert ask(ca_path=str(house.ca_path))["streaming"]
    assert ask(validate_certs=False)["streaming"]


def let_in(wire: Wire, header: bytes) -> None:
    """Stream to whoever sends *header*."""
    if header in wire.request.split(b"\r\n"):
        wire.send(HEAD, *(part(jpeg(number)) for number in range(3)))
    else:
        wire.send(b"HTTP/1.1 401 No\r\n\r\n")


@pytest.mark.parametrize(
    ("options", "header"),
    [
        ({"token": "s.3cr-t"}, b"Authorization: Bearer s.3cr-t"),
        (
            {"url_username": "me", "url_password": "ö:"},
            b"Authorization: Basic " + base64.b64encode("me:ö:".encode()),
        ),
        ({"url_username": "me"}, b"Authorization: Basic " + base64.b64encode(b"me:")),
    ],
)
def test_credentials(run: Run, serve: Serve, options: dict[str, str], header: bytes) -> None:
    url = serve(lambda wire: let_in(wire, header))
    assert run(mjpeg_stream_info.main, url=url, frames=3, **options)["streaming"]
    url = serve(lambda wire: let_in(wire, header))
    assert run(mjpeg_stream_info.main, url=url, frames=3)["status"] == 401


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What modules write to the device's log."""
    lines: list[str] = []
    monkeypatch.setattr(basic, "has_journal", False)
    monkeypatch.setattr(syslog, "syslog", lambda *arguments: lines.append(str(arguments)))
    return lines


HUSH = "g3heim+XYZ"
ECHO = (
    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame; a=%b\r\n"
    b"Connection: close\r\n\r\n"
)


@pytest.mark.parametrize(
    "answer",
    [
        HEAD,
        HEAD + part(jpeg()),
        ECHO % HUSH.encode(),
        b"HTTP/1.1 401 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/%b\r\n\r\n" % HUSH.encode(),
        b"HTTP/1.1 302 Found\r\nLocation: /%b\r\n\r\n" % HUSH.encode(),
        b"SSH-2.0-%b\r\n" % HUSH.encode(),
    ],
)
@pytest.mark.parametrize(
    ("user", "query", "options"),
    [
        (f"me:{HUSH}@", f"?token={HUSH}", {}),
        ("", f"?token={HUSH}", {"frames": "many"}),
        (f"{HUSH}@", "", {"timeout": 0}),
        (f"me:{HUSH}@", "", {"token": HUSH}),
        ("", "", {"token": HUSH}),
        ("", "", {"token": f"{HUSH}\n"}),
        ("", "", {"token": HUSH, "url_username": "me"}),
        ("", "", {"url_username": "me", "url_password": HUSH}),
        ("", "", {"url_password": HUSH}),
        ("", "", {"url_username": "me:you", "url_password": HUSH}),
    ],
)
def test_secrets_are_in_no_result_and_no_log(
    run: Run,
    serve: Serve,
    logged: list[str],
    answer: bytes,
    user: str,
    query: str,
    options: dict[str, object],
) -> None:
    url = serve(lambda wire: wire.send(answer)).replace("http://", f"http://{user}")
    result = run(mjpeg_stream_info.main, url=url + query, **options)
    encoded = base64.b64encode(f"me:{HUSH}".encode()).decode()
    assert logged or result["failed"]
    for said in (str(result), *logged):
        assert HUSH not in said
        assert encoded not in said
