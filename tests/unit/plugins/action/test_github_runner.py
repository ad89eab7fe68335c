# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is decided on the controller, by what a made-up device and a made-up GitHub answer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.plugins.action import ActionBase
from ansible_collections.rpi_camera.fleet.plugins.action import github_runner as plugin
from ansible_collections.rpi_camera.fleet.plugins.action.github_runner import SPEC, ActionModule
from ansible_collections.rpi_camera.fleet.plugins.modules import github_runner as documented
from ansible_collections.rpi_camera.fleet.plugins.plugin_utils import _runner_archive
from ansible_collections.rpi_camera.fleet.plugins.plugin_utils._github import (
    GitHub,
    GitHubError,
    Group,
    Release,
    Runner,
    Scope,
)

OPTIONS = yaml.safe_load(documented.DOCUMENTATION)["options"]
RETURNS = yaml.safe_load(documented.RETURN)
URL = "https://github.com/octo/camera"
UNIT = "actions.runner.octo-camera.pi.service"
SHA256 = "ab" * 32
GIVEN = "github_pat_11SECRET"
REGISTER = "REGISTER-{}".format
ONE_HOUR: dict[str, Any] = {"token": None, "registration_token": "R"}
REMOVE = "AABBCC"
WANTED: dict[str, Any] = {
    "url": URL,
    "name": "pi",
    "folder": "/opt/runner",
    "user": "runner",
    "work_folder": "/srv/work",
    "labels": ["camera"],
    "token": GIVEN,
    # A second look is not waited for.
    "drain_seconds": 0,
    "ready_seconds": 0,
}
REGISTERED = Runner(
    id=7,
    name="pi",
    online=True,
    busy=False,
    labels=frozenset({"camera"}),
    fixed_labels=frozenset({"self-hosted"}),
    group_id=1,
)
CONFIGURED = {
    "id": 7,
    "name": "pi",
    "url": URL,
    "work_folder": "/srv/work",
    "ephemeral": False,
    "disable_update": False,
}
LISTENING = {
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "User": "runner",
    "MainPID": "7",
    "NeedDaemonReload": "no",
}


def _found(**changes: Any) -> dict[str, Any]:
    """Return what a device says on which all is well."""
    return {
        "time": time.time(),
        "architecture": "aarch64",
        "user": True,
        "version": "2.336.0",
        "built": time.time(),
        "configuration": CONFIGURED,
        "aside": None,
        "service": UNIT,
        "units": [UNIT],
        "unit": LISTENING,
        "overrides": [],
        "listeners": [8],
        "workers": [],
        "heard": True,
        "disowned": False,
        "differs": [],
        "is_stale": False,
        "others": [],
        **changes,
    }


BARE = _found(
    version="", built=0.0, configuration=None, service="", units=[], unit={}, listeners=[]
)


