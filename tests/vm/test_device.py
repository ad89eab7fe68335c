"""What only a kernel of one's own shows: a boot, a wrong clock, a power cut, limits that bite."""

from __future__ import annotations

import json
import shlex
import time

from tests.lab.console import say
from tests.vm.conftest import (
    Ansible,
    Device,
    FirstDay,
    another_release,
    begin_bootstrap,
    bootstrap,
    eventually,
)

RELEASES = "/opt/rpi_camera/releases"
CGROUP = "/sys/fs/cgroup/system.slice/camera-server.service"

# Opens one node after the other, inside the unit's cgroup, and says what came of it.
_OPEN = """
import errno, os, sys
for path in sys.argv[1:]:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        print(path, "opened")
    except OSError as error:
        print(path, errno.errorcode[error.errno])
"""


def test_a_bare_machine_streams_after_one_bootstrap_and_the_second_changes_nothing(
    first_day: FirstDay,
) -> None:
    first, second = first_day.runs
    assert "seen from the controller" in first.output
    assert first.changed > 0
    assert second.changed == 0
    assert first_day.frame.decode().size == (640, 480)
    for name, value in first_day.figures.items():
        say(f"   {name} of the unit, one viewer: {int(value) / 1e6:.0f} MB")


def test_it_comes_back_by_itself_after_a_reboot(device: Device) -> None:
    reboot = ("ansible", "devices", "--become", "--module-name", "ansible.builtin.reboot")
    before = device.run("cat", "/proc/sys/kernel/random/boot_id")
    run = Ansible("reboot", (*reboot, "--args", "reboot_timeout=600")).wait()
    assert run.went_well, run.output
    assert device.run("cat", "/proc/sys/kernel/random/boot_id") != before
    assert device.first_frame().decode().size == (640, 480)


def test_a_power_cut_while_it_streams(device: Device) -> None:
    with device.viewer() as viewer:
        viewer.first()
        device.machine.cut_power()
    device.machine.start()
    device.first_frame()
    run = bootstrap("bootstrap after the power cut")
    assert run.went_well, run.output
    assert run.changed == 0


def _release_in_use(device: Device) -> str:
    return device.run("readlink", "/opt/rpi_camera/current").strip()


def _empty_files(device: Device) -> dict[str, set[str]]:
    """Return the empty files of each release that is marked complete."""
    marks = device.run("sh", "-c", f"ls {RELEASES}/*/complete").split()
    releases = [mark.removesuffix("/complete") for mark in marks]
    find = "find . -type f -empty"
    return {path: set(device.run("sh", "-ec", f"cd {path}; {find}").split()) for path in releases}


def test_power_cuts_in_an_upgrade(device: Device) -> None:
    before = _release_in_use(device)

    def two_releases_have(path: str) -> bool:
        # The old one has it, and so has the new one now.
        return device.run("sh", "-c", f"ls -d {RELEASES}/*/{path} | wc -l").strip() == "2"

    def installs_packages() -> bool:
        return two_releases_have("venv/lib/python3*/site-packages/uvicorn")

    def marked_complete() -> bool:
        return two_releases_have("complete")

    def switched() -> bool:
        return _release_in_use(device) != before

    with another_release():
        for title, what, moment in (
            ("upgrade", "it installs packages", installs_packages),
            ("upgrade again", "the release is marked complete", marked_complete),
            ("upgrade a third time", "it has switched", switched),
        ):
            device.first_frame()
            # What nobody asks to have on the disk now is not there at a power cut.
            device.machine.write_lazily()
            upgrade = begin_bootstrap(title)
            try:
                eventually(what, moment, upgrade)
                device.machine.write_names()
                say(f"   {title}: {what}; cut the power")
                device.machine.cut_power()
            finally:
                upgrade.stop()
            device.machine.start()
            if moment is marked_complete:
                old, new = _empty_files(device).values()
                assert old == new
                assert not switched()
        device.first_frame()
        for title in ("bootstrap that heals", "bootstrap once more"):
            run = bootstrap(title)
            assert run.went_well, run.output
        assert run.changed == 0
        device.first_frame()
    assert switched()


def test_a_wrong_clock_stops_neither_the_stream_nor_a_bootstrap(device: Device) -> None:
    now = time.time()
    with device.viewer() as viewer:
        viewer.first()
        for clock in ("1970-01-02", f"@{now + 86400:.0f}", f"@{now:.0f}"):
            device.run("date", "--set", clock)
            seen = {viewer.first().jpeg for _turn in range(5)}
            assert len(seen) > 1, f"the picture stands still since the clock says {clock}"
    device.run("date", "--set", "1970-01-02")
    run = bootstrap("bootstrap in 1970")
    assert run.went_well, run.output
    device.run("date", "--set", f"@{time.time():.0f}")
    run = bootstrap("bootstrap with the clock set right")
    assert run.went_well, run.output
    assert run.changed == 0
    device.first_frame()


