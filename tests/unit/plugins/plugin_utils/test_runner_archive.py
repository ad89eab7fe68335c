# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller's cache hands out, from a real server that may cut, lie or be silent."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from ansible_collections.rpi_camera.fleet.plugins.plugin_utils import _runner_archive
from ansible_collections.rpi_camera.fleet.plugins.plugin_utils._github import Release
from ansible_collections.rpi_camera.fleet.plugins.plugin_utils._runner_archive import (
    MINIMUM,
    ArchiveError,
    fetch,
    local,
    version_of,
)

# A little more than is read at a time.
CONTENT = bytes(range(256)) * 5000
SHA = hashlib.sha256(CONTENT).hexdigest()
NAME = "actions-runner-linux-arm64-2.336.0.tar.gz"


@dataclass
class Server:
    """Hands out CONTENT in its own way, and notes what it was asked for."""

    url: str
    asked: list[str] = field(default_factory=list)
    # For each request, the last one for all further ones: bytes that are sent of the content; or a
    # status.
    plan: list[int] = field(default_factory=lambda: [len(CONTENT)])
    measured: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    # Called when half of the content is sent.
    halfway: Callable[[], object] = lambda: None

    def release(self, sha256: str = SHA) -> Release:
        """Return the release that is here."""
        return Release("2.336.0", f"{self.url}/download/{NAME}", NAME, sha256)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server in a thread."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            step = found.plan.pop(0) if len(found.plan) > 1 else found.plan[0]
            if 300 <= step < 600:
                self.send_response(step)
                self.send_header("Location", f"{found.url}/moved")
                self.end_headers()
                return
            self.send_response(200)
            for name, value in found.headers.items():
                self.send_header(name, value)
            if found.measured:
                self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            half = len(CONTENT) // 2
            # A client that has given up is no failure.
            with contextlib.suppress(OSError):
                self.wfile.write(CONTENT[: min(half, step)])
                found.halfway()
                self.wfile.write(CONTENT[half:step])

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        found = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        yield found
        http.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that is not there yet."""
    return tmp_path / "deep" / "cache"


def kept(cache: Path) -> list[str]:
    """Return the names of what the cache holds, its locks aside."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def test_an_archive_is_downloaded_once(server: Server, cache: Path) -> None:
    path = fetch(server.release(), cache)
    assert path.read_bytes() == CONTENT
    assert path == cache / f"actions-runner-linux-arm64-2.336.0-{SHA}.tar.gz"
    assert fetch(server.release(SHA.upper()), cache) == path
    assert server.asked == [f"/download/{NAME}"]
    assert cache.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o077 == 0
    assert kept(cache) == [path.name]


def test_a_broken_file_is_downloaded_again(server: Server, cache: Path) -> None:
    path = fetch(server.release(), cache)
    path.write_bytes(CONTENT[:-1])
    assert fetch(server.release(), cache).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_the_rest_of_a_killed_download_is_overwritten(server: Server, cache: Path) -> None:
    path = fetch(server.release(), cache)
    path.unlink()
    path.with_name(f"{path.name}.part").write_bytes(CONTENT + b"old")
    assert fetch(server.release(), cache).read_bytes() == CONTENT
    assert kept(cache) == [path.name]


def test_another_checksum_is_an_error_and_another_file(server: Server, cache: Path) -> None:
    path = fetch(server.release(), cache)
    with pytest.raises(ArchiveError) as caught:
        fetch(server.release("0" * 64), cache)
    for part in (SHA, "0" * 64, server.release().url):
        assert part in str(caught.value)
    assert kept(cache) == [path.name]
    # Nothing is gained by trying again.
    assert len(server.asked) == 2


@pytest.mark.parametrize("sha256", ["", "abc", "z" * 64])
def test_nothing_is_downloaded_without_a_checksum(server: Server, cache: Path, sha256: str) -> None:
    with pytest.raises(ArchiveError, match="SHA-256"):
        fetch(server.release(sha256), cache)
    assert server.asked == []


@pytest.mark.parametrize("plan", [[1000, 700_000, 2_000_000], [503, 429, 2_000_000]])
def test_a_cut_download_begins_again(server: Server, cache: Path, plan: list[int]) -> None:
    server.plan = plan
    slept: list[float] = []
    assert fetch(server.release(), cache, sleep=slept.append).read_bytes() == CONTENT
    assert slept == [1, 3]


def test_three_cut_downloads_are_enough(server: Server, cache: Path) -> None:
    server.plan = [1000]
    slept: list[float] = []
    with pytest.raises(ArchiveError, match=rf"3 tries: .* after 1000 of {len(CONTENT)} bytes"):
        fetch(server.release(), cache, sleep=slept.append)
    assert slept == [1, 3]
    assert kept(cache) == []


def test_silence_ends_a_download(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_runner_archive, "STALL", 0.2)
    over = threading.Event()
    server.halfway = lambda: over.wait(10)
    with pytest.raises(ArchiveError, match=r"nothing has come for 0\.2 s"):
        fetch(server.release(), cache, sleep=lambda _seconds: None)
    over.set()
    assert len(server.asked) == 3


