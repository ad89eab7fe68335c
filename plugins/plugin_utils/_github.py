# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks GitHub's REST interface about self-hosted runners, from the controller.

No text that is made here holds a token, a key or a query. What GitHub answers is checked before it
is believed: an older GitHub Enterprise Server knows less than today's description of the interface.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urljoin, urlsplit

from ansible.module_utils.urls import open_url

# ansible-core itself requires it; ansible-test imports this without.
try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
except ImportError:
    pass

AGENT = "rpi_camera.fleet github_runner"
API_VERSION = "2022-11-28"

# Seconds: for how long no byte may come, the pauses before the second and the third try, and the
# longest pause that is waited out when GitHub asks for one.
TIMEOUT = 20
PAUSES = (1, 3)
LONGEST_PAUSE = 30
# An App's token is good for an hour; it is fetched anew some time before that.
APP_TOKEN_SECONDS = 3000

# No answer is longer than this, in bytes; no list has more pages; no resource moves more often.
MAX_ANSWER = 16 * 1024 * 1024
MAX_PAGES = 200
MAX_REDIRECTS = 3

REDIRECTS = frozenset({301, 302, 303, 307, 308})
ALLOWED_URL = "write https://HOST/OWNER/REPOSITORY or https://HOST/ORGANIZATION"
HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?")
OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
REPOSITORY = re.compile(r"[A-Za-z0-9._-]+")
# First segments of github.com's paths that name no owner.
NO_OWNERS = frozenset({"enterprises", "orgs", "organizations", "settings", "users"})

VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
FILENAME = re.compile(r"actions-runner-linux-(?:arm64|x64)-([0-9]+\.[0-9]+\.[0-9]+)\.tar\.gz")
SHA256 = re.compile(r"[0-9a-f]{64}")
NEXT_PAGE = re.compile(r'<([^<>]*)>[^<]*;\s*rel="?next"?', re.IGNORECASE)
# What an Authorization header takes without a second meaning (RFC 6750, 2.1).
TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


class GitHubError(Exception):
    """GitHub has refused, or not answered; the text says what and what to do, in a sentence.

    `status`: the HTTP status, if there was an answer.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class _LostError(Exception):
    """The connection has failed; the text is the reason, as the end of a sentence.

    `final`: another try would fail as well.
    """

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


@dataclass(frozen=True)
class Scope:
    """The repository or organization that runners belong to.

    `host`: in lower case, with a port that is not 443. `repository`: None for an organization.
    """

    host: str
    owner: str
    repository: str | None = None

    @classmethod
    def of(cls, url: str) -> Scope:
        """Take the URL of a repository's or an organization's page apart.

        Raises:
            ValueError: it is no such URL; the text says what is allowed, and not what was given,
                since that may hold a password.

        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(f"this is no URL: {ALLOWED_URL}") from None
        if parts.scheme != "https":
            raise ValueError(f"the URL has to begin with https://: {ALLOWED_URL}")
        if "@" in parts.netloc or "?" in url or "#" in url:
            raise ValueError(
                f"the URL may hold no user, password, query or fragment: {ALLOWED_URL}"
            )
        host = parts.netloc.lower().removesuffix(":443")
        if not HOST.fullmatch(host) or port == 0:
            raise ValueError(f"the URL names no host: {ALLOWED_URL}")
        owner, *rest = parts.path.removeprefix("/").removesuffix("/").split("/")
        if owner.lower() == "enterprises":
            raise ValueError(f"runners of an enterprise are not supported: {ALLOWED_URL}")
        if len(rest) > 1 or owner.lower() in NO_OWNERS or not OWNER.fullmatch(owner):
            raise ValueError(f"the URL names no owner or more than a repository: {ALLOWED_URL}")
        repository = rest[0] if rest else None
        if repository is not None:
            if repository.lower().endswith(".git"):
                raise ValueError(f"the URL is a page's, without .git at its end: {ALLOWED_URL}")
            if not REPOSITORY.fullmatch(repository) or repository in (".", ".."):
                raise ValueError(f"the URL names no repository: {ALLOWED_URL}")
        return cls("github.com" if host == "www.github.com" else host, owner, repository)

    @property
    def web(self) -> str:
        """The page's URL without a slash at its end."""
        name = self.owner if self.repository is None else f"{self.owner}/{self.repository}"
        return f"https://{self.host}/{name}"

    @property
    def api(self) -> str:
        """The interface's URL without a slash at its end."""
        if self.host == "github.com" or self.host.endswith(".ghe.com"):
            return f"https://api.{self.host}"
        return f"https://{self.host}/api/v3"

    @property
    def path(self) -> str:
        """Where the interface has it: "repos/OWNER/REPOSITORY" or "orgs/ORGANIZATION"."""
        if self.repository is None:
            return f"orgs/{self.owner}"
        return f"repos/{self.owner}/{self.repository}"

    @property
    def permission(self) -> str:
        """The least permission that a token needs here, for a person."""
        if self.repository is None:
            return 'the organization permission "Self-hosted runners: write"'
        return 'the repository permission "Administration: write"'