@dataclass
class World:
    """A made-up device and a made-up GitHub, and what was done with them.

    Attributes:
        found: what the device says when it is looked at.
        answers: what it says to other steps; a text is why it failed.
        steps: what it was told to do, without the looks.
        registered: what GitHub has.
        looks: what it has the first times that it is asked; an error is why it does not say.
        there: what it has by the ID.
        asked: what GitHub was asked for, apart from the runner's name; and where, if elsewhere.
        tokens: how many registration tokens it has made.

    """

    found: dict[str, Any] = field(default_factory=_found)
    answers: dict[str, Any] = field(default_factory=dict)
    steps: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    registered: Runner | None = REGISTERED
    looks: list[Runner | GitHubError | None] = field(default_factory=list)
    there: Runner | None = None
    tokens: int = 0
    public: bool = False
    groups: list[Group] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The names of the steps."""
        return [name for name, _options in self.steps]

    def ask(self) -> Runner | None:
        """Answer as GitHub does when it is asked for the name."""
        answer = self.looks.pop(0) if self.looks else self.registered
        if isinstance(answer, GitHubError):
            raise answer
        return answer

    def mint(self) -> str:
        """Make a registration token."""
        self.tokens += 1
        return REGISTER(self.tokens)

    def local(self, *, module_args: dict[str, Any], **_rest: Any) -> dict[str, Any]:
        """Answer as the module on the device does."""
        step = module_args["step"]
        if step == "look":
            return {"found": self.found}
        self.steps.append((step, module_args))
        answer = self.answers.get(step, {})
        if isinstance(answer, str):
            return {"failed": True, "msg": answer}
        return {"busy": False, "heard": True, **answer}

    def run(self, check: bool = False, **wanted: Any) -> dict[str, Any]:
        """Run the action as a task would."""
        options = {**WANTED, **wanted}
        options = {name: value for name, value in options.items() if value is not None}
        task = SimpleNamespace(
            args=options, check_mode=check, diff=True, async_val=0, action="github_runner"
        )
        action = ActionModule.__new__(ActionModule)
        action._task = task
        action._display = SimpleNamespace(display=lambda _text: None)
        action._execute_module = self.local
        action._connection = SimpleNamespace(
            _shell=SimpleNamespace(tmpdir="/t", join_path=lambda *parts: "/".join(parts))
        )
        action._transfer_file = lambda _local, _remote: None
        return dict(action.run(task_vars={}))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    world = World()

    def noted(name: str, answer: Any) -> Any:
        def ask(client: GitHub, *arguments: Any) -> Any:
            where = [] if client.scope.web == URL else [f"{client.scope.web}:"]
            world.asked.append(" ".join([*where, name, *map(str, arguments)]))
            return answer() if callable(answer) else answer

        return ask

    def deleted() -> None:
        world.registered = None

    monkeypatch.setattr(GitHub, "runner", lambda _client, _name: world.ask())
    for name, answer in {
        "repository_is_public": lambda: world.public,
        "groups": lambda: world.groups,
        "registration_token": world.mint,
        "runner_by_id": lambda: world.there,
        "remove_token": REMOVE,
        "set_labels": None,
        "move": None,
        "delete": deleted,
        "newest": Release("2.336.0", "https://github.com/x", "x.tar.gz", SHA256),
        "release": Release("2.336.0", "https://github.com/x", "x.tar.gz", SHA256),
    }.items():
        monkeypatch.setattr(GitHub, name, noted(name, answer))
    monkeypatch.setattr(_runner_archive, "fetch", lambda *_a, **_k: tmp_path / "x.tar.gz")
    # What is waited for is there at once, or never.
    monkeypatch.setattr(plugin, "LAG", 0)
    monkeypatch.setattr(plugin, "PAUSE", 0)
    monkeypatch.setattr(plugin, "LONG_PAUSE", 0)
    monkeypatch.setattr(
        ActionModule,
        "validate_argument_spec",
        lambda self, argument_spec: (
            None,
            {name: spec.get("default") for name, spec in argument_spec.items()} | self._task.args,
        ),
    )
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    return world


# What it takes.


def test_the_options_are_those_that_are_documented() -> None:
    assert set(SPEC) == set(OPTIONS)
    for name, spec in SPEC.items():
        option = OPTIONS[name]
        for key in ("type", "default", "choices", "elements"):
            assert spec.get(key) == option.get(key), name
        assert spec.get("required", False) == option.get("required", False), name


def test_what_is_secret_is_no_log() -> None:
    secret = {name for name, spec in SPEC.items() if spec.get("no_log")}
    assert secret == {"token", "app_key", "registration_token"}


def test_what_is_returned_is_documented(world: World) -> None:
    assert set(world.run()) == {*RETURNS, "changed"}
    assert set(world.run(state="absent", check=True)) == {*RETURNS, "changed", "diff"}
    world.registered = None
    assert set(world.run(state="forgotten")) == {*RETURNS, "changed"}


@pytest.mark.parametrize(
    ("credentials", "text"),
    [
        ({"token": None}, "no credential given; allowed is one of token, app_id and registration_"),
        ({"app_id": "7"}, "token and app_id given; allowed is one of"),
        ({"registration_token": "R"}, "token and registration_token given; allowed is one of"),
    ],
)
def test_one_kind_of_credential_is_allowed(
    world: World, credentials: dict[str, Any], text: str
) -> None:
    answer = world.run(**credentials)
    assert answer["failed"]
    assert answer["msg"].startswith(text)
    assert (world.steps, world.asked) == ([], [])


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"url": "https://github.com/enterprises/octo"}, "runners of an enterprise are not suppo"),
        ({"url": f"https://anna:{GIVEN}@github.com/octo"}, "the URL may hold no user, password"),
        ({"group": "Cameras"}, "group: a repository has no runner groups; only an organization"),
        ({"version": "2.328.0"}, "version is 2.328.0; GitHub registers none below 2.329.0"),
        ({"version": "new"}, "a runner's version is three numbers, such as 2.336.0"),
        ({"archive": "/a-2.336.0.tar.gz"}, "archive: its sha256 has to be given too"),
        (
            {"archive": "/x-2.300.0.tar.gz", "sha256": SHA256},
            "version is 2.300.0; GitHub registers none below 2.329.0",
        ),
        (
            {"token": None, "app_id": "7", "app_installation": "8", "app_key": GIVEN},
            "the App's private key is no PEM file as GitHub hands it out",
        ),
        (
            {"token": None, "registration_token": "R", "state": "forgotten"},
            "a registration token cannot remove a runner; give a token or an App",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    world: World, wanted: dict[str, Any], text: str
) -> None:
    world.found = BARE
    world.registered = None
    answer = world.run(**wanted)
    assert answer["failed"]
    assert answer["msg"].startswith(text)
    assert GIVEN not in answer["msg"]
    assert world.steps == []


# Whether all is well.


def test_a_runner_that_is_as_it_is_to_be_is_left_alone(world: World) -> None:
    answer = world.run()
    assert (answer["changed"], answer["actions"], answer["differed"]) == (False, [], [])
    assert answer["runner"] == {
        "id": 7,
        "name": "pi",
        "status": "online",
        "busy": False,
        "labels": ["camera", "self-hosted"],
    }
    assert (answer["version"], world.steps) == ("2.336.0", [])


def test_labels_are_the_same_in_any_case_of_letters_and_github_s_own_may_be_named(
    world: World,
) -> None:
    assert world.run(labels=["CAMERA", "self-hosted", "arm64"])["actions"] == []


@pytest.mark.parametrize("off", [-400, 400])
def test_a_clock_that_is_off_is_told(world: World, off: int) -> None:
    world.found = _found(time=time.time() + off)
    answer = world.run()
    assert answer["failed"]
    assert "the device's clock is 400 s off the controller's" in answer["msg"]
    assert "timedatectl timesync-status" in answer["msg"]
    assert world.steps == []


def test_a_clock_may_be_a_little_off(world: World) -> None:
    world.found = _found(time=time.time() - 200)
    assert not world.run().get("failed")


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"architecture": "armv7l"}, "the device is armv7l; allowed are aarch64 and x86_64, 64"),
        (
            {"others": ["b.service"]},
            "github_runner_user is runner, as whom b.service runs, a runner in another",
        ),
        (
            {"overrides": ["/etc/a.service.d/b.conf"]},
            "/etc/a.service.d/b.conf has the runner's unit run as somebody else than runner",
        ),
    ],
)
def test_a_device_on_which_it_cannot_be_is_refused(
    world: World, found: dict[str, Any], text: str
) -> None:
    world.found = _found(**found)
    assert world.run()["msg"].startswith(text)
    assert world.steps == []


def test_one_that_was_installed_by_hand_for_another_user_is_taken_over(world: World) -> None:
    world.found = _found(unit={**LISTENING, "User": "pi"})
    assert world.run()["actions"] == ["uninstall_service", "install_service", "start"]


@pytest.mark.parametrize("name", ["", "my pi", "-pi", "n" * 65])
def test_what_is_no_name_is_refused(world: World, name: str) -> None:
    assert world.run(name=name)["msg"].startswith(f"name is {name!r}; allowed are 1 to 64 letters")
    assert world.asked == []


def test_a_step_that_breaks_is_told(world: World) -> None:
    world.registered = None
    world.answers["uninstall_service"] = {"failed": True}
    assert world.run()["msg"] == "uninstall_service: it has failed; -vvv shows how"
    # What was held goes on.
    assert world.names == ["hold", "uninstall_service", "release"]


def test_a_step_that_fails_is_told_with_its_name(world: World) -> None:
    world.found = BARE
    world.registered = None
    world.answers["configure"] = "config.sh has ended with status 1: no"
    assert world.run()["msg"] == "configure: config.sh has ended with status 1: no"


# What `.runner` and the unit are to it.


@pytest.mark.parametrize(
    ("said", "fact"),
    [
        (None, "none"),
        ({}, "broken"),
        (CONFIGURED, "right"),
        ({**CONFIGURED, "url": "https://GitHub.com/Octo/Camera/"}, "right"),
        ({**CONFIGURED, "url": "https://github.com/octo/other"}, "wrong"),
        ({**CONFIGURED, "name": "pi-2"}, "wrong"),
        ({**CONFIGURED, "work_folder": "_work"}, "wrong"),
        ({**CONFIGURED, "ephemeral": True}, "wrong"),
        ({**CONFIGURED, "disable_update": True}, "wrong"),
    ],
)
def test_the_fact_of_the_configuration(said: dict[str, Any] | None, fact: str) -> None:
    action = ActionModule.__new__(ActionModule)
    action._wanted = {**WANTED, "ephemeral": False}
    action._scope = Scope.of(URL)
    action._pinned = False
    assert action._configuration({"configuration": said}) == fact


@pytest.mark.parametrize(
    ("found", "registered", "fact"),
    [
        ({}, REGISTERED, "listening"),
        ({}, None, "listening"),
        ({}, replace(REGISTERED, online=False), "deaf"),
        ({"heard": False}, REGISTERED, "deaf"),
        ({"listeners": []}, REGISTERED, "deaf"),
        ({"unit": {**LISTENING, "ActiveState": "activating"}}, REGISTERED, "deaf"),
        ({"unit": {**LISTENING, "ActiveState": "failed"}}, REGISTERED, "down"),
        ({"unit": {**LISTENING, "ActiveState": "inactive"}}, REGISTERED, "down"),
        ({"unit": {**LISTENING, "UnitFileState": "disabled"}}, REGISTERED, "down"),
        ({"units": []}, REGISTERED, "none"),
        ({"units": ["another.service"]}, REGISTERED, "none"),
        ({"unit": {**LISTENING, "User": "root"}}, REGISTERED, "none"),
        # `.service` is lost, and its unit is there.
        ({"service": "", "unit": {}}, REGISTERED, "down"),
    ],
)
def test_the_fact_of_the_unit(found: dict[str, Any], registered: Runner | None, fact: str) -> None:
    action = ActionModule.__new__(ActionModule)
    action._wanted = WANTED
    assert action._unit(_found(**found), registered) == fact


# Which version.


@pytest.mark.parametrize(
    ("wanted", "installed", "upgrade"),
    [
        ({}, "2.336.0", ""),
        # One that updates itself.
        ({}, "2.400.0", ""),
        ({}, "2.328.0", "latest"),
        ({}, "", "latest"),
        ({}, "broken", "latest"),
        ({"version": "2.336.0"}, "2.336.0", ""),
        ({"version": "2.335.0"}, "2.336.0", "2.335.0"),
        ({"version": "2.336.0"}, "", "2.336.0"),
        ({"archive": "/x/actions-runner-linux-arm64-2.340.1.tar.gz"}, "2.340.1", ""),
        ({"archive": "/x/actions-runner-linux-arm64-2.340.1.tar.gz"}, "2.336.0", "2.340.1"),
    ],
)
def test_the_version_that_is_to_be_installed(
    wanted: dict[str, Any], installed: str, upgrade: str
) -> None:
    action = ActionModule.__new__(ActionModule)
    action._wanted = {"archive": "", "version": "latest", **wanted}
    assert action._upgrade({"version": installed}) == upgrade


def test_an_archive_that_is_too_old_is_refused() -> None:
    action = ActionModule.__new__(ActionModule)
    action._wanted = {"archive": "/x/actions-runner-linux-arm64-2.300.0.tar.gz"}
    with pytest.raises(ValueError, match=r"version is 2\.300\.0; GitHub registers none below"):
        action._upgrade({"version": ""})


def test_a_version_that_was_built_long_ago_is_warned_of(world: World) -> None:
    old = time.time() - 40 * 86400
    world.found = _found(built=old, configuration={**CONFIGURED, "disable_update": True})
    (warning,) = world.run(version="2.336.0")["warnings"]
    assert "The runner 2.336.0 on pi was built 40 days ago." in warning
    world.found = _found(built=old)
    assert "warnings" not in world.run()


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({}, "version is latest, and a registration token cannot ask for it"),
        ({"version": "2.336.0"}, "sha256 is empty, and a registration token cannot ask for it"),
    ],
)
def test_a_registration_token_needs_a_version_with_its_checksum(
    world: World, wanted: dict[str, Any], text: str
) -> None:
    world.found = BARE
    answer = world.run(**ONE_HOUR, **wanted)
    assert answer["msg"].startswith(text)
    assert world.steps == []


def test_a_checksum_that_github_does_not_say_is_refused(world: World) -> None:
    world.found = BARE
    world.registered = None
    answer = world.run(sha256="cd" * 32)
    assert (
        answer["msg"]
        == f"github_runner_sha256 is {'cd' * 32}, and GitHub says {SHA256} of x.tar.gz"
    )
    assert world.steps == []


# Who else has the name.


OTHER = replace(REGISTERED, id=8)
TAKEN = (
    "github_runner_name is pi, and at https://github.com/octo/camera another machine is online by"
    " it (its ID"
)


@pytest.mark.parametrize("found", [BARE, _found(), _found(configuration={})])
def test_a_name_is_not_taken_from_a_machine_that_is_online(
    world: World, found: dict[str, Any]
) -> None:
    world.found = {**found, "units": [], "service": "", "unit": {}, "listeners": []}
    world.registered = OTHER
    answer = world.run()
    assert answer["msg"].startswith(TAKEN)
    assert (world.steps, world.asked) == ([], ["repository_is_public"])


def test_a_name_is_taken_over_from_one_that_is_offline(world: World) -> None:
    world.found = BARE
    world.registered = replace(OTHER, online=False)
    assert world.run(check=True)["actions"][1:] == ["replace", "install_service", "start"]


def test_a_listener_whose_configuration_was_lost_is_no_other_machine(world: World) -> None:
    world.found = _found(configuration=None)
    world.registered = OTHER
    actions = world.run(check=True)["actions"]
    assert actions == ["uninstall_service", "replace", "install_service", "start"]


# Where the public may have jobs run.


def test_a_public_repository_is_refused(world: World) -> None:
    world.public = True
    answer = world.run()
    assert answer["msg"].startswith(f"{URL} is public: whoever opens a pull request there can")
    assert not world.run(allow_public=True).get("failed")


@pytest.mark.parametrize(
    ("group", "public", "refused"),
    [("", True, True), ("", False, False), ("Cameras", True, True), ("Cameras", False, False)],
)
def test_a_group_that_is_open_to_public_repositories_is_refused(
    world: World, group: str, public: bool, refused: bool
) -> None:
    world.groups = [
        Group(1, "Default", True, public and not group),
        Group(2, "Cameras", False, public and bool(group)),
    ]
    world.found = _found(configuration={**CONFIGURED, "url": "https://github.com/octo"})
    answer = world.run(url="https://github.com/octo", group=group)
    assert bool(answer.get("failed")) is refused
    assert ("is open to public repositories" in answer.get("msg", "")) is refused


def test_a_group_that_there_is_none_of_is_refused(world: World) -> None:
    world.groups = [Group(1, "Default", True, False), Group(2, "Cameras", False, False)]
    answer = world.run(url="https://github.com/octo", group="Camera")
    assert (
        answer["msg"]
        == "github_runner_group is Camera; https://github.com/octo has Default, Cameras"
    )


# What is done.


def test_in_check_mode_nothing_is_done_and_no_token_is_asked_for(world: World) -> None:
    world.found = BARE
    world.registered = None
    answer = world.run(check=True)
    assert answer["changed"]
    assert answer["actions"] == ["upgrade", "register", "install_service", "start"]
    assert (world.steps, world.asked) == ([], ["repository_is_public"])
    assert answer["diff"][0]["after"]["version"] == "latest"


def test_labels_are_set_without_a_step_on_the_device(world: World) -> None:
    world.registered = replace(REGISTERED, labels=frozenset({"old"}))
    answer = world.run(check=True)
    assert answer["actions"] == ["set_labels"]
    assert answer["differed"] == ["labels: old; wanted are camera"]
    world.run()
    assert world.names == ["wait"]
    assert "set_labels 7 ['camera']" in world.asked


def test_settings_are_written_and_a_service_that_has_others_is_started_again(
    world: World,
) -> None:
    world.found = _found(differs=["/opt/runner/.env"], is_stale=True)
    answer = world.run()
    assert answer["actions"] == ["settings", "restart"]
    assert world.names == ["settings", "hold", "restart", "wait"]


def test_a_job_is_waited_for_and_nothing_is_done_when_it_does_not_end(world: World) -> None:
    world.registered = replace(REGISTERED, busy=True)
    world.found = _found(version="2.328.0")
    answer = world.run()
    assert "pi is busy with a job, and has been for 0 s; nothing that runs was" in answer["msg"]
    # It is not even held.
    assert world.names == ["stage"]


def test_who_is_busy_is_told_by_the_name_that_it_has_so_far(world: World) -> None:
    world.answers["hold"] = {"busy": True}
    assert world.run(name="attic")["msg"].startswith("pi is busy with a job, and has been for")


@pytest.mark.parametrize("name", ["\x1b]0;owned\x07", "a\nb"])
def test_what_a_job_has_written_for_a_name_is_not_shown(world: World, name: str) -> None:
    world.found = _found(configuration={**CONFIGURED, "name": name})
    world.answers["hold"] = {"busy": True}
    assert world.run()["msg"].startswith("pi is busy with a job, and has been for")


@pytest.mark.parametrize(
    ("said", "where"),
    [({"name": "attic"}, ""), ({"url": f"{URL}-old"}, f"{URL}-old: ")],
)
def test_one_that_has_another_name_or_place_is_asked_for_by_its_id(
    world: World, said: dict[str, Any], where: str
) -> None:
    world.found = _found(configuration={**CONFIGURED, **said})
    world.registered = None
    world.there = replace(REGISTERED, busy=True)
    assert "is busy with a job, and has been for 0 s" in world.run()["msg"]
    assert world.names == []
    assert f"{where}runner_by_id 7" in world.asked


def test_a_job_that_github_has_not_told_of_yet_is_seen_on_the_device(world: World) -> None:
    world.found = _found(version="2.328.0")
    world.answers["hold"] = {"busy": True}
    assert "pi is busy with a job" in world.run()["msg"]
    assert world.names == ["stage", "hold"]


def test_a_job_that_has_begun_just_before_the_step_is_not_ended(world: World) -> None:
    world.found = _found(version="2.328.0")
    world.answers["upgrade"] = {"busy": True}
    assert "pi is busy with a job" in world.run()["msg"]
    assert world.names == ["stage", "hold", "upgrade", "release"]


def test_a_job_that_github_has_given_before_the_listener_was_held_runs(world: World) -> None:
    world.found = _found(version="2.328.0")
    # It is looked at, then asked for before and after the listener is held.
    world.looks = [REGISTERED, REGISTERED, replace(REGISTERED, busy=True)]
    assert "pi is busy with a job" in world.run()["msg"]
    assert world.names == ["stage", "hold", "release"]


def test_a_job_is_waited_for_before_a_step(world: World) -> None:
    world.found = _found(version="2.328.0")
    busy = replace(REGISTERED, busy=True)
    world.looks = [REGISTERED, busy, REGISTERED, busy]
    assert not world.run(drain_seconds=60).get("failed")
    assert world.names[:5] == ["stage", "hold", "release", "hold", "upgrade"]


@pytest.mark.parametrize("configuration", [None, {}])
def test_a_listener_that_has_lost_its_files_is_stopped_only_when_github_says_that_it_is_free(
    world: World, configuration: dict[str, Any] | None
) -> None:
    world.found = _found(configuration=configuration)
    world.registered = replace(REGISTERED, busy=True)
    assert "pi is busy with a job" in world.run()["msg"]
    assert world.names == []
    # And not if it does not say.
    world.looks = [REGISTERED, REGISTERED, GitHubError("away")]
    assert "away" in world.run()["msg"]
    assert world.names == ["hold", "release"]


def test_a_job_of_another_machine_by_the_name_is_not_waited_for(world: World) -> None:
    world.found = _found(configuration={**CONFIGURED, "id": 6}, differs=["/opt/runner/.env"])
    world.registered = replace(REGISTERED, online=False, busy=True)
    answer = world.run(state="absent")
    assert not answer.get("failed")
    assert world.names == ["hold", "uninstall_service", "forget"]


def test_a_github_that_does_not_answer_while_the_listener_is_held_lets_it_go_on(
    world: World,
) -> None:
    world.found = _found(version="2.328.0")
    world.looks = [REGISTERED, REGISTERED, GitHubError("GitHub is away.", 502)]
    assert world.run()["msg"] == "GitHub is away."
    assert world.names == ["stage", "hold", "release"]


def test_what_runs_is_started_again_by_the_same_step_that_puts_a_version_in_place(
    world: World,
) -> None:
    world.found = _found(version="2.328.0")
    world.answers["upgrade"] = "no space left"
    assert world.run()["msg"] == "upgrade: no space left"
    assert world.names == ["stage", "hold", "upgrade", "release"]
    options = world.steps[-2][1]
    assert (options["version"], options["starts"]) == ("2.336.0", True)


def test_a_version_for_a_runner_that_is_to_be_another_is_not_started(world: World) -> None:
    world.found = _found(
        version="2.328.0",
        configuration={**CONFIGURED, "work_folder": "_work"},
        units=[],
        service="",
    )
    world.run()
    options = dict(world.steps)["upgrade"]
    assert options["starts"] is False


def test_when_it_cannot_be_registered_anew_that_is_told(world: World) -> None:
    world.found = _found(configuration={**CONFIGURED, "work_folder": "_work"})
    world.answers["reconfigure"] = "no"
    assert world.run()["msg"] == "reconfigure: no"
    # The step itself puts back what was before.
    assert world.names == ["hold", "reconfigure", "release"]


# A registration token, which is good for an hour.


ANOTHER_FOLDER = _found(configuration={**CONFIGURED, "work_folder": "_work"})


def test_a_registration_token_is_asked_for_before_anything_is_touched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_client: GitHub) -> str:
        raise GitHubError("GitHub refuses it.", 403)

    monkeypatch.setattr(GitHub, "registration_token", refuse)
    for found, registered in ((BARE, None), (ANOTHER_FOLDER, REGISTERED)):
        world.found, world.registered = found, registered
        assert world.run()["msg"] == "GitHub refuses it."
    assert world.steps == []


def test_a_registration_token_is_made_once(world: World) -> None:
    world.found = ANOTHER_FOLDER
    world.run()
    assert dict(world.steps)["reconfigure"]["token"] == REGISTER(1)
    assert world.tokens == 1


def test_after_a_job_that_was_long_a_registration_token_is_made_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "TOKEN_SECONDS", -1)
    world.found = ANOTHER_FOLDER
    world.run()
    assert dict(world.steps)["reconfigure"]["token"] == REGISTER(2)


def test_a_listener_goes_on_when_no_other_token_is_to_be_had(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mint(_client: GitHub) -> str:
        if world.mint() == REGISTER(2):
            raise GitHubError("GitHub refuses it.", 403)
        return "REGISTER"

    monkeypatch.setattr(plugin, "TOKEN_SECONDS", -1)
    monkeypatch.setattr(GitHub, "registration_token", mint)
    world.found = ANOTHER_FOLDER
    assert world.run()["msg"] == "GitHub refuses it."
    assert world.names == ["hold", "release"]


@pytest.mark.parametrize(
    ("said", "replaces"),
    [
        ({"work_folder": "_work"}, True),
        ({"work_folder": "_work", "url": f"{URL.upper().replace('HTTPS', 'https')}/"}, True),
        ({"name": "pi-2"}, False),
        ({"url": "https://github.com/octo/other"}, False),
    ],
)
def test_who_cannot_ask_github_only_takes_what_has_been_this_device_s(
    world: World, said: dict[str, Any], replaces: bool
) -> None:
    world.found = _found(
        version="2.336.0", configuration={**CONFIGURED, "disable_update": True, **said}
    )
    world.run(**ONE_HOUR, version="2.336.0", sha256=SHA256)
    options = dict(world.steps)["reconfigure"]
    assert ("--replace" in options["config"]) is replaces
    assert options["token"] == ONE_HOUR["registration_token"]
    assert world.asked == []


def test_who_can_ask_github_replaces_what_is_offline_by_any_name(world: World) -> None:
    world.found = _found(configuration={**CONFIGURED, "name": "pi-2", "id": 3})
    world.registered = replace(REGISTERED, online=False)
    world.run()
    assert "--replace" in dict(world.steps)["reconfigure"]["config"]


# A runner that GitHub does not let in, since it is too old to update itself.


def _newest(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    release = Release(version, "https://github.com/x", "x.tar.gz", SHA256)
    monkeypatch.setattr(GitHub, "newest", lambda _client, _architecture: release)


@pytest.mark.parametrize(
    ("newest", "wanted", "actions"),
    [
        ("2.340.0", {}, ["upgrade", "restart"]),
        ("2.336.0", {}, ["restart"]),
        # One that is kept is not replaced by itself.
        ("2.340.0", {"version": "2.336.0"}, ["restart"]),
    ],
)
def test_one_that_is_old_and_deaf_gets_the_newest_version(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    newest: str,
    wanted: dict[str, Any],
    actions: list[str],
) -> None:
    _newest(monkeypatch, newest)
    configuration = {**CONFIGURED, "disable_update": bool(wanted)}
    world.found = _found(heard=False, configuration=configuration)
    assert world.run(check=True, **wanted)["actions"] == actions
    world.run(**wanted)
    names = ["stage", "hold", "upgrade"] if "upgrade" in actions else []
    assert [name for name in world.names if name in ("stage", "hold", "upgrade")][:3] == (
        names or ["hold"]
    )


def test_one_that_is_old_and_listens_updates_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _newest(monkeypatch, "2.340.0")
    assert world.run()["actions"] == []


def test_the_token_is_given_to_the_step_that_registers_and_to_no_other(world: World) -> None:
    world.found = BARE
    world.registered = None
    world.run(labels=["b", "a", "ARM64"], ephemeral=True, version="2.336.0", sha256=SHA256)
    ((_name, options),) = [step for step in world.steps if "token" in step[1]]
    assert (options["step"], options["token"]) == ("configure", REGISTER(1))
    assert options["config"] == [
        *["--url", URL, "--name", "pi", "--work", "/srv/work", "--labels", "a,b"],
        *["--ephemeral", "--disableupdate"],
    ]
    assert GIVEN not in str(world.steps)


def test_a_runner_that_does_not_listen_is_told_with_its_log(world: World) -> None:
    world.found = _found(unit={**LISTENING, "ActiveState": "inactive"})
    world.answers["wait"] = {"heard": False, "said": f"{UNIT} is failed; no disk"}
    text = f"the runner does not listen for jobs after 0 s: {UNIT} is failed; no disk"
    assert world.run()["msg"] == text


def test_a_runner_that_github_does_not_see_is_told(world: World) -> None:
    world.found = _found(unit={**LISTENING, "ActiveState": "inactive"})
    world.registered = replace(REGISTERED, online=False)
    text = f"the runner listens, and after 0 s {URL} says of it: {{'id': 7"
    assert world.run()["msg"].startswith(text)


# Gone.


def test_what_is_removed_is_removed_at_github_too(world: World) -> None:
    # It goes offline when it is stopped.
    world.looks = [REGISTERED] * 3
    world.registered = replace(REGISTERED, online=False)
    answer = world.run(state="absent")
    assert answer["actions"] == ["uninstall_service", "unregister"]
    assert world.names == ["hold", "uninstall_service", "unregister"]
    assert world.steps[-1][1]["token"] == REMOVE
    assert "warnings" not in answer


@pytest.mark.parametrize("missing", [{"version": ""}, {"user": False}])
def test_what_no_program_can_remove_is_deleted(world: World, missing: dict[str, Any]) -> None:
    world.found = _found(units=[], service="", unit={}, listeners=[], **missing)
    world.registered = replace(REGISTERED, online=False)
    world.run(state="absent")
    assert world.names == ["forget"]
    assert world.asked == ["remove_token", "delete 7"]


def test_nothing_is_removed_in_check_mode(world: World) -> None:
    answer = world.run(state="absent", check=True)
    assert answer["changed"]
    assert (world.steps, world.asked) == ([], [])


def test_a_namesake_that_is_online_is_left_alone(world: World) -> None:
    world.found = BARE
    answer = world.run(state="absent")
    assert answer["actions"] == []
    (warning,) = answer["warnings"]
    assert warning.startswith(f"pi is online at {URL}, and it is not this device")
    assert world.asked == []


def test_a_device_that_is_gone_is_forgotten_without_asking_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(World, "local", None)
    world.registered = replace(REGISTERED, online=False)
    assert world.run(state="forgotten", check=True)["changed"]
    assert world.asked == []
    assert world.run(state="forgotten")["changed"]
    assert world.asked == ["delete 7"]
    assert not world.run(state="forgotten")["changed"]


def test_a_device_that_is_online_is_not_forgotten(world: World) -> None:
    answer = world.run(state="forgotten")
    assert answer["msg"].startswith(f"pi is online at {URL}, so it is not gone; github_run")
    assert world.asked == []


def test_what_is_another_s_is_never_deleted_where_the_device_has_had_another_id(
    world: World,
) -> None:
    # It may have been taken while this device was off.
    for online in (False, True):
        world.steps.clear()
        world.found = _found(configuration={**CONFIGURED, "id": 6}, units=[], service="", unit={})
        world.registered = replace(REGISTERED, online=online)
        answer = world.run(state="absent")
        assert answer["actions"] == ["forget"]
        (warning,) = answer["warnings"]
        word = "online" if online else "registered"
        assert warning == (
            f"pi is {word} at {URL}, and it is not this device; its registration is left alone"
        )
    assert world.asked == []


def test_a_device_that_has_nothing_left_deletes_what_is_offline(world: World) -> None:
    world.found = BARE
    world.registered = replace(REGISTERED, online=False)
    assert world.run(state="absent")["actions"] == ["delete"]
    assert world.asked == ["delete 7"]


@pytest.mark.parametrize(
    ("configuration", "names"),
    [
        # As a card that was copied.
        (CONFIGURED, ["hold", "uninstall_service", "forget"]),
        (None, ["hold", "uninstall_service"]),
    ],
)
def test_what_is_still_online_when_nothing_listens_here_is_left_alone(
    world: World, configuration: dict[str, Any] | None, names: list[str]
) -> None:
    world.found = _found(configuration=configuration)
    world.registered = replace(REGISTERED, busy=False)
    answer = world.run(state="absent")
    assert not answer.get("failed")
    assert world.names == names
    (warning,) = answer["warnings"]
    assert warning.startswith(f"pi is online at {URL}, and it is not this device")
    assert not any(asked.startswith("delete") for asked in world.asked)


def test_what_cannot_be_removed_at_github_is_not_touched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_client: GitHub) -> str:
        raise GitHubError("GitHub refuses it.", 403)

    monkeypatch.setattr(GitHub, "remove_token", refuse)
    assert world.run(state="absent")["msg"] == "GitHub refuses it."
    assert world.steps == []


# What `.runner` and `.aside` say, a job may have written there.


ELSEWHERE = [
    "https://evil.example/octo/camera",
    "https://github.com.evil.example/octo/camera",
    "https://github.com/evil/camera",
    "https://github.com/evil",
    "https://github.com@evil.example/octo",
    "http://github.com/octo/camera",
    "not an address",
    "",
]


@pytest.fixture
def clients(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return where the token was to be used, in its order."""
    made: list[str] = []
    begin = GitHub.__init__

    def init(client: GitHub, scope: Scope, **options: Any) -> None:
        made.append(scope.web)
        begin(client, scope, **options)

    assert world
    monkeypatch.setattr(GitHub, "__init__", init)
    return made