def test_a_missing_archive_is_not_tried_again(server: Server, cache: Path) -> None:
    server.plan = [404]
    with pytest.raises(ArchiveError, match="the server answers 404"):
        fetch(server.release(), cache)
    assert len(server.asked) == 1
    assert kept(cache) == []


def test_redirects_are_followed(server: Server, cache: Path) -> None:
    server.plan = [302, len(CONTENT)]
    assert fetch(server.release(), cache).read_bytes() == CONTENT
    assert server.asked == [f"/download/{NAME}", "/moved"]


def test_neither_a_length_nor_an_encoding_is_needed(server: Server, cache: Path) -> None:
    # Some servers call an archive's own compression an encoding.
    server.measured = False
    server.headers = {"Content-Encoding": "gzip"}
    assert fetch(server.release(), cache).read_bytes() == CONTENT


def test_nobody_answers(cache: Path) -> None:
    release = Release("2.336.0", f"http://127.0.0.1:1/{NAME}", NAME, SHA)
    with pytest.raises(ArchiveError, match="3 tries: Connection refused"):
        fetch(release, cache, sleep=lambda _seconds: None)


def test_a_mirror_is_asked_instead(server: Server, cache: Path) -> None:
    release = Release("2.336.0", "https://github.invalid/x", NAME, SHA)
    fetch(release, cache, source=f"{server.url}/mirror/")
    assert server.asked == [f"/mirror/v2.336.0/{NAME}"]


def test_a_folder_can_be_the_mirror(tmp_path: Path, cache: Path) -> None:
    release = Release("2.336.0", "https://github.invalid/x", NAME, SHA)
    source = (tmp_path / "mirror").as_uri()
    with pytest.raises(ArchiveError, match=rf"{source}/v2.336.0/{NAME} cannot be read: No such"):
        fetch(release, cache, source=source)
    folder = tmp_path / "mirror" / "v2.336.0"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(CONTENT)
    assert fetch(release, cache, source=source).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "source",
    ["ftp://host/x", "/srv/mirror", "https://host/x?key=hunter2", "https://host/a b", "https://[x"],
)
def test_other_mirrors_are_refused(server: Server, cache: Path, source: str) -> None:
    with pytest.raises(ArchiveError, match="mirror") as caught:
        fetch(server.release(), cache, source=source)
    assert "hunter2" not in str(caught.value)


def test_a_mirrors_password_is_not_shown(server: Server, cache: Path) -> None:
    server.plan = [404]
    source = server.url.replace("://", "://me:hunter2@")
    with pytest.raises(ArchiveError, match="answers 404") as caught:
        fetch(server.release(), cache, source=source)
    assert "hunter2" not in str(caught.value)
    assert f"{server.url}/v2.336.0/{NAME}" in str(caught.value)


def test_a_name_leads_nowhere_else(server: Server, cache: Path) -> None:
    release = Release("2.336.0", server.url, "../x.tar.gz", SHA)
    with pytest.raises(ArchiveError, match="no file name"):
        fetch(release, cache)


def test_an_endless_download_is_left(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_runner_archive, "MAX_ARCHIVE", 1000)
    with pytest.raises(ArchiveError, match="larger than any"):
        fetch(server.release(), cache)
    assert kept(cache) == []


def test_a_cache_that_cannot_be_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ArchiveError, match=rf"kept in {tmp_path}/cache: File exists"):
        fetch(server.release(), tmp_path / "cache")


def fetch_with_others(release: Release, cache: Path, together: Barrier) -> None:
    """Fetch at the same moment as other processes; run in one of its own."""
    together.wait(60)
    if fetch(release, cache).read_bytes() != CONTENT:
        raise AssertionError("this is another file")


def test_processes_download_once(server: Server, cache: Path) -> None:
    # A fork of a process with threads may lock up.
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(5)
    server.halfway = lambda: threading.Event().wait(0.5)
    arguments = (server.release(), cache, together)
    workers = [context.Process(target=fetch_with_others, args=arguments) for _worker in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 5
    assert len(server.asked) == 1


def test_a_local_archive_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with pytest.raises(ArchiveError, match="There is no file"):
        local(path, SHA)
    path.write_bytes(CONTENT)
    assert local(path, SHA.upper()) == path
    with pytest.raises(ArchiveError, match=f"has the SHA-256 {SHA}, not {'0' * 64}"):
        local(path, "0" * 64)
    with pytest.raises(ArchiveError, match="give the one that its release notes name"):
        local(path, "")


def test_versions_are_compared_as_numbers() -> None:
    assert version_of("2.336.0") == (2, 336, 0)
    assert version_of("2.1000.0") > MINIMUM > version_of("2.328.9")


@pytest.mark.parametrize(
    "text", ["", "v2.336.0", "2.336", "2.336.0.1", "2.336.0\n", "2.٣.0", "2.03.1"]
)
def test_other_versions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="three numbers"):
        version_of(text)
