# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it."""

from __future__ import annotations

import pytest
from ansible_collections.rpi_camera.fleet.plugins.modules import mjpeg_stream_info
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import (
    HEAD,
    Run,
    Serve,
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
        ({"frames": 0}, "frames is 0, but must be a number above 0."),
        ({"timeout": -1}, "timeout is -1.0, but must be a number above 0."),
        ({"stall": "nan"}, "stall is nan, but must be a number above 0."),
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


@pytest.mark.parametrize("options", [{}, {"frames": "many"}, {"timeout": 0}])
def test_secrets_of_the_url_stay_secret(run: Run, serve: Serve, options: dict[str, object]) -> None:
    url = serve(lambda wire: wire.send(HEAD)).replace("http://", "http://me:geheim@")
    result = run(mjpeg_stream_info.main, url=f"{url}?token=geheim", **options)
    assert "geheim" not in str(result)