@pytest.mark.parametrize("url", ELSEWHERE)
def test_the_token_is_for_nobody_whom_the_configuration_names(
    world: World, clients: list[str], url: str
) -> None:
    world.found = _found(configuration={**CONFIGURED, "url": url})
    world.registered = replace(REGISTERED, online=False)
    answer = world.run(state="absent")
    assert not answer.get("failed")
    assert clients == [URL]
    assert world.names == ["hold", "uninstall_service", "forget"]
    assert not any("token" in options for _step, options in world.steps)
    assert "remove_token" not in " ".join(world.asked)
    assert any(f"pi at {url}, was not removed: " in text for text in answer["warnings"])


@pytest.mark.parametrize("url", ELSEWHERE)
def test_the_token_is_for_nobody_whom_what_was_set_aside_names(
    world: World, clients: list[str], url: str
) -> None:
    world.found = _found(aside={**CONFIGURED, "url": url})
    answer = world.run()
    assert not answer.get("failed")
    assert clients == [URL]
    assert answer["actions"] == ["tidy"]
    assert world.names == ["tidy", "wait"]
    (warning,) = answer["warnings"]
    assert warning.startswith(f"The registration of before, pi at {url}, was not removed: ")


def test_the_runner_s_own_program_gets_a_token_of_where_it_is_of_the_same_owner(
    world: World, clients: list[str]
) -> None:
    other = "https://github.com/Octo/other"
    world.found = _found(configuration={**CONFIGURED, "url": other})
    world.registered = None
    assert "warnings" not in world.run(state="absent")
    assert clients == [URL, other]
    # It is not stopped before the job that it may have is asked for, twice.
    assert world.asked == [f"{other}: {what}" for what in ("remove_token", *["runner_by_id 7"] * 2)]
    assert dict(world.steps)["unregister"]["token"] == REMOVE


