"""What the looks at a device are told and tell is what the roles and the playbook go by."""

from __future__ import annotations

import ast
import grp
import json
import os
import pwd
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

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


@pytest.mark.parametrize("role", ["camera_app", "docker_boot", "github_runner"])
def test_a_role_s_look_tells_what_the_role_goes_by(role: str) -> None:
    script = (ROOT / "roles" / role / "files/look.py").read_text()
    texts = _texts(ROOT / "roles" / role)
    assert set(re.findall(rf"__{role}_look\.(\w+)", texts)) == _keys(script)


@pytest.mark.parametrize("role", ["camera_app", "docker_boot", "github_runner"])
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


# Of a timer, systemd knows no process. It tells what it is asked for.
SYSTEMCTL = """#!/bin/sh
for last; do :; done
for option; do
    case $option in --property=*) asked=,${option#--property=}, ;; esac
done
tell() { case $asked in *",$1,"*) echo "$1=$2" ;; esac; }
tell LoadState loaded
tell ActiveState active
tell UnitFileState disabled
tell ActiveEnterTimestamp @1000
case $last in
    *.service) tell MainPID 7; tell NeedDaemonReload no ;;
    *) tell NeedDaemonReload yes ;;
esac
"""
# It tells only those whose format it is given.
DPKG_QUERY = """#!/bin/sh
[ "$2" = '--showformat=${db:Status-Status} ${Package}
' ] && printf 'installed there\nconfig-files removed\n'
exit 1
"""
SS = "#!/bin/sh\necho listener\n"
DOCKER = "#!/bin/sh\necho container\n"


def _look(
    role: str,
    bin_: Path,
    ss: str = SS,
    owner: tuple[int, int] = (os.getuid(), os.getgid()),
    **wanted: object,
) -> CompletedProcess[str]:
    """Run a role's look as its task does, with other programs than the system's.

    Args:
        role: the role.
        bin_: a folder to be made for the programs.
        ss: one of them.
        owner: who stands for root and root's group.
        wanted: what is looked for.
    """
    (told,) = re.findall(
        r"^    argv: (\[/usr/bin/python3, .*)\n    stdin: .*look\.py",
        _texts(ROOT / "roles" / role / "tasks"),
        re.MULTILINE,
    )
    script = (ROOT / "roles" / role / "files/look.py").read_text()
    assert script.count("(0, 0, ") == 1
    script = script.replace("(0, 0, ", f"({owner[0]}, {owner[1]}, ")
    bin_.mkdir()
    programs = {"systemctl": SYSTEMCTL, "ss": ss, "dpkg-query": DPKG_QUERY, "docker": DOCKER}
    for name, text in programs.items():
        (bin_ / name).write_text(text)
        (bin_ / name).chmod(0o755)
        script = script.replace(f"/usr/bin/{name}", str(bin_ / name))
    own: dict[str, dict[str, object]] = {
        "camera_app": {"service": "camera-server.service", "port": 8080, "packages": []},
        "docker_boot": {
            "service": "a.service",
            "update": "update.service",
            "timer": "a.timer",
            "name": "a",
            "ports": ["8080/tcp"],
            "folders": [],
            "started_from": [],
            "staged": "x",
        },
        "github_runner": {
            "packages": [],
            "user": "nobody",
            "units": [],
            "scripts": [],
            "folders": [],
            "engine": "/nonexistent",
            "installed": "/nonexistent",
        },
    }
    both: dict[str, object] = {"replaces": [], "files": [], "root": "/nonexistent", "kept": []}
    command = [sys.executable, *yaml.safe_load(told)[1:-1], json.dumps(both | own[role] | wanted)]
    # What lies in a user's home is none of the script's business.
    for module in ("json", "stat"):
        (bin_ / f"{module}.py").write_text("raise SystemExit('imported from the home')")
    env = {"PATH": f"{bin_}:/usr/bin:/bin"}
    return subprocess.run(
        command, input=script, env=env, cwd=bin_, capture_output=True, text=True, check=False
    )


def _found(role: str, bin_: Path, **wanted: Any) -> dict[str, Any]:
    done = _look(role, bin_, **wanted)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("role", ["camera_app", "docker_boot"])
