"""What `config.sh` does: it registers the runner, or removes it."""

from __future__ import annotations

import socket
import sys
from typing import Any
from urllib.parse import quote

from . import folder, github
from .arguments import ArgumentError, Arguments
from .folder import Settings
from .github import RefusedError, Service


class ConfigureError(Exception):
    """The runner cannot be registered or removed, for a reason that it tells."""


_ERRORS = (ArgumentError, ConfigureError, RefusedError, *github.TROUBLE)


def run(arguments: Arguments) -> int:
    """Do what the command line says; return the exit code."""
    try:
        if arguments.command == "configure":
            _register(arguments)
        elif arguments.flag("local"):
            folder.delete()
        else:
            _remove(arguments)
    except _ERRORS as error:
        print(error, file=sys.stderr)
        if isinstance(error, RefusedError):
            print(error.reason, file=sys.stderr)
        return 1
    return 0


def _token(arguments: Arguments, url: str, kind: str, question: str) -> str:
    if pat := arguments.given("pat"):
        return github.token_for(url, pat, kind)
    return arguments.get("token", question)


def _register(arguments: Arguments) -> None:
    print("\n# Self-hosted runner registration")
    if folder.SETTINGS.exists():
        raise ConfigureError(
            "Cannot configure the runner because it is already configured. To reconfigure the"
            " runner, run 'config.cmd remove' or './config.sh remove' first."
        )
    print("\n# Authentication\n")
    url = arguments.get("url", "What is the URL of your repository?")
    token = _token(arguments, url, "registration", "What is your runner register token?")
    service = github.administer(url, token, "register")
    print("\n√ Connected to GitHub")
    folder.make_key()

    print("\n# Runner Registration\n")
    group = _group(arguments, service)
    agent = _agent(arguments, group["id"])
    registered = _add(arguments, service, agent)
    folder.save_credentials(registered["client_id"], service.url)

    print("\n# Runner settings\n")
    settings = Settings(
        agent_id=registered["id"],
        agent_name=agent["name"],
        pool_id=group["id"],
        pool_name=group["name"],
        server_url=service.url,
        github_url=url,
        work_folder=arguments.get("work", "Enter name of work folder:", "_work"),
        disable_update=agent["disable_update"],
        ephemeral=agent["ephemeral"],
    )
    settings.save()
    print("\n√ Settings Saved.\n")
    folder.write_service_script(settings)


def _group(arguments: Arguments, service: Service) -> dict[str, Any]:
    question = "Enter the name of the runner group to add this runner to:"
    name = arguments.get("runnergroup", question, "Default")
    for group in service.call("GET", "/groups")["groups"]:
        if group["name"].lower() == name.lower():
            return dict(group)
    raise ConfigureError(f'Could not find any self-hosted runner group named "{name}".')


def _agent(arguments: Arguments, group: int) -> dict[str, Any]:
    """Return what GitHub is told of the runner."""
    name = arguments.get("name", "Enter the name of runner:", socket.gethostname())
    own = ("self-hosted", "Linux", folder.architecture())
    question = f"This runner will have the labels {own}. Enter any additional labels:"
    # The first of those that differ only by their case.
    custom: dict[str, str] = {}
    for label in arguments.get("labels", question, optional=True).split(","):
        if label:
            custom.setdefault(label.lower(), label)
    labels = [{"name": label, "type": "custom"} for label in custom.values()]
    if not arguments.flag("no-default-labels"):
        labels = [{"name": label, "type": "read-only"} for label in own] + labels
    return {
        "name": name,
        "group_id": group,
        "labels": labels,
        "ephemeral": arguments.flag("ephemeral"),
        "disable_update": arguments.flag("disableupdate"),
        "version": folder.version(),
        "os": "Linux",
    }


def _add(arguments: Arguments, service: Service, agent: dict[str, Any]) -> dict[str, Any]:
    """Add the runner to those that GitHub knows, or replace the one of its name."""
    name = agent["name"]
    there = service.call("GET", f"/agents?name={quote(name, safe='')}")["agents"]
    if there:
        print("A runner exists with the same name")
        if not _may_replace(arguments):
            raise ConfigureError(f"A runner exists with the same name {name}.")
    if not agent["labels"]:
        raise ConfigureError(
            "Disabling default labels via --no-default-labels without specifying --labels is not"
            " supported"
        )
    if there:
        replaced = service.call("PUT", f"/agents/{there[0]['id']}", agent)
        print("√ Successfully replaced the runner")
        return {"id": there[0]["id"], **replaced}
    try:
        added = service.call("POST", "/agents", agent)
    except RefusedError as error:
        if error.status != 409:
            raise
        # Somebody was faster.
        raise ConfigureError(f"A runner exists with the same name {name}.") from error
    print("√ Runner successfully added")
    return added


def _may_replace(arguments: Arguments) -> bool:
    if arguments.flag("replace") or arguments.flag("unattended"):
        return arguments.flag("replace")
    question = "Would you like to replace the existing runner? (Y/N)"
    return arguments.get("replace", question, "N").lower() == "y"


def _remove(arguments: Arguments) -> None:
    print("\n# Runner removal\n")
    step = "Removing service"
    try:
        if folder.SERVICE.exists():
            print(step)
            raise ConfigureError("Uninstall service first")
        step = "Removing runner from the server"
        if folder.SETTINGS.exists() and folder.CREDENTIALS.exists():
            _remove_from_github(arguments, Settings.load(), step)
            print("\n√ Runner removed successfully")
        else:
            print(
                "Cannot connect to server, because config files are missing. Skipping removing"
                " runner from the server."
            )
        folder.delete()
    except _ERRORS:
        print(f"Failed: {step}", file=sys.stderr)
        raise
    print()


def _remove_from_github(arguments: Arguments, settings: Settings, step: str) -> None:
    url = settings.github_url
    token = _token(arguments, url, "remove", "Enter runner remove token:")
    service = github.administer(url, token, "remove")
    try:
        service.call("DELETE", f"/agents/{settings.agent_id}")
    except RefusedError as error:
        if error.status != 404:
            raise
        print(f"Does not exist. Skipping {step}")
