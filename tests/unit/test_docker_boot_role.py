"""What the role refuses before the first change, and what its units and its configuration say."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule

ROLE = Path(__file__).resolve().parents[2] / "roles" / "docker_boot"
VARS = yaml.safe_load((ROLE / "vars/main.yml").read_text())
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
UNITS = ROLE / "templates/etc/systemd/system"
HIDDEN = ["home", "root", "run/user", "tmp", "var/tmp"]
DIGEST = "sha256:" + "0123456789abcdef" * 4


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=jinja2.select_autoescape(default_for_string=False),
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= FilterModule().filters()
    environment.filters["bool"] = bool
    return environment


def _resolved(value: str, **variables: object) -> str:
    """Return a text of vars/main.yml as Ansible makes it: until no other is in it."""
    while "{{" in value:
        # Ansible leaves backslashes as they are.
        value = _environment().from_string(value.replace("\\", r"\\")).render(VARS | variables)
    return value


def _allowed(name: str, value: str) -> bool:
    return bool(re.match(_resolved(VARS[f"__docker_boot_{name}_pattern"]), value))


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (
            "name",
            ["a", "camera-2", "0", "a" * 32],
            ["", "-a", "a-", "A", "a_b", "a.b", "a/b", "a" * 33, "a\n"],
        ),
        (
            "image",
            [
                "alpine:3",
                "library/alpine:3.20",
                "ghcr.io/you/camera:stable",
                "localhost:5000/camera:1a2b3c",
                "192.0.2.7:5000/a/b/c:v1.0_x-y",
                "[2001:db8::1]:5000/camera:1",
                "Registry.example/camera__x/y-z:1",
                f"ghcr.io/you/camera@{DIGEST}",
                "a:" + "t" * 128,
            ],
            [
                "",
                "alpine",
                "localhost:5000/camera",
                f"alpine:3@{DIGEST}",
                "alpine:",
                "alpine@sha256:abc",
                f"alpine@{DIGEST}0",
                f"alpine@{DIGEST.upper()}",
                "https://ghcr.io/you/camera:1",
                "user:word@ghcr.io/you/camera:1",
                "ghcr.io/You/camera:1",
                "ghcr.io//camera:1",
                "alpine:3 --privileged",
                "alpine:3\n",
                "a:" + "t" * 129,
                "-alpine:3",
            ],
        ),
        (
            "image_without",
            ["alpine", "ghcr.io/you/camera", "localhost:5000/camera"],
            ["alpine:3", f"alpine@{DIGEST}", ""],
        ),
        (
            "image_with_both",
            [f"alpine:3@{DIGEST}", f"localhost:5000/camera:1@{DIGEST}"],
            ["alpine:3", f"localhost:5000/camera@{DIGEST}", f"alpine@{DIGEST}"],
        ),
        (
            "port",
            ["8080:8080", "1:65535", "127.0.0.1:8080:80", "255.255.255.255:80:80", "53:53/udp"],
            [
                "",
                "8080",
                "0:80",
                "80:0",
                "65536:80",
                "080:80",
                "256.0.0.1:80:80",
                "1.2.3:80:80",
                "1.2.3.4.:80:80",
                "localhost:80:80",
                "80:80/sctp",
                "8000-8010:8000-8010",
                "80:80\n",
                "485880",
            ],
        ),
        ("env", ["A", "_a1", "TZ", "camera_name"], ["", "1A", "A-B", "A=B", "A B", "A\n", "ä"]),
        (
            "env_secret",
            [
                "PASSWORD",
                "DB_PASSWORD",
                "PGPASSWORD",
                "db_password",
                "ROOT_PASSWD",
                "CLIENT_SECRET",
                "GITHUB_TOKEN",
                "API_KEY",
                "MAPS_API_KEY",
                "TLS_PRIVATE_KEY",
                "AWS_CREDENTIAL",
                "DB_PASS",
                "SSH_PASSPHRASE",
                "SECRET_KEY",
                "AWS_SECRET_ACCESS_KEY",
            ],
            [
                "DB_PASSWORD_FILE",
                "TOKEN_FILE",
                "TOKENIZER",
                "MAX_TOKENS",
                "PASSWORD_LENGTH",
                "SECRETARY",
                "KEY",
                "COMPASS",
                "AWS_ACCESS_KEY_ID",
                "TZ",
                "CAMERA_SERVER_CREDENTIALS",
            ],
        ),
        ("secret", ["a", "db_password", "tls.key", ".netrc"], ["", ".", "..", "a/b", "a b", "a\n"]),
        (
            "secret_path",
            ["/etc/rpi_camera/camera-server.toml", "/a", "/.netrc"],
            ["", "/", "a", "/a/", "/a:b", "/a b", "/a\n", "//a", "/a,b"],
        ),
        (
            "unit",
            ["camera-server.service", "docker-boot@camera.service", "a.socket", "a-b@c.timer"],
            [
                "",
                "camera-server",
                ".service",
                "a.mount",
                "a/b.service",
                "a b.service",
                "a.service\n",
            ],
        ),
        (
            "volume",
            ["/a:/b", "/a b:/c:ro", "data:/var/lib/x:rw", "/:/host"],
            [
                "",
                "/a",
                "a:b",
                "./a:/b",
                "../a:/b",
                "~/a:/b",
                "/a:b",
                "/a:/b:rx",
                "/a:/b:ro:z",
                "a/b:/c",
                "/a:/",
                "/a:/b\n",
            ],
        ),
        (
            "device",
            ["/dev/ttyUSB0", "/dev/snd/seq:/dev/seq", "/dev/a:/dev/b:r", "/dev/a:/dev/b:rwm"],
            ["", "ttyUSB0", "/etc/x", "/dev/", "/dev/a:rwm", "/dev/a:/dev/b:", "/dev/a:/dev/b:x"],
        ),
        (
            "url",
            ["http://127.0.0.1:8080", "https://camera.example/video?fps=1", "http://[::1]:80/"],
            ["", "127.0.0.1", "ftp://x/", "http://", "http:///x", "http://a:b@x/", "http://x/a b"],
        ),
        (
            "path",
            ["/etc/rpi_camera/token", "/homes/x"],
            ["", "token", "/", *(f"/{folder}/x" for folder in HIDDEN), "/a\n"],
        ),
        (
            "folder",
            ["/var/lib/prometheus/node-exporter", "/srv/", "/a"],
            ["", "/", "a", "/a/../b", "/a b", "/a%n", "/a\n", "//a"],
        ),
        (
            "span",
            ["30min", "6h", "1d", "1h 30min", "1h30min", "45s", "2w"],
            ["", "30", "0h", "6 hours", "1h ", "-1h", "1.5h", "1month", "1h\n"],
        ),
    ],
)
def test_a_pattern_takes_the_good_and_refuses_the_bad(
    name: str, good: list[str], bad: list[str]
) -> None:
    assert [value for value in good if not _allowed(name, value)] == []
    assert [value for value in bad if _allowed(name, value)] == []


def test_the_module_takes_the_role_s_names() -> None:
    module = (ROLE.parents[1] / "plugins/modules/docker_boot_info.py").read_text()
    pattern = VARS["__docker_boot_name_pattern"].removeprefix("^").removesuffix(r"\Z")
    assert f'NAME = re.compile(r"{pattern}")' in module


def test_the_defaults_are_allowed() -> None:
    assert _allowed("folder", DEFAULTS["docker_boot_textfile_folder"])
    for limits in VARS["__docker_boot_ranges"]:
        value = DEFAULTS[f"docker_boot_{limits['key']}"]
        assert limits["least"] <= value <= limits["most"]


def _packed(collection: Path, archive: Path) -> bytes:
    packed = subprocess.run(
        [sys.executable, str(ROLE / "files/pack.py"), str(collection), str(archive)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    content = archive.read_bytes()
    assert packed.stdout.strip() == hashlib.sha256(content).hexdigest()
    return content


def test_the_archive_is_the_same_wherever_and_whenever_the_files_were_written(
    tmp_path: Path,
) -> None:
    copy = tmp_path / "copy"
    for folder in ("roles/docker_boot/files", "files/server/container", "plugins/module_utils"):
        shutil.copytree(ROLE.parents[1] / folder, copy / folder, copy_function=shutil.copyfile)
    packed = _packed(ROLE.parents[1], tmp_path / "one.pyz")
    assert _packed(copy, tmp_path / "two.pyz") == packed
    with (copy / "roles/docker_boot/files/docker_boot/state.py").open("a") as file:
        file.write("# Newer.\n")
    assert _packed(copy, tmp_path / "two.pyz") != packed


@pytest.mark.parametrize(
    "module",
    [
        "docker_boot.update",
        "run_options",
        "ansible_collections.rpi_camera.fleet.plugins.module_utils._stream",
        "ansible_collections.rpi_camera.fleet.plugins.module_utils._target",
    ],
)
def test_python_finds_all_that_it_needs_in_the_archive(tmp_path: Path, module: str) -> None:
    archive = tmp_path / "program.pyz"
    _packed(ROLE.parents[1], archive)
    # Without this environment's own packages, of which some have the same names.
    find = f"import importlib; print(importlib.import_module({module!r}).__file__)"
    found = subprocess.run(
        [sys.executable, "-S", "-c", find],
        env={"PYTHONPATH": str(archive)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(f"{archive}/")
    told = subprocess.run(
        [sys.executable, str(archive), "--help"], stdout=subprocess.PIPE, text=True, check=True
    )
    assert "update" in told.stdout


def _unit(name: str, **changes: object) -> dict[str, dict[str, list[str]]]:
    """Return a unit as systemd reads it: sections, keys, and the values of each key in turn."""
    paths = {
        name: value
        for name, value in VARS.items()
        if isinstance(value, str) and name.endswith(("_folder", "_root"))
    }
    variables = DEFAULTS | paths | {"docker_boot_name": "camera", "ansible_managed": "managed"}
    text = (
        _environment()
        .from_string((UNITS / name).read_text())
        .render(
            variables | {"__docker_boot_command": ["/usr/bin/python3", "program"]} | changes,
        )
    )
    assert "{{" not in text
    unit: dict[str, dict[str, list[str]]] = {}
    for line in text.splitlines():
        if section := re.fullmatch(r"\[(\w+)\]", line):
            unit[section[1]] = {}
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals
            unit[list(unit)[-1]].setdefault(key, []).append(value)
    return unit


def test_the_service_waits_for_no_network_and_never_gives_up() -> None:
    unit = _unit("docker-boot@.service.j2", docker_boot_stop_seconds=7)
    others = ["docker.socket containerd.service local-fs.target", "modprobe@mc.service"]
    assert unit["Unit"]["After"] == others
    assert "network" not in str(unit["Unit"])
    assert unit["Unit"]["StartLimitIntervalSec"] == ["0"]
    service = unit["Service"]
    assert service["Restart"] == ["always"]
    assert service["ExecStart"] == ["/usr/bin/python3 program run camera"]
    assert service["TimeoutStopSec"] == ["44"]


def test_the_service_may_what_any_configuration_needs_since_one_may_be_taken_back() -> None:
    units = [
        _unit("docker-boot@.service.j2", docker_boot_camera=camera, docker_boot_health=health)
        for camera, health in ((False, "running"), (True, "http"))
    ]
    assert units[0] == units[1]
    service = units[0]["Service"]
    assert service["DevicePolicy"] == ["closed"]
    assert service["DeviceAllow"] == ["char-media rw"]
    assert service["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6"]


@pytest.mark.parametrize("name", ["docker-boot@.service.j2", "docker-boot-update@.service.j2"])
def test_a_unit_writes_where_the_program_keeps_things_and_nowhere_else(name: str) -> None:
    service = _unit(name, docker_boot_textfile_folder="/srv/metrics")["Service"]
    assert service["ProtectSystem"] == ["strict"]
    assert service["ReadWritePaths"] == [
        "/etc/rpi_camera/docker_boot /var/lib/rpi_camera/docker_boot -/srv/metrics"
    ]
    assert service["RuntimeDirectory"] == ["rpi_camera/docker_boot"]
    assert service["RuntimeDirectoryPreserve"] == ["yes"]
    assert service["CapabilityBoundingSet"] == ["CAP_CHOWN CAP_DAC_OVERRIDE"]


def test_an_update_comes_after_the_service_and_has_an_end() -> None:
    unit = _unit(
        "docker-boot-update@.service.j2",
        docker_boot_update_window=100,
        docker_boot_health_window="20",
        docker_boot_stop_seconds=7,
    )
    assert unit["Unit"]["After"] == ["docker-boot@camera.service"]
    assert unit["Unit"]["StartLimitIntervalSec"] == ["0"]
    service = unit["Service"]
    assert service["ExecStart"] == ["/usr/bin/python3 program update camera"]
    assert service["ExecStopPost"] == ["/usr/bin/python3 program settle camera"]
    assert service["TimeoutStartSec"] == ["768"]


@pytest.mark.parametrize(("interval", "times"), [("", None), ("1h 30min", ["1h 30min"])])
def test_the_timer_starts_an_update_after_each_boot(interval: str, times: list[str] | None) -> None:
    unit = _unit("docker-boot-update@.timer.j2", docker_boot_update_interval=interval)
    assert unit["Timer"]["OnBootSec"] == ["10s"]
    assert unit["Timer"].get("OnUnitInactiveSec") == times
    assert unit["Install"]["WantedBy"] == ["timers.target"]


def test_no_task_goes_over_secrets() -> None:
    loops: list[Any] = []

    def collect(node: Any) -> None:
        if isinstance(node, list):
            for one in node:
                collect(one)
        elif isinstance(node, dict):
            loops.append(node.get("loop"))
            for one in node.values():
                collect(one)

    for path in sorted((ROLE / "tasks").glob("*.yml")):
        collect(yaml.safe_load(path.read_text()))
    assert loops
    assert not any("_secrets" in str(loop) for loop in loops)
