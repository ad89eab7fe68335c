"""The service: it keeps one container, of the image that is wanted, and knows a way back.

What is wanted is read anew at each start and each SIGHUP: a candidate, which `update` has put into
the folder for what does not outlast a boot; or else the last good image. A candidate that ends, or
that its HEALTHCHECK gives up, is left at once for the last good image.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from . import app, engine, health, state

# The archive that this program is, or the folder that it lies in.
PROGRAM = Path(__file__).parents[1]
ENGINE_SECONDS = 240.0
# So many starts of the last good image in a row that did not go well, and the one before it gets
# its turn, and then again: a camera that is unplugged makes both fail, and neither is to blame.
TURNS = 3
LOG = ("--log-driver=local", "--log-opt=max-size=10m", "--log-opt=max-file=3")

# What this process is told by systemd, and what by the engine: to end, to look anew at what is
# wanted; that there is no engine any more.
END, LOOK, GONE = "end", "look", "gone"
SECRETS_LABEL = f"{app.NAME_LABEL}.secrets"


# What the engine says when a port cannot be published: its address is not there yet, or another
# program has it.
NO_PORT = re.compile("external connectivity|container networking|port is already allocated")


class StartError(Exception):
    """A container could not be started; the text says why."""


@dataclass(frozen=True)
class Choice:
    """What is to run."""

    app: app.App
    reference: str
    candidate: bool

    @property
    def labels(self) -> dict[str, str]:
        """By which its container is known."""
        return {
            app.NAME_LABEL: self.app.name,
            app.REFERENCE_LABEL: self.reference,
            app.CONFIGURATION_LABEL: self.app.fingerprint,
        }

    def made(self, container: dict[str, Any]) -> bool:
        """Return whether a container is of this choice."""
        labels = container["Config"]["Labels"] or {}
        return self.labels.items() <= labels.items()


@dataclass(frozen=True)
class Running:
    """The container that runs."""

    container: str
    choice: Choice


def say(words: str) -> None:
    """Tell the journal."""
    print(words, file=sys.stderr, flush=True)


def candidate(name: str) -> Path:
    """Return the file that names what is tried; it does not outlast a boot."""
    return app.runtime(name) / "candidate.json"


def verdict(name: str) -> Path:
    """Return the file that says why a candidate was left."""
    return app.runtime(name) / "verdict"


def darkness(name: str) -> Path:
    """Return the file that says since when the old container is asked to end (s, monotonic)."""
    return app.runtime(name) / "dark"


def replaced(name: str) -> Path:
    """Return the file that names the units that were stopped for a container not yet kept."""
    return app.runtime(name) / "replaced"


def systemctl(*arguments: str) -> str:
    """Have systemd do something, and return what it prints."""
    done = subprocess.run(
        ["/usr/bin/systemctl", *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _secret_folder(name: str, container: str) -> Path:
    return app.runtime(name) / f"secrets.{container}"


def _client(name: str) -> Path:
    """Return a folder for the client's settings, which it has none of."""
    return app.runtime(name) / "client"


def _failures(name: str) -> Path:
    return app.runtime(name) / "failures"


def _count(name: str) -> int:
    try:
        return int(_failures(name).read_text())
    except (OSError, ValueError):
        return 0


