"""Draws what a frame costs each server, over the number of viewers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

_TICKS = (10, 20, 50, 100, 200, 500, 1000)
# The least distance between the titles at the lines' ends, in points.
_TITLE_POINTS = 15


@dataclass(frozen=True)
class Line:
    """A server's line: `points` are numbers of viewers and µs."""

    title: str
    colour: str
    points: Sequence[tuple[int, float]]


def plot(lines: Sequence[Line], folder: Path) -> None:
    """Write benchmark.svg and benchmark.png."""
    # A white page of its own can be read wherever it is shown; a fixed salt and no date make the
    # same file of the same figures.
    plt.rcParams.update({"font.size": 11, "svg.hashsalt": "benchmark"})
    figure, axes = plt.subplots(figsize=(7.6, 4.4), layout="constrained", facecolor="white")
    for line in lines:
        viewers, microseconds = zip(*line.points, strict=True)
        axes.plot(viewers, microseconds, "o-", color=line.colour, linewidth=2, markersize=5)
    counts = sorted({viewers for line in lines for viewers, _value in line.points})
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis, ticks in ((axes.xaxis, counts), (axes.yaxis, _TICKS)):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(ScalarFormatter())
    # Room for the titles.
    axes.set_xlim(counts[0] * 0.85, counts[-1] * 5)
    axes.grid(color="#d0d7de", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("viewers of one camera, 640x480 at 30 frames a second")
    axes.set_ylabel("CPU per frame and viewer, µs")
    # The layout is made by drawing; only then is it known where the lines end.
    figure.draw_without_rendering()
    below = float("-inf")
    for line in sorted(lines, key=lambda line: line.points[-1][1]):
        height = axes.transData.transform(line.points[-1])[1] * 72 / figure.dpi
        below = max(height, below + _TITLE_POINTS)
        axes.annotate(
            line.title,
            line.points[-1],
            xytext=(9, below - height),
            textcoords="offset points",
            color=line.colour,
            va="center",
        )
    figure.savefig(folder / "benchmark.svg", metadata={"Date": None})
    figure.savefig(folder / "benchmark.png", dpi=150)
    plt.close(figure)
