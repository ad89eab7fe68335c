"""Takes up what is new: finds it, fetches it, tries it, and goes back if it is not well."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from . import app, engine, health, registry, state, supervisor
from .registry import LaterError, RefusedError
from .supervisor import say, systemctl

Result = TypeVar("Result")

# Between two tries (s): 1, 2, 4, …
FIRST_GAP, LONGEST_GAP = 1.0, 60.0
# Somebody waits at a keyboard for a new configuration.
STAGED_SECONDS = 60.0
# What is fetched may be broken at the registry, and a link may be paid for by the byte.
PULLS = 5
# An image unpacked is some three times what is sent, and both are on the card for a while; and
# what a system needs to go on.
UNPACKED, RESERVE = 4, 200_000_000
START_SECONDS = 120.0
# So many times may the engine or the device go down while an image is tried.
TRIES = 3
POLL_SECONDS = 0.2
SETTLE_SECONDS = 15.0


class FailedError(Exception):
    """The update has not gone well; the text says why."""

    def __init__(self, result: str, reason: str, bad: str = "") -> None:
        """Take the result for the state, the reason, and the image if it is to blame."""
        super().__init__(f"{bad}: {reason}" if bad else reason)
        self.result, self.reason, self.bad = result, reason, bad


def _service(name: str) -> str:
    return f"docker-boot@{name}.service"


def _reload(name: str) -> None:
    """Have the service look anew at what is wanted; started if it does not run."""
    systemctl("start", _service(name))
    systemctl("reload", _service(name))


def _patiently(what: Callable[[], Result], deadline: float, tries: int = 0) -> Result:
    """Return what an attempt returns, after trying it until a time (monotonic, s) if need be.

    Raises:
        RefusedError: it came to nothing, in its last words.

    """
    gap, tried = FIRST_GAP, 0
    while True:
        try:
            return what()
        except (LaterError, engine.EngineGoneError) as error:
            tried += 1
            left = deadline - time.monotonic()
            if left <= 0 or tried == tries:
                raise RefusedError(str(error)) from error
            # A fleet that lost its registry at one time does not come back at one time.
            pause = min(gap * random.uniform(1, 1.5), left)
            say(f"{error}; the next try is in {pause:.0f} s")
        time.sleep(pause)
        gap = min(2 * gap, LONGEST_GAP)


def _room(found: registry.Found) -> None:
    """Raise RefusedError if the card has no room for an image."""
    root = str(engine.info()["DockerRootDir"])
    try:
        free = shutil.disk_usage(root).free
    except OSError as error:
        say(f"nobody knows whether there is room in {root}: {error}")
        return
    needed = registry.missing_bytes(found) * UNPACKED + RESERVE
    if needed > free:
        raise RefusedError(
            f"{found.reference} may need {needed / 1e6:.0f} MB in {root}, and there are"
            f" {free / 1e6:.0f} MB; nothing was fetched"
        )


def _pull(of: app.App, reference: str) -> None:
    """Fetch an image once; raise LaterError or RefusedError."""
    try:
        engine.pull(reference, of.registry, of.registry_host, say)
    except TimeoutError:
        raise LaterError(f"{of.registry_host} sends nothing any more") from None
    except engine.EngineGoneError:
        raise
    except engine.EngineError as error:
        if re.search("denied|unauthorized|no space left|no matching manifest", str(error)):
            raise RefusedError(f"{reference} cannot be fetched: {error}") from error
        raise LaterError(f"{reference} cannot be fetched: {error}") from error
    # Seen after power cuts: the engine says that all is well, and has no such image.
    if engine.image(reference) is None:
        raise LaterError(f"the engine has fetched {reference}, and does not have it")


def _verify(of: app.App, reference: str) -> None:
    """Raise FailedError for an image that cannot be run as it is wanted."""
    image = engine.image(supervisor.present(of.name, reference) or reference)
    if image is None:
        raise FailedError("failed", f"the engine has no {reference}")
    mine = str(engine.version()["Arch"])
    if image["Architecture"] != mine:
        reason = f"it is for {image['Architecture']}, and this device is {mine}"
        raise FailedError("rejected", reason, reference)
    if of.health.type == "healthcheck" and not health.has_check(image):
        reason = "docker_boot_health is healthcheck, and it has none"
        raise FailedError("rejected", reason, reference)


def _fetch(of: app.App, found: registry.Found, deadline: float) -> bool:
    """Have the engine have an image; return whether it had to be fetched."""
    reference = found.reference
    if supervisor.present(of.name, reference):
        return False
    _room(found)
    # Of one that a power cut has damaged the engine has the name, and would not fetch it again.
    engine.remove_image(reference)
    engine.remove_image("{}:{}".format(*app.local(of.name, reference)))
    # Noted before: what is broken off is ours, too.
    with state.editing(of) as known:
        if reference not in known["pulled"]:
            known["pulled"].append(reference)
    say(f"{reference} is fetched")
    _patiently(lambda: _pull(of, reference), deadline, PULLS)
    return True


def _find(of: app.App, deadline: float) -> registry.Found:
    """Return what the app's image means now."""
    if of.pinned and supervisor.present(of.name, of.pinned):
        return registry.Found(of.pinned, "", [], [])
    found = _patiently(lambda: registry.Registry(of).find(), deadline)
    if not found.architecture:
        offered = " and ".join(found.offered) or "no"
        mine = engine.version()["Arch"]
        reason = f"it is for {offered}, and this device is {mine}"
        raise FailedError("rejected", reason, found.reference)
    return found


