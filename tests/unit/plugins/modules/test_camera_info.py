# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rpi_camera.fleet.plugins.module_utils import _listings
from ansible_collections.rpi_camera.fleet.plugins.module_utils._cameras import inspect
from ansible_collections.rpi_camera.fleet.plugins.module_utils._tools import run_tool
from ansible_collections.rpi_camera.fleet.plugins.modules import camera_info
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.doubles import Device, Run

KEYS = set(yaml.safe_load(camera_info.RETURN))


def test_it_answers_on_any_machine(run: Run) -> None:
    result = run(camera_info.main)
    assert not result.get("failed")
    assert result["changed"] is False
    assert set(result) >= KEYS


def _undocumented(fields: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """Return the fields that are documented and not returned, or returned and not documented."""
    wrong = sorted(set(fields) ^ set(values))
    for name, documented in fields.items():
        value = values.get(name)
        inner = value[0] if isinstance(value, list) and value else value
        if "contains" in documented and isinstance(inner, dict):
            wrong += [f"{name}.{one}" for one in _undocumented(documented["contains"], inner)]
        elif "contains" not in documented and "sample" not in documented:
            wrong.append(f"{name} has no sample")
    return wrong


def test_what_it_returns_is_documented_with_a_sample(device: Device) -> None:
    device.write("boot/firmware/config.txt", "camera_auto_detect=1\n")
    device.usb_camera(0, "Cam", "1-1.2", ("32e4", "9422"))
    device.process(812, "ustreamer", "video0")
    result = inspect(device.root, run_tool, 20)
    assert result["cameras"][0]["holders"]
    assert _undocumented(yaml.safe_load(camera_info.RETURN), result) == []


def test_check_mode_says_the_same(run: Run) -> None:
    real, check = run(camera_info.main), run(camera_info.main, _ansible_check_mode=True)
    assert [real[key] for key in KEYS - {"sources"}] == [check[key] for key in KEYS - {"sources"}]


@pytest.mark.parametrize("value", [0, -1, "nan", "inf", 1e300])
def test_a_timeout_that_is_not_allowed(run: Run, value: object) -> None:
    result = run(camera_info.main, timeout=value)
    assert result["failed"]
    told = f"timeout is {float(str(value))}, but must be a number above 0, 86400 at most."
    assert result["msg"] == told


def test_hung_tools_cost_their_timeout_only(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("python", "vcgencmd"):
        tool = tmp_path / name
        tool.write_text("#!/bin/sh\ntrap '' TERM\nsleep 60\n")
        tool.chmod(0o755)
    monkeypatch.setattr(_listings, "PYTHON", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    result = run(camera_info.main, timeout=0.3)
    binding, firmware = result["sources"][-2:]
    assert (binding["name"], binding["available"]) == ("libcamera", False)
    assert binding["detail"] == "The Python binding did not answer within 0.3 s and was ended."
    assert (firmware["name"], firmware["available"]) == ("vcgencmd", False)
    assert firmware["detail"] == "vcgencmd did not answer within 0.3 s and was ended."
    assert binding["duration"] + firmware["duration"] < 4


def test_a_hung_cam_is_said_too(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "cam"
    tool.write_text("#!/bin/sh\necho Available cameras:\nsleep 60\n")
    tool.chmod(0o755)
    monkeypatch.setattr(_listings, "PYTHON", str(tmp_path / "absent"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    result = run(camera_info.main, timeout=0.3)
    details = {source["name"]: source["detail"] for source in result["sources"]}
    assert details["libcamera"] == "python3-libcamera is not installed."
    assert details["cam"] == "cam did not answer within 0.3 s and was ended."


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