def test_what_is_replaced_may_be_a_timer(role: str, tmp_path: Path) -> None:
    found = _found(role, tmp_path / "bin", replaces=["old.timer", "old.service"])
    assert found["replaced"] == ["old.timer", "old.service"]
    assert found["replaced_pids"] == ["0", "7"]


@pytest.mark.parametrize("role", ["camera_app", "docker_boot"])
def test_the_port_of_a_socket_that_is_replaced_is_systemd_s(role: str, tmp_path: Path) -> None:
    assert _found(role, tmp_path / "bin", replaces=["old.socket"])["replaced_pids"] == ["1"]


@pytest.mark.parametrize("role", ["camera_app", "docker_boot"])
def test_a_program_that_fails_is_told_with_what_it_said(role: str, tmp_path: Path) -> None:
    done = _look(role, tmp_path / "bin", "#!/bin/sh\necho Permission denied >&2\nexit 1\n")
    assert done.returncode == 1
    assert done.stderr.endswith("sport = :8080: Permission denied\n")


@pytest.mark.parametrize("role", ["camera_app", "docker_boot"])
def test_a_file_of_another_mode_is_not_right(role: str, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    for file in (right, wrong):
        file.write_text("same")
        file.chmod(0o644 if file == right else 0o640)
    files = [str(right), str(wrong), str(tmp_path / "none")]
    checksums = _found(role, tmp_path / "bin", files=files)["checksums"]
    assert list(checksums.values()) == [sha256(b"same").hexdigest(), "", ""]


@pytest.mark.parametrize("role", ["camera_app", "docker_boot"])
def test_a_file_of_somebody_else_is_not_right(role: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("same")
    file.chmod(0o644)
    found = _found(role, tmp_path / "bin", owner=(os.getuid() + 1, os.getgid()), files=[str(file)])
    assert found["checksums"] == {str(file): ""}


def test_the_camera_server_s_look_at_releases(tmp_path: Path) -> None:
    root = tmp_path / "opt"
    for name in ("a", "b"):
        (root / "releases" / name).mkdir(parents=True)
    (root / "releases/.hidden").mkdir()
    (root / "releases/link").symlink_to(tmp_path)
    (root / "releases/a/complete").touch()
    (root / "current").symlink_to(root / "releases/a")
    (root / "rollback").mkdir()
    kept = [str(root / "current"), str(root / "none")]
    found = _found("camera_app", tmp_path / "bin", root=str(root), kept=kept)
    assert found["complete"] == [str(root / "releases/a")]
    assert found["unused"] == [str(root / "releases/b")]
    assert found["links"] == {
        "current": str(root / "releases/a"),
        "previous": "",
        "rollback/release": "",
    }
    assert found["rollback"] is True
    assert found["kept"] == kept[:1]


def test_the_camera_server_s_look_at_what_is_in_the_place_of_its_own(tmp_path: Path) -> None:
    root, folder, masked = tmp_path / "opt", tmp_path / "folder", tmp_path / "masked"
    (root / "current").mkdir(parents=True)
    (root / "previous").symlink_to(tmp_path / "nowhere")
    folder.mkdir()
    masked.symlink_to("/dev/null")
    file = tmp_path / "file"
    file.touch()
    kept = [str(folder), str(masked), str(file), str(tmp_path / "none")]
    found = _found("camera_app", tmp_path / "bin", root=str(root), kept=kept)
    assert found["misplaced"] == [
        {"path": str(root / "current"), "kind": "link"},
        {"path": str(folder), "kind": "file"},
        {"path": str(masked), "kind": "file"},
    ]


@pytest.mark.parametrize("role", ["camera_app", "docker_boot"])
def test_a_program_that_is_missing_is_named(role: str, tmp_path: Path) -> None:
    done = _look(role, tmp_path / "bin", "#!/nonexistent/sh\n")
    assert done.returncode == 1
    assert done.stderr == f"[Errno 2] No such file or directory: '{tmp_path / 'bin/ss'}'\n"


def test_the_camera_server_s_look_at_the_system(tmp_path: Path) -> None:
    found = _found("camera_app", tmp_path / "bin", packages=["there", "removed", "never"])
    assert found["installed"] == ["there"]
    assert found["listeners"] == ["listener"]
    service = {"ActiveState": "active", "MainPID": "7", "NeedDaemonReload": "no"}
    assert found["service"] == service
    assert found["python"] == "{}.{}".format(*sys.version_info)


def test_the_look_of_docker_boot_at_what_an_app_is_started_from(tmp_path: Path) -> None:
    program, staged = tmp_path / "program", tmp_path / "staged"
    program.touch()
    staged.touch()
    outdated = []
    for place, written in enumerate((1000, 1002)):  # systemd says 1000, in whole seconds
        os.utime(program, (written, written))
        wanted = {"started_from": [str(program)], "staged": str(staged)}
        found = _found("docker_boot", tmp_path / f"bin-{place}", **wanted)
        outdated.append(found["outdated"])
        assert found["staged"] is True
    assert outdated == [False, True]
    assert found["unread"] == ["a.timer"]


def test_the_look_of_docker_boot_at_folders_and_ports(tmp_path: Path) -> None:
    folders = [
        {"path": str(tmp_path / name), "mode": "0700"} for name in ("right", "wrong", "none")
    ]
    for folder in folders[:2]:
        path = Path(folder["path"])
        path.mkdir()
        path.chmod(0o700 if path.name == "right" else 0o750)
    found = _found("docker_boot", tmp_path / "bin", folders=folders)
    assert found["folders"] == folders[:1]
    assert found["ports"] == [{"listeners": ["listener"], "containers": ["container"]}]
    assert found["namesakes"] == ["container"]
    assert found["docker"] == str(tmp_path / "bin/docker")


def test_the_look_of_github_runner_at_the_system(tmp_path: Path) -> None:
    asked = {"packages": ["there", "removed", "never"], "units": ["a.timer", "a.service"]}
    found = _found("github_runner", tmp_path / "bin", **asked)
    assert found["installed"] == ["there"]
    unit = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "disabled"}
    assert found["units"] == {
        "a.timer": {**unit, "NeedDaemonReload": "yes"},
        "a.service": {**unit, "NeedDaemonReload": "no"},
    }
    assert found["memory"] > 0
    assert isinstance(found["counts_memory"], bool)


def test_the_look_of_github_runner_at_a_user(tmp_path: Path) -> None:
    account = pwd.getpwuid(os.getuid())
    user = _found("github_runner", tmp_path / "bin", user=account.pw_name)["user"]
    group = grp.getgrgid(account.pw_gid).gr_name
    assert (user["uid"], user["home"]) == (account.pw_uid, account.pw_dir)
    assert group in user["groups"]
    work = tmp_path / "work"
    work.mkdir()
    # The home and the work folder, each told if it is the user's.
    folders = [str(one) for one in (tmp_path, tmp_path / "none", work)]
    found = _found("github_runner", tmp_path / "bin-3", user=account.pw_name, folders=folders)
    assert found["folders"] == [str(tmp_path), str(work)]
    nobody = _found("github_runner", tmp_path / "bin-2", user="no-such-user", folders=folders)
    assert (nobody["user"], nobody["folders"]) == ({}, [])


def test_the_look_of_github_runner_at_files(tmp_path: Path) -> None:
    right, wrong, none = (tmp_path / name for name in ("right.sh", "wrong.sh", "none.sh"))
    for file in (right, wrong):
        file.write_text("same")
        file.chmod(0o644 if file == right else 0o755)
    paths = [str(right), str(wrong), str(none)]
    found = _found(
        "github_runner",
        tmp_path / "bin",
        user=pwd.getpwuid(os.getuid()).pw_name,
        files=paths,
        scripts=paths,
        folders=[str(tmp_path), str(right)],
        engine=str(right),
        installed=str(right),
    )
    same = sha256(b"same").hexdigest()
    assert found["files"] == [same, "", ""]
    assert found["engine_file"] == same
    assert found["missing"] == [str(none)]
    assert found["folders"] == [str(tmp_path)]
    assert found["has_runner"] is True
