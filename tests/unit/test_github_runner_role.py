"""What github_runner refuses before it looks at a device, and what it makes of the rest."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from ansible_collections.rpi_camera.fleet.plugins.action.github_runner import SPEC
from ansible_collections.rpi_camera.fleet.plugins.plugin_utils import _github, _runner_archive

from tests.lab.console import BIN
from tests.play import refusals, told

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "github_runner"
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
VARS = yaml.safe_load((ROLE / "vars/main.yml").read_text())
HIDDEN = "geheim-4711"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"
SHA256 = "0123456789abcdef" * 4
# Nothing answers there, should a case be let through.
GOOD: dict[str, Any] = {"url": "https://github.invalid/octo/camera", "token": "t"}
# What a case has in place of something of GOOD.
NO_TOKEN: dict[str, Any] = {"token": ""}
APP = {**NO_TOKEN, "app_id": "7", "app_installation": "8", "app_key": PEM}
PAGE = "allowed is the page of a repository or of an organization, as https://github.com/OWNER/"
ADDRESSES = (
    "http://github.com/octo/camera",
    "https://github.com",
    "https://github.com/octo/camera/settings",
    "https://github.com/octo/camera.git",
    "https://github.com/orgs/octo",
    "https://github.com/octo/camera?tab=readme",
    "git@github.com:octo/camera.git",
    "octo/camera",
    "",
)
# Variables without github_runner_, and what the table of refusals tells then.
BAD: list[tuple[dict[str, Any], str]] = [
    *(({"url": url}, f"{PAGE}REPOSITORY") for url in ADDRESSES),
    ({"url": "http://github.com/octo"}, 'github_runner_url is "http://github.com/octo"; allowed'),
    ({"url": f"https://octo:{HIDDEN}@github.com/octo/camera"}, 'url is "…@github.com/octo/camera"'),
    ({"url": f"octo:a/{HIDDEN}@github.com/octo/camera"}, 'url is "…@github.com/octo/camera"'),
    ({"url": "https://github.com/enterprises/octo"}, "enterprises/octo, an enterprise's; allowed"),
    ({"url": "https://github.com/Enterprises/octo"}, "Enterprises/octo, an enterprise's; allowed"),
    (NO_TOKEN, "no credential for GitHub is set; allowed is one of github_runner_token, github"),
    (
        {"registration_token": HIDDEN},
        "github_runner_token and github_runner_registration_token are set; allowed is one of",
    ),
    ({**APP, "token": HIDDEN}, "github_runner_token and github_runner_app_id are set; allowed"),
    ({**APP, "app_id": ""}, "github_runner_app_id is empty; allowed are all three of"),
    ({**APP, "app_installation": ""}, "github_runner_app_installation is empty; allowed are all"),
    ({**APP, "app_key": ""}, "github_runner_app_key is empty; allowed are all three of"),
    ({**APP, "app_key": HIDDEN}, "github_runner_app_key is no private key; allowed is the content"),
    (
        {**NO_TOKEN, "registration_token": "t", "state": "forgotten"},
        "github_runner_registration_token cannot remove a runner; allowed with a github_runner_st",
    ),
    (
        {**NO_TOKEN, "registration_token": "t"},
        "github_runner_registration_token cannot ask GitHub for an archive; allowed with it are",
    ),
    (
        {**NO_TOKEN, "registration_token": "t", "version": "2.336.0"},
        "github_runner_registration_token cannot ask GitHub for an archive; allowed with it are",
    ),
    ({"name": "n" * 65}, f'github_runner_name is "{"n" * 65}"; allowed are 1 to 64 letters'),
    ({"name": "-pi"}, 'github_runner_name is "-pi"; allowed are 1 to 64 letters'),
    ({"name": "my pi"}, 'github_runner_name is "my pi"; allowed are 1 to 64 letters'),
    ({"name": ""}, 'github_runner_name is ""; allowed are 1 to 64 letters'),
    ({"labels": ["good", "a,b"]}, 'github_runner_labels: "a,b" is no label; allowed is a text of'),
    ({"labels": ["a b"]}, 'github_runner_labels: "a b" is no label; allowed is a text of 1 to 256'),
    ({"labels": ["-a"]}, 'github_runner_labels: "-a" is no label; allowed is a text of 1 to 256'),
    ({"labels": [64]}, "github_runner_labels: 64 is no label; allowed is a text of 1 to 256"),
    ({"labels": [""]}, 'github_runner_labels: "" is no label; allowed is a text of 1 to 256'),
    (
        {"group": "Cameras"},
        "github_runner_group is Cameras, and github_runner_url is a repository, which has no gr",
    ),
    (
        {"version": "v2.336.0"},
        "github_runner_version is v2.336.0; allowed are latest and a vers",
    ),
    ({"version": 2.336}, "github_runner_version is 2.336; allowed are latest and a version such"),
    (
        {"version": "2.328.9"},
        "github_runner_version is 2.328.9; GitHub registers no runner below 2.329.0; allowed is",
    ),
    ({"sha256": SHA256[1:]}, f"github_runner_sha256 is {SHA256[1:]}; allowed are 64 digits in hex"),
    (
        {"archive": "/srv/runner.tar.gz", "sha256": SHA256},
        "github_runner_archive is /srv/runner.tar.gz; allowed is a file under the name that GitHub",
    ),
    (
        {"archive": "/nowhere/actions-runner-linux-arm64-2.336.0.tar.gz"},
        "github_runner_sha256 is empty, and github_runner_archive is set; allowed is the archive's",
    ),
    (
        {"archive": "/nowhere/actions-runner-linux-arm64-2.336.0.tar.gz", "sha256": SHA256},
        "linux-arm64-2.336.0.tar.gz, and the controller has no such file; allowed is an archive",
    ),
    (
        {"archive": "/nowhere/actions-runner-linux-arm64-2.300.0.tar.gz", "sha256": SHA256},
        "2.300.0.tar.gz; GitHub registers no runner below 2.329.0; allowed is that or a newer one",
    ),
    (
        {"archive": "{archive}", "sha256": SHA256, "version": "2.336.0"},
        "github_runner_archive is set, and so is github_runner_version; allowed is one way to",
    ),
    (
        {"archive": "{archive}", "sha256": SHA256, "mirror": "https://mirror.example"},
        "github_runner_archive is set, and so is github_runner_mirror; allowed is one way to",
    ),
    (
        {"mirror": f"https://anna:{HIDDEN}@mirror.example"},
        "github_runner_mirror is …@mirror.example; allowed is an address such as https://mirror",
    ),
    ({"mirror": "mirror.example"}, "github_runner_mirror is mirror.example; allowed is an address"),
    ({"user": "root"}, 'github_runner_user is "root"; allowed are 1 to 32 lower-case letters'),
    ({"user": "Runner"}, 'github_runner_user is "Runner"; allowed are 1 to 32 lower-case letters'),
    ({"user": ""}, 'github_runner_user is ""; allowed are 1 to 32 lower-case letters'),
    ({"folder": "runner"}, 'github_runner_folder is "runner"; allowed is an absolute path of two'),
    ({"folder": "/opt"}, 'github_runner_folder is "/opt"; allowed is an absolute path of two'),
    ({"folder": "/home/pi/x"}, 'github_runner_folder is "/home/pi/x"; allowed is an absolute path'),
    ({"folder": "/opt/../etc"}, 'github_runner_folder is "/opt/../etc"; allowed is an absolute'),
    ({"work_folder": "/run/work"}, 'github_runner_work_folder is "/run/work"; allowed is an absol'),
    (
        {"work_folder": "/srv/a b"},
        'github_runner_work_folder is "/srv/a b"; allowed is an absol',
    ),
    (
        {"folder": "/opt/runner", "work_folder": "/opt/runner/work"},
        "github_runner_work_folder is /opt/runner/work, and github_runner_folder is /opt/runner",
    ),
    (
        {"folder": "/srv/work/runner", "work_folder": "/srv/work"},
        "github_runner_work_folder is /srv/work, and github_runner_folder is /srv/work/runner; all",
    ),
    (
        {"folder": "/srv/both", "work_folder": "/srv/both"},
        "allowed are two folders of which neither is in the other",
    ),
    ({"hook_started": "hook.sh"}, "github_runner_hook_started is hook.sh; allowed is the absolute"),
    (
        {"hook_completed": "/usr/local/bin/hook"},
        "github_runner_hook_completed is /usr/local/bin/hook; allowed is the absolute path of a",
    ),
    ({"environment": {"MY-VAR": "1"}}, 'github_runner_environment: "MY-VAR" is no name for a vari'),
    ({"environment": {"https_proxy": "1"}}, '"https_proxy" is no name for a variable, or one that'),
    (
        {"environment": {"A": None}},
        "github_runner_environment: the value of A is none, a list or",
    ),
    ({"environment": {"A": ["b"]}}, "github_runner_environment: the value of A is none, a list or"),
    ({"environment": {"A": {"b": 1}}}, "github_runner_environment: the value of A is none, a list"),
    ({"environment": {"A": "1\n2"}}, "it has several lines; allowed is a text of one line"),
    ({"path": "bin:/usr/bin"}, 'github_runner_path is "bin:/usr/bin"; allowed are absolute paths'),
    ({"proxy": "proxy:3128"}, "github_runner_proxy is proxy:3128; allowed is an address such as"),
    (
        {"proxy": f"anna:{HIDDEN}@proxy:3128"},
        "github_runner_proxy is …@proxy:3128; allowed is an address such as http://proxy.example",
    ),
    ({"no_proxy": "a, b"}, 'github_runner_no_proxy is "a, b"; allowed are hosts with commas'),
    ({"memory_max": "512 MB"}, "github_runner_memory_max is 512 MB; allowed is such as 512M, 1G"),
    ({"cpu_quota": "2"}, "github_runner_cpu_quota is 2; allowed is such as 50% and 200%"),
]
# What Ansible or another task refuses.
BAD_BEFORE: list[tuple[dict[str, Any], str]] = [
    ({"state": "started"}, "value of github_runner_state must be one of: present, absent, forgot"),
    ({"docker": "yes"}, "value of github_runner_docker must be one of: rootless, none, root"),
    ({"environment": ["A=1"]}, "argument 'github_runner_environment' is of type list"),
    ({"clean_days": "soon"}, "argument 'github_runner_clean_days' is of type str"),
    ({"labels": "camera"}, "github_runner_labels is no list; allowed is one, even if it has one"),
    ({"labels": None}, "argument 'github_runner_labels' is of type NoneType"),
    ({"drain_seconds": -1}, "github_runner_drain_seconds is -1; allowed is 0 to 86400"),
    ({"ready_seconds": 9}, "github_runner_ready_seconds is 9; allowed is 10 to 3600"),
    ({"clean_days": 366}, "github_runner_clean_days is 366; allowed is 1 to 365"),
    (
        {"lables": ["camera"]},
        "github_runner_lables: the role github_runner has no such variable; allowed are",
    ),
]
# As the README's examples have it, and with every variable that another has turned round.
TURNED = {
    "url": "https://github.example:8443/Octo-Org/",
    "name": "Pi_7.garden",
    "app_id": "Iv23liAbCdEf",
    "app_installation": 12345678,
    "app_key": PEM,
    "labels": ["camera", "Größe", "self-hosted"],
    "group": "Cameras",
    "ephemeral": True,
    "version": "2.336.0",
    "sha256": SHA256.upper(),
    "mirror": "https://mirror.example/actions-runner",
    "cache": "/srv/cache",
    "user": "builder",
    "folder": "/srv/builder/runner",
    "work_folder": "/mnt/disk/work",
    "environment": {"A": "b c", "NUMBER": 5, "YES": True, "EMPTY": "", "LANG": "de_DE.UTF-8"},
    "path": "/usr/bin:/bin",
    "proxy": "http://proxy.example:3128",
    "no_proxy": "localhost,.example",
    "hook_started": "/usr/local/bin/started.sh",
    "hook_completed": "/usr/local/bin/completed.sh",
    "memory_max": "512M",
    "cpu_quota": "200%",
    "camera": True,
    "docker": "root",
    "allow_public": True,
    "allow_small": True,
    "drain_seconds": 0,
    "ready_seconds": 3600,
    "clean_days": 1,
}
FINE: list[dict[str, Any]] = [
    GOOD,
    APP,
    {**NO_TOKEN, **TURNED},
    {"state": "absent"},
    {"state": "forgotten"},
    {**NO_TOKEN, "registration_token": "t", "version": "2.329.0", "sha256": SHA256},
    {**NO_TOKEN, "registration_token": "t", "state": "absent"},
    {"archive": "{archive}", "sha256": SHA256},
    {"proxy": f"http://anna:{HIDDEN}@proxy.example:3128"},
]


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> None:
    init_plugin_loader()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("archive") / "actions-runner-linux-arm64-2.336.0.tar.gz"
    path.touch()
    return str(path)


def _given(case: dict[str, Any], archive: str = "") -> dict[str, Any]:
    """Return a case's variables, as a user sets them."""
    return {
        f"github_runner_{name}": archive if value == "{archive}" else value
        for name, value in {**GOOD, **case}.items()
    }