def choose(name: str) -> Choice | None:
    """Return what is to run; None if there is no image that was ever good."""
    try:
        told = json.loads(candidate(name).read_text())
        tried = app.load(Path(told["configuration"]))
        return Choice(tried, str(told["reference"]), candidate=True)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, LookupError, TypeError) as error:
        say(f"{candidate(name)} cannot be used: {error!r}")
    if not app.configuration(name).exists():
        return None
    of, known = app.load(app.configuration(name)), state.load(name)
    good = [state.reference(known[which]) for which in ("current", "previous") if known[which]]
    good = [reference for reference in good if present(name, reference)]
    if not good:
        return None
    turn = (_count(name) // TURNS) % len(good)
    return Choice(of, good[turn], candidate=False)


def present(name: str, reference: str) -> str:
    """Return a name by which the engine has an image, by its digest or our own; else nothing."""
    names = (reference, "{}:{}".format(*app.local(name, reference)))
    return next((known for known in names if engine.image(known)), "")


def _owner(user: str) -> int | None:
    number = user.partition(":")[0]
    return int(number) if number.isdecimal() else None


def _secrets(of: app.App, user: str, container: str) -> list[str]:
    """Write the secrets into memory, for the image's user; return Docker's options.

    Each container has a folder of its own: another one may run on with his.
    """
    if not of.secrets:
        return []
    folder = _secret_folder(of.name, container)
    folder.mkdir(mode=0o755)
    owner = _owner(user or "0")
    for name, content in of.secrets.items():
        # By number it can be his alone. Names are known inside the image only; there, nobody
        # else is, and outside, the folder above lets nobody in.
        mode = 0o444 if owner is None else 0o400
        app.write(folder / name, content, mode)
        if owner is not None:
            os.chown(folder / name, owner, -1)
    return [
        f"--volume={folder / name}:{of.secret_paths.get(name, f'/run/secrets/{name}')}:ro"
        for name in of.secrets
    ]


def _camera_options() -> list[str]:
    """Return the options for this device's cameras, which are others after each boot."""
    asked = subprocess.run(
        [sys.executable, "-B", "-m", "run_options"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROGRAM)},
        check=False,
    )
    if asked.stderr:
        say(asked.stderr.strip())
    if asked.returncode != 0:
        raise StartError(f"the cameras cannot be granted: {asked.stderr.strip()}")
    return asked.stdout.split()


def _health_options(of: app.App, image: dict[str, Any]) -> list[str]:
    if not health.has_check(image):
        return []
    options = [f"--health-interval={of.health.interval:g}s"]
    # Asked often until it is well for the first time, where the engine can.
    version = tuple(int(part) for part in engine.version()["ApiVersion"].split("."))
    if version >= (1, 44):
        options.append("--health-start-interval=2s")
    return options


def _create(choice: Choice, name: str) -> str:
    """Make a container and return its id; it is not started."""
    of = choice.app
    known = present(of.name, choice.reference)
    image = engine.image(known) if known else None
    if image is None:
        raise StartError(f"the engine has no {choice.reference}")
    # What the user tells his container is not told to the client: it listens to some variables.
    client = ["/usr/bin/docker", f"--host=unix://{engine.SOCKET}", f"--config={_client(of.name)}"]
    command = [*client, "create", f"--name={name}", "--pull=never"]
    command += [f"--label={key}={value}" for key, value in choice.labels.items()]
    command += ["--restart=no", "--init", "--security-opt=no-new-privileges", *LOG]
    command += _camera_options() if of.camera else []
    command += _health_options(of, image)
    command += [f"--publish={port}" for port in of.ports]
    # With the value left out the client takes it from its own environment, so that it is in no
    # list of processes.
    own = {key: value for key, value in of.env.items() if not key.startswith("DOCKER_")}
    command += [f"--env={key}" if key in own else f"--env={key}={of.env[key]}" for key in of.env]
    command += [f"--volume={volume}" for volume in of.volumes]
    command += [f"--device={device}" for device in of.devices]
    secrets = uuid.uuid4().hex
    command += [f"--label={SECRETS_LABEL}={secrets}"]
    command += _secrets(of, str(image["Config"].get("User") or ""), secrets)
    made = subprocess.run(
        [*command, known],
        capture_output=True,
        text=True,
        env={**os.environ, **own},
        check=False,
    )
    if made.returncode != 0:
        raise StartError(made.stderr.strip().removeprefix("Error response from daemon: "))
    return made.stdout.split()[-1]


def _tidy_secrets(name: str) -> None:
    """Remove the secrets of containers that there are none of any more."""
    used = {
        _secret_folder(name, found["Labels"].get(SECRETS_LABEL, ""))
        for found in engine.containers(f"{app.NAME_LABEL}={name}")
    }
    for folder in app.runtime(name).glob("secrets.*"):
        if folder not in used:
            shutil.rmtree(folder, ignore_errors=True)


