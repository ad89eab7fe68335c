"""A simulated Pi with the role docker_boot and a registry to pull from, as tests reach them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT, eventually
from tests.lab import device as lab
from tests.lab.console import LabError
from tests.lab.registry import TRUST, Registry
from tests.lab.variants import SICK, Variants, width
from tests.play import Play, run_playbook
from tests.viewer import Viewer, Watcher

PI, HUB = "pi", "hub"
DEVICES = (f"{PI}@docker", f"{HUB}@docker")
# Another one, of the release before, to which the role brings the engine.
OLD = "old"
OLD_DEVICE = f"{OLD}@bookworm"
LOGIN = "anna"
SCENARIO = ROOT / "molecule" / "docker_boot"
VARIABLES: dict[str, Any] = yaml.safe_load((SCENARIO / "vars" / "camera.yml").read_text())
# What the role is used for here, and the tag that it follows.
USE = VARIABLES["docker_boot_name"]
TAG = VARIABLES["docker_boot_image"].rpartition(":")[2]
UPDATE = f"docker-boot-update@{USE}.service"
SERVICE = f"docker-boot@{USE}.service"
CONFIG = f"/etc/rpi_camera/docker_boot/{USE}.json"
STATE = f"/var/lib/rpi_camera/docker_boot/{USE}.json"
# Where the folder of SICK is on the Pi.
SICK_FOLDER = "/srv/sick"
SMALL_CARD = "/mnt/small"
FIRST = "good-1"


@dataclass(frozen=True)
class Update:
    """How an update went: whether well, and what it and the service have said in the journal."""

    went_well: bool
    lines: list[str]

    @property
    def said(self) -> str:
        """The journal's lines as one text."""
        return "\n".join(self.lines)


