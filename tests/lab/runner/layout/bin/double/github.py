"""How the runner's double speaks with the double of GitHub: JSON over HTTP."""

from __future__ import annotations

import base64
import json
import ssl
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from . import folder

# What an unreachable or a broken server raises.
TROUBLE = (OSError, HTTPException)
_SECONDS = 60


class RefusedError(Exception):
    """GitHub's answer is no.

    Attributes:
        status: the answer's status.
        reason: what GitHub says of it.
    """

    def __init__(self, method: str, url: str, status: int, body: bytes, request: str) -> None:
        """Word it as the runner does."""
        name = HTTPStatus(status).name.title().replace("_", "")
        super().__init__(
            f"Http response code: {name} from '{method} {url}' (Request Id: {request})"
        )
        self.status = status
        try:
            self.reason = str(json.loads(body)["message"])
        except (ValueError, KeyError, TypeError):
            self.reason = f"Response status code does not indicate success: {status} ({name})."


def call(method: str, url: str, authorization: str = "", body: Any = None) -> dict[str, Any]:
    """Ask GitHub, and return its answer, which is empty if it has nothing to say.

    Args:
        method: the HTTP method.
        url: the whole address.
        authorization: that header's value.
        body: what to send, as JSON.

    Raises:
        RefusedError: the answer's status is 400 or more.
        OSError: GitHub is not reached, or not believed.
        HTTPException: that was not HTTP.
    """
    parts = urlsplit(url)
    connection = _connection(parts.scheme, parts.netloc)
    headers = {"User-Agent": f"GitHubActionsRunner-linux/{folder.version()}"}
    if authorization:
        headers["Authorization"] = authorization
    sent = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        sent = json.dumps(body).encode()
    try:
        connection.request(method, parts._replace(scheme="", netloc="").geturl(), sent, headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status >= 400:
        request = answer.headers.get("X-GitHub-Request-Id", "")
        raise RefusedError(method, url, answer.status, content, request)
    return dict(json.loads(content)) if content else {}


def _connection(scheme: str, place: str) -> HTTPConnection:
    if scheme != "https":
        return HTTPConnection(place, timeout=_SECONDS)
    believed = ssl.create_default_context()
    # As .NET, and Python before 3.13: a CA's certificate need not have every extension.
    believed.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return HTTPSConnection(place, timeout=_SECONDS, context=believed)


def api(url: str) -> str:
    """Return where the API is of the GitHub that has an owner or a repository.

    Args:
        url: the owner's or repository's address.
    """
    parts = urlsplit(url)
    if parts.hostname in ("github.com", "www.github.com"):
        return "https://api.github.com"
    return f"{parts.scheme}://{parts.netloc}/api/v3"


def token_for(url: str, pat: str, kind: str) -> str:
    """Get a token for an owner's or a repository's runners from somebody's access token.

    Args:
        url: the owner's or repository's address.
        pat: the access token.
        kind: what the other token is for: `registration` or `remove`.
    """
    path = urlsplit(url).path.strip("/")
    scope = f"repos/{path}" if "/" in path else f"orgs/{path}"
    authorization = "basic " + base64.b64encode(f"github:{pat}".encode()).decode()
    at = f"{api(url)}/{scope}/actions/runners/{kind}-token"
    return str(call("POST", at, authorization)["token"])


class Service:
    """The service for runners of one owner or repository.

    Attributes:
        url: its address.
    """

    def __init__(self, url: str, token: str) -> None:
        """Take its address, and what it lets in."""
        self.url = url
        self._authorization = f"Bearer {token}"

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Ask it; as the function `call`."""
        return call(method, f"{self.url}{path}", self._authorization, body)


def administer(url: str, token: str, event: str) -> Service:
    """Return the service that registers and removes runners.

    Args:
        url: the owner's or repository's address.
        token: a registration or a removal token.
        event: what it is for: `register` or `remove`.
    """
    body = {"url": url, "runner_event": event}
    at = f"{api(url)}/actions/runner-registration"
    found = call("POST", at, f"RemoteAuth {token}", body)
    return Service(found["url"], found["token"])


def log_in(url: str, client: str) -> Service:
    """Return the service that a registered runner listens to."""
    return Service(url, call("POST", f"{url}/oauth", body={"client_id": client})["token"])
