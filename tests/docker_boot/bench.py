"""How long the stream is dark in each case of docker_boot: `make bench-boot`.

The cases are the tests of this folder and of tests/deployment, on devices of their own.
"""

from __future__ import annotations

import json
import sys

import pytest

from tests.conftest import TABLE
from tests.docker_boot.pi import DEVICES, OLD, OLD_DEVICE, Pi
from tests.lab import collection, device
from tests.lab.console import heading, say
from tests.lab.engine import lease

GROUP = "bench-boot"


def main(options: list[str]) -> int:
    """Run the cases and print a table; return 0 if all went well and no bound is broken."""
    with lease():
        device.down(GROUP)
        collection.install(GROUP)
        device.up(GROUP, [*DEVICES, OLD_DEVICE], {})
        try:
            Pi(GROUP).prepare()
            Pi(GROUP, OLD).join()
            folders = ("tests/docker_boot", "tests/deployment")
            status = int(pytest.main([*folders, f"--group={GROUP}", *options]))
        finally:
            device.down(GROUP)
    heading("Longest time without a live frame, as a viewer saw it, and its bound (s)")
    broken = 0
    for case, (seconds, bound) in json.loads(TABLE.read_text()).items():
        too_long = bound is not None and seconds > bound
        broken += too_long
        limit = "" if bound is None else f"{bound:.1f}"
        say(f"{seconds:6.1f} {limit:>6}  {case}{'  TOO LONG' if too_long else ''}")
    return status or int(broken > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
