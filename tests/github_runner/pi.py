"""A simulated Pi with the role github_runner, and the double of GitHub, as tests reach them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import eventually
from tests.lab import device as lab
from tests.lab import runner
from tests.lab.github import GitHub, Runner
from tests.play import Play, run_playbook

ROLE = "rpi_camera.fleet.github_runner"
PI, OLD = "pi", "old"
# The releases that the double has: too old to be registered, old, and the newest.
ANCIENT, OLDER, NEWEST = "2.328.0", "2.334.0", "2.336.0"
USER = "github-runner"
FOLDER = f"/opt/{USER}"
HOME = f"/var/lib/{USER}"
WORK = f"{HOME}/work"
TIMEOUT = 300
# A job that lasts until a test has it end.
LONG = "until [ -e go ]; do sleep 0.1; done; rm go"
END = f"install --owner={USER} /dev/null {WORK}/go"


@dataclass(frozen=True)
class Run:
    """How a run of the role went, and what its module has returned.

    `play.output` is all that was printed.
    """

    play: Play
    result: dict[str, Any]

    @property
    def went_well(self) -> bool:
        """Whether the play has."""
        return self.play.went_well

    @property
    def output(self) -> str:
        """All that was printed, in one line."""
        return " ".join(self.play.output.replace("\\", "").split())

    @property
    def actions(self) -> list[str]:
        """What the module has done."""
        return list(self.result["actions"])


@dataclass
class Pi:
    """A Pi, by the lab's group of it and of the double of GitHub.

    `user` is whose runner is looked at, if it has several.
    """

    group: str
    name: str = PI
    user: str = USER

    @cached_property
    def github(self) -> GitHub:
        """The double."""
        return GitHub(self.group)

    @property
    def _home(self) -> Path:
        return lab.folder(self.group)

    @property
    def _variables(self) -> Path:
        # Where the playbook of the scenario finds them.
        return self._home / "github.yml"

    @property
    def _certificate(self) -> Path:
        return self._home / "github.pem"

    @property
    def environment(self) -> dict[str, str]:
        """What the controller needs in its environment to believe the double."""
        return {"SSL_CERT_FILE": str(self._certificate)}

    @property
    def cache(self) -> Path:
        """Where the controller keeps archives."""
        return self._home / "runners"

    def prepare(self, names: list[str]) -> None:
        """Serve a double, with releases, and have devices and this machine believe it."""
        self.github.serve()
        self.github.reset()
        self.publish()
        for name in names:
            self.github.trust(name)
        # SSL_CERT_FILE has it in the place of all that this machine believes.
        self._certificate.write_text(self.github.ca)
        self._variables.touch(mode=0o600)
        self._variables.write_text(yaml.safe_dump(self.variables()))

    def publish(self) -> None:
        """Have the double offer the releases."""
        for version in (ANCIENT, OLDER, NEWEST):
            self.github.put_release(version, "x64", runner.build(version))

    def variables(self) -> dict[str, Any]:
        """Return the variables of the role that the scenario has."""
        return {
            "github_runner_url": self.github.url("octo/camera"),
            "github_runner_token": self.github.token,
            "github_runner_cache": str(self.cache),
        }

    def registration_token(self) -> str:
        """Return a new registration token, as a person copies it from GitHub's page."""
        path = "/api/v3/repos/octo/camera/actions/runners/registration-token"
        letter = {"Authorization": f"token {self.github.token}"}
        connection = self.github.connection()
        try:
            connection.request("POST", path, headers=letter)
            return str(json.load(connection.getresponse())["token"])
        finally:
            connection.close()

    def credentials(self, kind: str) -> dict[str, Any]:
        """Return the variables, as `apply` takes them, of a credential: token, app, registration.

        By a registration token nobody can ask for an archive, which the double is a mirror of.
        """
        if kind == "token":
            return {}
        if kind == "app":
            app = self.github.app
            given = {"app_id": app.id, "app_installation": app.installation, "app_key": app.key}
            return {"token": None, **given}
        return {
            "token": None,
            "registration_token": self.registration_token(),
            "version": NEWEST,
            "sha256": self.github.put_release(NEWEST, "x64", runner.build(NEWEST)),
            "mirror": self.github.url("actions/runner/releases/download"),
        }

    def apply(
        self,
        *options: str,
        env: Mapping[str, str] | None = None,
        hosts: Path | None = None,
        tasks: str = "",
        **variables: object,
    ) -> Run:
        """Run the role.

        Args:
            options: further ones of ansible-playbook.
            env: what its environment has beside that of our tools.
            hosts: another inventory than the group's.
            tasks: a file of its tasks, if not all of them.
            variables: those of the role without `github_runner_` that are other than in the
                scenario; None takes one away.
        """
        chosen = self.variables() | {f"github_runner_{k}": v for k, v in variables.items()}
        answer = self._home / "answer.json"
        answer.unlink(missing_ok=True)
        play = {
            "hosts": "all" if hosts else self.name,
            "gather_facts": False,
            "become": True,
            "vars": {"ansible_pipelining": True},
            **(
                {"tasks": [{"ansible.builtin.import_role": {"name": ROLE, "tasks_from": tasks}}]}
                if tasks
                else {"roles": [{"role": ROLE}]}
            ),
            "post_tasks": [
                {
                    "ansible.builtin.copy": {
                        "content": "{{ __github_runner | to_json }}",
                        "dest": str(answer),
                        "mode": "0600",
                    },
                    "delegate_to": "localhost",
                    "become": False,
                    "vars": {"ansible_become": False},
                    "check_mode": False,
                    "changed_when": False,
                }
            ],
        }
        playbook = self._home / "apply.yml"
        playbook.write_text(yaml.safe_dump([play]))
        # The tokens are in a file, as a user's are; arguments are in the list of processes.
        given = self._home / "apply-variables.yml"
        given.touch(mode=0o600)
        given.write_text(yaml.safe_dump({k: v for k, v in chosen.items() if v is not None}))
        run = run_playbook(
            self.group,
            playbook,
            *[f"--extra-vars=@{given}", *options],
            hosts=hosts,
            env={**self.environment, **(env or {})},
        )
        return Run(run, json.loads(answer.read_text()) if answer.exists() else {})

    def reboot(self) -> None:
        """Have it go out as without power, start it, and wait until it has booted."""
        lab.kill(self.group, self.name)
        lab.boot(self.group, self.name)

    def runners(self) -> list[Runner]:
        """Return what GitHub has registered, without the other Pi of the scenario."""
        return [found for found in self.github.runners() if found.name != OLD]

    def queue(self, *steps: str) -> int:
        """Queue a job for it alone, and return its number."""
        return self.github.queue_job(*steps, runner=self.github.runner(self.name).id)

    # What is on it.

    def run(self, text: str, *arguments: str, stdin: str = "") -> str:
        """Run a script on it as root and return its output."""
        return lab.script(self.group, self.name, text, *arguments, stdin=stdin, timeout=TIMEOUT)

    def read(self, path: str) -> str:
        """Return a file's content; nothing if there is none."""
        return self.run('[ ! -e "$1" ] || cat "$1"', path)

    @property
    def folder(self) -> str:
        """Where the runner is installed."""
        return f"/opt/{self.user}"

    @property
    def service(self) -> str:
        """The unit that `.service` names; nothing if there is none."""
        return self.read(f"{self.folder}/.service").strip()

    @property
    def configuration(self) -> dict[str, Any] | None:
        """What `.runner` says, or None."""
        text = self.read(f"{self.folder}/.runner").lstrip("\ufeff")
        return dict(json.loads(text)) if text else None

    @property
    def listener(self) -> str:
        """The number of the process that listens, by which a restart shows; nothing if none."""
        return self.run(f"pgrep --full {self.folder}/bin/Runner[.]Listener || :").strip()

    @property
    def is_listening(self) -> bool:
        """Whether its unit runs, with a listener."""
        return bool(self.service and self.listener) and (
            self.run('systemctl is-active "$1" || :', self.service).strip() == "active"
        )


@contextmanager
def long_job(pi: Pi) -> Iterator[int]:
    """Have a job run, which ends well with this unless something ends it before."""
    job = pi.queue(LONG)
    eventually("it runs", lambda: pi.run("pgrep --full '[R]unner.Worker' || :"))
    pi.github.wait_for_runner(PI, busy=True)
    try:
        yield job
    finally:
        pi.run(END)
        done = pi.github.wait_for_job(job)
    assert done.conclusion == "success"
