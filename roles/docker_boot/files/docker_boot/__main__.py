"""The commands that the units run: `docker_boot.pyz COMMAND NAME`."""

from __future__ import annotations

import argparse
import sys

from . import engine, update
from .supervisor import Supervisor, say

COMMANDS = {
    "run": lambda name: Supervisor(name).run(),
    "update": update.update,
    "settle": update.settle,
    "fetch": update.fetch,
    "remove": update.remove,
}


def main() -> int:
    """Run a command; return the exit status."""
    parser = argparse.ArgumentParser(prog="docker_boot", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("name")
    given = parser.parse_args()
    try:
        return COMMANDS[given.command](given.name)
    except engine.EngineError as error:
        say(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