def _clear(name: str, keep: str) -> None:
    """Remove the app's containers but one."""
    for found in engine.containers(f"{app.NAME_LABEL}={name}"):
        if found["Id"] == keep:
            continue
        try:
            engine.remove(found["Id"])
        except engine.EngineGoneError:
            raise
        except engine.EngineError as error:
            # A power cut can leave one that the engine cannot remove: out of the way, then.
            say(f"{error}")
            engine.rename(found["Id"], f"{name}.stuck-{found['Id'][:12]}")


def _make_way(of: app.App) -> None:
    """Stop the units in whose place the container comes, and note which of them ran."""
    running = [
        unit
        for unit in of.replaces
        if systemctl("is-active", unit) in {"active", "activating", "reloading"}
    ]
    if running:
        app.write(replaced(of.name), "\n".join(running), 0o600)
        _begin_darkness(of.name)
    # One that is about to be started is not, then.
    if of.replaces:
        systemctl("stop", *of.replaces)


def _begin_darkness(name: str) -> None:
    # The first that is asked to end begins it, and a way back ends it.
    if not darkness(name).exists():
        darkness(name).write_text(str(time.monotonic()))


def replace(choice: Choice, old: Running | None) -> Running:
    """Put a container of this choice in the old one's place.

    All that takes time is done while the old one still runs.

    Raises:
        StartError: it could not be made or started; in the first case the old one runs on.

    """
    name = choice.app.name
    _clear(name, old.container if old else "")
    container = _create(choice, f"{name}.next" if old else name)
    _make_way(choice.app)
    if old:
        _begin_darkness(name)
        if old.choice.candidate:
            engine.remove(old.container)
        else:
            engine.stop(old.container, old.choice.app.stop_seconds)
    try:
        engine.start(container)
    except engine.EngineGoneError:
        raise
    except engine.EngineError as error:
        raise StartError(str(error)) from error
    if old:
        engine.remove(old.container)
        engine.rename(container, name)
    _tidy_secrets(name)
    return Running(container, choice)