@dataclass(frozen=True)
class AppKey:
    """A GitHub App that is installed where the runners belong.

    `app_id`: its number or client id. `installation`: the installation's number. `key`: an RSA key
    as PEM, without a password.

    Raises:
        ValueError: one of them is not that; the text does not hold it.

    """

    app_id: str
    installation: str
    key: str = field(repr=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", self.app_id):
            raise ValueError("the App's id is a number or a client id such as Iv23liAbCdEf")
        if not re.fullmatch(r"[0-9]+", self.installation):
            raise ValueError("the App's installation is a number, at the end of its page's URL")
        self._load()

    def _load(self) -> RSAPrivateKey:
        # The library's own errors go, lest a traceback shows what they were made from.
        try:
            key = load_pem_private_key(self.key.encode(), password=None)
        except TypeError:
            raise ValueError("the App's private key must not have a password") from None
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError(
                "the App's private key is no PEM file as GitHub hands it out"
            ) from None
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("the App's private key is no RSA key")
        return key

    def jwt(self, now: float) -> str:
        """Return a signed token that says who the App is, for the next minutes.

        Args:
            now: seconds since the epoch.

        """
        # It begins in the past, since GitHub refuses one from a clock that is ahead of its own;
        # and no more than 10 minutes may lie between the two.
        begin = int(now) - 60
        claims = {"iat": begin, "exp": begin + 600, "iss": self.app_id}
        signed = b".".join(_base64url(part) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        signature = self._load().sign(signed, PKCS1v15(), hashes.SHA256())
        return (signed + b"." + _unpadded(signature)).decode()


def _base64url(part: dict[str, Any]) -> bytes:
    return _unpadded(json.dumps(part, separators=(",", ":")).encode())


def _unpadded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@dataclass(frozen=True)
class Runner:
    """A runner as GitHub knows it.

    `labels` can be changed; `fixed_labels` are GitHub's own, such as self-hosted and ARM64.
    """

    id: int
    name: str
    online: bool
    busy: bool
    labels: frozenset[str]
    fixed_labels: frozenset[str]
    group_id: int | None = None
    version: str | None = None


@dataclass(frozen=True)
class Group:
    """An organization's group of runners. `allows_public`: public repositories may use them."""

    id: int
    name: str
    default: bool
    allows_public: bool


@dataclass(frozen=True)
class Release:
    """One archive of the runner's program. `sha256`: in lower case; "" if GitHub says none."""

    version: str
    url: str
    filename: str
    sha256: str


@dataclass(frozen=True)
class _Answer:
    """What has come back, whatever its status."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """GitHub's own words; "" if there are none."""
        try:
            message = json.loads(self.body)["message"]
        except (ValueError, LookupError, TypeError):
            return ""
        return " ".join(message.split()).rstrip(".") if isinstance(message, str) else ""

    @property
    def limited(self) -> bool:
        """Whether too much was asked, rather than something forbidden."""
        if self.status == 429:
            return True
        return self.status == 403 and (
            self.headers.get("Retry-After") is not None
            or self.headers.get("X-RateLimit-Remaining") == "0"
            or "rate limit" in self.text.lower()
        )

    @property
    def passing(self) -> bool:
        """Whether another try may fare better."""
        return self.limited or self.status >= 500

    def pause(self, now: float) -> float | None:
        """Return the seconds that GitHub asks to wait; None if it does not say."""
        asked = str(self.headers.get("Retry-After", "")).strip()
        if asked.isascii() and asked.isdigit():
            return float(asked)
        if asked:
            try:
                return max(0.0, parsedate_to_datetime(asked).timestamp() - now)
            except ValueError:
                return None
        reset = str(self.headers.get("X-RateLimit-Reset", ""))
        if self.headers.get("X-RateLimit-Remaining") == "0" and reset.isdigit():
            return max(0.0, float(reset) - now)
        return None


class GitHub:
    """The runners of one repository or organization.

    Args:
        scope: whose runners.
        token: what to be let in with; without it and *app* nothing is sent.
        app: a GitHub App instead; its token is fetched before the first request, and kept.
        sleep: waits for a number of seconds between two tries.

    Raises:
        ValueError: *token* and *app* are both there, or the token cannot be one.

    Every method raises GitHubError if GitHub refuses, does not answer, or answers oddly.

    """

    def __init__(
        self,
        scope: Scope,
        *,
        token: str | None = None,
        app: AppKey | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if token is not None and app is not None:
            raise ValueError("give a token or an App's key, not both")
        # http.client would show one with a line's end in its error.
        if token is not None and not TOKEN.fullmatch(token):
            raise ValueError("the token is empty, or holds blanks or characters that no token has")
        self.scope = scope
        # How many HTTP requests have been sent, further tries and redirects included.
        self.requests = 0
        self._token = token
        # Until when an App's is good enough.
        self._until = 0.0
        self._app = app
        self._sleep = sleep

    def runner(self, name: str) -> Runner | None:
        """Return the runner that has exactly this name, if there is one."""
        # An older GitHub Enterprise Server ignores `name`, and hands out all of them.
        for page in self._pages(f"{self.scope.path}/actions/runners", name=name):
            for item in _list(page, "runners"):
                if _get(item, "name", str) == name:
                    return _runner(item)
        return None

    def runner_by_id(self, runner_id: int) -> Runner | None:
        """Return a runner; None if there is none, or the token cannot see it."""
        try:
            return _runner(self._json("GET", self._runner_path(runner_id)))
        except GitHubError as error:
            if error.status == 404:
                return None
            raise

    def repository_is_public(self) -> bool:
        """Return whether everybody can read the repository, which has to be the scope."""
        if self.scope.repository is None:
            raise ValueError("an organization is not public or private")
        answer = self._json("GET", self.scope.path)
        visibility = _get(answer, "visibility", str, optional=True)
        # "internal" is private to an enterprise; older servers only know private or not.
        return visibility == "public" if visibility else not _get(answer, "private", bool)

    def groups(self) -> list[Group]:
        """Return the groups of the organization, which has to be the scope."""
        pages = self._pages(f"{self._organization()}/actions/runner-groups")
        return [
            Group(
                id=_get(item, "id", int),
                name=_get(item, "name", str),
                default=_get(item, "default", bool),
                allows_public=_get(item, "allows_public_repositories", bool),
            )
            for page in pages
            for item in _list(page, "runner_groups")
        ]

    def move(self, runner_id: int, group_id: int) -> None:
        """Put a runner into a group of the organization, which has to be the scope."""
        path = f"{self._organization()}/actions/runner-groups/{group_id:d}/runners/{runner_id:d}"
        self._send("PUT", path)

    def registration_token(self) -> str:
        """Return a new token that registers a runner within the next hour."""
        return self._mint("registration-token")

    def remove_token(self) -> str:
        """Return a new token that unregisters a runner within the next hour."""
        return self._mint("remove-token")

    def set_labels(self, runner_id: int, labels: list[str]) -> None:
        """Give a runner these labels of one's own, and no others; GitHub's own stay."""
        self._send("PUT", f"{self._runner_path(runner_id)}/labels", {"labels": labels})

    def delete(self, runner_id: int) -> None:
        """Remove a runner's registration, if it is there.

        Raises:
            GitHubError: with the status 422 if the runner is running a job.

        """
        try:
            self._send("DELETE", self._runner_path(runner_id))
        except GitHubError as error:
            if error.status == 422:
                raise GitHubError(
                    f"Runner {runner_id} is running a job, and cannot be removed before that is"
                    f" over: {error}",
                    422,
                ) from error
            if error.status != 404:
                raise

    def newest(self, architecture: str) -> Release:
        """Return the release that GitHub offers for Linux.

        Args:
            architecture: "arm64" or "x64".

        """
        path = f"{self.scope.path}/actions/runners/downloads"
        for item in _objects(self._json("GET", path)):
            if (item.get("os"), item.get("architecture")) == ("linux", architecture):
                return _release(
                    _get(item, "filename", str),
                    _get(item, "download_url", str),
                    _get(item, "sha256_checksum", str, optional=True),
                )
        raise GitHubError(f"GitHub offers no runner for linux-{architecture} (GET /{path}).")

    def release(self, version: str, architecture: str) -> Release:
        """Return a given release for Linux.

        Args:
            version: such as "2.336.0".
            architecture: "arm64" or "x64".

        Raises:
            GitHubError: with the status 404 if GitHub knows no such version.

        """
        if not VERSION.fullmatch(version):
            raise GitHubError("A runner's version is three numbers, such as 2.336.0.")
        try:
            answer = self._json("GET", f"repos/actions/runner/releases/tags/v{version}")
        except GitHubError as error:
            if error.status == 404:
                raise GitHubError(
                    f"GitHub ({self.scope.host}) knows no runner of version {version}; see"
                    " https://github.com/actions/runner/releases for those that there are.",
                    404,
                ) from error
            raise
        filename = f"actions-runner-linux-{architecture}-{version}.tar.gz"
        body = _get(answer, "body", str, optional=True) or ""
        mark = f"SHA linux-{re.escape(architecture)}"
        sha256 = re.search(rf"<!-- BEGIN {mark} -->([^<]*)<!-- END {mark} -->", body)
        for item in _list(answer, "assets"):
            if item.get("name") == filename:
                url = _get(item, "browser_download_url", str)
                return _release(filename, url, sha256[1] if sha256 else None)
        raise GitHubError(f"Runner {version} has no archive for linux-{architecture}.")

    def _runner_path(self, runner_id: int) -> str:
        return f"{self.scope.path}/actions/runners/{runner_id:d}"

    def _organization(self) -> str:
        if self.scope.repository is not None:
            raise ValueError("only an organization has groups of runners")
        return self.scope.path

    def _mint(self, kind: str) -> str:
        answer = self._json("POST", f"{self.scope.path}/actions/runners/{kind}")
        return _token(answer)

    def _pages(self, path: str, **query: str) -> Iterator[Any]:
        """Yield the parsed pages of a list, one after the other."""
        following: str | None = f"{path}?{urlencode({**query, 'per_page': '100'}, quote_via=quote)}"
        for _count in range(MAX_PAGES):
            if following is None:
                return
            answer = self._send("GET", following)
            yield _parsed(answer)
            following = self._next(answer, path)
        raise GitHubError(f"GitHub's list GET /{path} does not end.")

    def _next(self, answer: _Answer, path: str) -> str | None:
        """Return the URL of the page after an answer, if there is one."""
        found = NEXT_PAGE.search(", ".join(answer.headers.get_all("Link", [])))
        if found is None:
            return None
        url = self._ours(f"{self.scope.api}/", found[1])
        if url is None:
            raise GitHubError(
                f"GitHub's list GET /{path} goes on at another host, which is not asked."
            )
        return url

    def _ours(self, base: str, link: str) -> str | None:
        """Return the URL that a link leads to; None if the token must not go to that host."""
        try:
            url = urljoin(base, link)
            ours = urlsplit(url)[:2] == urlsplit(self.scope.api)[:2]
        except ValueError:
            return None
        return url if ours else None

    def _json(self, method: str, path: str) -> Any:
        return _parsed(self._send(method, path))

    def _send(self, method: str, path: str, data: object = None) -> _Answer:
        """Send a request, with as many tries as it takes and is allowed; return what succeeded.

        Args:
            method: in capitals.
            path: below the interface's URL, with a query if there is one; or a whole URL of it.
            data: what to send as JSON.

        """
        if self._app is not None and time.monotonic() > self._until:
            self._token = self._exchange(self._app)
            self._until = time.monotonic() + APP_TOKEN_SECONDS
        return self._ask(method, path, self._token, data)

    def _exchange(self, app: AppKey) -> str:
        """Return a token of the App's installation, which is good for an hour."""
        path = f"app/installations/{app.installation}/access_tokens"
        try:
            return _token(_parsed(self._ask("POST", path, app.jwt(time.time()))))
        except GitHubError as error:
            reasons = {
                401: "the App's id and private key do not belong together, or this machine's clock"
                " is wrong",
                403: "its installation is suspended, or may not be used from here",
                404: "the App has no installation of this number",
            }
            if error.status not in reasons:
                raise
            raise GitHubError(
                f"GitHub lets the App in with no token: {reasons[error.status]} (POST /{path}:"
                f" {error.status}).",
                error.status,
            ) from error

    def _ask(self, method: str, path: str, bearer: str | None, data: object = None) -> _Answer:
        """Send a request with a given token; see _send."""
        url = urljoin(f"{self.scope.api}/", path)
        # For a person: the query may hold what is nobody's business.
        what = f"{method} {urlsplit(url).path.removeprefix(urlsplit(self.scope.api).path)}"
        for _count in range(MAX_REDIRECTS + 1):
            answer = self._persist(what, method, url, bearer, data)
            if answer.status not in REDIRECTS or method != "GET":
                break
            # Followed here rather than by urllib, which would take the token along to any host.
            moved = self._ours(url, str(answer.headers.get("Location", "")))
            if moved is None:
                raise GitHubError(
                    f"{what} is sent on to another host, which is not asked.", answer.status
                )
            url = moved
        if 200 <= answer.status < 300:
            return answer
        raise GitHubError(
            self._hush(self._why_refused(what, answer, bearer), bearer), answer.status
        )

    def _persist(
        self, what: str, method: str, url: str, bearer: str | None, data: object
    ) -> _Answer:
        """Return the first answer that another try would not better. Raise GitHubError if none."""
        for pause in (*PAUSES, None):
            asked: float | None = None
            try:
                answer = self._once(method, url, bearer, data)
            except _LostError as error:
                if pause is None or error.final:
                    text = f"GitHub does not answer {what}: {error}."
                    raise GitHubError(self._hush(text, bearer)) from error
            else:
                if not answer.passing:
                    return answer
                asked = answer.pause(time.time())
                if pause is None or (asked is not None and asked > LONGEST_PAUSE):
                    text = _why_not_now(what, answer, asked)
                    raise GitHubError(self._hush(text, bearer), answer.status)
            self._sleep(pause if asked is None else asked)
        raise AssertionError("the last try has returned or raised")

    def _once(self, method: str, url: str, bearer: str | None, data: object) -> _Answer:
        """Send a request once; raise _LostError if no whole answer has come."""
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": API_VERSION}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        body = None
        if data is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(data).encode()
        self.requests += 1
        try:
            # A netrc's password would take the token's place.
            with open_url(
                url,
                method=method,
                data=body,
                headers=headers,
                http_agent=AGENT,
                timeout=TIMEOUT,
                follow_redirects="none",
                use_netrc=False,
            ) as response:
                return _received(response, response.status)
        except HTTPError as error:
            with error:
                return _received(error, error.code)
        except (OSError, http.client.HTTPException) as error:
            raise _lost(url, error) from error
        except ValueError as error:
            # urllib's, of a redirect that is no URL.
            raise _LostError("its answer leads nowhere", final=True) from error

    def _why_refused(self, what: str, answer: _Answer, bearer: str | None) -> str:
        said = f"{answer.status}: {answer.text}" if answer.text else f"{answer.status}"
        reasons = {
            401: "the token is not valid or has expired",
            403: f"the token needs {self.scope.permission}",
            404: f"it does not exist, or the token cannot see it and needs {self.scope.permission}",
        }
        reason = reasons.get(answer.status, "")
        if answer.status in REDIRECTS:
            reason = "it has moved; give the URL that its page has now"
        elif bearer is None and answer.status in reasons:
            reason = "no token was given"
        return f"GitHub refuses {what} ({said}){': ' if reason else ''}{reason}."

    def _hush(self, text: str, bearer: str | None) -> str:
        """Remove the token from a text, in case a server has repeated it."""
        return text.replace(bearer, "********") if bearer else text


def _received(response: Any, status: int) -> _Answer:
    """Read an answer. Raise _LostError if it does not arrive as a whole."""
    try:
        body = response.read(MAX_ANSWER + 1)
    except (OSError, http.client.HTTPException) as error:
        raise _LostError("its answer breaks off") from error
    length = str(response.headers.get("Content-Length", ""))
    if response.headers.get("Content-Encoding"):
        # It has been unpacked, and the length is that of what was packed.
        length = ""
    # Reading a given number of bytes does not notice an answer that was cut.
    if length.isdigit() and status != 204 and len(body) < min(int(length), MAX_ANSWER):
        raise _LostError("its answer breaks off")
    if len(body) > MAX_ANSWER:
        raise _LostError("its answer does not end", final=True)
    return _Answer(status, response.headers, body)


def _lost(url: str, error: Exception) -> _LostError:
    """Say why there is no answer."""
    host = urlsplit(url).netloc
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return _LostError(
            f"the certificate of {host} is not trusted ({reason.verify_message}); SSL_CERT_FILE can"
            " name the file of the authority that signed it",
            final=True,
        )
    if isinstance(reason, TimeoutError):
        return _LostError(f"{host} has sent nothing for {TIMEOUT} s")
    if isinstance(reason, OSError) and reason.strerror:
        return _LostError(f"no connection to {host} ({reason.strerror})")
    return _LostError(f"no connection to {host} ({reason or type(reason).__name__})")


def _why_not_now(what: str, answer: _Answer, asked: float | None) -> str:
    """Say why a request was given up that might succeed later."""
    said = f"{answer.status}: {answer.text}" if answer.text else f"{answer.status}"
    later = "in a while" if asked is None else f"in {max(1, round(asked))} s"
    if answer.limited:
        return f"GitHub limits how much is asked, and refuses {what} ({said}): try again {later}."
    return f"GitHub does not answer {what} as it should ({said}): try again {later}."


def _parsed(answer: _Answer) -> Any:
    try:
        return json.loads(answer.body)
    except ValueError:
        raise GitHubError("GitHub's answer is no JSON.", answer.status) from None


def _get(item: Any, name: str, kind: type, optional: bool = False) -> Any:
    """Return a value of an object of GitHub's, which has to be of a kind; or None if *optional*."""
    value = item.get(name) if isinstance(item, dict) else None
    if value is None and optional:
        return None
    # True is an int to Python.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise GitHubError(f"GitHub's answer is not as described: {name} is no {kind.__name__}.")
    return value


def _objects(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise GitHubError("GitHub's answer is not as described: it is no list of objects.")
    return value


def _list(item: Any, name: str) -> list[dict[str, Any]]:
    return _objects(_get(item, name, list))


def _token(answer: Any) -> str:
    token: str = _get(answer, "token", str)
    if not TOKEN.fullmatch(token):
        raise GitHubError("GitHub's answer is not as described: token is none.")
    return token


def _runner(item: Any) -> Runner:
    labels = [
        (_get(label, "name", str), label.get("type") == "read-only")
        for label in _list(item, "labels")
    ]
    return Runner(
        id=_get(item, "id", int),
        name=_get(item, "name", str),
        online=_get(item, "status", str) == "online",
        busy=_get(item, "busy", bool),
        labels=frozenset(name for name, fixed in labels if not fixed),
        fixed_labels=frozenset(name for name, fixed in labels if fixed),
        group_id=_get(item, "runner_group_id", int, optional=True),
        version=_get(item, "version", str, optional=True),
    )


def _release(filename: str, url: str, sha256: str | None) -> Release:
    """Check what names an archive: a file and a URL are made of it."""
    found = FILENAME.fullmatch(filename)
    if found is None or urlsplit(url).scheme != "https":
        raise GitHubError("GitHub's answer is not as described: it names no archive of a runner.")
    digest = (sha256 or "").strip().lower()
    if digest and not SHA256.fullmatch(digest):
        raise GitHubError("GitHub's answer is not as described: its checksum is no SHA-256.")
    return Release(found[1], url, filename, digest)
