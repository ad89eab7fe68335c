# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the runner's archives on the controller, so that a fleet downloads each one once.

Ansible works on several hosts at a time, each in a process of its own: the first one downloads, the
others wait. Whatever the cache hands out has the checksum that was asked for.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from ansible.module_utils.urls import open_url
from ansible_collections.rpi_camera.fleet.plugins.plugin_utils._github import Release

AGENT = "rpi_camera.fleet github_runner"

# GitHub registers no runner below this one.
MINIMUM = (2, 329, 0)

CHUNK = 1024 * 1024
# In seconds: for how long no byte may come, and the pauses before the second and the third try.
STALL = 30
PAUSES = (1, 3)
# In bytes. An archive is about 200 MB; a server that does not end must not fill the disk.
MAX_ARCHIVE = 2 * 1024**3

VERSION = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})")
SHA256 = re.compile(r"[0-9a-f]{64}")
FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.tar\.gz")
SCHEMES = ("https", "http", "file")


class ArchiveError(Exception):
    """There is no archive to be had; the text says why and what to do, in a sentence."""


class _CutError(Exception):
    """A download has failed, and another try may not; the text is the end of a sentence."""


def version_of(text: str) -> tuple[int, int, int]:
    """Return a version such as "2.336.0" as numbers. Raise ValueError for anything else."""
    found = VERSION.fullmatch(text)
    if found is None:
        raise ValueError("a runner's version is three numbers, such as 2.336.0")
    return int(found[1]), int(found[2]), int(found[3])


