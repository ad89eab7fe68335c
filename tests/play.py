"""A run of a playbook, as tests start it and look at what it has come to."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import device as lab
from tests.lab.console import BIN, CACHE, environment


@dataclass(frozen=True)
class Play:
    """How a run went on its one device: whether well, and what it printed."""

    went_well: bool
    output: str

    @property
    def changed(self) -> int:
        """How many tasks have changed something, or in check mode would have."""
        (changed,) = re.findall(r"changed=(\d+)", self.output)
        return int(changed)


def inventory(group: str) -> Path:
    """Return the inventory of a group of the lab."""
    return lab.folder(group) / "inventory.yml"


def run_playbook(
    group: str,
    playbook: str | Path,
    *options: str,
    hosts: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Play:
    """Run a playbook with the collection of a group of the lab.

    Args:
        group: the group.
        playbook: its path, or its name in the collection.
        options: further ones of ansible-playbook.
        hosts: another inventory than the group's.
        env: what its environment has beside that of our tools.
    """
    done = subprocess.run(
        [
            *[str(BIN / "ansible-playbook"), str(playbook)],
            *["--inventory", str(hosts or inventory(group)), *options],
        ],
        env={**environment(group), **(env or {})},
        cwd=CACHE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Play(done.returncode == 0, done.stdout)


# Of a loop, what is said of its items.
_SAID = (
    "{{ (ansible_failed_result.results | default([ansible_failed_result]))"
    " | map(attribute='msg', default='') | join(' ') }}"
)


def refusals(
    play: Mapping[str, Any], include: Mapping[str, str], cases: Sequence[Mapping[str, object]]
) -> dict[str, Any]:
    """Return a play that gives bad input to a role, one after the other, and says what it was told.

    Args:
        play: its hosts and the like.
        include: the role, or what of it, as include_role takes it.
        cases: the variables of each case.
    """
    tasks = [
        {
            "block": [{"ansible.builtin.include_role": dict(include), "vars": dict(variables)}],
            "rescue": [{"ansible.builtin.debug": {"msg": f"REFUSED {number} {_SAID} END"}}],
        }
        for number, variables in enumerate(cases)
    ]
    return {**play, "tasks": tasks}


def told(output: str, number: int) -> str:
    """Return what a case of `refusals` was told, in one line; nothing if it was not refused."""
    said = " ".join(output.replace("\\", "").split())
    return said.partition(f"REFUSED {number} ")[2].partition(" END")[0]


def ask_module(group: str, name: str, module: str, *options: str) -> dict[str, Any]:
    """Return the answer of a module of the collection that changes nothing.

    Args:
        group: the lab's group of the device.
        name: the device's name.
        module: the module's name in the collection.
        options: further ones of ansible.
    """
    done = subprocess.run(
        [
            *[str(BIN / "ansible"), name, "--module-name", f"rpi_camera.fleet.{module}"],
            *["--inventory", str(inventory(group)), *options],
        ],
        env=environment(group),
        cwd=CACHE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.partition("=>")[2])
    assert answer["changed"] is False
    return answer
