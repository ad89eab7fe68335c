"""What Prometheus is told. Everything is read when it asks: frames pay nothing for it."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    StateSetMetricFamily,
)
from prometheus_client.registry import Collector

from camera_server.all_cameras import Cameras
from camera_server.feed import CameraFeed, State

_PREFIX = "camera_server"
MEDIA_TYPE = CONTENT_TYPE_LATEST


class Metrics(Collector):
    """All there is to tell, of the whole server and of each camera."""

    def __init__(self, cameras: Cameras) -> None:
        self._cameras = cameras
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def write(self) -> bytes:
        """Return it as text, in Prometheus's own format (MEDIA_TYPE)."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Say that nothing is known before it is asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read everything."""
        cameras = self._cameras
        yield CounterMetricFamily(
            f"{_PREFIX}_viewers_refused",
            "Viewers turned away since there were max_viewers already",
            cameras.refused_viewers,
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}_max_viewers", "Viewers who may watch at once", cameras.max_viewers
        )
        feeds = list(cameras.feeds.values())
        for name, text, read in _COUNTERS:
            counter = CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=["camera"])
            for feed in feeds:
                counter.add_metric([feed.settings.name], read(feed))
            yield counter
        for name, text, measure in _GAUGES:
            gauge = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=["camera"])
            for feed in feeds:
                value = measure(feed)
                if value is not None:
                    gauge.add_metric([feed.settings.name], value)
            yield gauge
        yield from _of_cameras(feeds)


# Name, meaning, and how a camera's value is read.
_COUNTERS: tuple[tuple[str, str, Callable[[CameraFeed], float]], ...] = (
    ("frames", "Frames that the camera has given", lambda feed: feed.frames),
    (
        "frames_sent",
        "Frames sent, drawn ones too, over all viewers",
        lambda feed: feed.broadcaster.totals.sent,
    ),
    (
        "frames_skipped",
        "Frames that went by while a viewer was busy, over all viewers",
        lambda feed: feed.broadcaster.totals.skipped,
    ),
    (
        "viewers_expelled",
        "Viewers let go since they took nothing any more",
        lambda feed: feed.broadcaster.totals.expelled,
    ),
    ("camera_restarts", "Further starts of the camera's process", lambda feed: feed.restarts),
)
_GAUGES: tuple[tuple[str, str, Callable[[CameraFeed], float | None]], ...] = (
    ("viewers", "Viewers of the stream", lambda feed: feed.broadcaster.viewers),
    (
        "frame_age_seconds",
        "Seconds since the camera's last frame was captured",
        lambda feed: feed.frame_age,
    ),
    ("frame_rate", "Frames a second that the camera gives now", lambda feed: feed.rate),
)


def _of_cameras(feeds: Iterable[CameraFeed]) -> Iterator[Metric]:
    faults = CounterMetricFamily(
        f"{_PREFIX}_camera_faults", "Losses of the camera by their kind", labels=["camera", "fault"]
    )
    states = StateSetMetricFamily(
        f"{_PREFIX}_camera_state", "What the camera is doing", labels=["camera"]
    )
    about = InfoMetricFamily(
        f"{_PREFIX}_camera", "What the camera is, and what makes its JPEGs", labels=["camera"]
    )
    for feed in feeds:
        settings = feed.settings
        for fault, count in feed.faults.items():
            faults.add_metric([settings.name, fault.value], count)
        states.add_metric([settings.name], {state.value: state is feed.state for state in State})
        about.add_metric(
            [settings.name],
            {
                "source": settings.source,
                "encoder": feed.encoder or "",
                "size": f"{settings.width}x{settings.height}",
                "fps": str(settings.fps),
            },
        )
    yield faults
    yield states
    yield about