# What a run that was cut off has left.


OLD_URL = "https://github.com/octo/old"
OLD = {**CONFIGURED, "url": OLD_URL, "id": 5}
THERE = replace(REGISTERED, id=5, online=False)


def test_what_was_set_aside_is_removed_at_github_and_here(world: World) -> None:
    world.found = _found(aside=OLD)
    world.there = THERE
    assert world.run(check=True)["actions"] == ["tidy"]
    assert world.steps == []
    answer = world.run()
    assert answer["actions"] == ["tidy"]
    assert "warnings" not in answer
    assert [asked for asked in world.asked if OLD_URL in asked] == [
        f"{OLD_URL}: runner_by_id 5",
        f"{OLD_URL}: delete 5",
    ]
    assert world.names == ["tidy", "wait"]


@pytest.mark.parametrize("aside", [{}, CONFIGURED, {**CONFIGURED, "id": 6}])
def test_what_was_set_aside_and_is_replaced_or_broken_is_only_removed_here(
    world: World, aside: dict[str, Any]
) -> None:
    world.found = _found(aside=aside)
    assert "warnings" not in world.run()
    assert world.asked == ["repository_is_public"]
    assert world.names == ["tidy", "wait"]


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (None, ""),
        (replace(THERE, name="another"), ""),
        (replace(THERE, online=True), "it is online, so it is another machine's by now"),
    ],
)
def test_what_is_another_s_by_the_id_that_was_set_aside_is_not_deleted(
    world: World, there: Runner | None, why: str
) -> None:
    world.found = _found(aside=OLD)
    world.there = there
    answer = world.run()
    assert not any("delete" in asked for asked in world.asked)
    assert world.names == ["tidy", "wait"]
    assert [why in text for text in answer.get("warnings", [])] == ([True] if why else [])


