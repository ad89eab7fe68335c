"""Measures the camera server beside others, and says whether the bounds hold that it is held to.

python -m tests.benchmark.server [--rounds 3] [--counts 1 10 …] [--seconds 6] [--designs …] [--plot]

One source for all: JPEGs of 640x480 and 42 KB, 30 a second, each stamped when it is captured. All
is on one machine, so that the viewers' own work takes CPU from the server, alike for each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from tests.lab.console import ROOT, LabError, heading, say

from .designs import BLOG, LIMIT_OF_C, OURS, USTREAMER, Design, Server, busy_seconds, designs
from .tools import BUILD, Seen, build, draw_pictures, install_ustreamer, load, raise_descriptors

COUNTS = (1, 10, 50, 100, 200, 400)
DESIGNS = (LIMIT_OF_C, USTREAMER, BLOG, OURS)
RESULTS = BUILD / "server.json"

WARM_UP_SECONDS = 2.0
# A slow reader's buffers fill for as long as they are then measured.
SLOW_RATES = (400_000, 150_000)
SLOW_VIEWERS = 4
SLOW_SECONDS = 12.0
SHUTDOWN_VIEWERS = 200
SHUTDOWN_PATIENCE = 15.0
IDLE_SECONDS = 20.0
CLOSE_PATIENCE = 15.0
# Other programs may take so much before they are mentioned.
QUIET_CORES = 0.2


@dataclass(frozen=True)
class Sample:
    """One measurement: a design with so many viewers.

    Memory is that of its main process, `others` the cores that other programs took.
    """

    design: str
    round: int
    cpu_us: float
    memory_kb: int
    others: float
    seen: Seen


@dataclass
class Results:
    """All that was measured; times in s, ages in ms.

    `ages` by design and bytes a second; a shutdown that took too long is None; `idle` is the part
    of a core that our server takes when nobody watches.
    """

    samples: list[Sample] = field(default_factory=list)
    ages: dict[str, dict[int, float]] = field(default_factory=dict)
    shutdowns: dict[str, float | None] = field(default_factory=dict)
    idle: float | None = None

    def values(self, name: str, viewers: int, of: Callable[[Sample], float]) -> list[float]:
        """Return a figure of each round; none if it was not measured."""
        return [
            of(sample)
            for sample in self.samples
            if sample.design == name and sample.seen.viewers == viewers
        ]

    def median(self, name: str, viewers: int, of: Callable[[Sample], float]) -> float | None:
        """Return the median of all rounds, None if it was not measured."""
        values = self.values(name, viewers, of)
        return median(values) if values else None

    def counts(self, name: str) -> list[int]:
        """Return the numbers of viewers that a design was measured with."""
        return sorted({sample.seen.viewers for sample in self.samples if sample.design == name})


def cpu(sample: Sample) -> float:
    """CPU time (µs) per frame that a viewer got."""
    return sample.cpu_us


def memory(sample: Sample) -> float:
    """Resident memory (kB)."""
    return sample.memory_kb


def slowest(sample: Sample) -> float:
    """Frames a second of the viewer that got the fewest."""
    return sample.seen.fps_min


def missed(sample: Sample) -> float:
    """Frames that a viewer did not get, summed over all viewers."""
    return sample.seen.missed


def p50(sample: Sample) -> float:
    """Half of the frames are there after so many ms."""
    return sample.seen.latency_ms["p50"]


def p99(sample: Sample) -> float:
    """99 of 100 frames are there after so many ms."""
    return sample.seen.latency_ms["p99"]


FIGURES: dict[str, tuple[Callable[[Sample], float], int]] = {
    "CPU, µs per frame and viewer": (cpu, 1),
    "latency p50, ms": (p50, 2),
    "latency p99, ms": (p99, 2),
    "frames a second, slowest viewer": (slowest, 1),
    "frames missed, all viewers": (missed, 0),
    "memory, kB": (memory, 0),
}


@dataclass(frozen=True)
class Bound:
    """What a figure is held to: at most `wanted`, or at least. None: it was not measured."""

    what: str
    value: float | None
    wanted: float
    at_least: bool = False

    @property
    def holds(self) -> bool | None:
        """Whether the bound holds; None if it was not measured."""
        if self.value is None:
            return None
        return self.value >= self.wanted if self.at_least else self.value <= self.wanted

    def __str__(self) -> str:
        value = "-" if self.value is None else f"{self.value:.2f}"
        verdict = {None: "not measured", True: "holds", False: "DOES NOT HOLD"}[self.holds]
        sign = "≥" if self.at_least else "≤"
        return f"   {self.what:<52} {value:>8}  {sign} {self.wanted:<6g} {verdict}"


def ratio(value: float | None, other: float | None) -> float | None:
    """Return their quotient, None unless both were measured."""
    return None if value is None or not other else value / other


def bounds(results: Results) -> list[Bound]:
    """Return all that the server is held to, with what was measured."""
    return [*_cpu_bounds(results), *_stream_bounds(results), *_other_bounds(results)]


def _cpu_bounds(results: Results) -> Iterable[Bound]:
    wanted: dict[str, dict[int, float]] = {
        USTREAMER: {1: 1.25, 10: 0.7, 50: 0.35, 100: 0.3, 200: 0.3},
        LIMIT_OF_C: {50: 1.6, 100: 1.3, 200: 1.3, 400: 1.3},
    }
    for other, by_count in wanted.items():
        for viewers, most in by_count.items():
            value = ratio(results.median(OURS, viewers, cpu), results.median(other, viewers, cpu))
            yield Bound(f"CPU / {other}'s, viewers: {viewers}", value, most)


def _stream_bounds(results: Results) -> Iterable[Bound]:
    """Yield those of what viewers see. It is the worst round that counts for "every" and "none"."""
    for viewers, least in {200: 29.5, 400: 29.0}.items():
        rates = results.values(OURS, viewers, slowest)
        what = f"frames a second, slowest viewer of {viewers}"
        yield Bound(what, min(rates, default=None), least, at_least=True)
    lost = results.values(OURS, 200, missed)
    yield Bound("frames missed, viewers: 200", max(lost, default=None), 0)
    for viewers in COUNTS:
        for title, figure, most in (("p50", p50, 0.5), ("p99", p99, 1.0)):
            value = ratio(
                results.median(OURS, viewers, figure), results.median(USTREAMER, viewers, figure)
            )
            yield Bound(f"latency {title} / {USTREAMER}'s, viewers: {viewers}", value, most)


def _other_bounds(results: Results) -> Iterable[Bound]:
    base, each = memory_of(results, OURS)
    yield Bound("memory with the fewest viewers, MB", ratio(base, 1000), 75)
    yield Bound("memory for each further viewer, kB", each, 4)
    ours, theirs = (results.ages.get(name, {}) for name in (OURS, USTREAMER))
    value = ratio(ours.get(400_000), theirs.get(400_000))
    yield Bound(f"age of a 400 kB/s reader's picture / {USTREAMER}'s", value, 0.15)
    yield Bound("age of a 150 kB/s reader's picture, s", ratio(ours.get(150_000), 1000), 1.2)
    if OURS in results.shutdowns:
        took = results.shutdowns[OURS]
        yield Bound("end with 200 streams, s", float("inf") if took is None else took, 1)
    idle = None if results.idle is None else 100 * results.idle
    yield Bound("idle, % of a core", idle, 0.5)


def memory_of(results: Results, name: str) -> tuple[float | None, float | None]:
    """Return a design's memory (kB) with the fewest viewers, and what each further one takes."""
    counts = results.counts(name)
    if not counts:
        return None, None
    fewest, most = (results.median(name, count, memory) or 0.0 for count in (counts[0], counts[-1]))
    return fewest, ratio(most - fewest, counts[-1] - counts[0])


