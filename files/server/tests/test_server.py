import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from server_helpers import (
    RunningServer,
    decode,
    environment,
    eventually,
    is_running,
    listening_socket,
    running_server,
    start_and_fail,
)


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningServer]:
    """A server for the tests that leave it as they found it."""
    with running_server(CAMERA_SERVER_IDLE_SECONDS="0.5") as server:
        yield server
        server.stop()
        assert not [line for line in server.log if not line.startswith("level=INFO ")], server.log


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server() as server:
        yield server


def test_what_asks_for_health_opens_no_camera(shared: RunningServer) -> None:
    eventually(lambda: shared.state()["state"] == "idle")
    frames = shared.state()["frames"]
    assert shared.get("/healthz")[:2] == (200, b"ok\n")
    assert shared.get("/readyz")[0] == 200
    state = shared.state()
    assert state == {
        "name": "camera",
        "source": "test-pattern",
        "state": "idle",
        "reason": None,
        "width": 640,
        "height": 480,
        "fps": 30,
        "measured_fps": 0,
        "frames": frames,
        "viewers": 0,
        "restarts": 0,
        "frame_age": state["frame_age"],
        "pid": None,
    }


def test_a_viewer_sees_a_moving_picture(shared: RunningServer) -> None:
    eventually(lambda: shared.state()["state"] == "idle")
    viewer = shared.watch()
    assert viewer.response.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
    assert "no-store" in viewer.response.headers["cache-control"]
    assert viewer.part().state == "starting"
    parts = [viewer.until("live")]
    parts += [viewer.part() for _turn in range(30)]
    pictures = {decode(part.jpeg).tobytes() for part in parts}
    assert len(pictures) == len(parts), "every frame differs from the others"
    assert {decode(part.jpeg).size for part in parts} == {(640, 480)}
    sequences = [part.sequence for part in parts]
    assert sequences == sorted(set(sequences))
    assert all(part.headers["content-type"] == "image/jpeg" for part in parts)
    assert abs(float(parts[-1].headers["x-timestamp"]) - time.time()) < 1
    eventually(lambda: shared.state()["measured_fps"] > 25)
    state = shared.state()
    assert (state["state"], state["viewers"]) == ("live", 1)
    assert state["frame_age"] < 0.5
    assert is_running(state["pid"])
    assert shared.get("/readyz")[0] == 200

    viewer.leave()
    eventually(lambda: shared.state()["viewers"] == 0)
    eventually(lambda: shared.state()["state"] == "idle")
    assert not is_running(state["pid"])


def test_a_snapshot_opens_the_camera(shared: RunningServer) -> None:
    eventually(lambda: shared.state()["state"] == "idle")
    status, jpeg, headers = shared.get("/snapshot")
    assert status == 200
    assert decode(jpeg).size == (640, 480)
    assert headers["content-type"] == "image/jpeg"
    assert headers["x-frame-state"] == "live"
    assert "no-store" in headers["cache-control"]


def test_a_snapshot_can_ask_for_a_frame_that_is_new(shared: RunningServer) -> None:
    asked = time.time()
    status, _body, headers = shared.get("/snapshot?max_age=0")
    assert status == 200
    assert float(headers["x-timestamp"]) >= asked - 0.001
    assert shared.get("/snapshot?max_age=-1")[0] == 422


def test_a_snapshot_that_the_client_has_is_not_sent_again() -> None:
    with running_server(CAMERA_SERVER_FPS="1") as server:
        status, jpeg, headers = server.get("/snapshot")
        assert status == 200
        assert 0 <= float(headers["x-frame-age"]) < 1.5
        tag = headers["etag"]
        for known in (tag, f'"other", W/{tag}'):
            status, body, headers = server.get("/snapshot", **{"if-none-match": known})
            assert (status, body, headers["etag"]) == (304, b"", tag)
        assert headers["x-frame-sequence"]
        for unknown in ('"other"', tag[:-1], ""):
            assert server.get("/snapshot", **{"if-none-match": unknown})[0] == 200
        status, newer, headers = server.get("/snapshot?max_age=0", **{"if-none-match": tag})
        assert status == 200
        assert newer != jpeg


