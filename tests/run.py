"""Runs checks one after the other: a heading and a result each, and one summary at the end.

python -m tests.run lint unit …     (the names are targets of the Makefile)
"""

from __future__ import annotations

import subprocess
import sys
import time

from .lab.console import ROOT, heading, say


def main(parts: list[str]) -> int:
    """Run every part, also after one has failed; return 0 only if all passed."""
    results: dict[str, tuple[bool, float]] = {}
    for part in parts:
        heading(part)
        began = time.monotonic()
        done = subprocess.run(["make", "--no-print-directory", part], cwd=ROOT, check=False)
        passed = done.returncode == 0
        results[part] = (passed, time.monotonic() - began)
        say(f"== {part}: {'passed' if passed else 'FAILED'}")
    heading("Summary")
    for part, (passed, seconds) in results.items():
        say(f"   {part:<10} {'passed' if passed else 'FAILED':<8} {seconds:5.0f} s")
    failed = [part for part, (passed, _seconds) in results.items() if not passed]
    if failed:
        say(f"   Run one alone with: make {failed[0]}")
    say(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
