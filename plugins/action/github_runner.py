# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has a device be a GitHub Actions runner; see the module of the same name for what it takes.

It asks GitHub from the controller, and has M(rpi_camera.fleet.github_runner_local) look and work on
the device. What is done when is in plugin_utils/_runner_plan.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.rpi_camera.fleet.plugins.plugin_utils import (
    _github,
    _runner_archive,
    _runner_plan,
)

LOCAL = "rpi_camera.fleet.github_runner_local"
SPEC: dict[str, dict[str, Any]] = {
    "url": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "state": {
        "type": "str",
        "default": "present",
        "choices": ["present", "absent", "forgotten"],
    },
    "folder": {"type": "str", "required": True},
    "user": {"type": "str", "required": True},
    "work_folder": {"type": "str", "required": True},
    "labels": {"type": "list", "elements": "str", "default": []},
    "group": {"type": "str", "default": ""},
    "ephemeral": {"type": "bool", "default": False},
    "version": {"type": "str", "default": "latest"},
    "sha256": {"type": "str", "default": ""},
    "mirror": {"type": "str", "default": ""},
    "archive": {"type": "str", "default": ""},
    "cache": {"type": "str", "default": "~/.cache/rpi_camera/github_runner"},
    "token": {"type": "str", "default": "", "no_log": True},
    "app_id": {"type": "str", "default": ""},
    "app_installation": {"type": "str", "default": ""},
    "app_key": {"type": "str", "default": "", "no_log": True},
    "registration_token": {"type": "str", "default": "", "no_log": True},
    "environment": {"type": "dict", "default": {}},
    "path": {
        "type": "str",
        "default": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    },
    "drop_in": {"type": "str", "default": ""},
    "drain_seconds": {"type": "int", "default": 600},
    "ready_seconds": {"type": "int", "default": 120},
    "allow_public": {"type": "bool", "default": False},
}
NAME = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]{0,63}")
ARCHITECTURES = {"aarch64": "arm64", "x86_64": "x64"}
# GitHub gives these by itself, by the archive; in any case of letters.
FIXED_LABELS = ("self-hosted", "linux", "arm64", "arm", "x64")
# In seconds: how far a clock may be off before TLS and tokens fail by it; how long what GitHub says
# of a listener may lag behind; and how often it is asked while something is waited for.
CLOCK_LIMIT = 300
LAG = 30
PAUSE = 3
# While a job runs, which may be long, GitHub is asked less often; and its tokens last for an hour.
LONG_PAUSE = 15
TOKEN_SECONDS = 1800
# GitHub gives no jobs to a runner that has not taken a release within so many days.
FRESH_DAYS = 30