def test_other_sites_may_read_what_the_settings_let_them() -> None:
    mine, other = "https://mine.example", "https://other.example"

    def allowed(server: RunningServer, path: str, origin: str) -> str | None:
        return server.get(path, origin=origin)[2]["access-control-allow-origin"]

    with running_server(CAMERA_SERVER_CORS_ORIGINS=f"{mine},http://localhost:3000") as server:
        for path in ("/state", "/snapshot", "/nowhere"):
            assert allowed(server, path, mine) == mine
            assert allowed(server, path, other) is None
        exposed = server.get("/snapshot", origin=mine)[2]["access-control-expose-headers"]
        assert "X-Frame-Age" in exposed
        viewer = server.watch(origin=mine)
        assert viewer.response.headers["access-control-allow-origin"] == mine
        viewer.until("live")
        # What a browser asks before it shows a token; nobody can know the token yet.
        asked = (
            f"OPTIONS /state HTTP/1.1\r\nHost: x\r\nOrigin: {mine}\r\nConnection: close\r\n"
            "Access-Control-Request-Method: GET\r\n"
            "Access-Control-Request-Headers: authorization\r\n\r\n"
        )
        answer = server.raw(asked.encode()).decode().lower()
        assert answer.startswith("http/1.1 200")
        assert "access-control-allow-headers: " in answer
        assert "authorization" in answer
    with running_server(CAMERA_SERVER_CORS_ORIGINS="*") as server:
        assert allowed(server, "/state", other) == "*"
    with running_server() as server:
        assert allowed(server, "/state", mine) is None


def test_what_a_request_carries_is_not_logged(server: RunningServer) -> None:
    assert server.get("/state?token=geheim")[0] == 200
    assert server.get("/nowhere?token=geheim")[0] == 404
    server.stop()
    assert any("stopping" in line for line in server.log)
    assert not any("geheim" in line for line in server.log), server.log


def test_the_page_works_behind_any_path(shared: RunningServer) -> None:
    status, body, headers = shared.get("/")
    page = body.decode()
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>" in page
    assert 'src="video"' in page
    assert 'alt="' in page
    assert 'aria-live="polite"' in page
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "img-src 'self' data:" in policy  # the page's empty icon is a data address
    for absolute in ('src="/', 'href="/', "http://", "https://", 'fetch("/'):
        assert absolute not in page


def test_paths_by_name(tmp_path: Path) -> None:
    config = tmp_path / "camera-server.toml"
    config.write_text(
        '[[camera]]\nname = "front"\nsource = "test-pattern"\n'
        '[[camera]]\nname = "back"\nsource = "test-pattern"\nwidth = 320\nheight = 240\nfps = 1\n'
    )
    with running_server("--config", str(config)) as server:
        assert server.state()["name"] == "front"
        assert server.state("/cameras/front/state")["name"] == "front"
        assert server.state("/cameras/back/state")["name"] == "back"
        assert decode(server.get("/cameras/back/snapshot")[1]).size == (320, 240)
        assert server.state()["state"] == "idle", "only the camera that is wanted was opened"
        everyone = server.state("/cameras")["cameras"]
        assert [camera["name"] for camera in everyone] == ["front", "back"]
        assert [camera["state"] for camera in everyone] == ["idle", "live"], "asking opens nothing"
        assert everyone[0] == server.state("/cameras/front/state")
        viewer = server.watch("/cameras/back/video")
        first, second = viewer.until("live"), viewer.part()
        while second.sequence == first.sequence:
            second = viewer.part()
        # The boundary behind a frame is there at once, not with the next frame a second later.
        assert time.time() - float(second.headers["x-timestamp"]) < 0.5
        for path in ("video", "snapshot", "state"):
            status, body, _headers = server.get(f"/cameras/side/{path}")
            assert status == 404
            assert json.loads(body) == {
                "error": "there is no camera 'side'",
                "cameras": ["front", "back"],
            }


def test_a_killed_camera_comes_back_on_the_same_connections(server: RunningServer) -> None:
    viewers = [server.watch() for _turn in range(2)]
    for viewer in viewers:
        viewer.until("live")
    pid = server.camera_pid()
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    for viewer in viewers:
        lost = viewer.until("lost")
        assert decode(lost.jpeg).size == (640, 480)
        live = viewer.until("live")
        assert decode(live.jpeg).size == (640, 480)
        assert live.sequence > lost.sequence
    took = time.monotonic() - killed
    print(f"live again {took:.2f} s after kill -9")
    assert took < 3
    state = server.state()
    assert (state["state"], state["restarts"], state["viewers"]) == ("live", 1, 2)
    assert state["pid"] != pid


def test_a_stopped_camera_is_noticed_by_its_missing_frames(server: RunningServer) -> None:
    viewer = server.watch()
    viewer.until("live")
    pid = server.camera_pid()
    os.kill(pid, signal.SIGSTOP)
    viewer.until("lost")
    assert any("no frame for 2.0 s" in line for line in server.log)
    viewer.until("live")
    assert not is_running(pid)


