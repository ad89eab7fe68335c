"""What bootstrap does around the role: waits, refusals, warnings, and the setting up of a device.

All of it on a device that is bare but for what a test puts there and takes away again. With
`camera_app_state: absent` bootstrap does the same before the role, and the role next to nothing.
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.lab import collection
from tests.lab import device as lab
from tests.lab.engine import docker, lease
from tests.play import Play, run_playbook

NAME = "bare-1"
PLAYBOOK = "rpi_camera.fleet.bootstrap"
CMDLINE = "console=serial0,115200 console=tty1 root=PARTUUID=4a7d-02 rootfstype=ext4 rootwait\n"
CGROUP_WORDS = "cgroup_enable=memory cgroup_memory=1"
CONFIG = """\
dtparam=audio=on
camera_auto_detect=1
start_x=1
dtoverlay=vc4-kms-v3d

[cm5]
dtoverlay=dwc2,dr_mode=host
"""
BLOCK = """\
# BEGIN rpi_camera.fleet.bootstrap (bootstrap_camera_overlay)
[all]
camera_auto_detect=0
dtoverlay=imx708,cam0
# END rpi_camera.fleet.bootstrap (bootstrap_camera_overlay)
"""
JOURNALD = "/etc/systemd/journald.conf.d"
WIFI = "/etc/NetworkManager/conf.d/zz-rpi_camera-wifi.conf"
WARNINGS = "Warn of what makes trouble"


@dataclass(frozen=True)
class Run(Play):
    """A run of bootstrap; its output stands on one line."""

    def task(self, name: str) -> str:
        """Return what a task printed, "" if it was skipped."""
        return "".join(
            re.findall(rf"TASK \[[^]]*{re.escape(name)}\] \*+(.*?)(?:TASK|PLAY) ", self.output)
        )


@dataclass(frozen=True)
class Bare:
    """A device that nothing is installed on, and how Ansible reaches it, also after a reboot."""

    group: str
    access: dict[str, object]

    def run(self, *command: str) -> str:
        """Run a command on it as root and return its standard output."""
        return lab.execute(self.group, NAME, *command)

    def shell(self, script: str) -> str:
        """Run a script on it as root and return its standard output."""
        return self.run("sh", "-ec", script)

    def read(self, path: str) -> str:
        """Return the content of a file on it."""
        return self.run("cat", path)

    def bootstrap(self, *options: str, **variables: object) -> Run:
        """Run bootstrap; the role has nothing to do unless a variable says otherwise."""
        everything = {**self.access, "camera_app_state": "absent", **variables}
        told = ("--extra-vars", json.dumps(everything), *options)
        # ssh's shared connections outlive a run, and the end of sshd: none is taken over.
        with tempfile.TemporaryDirectory(prefix="ssh-") as connections:
            own = {
                "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "0",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": connections,
            }
            play = run_playbook(self.group, PLAYBOOK, *told, env=own)
        return Run(play.went_well, " ".join(play.output.split()))


@dataclass
class Stage:
    """What a test puts on the device; taken away again in the order turned round."""

    bare: Bare
    undo: list[str] = field(default_factory=list)

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """Write a file that the device does not have; folders that are missing are made."""
        folder = str(Path(path).parent)
        missing = folder
        while self.bare.shell(f"test -e {Path(missing).parent} && echo there || :") == "":
            missing = str(Path(missing).parent)
        new = path if self.bare.shell(f"test -e {folder} && echo there || :") else missing
        self.undo.append(f"rm -rf {new}")
        lab.execute(
            *[self.bare.group, NAME, "sh", "-ec"],
            f"mkdir -p {folder}; cat > {path}; chmod {mode} {path}",
            stdin=text,
        )

    def program(self, name: str, script: str) -> None:
        """Put a program where it is found before any other of its name."""
        self.write(f"/usr/local/bin/{name}", f"#!/bin/sh\n{script}\n", "755")

    def cover(self, path: str, text: str) -> None:
        """Have the kernel's file `path` say something else."""
        cover = f"/run/cover-{len(self.undo)}"
        lab.execute(
            *[self.bare.group, NAME, "sh", "-ec", f"cat > {cover}; mount --bind {cover} {path}"],
            stdin=text,
        )
        self.undo.append(f"umount {path}; rm {cover}")

    def no_memory_cgroup(self) -> None:
        """Have the kernel say that its memory cgroup is off, on cgroup v2 and v1."""
        controllers = "/sys/fs/cgroup/cgroup.controllers"
        if self.bare.shell(f"test -e {controllers} && echo v2 || :"):
            self.cover(controllers, "cpuset cpu io pids\n")
        else:
            self.cover("/proc/cgroups", "cpu 1 1 1\nmemory 0 7 0\npids 2 1 1\n")

    def boot_files(self, folder: str = "/boot/firmware", cmdline: str = CMDLINE) -> None:
        """Put the firmware's files there."""
        self.write(f"{folder}/cmdline.txt", cmdline)
        self.write(f"{folder}/config.txt", CONFIG)
        self.undo.append(f"rm -f {folder}/*.before-rpi_camera")

    def volatile_journal(self) -> None:
        """Have journald keep the journal in memory, as Raspberry Pi OS does."""
        restart = "systemctl restart systemd-journald && journalctl --flush"
        self.undo.append(f"rm -rf {JOURNALD}; {restart}")
        self.write(
            "/usr/lib/systemd/journald.conf.d/40-rpi-volatile-storage.conf",
            "[Journal]\nStorage=volatile\n",
        )
        self.bare.shell("systemctl restart systemd-journald")

    def power_saving_wifi(self) -> None:
        """Have the default route's interface be a Wi-Fi that saves power."""
        self.write("/run/power_save", "on")
        self.program(
            "iw",
            'case "$*" in\n'
            '"dev eth0 get power_save") echo "Power save: $(cat /run/power_save)" ;;\n'
            '"dev eth0 set power_save off") echo off > /run/power_save ;;\n'
            "*) exit 1 ;;\nesac",
        )

    def network_manager(self) -> None:
        """Have a unit NetworkManager run that counts how often it is told to reload."""
        self.write("/etc/NetworkManager/conf.d/default-wifi-powersave-on.conf", "")
        self.undo.append("systemctl stop NetworkManager; rm -f /run/reloads")
        self.bare.shell(
            "systemd-run --quiet --unit=NetworkManager"
            " --property=ExecReload='/bin/sh -c \"echo x >> /run/reloads\"' sleep infinity"
        )

    def hold_lock(self, seconds: float) -> None:
        """Have a program `dpkg-double` hold dpkg's lock, for some time at most."""
        self.program(
            "dpkg-double",
            'exec python3 -c "\n'
            "import fcntl, time\n"
            "open('/proc/self/comm', 'w').write('dpkg-double')\n"
            "lock = open('/var/lib/dpkg/lock-frontend', 'w')\n"
            "fcntl.lockf(lock, fcntl.LOCK_EX)\n"
            "open('/run/locked', 'w')\n"
            f'time.sleep({seconds})"',
        )
        self.undo.append("systemctl stop locker 2>/dev/null || :; rm -f /run/locked")
        self.bare.shell("systemd-run --quiet --collect --unit=locker /usr/local/bin/dpkg-double")
        self.bare.shell("timeout 20 sh -c 'until test -e /run/locked; do sleep 0.1; done'")


