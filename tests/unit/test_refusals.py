"""What is told of a table of refusals, evaluated as Ansible does it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]
PARTS = {
    "camera_app": "roles/camera_app/vars/main.yml",
    "docker_boot": "roles/docker_boot/vars/main.yml",
    "bootstrap": "playbooks/vars/bootstrap.yml",
}
NO = {"when": "{{ 1 == 2 }}", "text": "{{ nobody.looks }}"}
YES = {"when": "{{ 1 == 1 }}", "text": "Port {{ port }}: no."}
BROKEN = {"when": "{{ users[0].password is match('x') }}", "text": "broken"}


@pytest.fixture(params=PARTS)
def part(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _told(part: str, *table: dict[str, str]) -> str:
    variables = {
        f"__{part}_refusals": [
            {key: trust_as_template(value) for key, value in entry.items()} for entry in table
        ],
        "port": 80,
        "users": [{"name": "anna"}],
    }
    expression = yaml.safe_load((ROOT / PARTS[part]).read_text())[f"__{part}_refusal"]
    templar = Templar(loader=DataLoader(), variables=variables)
    return str(templar.template(trust_as_template(expression)))


def test_the_first_that_holds_is_told_and_nothing_behind_it_is_looked_at(part: str) -> None:
    assert _told(part, NO, YES, BROKEN) == "Port 80: no."


def test_nothing_is_told_if_none_holds(part: str) -> None:
    assert _told(part, NO, NO) == ""


def test_one_that_cannot_be_answered_is_an_error(part: str) -> None:
    with pytest.raises(AnsibleError, match="password"):
        _told(part, NO, BROKEN)
