"""What the playbook bootstrap goes by agrees with its documentation, and its pattern is tight."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
VARS = yaml.safe_load((ROOT / "playbooks/vars/bootstrap.yml").read_text())


def test_the_readme_s_table_has_the_playbook_s_variables() -> None:
    table = re.findall(r"^\| `(bootstrap_\w+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert table == VARS["__bootstrap_known"]


def test_the_playbook_knows_the_variables_that_it_uses() -> None:
    texts = [path.read_text() for path in (ROOT / "playbooks").rglob("*.yml")]
    used = set(re.findall(r"(?<![\w.])bootstrap_\w+", "".join(texts)))
    assert used <= set(VARS["__bootstrap_known"])


@pytest.mark.parametrize(
    ("overlay", "allowed"),
    [
        ("imx708", True),
        ("imx708,cam0", True),
        ("imx477,cam1,rotation=0,link-frequency=450000000", True),
        ("vc4-kms-v3d", True),
        ("a" * 80, True),
        ("a" * 81, False),
        ("imx708,", False),
        (",cam0", False),
        ("imx708, cam0", False),
        ("imx708\n", False),
        ("imx708\ninitramfs evil", False),
        ("imx708#cam0", False),
        ("../imx708", False),
    ],
)
def test_an_overlay_is_a_name_with_parameters(overlay: str, allowed: bool) -> None:
    assert bool(re.match(VARS["__bootstrap_overlay_pattern"], overlay)) is allowed


def test_the_look_tells_what_the_playbook_asks() -> None:
    told = set(re.findall(r"\btell (\w+)", (ROOT / "playbooks/files/look.sh").read_text()))
    texts = [path.read_text() for path in (ROOT / "playbooks").rglob("*.yml")]
    assert set(re.findall(r"__bootstrap_device\.(\w+)", "".join(texts))) == told


def test_what_the_playbook_tells_the_role_and_what_the_user_may_are_all_of_its_variables() -> None:
    specs = yaml.safe_load((ROOT / "roles/docker_boot/meta/argument_specs.yml").read_text())
    known = set(specs["argument_specs"]["main"]["options"])
    told = {name for name in VARS if name.startswith("docker_boot_")}
    allowed = set(VARS["__bootstrap_container_allowed"])
    assert told | allowed == known
    assert told & allowed == set()


def test_the_playbook_names_the_units_of_both_forms() -> None:
    camera_app = yaml.safe_load((ROOT / "roles/camera_app/vars/main.yml").read_text())
    docker_boot = yaml.safe_load((ROOT / "roles/docker_boot/vars/main.yml").read_text())
    assert VARS["__bootstrap_native_unit"] == camera_app["__camera_app_service"]
    names = [docker_boot[f"__docker_boot_{what}"] for what in ("timer", "update", "service")]
    units = [name.replace("{{ docker_boot_name }}", VARS["docker_boot_name"]) for name in names]
    assert VARS["__bootstrap_app_units"] == units
