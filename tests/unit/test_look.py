"""What the looks at a device are told and tell is what the roles and the playbook go by."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FORMS = ROOT / "playbooks/files/forms.py"


def _texts(folder: Path) -> str:
    return "".join(path.read_text() for path in sorted(folder.rglob("*.yml")))


def _keys(script: str) -> set[str]:
    """Return the keys of what a script finds."""
    _before, _equals, found = script.partition("\nfound = {\n")
    return set(re.findall(r'^    "(\w+)": ', found, re.MULTILINE))


@pytest.mark.parametrize("role", ["camera_app", "docker_boot"])
def test_a_role_s_look_tells_what_the_role_goes_by(role: str) -> None:
    script = (ROOT / "roles" / role / "files/look.py").read_text()
    texts = _texts(ROOT / "roles" / role)
    assert set(re.findall(rf"__{role}_look\.(\w+)", texts)) == _keys(script)


@pytest.mark.parametrize("role", ["camera_app", "docker_boot"])
def test_a_role_s_look_is_told_what_it_asks_for(role: str) -> None:
    script = (ROOT / "roles" / role / "files/look.py").read_text()
    texts = _texts(ROOT / "roles" / role / "tasks")
    (told,) = re.findall(rf"^    __{role}_wanted:\n((?:      .*\n)+)", texts, re.MULTILINE)
    assert set(yaml.safe_load(told)) == set(re.findall(r"""wanted\[["'](\w+)["']\]""", script))


def test_the_look_for_forms_tells_what_the_playbook_goes_by() -> None:
    told = set(re.findall(r'"(\w+)":', FORMS.read_text().rpartition("json.dumps(")[2]))
    assert set(re.findall(r"__bootstrap_forms\.(\w+)", _texts(ROOT / "playbooks"))) == told


def test_the_look_for_forms_knows_the_role_s_names() -> None:
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(FORMS.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if node.targets[0].id.isupper()
    }
    role = yaml.safe_load((ROOT / "roles/camera_app/vars/main.yml").read_text())
    releases = role["__camera_app_releases"]
    releases = releases.replace("{{ __camera_app_root }}", role["__camera_app_root"])
    assert constants == {
        "UNIT": role["__camera_app_service"],
        "USER": role["__camera_app_user"],
        "LEFT": (releases, role["__camera_app_config"]),
    }


# Of a timer, systemd knows no process.
SYSTEMCTL = """#!/bin/sh
echo LoadState=loaded
echo ActiveState=active
echo UnitFileState=disabled
echo ActiveEnterTimestamp=
echo NeedDaemonReload=no
case "$*" in *.service) echo MainPID=7 ;; esac
"""
WANTED: dict[str, dict[str, object]] = {
    "camera_app": {
        "service": "camera-server.service",
        "port": 8080,
        "packages": ["venv"],
        "files": [],
        "root": "/nonexistent",
        "kept": [],
    },
    "docker_boot": {
        "service": "docker-boot@a.service",
        "timer": "docker-boot-update@a.timer",
        "name": "a",
        "ports": ["8080/tcp"],
        "folders": [],
        "files": [],
        "started_from": [],
        "staged": "/nonexistent",
    },
}


def _look(role: str, folder: Path, ss: str) -> subprocess.CompletedProcess[str]:
    """Run a role's look with other programs than the system's."""
    script = (ROOT / "roles" / role / "files/look.py").read_text()
    for name, text in (("systemctl", SYSTEMCTL), ("ss", ss), ("dpkg-query", "#!/bin/sh\nexit 1\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
        script = script.replace(f"/usr/bin/{name}", str(folder / name))
    wanted = {**WANTED[role], "replaces": ["old.timer", "old.service"]}
    command = [sys.executable, "-I", "-", json.dumps(wanted)]
    env = {"PATH": str(folder)}
    return subprocess.run(
        command, input=script, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("role", ["camera_app", "docker_boot"])
def test_what_is_replaced_may_be_a_timer(role: str, tmp_path: Path) -> None:
    found = json.loads(_look(role, tmp_path, "#!/bin/sh\n").stdout)
    assert found["replaced"] == ["old.timer", "old.service"]
    assert found["replaced_pids"] == ["7"]


@pytest.mark.parametrize("role", ["camera_app", "docker_boot"])
def test_a_program_that_fails_is_told_with_what_it_said(role: str, tmp_path: Path) -> None:
    done = _look(role, tmp_path, "#!/bin/sh\necho Permission denied >&2\nexit 1\n")
    assert done.returncode == 1
    assert done.stderr.endswith("sport = :8080: Permission denied\n")