def fetch(
    release: Release,
    cache: Path,
    *,
    source: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Return a release's archive, which is downloaded if the cache does not hold it.

    Args:
        release: what to download; its checksum has to be there.
        cache: the folder for archives; it is made if it is missing, for this user alone.
        source: the URL of a mirror, http, https or file, to be used instead of the release's. It
            holds {source}/v{version}/{filename}.
        sleep: waits for a number of seconds between two tries.

    Raises:
        ArchiveError: it cannot be downloaded or kept, or it has another checksum.

    """
    sha256 = _checked(release.sha256, f"runner {release.version}")
    if not FILENAME.fullmatch(release.filename):
        raise ArchiveError("The name of the runner's archive is no file name that ends in .tar.gz.")
    url = release.url
    if source is not None:
        url = f"{_mirror(source)}/v{release.version}/{release.filename}"
    # A broken release that is published anew is another file.
    path = cache / f"{release.filename.removesuffix('.tar.gz')}-{sha256}.tar.gz"
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Renaming makes it whole at once: no lock is needed to read it.
        if _holds(path, sha256):
            return path
        with _locked(path.with_name(f"{path.name}.lock")):
            if _holds(path, sha256):
                return path
            path.unlink(missing_ok=True)
            _download(url, path, sha256, sleep)
    except OSError as error:
        raise ArchiveError(
            f"The runner's archive cannot be kept in {cache}: {error.strerror or error}."
        ) from error
    return path


def local(path: Path, sha256: str) -> Path:
    """Return the path of an archive that was brought here by hand, after a look at its checksum.

    Raises:
        ArchiveError: it is not there, cannot be read, or has another checksum.

    """
    wanted = _checked(sha256, str(path))
    if not path.is_file():
        raise ArchiveError(f"There is no file {path} on the controller.")
    try:
        found = _digest(path)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror or error}.") from error
    if found != wanted:
        raise ArchiveError(_why_not_that(str(path), found, wanted))
    return path


def _checked(sha256: str, what: str) -> str:
    """Return a checksum as hashlib writes it; *what*: whose it is."""
    if not sha256:
        raise ArchiveError(
            f"There is no SHA-256 for {what}: give the one that its release notes name."
        )
    digest = sha256.strip().lower()
    if not SHA256.fullmatch(digest):
        raise ArchiveError(f"The checksum for {what} is no SHA-256 of 64 hexadecimal digits.")
    return digest


def _why_not_that(what: str, found: str, wanted: str) -> str:
    return f"{what} has the SHA-256 {found}, not {wanted}: it is damaged, or another file."


def _mirror(source: str) -> str:
    """Return a mirror's URL without a slash at its end."""
    try:
        parts = urlsplit(source)
    except ValueError:
        raise ArchiveError("The mirror's URL is none.") from None
    if parts.scheme not in SCHEMES or re.search(r"[?#\s]", source):
        raise ArchiveError(
            "The mirror's URL begins with https://, http:// or file://, and holds no query, no"
            " fragment and no blanks: /v{version}/{file name} is added to it."
        )
    return source.rstrip("/")


def _shown(url: str) -> str:
    """Return a URL for a person, without what may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _digest(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _holds(path: Path, sha256: str) -> bool:
    """Return whether a file is there and has a checksum."""
    try:
        return _digest(path) == sha256
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Be the only process with this lock. It ends with the process, however that ends."""
    # The file stays: another process may be waiting for this very one.
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _download(url: str, path: Path, sha256: str, sleep: Callable[[float], None]) -> None:
    """Put what a URL holds into a file, if it has the checksum. The lock must be held."""
    # Under the lock its name can be the same each time: a process that was killed leaves one file.
    partial = path.with_name(f"{path.name}.part")
    try:
        for pause in (*PAUSES, None):
            try:
                found = _save(url, partial)
            except _CutError as error:
                if pause is None:
                    tries = len(PAUSES) + 1
                    raise ArchiveError(
                        f"{_shown(url)} could not be downloaded in {tries} tries: {error}."
                    ) from error
                sleep(pause)
            else:
                if found != sha256:
                    raise ArchiveError(_why_not_that(_shown(url), found, sha256))
                partial.replace(path)
                return
    finally:
        partial.unlink(missing_ok=True)


def _save(url: str, path: Path) -> str:
    """Download into a file once; return the SHA-256 of what has come."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file, _opened(url) as response:
        digest = _copy(url, response, file)
        file.flush()
        os.fsync(file.fileno())
    return digest


def _opened(url: str) -> Any:
    """Ask for a URL. Raise ArchiveError if it is refused, _CutError if there was no answer."""
    try:
        # What comes is what the checksum is of: nothing is unpacked on the way. Redirects lead to
        # other hosts, to which a netrc's password would go along.
        return open_url(
            url,
            http_agent=AGENT,
            timeout=STALL,
            decompress=False,
            follow_redirects="safe",
            use_netrc=False,
        )
    except HTTPError as error:
        with error:
            if error.code >= 500 or error.code == 429:
                raise _CutError(f"the server answers {error.code}") from error
            raise ArchiveError(
                f"{_shown(url)} cannot be downloaded: the server answers {error.code}."
            ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None)
        # Neither a file nor a certificate gets better within seconds.
        if url.startswith("file:") or isinstance(reason, ssl.SSLCertVerificationError):
            raise ArchiveError(f"{_shown(url)} cannot be read: {_why_cut(error)}.") from error
        raise _CutError(_why_cut(error)) from error
    except ValueError as error:
        # urllib's, of a URL or a redirect that is none.
        raise ArchiveError(f"{_shown(url)} leads nowhere: {error}.") from error


def _copy(url: str, response: Any, file: BinaryIO) -> str:
    """Write a response into a file as it comes; return its SHA-256."""
    digest = hashlib.sha256()
    size = 0
    while piece := _read(response):
        size += len(piece)
        if size > MAX_ARCHIVE:
            raise ArchiveError(f"{_shown(url)} is larger than any archive of a runner.")
        digest.update(piece)
        file.write(piece)
    length = str(response.headers.get("Content-Length", ""))
    # Reading piece by piece takes a connection's early end for the end of the file.
    if length.isdigit() and size != int(length):
        raise _CutError(f"the connection ends after {size} of {length} bytes")
    return digest.hexdigest()


def _read(response: Any) -> bytes:
    try:
        piece: bytes = response.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(_why_cut(error)) from error
    return piece


def _why_cut(error: Exception) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return f"nothing has come for {STALL} s"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({reason.verify_message}); SSL_CERT_FILE can name the"
            " file of the authority that signed it"
        )
    if isinstance(reason, http.client.IncompleteRead):
        return "the connection ends too early"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(reason).__name__
