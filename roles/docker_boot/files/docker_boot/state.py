"""What is told of an app: one JSON file that anybody may read, and the same for Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import app

EMPTY: dict[str, Any] = {
    "name": "",
    "image": "",
    "pinned": False,
    "running": None,
    "current": None,
    "previous": None,
    "rejected": [],
    "last_check": None,
    "last_switch": None,
    "trying": None,
    "pulled": [],
}


def now() -> str:
    """Return the time as ISO 8601 has it, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def path(name: str) -> Path:
    """Return where the state of an app lies."""
    return app.STATES / f"{name}.json"


def load(name: str) -> dict[str, Any]:
    """Return the state of an app; that of a new one if there is no file, or an unreadable one."""
    try:
        found = json.loads(path(name).read_bytes())
    except (OSError, ValueError):
        found = None
    return {**EMPTY, "name": name, **(found if isinstance(found, dict) else {})}


@contextmanager
def editing(of: app.App) -> Iterator[dict[str, Any]]:
    """Yield the state of an app, and write what the block has made of it."""
    with app.locked(of.name, "state"):
        state = load(of.name)
        before = json.dumps(state)
        yield state
        state["image"], state["pinned"] = of.image, bool(of.pinned)
        if json.dumps(state) != before or not path(of.name).exists():
            app.STATES.mkdir(mode=0o755, parents=True, exist_ok=True)
            app.write(path(of.name), json.dumps(state, indent=2) + "\n", 0o644)
        folder = Path(of.textfile_folder)
        if of.textfile_folder and folder.is_dir():
            # A folder that was made after the unit was started cannot be written to yet.
            with suppress(OSError):
                app.write(textfile(folder, of.name), prometheus(state), 0o644)


def textfile(folder: Path, name: str) -> Path:
    """Return the file in node exporter's folder."""
    return folder / f"rpi_camera_docker_boot_{name}.prom"


def reference(entry: dict[str, Any] | None) -> str:
    """Return what an entry of the state names, nothing if there is none."""
    return str(entry["reference"]) if entry else ""


def _seconds(time: str) -> float:
    return datetime.strptime(time, "%Y-%m-%dT%H:%M:%S%z").timestamp()


def prometheus(state: dict[str, Any]) -> str:
    """Return the state in Prometheus' text format."""
    running, current = reference(state["running"]), reference(state["current"])
    check, switch = state["last_check"], state["last_switch"]
    gauges: list[tuple[str, str, float]] = [
        ("running", "Whether a container runs.", bool(running)),
        (
            "running_current",
            "Whether it is of the last good image.",
            bool(running) and running == current,
        ),
        (
            "rejected",
            "Images that the tag means and that were not well.",
            len(state["rejected"]),
        ),
    ]
    if check:
        well = check["result"] in {"up_to_date", "updated"}
        gauges += [
            ("last_check_timestamp_seconds", "When an update ended.", _seconds(check["time"])),
            ("last_check_success", "Whether it ended well.", well),
        ]
    if switch:
        gauges += [
            ("last_switch_timestamp_seconds", "When a switch ended.", _seconds(switch["time"])),
            ("last_switch_kept", "Whether the new container stayed.", switch["result"] == "kept"),
        ]
        if switch["dark_seconds"] is not None:
            told = "How long nothing was well during it."
            gauges.append(("last_switch_dark_seconds", told, switch["dark_seconds"]))
    lines = []
    for name, told, value in gauges:
        metric = f"docker_boot_{name}"
        lines += [f"# HELP {metric} {told}", f"# TYPE {metric} gauge"]
        lines.append(f'{metric}{{name="{state["name"]}"}} {float(value):.10g}')
    return "\n".join(lines) + "\n"
