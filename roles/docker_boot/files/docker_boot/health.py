"""Whether a container is well."""

from __future__ import annotations

import http.client
import ssl
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .app import App, Health

# For one question to a container.
SECONDS = 10.0
FRAMES = 3
# Questions in a row without a good answer, as Docker has it.
RETRIES = 3


def kind(of: App, container: dict[str, Any]) -> str:
    """Return how a new container is judged: healthcheck, http, mjpeg or running."""
    if of.health.type != "auto":
        return of.health.type
    return "healthcheck" if has_check(container) else "running"


def has_check(container: dict[str, Any]) -> bool:
    """Return whether a container has a HEALTHCHECK, which Docker asks for as long as it runs."""
    return bool((container["Config"].get("Healthcheck") or {}).get("Test", ["NONE"]) != ["NONE"])


def _http(url: str, token: str) -> str:
    """Return why an address gives no answer of success; nothing if it does."""
    connection: http.client.HTTPConnection | None = None
    try:
        address = urlsplit(url)
        if address.scheme == "https":
            trusted = ssl.create_default_context()
            connection = http.client.HTTPSConnection(
                address.netloc, timeout=SECONDS, context=trusted
            )
        else:
            connection = http.client.HTTPConnection(address.netloc, timeout=SECONDS)
        path = (address.path or "/") + (f"?{address.query}" if address.query else "")
        connection.request(
            "GET", path, headers={"Authorization": f"Bearer {token}"} if token else {}
        )
        response = connection.getresponse()
        if response.status < http.client.BAD_REQUEST:
            return ""
        words = response.read(200).decode(errors="replace").strip()
        return f"{url} answers {response.status}: {words}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"{url} gives no answer: {error}"
    finally:
        if connection:
            connection.close()


def _mjpeg(url: str, token: str) -> str:
    """Return why a stream shows no frames; nothing if it does."""
    # The collection's own, which lies beside; it is only loaded where somebody wants it.
    from ansible_collections.rpi_camera.fleet.plugins.module_utils._stream import Limits, watch
    from ansible_collections.rpi_camera.fleet.plugins.module_utils._target import (
        parse_url,
        tls_context,
    )

    try:
        target = parse_url(url, token=token or None)
    except ValueError as error:
        return str(error)
    tls = tls_context(None, validate_certs=True) if target.scheme == "https" else None
    seen = watch(target, Limits(FRAMES, None, SECONDS, SECONDS), tls)
    return "" if seen["streaming"] else f"{url}: {seen['reason']}"


def probe(health: Health, how: str) -> str:
    """Ask the container at its addresses; return why it is not well, nothing if it is.

    Args:
        health: where to ask.
        how: http or mjpeg.

    """
    token = ""
    if health.token_file:
        try:
            token = Path(health.token_file).read_text().strip()
        except (OSError, ValueError) as error:
            return f"{health.token_file} cannot be read: {error}"
    ask = _mjpeg if how == "mjpeg" else _http
    if not health.urls:
        return "there is no address to ask"
    # All of them each time: a camera that nobody asks for does not wake.
    reasons = [ask(url, token) for url in health.urls]
    return next(filter(None, reasons), "")


def judge(of: App, container: dict[str, Any], age: float) -> tuple[bool, str, float]:
    """Return whether a container that runs is well, else why not, and since when it is (s, 1970).

    Args:
        of: the app.
        container: what the engine knows of it.
        age: for how long it has been running (s).

    """
    how = kind(of, container)
    if how in {"http", "mjpeg"}:
        reason = probe(of.health, how)
        return not reason, reason, time.time()
    if how == "running":
        well = age >= of.health.window
        return well, f"runs for {age:.0f} s of {of.health.window:g}", time.time() - age
    told = container["State"].get("Health")
    if not told:
        return False, "the image has no HEALTHCHECK", 0.0
    log = told.get("Log") or []
    words = str(log[-1]["Output"]).strip()[-200:] if log else "not asked yet"
    if told["Status"] == "healthy":
        # Docker keeps the last five answers.
        good = [entry["Start"] for entry in log if entry["ExitCode"] == 0]
        return True, "", datetime.fromisoformat(good[0]).timestamp() if good else time.time()
    return False, f"its HEALTHCHECK says: {words}", 0.0
