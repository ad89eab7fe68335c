"""The collection as a whole: what its archive holds, and that specs and defaults agree."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests import variables
from tests.lab import collection

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    with tarfile.open(collection.build(tmp_path_factory.mktemp("archive"))) as archive:
        return {member.name for member in archive if member.isfile()}


@pytest.mark.parametrize(
    "path",
    [
        "LICENSE",
        "examples/camera-repo/.github/workflows/camera-image.yml",
        "examples/camera-repo/README.md",
        "files/server/.dockerignore",
        "files/server/Dockerfile",
        "README.md",
        "files/server/pyproject.toml",
        "files/server/requirements.txt",
        "files/server/src/camera_server/__main__.py",
        "meta/runtime.yml",
        "playbooks/bootstrap.yml",
        "plugins/action/github_runner.py",
        "plugins/modules/camera_info.py",
        "plugins/plugin_utils/_runner_plan.py",
        "roles/camera_app/tasks/main.yml",
    ],
)
def test_the_archive_holds_what_a_controller_needs(archived: set[str], path: str) -> None:
    assert path in archived


def test_the_archive_holds_no_tests_and_no_caches(archived: set[str]) -> None:
    unwanted = {"tests", "molecule", ".cache", ".git", ".ci", "__pycache__", "Makefile"}
    assert [path for path in sorted(archived) if unwanted & set(Path(path).parts)] == []
    assert not [path for path in archived if Path(path).parts[0] == ".github"]


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_name_the_same(role: str) -> None:
    folder = ROOT / "roles" / role
    defaults = yaml.safe_load((folder / "defaults/main.yml").read_text())
    specs = yaml.safe_load((folder / "meta/argument_specs.yml").read_text())
    options = specs["argument_specs"]["main"]["options"]
    assert {name: option.get("default") for name, option in options.items()} == defaults
    assert all(name.startswith(f"{role}_") for name in defaults)


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_has_the_table_of_variables_that_the_specs_make(role: str) -> None:
    folder = ROOT / "roles" / role
    readme = (folder / "README.md").read_text()
    specs = yaml.safe_load((folder / "meta/argument_specs.yml").read_text())
    assert variables.filled(readme, specs) == readme, "run: make docs"


def test_the_readme_says_what_is_done_with_a_runner_as_the_plans_say_it() -> None:
    readme = (ROOT / variables.PLANS).read_text()
    assert variables.planned(readme) == readme, "run: make docs"


def test_a_table_of_what_is_done() -> None:
    row = SimpleNamespace(
        registration=("own", "other"),
        configuration=(),
        service=("named",),
        unit=("down",),
        meaning="it was stopped",
        action="start",
    )
    assert variables.plan([row], {"start": (None, "start the unit")}) == [
        "| GitHub | `.runner` | `.service` | Unit | That is | What is done |",
        "|---|---|---|---|---|---|",
        "| own, other | any | named | down | it was stopped | start the unit |",
    ]


COMPARISON = "## Beside other roles"


def test_the_readme_names_tests_that_there_are() -> None:
    """Each line of the comparison names one, and each one that is named is there."""
    readme = (ROOT / variables.PLANS).read_text()
    _before, found, comparison = readme.partition(COMPARISON)
    assert found
    rows = re.findall(r"^\| (?!-|What)(.+) \|$", comparison.partition("\n## ")[0], re.MULTILINE)
    without = [row for row in rows if not re.search(r"`tests/[a-z_/]+\.py::\w+`", row)]
    assert (bool(rows), without) == (True, [])
    missing = [
        f"{path}::{name}"
        for path, name in re.findall(r"`(tests/[a-z_/]+\.py)::(\w+)`", readme)
        if not re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE)
    ]
    assert missing == []


def test_a_table_of_variables() -> None:
    options: dict[str, dict[str, Any]] = {
        "app_list": {
            "type": "list",
            "elements": "dict",
            "default": [{"name": "a|b"}],
            "description": [
                "See V(a(\\)|b), M(x.y.z) and O(app_text=).",
                "B(Not) L(here,http://h/).",
            ],
            "options": {"name": {"type": "int", "required": True, "description": "C(1) or more."}},
        },
        "app_text": {"choices": ["a", True], "default": "", "description": "P(x.y.z#lookup)."},
        "app_unset": {"type": "path", "description": "U(http://h/), R(this,ref)."},
    }
    assert variables.table(options) == [
        "| Variable | Type | Default | What |",
        "|---|---|---|---|",
        r'| `app_list` | list of dict | `[{"name": "a\|b"}]`'
        r" | See `a()\|b`, `x.y.z` and `app_text=`. **Not** [here](http://h/). |",
        '| `app_text` | str | `""` | `x.y.z`. One of `a`, `true`. |',
        "| `app_unset` | path |  | <http://h/>, this. |",
        "",
        "Each one of `app_list`:",
        "",
        "| Key | Type | Default | What |",
        "|---|---|---|---|",
        "| `name` | int | required | `1` or more. |",
    ]


def test_a_readme_without_a_place_for_the_table() -> None:
    with pytest.raises(ValueError, match="has no"):
        variables.filled("# A role", {})
    with pytest.raises(ValueError, match="has no"):
        variables.planned("# A role")
