"""All cameras of a server, and how many may watch them."""

import asyncio
from collections.abc import Iterable

from camera_server.feed import CameraFeed


class Cameras:
    """All cameras by name, in the order of the settings."""

    def __init__(self, feeds: Iterable[CameraFeed], max_viewers: int) -> None:
        self.max_viewers = max_viewers
        self.refused_viewers = 0
        self.feeds = {feed.settings.name: feed for feed in feeds}
        self.first = next(iter(self.feeds.values()))
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def full(self) -> bool:
        """Whether as many watch as may, all cameras together."""
        viewers = sum(feed.broadcaster.viewers for feed in self.feeds.values())
        return viewers >= self.max_viewers

    @property
    def stuck(self) -> list[CameraFeed]:
        """The cameras for which this program does not do its work."""
        return [feed for feed in self.feeds.values() if feed.stuck]

    def start(self) -> None:
        """Begin to open cameras for those who want them."""
        self._tasks = [asyncio.create_task(feed.run()) for feed in self.feeds.values()]

    def end_streams(self) -> None:
        """Send every viewer home; the cameras are not wanted any more."""
        for feed in self.feeds.values():
            feed.broadcaster.close()

    async def stop(self) -> None:
        """End all streams and kill all camera processes."""
        self.end_streams()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
