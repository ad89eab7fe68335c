"""`make demo` and `make demo-down`, run as a user runs them, under a group name of their own."""

from __future__ import annotations

import re
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.lab import device, engine
from tests.viewer import Part, Viewer

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
    mark = f"name={device.container(GROUP, '').rstrip('-')}"
    with engine.lease():
        containers = engine.docker("ps", "--all", "--format", "{{.Names}}", "--filter", mark)
        networks = engine.docker("network", "ls", "--format", "{{.Name}}", "--filter", mark)
    return [*containers.split(), *networks.split()]


@dataclass(frozen=True)
class Life:
    """What was seen of one demo, from its start to its end."""

    outputs: tuple[str, str]
    first_frame: Part
    inventory_mode: int
    password: str
    while_up: list[str]
    after: list[str]


@pytest.fixture(scope="module")
def life() -> Life:
    """Bring the demo up, and up once more; look at it; take it down."""
    _make("demo-down")
    try:
        outputs = (_make("demo"), _make("demo"))
        address = outputs[1].splitlines()[-2].split()[1]
        with Viewer(f"{address}video") as viewer:
            first_frame = viewer.first()
        inventory = ROOT / INVENTORY
        mode = stat.S_IMODE(inventory.stat().st_mode)
        (host,) = yaml.safe_load(inventory.read_text())["devices"]["hosts"].values()
        while_up = _ours()
    finally:
        _make("demo-down")
    password = host["ansible_become_password"]
    return Life(outputs, first_frame, mode, password, while_up, _ours())


def test_it_ends_with_two_lines_that_a_script_can_read(life: Life) -> None:
    for output in life.outputs:
        stream, inventory = output.splitlines()[-2:]
        assert re.fullmatch(r"stream:    http://127\.0\.0\.1:\d+/", stream)
        assert inventory == f"inventory: {INVENTORY}"


def test_the_printed_address_streams(life: Life) -> None:
    assert life.first_frame.decode().size == (640, 480)


def test_the_second_run_changes_nothing(life: Life) -> None:
    first, second = life.outputs
    assert re.search(r"changed=[1-9]", first)
    assert re.findall(r"changed=\d+", second) == ["changed=0"]


def test_the_password_is_the_user_s_alone(life: Life) -> None:
    assert life.inventory_mode == 0o600
    assert life.password
    assert life.password not in "".join(life.outputs)


def test_demo_down_leaves_nothing(life: Life) -> None:
    assert life.while_up
    assert not life.after
    assert not (ROOT / INVENTORY).parent.exists()