def measure(name: str, design: Design, turn: int, viewers: int, seconds: float) -> Sample:
    """Start a server, have it watched, and return what that took."""
    with Server(name, design) as server:
        notes: list[tuple[float, float, int]] = []

        def note(_moment: str) -> None:
            notes.append((server.cpu_seconds(), busy_seconds(), server.memory_kb()))

        seen = load(server.port, design.path, viewers, seconds, WARM_UP_SECONDS, at=note)
    (used_before, busy_before, _memory), (used_after, busy_after, kilobytes) = notes
    used = used_after - used_before
    others = max(0, busy_after - busy_before - used - seen.cpu_seconds) / seen.seconds
    return Sample(name, turn, 1e6 * used / max(1, seen.frames), kilobytes, others, seen)


def measure_age(name: str, design: Design, rate: int) -> float:
    """Return how old (ms) the picture is that a slow reader sees; the median."""
    with Server(name, design) as server:
        seen = load(server.port, design.path, SLOW_VIEWERS, SLOW_SECONDS, SLOW_SECONDS, rate=rate)
    return seen.latency_ms["p50"]


def measure_shutdown(name: str, design: Design) -> float | None:
    """Return how long (s) a server takes to end under open streams, None if it is too long."""
    took: float | None = None
    with Server(name, design) as server:

        def stop(moment: str) -> None:
            nonlocal took
            if moment == "begin":
                took = server.stop(SHUTDOWN_PATIENCE)

        viewers = min(SHUTDOWN_VIEWERS, design.most)
        try:
            load(server.port, design.path, viewers, 1, WARM_UP_SECONDS, at=stop)
        except LabError:
            # Every stream has ended, as it should.
            if server.running:
                raise
    return took


def measure_idle(name: str, design: Design) -> float:
    """Return the part of a core that a server takes after its camera has closed."""
    with Server(name, design) as server:
        load(server.port, design.path, 1, 1, 0)
        deadline = time.monotonic() + CLOSE_PATIENCE
        while server.children():
            if time.monotonic() > deadline:
                raise LabError(f"the camera is still open {CLOSE_PATIENCE:.0f} s after its viewer")
            time.sleep(0.1)
        began = server.cpu_seconds()
        time.sleep(IDLE_SECONDS)
        return (server.cpu_seconds() - began) / IDLE_SECONDS