def _known_as_bad(of: app.App, reference: str) -> None:
    """Raise FailedError for an image that was rejected; forget all others that were."""
    with state.editing(of) as known:
        bad = [entry for entry in known["rejected"] if entry["reference"] == reference]
        known["rejected"] = bad
    for entry in bad:
        raise FailedError(
            "rejected",
            f"{reference} was not well on {entry['time']}, and {of.image} still means it:"
            f" {entry['reason']}",
        )


def _container(name: str, choice: supervisor.Choice) -> dict[str, Any] | None:
    """Return the container of a choice if it runs."""
    for found in (engine.container(f"{name}.next"), engine.container(name)):
        if found and found["State"]["Running"] and choice.made(found):
            return found
    return None


def _verdict(name: str) -> str:
    """Return why the service has left a candidate; nothing if it has not."""
    try:
        return supervisor.verdict(name).read_text() or "it was not well"
    except FileNotFoundError:
        return ""


def _wait_until_well(
    choice: supervisor.Choice, patient: bool, stopping: float
) -> tuple[str, float]:
    """Wait for a container; return why it is not well, or nothing, and since when it is.

    Args:
        choice: which.
        patient: whether one that is judged by how long it runs has to do that here.
        stopping: how long the one before it may take to end (s).

    Returns:
        The reason, and a monotonic time (s).

    """
    of, began, reason = choice.app, 0.0, "it does not start"
    # What runs before it may take its time to end.
    deadline = time.monotonic() + START_SECONDS + stopping
    while True:
        if choice.candidate and (left := _verdict(of.name)):
            return left, 0.0
        container = _container(of.name, choice)
        now = time.monotonic()
        if container:
            if not began:
                began, deadline = now, now + of.health.window
            if not patient and health.kind(of, container) == "running":
                return "", began
            well, words, since = health.judge(of, container, now - began)
            if well:
                return "", time.monotonic() - (time.time() - since)
            reason = of.hush(f"not well within {of.health.window:g} s: {words}")
        if time.monotonic() > deadline:
            return reason, 0.0
        time.sleep(POLL_SECONDS)


def _dark(name: str, until: float) -> float | None:
    """Return for how long nothing was well (s), None if nothing ran before."""
    try:
        began = float(supervisor.darkness(name).read_text())
    except (OSError, ValueError):
        return None
    return round(max(until - began, 0.0), 1)


def _count(of: app.App, reference: str) -> None:
    """Note on the disk that an image is tried; raise FailedError if that was too often.

    What takes the engine or the device down with it would be tried again at each boot.
    """
    with state.editing(of) as known:
        before = known["trying"] or {}
        times = before.get("times", 0) + 1 if before.get("reference") == reference else 1
        # Once it was told, whoever asks for it again may try again.
        known["trying"] = {"reference": reference, "times": times} if times <= TRIES else None
    if times > TRIES:
        reason = f"the engine or the device went down {TRIES} times while it was tried"
        raise FailedError("rejected", reason, reference)


