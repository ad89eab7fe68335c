# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.rpi_camera.fleet.plugins.module_utils import _cameras
from ansible_collections.rpi_camera.fleet.plugins.modules import camera_info
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import Run

KEYS = {"present", "usable", "reason", "advice", "cameras", "sources"}


def test_it_answers_on_any_machine(run: Run) -> None:
    result = run(camera_info.main)
    assert not result.get("failed")
    assert result["changed"] is False
    assert set(result) >= KEYS


def test_check_mode_says_the_same(run: Run) -> None:
    real, check = run(camera_info.main), run(camera_info.main, _ansible_check_mode=True)
    assert [real[key] for key in KEYS - {"sources"}] == [check[key] for key in KEYS - {"sources"}]


@pytest.mark.parametrize("value", [0, -1, "nan", "inf"])
def test_a_timeout_that_is_not_allowed(run: Run, value: object) -> None:
    result = run(camera_info.main, timeout=value)
    assert result["failed"]
    assert result["msg"] == f"timeout is {float(str(value))}, but must be a number above 0."


def test_hung_tools_cost_their_timeout_only(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = tmp_path / "python"
    tool.write_text("#!/bin/sh\ntrap '' TERM\nsleep 60\n")
    tool.chmod(0o755)
    monkeypatch.setattr(_cameras, "PYTHON", str(tool))
    result = run(camera_info.main, timeout=0.3)
    source = result["sources"][-1]
    assert (source["name"], source["available"]) == ("libcamera", False)
    assert source["detail"] == "The Python binding did not answer within 0.3 s and was ended."
    assert source["duration"] < 2


def test_a_hung_cam_is_said_too(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "cam"
    tool.write_text("#!/bin/sh\necho Available cameras:\nsleep 60\n")
    tool.chmod(0o755)
    monkeypatch.setattr(_cameras, "PYTHON", str(tmp_path / "absent"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    result = run(camera_info.main, timeout=0.3)
    assert [source["detail"] for source in result["sources"][-2:]] == [
        "python3-libcamera is not installed.",
        "cam did not answer within 0.3 s and was ended.",
    ]


def test_nothing_but_the_answer_is_written(tmp_path: Path) -> None:
    options = tmp_path / "options.json"
    options.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {"timeout": 5}}))
    done = subprocess.run(
        [sys.executable, camera_info.__file__, str(options)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert set(json.loads(done.stdout)) >= KEYS