def test_what_is_set_aside_while_it_moves_is_removed_in_the_end(world: World) -> None:
    world.found = _found(configuration=OLD, aside=OLD)
    world.registered = None
    world.looks = [None]
    world.there = THERE
    world.run()
    assert world.names[:2] == ["hold", "reconfigure"]
    assert f"{OLD_URL}: delete 5" in world.asked
    assert "tidy" in world.names


# The unit's name, which root goes by.


@pytest.mark.parametrize(
    ("url", "name", "unit"),
    [
        (URL, "pi", UNIT),
        ("https://github.com/octo", "Pi_7.garden", "actions.runner.octo.Pi_7.garden.service"),
        (URL, "a b/../c", "actions.runner.octo-camera.a-b-..-c.service"),
    ],
)
def test_a_unit_is_named_as_the_runner_s_own_program_names_it(
    url: str, name: str, unit: str
) -> None:
    action = ActionModule.__new__(ActionModule)
    action._scope = Scope.of(url)
    action._wanted = {"name": name}
    assert action._unit_name() == unit


def test_units_with_long_names_differ() -> None:
    action = ActionModule.__new__(ActionModule)
    action._scope = Scope.of(f"https://github.com/{'o' * 39}/{'r' * 100}")
    names = set()
    for end in "ab":
        action._wanted = {"name": "n" * 63 + end}
        names.add(action._unit_name())
    assert len(names) == 2
    assert {len(name) for name in names} == {148}


def test_a_registration_of_before_that_cannot_be_removed_is_a_warning(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_client: GitHub, _number: int) -> None:
        raise GitHubError("GitHub refuses it.", 404)

    monkeypatch.setattr(GitHub, "delete", refuse)
    world.there = THERE
    world.found = _found(aside=OLD, differs=["/opt/runner/.env"])
    (warning,) = world.run()["warnings"]
    assert warning.startswith("The registration of before, pi at https://github.com/octo/old, was")
    assert world.names == ["settings", "start", "tidy", "wait"]
