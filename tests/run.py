"""Runs checks: a heading and a result each, and one summary at the end.

python -m tests.run lint unit sanity+bootstrap

The names are targets of the Makefile. Those that a + joins run three at a time, and the output of
each is shown when it has ended.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from .lab.console import CACHE, ROOT, heading, say

# How many run at a time of those that are joined: that keeps two cores busy, since each often
# waits, for a camera, a health window or a registry.
LANES = 3
# How often they say where they are.
PROGRESS_SECONDS = 30
# Whole outputs are not mixed.
_OUTPUT = threading.Lock()


def _last_words(log: Path) -> str:
    """Return the last line of a log that says anything, without what only fills it."""
    for line in reversed(log.read_text(errors="replace").splitlines()):
        if words := line.strip(" *"):
            return words[:100]
    return ""


def _run(part: str, aside: bool) -> tuple[bool, float]:
    """Run a part; return whether it passed, and how long it took (s).

    Args:
        part: a target of the Makefile.
        aside: others run beside it, so its output is shown when it has ended.
    """
    command = ["make", "--no-print-directory", part]
    began = time.monotonic()
    log = CACHE / "log" / f"{part}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if not aside:
        heading(part)
        passed = subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    else:
        with log.open("wb") as sink:
            child = subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=sink)
            while child.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(PROGRESS_SECONDS)
                    break
                say(f"   {part}: {time.monotonic() - began:.0f} s so far, {_last_words(log)}")
        passed = child.returncode == 0
    with _OUTPUT:
        if aside:
            heading(part)
            say(log.read_text(errors="replace"))
        say(f"== {part}: {'passed' if passed else 'FAILED'}")
    return passed, time.monotonic() - began


def main(arguments: list[str]) -> int:
    """Run every part, also after one has failed; return 0 only if all passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.run")
    parser.add_argument("parts", nargs="+", metavar="part[+part…]")
    results: dict[str, tuple[bool, float]] = {}
    for joined in parser.parse_args(arguments).parts:
        parts = joined.split("+")
        aside = len(parts) > 1
        with ThreadPoolExecutor(LANES) as pool:
            ran = pool.map(_run, parts, [aside] * len(parts))
            results |= dict(zip(parts, ran, strict=True))
    heading("Summary")
    for part, (passed, seconds) in results.items():
        say(f"   {part:<19} {'passed' if passed else 'FAILED':<8} {seconds:5.0f} s")
    failed = [part for part, (passed, _seconds) in results.items() if not passed]
    if failed:
        say(f"   Run one alone with: make {failed[0]}")
    say(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
