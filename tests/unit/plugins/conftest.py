# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real HTTP servers that misbehave on purpose, and fake devices."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import Device, Run, Serve, Wire


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that starts a server with one behaviour and returns its URL."""
    over = threading.Event()
    threads: list[threading.Thread] = []
    listeners: list[socket.socket] = []

    def start(behave: Callable[[Wire], None], tls: ssl.SSLContext | None = None) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def answer() -> None:
            with contextlib.suppress(OSError):
                connection, _address = listener.accept()
                if tls is not None:
                    connection = tls.wrap_socket(connection, server_side=True)
                with connection:
                    request = b""
                    while b"\r\n\r\n" not in request:
                        piece = connection.recv(4096)
                        if not piece:
                            return
                        request += piece
                    behave(Wire(connection, request, over))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        threads.append(thread)
        return f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}/video"

    yield start
    over.set()
    for listener in listeners:
        # A close alone would leave a server waiting that nobody has asked.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(5)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """Return a device without any camera."""
    return Device(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a module as Ansible would, in this process."""

    def start(main: Callable[[], None], **options: object) -> dict[str, Any]:
        with patch_module_args(options), pytest.raises(SystemExit):
            main()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return start