@pytest.fixture(scope="module")
def bare(pytestconfig: pytest.Config) -> Iterator[Bare]:
    """Yield a bare device, reached by its address: its published ports change at a reboot."""
    group = str(pytestconfig.getoption("group"))
    with lease():
        try:
            collection.install(group)
            path = lab.up(group, [NAME], {})
            inventory = yaml.safe_load(path.read_text())
            host = inventory["devices"]["hosts"][NAME]
            # As with a user's device, the address of whose stream is the device's own.
            del host["bootstrap_stream_url"]
            path.write_text(yaml.safe_dump(inventory))
            ask = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
            address = docker("inspect", "--format", ask, lab.container(group, NAME)).strip()
            alias = f"[{host['ansible_host']}]:{host['ansible_port']}"
            yield Bare(
                group,
                {
                    "ansible_host": address,
                    "ansible_port": 22,
                    "ansible_ssh_common_args": (
                        f"{host['ansible_ssh_common_args']} -o HostKeyAlias={alias}"
                    ),
                },
            )
        finally:
            lab.down(group)


@pytest.fixture
def stage(bare: Bare) -> Iterator[Stage]:
    """Yield what to put things on the device with; it is as it was when the test has ended."""
    stage = Stage(bare)
    yield stage
    for step in reversed(stage.undo):
        bare.shell(step)


