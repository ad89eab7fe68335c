# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each combination of the four facts has one row, and each row leads to the end."""

from __future__ import annotations

import ast
import itertools
from dataclasses import fields
from pathlib import Path

import pytest
from ansible_collections.rpi_camera.fleet.plugins.action import github_runner as action_plugin
from ansible_collections.rpi_camera.fleet.plugins.modules import github_runner_local
from ansible_collections.rpi_camera.fleet.plugins.plugin_utils import _runner_plan
from ansible_collections.rpi_camera.fleet.plugins.plugin_utils._runner_plan import (
    ABSENT,
    ACTIONS,
    PRESENT,
    Facts,
    Row,
    plan,
)

TABLES = {"present": PRESENT, "absent": ABSENT}
WORDS = {
    "registration": _runner_plan.REGISTRATIONS,
    "configuration": _runner_plan.CONFIGURATIONS,
    "service": _runner_plan.SERVICES,
    "unit": _runner_plan.UNITS,
}
ALL = [Facts(*words) for words in itertools.product(*WORDS.values())]
RIGHT = Facts("own", "right", "named", "listening")
# Done by the module on the device under another name than the row's, or by GitHub.
ELSEWHERE = {"nothing", "register", "replace", "reconfigure", "delete"}

tables = pytest.mark.parametrize("table", [pytest.param(TABLES[name], id=name) for name in TABLES])
each = pytest.mark.parametrize(
    "facts", [pytest.param(facts, id="-".join(vars(facts).values())) for facts in ALL]
)


def _end(facts: Facts, actions: list[str]) -> Facts:
    for action in actions:
        facts = ACTIONS[action][0](facts)
    return facts


def test_the_words_are_those_of_the_facts() -> None:
    assert list(WORDS) == [field.name for field in fields(Facts)]
    assert list(WORDS) == [field.name for field in fields(Row)][: len(WORDS)]


@each
@tables
def test_facts_have_exactly_one_row(table: tuple[Row, ...], facts: Facts) -> None:
    assert len([row for row in table if row.fits(facts)]) == 1


@each
def test_a_runner_that_is_to_be_there_listens_in_the_end(facts: Facts) -> None:
    end = _end(facts, plan(facts, PRESENT))
    known = "unknown" if facts.registration == "unknown" else "own"
    # Who cannot be asked is asked by config.sh, which has registered it.
    assert end.registration in {known, "own"}
    assert (end.configuration, end.service, end.unit) == ("right", "named", "listening")


@each
def test_of_a_runner_that_is_to_go_nothing_is_left_on_the_device(facts: Facts) -> None:
    end = _end(facts, plan(facts, ABSENT))
    assert (end.configuration, end.service, end.unit) == ("none", "none", "none")
    assert end.registration in {"none", "unknown"}


@each
@tables
def test_what_is_done_is_not_done_again(table: tuple[Row, ...], facts: Facts) -> None:
    assert plan(_end(facts, plan(facts, table)), table) == []


@tables
def test_each_row_is_for_some_facts_and_names_only_words_that_there_are(
    table: tuple[Row, ...],
) -> None:
    assert [row for row in table if not any(row.fits(facts) for facts in ALL)] == []
    for row in table:
        for name, words in WORDS.items():
            assert set(getattr(row, name)) <= set(words)


@tables
def test_each_row_has_an_action_that_there_is_and_says_why(table: tuple[Row, ...]) -> None:
    assert {row.action for row in table} <= set(ACTIONS)
    assert [row for row in table if not row.meaning.strip()] == []


def test_each_action_is_in_a_table() -> None:
    assert {row.action for row in PRESENT + ABSENT} == set(ACTIONS)


def test_each_action_is_known_to_who_does_it() -> None:
    steps = set(vars(github_runner_local.Runner))
    assert set(ACTIONS) - ELSEWHERE <= steps
    source = Path(action_plugin.__file__).read_text()
    texts = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    assert ELSEWHERE - {"nothing"} <= texts


def test_a_runner_that_listens_is_left_alone() -> None:
    assert [facts for facts in ALL if plan(facts, PRESENT) == []] == [
        RIGHT,
        Facts("unknown", "right", "named", "listening"),
    ]


@pytest.mark.parametrize(
    ("facts", "actions"),
    [
        (Facts("none", "none", "none", "none"), ["register", "install_service", "start"]),
        (Facts("other", "none", "none", "none"), ["replace", "install_service", "start"]),
        # An ephemeral one after its job.
        (
            Facts("none", "none", "named", "down"),
            ["uninstall_service", "register", "install_service", "start"],
        ),
        # Deleted at GitHub.
        (
            Facts("none", "right", "named", "deaf"),
            ["uninstall_service", "forget", "register", "install_service", "start"],
        ),
        (Facts("own", "wrong", "named", "listening"), ["reconfigure", "install_service", "start"]),
        (
            Facts("own", "broken", "none", "none"),
            ["forget", "replace", "install_service", "start"],
        ),
        (
            Facts("own", "right", "named", "none"),
            ["uninstall_service", "install_service", "start"],
        ),
        (Facts("own", "right", "none", "none"), ["install_service", "start"]),
        (Facts("own", "right", "named", "down"), ["start"]),
        (Facts("own", "right", "named", "deaf"), ["restart"]),
    ],
)
def test_what_is_done_when_it_is_to_be_there(facts: Facts, actions: list[str]) -> None:
    assert plan(facts, PRESENT) == actions


@pytest.mark.parametrize(
    ("facts", "actions"),
    [
        (RIGHT, ["uninstall_service", "unregister"]),
        (Facts("none", "right", "named", "down"), ["uninstall_service", "forget"]),
        (Facts("unknown", "right", "none", "none"), ["forget"]),
        (Facts("own", "none", "none", "none"), ["delete"]),
        (Facts("own", "broken", "none", "none"), ["forget", "delete"]),
        (Facts("none", "none", "none", "none"), []),
    ],
)
def test_what_is_done_when_it_is_to_go(facts: Facts, actions: list[str]) -> None:
    assert plan(facts, ABSENT) == actions


def test_a_table_that_goes_round_in_a_circle_is_an_error() -> None:
    circle = (Row((), (), (), (), "restart", "for ever"),)
    with pytest.raises(RuntimeError, match="no way to the end"):
        plan(RIGHT, circle)


def test_facts_that_no_row_is_for_are_an_error() -> None:
    with pytest.raises(RuntimeError, match="no way to the end"):
        plan(RIGHT, ())
