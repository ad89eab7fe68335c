# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at real servers over TLS: whom it trusts, and why not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.rpi_camera.fleet.plugins.module_utils._options import OptionError
from ansible_collections.rpi_camera.fleet.plugins.module_utils._stream import Limits, watch
from ansible_collections.rpi_camera.fleet.plugins.module_utils._target import (
    parse_url,
    tls_context,
)
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.authority import HOUR, Authority
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import (
    HEAD,
    Serve,
    Wire,
    jpeg,
    part,
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The camera's CA."""
    return Authority(tmp_path, "house")


def stream(wire: Wire) -> None:
    """Send the frames that a look asks for."""
    wire.send(HEAD, *(part(jpeg(number)) for number in range(3)))


def look(
    url: str,
    ca_path: Path | None = None,
    validate_certs: bool = True,
    timeout: float = 10,
    stall: float = 5,
) -> dict[str, Any]:
    """Look for three frames."""
    tls = tls_context(None if ca_path is None else str(ca_path), validate_certs)
    return watch(parse_url(url), Limits(3, None, timeout, stall), tls)


def why_not(result: dict[str, Any]) -> str:
    """Return the reason of a look that nothing was answered to."""
    assert (result["streaming"], result["frames"], result["status"]) == (False, 0, None)
    reason: str = result["reason"]
    return reason


def test_a_ca_of_ones_own(serve: Serve, authority: Authority) -> None:
    result = look(serve(stream, authority.server()), authority.ca_path)
    assert (result["streaming"], result["frames"], result["status"]) == (True, 3, 200)


def test_the_systems_cas(
    serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where OpenSSL looks for them.
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_path))
    assert look(serve(stream, authority.server()))["streaming"]


def test_a_ca_of_ones_own_stands_in_place_of_the_systems(
    serve: Serve, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_path))
    other = Authority(tmp_path, "other")
    assert "set ca_path" in why_not(look(serve(stream, authority.server()), other.ca_path))


def test_a_ca_that_nobody_knows(serve: Serve, authority: Authority) -> None:
    url = serve(stream, authority.server())
    address = url.removeprefix("https://").removesuffix("/video")
    assert why_not(look(url)) == (
        f"The certificate of {address} is signed by a CA that is not trusted here: set ca_path to"
        " the certificate of that CA."
    )


def test_a_stall_over_tls(serve: Serve, authority: Authority) -> None:
    def behave(wire: Wire) -> None:
        wire.send(HEAD, part(jpeg()))
        wire.hang()

    result = look(serve(behave, authority.server()), authority.ca_path, stall=0.3)
    assert (result["frames"], result["stalled"]) == (1, True)


@pytest.mark.parametrize("host", ["garden.home.arpa", "127.0.0.2"])
def test_another_name(serve: Serve, authority: Authority, host: str) -> None:
    reason = why_not(look(serve(stream, authority.server(host)), authority.ca_path))
    assert reason.endswith("is not made out to 127.0.0.1: ask by a name that it holds.")


@pytest.mark.parametrize(
    ("begins", "ends", "fault"),
    [(HOUR, 2 * HOUR, "is not valid yet"), (-2 * HOUR, -HOUR, "has expired")],
)
def test_another_time(
    serve: Serve, authority: Authority, begins: timedelta, ends: timedelta, fault: str
) -> None:
    url = serve(stream, authority.server(begins=begins, ends=ends))
    before = datetime.now(UTC)
    reason = why_not(look(url, authority.ca_path))
    times = [f"it is {now:%Y-%m-%d %H:%M} UTC there" for now in (before, datetime.now(UTC))]
    assert f"{fault}, by the clock of {socket.gethostname()}, which looks: " in reason
    assert any(time in reason for time in times)
    assert "If that is wrong, set that clock" in reason


def test_whoever_it_is(serve: Serve, authority: Authority) -> None:
    server = authority.server("garden.home.arpa", ends=-HOUR / 2)
    assert look(serve(stream, server), validate_certs=False)["streaming"]


def test_https_asked_of_http() -> None:
    def greet(listener: socket.socket) -> None:
        connection, _address = listener.accept()
        with contextlib.suppress(OSError), connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet, args=(listener,), daemon=True)
        thread.start()
        reason = why_not(look(f"https://127.0.0.1:{listener.getsockname()[1]}/video"))
        thread.join(5)
    assert "does not speak TLS as expected" in reason
    assert reason.endswith("is it http:// there?")


def test_http_asked_of_https(serve: Serve, authority: Authority) -> None:
    url = serve(stream, authority.server()).replace("https", "http")
    reason = why_not(watch(parse_url(url), Limits(3, None, 10, 5)))
    assert "127.0.0.1" in reason


@pytest.mark.parametrize(("timeout", "stall", "stalled"), [(10, 0.3, True), (0.3, 5, False)])
def test_silence_instead_of_tls(timeout: float, stall: float, stalled: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/video"
        result = look(url, timeout=timeout, stall=stall)
    assert result["stalled"] is stalled
    assert ("does not begin TLS within 0.3 s" in why_not(result)) is stalled
    assert result["duration"] < 2


def test_files_that_hold_no_ca(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    with pytest.raises(OptionError, match=f"ca_path is {nothing}, but there is no such file"):
        tls_context(str(nothing), True)
    nothing.write_text("no certificate\n", encoding="utf-8")
    with pytest.raises(OptionError, match=f"ca_path is {nothing}, which holds no certificate"):
        tls_context(str(nothing), True)
    assert isinstance(tls_context(str(nothing), False), ssl.SSLContext)