def _templates(value: Any) -> Any:
    """Return something of the role's files, with texts that Ansible takes for templates."""
    if isinstance(value, dict):
        return {key: _templates(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_templates(one) for one in value]
    return trust_as_template(value) if isinstance(value, str) else value


def _made(expression: str, **variables: object) -> Any:
    """Return what Ansible makes of an expression with the role's variables."""
    # The role's name for the inventory's, which is Ansible's.
    all_ = {**_templates(DEFAULTS), **_templates(VARS), "inventory_hostname": "garden", **variables}
    templar = Templar(loader=DataLoader(), variables=all_)
    return templar.template(trust_as_template(f"{{{{ {expression} }}}}"))


def _refusals(name: str) -> Any:
    """Return the table of refusals of a file of tasks."""
    tasks = yaml.safe_load((ROLE / f"tasks/{name}.yml").read_text())
    (table,) = [
        task["vars"]["__github_runner_refusals"]
        for task in tasks
        if "__github_runner_refusals" in task.get("vars", {})
    ]
    return _templates(table)


def _told(case: dict[str, Any], archive: str) -> str:
    variables = _given(case, archive)
    table = _refusals("preflight_variables")
    return str(_made("__github_runner_refusal", **variables, __github_runner_refusals=table))


@pytest.mark.parametrize(("case", "text"), [pytest.param(*one, id=one[1][:40]) for one in BAD])
def test_what_no_runner_can_have_is_refused(case: dict[str, Any], text: str, archive: str) -> None:
    said = _told(case, archive)
    assert text in said
    assert "allowed" in said
    assert HIDDEN not in said


@pytest.mark.parametrize("case", FINE)
def test_what_a_runner_can_have_is_let_through(case: dict[str, Any], archive: str) -> None:
    assert _told(case, archive) == ""


def test_a_variant_turns_every_default_round() -> None:
    kept = {"state", "token", "registration_token", "archive"}  # Others are in their place.
    assert set(TURNED) == {name.removeprefix("github_runner_") for name in DEFAULTS} - kept
    same = [name for name, value in TURNED.items() if DEFAULTS[f"github_runner_{name}"] == value]
    assert same == []


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what a run says in which no device answers."""
    play = {"hosts": "garden", "gather_facts": False}
    role = {"name": "rpi_camera.fleet.github_runner"}
    bad = refusals(play, role, [_given(case) for case, _text in (*BAD_BEFORE, BAD[0])])
    # These would go on to the device.
    preflight = {**role, "tasks_from": "preflight.yml"}
    fine = refusals(play, preflight, [_given(case) for case in (GOOD, {**NO_TOKEN, **TURNED})])
    folder = tmp_path_factory.mktemp("play")
    (folder / "bad.yml").write_text(yaml.safe_dump([bad]))
    (folder / "fine.yml").write_text(yaml.safe_dump([fine]))
    hosts = {"all": {"hosts": {"garden": {"ansible_host": "127.0.0.1", "ansible_port": 1}}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    done = subprocess.run(
        [
            *[str(BIN / "ansible-playbook"), "-vv", "--inventory=hosts.yml"],
            *["bad.yml", "fine.yml"],
        ],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache/checkout"),
        },
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    # One that was let through has found that the device does not answer.
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_what_is_refused_is_refused_before_the_device_is_asked(output: str) -> None:
    before = output.partition("fine.yml *")[0]
    for number, (_case, text) in enumerate((*BAD_BEFORE, BAD[0])):
        assert text in told(before, number)


def test_a_run_with_good_variables_goes_on(output: str) -> None:
    _before, found, after = output.partition("fine.yml *")
    assert found
    assert "REFUSED" not in after


def test_no_key_is_shown(output: str) -> None:
    assert "PRIVATE KEY" not in output


# What the role makes of its variables.


def test_the_module_is_told_all_that_it_can_be_told() -> None:
    (task, _debug) = yaml.safe_load((ROLE / "tasks/runner.yml").read_text())
    told_of = task["rpi_camera.fleet.github_runner"]
    assert set(told_of) == set(SPEC)
    specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())
    states = specs["argument_specs"]["main"]["options"]["github_runner_state"]["choices"]
    assert states == SPEC["state"]["choices"]


@pytest.mark.parametrize(
    "url",
    [
        *ADDRESSES,
        "https://github.com/octo",
        "https://github.com/octo/",
        "https://github.com/octo/camera/",
        "https://github.example:8443/octo/.github",
        "https://GitHub.com/Octo_x-1/a.b_c-d",
        "https://github.com/settings",
        "https://github.com/Users/octo",
        "https://github.com/usersx/octo",
        "https://github.com/octo/camera.GIT",
        "https://github.com/octo/..",
        "https://github.com/octo/camera#readme",
        "https://github.com//camera",
        "https://-x/octo",
        "https://github.com:123456/octo",
        "https://github.com/octo\n",
        "https://github.com/Größe",
    ],
)
def test_the_role_takes_the_addresses_that_the_plugin_takes(url: str) -> None:
    try:
        _github.Scope.of(url)
        taken = "\n" not in url  # urlsplit leaves it out.
    except ValueError:
        taken = False
    assert _made("u is match(__github_runner_url_pattern)", u=url) is taken


def test_the_oldest_version_is_the_plugin_s() -> None:
    assert VARS["__github_runner_minimum"] == ".".join(map(str, _runner_archive.MINIMUM))


@pytest.mark.parametrize(
    ("variables", "version"),
    [
        ({}, "2.329.0"),
        ({"github_runner_version": "2.336.0"}, "2.336.0"),
        ({"github_runner_archive": "/a.b-1/actions-runner-linux-x64-2.340.1.tar.gz"}, "2.340.1"),
    ],
)
def test_the_version_that_is_wanted(variables: dict[str, object], version: str) -> None:
    assert _made("__github_runner_wanted_version", **variables) == version


def test_the_environment_is_text() -> None:
    given = {"TEXT": "a b", "NUMBER": 5, "RATE": 1.5, "YES": True, "NO": False, "EMPTY": ""}
    made = _made(
        "__github_runner_environment", github_runner_environment=given, github_runner_docker="none"
    )
    assert made == {
        "LANG": "C.UTF-8",
        "TEXT": "a b",
        "NUMBER": "5",
        "RATE": "1.5",
        "YES": "true",
        "NO": "false",
        "EMPTY": "",
    }


def test_the_environment_has_what_other_variables_are_for() -> None:
    given = _given({**NO_TOKEN, **TURNED, "docker": "rootless"})
    made = _made("__github_runner_environment", **given)
    own = _made("__github_runner_own_variables")
    proxy = "http://proxy.example:3128"
    assert {name: made[name] for name in own if name != "DOCKER_HOST"} == {
        "http_proxy": proxy,
        "https_proxy": proxy,
        "no_proxy": "localhost,.example",
        "ACTIONS_RUNNER_HOOK_JOB_STARTED": "/usr/local/bin/started.sh",
        "ACTIONS_RUNNER_HOOK_JOB_COMPLETED": "/usr/local/bin/completed.sh",
    }
    assert made["DOCKER_HOST"].startswith("unix:///run/")
    assert made["LANG"] == "de_DE.UTF-8"


def test_an_empty_environment_names_no_proxy_no_hooks_and_no_engine() -> None:
    made = _made("__github_runner_environment", github_runner_docker="root")
    assert made == {"LANG": "C.UTF-8"}


def _camera(sensor: str | None, detected: bool = True) -> dict[str, object]:
    return {"sensor": sensor, "detected": detected}


@pytest.mark.parametrize(
    ("cameras", "labels"),
    [
        # The task was skipped: no camera is wanted.
        ({"changed": False, "skipped": True}, ["b", "a"]),
        ({"cameras": []}, ["b", "a"]),
        ({"cameras": [_camera("imx708", detected=False)]}, ["b", "a"]),
        (
            {"cameras": [_camera("imx708"), _camera("imx477"), _camera("imx708")]},
            ["b", "a", "camera", "imx477", "imx708"],
        ),
        ({"cameras": [_camera(None)]}, ["b", "a", "camera"]),
        (
            {"cameras": [_camera("HD Webcam, front")]},
            ["b", "a", "camera", "HD-Webcam-front"],
        ),
    ],
)
def test_the_labels_have_the_cameras_that_are_there(cameras: object, labels: list[str]) -> None:
    made = _made(
        "__github_runner_labels",
        github_runner_labels=["b", "a"],
        __github_runner_cameras=cameras,
    )
    # In no certain order, and each once.
    assert sorted(made) == sorted(labels)


def test_without_a_look_for_cameras_the_labels_are_the_given_ones() -> None:
    assert _made("__github_runner_labels", github_runner_labels=["a"]) == ["a"]


def test_a_label_that_a_camera_gives_too_is_there_once() -> None:
    cameras = {"cameras": [_camera("imx708")]}
    made = _made(
        "__github_runner_labels",
        github_runner_labels=["camera"],
        __github_runner_cameras=cameras,
    )
    assert sorted(made) == ["camera", "imx708"]


LOOK: dict[str, Any] = {
    "installed": ["libicu76", "libssl3t64", "libkrb5-3", "zlib1g", "ca-certificates", "git"],
    "user": {"uid": 999, "home": "/var/lib/github-runner", "groups": ["github-runner"]},
    "missing": [],
    "groups": ["root", "video", "render", "docker"],
    "memory": 900000,
    "counts_memory": True,
}


def _told_of_device(look: dict[str, Any], **variables: object) -> str:
    return str(
        _made(
            "__github_runner_refusal",
            __github_runner_refusals=_refusals("preflight_device"),
            __github_runner_looked={"stdout": json.dumps({**LOOK, **look})},
            **variables,
        )
    )


@pytest.mark.parametrize(
    ("look", "variables", "text"),
    [
        ({}, {}, ""),
        ({"user": {}}, {}, ""),
        ({"memory": 480000}, {}, "garden has 468 MB of memory; allowed is 1 GB or more, since"),
        ({"memory": 480000}, {"github_runner_allow_small": True}, ""),
        (
            {"counts_memory": False},
            {"github_runner_memory_max": "512M"},
            "github_runner_memory_max is 512M, and the kernel of garden does not count memory",
        ),
        ({"counts_memory": False}, {}, ""),
        (
            {"user": {**LOOK["user"], "groups": ["github-runner", "sudo"]}},
            {},
            "github_runner_user is github-runner, who is in the group sudo on garden, and so would",
        ),
        (
            {"user": {**LOOK["user"], "home": "/home/pi", "groups": ["sudo"]}},
            {},
            "github_runner_user is github-runner, an account that garden has for something else:"
            " its home is /home/pi; allowed is a name that no account has",
        ),
        (
            {"missing": ["/usr/local/bin/started.sh"]},
            {},
            "garden has no file /usr/local/bin/started.sh, which github_runner_hook_started or",
        ),
    ],
)
def test_a_device_on_which_it_cannot_be_so_is_refused(
    look: dict[str, Any], variables: dict[str, object], text: str
) -> None:
    said = _told_of_device(look, **variables)
    assert said.startswith(text)
    assert bool(said) is bool(text)


def test_a_variable_without_a_value_is_refused() -> None:
    first = _templates(yaml.safe_load((ROLE / "tasks/preflight_variables.yml").read_text()))[0]
    for nulls in ({}, {"name": None}, {"token": None, "name": None}):
        given = {f"github_runner_{name}": value for name, value in {**GOOD, **nulls}.items()}
        told = _made("__github_runner_nulls", **first["vars"], **given)
        assert told == sorted(f"github_runner_{name}" for name in nulls)


@pytest.mark.parametrize(
    ("facts", "fine"),
    [
        ({}, True),
        ({"distribution_release": "bookworm", "architecture": "x86_64"}, True),
        ({"architecture": "armv6l", "userspace_bits": "32"}, False),
        ({"architecture": "armv7l", "userspace_bits": "32"}, False),
        # A 64-bit kernel below a 32-bit system, as Raspberry Pi OS (32-bit) has it.
        ({"userspace_bits": "32"}, False),
        ({"distribution_release": "bullseye"}, False),
        ({"distribution": "Ubuntu", "distribution_release": "noble"}, False),
    ],
)
def test_a_system_that_no_runner_is_for_is_refused(facts: dict[str, str], fine: bool) -> None:
    tasks = _templates(yaml.safe_load((ROLE / "tasks/preflight_device.yml").read_text()))
    (refusal,) = [task for task in tasks if "not supported" in task["name"]]
    pi = {"distribution": "Debian", "distribution_release": "trixie"}
    all_ = {**pi, "architecture": "aarch64", "userspace_bits": "64", **facts}
    conditions = refusal["ansible.builtin.assert"]["that"]
    assert all(_made(one, ansible_facts=all_) for one in conditions) is fine


def test_who_is_not_root_is_refused_whatever_is_to_be_done() -> None:
    _look, refusal = _templates(yaml.safe_load((ROLE / "tasks/look.yml").read_text()))
    for is_root in (True, False):
        look = {"stdout": json.dumps({**LOOK, "is_root": is_root})}
        that = refusal["ansible.builtin.assert"]["that"]
        assert _made(that, __github_runner_looked=look) is is_root


@pytest.mark.parametrize(("home", "own"), [("/var/lib/github-runner", True), ("/home/pi", False)])
def test_a_user_that_was_there_before_is_not_the_role_s(home: str, own: bool) -> None:
    look = {"stdout": json.dumps({"user": {**LOOK["user"], "home": home}})}
    assert _made("__github_runner_is_own_user", __github_runner_looked=look) is own
    gone = {"stdout": json.dumps({"user": {}})}
    assert _made("__github_runner_is_own_user", __github_runner_looked=gone) is False


# What the role goes by before the engine, with its containers, is started again or removed.


@pytest.mark.parametrize(
    ("user", "state", "check", "waits"),
    [
        (LOOK["user"], "active", False, True),
        (LOOK["user"], "active", True, False),
        (LOOK["user"], "inactive", False, False),
        ({}, "active", False, False),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_job_is_waited_for_where_an_engine_runs(
    user: dict[str, Any], state: str, check: bool, waits: bool, place: int
) -> None:
    task = yaml.safe_load((ROLE / "tasks/docker_wait.yml").read_text())[place]
    look = {"user": user, "units": {"github-runner-docker.service": {"ActiveState": state}}}
    made = _made(
        " and ".join(f"({one})" for one in task["when"]),
        __github_runner_looked={"stdout": json.dumps(look)},
        ansible_check_mode=check,
    )
    assert made is waits


@pytest.mark.parametrize(("rc", "refused"), [(0, True), (1, False), (2, True)])
def test_an_engine_is_left_alone_unless_it_is_known_that_no_job_runs(
    rc: int, refused: bool
) -> None:
    _wait, refuse = yaml.safe_load((ROLE / "tasks/docker_wait.yml").read_text())
    that = refuse["ansible.builtin.assert"]["that"]
    assert _made(that, __github_runner_jobs={"rc": rc}) is not refused
    for name in ("docker", "docker_remove"):
        first = yaml.safe_load((ROLE / f"tasks/{name}.yml").read_text())[0]
        assert first["ansible.builtin.import_tasks"] == "docker_wait.yml"


def test_the_work_folder_may_be_missing_where_nothing_has_to_be_installed() -> None:
    # The module makes it.
    task, _refusal = _templates(yaml.safe_load((ROLE / "tasks/look.yml").read_text()))
    assert _made("folders", folders=task["vars"]["__github_runner_wanted"]["folders"]) == [
        "/var/lib/github-runner",
        "/var/lib/github-runner/work",
        "/opt/github-runner",
    ]
    assert (
        "__github_runner_home in __github_runner_look.folders"
        in VARS["__github_runner_is_prepared"]
    )


def test_a_work_folder_that_is_not_the_user_s_stays_when_the_runner_goes() -> None:
    tasks = _templates(yaml.safe_load((ROLE / "tasks/remove.yml").read_text()))
    (loop,) = [task["loop"] for task in tasks if "its files are gone" in task["name"]]
    work = "/var/lib/github-runner/work"
    for folders in ([], ["/var/lib/github-runner", work]):
        look = {"has_runner": True, "user": LOOK["user"], "folders": folders}
        removed = _made(
            "loop",
            loop=loop,
            __github_runner_looked={"stdout": json.dumps(look)},
            __github_runner_files=[{"path": "/etc/a"}],
        )
        assert (work in removed) is bool(folders)
        assert "/opt/github-runner" in removed


def _drop_in(**variables: object) -> dict[str, list[str]]:
    """Return the drop-in as systemd reads it: the values of each key in turn."""
    path = ROLE / "templates" / VARS["__github_runner_drop_in"]
    all_ = {
        **_templates(DEFAULTS),
        **_templates(VARS),
        "ansible_managed": "managed",
        "__github_runner_looked": {"stdout": json.dumps(LOOK)},
        **_given(variables),
    }
    templar = Templar(loader=DataLoader(), variables=all_)
    text = str(templar.template(trust_as_template(path.read_text())))
    keys: dict[str, list[str]] = {}
    for line in text.splitlines():
        if re.match(r"\w+=", line):
            key, _equals, value = line.partition("=")
            keys.setdefault(key, []).append(value)
    return keys


def test_the_unit_starts_again_for_ever_unless_its_runner_is_for_one_job() -> None:
    assert _drop_in()["Restart"] == ["always"]
    assert _drop_in()["StartLimitIntervalSec"] == ["0"]
    assert _drop_in(ephemeral=True)["Restart"] == ["no"]


def test_the_unit_has_limits_only_where_they_are_set() -> None:
    assert not {"MemoryMax", "MemorySwapMax", "CPUQuota"} & set(_drop_in())
    limited = _drop_in(memory_max="512M", cpu_quota="200%")
    assert (limited["MemoryMax"], limited["CPUQuota"]) == (["512M"], ["200%"])


def test_the_unit_sees_devices_only_with_a_camera() -> None:
    assert _drop_in()["PrivateDevices"] == ["yes"]
    assert "video" not in "".join(_drop_in().get("SupplementaryGroups", []))
    camera = _drop_in(camera=True)
    assert "PrivateDevices" not in camera
    assert {"video", "render"} <= set(camera["SupplementaryGroups"][0].split())


def test_the_unit_is_in_the_group_of_the_engine_only_where_jobs_may_be_root() -> None:
    assert _drop_in(docker="root")["SupplementaryGroups"] == ["docker"]
    for docker in ("rootless", "none"):
        assert "docker" not in "".join(_drop_in(docker=docker).get("SupplementaryGroups", []))


def test_the_unit_writes_nowhere_else() -> None:
    unit = _drop_in(folder="/srv/runner", work_folder="/mnt/disk/work")
    assert unit["ProtectSystem"] == ["strict"]
    (paths,) = unit["ReadWritePaths"]
    assert {"/srv/runner", "-/mnt/disk/work", "/var/lib/github-runner"} <= set(paths.split())
    assert unit["RequiresMountsFor"] == ["/mnt/disk/work"]