@contextmanager
def _power_supply(bare: Bare) -> Iterator[list[float]]:
    """Start the device again each time that it has gone down; yield when it did."""
    container, starts, done = lab.container(bare.group, NAME), list[float](), threading.Event()

    def watch() -> None:
        while not done.wait(0.3):
            if docker("inspect", "--format", "{{.State.Running}}", container).strip() == "false":
                docker("start", container)
                starts.append(time.monotonic())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield starts
    finally:
        done.set()
        thread.join(timeout=60)


# Input.


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"bootstrap_prepair": True},
            "bootstrap_prepair: there is no such variable; allowed is bootstrap_hosts,",
        ),
        (
            {"bootstrap_wait_seconds": "10m"},
            "bootstrap_wait_seconds is 10m; allowed is 1 to 86400",
        ),
        (
            {"bootstrap_wait_seconds": 0},
            "bootstrap_wait_seconds is 0; allowed is 1 to 86400",
        ),
        (
            {"bootstrap_prepare": "perhaps"},
            "bootstrap_prepare is perhaps; allowed is true or false",
        ),
        (
            {"bootstrap_camera_overlay": "imx708\nkernel=evil.img"},
            'bootstrap_camera_overlay is "imx708\\nkernel=evil.img"; allowed is a name with its'
            " parameters, such as imx708,cam0, in at most 80 characters, or nothing",
        ),
        (
            {"bootstrap_hosts": "gardens"},
            "the inventory has no host that bootstrap_hosts names; it is gardens",
        ),
    ],
    ids=["misspelt", "wait", "no time", "prepare", "overlay", "no host"],
)
def test_bad_input_is_refused(bare: Bare, variables: dict[str, object], message: str) -> None:
    run = bare.bootstrap(**variables)
    assert not run.went_well
    # Ansible shows a message as JSON, so a backslash twice.
    assert message in run.output.replace("\\\\", "\\").replace('\\"', '"')