def _switch(of: app.App, path: Path, reference: str) -> None:
    """Try an image with a configuration, and keep both, or neither.

    Raises:
        FailedError: it was not well; what was before runs again.
        LaterError: the engine went away.

    """
    name = of.name
    before = state.reference(state.load(name)["current"])
    _count(of, reference)
    # In force until now; a first one has none.
    kept = app.load(app.configuration(name)) if app.configuration(name).exists() else of
    stopping = max(of.stop_seconds, kept.stop_seconds)
    choice = supervisor.Choice(of, reference, candidate=True)
    for file in (supervisor.verdict(name), supervisor.darkness(name)):
        file.unlink(missing_ok=True)
    told = {"reference": reference, "configuration": str(path)}
    app.write(supervisor.candidate(name), json.dumps(told), 0o600)
    _reload(name)
    try:
        reason, since = _wait_until_well(choice, patient=True, stopping=stopping)
        # It may have ended since.
        reason = reason or _verdict(name)
    except engine.EngineGoneError as error:
        _take_back(name)
        raise LaterError(f"the switch to {reference} was broken off: {error}") from error
    switch = {"time": state.now(), "from": before or None, "to": reference}
    if not reason:
        if path == app.staged(name):
            app.replace(path, app.configuration(name))
        with state.editing(of) as known:
            if before and before != reference:
                known["previous"] = known["current"]
            known["current"] = {"reference": reference, "since": state.now()}
            known["rejected"], known["trying"] = [], None
            known["last_switch"] = {
                **switch,
                "result": "kept",
                "dark_seconds": _dark(name, since),
                "reason": None,
            }
        supervisor.candidate(name).unlink(missing_ok=True)
        _reload(name)
        return
    supervisor.candidate(name).unlink(missing_ok=True)
    say(f"{reference}: {reason}; going back")
    _reload(name)
    dark, blamed = None, reference
    if before:
        old = supervisor.Choice(kept, before, candidate=False)
        # One that is not well after all either is no witness: a port is taken, a camera unplugged.
        blamed = ""
        with suppress(engine.EngineError):
            _reason, since = _wait_until_well(old, patient=False, stopping=stopping)
            dark, blamed = (_dark(name, since), reference) if since else (None, "")
    with state.editing(kept) as known:
        known["trying"] = None
        known["last_switch"] = {
            **switch,
            "result": "rolled_back",
            "dark_seconds": dark,
            "reason": reason,
        }
    raise FailedError("rolled_back", f"{reference}: {reason}" if not blamed else reason, blamed)


def _tidy(name: str) -> None:
    """Remove the images that are ours, and neither current nor previous."""
    states = {path.stem: state.load(path.stem) for path in app.STATES.glob("*.json")}
    kept = {
        owner: {state.reference(known["current"]), state.reference(known["previous"])} - {""}
        for owner, known in states.items()
    }
    mine = kept.get(name, set())
    wanted = {"{}:{}".format(*app.local(name, reference)) for reference in mine}
    prefix = app.local(name, "")[0] + ":"
    for image in engine.images():
        for tag in image.get("RepoTags") or []:
            if tag.startswith(prefix) and tag not in wanted:
                engine.remove_image(tag)
    left = []
    for reference in states.get(name, state.EMPTY)["pulled"]:
        if any(reference in references for references in kept.values()):
            left.append(reference)
        else:
            engine.remove_image(reference)
    if app.configuration(name).exists():
        with state.editing(app.load(app.configuration(name))) as known:
            known["pulled"] = left


def _wanted(of: app.App, path: Path, deadline: float) -> registry.Found:
    """Return the image that is to run."""
    name = of.name
    current = state.reference(state.load(name)["current"])
    if path == app.staged(name):
        if current and app.configuration(name).exists():
            before = app.load(app.configuration(name))
            same = (before.image, before.registry) == (of.image, of.registry)
            if same and supervisor.present(name, current):
                return registry.Found(current, "", [], [])
        return _find(of, min(deadline, time.monotonic() + STAGED_SECONDS))
    found = _find(of, deadline)
    _known_as_bad(of, found.reference)
    return found