class Supervisor:
    """Keeps one app's container."""

    def __init__(self, name: str) -> None:
        """Listen to signals; nothing is started yet."""
        self._name = name
        self._news: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self._ready = False
        self._waiting = True
        signal.signal(signal.SIGTERM, self._hear)
        signal.signal(signal.SIGHUP, self._hear)

    def _hear(self, number: int, _frame: object) -> None:
        if number == signal.SIGTERM and self._waiting:
            sys.exit(0)
        self._news.put(("", END if number == signal.SIGTERM else LOOK))

    def _notify(self, words: str) -> None:
        """Tell systemd, if it asks to be told (sd_notify(3))."""
        told = f"STATUS={words}" + ("" if self._ready else "\nREADY=1")
        self._ready = True
        where = os.environ.get("NOTIFY_SOCKET", "")
        if where:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.sendto(told.encode(), where.replace("@", "\0", 1))

    def _listen(self, container: str, since: float) -> None:
        """Have the container's news come in, from a time on (s, 1970)."""

        def listen() -> None:
            try:
                for what in engine.events(container, since):
                    self._news.put((container, what))
            # Whatever it is, nobody would hear of the container's end any more.
            except Exception as error:
                say(f"{error!r}")
                self._news.put((container, GONE))

        threading.Thread(target=listen, daemon=True).start()

    def _adopt(self) -> Running | None:
        """Return the container that runs already, when only this program was started anew."""
        choice, found = choose(self._name), engine.container(self._name)
        if not choice or not found or not found["State"]["Running"] or not choice.made(found):
            return None
        if (found["State"].get("Health") or {}).get("Status") == "unhealthy":
            return None
        return Running(found["Id"], choice)

    def _started(self, running: Running) -> None:
        say(f"{running.choice.reference} runs")
        self._notify(f"{running.choice.reference} runs")
        self._tell(running, {"reference": running.choice.reference, "since": state.now()})

    def _tell(self, running: Running, entry: dict[str, str] | None) -> None:
        """Note what runs; a disk that is full is no reason to stop it."""
        try:
            with state.editing(running.choice.app) as known:
                known["running"] = entry
        except OSError as error:
            say(f"{state.path(self._name)} cannot be written: {error}")

    def _well(self) -> None:
        _failures(self._name).unlink(missing_ok=True)

    def _failed(self, choice: Choice, why: str, counts: bool = True) -> None:
        """Note that a container was not well: a candidate is left, another is counted."""
        why = choice.app.hush(why)
        say(f"{choice.reference}: {why}")
        if choice.candidate:
            app.write(verdict(self._name), why or "it could not be started", 0o600)
            candidate(self._name).unlink(missing_ok=True)
        elif counts:
            _failures(self._name).write_text(str(_count(self._name) + 1))

    def _watch(self, running: Running) -> str:
        """Wait; return END, LOOK or GONE, or why the container is not well."""
        of = running.choice.app
        container = engine.container(running.container)
        if container is None:
            return "its container is gone"
        checked = health.has_check(container)
        # Of a candidate it is `update` that judges.
        new = running.choice.candidate
        # One that its user does not go by may never have worked; from then on that it has, it does.
        decides = health.kind(of, container) == "healthcheck"
        was_well = (container["State"].get("Health") or {}).get("Status") == "healthy"
        asks = not checked and not new and of.health.type == "http"
        patience = of.health.interval if asks else of.health.window
        bad = 0
        while True:
            try:
                whose, what = self._news.get(
                    timeout=None if checked or new or bad < 0 else patience
                )
            except Empty:
                reason = health.probe(of.health, "http") if asks else ""
                bad = bad + 1 if reason else 0
                if bad >= health.RETRIES:
                    return f"unhealthy: {reason}"
                if not reason:
                    self._well()
                if not asks:
                    bad = -1
                continue
            if whose not in {"", running.container}:
                continue
            if what == "die":
                # An engine that is stopped, as an upgrade does it, ends its containers first.
                if systemctl("is-active", "docker.service") == "deactivating":
                    return GONE
                code = (engine.container(running.container) or {}).get("State", {}).get("ExitCode")
                words = engine.last_words(running.container)
                return f"it ended with status {code}" + (f": {words}" if words else "")
            if what == "health_status: healthy":
                was_well = True
                self._well()
            elif what == "health_status: unhealthy" and not new and (decides or was_well):
                found = engine.container(running.container) or {}
                log = ((found.get("State", {}).get("Health")) or {}).get("Log") or []
                words = str(log[-1]["Output"]).strip()[-200:] if log else ""
                return f"its HEALTHCHECK finds it unhealthy: {words}"
            elif what in {END, LOOK, GONE}:
                return what

    def _wait_for_image(self) -> str:
        self._notify("there is no good image yet")
        while True:
            _container, what = self._news.get()
            if what in {END, LOOK}:
                return what

    def run(self) -> int:
        """Keep the container until systemd ends it; return the exit status."""
        engine.wait(ENGINE_SECONDS)
        self._waiting = False
        before = time.time()
        running = self._adopt()
        if running:
            self._listen(running.container, before)
            self._started(running)
        while True:
            choice = choose(self._name)
            if choice is None:
                if running:
                    engine.remove(running.container)
                    running = None
                if self._wait_for_image() == END:
                    return 0
                continue
            if running and running.choice.labels == choice.labels:
                running = dataclasses.replace(running, choice=choice)
            else:
                try:
                    running = self._replace(choice, running)
                except StartError as error:
                    # The image before it would have no port either.
                    self._failed(choice, str(error), counts=not NO_PORT.search(str(error)))
                    if not choice.candidate:
                        return 1
                    if running and not self._runs(running):
                        running = None
                    continue
            what = self._watch(running)
            if what == LOOK:
                continue
            if what == END:
                return self._stop(running)
            if what == GONE:
                say("the Docker engine is gone")
                return 1
            self._failed(running.choice, what)
            if not running.choice.candidate:
                self._stop(running)
                return 1

    def _runs(self, running: Running) -> bool:
        found = engine.container(running.container)
        return bool(found and found["State"]["Running"])

    def _replace(self, choice: Choice, old: Running | None) -> Running:
        before = time.time()
        running = replace(choice, old)
        self._listen(running.container, before)
        self._started(running)
        return running

    def _stop(self, running: Running) -> int:
        # At a shutdown the engine may end first, and the container with it.
        with suppress(engine.EngineGoneError):
            engine.stop(running.container, running.choice.app.stop_seconds)
            engine.remove(running.container)
        self._tell(running, None)
        return 0
