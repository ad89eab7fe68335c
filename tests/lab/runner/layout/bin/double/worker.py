"""Runner.Worker: runs one job, which stands as JSON on its standard input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def main(_words: list[str]) -> int:
    """Run the job; return 0 if all of it succeeded."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    job = json.load(sys.stdin)
    environment = os.environ | {str(name): str(value) for name, value in job["env"].items()}
    succeeded = _hook("started", environment)
    for step in job["steps"]:
        succeeded = succeeded and _bash(["-c", step], environment)
    # It runs also after what failed.
    completed = _hook("completed", environment)
    return 0 if succeeded and completed else 1


def _hook(stage: str, environment: dict[str, str]) -> bool:
    """Run a hook, if the runner's environment names one; return whether nothing failed."""
    named = os.environ.get(f"ACTIONS_RUNNER_HOOK_JOB_{stage.upper()}", "")
    if not named:
        return True
    print(f"A job {stage} hook has been configured by the self-hosted runner administrator")
    path = Path(named)
    if not path.is_file():
        print(f"{named}: File doesn't exist")
        return False
    if not path.is_absolute() or path.suffix != ".sh":
        print(f"{named} is not a valid path to a script. Make sure it ends in '.sh'.")
        return False
    return _bash([named], environment)


def _bash(words: list[str], environment: dict[str, str]) -> bool:
    command = ["bash", "-e", *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, env=environment, check=False)
    if done.returncode:
        print(f"##[error]Process completed with exit code {done.returncode}.")
    return done.returncode == 0
