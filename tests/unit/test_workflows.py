"""What the linters of workflows leave out: the shell in them, and what is asked of a user's Pi."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.image.workflow import evaluate, variables

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/camera-repo/.github/workflows/camera-image.yml"
WORKFLOWS = [*sorted((ROOT / ".github/workflows").glob("*.yml")), EXAMPLE]


def steps(path: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: str(path.name))
def test_shellcheck_likes_the_commands(path: Path) -> None:
    for script in [step["run"] for step in steps(path) if "run" in step]:
        done = subprocess.run(
            ["shellcheck", "--shell=bash", "-"],
            input=script,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: str(path.name))
def test_no_command_holds_an_expression(path: Path) -> None:
    assert not [step["run"] for step in steps(path) if "${{" in step.get("run", "")]


def test_the_example_checks_out_as_this_repository_does() -> None:
    (example,) = {step["uses"] for step in steps(EXAMPLE) if "uses" in step}
    own = {step["uses"] for path in WORKFLOWS[:-1] for step in steps(path) if "uses" in step}
    assert example in own


def test_nobody_s_pull_request_runs_on_the_pi() -> None:
    # YAML takes the word `on` for true.
    assert set(yaml.safe_load(EXAMPLE.read_text())[True]) == {"push", "workflow_dispatch"}


def test_the_readme_has_every_variable_and_secret() -> None:
    readme = (EXAMPLE.parents[2] / "README.md").read_text()
    words = EXAMPLE.read_text().replace("(", " ").split()
    names = {word.partition(".")[2] for word in words if word.startswith(("vars.", "secrets."))}
    assert len(names) > 5
    assert {name for name in names if f"`{name}`" not in readme} == set()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${{ vars.TAG }}", "v1"),
        ("${{ vars.BASE }}", ""),
        ("${{ vars.BASE || 'latest' }}", "latest"),
        ("${{ vars.TAG || 'latest' }}", "v1"),
        ("${{ vars.TAG }}/${{ vars.TAG }}", "v1/v1"),
    ],
)
def test_the_runner_s_double_knows_the_expressions(text: str, value: str) -> None:
    assert evaluate(text, {"vars": {"TAG": "v1"}}) == value


@pytest.mark.parametrize("text", ["${{ fromJSON(vars.TAG) }}", "${{ vars.TAG && 'x' }}"])
def test_the_runner_s_double_refuses_what_it_does_not_know(text: str) -> None:
    with pytest.raises(ValueError, match="does not know"):
        evaluate(text, {"vars": {"TAG": "v1"}})


def test_the_runner_s_double_reads_variables_of_a_step() -> None:
    assert variables("A=1\nB=x=y\nC=\n") == {"A": "1", "B": "x=y", "C": ""}
    with pytest.raises(ValueError, match="not NAME=VALUE"):
        variables("A<<END\n1\nEND\n")