def test_a_camera_that_cannot_be_opened(tmp_path: Path) -> None:
    # No picamera2 here, or one without a camera: both are what a viewer must be told.
    (tmp_path / "picamera2.py").write_text("raise ImportError('none in this test')")
    settings = {"CAMERA_SERVER_CAMERA": "picamera2", "PYTHONPATH": str(tmp_path)}
    with running_server(**settings) as server:
        answers = []
        snapshot = threading.Thread(target=lambda: answers.append(server.get("/snapshot")))
        snapshot.start()
        eventually(lambda: server.get("/readyz")[0] == 503)
        reason = "picamera2 cannot be used here (it is the system's package python3-picamera2)"
        reason += ": none in this test"
        assert server.get("/readyz")[1].decode() == f"camera: {reason}\n"
        assert server.get("/healthz")[0] == 200
        viewer = server.watch()
        assert decode(viewer.part().jpeg).size == (640, 480)
        state = server.state()
        assert (state["state"], state["reason"]) == ("lost", reason)
        viewer.leave()
        snapshot.join()
        status, body, _headers = answers[0]
        assert status == 503
        assert json.loads(body) == {
            "error": "no picture from camera 'camera'",
            "state": "lost",
            "reason": reason,
        }


@pytest.mark.alone
def test_a_viewer_who_does_not_read_holds_up_nobody(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as sleeper:
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sleeper.sendall(b"GET /video HTTP/1.1\r\nHost: x\r\n\r\n")
        viewer = server.watch()
        viewer.until("live")
        began, first = time.monotonic(), viewer.part()
        for _turn in range(150):  # more than the sleeper's socket takes
            last = viewer.part()
        assert time.monotonic() - began < 8
        assert last.sequence - first.sequence < 160
        assert server.stop() < 2
        assert not any("Traceback" in line for line in server.log), server.log


@pytest.mark.alone
def test_ten_open_streams_end_with_the_server(server: RunningServer) -> None:
    viewers = [server.watch() for _turn in range(10)]
    for viewer in viewers:
        viewer.until("live")
    pid = server.camera_pid()
    took = server.stop()
    print(f"stopped in {took:.2f} s")
    assert took < 2
    assert not is_running(pid)
    for viewer in viewers:
        viewer.read_to_the_end()
    assert not [line for line in server.log if not line.startswith("level=INFO ")], server.log


@pytest.mark.alone
def test_a_snapshot_that_waits_does_not_hold_up_the_end() -> None:
    with running_server(CAMERA_SERVER_CAMERA="picamera2") as server:
        answers = []
        snapshot = threading.Thread(target=lambda: answers.append(server.get("/snapshot")))
        snapshot.start()
        eventually(lambda: server.state()["state"] == "lost")
        assert server.stop() < 2
        snapshot.join()
        assert answers[0][0] == 503
        assert json.loads(answers[0][1])["reason"] == "the server is stopping"


@pytest.mark.parametrize("hung", [False, True])
def test_a_camera_does_not_outlive_a_killed_server(server: RunningServer, hung: bool) -> None:
    server.get("/snapshot")
    pid = server.camera_pid()
    if hung:  # it cannot notice that nobody reads its frames any more
        os.kill(pid, signal.SIGSTOP)
    server.process.kill()
    server.process.wait()
    try:
        eventually(lambda: not is_running(pid), seconds=2)
    finally:
        if is_running(pid):  # one that is stopped would stay for ever
            os.kill(pid, signal.SIGKILL)


def test_a_port_in_use_is_said_clearly() -> None:
    with listening_socket() as taken:
        port = taken.getsockname()[1]
        status, said = start_and_fail(CAMERA_SERVER_PORT=str(port))
    assert status == 1
    message = f"camera-server: cannot listen on 127.0.0.1 port {port}: Address already in use"
    assert said == [message]


def test_a_server_for_this_host_only_says_so() -> None:
    said = "only this host is let in: there are no credentials, and access is not open"
    with running_server() as server:
        assert [line for line in server.log if said in line]
    with running_server(CAMERA_SERVER_ACCESS="open") as server:
        assert not [line for line in server.log if said in line]


@pytest.mark.alone
def test_systemd_hears_how_the_server_is(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        asked = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        with running_server(**asked) as server:
            assert manager.recv(100) == b"READY=1"
            assert server.get("/healthz")[0] == 200
            assert manager.recv(100) == b"WATCHDOG=1"
            began = time.monotonic()
            for _turn in range(3):
                assert manager.recv(100) == b"WATCHDOG=1"
            assert time.monotonic() - began < 1
            server.stop()
            messages: list[bytes] = []
            while not messages or messages[-1] != b"STOPPING=1":
                messages.append(manager.recv(100))


def test_the_watchdog_hears_nothing_while_the_server_does_not_do_its_work(tmp_path: Path) -> None:
    # The frames go nowhere, as if this program had forgotten to wait for them.
    changed = """
import asyncio, camera_server.feed as feed
feed._MARGIN_SECONDS = 0.5
feed.CameraFeed._open_until_idle = lambda self: asyncio.sleep(3600)
"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(2)
        asked = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        with running_server(changed=changed, **asked) as server:
            assert manager.recv(100) == b"READY=1"
            for _turn in range(5):  # nobody watches: that is as it should be
                assert manager.recv(100) == b"WATCHDOG=1"
            server.watch()
            told = "the watchdog is told nothing"
            eventually(lambda: any(told in line and "=camera" in line for line in server.log), 5)
            manager.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    assert manager.recv(100) == b"WATCHDOG=1"
            time.sleep(1)  # more than two of its turns
            with pytest.raises(BlockingIOError):
                manager.recv(100)


def metrics_of(server: RunningServer) -> dict[str, float]:
    status, body, headers = server.get("/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_prometheus_is_told_how_things_are(server: RunningServer) -> None:
    def of(name: str, **labels: str) -> float:
        place = f"camera_server_{name}{sorted({'camera': 'camera', **labels}.items())}"
        return metrics_of(server)[place]

    assert of("camera_state", camera_server_camera_state="idle") == 1
    assert of("frames_total") == 0
    viewer = server.watch()
    viewer.until("live")
    for _turn in range(30):
        viewer.part()
    assert of("camera_state", camera_server_camera_state="live") == 1
    assert of("viewers") == 1
    assert of("frames_total") >= 30
    assert of("frames_sent_total") >= 30
    assert of("frames_skipped_total") == 0
    assert 0 <= of("frame_age_seconds") < 0.5
    about = {"source": "test-pattern", "encoder": "test-pattern", "size": "640x480", "fps": "30"}
    assert of("camera_info", **about) == 1
    time.sleep(3)  # unread frames fill the sockets, and what comes then is skipped
    parts = [viewer.part() for _turn in range(120)]
    gaps = [after.sequence - before.sequence - 1 for before, after in itertools.pairwise(parts)]
    assert sum(gaps) == of("frames_skipped_total")
    os.kill(server.camera_pid(), signal.SIGKILL)
    viewer.until("lost")
    viewer.until("live")
    assert of("camera_faults_total", fault="ended") == 1
    assert of("camera_restarts_total") == 1
    assert metrics_of(server)["process_resident_memory_bytes[]"] < 75e6


def test_the_command_and_the_module_are_the_same() -> None:
    command = Path(sys.executable).with_name("camera-server")
    if not command.exists():
        pytest.skip("the package is not installed, only importable")
    ended = subprocess.run(
        [command, "--check"], env=environment(), capture_output=True, text=True, check=True
    )
    assert ended.stdout == "ok\n"


def test_a_request_s_head_has_to_be_small(shared: RunningServer) -> None:
    sent = 0
    with socket.create_connection(("127.0.0.1", shared.port), 10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        try:
            while sent < 2**22:
                sent += connection.send(b"X-Name: value\r\n" * 100)
            answer = connection.recv(1)
        except ConnectionError:
            answer = b""
    assert answer == b""
    # What the two ends of the connection hold in between is not the server's to bound.
    assert sent < 2**22
    assert shared.get("/healthz")[0] == 200


def test_a_connection_has_to_say_something(shared: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), 20) as silent:
        began = time.monotonic()
        assert silent.recv(1) == b""
    assert time.monotonic() - began > 5


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
    ],
)
def test_an_answered_connection_is_not_kept_by_a_byte_that_is_no_request(
    shared: RunningServer, sent: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), 20) as dawdler:
        dawdler.sendall(sent)
        answer = b""
        while not answer.endswith(b"ok\n"):
            answer += dawdler.recv(1000)
        began = time.monotonic()
        dawdler.sendall(b"\r\n")
        assert dawdler.recv(1) == b""
    assert time.monotonic() - began < 15


def test_a_reason_that_no_answer_can_hold_is_told_nevertheless(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    with running_server() as server:
        (tmp_path / name).write_bytes(server.get("/snapshot")[1])
    config = {"CAMERA_SERVER_CAMERA": "replay", "CAMERA_SERVER_REPLAY": str(tmp_path)}
    with running_server(CAMERA_SERVER_IDLE_SECONDS="0", **config) as server:
        assert server.get("/snapshot")[0] == 200
        eventually(lambda: server.state()["state"] == "idle")
        (tmp_path / name).write_bytes(b"")
        viewer = server.watch()
        viewer.until("lost")
        assert "caf\\udce9.jpg" in server.state()["reason"]
        assert server.get("/cameras")[0] == 200
        assert server.get("/readyz")[0] == 503
        assert server.get("/snapshot")[0] == 503