def test_a_memory_limit_ends_the_server_and_it_starts_again(device: Device) -> None:
    device.first_frame()
    limit = int(device.unit("MemoryPeak")) + 50_000_000
    drop_in = "/etc/systemd/system/camera-server.service.d/limit.conf"
    write = f"mkdir -p $(dirname {drop_in}); printf '[Service]\\nMemoryMax={limit}\\n' > {drop_in}"
    device.run("sh", "-ec", f"{write}; systemctl daemon-reload; systemctl restart camera-server")
    device.first_frame()
    assert device.unit("MemoryMax") == str(limit)
    before, restarts = device.unit("MainPID"), int(device.unit("NRestarts"))
    # A leak in the unit: a process of its cgroup that takes more than all of it may.
    leak = f"echo $$ > {CGROUP}/cgroup.procs; exec python3 -c 'b\"x\" * {2 * limit}'"
    device.run("sh", "-c", f"sh -c {shlex.quote(leak)} || :")
    eventually(
        "the unit is killed and started again",
        lambda: int(device.unit("NRestarts")) > restarts and device.unit("SubState") == "running",
    )
    assert device.unit("MainPID") != before
    journal = device.run("journalctl", "--unit=camera-server", "--no-pager", "--output=cat")
    assert "oom-kill" in journal
    device.first_frame()


def test_the_sandbox_holds_on_cgroup_v2(device: Device) -> None:
    assert device.run("stat", "-fc", "%T", "/sys/fs/cgroup").strip() == "cgroup2fs"
    device.first_frame()
    device.run("systemd-analyze", "security", "--threshold=20", "camera-server")
    for pid in device.run("cat", f"{CGROUP}/cgroup.procs").split():
        status = device.run("cat", f"/proc/{pid}/status")
        assert "CapEff:\t0000000000000000" in status
        assert "CapBnd:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status


def test_the_unit_may_open_cameras_and_nothing_else(device: Device) -> None:
    # Cameras that are plugged in when the unit runs already.
    device.run("modprobe", "vivid")
    device.run("modprobe", "loop")
    device.run("udevadm", "settle")
    nodes = device.run("sh", "-c", "ls /dev/video* /dev/media*").split()
    assert {node.rstrip("0123456789") for node in nodes} == {"/dev/video", "/dev/media"}
    mine, others = (*nodes, "/dev/dma_heap/system"), ("/dev/kmsg", "/dev/vda", "/dev/loop-control")

    def outcome(*become: str) -> dict[str, str]:
        """What comes of opening each node in the unit's cgroup, as some user."""
        program = shlex.join([*become, "python3", "-c", _OPEN, *mine, *others])
        join = f"echo $$ > {CGROUP}/cgroup.procs; exec {program}"
        return dict(line.split() for line in device.run("sh", "-ec", join).splitlines())

    video = device.run("getent", "group", "video").split(":")[2]
    user = ("setpriv", "--reuid=camera-server", "--regid=camera-server", f"--groups={video}")
    seen = outcome(*user)
    assert {seen[node] for node in mine} == {"opened"}
    assert "opened" not in {seen[node] for node in others}
    # Even root, to whom no file's mode matters, is refused there, and only there.
    seen = outcome()
    assert {seen[node] for node in mine} == {"opened"}
    assert {seen[node] for node in others} == {"EPERM"}
    outside = device.run("python3", "-c", _OPEN, *others).splitlines()
    assert {line.split()[1] for line in outside} == {"opened"}


def test_camera_info_takes_no_other_video_device_for_a_camera(device: Device) -> None:
    device.run("modprobe", "vivid")
    device.run("udevadm", "settle")
    assert device.run("cat", "/sys/class/video4linux/video0/name").startswith("vivid")
    module = ("ansible", "devices", "--become", "--module-name", "rpi_camera.fleet.camera_info")
    run = Ansible("camera_info", module).wait()
    assert run.went_well, run.output
    result = json.loads(run.output.partition("=>")[2])
    assert {camera["id"] for camera in result["cameras"]} == {"vcam0", "vcam1"}
    assert {source["name"] for source in result["sources"] if source["available"]} >= {
        "sysfs",
        "libcamera",
    }
