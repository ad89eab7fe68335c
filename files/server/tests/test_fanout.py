"""Many viewers, slow viewers, and viewers who leave, on each way by which frames are sent."""

import os
import re
import selectors
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_helpers import (
    RunningServer,
    decode,
    eventually,
    memory_kb,
    running_server,
    start_and_fail,
)

# What another server, or TLS, is for a stream: no connection to take over.
BY_ASGI = """
import camera_server.server
from uvicorn.protocols.http.h11_impl import H11Protocol
camera_server.server.HandoverProtocol = H11Protocol
"""
ASYNCIO = """
import uvicorn
real, uvicorn.Config = uvicorn.Config, lambda *a, **k: real(*a, **{**k, "loop": "asyncio"})
"""
WAYS = {"direct": "", "asgi": BY_ASGI}
pytestmark = pytest.mark.alone


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(way: str) -> Iterator[RunningServer]:
    with running_server(
        changed=WAYS[way],
        CAMERA_SERVER_IDLE_SECONDS="0.3",
        CAMERA_SERVER_MAX_VIEWERS="1000",
    ) as server:
        yield server


def connect(server: RunningServer, path: str = "/video", receive_bytes: int = 0) -> socket.socket:
    connection = socket.socket()
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return connection


class Crowd:
    """Viewers who read as fast as they can, and note which frames have begun to come."""

    def __init__(self, server: RunningServer, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self.connections = [connect(server) for _turn in range(count)]
        self.sequences: list[list[int]] = [[] for _turn in range(count)]
        self._tails = [b""] * count
        for index, connection in enumerate(self.connections):
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ, index)

    def watch(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for key, _events in self._selector.select(left):
                self._read(key.data)

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        self._selector.close()

    def _read(self, index: int) -> None:
        data = self.connections[index].recv(2**20)
        assert data, "the server has ended a stream"
        data = self._tails[index] + data
        end = 0
        for match in re.finditer(rb"X-Frame-Sequence: (\d+)\r\n", data):
            self.sequences[index].append(int(match[1]))
            end = match.end()
        self._tails[index] = data[max(end, len(data) - 40) :]


def test_fast_viewers_lose_nothing_beside_one_that_hardly_reads(
    server: RunningServer, way: str
) -> None:
    crowd = Crowd(server, 50 if way == "direct" else 10)
    slow = connect(server, receive_bytes=4096)
    crowd.watch(1.5)
    for sequences in crowd.sequences:
        sequences.clear()
    before = memory_kb(server.process.pid)
    for _second in range(5):
        assert slow.recv(1024)
        crowd.watch(1)
    for sequences in crowd.sequences:
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
        assert len(sequences) > 145
    assert memory_kb(server.process.pid) < before + 2048
    crowd.close()
    slow.close()
    eventually(lambda: server.state()["state"] == "idle")


def whole(part: bytes) -> bool:
    """Whether a part holds as much as it says, and that is a picture (Pillow raises if not)."""
    head, _blank, jpeg = part.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    return length is not None and int(length[1]) == len(jpeg) and decode(jpeg).size == (640, 480)


def test_a_slow_viewer_sees_a_young_picture(server: RunningServer, way: str) -> None:
    """At 150 kB a second: a fifth of what the camera gives."""
    connection = connect(server)
    ages, parts, data, began, read = [], [], b"", time.monotonic(), 0
    while (now := time.monotonic()) - began < 8:
        time.sleep(max(0, began + read / 150_000 - now))
        new = connection.recv(8192)
        read += len(new)
        data += new
        while b"\r\n--frame\r\n" in data:  # a part has come once the next one's boundary has
            part, _boundary, data = data.partition(b"\r\n--frame\r\n")
            if captured_at := re.search(rb"X-Timestamp: ([\d.]+)", part):
                ages.append(time.time() - float(captured_at[1]))
                parts.append(part)
    connection.close()
    assert all(whole(part) for part in parts)
    # uvicorn keeps a part of its own in between. Without a bound it is more than 3 s by now.
    assert statistics.median(ages[len(ages) // 2 :]) < (1.2 if way == "direct" else 2), ages


def test_a_viewer_of_a_thinner_stream(server: RunningServer) -> None:
    viewer = server.watch("/video?fps=5")
    viewer.until("live")
    began = time.monotonic()
    parts = [viewer.part() for _turn in range(10)]
    assert 1.7 < time.monotonic() - began < 2.4
    assert all(decode(part.jpeg) for part in parts)
    for fps in ("0", "-1", "0.01", "121", "nan", "inf", "many"):
        status, body, _headers = server.get(f"/video?fps={fps}")
        assert (status, b'"fps"' in body) == (422, True), body


def test_a_viewer_who_leaves_is_counted_no_more(server: RunningServer) -> None:
    viewers = [server.watch() for _turn in range(3)]
    for viewer in viewers:
        viewer.until("live")
    assert server.state()["viewers"] == 3
    viewers[0].leave()
    eventually(lambda: server.state()["viewers"] == 2)
    viewers[1].leave()
    viewers[2].leave()
    eventually(lambda: server.state()["state"] == "idle")


def test_200_streams_end_with_the_server(server: RunningServer) -> None:
    crowd = Crowd(server, 200)
    crowd.watch(2)
    assert all(crowd.sequences)
    took = server.stop()
    print(f"stopped in {took:.2f} s")
    assert took < 1
    crowd.close()
    assert not [line for line in server.log if not line.startswith("level=INFO ")], server.log


def test_10000_viewers_cut_in_the_middle_leave_nothing_behind(server: RunningServer) -> None:
    pid = server.process.pid

    def cut(count: int) -> None:
        for number in range(count):
            connection = connect(server)
            if number % 4:  # in the middle of a frame, or before anything has come
                connection.recv(number % 50_000 + 1)
            if number % 3 == 0:  # a reset instead of an end
                linger = b"\1\0\0\0\0\0\0\0"
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.close()

    def left() -> tuple[int, int]:
        return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))

    stayer = server.watch()
    cut(500)
    eventually(lambda: server.state()["viewers"] == 1)
    before, memory = left(), memory_kb(pid)
    cut(10_000)
    eventually(lambda: server.state()["viewers"] == 1)
    eventually(lambda: left() <= before)
    assert memory_kb(pid) < memory + 3072
    stayer.until("live")
    stayer.leave()
    assert not [line for line in server.log if not line.startswith("level=INFO ")], server.log


def test_a_viewer_who_takes_nothing_is_let_go() -> None:
    changed = "import camera_server.stream\ncamera_server.stream.STALL_SECONDS = 2"
    with running_server(changed=changed, CAMERA_SERVER_IDLE_SECONDS="0.3") as server:
        stuck, slow = connect(server), connect(server, receive_bytes=4096)
        began = time.monotonic()
        while server.state()["viewers"] == 2:
            slow.recv(1024)
            time.sleep(0.2)
            assert time.monotonic() - began < 8
        assert time.monotonic() - began > 2
        for _turn in range(20):  # whoever takes a little stays
            slow.recv(1024)
            time.sleep(0.2)
        assert server.state()["viewers"] == 1
        text = server.get("/metrics")[1].decode()
        assert 'camera_server_viewers_expelled_total{camera="camera"} 1.0' in text
        stuck.close()
        slow.close()
        assert [line for line in server.log if "nothing taken any more" in line]


def test_a_viewer_of_http_1_0_gets_no_chunks() -> None:
    with running_server() as server, socket.create_connection(("127.0.0.1", server.port)) as old:
        old.sendall(b"GET /video HTTP/1.0\r\n\r\n")
        data = b""
        while b"image/jpeg" not in data:
            data += old.recv(4096)
        head, _blank, body = data.partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        assert body.startswith(b"--frame\r\nContent-Type: image/jpeg\r\n")


def test_what_a_viewer_says_while_he_watches_is_not_heard() -> None:
    with running_server(CAMERA_SERVER_IDLE_SECONDS="0.3") as server:
        # A further request in the same packet, half of one, and something else later on.
        more = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /st"
        with socket.create_connection(("127.0.0.1", server.port)) as talker:
            talker.sendall(b"GET /video HTTP/1.1\r\nHost: x\r\n\r\n" + more)
            began, data = time.monotonic(), b""
            while time.monotonic() - began < 11:  # longer than the head of a request may take
                talker.sendall(b"?")
                data += talker.recv(2**20)
        assert data.count(b"HTTP/1.1 ") == 1
        assert b"ok\n" not in data
        assert len(set(re.findall(rb"X-Frame-Sequence: (\d+)", data))) > 200
        eventually(lambda: server.state()["state"] == "idle")


def test_the_connection_works_on_asyncio_s_own_loop_too() -> None:
    with running_server(changed=ASYNCIO) as server:
        viewer = server.watch()
        viewer.until("live")
        first = viewer.part()
        assert decode(first.jpeg).size == (640, 480)
        assert viewer.part().sequence == first.sequence + 1


def test_who_comes_sees_the_last_frame_at_once() -> None:
    with running_server(CAMERA_SERVER_FPS="1") as server:
        server.watch().until("live")
        took = []
        for _turn in range(5):
            began = time.monotonic()
            server.watch().part()
            took.append(time.monotonic() - began)
        assert max(took) < 0.5, took


def test_as_many_watch_as_may() -> None:
    with running_server(CAMERA_SERVER_MAX_VIEWERS="3") as server:
        viewers = [server.watch() for _turn in range(3)]
        for viewer in viewers:
            viewer.until("live")
        answer = b""
        with connect(server) as refused:  # not read to its end, which a stream has not
            while b"max_viewers" not in answer and b"--frame" not in answer:
                answer += refused.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 10\r\n" in answer
        assert b"3 viewers watch already, which is the most (max_viewers)" in answer
        assert server.get("/snapshot")[0] == 200
        assert b"camera_server_viewers_refused_total 1.0" in server.get("/metrics")[1]
        viewers[0].leave()
        eventually(lambda: server.state()["viewers"] == 2)
        server.watch().until("live")


def answer(ask: Callable[[bytes], socket.socket], path: str) -> bytes:
    with ask(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()) as client:
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_a_proxy_reaches_the_server_by_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "camera.sock"
    with socket.socket(socket.AF_UNIX) as leftover:  # of a server that was killed
        leftover.bind(str(path))

    def ask(request: bytes) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(request)
        return connection

    with running_server(CAMERA_SERVER_PORT="", CAMERA_SERVER_SOCKET=str(path)) as server:
        assert path.stat().st_mode & 0o777 == 0o660
        with ask(b"GET /video HTTP/1.1\r\nHost: x\r\n\r\n") as viewer:
            data, began = b"", time.monotonic()
            while data.count(b"X-Frame-State: live") < 30:
                data += viewer.recv(2**20)
                assert time.monotonic() - began < 10
        said = f"camera-server: cannot listen on {path}: Address already in use"
        assert start_and_fail(CAMERA_SERVER_SOCKET=str(path)) == (1, [said])
        assert server.stop() < 1