def run(
    chosen: Mapping[str, Design], rounds: int, counts: Sequence[int], seconds: float
) -> Results:
    """Measure everything, and tell how it goes."""
    results = Results()
    turns = [
        (turn, viewers, name)
        for turn in range(1, rounds + 1)
        for viewers in counts
        # Shuffled, so that what else this machine does falls on each alike.
        for name in random.sample(list(chosen), len(chosen))
        if viewers <= chosen[name].most
    ]
    minutes = len(turns) * (seconds + WARM_UP_SECONDS + 1) / 60
    heading(f"{len(turns)} measurements in {rounds} rounds, about {minutes:.0f} minutes")
    for turn, viewers, name in turns:
        sample = measure(name, chosen[name], turn, viewers, seconds)
        results.samples.append(sample)
        say(
            f"   round {turn}, {viewers:3d} viewers, {name:<13} {sample.cpu_us:6.1f} µs a frame, "
            f"p50 {p50(sample):.2f} ms, {slowest(sample):.1f} frames a second"
        )
    heading("Slow readers: how old their picture is")
    for name in (name for name in (USTREAMER, OURS) if name in chosen):
        for rate in SLOW_RATES:
            age = measure_age(name, chosen[name], rate)
            results.ages.setdefault(name, {})[rate] = age
            say(f"   {name:<13} {rate // 1000} kB/s: {age / 1000:.2f} s")
    heading(f"The end, with {SHUTDOWN_VIEWERS} viewers")
    for name, design in chosen.items():
        took = results.shutdowns[name] = measure_shutdown(name, design)
        say(f"   {name:<13} {f'> {SHUTDOWN_PATIENCE:.0f}' if took is None else f'{took:.2f}'} s")
    if OURS in chosen:
        heading("Nobody watches, the camera is closed")
        results.idle = measure_idle(OURS, chosen[OURS])
        say(f"   {OURS:<13} {100 * results.idle:.2f} % of a core")
    return results


def tables(results: Results, chosen: Mapping[str, Design]) -> str:
    """Return the medians as text, a line a design."""
    counts = sorted({sample.seen.viewers for sample in results.samples})
    lines = []
    for title, (figure, digits) in FIGURES.items():
        lines += ["", f"   {title:<34}" + "".join(f"{count:>9}" for count in counts)]
        for name in chosen:
            cells = [results.median(name, count, figure) for count in counts]
            texts = ["-" if cell is None else f"{cell:.{digits}f}" for cell in cells]
            lines.append(f"   {name:<34}" + "".join(f"{text:>9}" for text in texts))
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="of viewers")
    parser.add_argument("--seconds", type=float, default=6, help="of each measurement")
    parser.add_argument("--designs", nargs="+", choices=DESIGNS, default=DESIGNS)
    parser.add_argument("--plot", action="store_true", help="put the plot into docs/, too")
    return parser


def _prepare(names: Sequence[str]) -> dict[str, Design]:
    heading("Prepare")
    raise_descriptors()
    build()
    draw_pictures()
    if USTREAMER in names:
        say(f"   ustreamer {install_ustreamer()}")
    return {name: design for name, design in designs().items() if name in names}


def _write(results: Results, chosen: Mapping[str, Design], folders: Iterable[Path]) -> None:
    # Late: it takes a second that only this needs.
    from .plot import Line, plot

    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    RESULTS.write_text(json.dumps({"machine": machine, **asdict(results)}, indent=1) + "\n")
    lines = [
        Line(
            design.title,
            design.colour,
            [(count, results.median(name, count, cpu) or 0.0) for count in results.counts(name)],
        )
        for name, design in chosen.items()
    ]
    for folder in folders:
        plot(lines, folder)
    say(f"\n   The figures are in {RESULTS.relative_to(ROOT)}, the plot beside them.")


def main(arguments: list[str]) -> int:
    """Measure, print, and return 0 if every bound that was measured holds."""
    options = _parser().parse_args(arguments)
    # So that servers are ended, too, where this is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        chosen = _prepare(options.designs)
        results = run(chosen, options.rounds, sorted(options.counts), options.seconds)
        heading(f"Medians of {options.rounds} rounds, by viewers")
        say(tables(results, chosen))
        _write(results, chosen, [BUILD, *([ROOT / "docs"] if options.plot else [])])
    except LabError as error:
        say(f"\nERROR: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nInterrupted; nothing is left running")
        return 130
    heading("Bounds: ours beside what is wanted")
    verdicts = bounds(results)
    for bound in verdicts:
        say(str(bound))
    broken = sum(bound.holds is False for bound in verdicts)
    held = sum(bound.holds is True for bound in verdicts)
    say(f"\n{held} hold, {broken} do not, {len(verdicts) - held - broken} were not measured")
    others = median(sample.others for sample in results.samples)
    if others > QUIET_CORES:
        say(
            f"Other programs took {others:.1f} of {os.cpu_count()} cores meanwhile: where nothing "
            "else runs, the figures are surer, and fewer frames are missed."
        )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
