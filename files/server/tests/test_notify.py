import os
import socket
from pathlib import Path

import pytest
from camera_server.notify import READY, notify, watchdog_interval


@pytest.mark.parametrize("abstract", [False, True])
def test_a_message_reaches_the_manager(tmp_path: Path, abstract: bool) -> None:
    name = f"@camera-server-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        assert notify(READY, {"NOTIFY_SOCKET": name})
        manager.settimeout(5)
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "tcp:1", "/nowhere/notify"])
def test_no_manager_is_no_fault(address: str) -> None:
    assert not notify(READY, {"NOTIFY_SOCKET": address})
    assert not notify(READY, {})


def test_the_watchdog_hears_twice_as_often_as_it_asks() -> None:
    assert watchdog_interval({"WATCHDOG_USEC": "3000000"}) == 1.5
    assert watchdog_interval({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}) == 1
    assert watchdog_interval({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}) is None
    assert watchdog_interval({"WATCHDOG_USEC": "0"}) is None
    assert watchdog_interval({}) is None
