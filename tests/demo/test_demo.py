"""`make demo` and `make demo-down`, run as a user runs them, under a group name of their own."""

from __future__ import annotations

import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.lab import device, engine
from tests.viewer import Viewer

ROOT = Path(__file__).resolve().parents[2]
GROUP = "demo-test"
INVENTORY = Path(".cache", GROUP, "inventory.yml")


def _make(target: str) -> str:
    done = subprocess.run(
        ["make", "--no-print-directory", target, f"DEMO={GROUP}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _ours() -> list[str]:
    """Return what Docker has of this group: containers and networks."""
    mark = f"name={device.container(GROUP, '')[:-1]}"
    with engine.lease():
        containers = engine.docker("ps", "--all", "--format", "{{.Names}}", "--filter", mark)
        networks = engine.docker("network", "ls", "--format", "{{.Name}}", "--filter", mark)
    return [*containers.split(), *networks.split()]


@pytest.fixture(scope="module")
def first_and_second_run() -> Iterator[tuple[str, str]]:
    _make("demo-down")
    try:
        yield _make("demo"), _make("demo")
    finally:
        _make("demo-down")


def test_it_ends_with_two_lines_that_a_script_can_read(
    first_and_second_run: tuple[str, str],
) -> None:
    for output in first_and_second_run:
        stream, inventory = output.splitlines()[-2:]
        assert re.fullmatch(r"stream:    http://127\.0\.0\.1:\d+/", stream)
        assert inventory == f"inventory: {INVENTORY}"


def test_the_printed_address_streams(first_and_second_run: tuple[str, str]) -> None:
    address = first_and_second_run[1].splitlines()[-2].split()[1]
    with Viewer(f"{address}video") as viewer:
        assert viewer.first().decode().size == (640, 480)


def test_the_second_run_changes_nothing(first_and_second_run: tuple[str, str]) -> None:
    first, second = first_and_second_run
    assert re.search(r"changed=[1-9]", first)
    assert re.findall(r"changed=\d+", second) == ["changed=0"]


def test_the_inventory_is_the_user_s_alone(first_and_second_run: tuple[str, str]) -> None:
    assert first_and_second_run
    inventory = ROOT / INVENTORY
    assert stat.S_IMODE(inventory.stat().st_mode) == 0o600
    (host,) = yaml.safe_load(inventory.read_text())["devices"]["hosts"].values()
    for output in first_and_second_run:
        assert host["ansible_become_password"] not in output


def test_demo_down_leaves_nothing() -> None:
    _make("demo")
    assert _ours()
    _make("demo-down")
    assert not _ours()
    assert not (ROOT / INVENTORY).parent.exists()