@dataclass
class Pi:
    """A Pi, by the lab's group of it and of the hub, which has the registry."""

    group: str
    name: str = PI

    @property
    def _login(self) -> Path:
        # Beside the collection, where the playbook finds it.
        return lab.folder(self.group) / "registry.yml"

    @cached_property
    def hub(self) -> Registry:
        """The registry."""
        login = yaml.safe_load(self._login.read_text())
        return self._registry(login["docker_boot_registry_password"])

    def _registry(self, password: str) -> Registry:
        return Registry(self.group, HUB, LOGIN, password)

    @cached_property
    def variants(self) -> Variants:
        """What makes images in the registry."""
        return Variants(self.hub)

    @property
    def image(self) -> str:
        """The name of the image that it follows, without the tag."""
        return self.variants.repository

    def prepare(self) -> None:
        """Serve a registry to it that has an image, and write down the login; then `join`."""
        password = secrets.token_urlsafe(18)
        self._login.touch(mode=0o600)
        login = {"username": LOGIN, "password": password}
        variables = {f"docker_boot_registry_{key}": value for key, value in login.items()}
        self._login.write_text(yaml.safe_dump(variables))
        self.hub.serve()
        self.variants.push_base()
        self.variants.push(FIRST, TAG)
        self.join()

    def join(self) -> None:
        """Have it believe the registry that is served, and have what variants look at."""
        self.run(TRUST, stdin=self.hub.ca)
        self.run(f"mkdir -p {SICK_FOLDER}")

    def push(self, variant: str) -> str:
        """Have the tag that it follows lead to a variant; return what a reference to it is."""
        return f"{self.image}@{self.variants.push(variant, TAG)}"

    # What runs on it.

    def run(self, script: str, *arguments: str, stdin: str = "", timeout: float = 600) -> str:
        """Run a script on it as root and return its standard output."""
        return lab.script(self.group, self.name, script, *arguments, stdin=stdin, timeout=timeout)

    def apply(self, *options: str, **variables: object) -> Play:
        """Apply the role to it as the scenario does, with variables in the place of its own.

        Args:
            options: further ones of ansible-playbook.
            variables: the role's, by their whole names.
        """
        told = ("--limit", self.name, "--extra-vars", json.dumps(variables), *options)
        return run_playbook(self.group, SCENARIO / "converge.yml", *told)

    def run_first(self, configuration: str = "") -> None:
        """Have the first image run, whatever was before.

        Args:
            configuration: with which; else the one that is in force, or the scenario's.
        """
        wanted = self.push(FIRST)
        if not self.configuration():
            play = self.apply()
            assert play.went_well, play.output
        if configuration and self.configuration() != configuration:
            update = self.take_up(configuration)
            assert update.went_well, update.said
        update = self.update()
        assert update.went_well, update.said
        assert self.current() == wanted
        eventually("it streams", lambda: self.streams(FIRST))

    def configuration(self) -> str:
        """Return its configuration, as it is in force; nothing if there is none."""
        return self.run(f"cat {CONFIG} 2>/dev/null || :")

    def configure(self, **changes: object) -> Update:
        """Have it take up its configuration with some keys changed, as the role would ask it to."""
        return self.take_up(json.dumps(json.loads(self.configuration()) | changes))

    def take_up(self, configuration: str) -> Update:
        """Have it take up a configuration."""
        self.run(f"umask 077; cat > {CONFIG}.new", stdin=configuration)
        return self.update()

    def cursor(self) -> str:
        """Return where its journal ends now."""
        text = self.run("journalctl --sync; journalctl --lines=0 --show-cursor")
        return text.rpartition("-- cursor: ")[2].strip()

    def journal(self, cursor: str) -> list[str]:
        """Return what the update and the service have said since a cursor."""
        read = f'journalctl --sync; journalctl --quiet --output=cat "$1" -u {UPDATE} -u {SERVICE}'
        return self.run(read, f"--after-cursor={cursor}").splitlines()

    def update(self) -> Update:
        """Have it look for an update, and wait until that has ended."""
        cursor = self.cursor()
        end = self.run(f"systemctl start {UPDATE} 2>/dev/null && echo well || echo ill").strip()
        return Update(end == "well", self.journal(cursor))

    def begin_update(self) -> None:
        """Have it look for an update, and do not wait."""
        self.run(f"systemctl start --no-block {UPDATE}")

    def updating(self) -> bool:
        """Whether an update is under way."""
        ask = f"systemctl show --value --property=ActiveState {UPDATE}"
        # The latter is when what a broken-off one has left is taken back.
        return self.run(ask).strip() in {"activating", "deactivating"}

    def state(self) -> dict[str, Any]:
        """Return what the role's state file on it says."""
        return dict(json.loads(self.run(f"cat {STATE}")))

    def container(self, what: str = "", name: str = USE) -> Any:
        """Return what Docker says of its container, by a path such as `.State.Health`.

        Returns:
            That, or None if there is no such container.
        """
        ask = f"docker container inspect --format '{{{{json {what or '.'}}}}}' {name} || echo null"
        return json.loads(self.run(ask))

    def current(self) -> str:
        """Return the reference of the last good image."""
        return str(self.state()["current"]["reference"])

    def last_words(self) -> str:
        """Return the last lines that updates have said."""
        return self.run(f"journalctl --quiet --output=cat --lines=8 --unit={UPDATE}")

    def tries(self, reference: str) -> bool:
        """Whether a container of an image runs."""
        label = '{{.Label "rpi_camera.docker_boot.reference"}}'
        return reference in self.run(f"docker ps --format '{label}'").split()

    @contextmanager
    def sick(self) -> Iterator[None]:
        """Have the variant `sickens` fail its health check."""
        mark = f"{SICK_FOLDER}/{Path(SICK).name}"
        self.run(f"touch {mark}")
        try:
            yield
        finally:
            self.run(f"rm -f {mark}")

    @contextmanager
    def small_card(self, megabytes: int) -> Iterator[None]:
        """Have Docker keep its images where no more fits, and where nothing is yet.

        The engine is restarted before and after.
        """
        file = "/etc/docker/daemon.json"
        # Without the first, systemd would refuse the fourth start within a minute.
        restart = "systemctl reset-failed docker; systemctl restart docker"
        self.run(
            f"mkdir -p {SMALL_CARD} && mount -t tmpfs -o size=$1m small {SMALL_CARD}"
            f" && cp {file} {file}.kept"
            f""" && jq '."data-root" = "{SMALL_CARD}"' {file}.kept > {file}; {restart}""",
            str(megabytes),
        )
        try:
            yield
        finally:
            self.run(
                f"systemctl stop docker.socket docker; mv {file}.kept {file}"
                f"; umount {SMALL_CARD}; {restart}"
            )

    # Its power.

    def kill(self) -> None:
        """Have it go out at once, as without power; its files stay."""
        lab.kill(self.group, self.name)

    def switch_on(self) -> None:
        """Start it, and wait for nothing; it may be at another address than before."""
        lab.switch_on(self.group, self.name)

    def boot(self) -> None:
        """Start it unless it runs, and wait until it has booted."""
        lab.boot(self.group, self.name)

    # What a viewer sees.

    def url(self) -> str:
        """Return the stream's address.

        Raises:
            OSError: it does not run.
        """
        try:
            address = lab.address(self.group, self.name)
        except LabError as error:
            raise OSError(str(error)) from error
        if not address:
            raise OSError(f"{self.name} does not run")
        return f"http://{address}:{lab.SERVER_PORT}/video"

    def viewer(self) -> Viewer:
        """Connect to its stream."""
        return Viewer(self.url())

    def width(self) -> int:
        """Return how wide the frames are that it streams now."""
        with self.viewer() as viewer:
            return viewer.first().decode().width

    def streams(self, variant: str) -> bool:
        """Whether it streams, and what a variant does."""
        try:
            return self.width() == width(variant)
        except (OSError, StopIteration, AssertionError):
            return False

    def watcher(self) -> Watcher:
        """Return a watcher of its stream, which finds it again wherever it is."""
        return Watcher(self.url)