class ActionModule(ActionBase):  # type: ignore[misc]
    """Thinks on the controller, and has the device do one step after the other."""

    _supports_check_mode = True

    def run(self, tmp: object = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Have the runner be as the task wants it, and say what differed."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._variables = task_vars or {}
        _validated, self._wanted = self.validate_argument_spec(argument_spec=SPEC)
        self._result: dict[str, Any] = {
            "changed": False,
            "differed": [],
            "actions": [],
            "api_requests": 0,
        }
        try:
            self._prepare()
            {"present": self._present, "absent": self._absent, "forgotten": self._forgotten}[
                self._wanted["state"]
            ]()
        except (_github.GitHubError, _runner_archive.ArchiveError, ValueError) as error:
            self._result |= {"failed": True, "msg": str(error)}
        if self._github:
            self._result["api_requests"] = self._github.requests
        return result | self._result

    # What is wanted, and what there is.

    def _prepare(self) -> None:
        """Take the options apart; nothing is asked yet."""
        wanted = self._wanted
        self._github: _github.GitHub | None = None
        # For where a runner was before.
        self._clients: dict[_github.Scope, _github.GitHub] = {}
        self._groups: list[_github.Group] = []
        self._registration_token = (wanted["registration_token"], float("inf"))
        # What `.runner` says, and the version that was staged.
        self._said: dict[str, Any] = {}
        self._version = ""
        kinds = [name for name in ("token", "app_id", "registration_token") if wanted[name]]
        if len(kinds) != 1:
            raise ValueError(
                f"{' and '.join(kinds) or 'no credential'} given; allowed is one of token, app_id"
                " and registration_token"
            )
        self._scope = _github.Scope.of(wanted["url"])
        if not NAME.fullmatch(wanted["name"]):
            raise ValueError(
                f"name is {wanted['name']!r}; allowed are 1 to 64 letters, digits, dots,"
                " underscores and hyphens, with no hyphen at the beginning"
            )
        self._labels = {label for label in wanted["labels"] if label.lower() not in FIXED_LABELS}
        self._pinned = bool(wanted["archive"]) or wanted["version"] != "latest"
        if wanted["group"] and self._scope.repository:
            raise ValueError("group: a repository has no runner groups; only an organization has")
        if not wanted["registration_token"]:
            self._github = self._client(self._scope)
        elif wanted["state"] == "forgotten":
            raise ValueError("a registration token cannot remove a runner; give a token or an App")
        if wanted["archive"] and not wanted["sha256"]:
            raise ValueError("archive: its sha256 has to be given too")
        if wanted["version"] != "latest":
            self._refuse_old(wanted["version"])

    def _refuse_old(self, version: str) -> None:
        if _runner_archive.version_of(version) < _runner_archive.MINIMUM:
            least = ".".join(map(str, _runner_archive.MINIMUM))
            raise ValueError(f"version is {version}; GitHub registers none below {least}")

    def _client(self, scope: _github.Scope) -> _github.GitHub:
        app = [self._wanted[f"app_{part}"] for part in ("id", "installation", "key")]
        key = _github.AppKey(*app) if app[0] else None
        return _github.GitHub(scope, token=self._wanted["token"] or None, app=key)

    def _local(self, step: str, **options: Any) -> dict[str, Any]:
        """Have the device do a step, and return its answer.

        Raises:
            ValueError: it could not be done.

        """
        wanted = self._wanted
        arguments = {
            "step": step,
            "folder": wanted["folder"],
            "user": wanted["user"],
            "work_folder": wanted["work_folder"],
            "environment": [f"{name}={value}" for name, value in wanted["environment"].items()],
            "path": wanted["path"],
            "drop_in": wanted["drop_in"],
            "unit": self._unit_name(),
            **options,
        }
        answer: dict[str, Any] = self._execute_module(
            module_name=LOCAL, module_args=arguments, task_vars=self._variables
        )
        if answer.get("failed") or answer.get("unreachable"):
            if answer.get("unreachable"):
                self._result["unreachable"] = True
            raise ValueError(f"{step}: {answer.get('msg') or 'it has failed; -vvv shows how'}")
        return answer

    def _unit_name(self) -> str:
        """Return how the unit is called if it is made: as by the runner's own svc.sh.

        systemd takes no more than 255 bytes, and svc.sh no more than 150.
        """
        scope = "-".join(filter(None, (self._scope.owner, self._scope.repository)))
        name = f"actions.runner.{scope}.{self._wanted['name']}"
        if len(name) > 140:
            name = f"{name[:131]}.{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        return f"{re.sub('[^A-Za-z0-9_.-]', '-', name)}.service"

    def _look(self) -> dict[str, Any]:
        """Return what is on the device, and fail where its clock would make all else fail."""
        asked = time.time()
        found: dict[str, Any] = self._local("look")["found"]
        self._said = found["configuration"] or {}
        off = max(asked - found["time"], found["time"] - time.time())
        if off > CLOCK_LIMIT:
            raise ValueError(
                f"the device's clock is {off:.0f} s off the controller's; with more than"
                f" {CLOCK_LIMIT} s GitHub's certificate and tokens do not hold. See why it is not"
                " synchronized: timedatectl timesync-status"
            )
        return found

    def _registered(self) -> _github.Runner | None:
        return self._github.runner(self._wanted["name"]) if self._github else None

    def _configuration(self, found: dict[str, Any]) -> str:
        """Return the fact of `.runner`."""
        said = found["configuration"]
        if said is None:
            return "none"
        if not said:
            return "broken"
        wanted = {
            "name": self._wanted["name"],
            "work_folder": self._wanted["work_folder"],
            "ephemeral": self._wanted["ephemeral"],
            "disable_update": self._pinned,
        }
        same = self._is_here(said["url"])
        return "right" if same and all(said[key] == wanted[key] for key in wanted) else "wrong"

    def _facts(
        self, found: dict[str, Any], registered: _github.Runner | None
    ) -> _runner_plan.Facts:
        """Return the four facts."""
        own = (found["configuration"] or {}).get("id")
        if not self._github:
            registration = "unknown"
        elif registered is None:
            registration = "none"
        else:
            is_own = registered.id == own and not found["disowned"]
            registration = "own" if is_own else "other"
        return _runner_plan.Facts(
            registration,
            self._configuration(found),
            "named" if found["service"] else "none",
            self._unit(found, registered),
        )

    def _unit(self, found: dict[str, Any], registered: _github.Runner | None) -> str:
        """Return the fact of the unit."""
        service, units, unit = found["service"], found["units"], found["unit"]
        if not units or (service and units != [service]):
            return "none"
        if service and unit["User"] != self._wanted["user"]:
            return "none"
        if unit.get("ActiveState") in (None, "inactive", "failed"):
            return "down"
        if unit["UnitFileState"] != "enabled":
            return "down"
        seen = registered is None or registered.online
        heard = unit["ActiveState"] == "active" and found["listeners"] and found["heard"]
        return "listening" if heard and seen else "deaf"

    def _wait_for_lag(
        self, found: dict[str, Any], registered: _github.Runner | None
    ) -> _github.Runner | None:
        """Ask GitHub again where it is said to be offline, and the device says that it listens.

        Its network may have been away, and a listener that comes back by itself is not disturbed.
        """
        deadline = time.monotonic() + LAG
        own = (found["configuration"] or {}).get("id")
        while registered and registered.id == own and not registered.online:
            if self._unit(found, None) != "listening" or time.monotonic() > deadline:
                break
            time.sleep(PAUSE)
            registered = self._registered()
        return registered

    # Present.

    def _present(self) -> None:
        """Have the runner be registered and listening."""
        found = self._look()
        architecture = ARCHITECTURES.get(found["architecture"])
        if architecture is None:
            raise ValueError(
                f"the device is {found['architecture']}; allowed are"
                f" {' and '.join(ARCHITECTURES)}, 64 bit"
            )
        if found["others"]:
            raise ValueError(
                f"github_runner_user is {self._wanted['user']}, as whom {found['others'][0]} runs,"
                " a runner in another folder; allowed is a user for each, and one that is to have"
                " another folder has to be removed first"
            )
        if found["overrides"]:
            raise ValueError(
                f"{found['overrides'][0]} has the runner's unit run as somebody else than"
                f" {self._wanted['user']}; remove that line from it"
            )
        registered = self._wait_for_lag(found, self._registered())
        self._refuse_public()
        facts = self._facts(found, registered)
        plan = _runner_plan.plan(facts, _runner_plan.PRESENT)
        self._refuse_taken(found, facts, plan, registered)
        upgrade = self._upgrade(found) or self._newer(found, facts, architecture)
        labels = self._differing_labels(facts, registered)
        group = self._differing_group(facts, registered)
        self._tell(found, facts, registered, upgrade, labels, group)
        after = [name for name, needed in (("set_labels", labels), ("move", group)) if needed]
        settings = found["differs"] or found["is_stale"]
        self._result["version"] = found["version"]
        self._result["runner"] = _shown(registered)
        actions = [
            *(["upgrade"] if upgrade else []),
            *plan,
            *(["settings"] if settings and not plan else []),
            *(["restart"] if found["is_stale"] and not plan else []),
            *after,
            # Left by a run that was cut off.
            *(["tidy"] if found["aside"] is not None and not plan else []),
        ]
        self._result["actions"] = actions
        self._result["changed"] = bool(actions)
        if not actions or self._task.check_mode:
            if not upgrade:
                self._warn_of_age(found)
            return
        # All that can be refused is asked for before anything is touched.
        if {"register", "replace", "reconfigure"} & set(plan) and self._github:
            self._registration_token = ("", 0.0)
            self._token()
        if upgrade:
            self._stage(architecture)
        if upgrade or plan or settings:
            self._carry_out(found, plan, upgrade)
        else:
            self._forget_aside(found["aside"])
        if labels and self._github and registered:
            self._github.set_labels(registered.id, sorted(self._labels))
        if group and self._github and registered:
            self._github.move(registered.id, group.id)
        self._prove()

    def _refuse_public(self) -> None:
        """Refuse where anybody could have a job run on the device."""
        if self._wanted["allow_public"] or not self._github:
            if self._github and self._wanted["group"]:
                self._groups = self._github.groups()
            return
        if self._scope.repository:
            if self._github.repository_is_public():
                raise ValueError(
                    f"{self._scope.web} is public: whoever opens a pull request there can have the"
                    " device run programs. github_runner_allow_public is what permits it"
                )
            return
        self._groups = self._github.groups()
        group = self._group()
        if group and group.allows_public:
            raise ValueError(
                f"the runner group {group.name} of {self._scope.web} is open to public"
                " repositories: whoever opens a pull request there can have the device run"
                " programs. Close it, name another group, or permit it by"
                " github_runner_allow_public"
            )

    def _group(self) -> _github.Group | None:
        """Return the group that is wanted; the default one if none is named."""
        name = self._wanted["group"]
        found = next(
            (one for one in self._groups if (one.name == name if name else one.default)), None
        )
        if name and self._groups and found is None:
            raise ValueError(
                f"github_runner_group is {name}; {self._scope.web} has"
                f" {', '.join(one.name for one in self._groups)}"
            )
        return found

    def _refuse_taken(
        self,
        found: dict[str, Any],
        facts: _runner_plan.Facts,
        plan: list[str],
        registered: _github.Runner | None,
    ) -> None:
        """Refuse to take a name from another machine that listens by it."""
        if not registered or not registered.online or facts.registration != "other":
            return
        # A listener whose .runner was lost is online until its unit is stopped.
        if found["listeners"] and facts.configuration in ("none", "broken"):
            return
        if {"replace", "reconfigure", "forget"} & set(plan):
            raise ValueError(
                f"github_runner_name is {registered.name}, and at {self._scope.web} another machine"
                f" is online by it (its ID is {registered.id}); give this one another name, or"
                " remove that one"
            )

    def _upgrade(self, found: dict[str, Any]) -> str:
        """Return the version to be installed; nothing if the right one is.

        One that updates itself is only replaced where it would not be let in.
        """
        installed = found["version"]
        if self._wanted["archive"]:
            wanted = self._archived_version()
            self._refuse_old(wanted)
        else:
            wanted = self._wanted["version"]
        if wanted != "latest":
            return "" if installed == wanted else str(wanted)
        try:
            fresh = _runner_archive.version_of(installed) >= _runner_archive.MINIMUM
        except ValueError:
            fresh = False
        return "" if fresh else "latest"

    def _archived_version(self) -> str:
        """Return the version that the archive's name says."""
        name = Path(self._wanted["archive"]).name
        return name.removesuffix(".tar.gz").rpartition("-")[2]

    def _newer(self, found: dict[str, Any], facts: _runner_plan.Facts, architecture: str) -> str:
        """Return "latest" if that may mend a runner that GitHub does not let in; else nothing.

        One that was off for long is too old before it can update itself.
        """
        if self._pinned or not self._github or facts.unit != "deaf" or facts.registration != "own":
            return ""
        newest = _runner_archive.version_of(self._github.newest(architecture).version)
        return "latest" if newest > _runner_archive.version_of(found["version"]) else ""

    def _differing_labels(
        self, facts: _runner_plan.Facts, registered: _github.Runner | None
    ) -> bool:
        if not registered or facts.registration != "own" or facts.configuration != "right":
            return False
        return {label.lower() for label in registered.labels} != {
            label.lower() for label in self._labels
        }

    def _differing_group(
        self, facts: _runner_plan.Facts, registered: _github.Runner | None
    ) -> _github.Group | None:
        group = self._group() if self._wanted["group"] else None
        if not registered or facts.registration != "own" or facts.configuration != "right":
            return None
        # A server of one's own may not say it.
        return group if group and registered.group_id not in (None, group.id) else None

    def _tell(
        self,
        found: dict[str, Any],
        facts: _runner_plan.Facts,
        registered: _github.Runner | None,
        upgrade: str,
        labels: bool,
        group: _github.Group | None,
    ) -> None:
        """Put into the result what differs, in words and as a difference."""
        right = {
            "registration": ("own", "unknown"),
            "configuration": ("right",),
            "service": ("named",),
            "unit": ("listening",),
        }
        told = [
            f"{name}: {getattr(facts, name)}"
            for name, good in right.items()
            if getattr(facts, name) not in good
        ]
        before: dict[str, Any] = {name: getattr(facts, name) for name in right}
        after: dict[str, Any] = {name: good[0] for name, good in right.items()}
        if facts.registration == "unknown":
            after["registration"] = "unknown"
        if facts.configuration == "wrong":
            said = found["configuration"]
            told.append(
                f"configured: {said['name']} at {said['url']}, work folder {said['work_folder']}"
                f"{', ephemeral' if said['ephemeral'] else ''}"
                f"{', without self-update' if said['disable_update'] else ''}"
            )
        before["version"] = after["version"] = found["version"]
        if upgrade:
            told.append(f"version: {found['version'] or 'none'}; wanted is {upgrade}")
            after["version"] = upgrade
        if labels and registered:
            told.append(f"labels: {_listed(registered.labels)}; wanted are {_listed(self._labels)}")
            before["labels"], after["labels"] = sorted(registered.labels), sorted(self._labels)
        if group and registered:
            now = next((one.name for one in self._groups if one.id == registered.group_id), "?")
            told.append(f"group: {now}; wanted is {group.name}")
            before["group"], after["group"] = now, group.name
        told += [f"file: {name}" for name in found["differs"]]
        before["files"] = dict.fromkeys(found["differs"], "differs")
        after["files"] = dict.fromkeys(found["differs"], "as wanted")
        if found["is_stale"]:
            told.append("the service runs with settings of before")
        self._result["differed"] = told
        if told:
            self._result["diff"] = [{"before": before, "after": after}]

    def _warn_of_age(self, found: dict[str, Any]) -> None:
        days = (time.time() - found["built"]) / 86400
        if self._pinned and found["built"] and days > FRESH_DAYS:
            self._result.setdefault("warnings", []).append(
                f"The runner {found['version']} on {self._wanted['name']} was built"
                f" {days:.0f} days ago. GitHub gives no jobs to one that has not taken a newer"
                f" release within {FRESH_DAYS} days: raise github_runner_version"
            )

    def _stage(self, architecture: str) -> None:
        """Have the version that is wanted lie on the device, beside the one that runs."""
        wanted = self._wanted
        if wanted["archive"]:
            archive = _runner_archive.local(Path(wanted["archive"]).expanduser(), wanted["sha256"])
            sha256, self._version = wanted["sha256"], self._archived_version()
        else:
            release = self._release(architecture)
            cache = Path(wanted["cache"]).expanduser()
            archive = _runner_archive.fetch(release, cache, source=wanted["mirror"] or None)
            sha256, self._version = release.sha256, release.version
        if not self._connection._shell.tmpdir:
            self._make_tmp_path()
        there = self._connection._shell.join_path(self._connection._shell.tmpdir, "runner.tar.gz")
        self._transfer_file(str(archive), there)
        self._local("stage", archive=there, sha256=sha256.lower())

    def _release(self, architecture: str) -> _github.Release:
        """Return where the version is to be had; its checksum is the given one, or GitHub's."""
        version, given = self._wanted["version"], self._wanted["sha256"].lower()
        if version == "latest":
            if not self._github:
                raise ValueError(
                    "version is latest, and a registration token cannot ask for it; allowed are a"
                    " version with its sha256, and an archive"
                )
            release = self._github.newest(architecture)
            self._refuse_old(release.version)
        elif given:
            filename = f"actions-runner-linux-{architecture}-{version}.tar.gz"
            web = "https://github.com/actions/runner/releases/download"
            release = _github.Release(version, f"{web}/v{version}/{filename}", filename, given)
        elif self._github:
            release = self._github.release(version, architecture)
        else:
            raise ValueError(
                "sha256 is empty, and a registration token cannot ask for it; it has to be given"
            )
        if given and release.sha256 and given != release.sha256:
            raise ValueError(
                f"github_runner_sha256 is {given}, and GitHub says {release.sha256} of"
                f" {release.filename}"
            )
        return _github.Release(
            release.version, release.url, release.filename, given or release.sha256
        )

    def _carry_out(self, found: dict[str, Any], plan: list[str], upgrade: str) -> None:
        """Do what is planned, with the new version and the settings at their places in it."""
        steps = list(plan)
        while steps and steps[0] == "uninstall_service":
            self._quietly(steps.pop(0))
        if upgrade:
            # What runs and stays as it is goes on in the same call.
            starts = bool(found["units"]) and (not plan or plan[0] in ("start", "restart"))
            self._quietly("upgrade", lambda: {"version": self._version, "starts": starts})
        for step in steps:
            if step in ("register", "replace"):
                replaces = step == "replace" or found["configuration"] == {}
                if replaces and self._github:
                    self._wait_until_offline()
                self._local("configure", config=self._config(replaces), token=self._token())
            elif step == "reconfigure":
                self._reconfigure(found)
            elif step not in ("start", "restart"):
                self._local(step)
        self._local("settings")
        now = self._local("look")["found"]
        self._said = now["configuration"] or {}
        is_stale = now["is_stale"] or (found["is_stale"] and not plan)
        if is_stale or ("restart" in steps and not upgrade):
            self._quietly("restart")
        else:
            self._local("start")
        self._forget_aside(now["aside"])

    def _token(self) -> str:
        """Return a registration token that is young enough."""
        token, until = self._registration_token
        if self._github and time.monotonic() > until:
            token = self._github.registration_token()
            self._registration_token = (token, time.monotonic() + TOKEN_SECONDS)
        return str(token)

    def _quietly(self, step: str, options: Callable[[], dict[str, Any]] = dict) -> None:
        """Do a step that ends the listener, once no job runs.

        Args:
            step: the step, which looks for a job once more.
            options: called for the step's options at the moment that it is done.

        Raises:
            ValueError: jobs have run for too long; nothing was done.

        """
        deadline = time.monotonic() + self._wanted["drain_seconds"]
        # A job can write what it likes there.
        called = self._said.get("name", "")
        called = called if NAME.fullmatch(called) else self._wanted["name"]
        while True:
            if not self._is_busy() and not self._local("hold")["busy"]:
                # A job that GitHub has given before it was held is known there by now.
                try:
                    is_busy = self._is_busy()
                    given = {} if is_busy else options()
                    if not is_busy and not self._local(step, **given)["busy"]:
                        return
                except (_github.GitHubError, ValueError):
                    # What is still held goes on by itself if this fails, too.
                    with contextlib.suppress(ValueError):
                        self._local("release")
                    raise
                self._local("release")
            if time.monotonic() > deadline:
                raise ValueError(
                    f"{called} is busy with a job, and has been for"
                    f" {self._wanted['drain_seconds']} s; nothing that runs was touched. Run this"
                    " again later, or wait longer: github_runner_drain_seconds"
                )
            self._display.display(f"{called} is busy with a job; waiting for its end")
            time.sleep(min(LONG_PAUSE, max(PAUSE, deadline - time.monotonic())))

    def _is_busy(self) -> bool:
        """Whether GitHub says that this device has a job."""
        said = self._said
        if not said:
            # What listens here has lost its files: whose the name is shows once that is stopped.
            registered = self._registered()
            return bool(registered and registered.busy)
        if self._is_here(said["url"]) and said["name"] == self._wanted["name"]:
            registered = self._registered()
        else:
            # So far it has another name or place; where that cannot be asked, the device is.
            try:
                registered = self._related(said["url"]).runner_by_id(said["id"])
            except (ValueError, _github.GitHubError):
                return False
        return bool(registered and registered.id == said["id"] and registered.busy)

    def _config(self, replaces: bool) -> list[str]:
        """Return the arguments of config.sh."""
        wanted = self._wanted
        arguments = ["--url", self._scope.web, "--name", wanted["name"]]
        arguments += ["--work", wanted["work_folder"]]
        if self._labels:
            arguments += ["--labels", ",".join(sorted(self._labels))]
        if wanted["group"]:
            arguments += ["--runnergroup", wanted["group"]]
        flags = {
            "--replace": replaces,
            "--ephemeral": wanted["ephemeral"],
            "--disableupdate": self._pinned,
        }
        return [*arguments, *(flag for flag, given in flags.items() if given)]

    def _is_elsewhere(self) -> _github.Runner | None:
        """Return who is online by the name although nothing listens here, if that lasts."""
        deadline = time.monotonic() + LAG
        while (registered := self._registered()) and registered.online:
            if time.monotonic() > deadline:
                return registered
            time.sleep(PAUSE)
        return None

    def _wait_until_offline(self) -> None:
        """Wait for what was stopped here; what is online then is another machine."""
        if registered := self._is_elsewhere():
            raise ValueError(
                f"github_runner_name is {registered.name}, and at {self._scope.web} another machine"
                f" is online by it (its ID is {registered.id}); give this one another name, or"
                " remove that one"
            )

    def _reconfigure(self, found: dict[str, Any]) -> None:
        """Register anew; if that fails, what ran before runs again."""
        said = found["configuration"]
        # Who cannot ask GitHub only takes what has been this device's.
        same = said["name"] == self._wanted["name"] and self._is_here(said["url"])
        replaces = same or self._github is not None
        self._quietly(
            "reconfigure", lambda: {"config": self._config(replaces), "token": self._token()}
        )

    def _is_here(self, url: str) -> bool:
        """Whether a URL is the one that is wanted."""
        return url.rstrip("/").lower() == self._scope.web.lower()

    def _related(self, url: str) -> _github.GitHub:
        """Return a client for where a runner was before, as its own files say.

        Jobs can write these, and the token is for nobody else.

        Raises:
            ValueError: it is another owner's, or there is no token that could be asked with.

        """
        scope = _github.Scope.of(url)
        if not self._github:
            raise ValueError("a registration token cannot remove it")
        if (scope.host, scope.owner.lower()) != (self._scope.host, self._scope.owner.lower()):
            raise ValueError("the token is for another owner or host")
        if scope not in self._clients:
            self._clients[scope] = self._client(scope)
        return self._clients[scope]

    def _forget_aside(self, aside: dict[str, Any] | None) -> None:
        """Remove the registration of before, if it is another; it is of no use any more."""
        if aside is None:
            return
        if aside and not (self._is_here(aside["url"]) and aside["name"] == self._wanted["name"]):
            try:
                client = self._related(aside["url"])
                there = client.runner_by_id(aside["id"])
                if there and there.name == aside["name"]:
                    if there.online:
                        raise ValueError("it is online, so it is another machine's by now")
                    client.delete(there.id)
            except (ValueError, _github.GitHubError) as error:
                self._warn_of_left(aside, error)
        self._local("tidy")

    def _warn_of_left(self, said: dict[str, Any], error: Exception) -> None:
        self._result.setdefault("warnings", []).append(
            f"The registration of before, {said['name']} at {said['url']}, was not removed:"
            f" {str(error).rstrip('.')}. GitHub removes it after 14 days by itself"
        )

    def _prove(self) -> None:
        """See that the runner listens, and that GitHub says so.

        Raises:
            ValueError: it does not, or GitHub does not see it.

        """
        seconds = self._wanted["ready_seconds"]
        deadline = time.monotonic() + seconds
        answer = self._local("wait", seconds=seconds)
        if not answer["heard"]:
            raise ValueError(
                f"the runner does not listen for jobs after {seconds} s: {answer['said']}"
            )
        while self._github:
            registered = self._registered()
            # It may have had its one job by now.
            if registered is None and self._wanted["ephemeral"]:
                break
            if (
                registered
                and registered.online
                and {one.lower() for one in registered.labels}
                == {one.lower() for one in self._labels}
            ):
                self._result["runner"] = _shown(registered)
                break
            if time.monotonic() > deadline:
                raise ValueError(
                    f"the runner listens, and after {seconds} s {self._scope.web} says of it:"
                    f" {_shown(registered) or 'there is none of that name'}"
                )
            time.sleep(PAUSE)
        found = self._local("look")["found"]
        self._result["version"] = found["version"]
        self._warn_of_age(found)

    # Absent.

    def _absent(self) -> None:
        """Have the runner be gone, at GitHub too."""
        found = self._look()
        registered = self._registered()
        facts = self._facts(found, registered)
        plan = _runner_plan.plan(facts, _runner_plan.ABSENT)
        # Where `.runner` is another one's, what has the name is another machine's.
        is_anothers = facts.configuration in ("right", "wrong") or (
            facts.unit == "none" and registered and registered.online
        )
        if "delete" in plan and registered and is_anothers:
            plan.remove("delete")
            self._warn_of_namesake(registered)
        self._result["version"] = found["version"]
        self._result["runner"] = _shown(registered)
        self._result["actions"] = plan
        self._result["changed"] = bool(plan)
        if plan:
            self._result["differed"] = [
                f"{name}: {getattr(facts, name)}"
                for name in ("registration", "configuration", "service", "unit")
                if getattr(facts, name) != "none"
            ]
            before = {name: getattr(facts, name) for name in ("registration", "configuration")}
            self._result["diff"] = [{"before": before, "after": dict.fromkeys(before, "none")}]
        if self._task.check_mode:
            return
        # What can be refused is asked for before anything is touched.
        token = self._remove_token(found) if "unregister" in plan else ""
        for step in plan:
            if step == "uninstall_service":
                self._quietly(step)
            elif step in ("unregister", "delete") and (other := self._is_elsewhere()):
                self._warn_of_namesake(other)
                if step == "unregister":
                    self._local("forget")
            elif step == "unregister":
                self._unregister(found, token)
            elif step == "delete" and registered and self._github:
                self._github.delete(registered.id)
            else:
                self._local(step)
        if plan:
            self._result["runner"] = _shown(self._registered())

    def _warn_of_namesake(self, registered: _github.Runner) -> None:
        self._result.setdefault("warnings", []).append(
            f"{registered.name} is {'online' if registered.online else 'registered'} at"
            f" {self._scope.web}, and it is not this device; its registration is left alone"
        )

    def _remove_token(self, found: dict[str, Any]) -> str:
        """Return a token for the removal; nothing if there is none to be had where it is."""
        said = found["configuration"]
        try:
            return self._related(said["url"]).remove_token()
        except (ValueError, _github.GitHubError) as error:
            # Where it is to be gone, a failure is one.
            if self._github and self._is_here(said["url"]):
                raise
            self._warn_of_left(said, error)
            return ""

    def _unregister(self, found: dict[str, Any], token: str) -> None:
        """Remove the registration by the runner's own program, wherever it belongs."""
        said = found["configuration"]
        if token and found["version"] and found["user"]:
            self._local("unregister", token=token)
            return
        if token:
            # There is no program left that could, or nobody to run it.
            self._related(said["url"]).delete(said["id"])
        self._local("forget")

    # Forgotten.

    def _forgotten(self) -> None:
        """Remove the registration of a device that is gone."""
        registered = self._registered()
        self._result["runner"] = None
        self._result["version"] = ""
        if registered is None:
            return
        if registered.online:
            raise ValueError(
                f"{registered.name} is online at {self._scope.web}, so it is not gone;"
                " github_runner_state: absent removes it from the device too"
            )
        self._result |= {
            "changed": True,
            "differed": ["registration: there"],
            "actions": ["delete"],
            "diff": [
                {"before": {"registration": registered.name}, "after": {"registration": "none"}}
            ],
        }
        if not self._task.check_mode and self._github:
            self._github.delete(registered.id)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _shown(registered: _github.Runner | None) -> dict[str, Any] | None:
    """Return a runner as the result has it."""
    if registered is None:
        return None
    return {
        "id": registered.id,
        "name": registered.name,
        "status": "online" if registered.online else "offline",
        "busy": registered.busy,
        "labels": sorted(registered.labels | registered.fixed_labels),
    }