def test_an_inventory_without_the_group_is_refused(bare: Bare, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.yml"
    inventory.write_text("gardens: {hosts: {garden: {}}}\n")
    run = bare.bootstrap("--inventory", str(inventory), "--limit", "garden")
    assert run.went_well, "the lab's inventory has the group, though no host of it is meant"
    play = run_playbook(bare.group, PLAYBOOK, hosts=inventory)
    assert not play.went_well
    words = " ".join(play.output.split())
    assert (
        "the inventory has no host that bootstrap_hosts names; it is devices, the group of the"
        " devices, unless it is set"
    ) in words


# A device that does not answer, or not as it should.


def test_a_device_that_is_out_of_reach_is_waited_for_and_named(bare: Bare) -> None:
    run = bare.bootstrap("--check", ansible_port=9, bootstrap_wait_seconds=3)
    assert not run.went_well
    assert (
        f"{NAME} does not answer over SSH yet; waiting for at most 3 seconds"
        " (bootstrap_wait_seconds)"
    ) in run.output
    assert re.search(rf"{NAME} is out of reach: .*Connection refused Is it switched on", run.output)


def test_a_key_that_is_not_let_in_is_not_waited_for(bare: Bare) -> None:
    run = bare.bootstrap(ansible_user="nobody", ansible_ssh_private_key_file="/dev/null")
    assert not run.went_well
    assert "waiting for at most" not in run.output
    assert re.search(rf"{NAME} is out of reach: .*Permission denied", run.output)


def test_a_device_that_answers_late_is_bootstrapped(stage: Stage) -> None:
    stage.undo.append("systemctl start ssh")
    stage.bare.shell(
        "systemctl stop ssh; systemd-run --quiet --collect --on-active=6 systemctl start ssh"
    )
    run = stage.bare.bootstrap("--check")
    assert run.went_well, run.output
    assert "does not answer over SSH yet" in run.output


def test_an_expired_password_is_told_and_not_asked_for(stage: Stage) -> None:
    stage.undo.append("chage --lastday $(date +%F) pi")
    stage.bare.run("passwd", "--expire", "pi")
    run = stage.bare.bootstrap()
    assert not run.went_well
    assert f"{NAME} answers over SSH, but runs no commands for this user: " in run.output
    assert "Your password has expired." in run.output


def test_a_device_without_python_is_refused(bare: Bare) -> None:
    run = bare.bootstrap(ansible_python_interpreter="/opt/nowhere/python3")
    assert not run.went_well
    assert (
        f"{NAME} has no Python that works (ansible_python_interpreter is /opt/nowhere/python3), and"
        " Ansible needs one there. To install it, on the device: sudo apt-get install python3"
    ) in run.output


def test_a_device_with_an_old_python_is_refused(stage: Stage) -> None:
    stage.program("python3.7", "echo 3.7")
    run = stage.bare.bootstrap(ansible_python_interpreter="/usr/local/bin/python3.7")
    assert not run.went_well
    assert f"{NAME} has Python 3.7, and Ansible needs 3.9 or newer there." in run.output


@pytest.mark.parametrize("words", ["boot=overlay", "overlayroot=tmpfs"])
def test_an_overlay_in_memory_is_refused(stage: Stage, words: str) -> None:
    # The simulated device's root is an overlay anyway; what Raspberry Pi OS adds are the words.
    stage.cover("/proc/cmdline", f"quiet {words} rootwait\n")
    run = stage.bare.bootstrap()
    assert not run.went_well
    assert (
        f"{NAME} would forget everything at its next boot: its root is an overlay in memory."
    ) in run.output
    assert run.changed == 0


def test_a_root_that_is_read_only_is_refused(stage: Stage) -> None:
    # The kernel shows ssh, and so Ansible, a root that cannot be written. Devices can, as ever.
    restart = "systemctl daemon-reload; systemctl restart ssh"
    stage.undo.append(restart)
    stage.write(
        "/run/systemd/system/ssh.service.d/read-only.conf",
        "[Service]\nReadOnlyPaths=/\nReadWritePaths=/dev /proc /run /tmp\n",
    )
    stage.bare.shell(restart)
    run = stage.bare.bootstrap()
    assert not run.went_well
    assert f"{NAME} cannot be written: its root is mounted read-only." in run.output


# Waiting for the first boot, and for packages.


def test_a_first_boot_is_waited_for_and_its_errors_are_told(stage: Stage) -> None:
    stage.write("/run/cloud-init/enabled", "")
    stage.program(
        "cloud-init", 'test "$*" = "status --wait" && sleep 4 && touch /run/waited && exit 2'
    )
    stage.undo.append("rm /run/waited")
    run = stage.bare.bootstrap("--check")
    assert run.went_well, run.output
    stage.bare.run("test", "-e", "/run/waited")
    assert "WARNING: cloud-init has ended with errors: of what it was to set up" in run.task(
        WARNINGS
    )


def test_a_first_boot_that_ends_with_a_reboot_is_waited_for(stage: Stage) -> None:
    stage.write("/run/cloud-init/enabled", "")
    stage.program(
        "cloud-init",
        "if test -e /opt/rebooted; then touch /run/waited\n"
        "else touch /opt/rebooted; systemctl reboot; sleep 60; fi",
    )
    stage.undo.append("rm -f /opt/rebooted /run/waited")
    with _power_supply(stage.bare) as starts:
        run = stage.bare.bootstrap("--check")
    assert run.went_well, run.output
    assert len(starts) == 1
    stage.bare.run("test", "-e", "/run/waited")


def test_a_first_boot_without_an_end_is_refused(stage: Stage) -> None:
    stage.write("/run/cloud-init/enabled", "")
    stage.program("cloud-init", "sleep 60")
    run = stage.bare.bootstrap(bootstrap_wait_seconds=2)
    assert not run.went_well
    assert (
        f"cloud-init on {NAME} has not finished within 2 seconds (bootstrap_wait_seconds)."
    ) in run.output
    assert run.changed == 0


def test_a_cloud_init_that_does_not_run_is_not_waited_for(stage: Stage) -> None:
    stage.write("/run/cloud-init/disabled", "")
    stage.program("cloud-init", "sleep 60")
    run = stage.bare.bootstrap("--check", bootstrap_wait_seconds=2)
    assert run.went_well, run.output


def test_who_installs_packages_is_told_and_waited_for(stage: Stage) -> None:
    stage.hold_lock(seconds=15)
    run = stage.bare.bootstrap("--check")
    assert run.went_well, run.output
    assert re.search(
        rf"Packages are being installed on {NAME} by dpkg-double \(process \d+\); waiting for at"
        r" most 600 seconds \(bootstrap_wait_seconds\)",
        run.output,
    )
    # Before the wait, during it, and after it: what it says of the clock is not as old as the wait.
    assert run.output.count("Preflight | Look at the device]") == 3


def test_an_installation_without_an_end_is_refused(stage: Stage) -> None:
    stage.hold_lock(seconds=600)
    run = stage.bare.bootstrap(bootstrap_wait_seconds=5)
    assert not run.went_well
    assert re.search(
        rf"Packages are still being installed on {NAME} by dpkg-double \(process \d+\) after 5"
        r" seconds \(bootstrap_wait_seconds\)\.",
        run.output,
    )
    assert run.changed == 0


def test_the_daily_upgrade_is_waited_for(stage: Stage) -> None:
    stage.write(
        "/run/systemd/system/apt-daily.service", "[Service]\nType=oneshot\nExecStart=sleep 60\n"
    )
    stage.undo.append("systemctl stop apt-daily; systemctl daemon-reload")
    stage.bare.shell("systemctl daemon-reload; systemctl start --no-block apt-daily")
    run = stage.bare.bootstrap(bootstrap_wait_seconds=5)
    assert not run.went_well
    assert f"Packages are still being installed on {NAME} by apt-daily.service" in run.output


# Warnings.


def test_a_device_in_good_order_gets_no_warning(bare: Bare) -> None:
    run = bare.bootstrap("--check")
    assert run.went_well, run.output
    assert run.task(WARNINGS) == ""


def test_all_that_makes_trouble_is_told_and_the_run_goes_on(stage: Stage) -> None:
    stage.boot_files()
    stage.no_memory_cgroup()
    stage.volatile_journal()
    stage.power_saving_wifi()
    stage.cover("/proc/meminfo", "MemTotal:         431104 kB\n")
    stage.program("date", "echo $(($(/usr/bin/date +%s) - 86400))")
    stage.program("vcgencmd", 'test "$*" = get_throttled && echo throttled=0x50005')
    run = stage.bare.bootstrap("--check", bootstrap_camera_overlay="imx708,cam0")
    assert run.went_well, run.output
    told = run.task(WARNINGS)
    for words in (
        "The Wi-Fi of eth0 saves power: the stream stutters, and the device answers late or not at"
        " all. Set bootstrap_prepare: true to turn it off.",
        "The memory cgroup is off: nothing can keep one program from taking all memory, and the"
        " board hangs then. Set bootstrap_prepare: true to turn it on",
        "The journal is in memory only: after a crash or a power cut nobody can read why. Set"
        " bootstrap_prepare: true to have it kept on the disk, 100M at most.",
        "The device has 421 MB of memory. That is enough for a camera; a runner, and building"
        " images, want a board with 1 GB or more.",
        "The board has too low a voltage",
        "/boot/firmware/config.txt has no dtoverlay=imx708,cam0, which bootstrap_camera_overlay"
        " names",
    ):
        assert f"WARNING: {words}" in told
    (seconds,) = re.findall(r"WARNING: The device's clock is (\d+) seconds behind", told)
    assert int(seconds) in range(86390, 86460)


def test_a_voltage_that_was_too_low_and_very_little_memory_are_told(stage: Stage) -> None:
    stage.cover("/proc/meminfo", "MemTotal:         190000 kB\n")
    stage.program("vcgencmd", "echo throttled=0x50000")
    told = stage.bare.bootstrap("--check").task(WARNINGS)
    assert "WARNING: The board had, since it started, too low a voltage" in told
    assert "WARNING: The device has 185 MB of memory. That is little even for one camera" in told


# Setting a device up.


def test_prepare_sets_a_raspberry_pi_up_and_reboots_it_once(stage: Stage) -> None:
    bare = stage.bare
    stage.boot_files()
    stage.volatile_journal()
    wanted = {"bootstrap_prepare": True, "bootstrap_camera_overlay": "imx708,cam0"}

    stage.no_memory_cgroup()
    before = lab.snapshot(bare.group, NAME)
    run = bare.bootstrap("--check", **wanted)
    assert run.went_well, run.output
    assert "changed" in run.task("Prepare | Reboot, since the boot files have changed")
    assert lab.snapshot(bare.group, NAME) == before

    # A container has its host's boot id, also after a start. What is put over it goes with the
    # reboot. So does what is put over the kernel's list of cgroups: the setting has taken effect.
    stage.cover("/proc/sys/kernel/random/boot_id", "the boot before\n")
    stage.undo = [step for step in stage.undo if not step.startswith("umount")]
    with _power_supply(bare) as starts:
        run = bare.bootstrap(**wanted)
        assert run.went_well, run.output
        assert len(starts) == 1
        assert bare.read("/boot/firmware/cmdline.txt") == f"{CMDLINE.rstrip()} {CGROUP_WORDS}\n"
        assert bare.read("/boot/firmware/config.txt") == CONFIG.replace("start_x=1\n", "") + BLOCK
        assert bare.read("/boot/firmware/cmdline.txt.before-rpi_camera") == CMDLINE
        assert bare.read("/boot/firmware/config.txt.before-rpi_camera") == CONFIG
        journald = bare.run("systemd-analyze", "cat-config", "systemd/journald.conf")
        assert re.findall(r"^Storage=.*|^SystemMaxUse=.*", journald, re.MULTILINE)[-2:] == [
            "Storage=persistent",
            "SystemMaxUse=100M",
        ]
        assert bare.shell("ls /run/log/journal/* 2>/dev/null || :") == ""
        assert run.task(WARNINGS) == ""

        run = bare.bootstrap(**wanted)
        assert run.went_well, run.output
        assert run.changed == 0
        assert len(starts) == 1

    run = bare.bootstrap("--check", "--diff", bootstrap_prepare=True)
    assert "-dtoverlay=imx708,cam0" in run.output
    assert "changed" in run.task("Prepare | Reboot, since the boot files have changed")


def test_a_setting_without_effect_is_told_and_no_reason_to_reboot_again(stage: Stage) -> None:
    config = CONFIG.replace("start_x=1\n", "")
    stage.boot_files(cmdline=f"{CMDLINE.rstrip()} {CGROUP_WORDS}\n")
    stage.write("/boot/firmware/config.txt", config)
    stage.undo.append(f"rm -rf {JOURNALD}")
    stage.no_memory_cgroup()
    for _turn in range(2):
        run = stage.bare.bootstrap(bootstrap_prepare=True)
        assert run.went_well, run.output
        assert run.task("Prepare | Reboot, since the boot files have changed") == ""
        assert (
            "WARNING: The memory cgroup is off, although /boot/firmware/cmdline.txt asks for it"
        ) in run.task(WARNINGS)
    assert run.changed == 0


def test_prepare_finds_the_boot_files_in_the_older_place(stage: Stage) -> None:
    stage.boot_files("/boot")
    stage.no_memory_cgroup()
    run = stage.bare.bootstrap("--check", "--diff", bootstrap_prepare=True)
    assert run.went_well, run.output
    assert f"+{CMDLINE.rstrip()} {CGROUP_WORDS}" in run.output
    assert "after: /boot/cmdline.txt" in run.output


def test_a_command_line_of_two_lines_is_refused(stage: Stage) -> None:
    stage.boot_files(cmdline=f"{CMDLINE}quiet\n")
    stage.no_memory_cgroup()
    run = stage.bare.bootstrap(bootstrap_prepare=True)
    assert not run.went_well
    assert f"/boot/firmware/cmdline.txt on {NAME} has 2 lines; allowed is one" in run.output
    assert run.changed == 0


def test_prepare_has_network_manager_s_wifi_awake(stage: Stage) -> None:
    stage.power_saving_wifi()
    stage.network_manager()
    stage.undo.append(f"rm -rf {JOURNALD}")
    run = stage.bare.bootstrap(bootstrap_prepare=True)
    assert run.went_well, run.output
    assert "[connection]\nwifi.powersave = 2\n" in stage.bare.read(WIFI)
    assert stage.bare.read("/run/reloads").split() == ["x"]
    assert stage.bare.read("/run/power_save").strip() == "off"
    assert run.task(WARNINGS) == ""
    run = stage.bare.bootstrap(bootstrap_prepare=True)
    assert run.went_well, run.output
    assert run.changed == 0
    # As a connection does that has a setting of its own, once it is up again.
    stage.bare.shell("echo on > /run/power_save")
    run = stage.bare.bootstrap(bootstrap_prepare=True)
    assert (
        "WARNING: The Wi-Fi of eth0 saves power, although NetworkManager is told not to"
    ) in run.task(WARNINGS)


def test_prepare_says_what_does_not_apply_to_a_plain_debian(stage: Stage) -> None:
    stage.volatile_journal()
    stage.power_saving_wifi()
    stage.no_memory_cgroup()
    run = stage.bare.bootstrap(bootstrap_prepare=True, bootstrap_camera_overlay="imx708,cam0")
    assert run.went_well, run.output
    left = run.task("Prepare | Say what does not apply")
    assert "NetworkManager does not run here, so the power saving of Wi-Fi stays as it is." in left
    assert "There is no cmdline.txt with a config.txt in /boot/firmware or /boot" in left
    told = run.task(WARNINGS)
    assert "Turn it off in what sets up this Wi-Fi; it is not NetworkManager." in told
    assert "Add cgroup_enable=memory to the kernel's command line and reboot." in told
    # The journal, however, is on the disk now.
    assert "The journal is in memory only" not in told
    run = stage.bare.bootstrap(bootstrap_prepare=True, bootstrap_camera_overlay="imx708,cam0")
    assert run.changed == 0
