"""What viewers of a bootstrapped device see, in good times and in bad ones."""

from __future__ import annotations

import threading
import time

from tests.device.conftest import Device
from tests.viewer import Part, Viewer


def test_four_seconds_of_video_are_thirty_whole_frames_a_second(device: Device) -> None:
    with device.viewer() as viewer:
        parts = viewer.watch(seconds=4)
    assert len(parts) >= 108
    assert {part.decode().size for part in parts} == {(640, 480)}
    assert len({part.jpeg for part in parts}) >= 30


def test_the_frames_are_a_real_camera_s(device: Device) -> None:
    state = device.state()
    assert (state["source"], state["width"], state["height"]) == ("picamera2", 640, 480)
    command = device.run("cat", f"/proc/{state['pid']}/maps")
    assert "libcamera.so" in command


def _watch_the_loss(viewer: Viewer, seen: list[Part], ready: threading.Barrier) -> None:
    """Collect the first drawn frame after live ones, and the first live frame after that."""
    viewer.first()
    ready.wait(timeout=20)
    seen.append(viewer.first(live=False))
    seen.append(viewer.first())


def test_two_viewers_outlive_a_killed_camera_process(device: Device) -> None:
    seen: list[list[Part]] = [[], []]
    ready = threading.Barrier(3)
    with device.viewer() as one, device.viewer() as two:
        threads = [
            threading.Thread(target=_watch_the_loss, args=(viewer, parts, ready), daemon=True)
            for viewer, parts in zip((one, two), seen, strict=True)
        ]
        for thread in threads:
            thread.start()
        ready.wait(timeout=20)
        killed_pid = device.state()["pid"]
        killed = time.monotonic()
        device.run("kill", "-9", str(killed_pid))
        for thread in threads:
            thread.join(timeout=20)
    for drawn, live in seen:
        assert drawn.state == "lost"
        assert drawn.decode().size == (640, 480)
        assert live.when - killed < 3
    assert device.state()["pid"] != killed_pid


def test_ten_open_streams_do_not_hold_up_the_unit_s_end(device: Device) -> None:
    viewers = [device.viewer() for _turn in range(10)]
    for viewer in viewers:
        viewer.first()
    began = time.monotonic()
    try:
        device.run("systemctl", "stop", "camera-server")
        seconds = time.monotonic() - began
        result = device.run("systemctl", "show", "--value", "--property=Result", "camera-server")
        left = device.run("sh", "-c", "pgrep --count --uid camera-server || :")
    finally:
        device.run("systemctl", "start", "camera-server")
    assert seconds < 2
    assert result.strip() == "success"
    assert left.strip() == "0"
    with device.viewer() as viewer:
        viewer.first()


def test_the_server_has_a_user_of_its_own_and_no_capability(device: Device) -> None:
    pid = device.run("systemctl", "show", "--value", "--property=MainPID", "camera-server").strip()
    status = device.run("cat", f"/proc/{pid}/status")
    assert device.run("stat", "--format=%U", f"/proc/{pid}").strip() == "camera-server"
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_systemd_rates_the_sandbox_as_it_was_built(device: Device) -> None:
    # In tenths of systemd's exposure, from 0 (none) to 100; above the threshold it fails.
    device.run("systemd-analyze", "security", "--threshold=20", "camera-server")


def test_a_hung_server_is_started_again(device: Device) -> None:
    def unit() -> list[str]:
        properties = "--property=ActiveState,MainPID,WatchdogUSec"
        return device.run("systemctl", "show", properties, "camera-server").split()

    hung = unit()
    (pid,) = [line.partition("=")[2] for line in hung if line.startswith("MainPID=")]
    device.run("kill", "-STOP", pid)
    deadline = time.monotonic() + 60
    while unit() == hung or "ActiveState=active" not in unit():
        assert time.monotonic() < deadline, f"still hung: {hung}"
        time.sleep(0.5)
    with device.viewer() as viewer:
        viewer.first()
