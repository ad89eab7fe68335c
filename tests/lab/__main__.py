"""The lab's commands: `python -m tests.lab --help`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import yaml

from . import camera_image, collection, demo, device
from .console import LabError, install_chromium, say
from .engine import lease


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for verb, help_text in (
        ("demo", "bring up the demo"),
        ("demo-down", "remove the demo"),
        ("bench-bootstrap", "print how long the second bootstrap takes against the first"),
    ):
        parser_of_verb = commands.add_parser(verb, help=help_text)
        parser_of_verb.add_argument("group", nargs="?", default=verb.removesuffix("-down"))
    commands.add_parser("chromium", help="install a Chromium for the tests if there is none")
    image = commands.add_parser("image", help="build the camera server's image")
    image.add_argument(
        "architecture", nargs="?", default="", help="another one than this machine's"
    )
    up = commands.add_parser("up", help="install the collection and start a group of devices")
    up.add_argument("group")
    up.add_argument(
        "name", nargs="+", help="NAME, or NAME@KIND: trixie (default), bookworm or docker"
    )
    up.add_argument("--vars", default="{}", help="variables of the group `devices`, as YAML")
    down = commands.add_parser("down", help="remove a group of devices")
    down.add_argument("group")
    for verb, help_text in (
        ("snapshot", "write down a device's files"),
        ("compare", "tell how a device's files differ from what was written down"),
    ):
        parser_of_verb = commands.add_parser(verb, help=help_text)
        parser_of_verb.add_argument("group")
        parser_of_verb.add_argument("name")
    return parser


def _snapshot_file(group: str, name: str) -> Path:
    return device.folder(group) / f"files.{name}.json"


def _compare(group: str, name: str) -> None:
    before = json.loads(_snapshot_file(group, name).read_text())
    after = device.snapshot(group, name)
    differing = sorted(
        path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    )
    if differing:
        lines = [f"{path}: {before.get(path)} is now {after.get(path)}" for path in differing[:20]]
        raise LabError(f"{len(differing)} files differ on {name}:\n" + "\n".join(lines))
    say(f"{name}: {len(after)} files are as they were")


def main(arguments: list[str]) -> int:
    """Run one command; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "demo":
            demo.up(options.group)
        elif options.command == "demo-down":
            demo.down(options.group)
        elif options.command == "bench-bootstrap":
            demo.bench_bootstrap(options.group)
        elif options.command == "chromium":
            install_chromium()
        elif options.command == "image":
            camera_image.build(options.architecture)
        else:
            with lease():
                if options.command == "up":
                    collection.install(options.group)
                    device.up(options.group, options.name, yaml.safe_load(options.vars))
                elif options.command == "down":
                    device.down(options.group)
                elif options.command == "snapshot":
                    files = device.snapshot(options.group, options.name)
                    _snapshot_file(options.group, options.name).write_text(json.dumps(files))
                elif options.command == "compare":
                    _compare(options.group, options.name)
    except LabError as error:
        say(f"\nERROR: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nInterrupted: the same command carries on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
