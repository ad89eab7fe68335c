# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools that hang, crash or are not there cost a bounded time and raise nothing."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.rpi_camera.fleet.plugins.module_utils._tools import (
    Outcome,
    run_tool,
    within,
)


def test_output_and_status_are_returned() -> None:
    run = run_tool(("sh", "-c", "echo out; echo $WORD >&2; exit 3"), 10, {"WORD": "err"})
    assert (run.outcome, run.status) == (Outcome.EXITED, 3)
    assert (run.stdout, run.stderr) == ("out\n", "err\n")


def test_more_output_than_a_pipe_holds_does_not_block() -> None:
    run = run_tool(("sh", "-c", "yes | head -c 1000000"), 10, {})
    assert run.outcome is Outcome.EXITED
    assert len(run.stdout) == 1_000_000


def test_a_killed_tool_says_its_signal() -> None:
    assert run_tool(("sh", "-c", "kill -SEGV $$"), 10, {}).status == -11


@pytest.mark.parametrize("name", ["/nowhere/cam", "no-such-tool-of-a-camera", "/etc/passwd"])
def test_a_tool_that_cannot_be_started_is_absent(name: str) -> None:
    assert run_tool((name,), 10, {}).outcome is Outcome.ABSENT


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("sleep 60", id="sleeps"),
        pytest.param("trap '' TERM INT; while :; do sleep 1; done", id="ignores the friendly end"),
        pytest.param("sleep 60 & exit 0", id="leaves a child with its output open"),
    ],
)
def test_a_hung_tool_costs_its_timeout_and_leaves_nothing(script: str, tmp_path: Path) -> None:
    note = tmp_path / "group"
    start = time.monotonic()
    run = run_tool(("sh", "-c", f"echo $$ > {note}; {script}"), 0.5, {})
    assert run.outcome is Outcome.HUNG
    assert time.monotonic() - start < 2
    group = int(note.read_text())
    deadline = time.monotonic() + 5
    while _living(group):
        assert time.monotonic() < deadline, "processes of the tool are left"


def _living(group: int) -> bool:
    """Tell whether a process of the group is there that is no zombie."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, its_group = status.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(its_group) == group and state != "Z":
            return True
    return False


def test_the_own_environment_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "LIBCAMERA_PIPELINES_MATCH_LIST", "virtual")
    run = run_tool(("sh", "-c", "echo $LIBCAMERA_PIPELINES_MATCH_LIST"), 10, {})
    assert run.stdout == "virtual\n"


def test_work_that_does_not_end_is_left_behind() -> None:
    over = threading.Event()
    start = time.monotonic()
    assert within(0.2, lambda: over.wait(30)) is None
    assert time.monotonic() - start < 5
    over.set()
    assert within(20, lambda: "done") == "done"


def test_what_a_hung_tool_said_is_kept() -> None:
    run = run_tool(("sh", "-c", "echo said; sleep 60"), 0.5, {})
    assert (run.outcome, run.stdout) == (Outcome.HUNG, "said\n")
