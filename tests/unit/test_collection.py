"""The collection as a whole: what its archive holds, and that specs and defaults agree."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import yaml

from tests.lab import collection

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


@pytest.fixture(scope="module")
def archived() -> set[str]:
    with tarfile.open(collection.build()) as archive:
        return {member.name for member in archive if member.isfile()}


@pytest.mark.parametrize(
    "path",
    [
        "LICENSE",
        "README.md",
        "files/server/pyproject.toml",
        "files/server/requirements.txt",
        "files/server/src/camera_server/__main__.py",
        "meta/runtime.yml",
        "playbooks/bootstrap.yml",
        "plugins/modules/camera_info.py",
        "roles/camera_app/tasks/main.yml",
    ],
)
def test_the_archive_holds_what_a_controller_needs(archived: set[str], path: str) -> None:
    assert path in archived


def test_the_archive_holds_no_tests_and_no_caches(archived: set[str]) -> None:
    unwanted = {"tests", "molecule", ".cache", ".git", ".github", ".ci", "__pycache__", "Makefile"}
    assert [path for path in sorted(archived) if unwanted & set(Path(path).parts)] == []


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_name_the_same(role: str) -> None:
    folder = ROOT / "roles" / role
    defaults = yaml.safe_load((folder / "defaults/main.yml").read_text())
    specs = yaml.safe_load((folder / "meta/argument_specs.yml").read_text())
    options = specs["argument_specs"]["main"]["options"]
    assert {name: option.get("default") for name, option in options.items()} == defaults
    assert all(name.startswith(f"{role}_") for name in defaults)