def _runs(name: str, wanted: str) -> str:
    """Return what runs; the service may be about to go back to what is wanted."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        runs = state.reference(state.load(name)["running"])
        if runs == wanted or time.monotonic() > deadline:
            return runs
        time.sleep(POLL_SECONDS)


def _once(name: str, path: Path) -> tuple[str, str]:
    """Look once for what is new, and take it up; return the result and the image.

    Raises:
        FailedError, RefusedError: it did not go well.

    """
    of = app.load(path)
    deadline = time.monotonic() + of.update_window
    found = _wanted(of, path, deadline)
    reference = found.reference
    known = state.load(name)
    current = state.reference(known["current"])
    fetched = _fetch(of, found, deadline)
    _verify(of, reference)
    engine.tag(supervisor.present(name, reference), *app.local(name, reference))
    if path != app.staged(name):
        if current and systemctl("is-active", _service(name)) == "inactive":
            return "stopped", reference
        if reference == current and not fetched:
            runs = _runs(name, current)
            if runs and runs != current:
                raise FailedError(
                    "failed", f"{current} does not stay well; {runs} runs in its place"
                )
            return "up_to_date", reference
    _patiently(lambda: _switch(of, path, reference), deadline, TRIES)
    return "updated", reference


def _path(name: str) -> Path:
    """Return the configuration that is wanted; a new one that cannot be read is given up."""
    staged = app.staged(name)
    try:
        app.load(staged)
    except FileNotFoundError:
        return app.configuration(name)
    except (OSError, ValueError, LookupError, TypeError) as error:
        say(f"{staged} cannot be used: {error!r}")
        staged.unlink(missing_ok=True)
        return app.configuration(name)
    return staged


def update(name: str) -> int:
    """Take up what is new, and tell; return the exit status."""
    with app.locked(name, "update"):
        engine.wait(supervisor.ENGINE_SECONDS)
        path = _path(name)
        if not path.exists():
            say(f"there is no {path}: the role docker_boot writes it")
            return 1
        status = _update(name, path)
        # The role may have brought a configuration meanwhile, and it waits for this one to end.
        if path != app.staged(name) and _path(name) == app.staged(name):
            status = _update(name, app.staged(name))
        return status


def _update(name: str, path: Path) -> int:
    """Take up what is new with a configuration, and tell; return the exit status."""
    of = app.load(path)
    reason, reference, bad = "", "", []
    try:
        result, reference = _once(name, path)
    except FailedError as error:
        result, reason = error.result, str(error)
        if error.bad:
            bad = [{"reference": error.bad, "reason": error.reason, "time": state.now()}]
    except (RefusedError, engine.EngineError) as error:
        result, reason = "failed", str(error)
    # Not foreseen; the state has to tell of it all the same.
    except Exception as error:
        traceback.print_exc()
        result, reason = "failed", repr(error)
    reason = of.hush(reason)
    _take_back(name)
    if reason and path == app.staged(name):
        # What was in force before stays in force, and the image may be well with that.
        path.unlink(missing_ok=True)
        bad = []
    kept = _path(name)
    with state.editing(app.load(kept) if kept.exists() else of) as known:
        known["last_check"] = {
            "time": state.now(),
            "result": result,
            "reason": reason or None,
            "reference": reference or None,
        }
        known["rejected"] = [
            entry
            for entry in known["rejected"]
            if entry["reference"] not in {new["reference"] for new in bad}
        ] + bad
    _tidy(name)
    say(f"{of.image}: {result}" + (f": {reason}" if reason else ""))
    return 1 if reason else 0


def fetch(name: str) -> int:
    """Have the engine have the image, and change nothing else; return the exit status."""
    with app.locked(name, "update"):
        engine.wait(supervisor.ENGINE_SECONDS)
        path = _path(name)
        of = app.load(path)
        deadline = time.monotonic() + of.update_window
        try:
            found = _wanted(of, path, deadline)
            _fetch(of, found, deadline)
            _verify(of, found.reference)
        except (FailedError, RefusedError, engine.EngineError) as error:
            say(str(error))
            return 1
        say(f"{found.reference} is here")
        return 0


def _take_back(name: str) -> None:
    """Have the last good image run again, if another is being tried."""
    if supervisor.candidate(name).exists():
        supervisor.candidate(name).unlink(missing_ok=True)
        say("the switch was broken off; going back")
        # No job of systemd's: where the update itself is stopped, that would wait for its end.
        systemctl("kill", "--kill-whom=main", "--signal=HUP", _service(name))
    _give_back(name)


def _give_back(name: str) -> None:
    """Start the units again that were stopped for a container, if none was ever kept."""
    try:
        units = supervisor.replaced(name).read_text().split()
    except FileNotFoundError:
        return
    if not state.reference(state.load(name)["current"]):
        # It has nothing else to run. Nobody waits here, since this may be what systemd waits for.
        say(f"{' and '.join(units)} again in its place")
        systemctl("stop", "--no-block", _service(name))
        systemctl("start", "--no-block", *units)
    supervisor.replaced(name).unlink(missing_ok=True)


def settle(name: str) -> int:
    """Take back what an update has left that was broken off; return the exit status.

    systemd calls this when the update has ended, however it did, and says how.
    """
    how = os.environ.get("SERVICE_RESULT", "")
    _take_back(name)
    if how in {"success", "exit-code"}:
        return 0
    path = _path(name)
    if path.exists():
        with state.editing(app.load(path)) as known:
            # Whoever stops it does not blame the image. A device that goes down may.
            if how == "signal" and systemctl("is-system-running") != "stopping":
                known["trying"] = None
            known["last_check"] = {
                "time": state.now(),
                "result": "failed",
                "reason": f"the update was broken off ({how})",
                "reference": None,
            }
    return 0


def remove(name: str) -> int:
    """Remove the app's containers, images and state; return the exit status."""
    engine.wait(supervisor.ENGINE_SECONDS)
    for found in engine.containers(f"{app.NAME_LABEL}={name}"):
        engine.remove(found["Id"])
    known = state.load(name)
    if state.path(name).exists():
        emptied = {**known, "current": None, "previous": None}
        app.write(state.path(name), json.dumps(emptied), 0o644)
    _tidy(name)
    if app.configuration(name).exists():
        folder = Path(app.load(app.configuration(name)).textfile_folder)
        state.textfile(folder, name).unlink(missing_ok=True)
    state.path(name).unlink(missing_ok=True)
    shutil.rmtree(app.RUNTIME / name, ignore_errors=True)
    return 0
