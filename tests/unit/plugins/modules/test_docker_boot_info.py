# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rpi_camera.fleet.plugins.modules import docker_boot_info
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import Run

DOCUMENTED = yaml.safe_load(docker_boot_info.RETURN)


def _sample(field: dict[str, Any]) -> Any:
    """Return what a documented field may be, made of the samples."""
    if "contains" not in field:
        return field["sample"]
    inner = {name: _sample(one) for name, one in field["contains"].items()}
    return [inner] if field["type"] == "list" else inner


STATE = _sample(DOCUMENTED["docker_boot"])


@pytest.fixture
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(docker_boot_info, "STATES", tmp_path)
    return tmp_path


@pytest.mark.parametrize("check", [False, True])
def test_a_state_is_returned_as_it_is(run: Run, states: Path, check: bool) -> None:
    (states / "camera.json").write_text(json.dumps(STATE))
    result = run(docker_boot_info.main, name="camera", _ansible_check_mode=check)
    assert (result["changed"], result["exists"]) == (False, True)
    assert result["docker_boot"] == STATE
    assert set(result) >= set(DOCUMENTED)


def test_an_app_that_there_is_none_of_is_a_result(run: Run, states: Path) -> None:
    (states / "other.json").write_text(json.dumps(STATE))
    result = run(docker_boot_info.main, name="camera")
    assert not result.get("failed")
    assert (result["exists"], result["docker_boot"]) == (False, None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is no JSON: Expecting value"),
        (b'{"name": "cam', "is no JSON: Unterminated string"),
        (b"\xff\xff", "is no JSON: "),
        (b"[]", "holds no state of an app, but other JSON."),
    ],
)
def test_a_state_that_is_none_fails(run: Run, states: Path, content: bytes, told: str) -> None:
    (states / "camera.json").write_bytes(content)
    result = run(docker_boot_info.main, name="camera")
    assert result["failed"]
    assert result["msg"].startswith(f"{states}/camera.json {told}")


def test_a_state_that_cannot_be_read_fails(run: Run, states: Path) -> None:
    (states / "camera.json").mkdir()
    result = run(docker_boot_info.main, name="camera")
    assert result["failed"]
    assert result["msg"] == f"{states}/camera.json cannot be read: Is a directory."


@pytest.mark.parametrize("name", ["", "a/b", "..", "-a", "a-", "A", "a" * 33, "a\n"])
def test_a_name_that_is_none_fails(run: Run, name: str) -> None:
    result = run(docker_boot_info.main, name=name)
    assert result["failed"]
    assert result["msg"].startswith(f"name is {name!r}, but must be 1 to 32 lower-case letters")
