"""A double of GitHub Enterprise Server, as far as self-hosted runners use it.

It answers REST below `/api/v3`, what a runner itself asks for, which GitHub publishes nowhere,
below `/_services`, and the tests below `/_lab`. Requests and answers on the runners' paths are held
against GitHub's own description, `openapi.json`. What it knows lives in memory and ends with it.

It runs alone on a simulated device: with Debian's Python, jsonschema and cryptography.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import jsonschema
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

API = "/api/v3"
DESCRIPTION = Path(__file__).with_name("openapi.json")
DOCUMENTATION = "https://docs.github.com/rest"
HOUR = 3600
# A poll lasts this long at most; a runner counts as online, and its session as taken, so much
# longer than its last one (s).
POLL_SECONDS = 50
ONLINE_SECONDS = 8
TAKEN_SECONDS = 5
# How often a waiting poll looks whether its listener is still there (s).
LOOK_SECONDS = 0.5
# A connection that says nothing for so long is closed (s).
IDLE_SECONDS = 90
# GitHub takes no JWT that is good for longer (s).
JWT_SECONDS = 600

# Statuses that GitHub answers on every path, and its description leaves out.
_COMMON_STATUSES = (401, 403, 404)
_RUNNERS = re.compile(r"/(repos/[^/]+/[^/]+|orgs/[^/]+|enterprises/[^/]+)/actions/runners(/.*)?")


class RefusedError(Exception):
    """An answer that is an error: its status, and its message."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message or HTTPStatus(status).phrase


class GoneError(Exception):
    """Whoever asked has gone away: nobody takes an answer."""


@dataclass(frozen=True)
class Answer:
    """An answer: its status, a body as JSON or as bytes (neither if None), and headers."""

    status: int
    body: Any = None
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def error(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    """Return an error as GitHub words it."""
    body = {"message": message, "documentation_url": DOCUMENTATION, "status": str(status)}
    return Answer(status, body, headers=headers or {})


@dataclass(frozen=True)
class Call:
    """A request: what was asked for, with which values, and whether the asker is still there.

    `origin` is the server as the asker names it, `values` are the parts of the path that vary.
    """

    method: str
    path: str
    query: dict[str, str]
    body: Any
    authorization: str
    origin: str
    alive: Callable[[], bool]
    values: tuple[str, ...] = ()

    @property
    def credential(self) -> str:
        """What comes after the scheme in the header `Authorization`."""
        return self.authorization.partition(" ")[2].strip()

    def scheme(self, *allowed: str) -> bool:
        """Return whether the header `Authorization` has one of some schemes."""
        return self.authorization.partition(" ")[0].lower() in allowed

    def text(self, name: str, *, default: str | None = None) -> str:
        """Return a text of the body; without a default, it has to be there.

        Raises:
            RefusedError: it is missing, or no text.
        """
        found = self.body.get(name, default) if isinstance(self.body, dict) else None
        if not isinstance(found, str):
            raise RefusedError(400, f"{name} is not a text")
        return found


# What GitHub describes.


def _plain(part: Any, root: Any) -> Any:
    """Return a part of an OpenAPI 3.0 description without references and `nullable`."""
    if isinstance(part, list):
        return [_plain(item, root) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        found = root
        for step in str(part["$ref"]).removeprefix("#/").split("/"):
            found = found[step]
        return _plain(found, root)
    # Examples are no schemas, and could look like them.
    plain = {
        key: _plain(value, root)
        for key, value in part.items()
        if key not in ("example", "examples")
    }
    # A property may have the name `nullable`; then it is no truth value.
    if plain.pop("nullable", False) is True:
        if "enum" in plain:
            plain["enum"] = [*plain["enum"], None]
        return {"anyOf": [plain, {"type": "null"}]}
    return plain


_FORMATS = jsonschema.FormatChecker(formats=())


@_FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@_FORMATS.checks("uri")
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).scheme)


def _mistakes(schema: Any, value: object, where: str) -> list[str]:
    # OpenAPI 3.0 took its schemas from the draft after 4, which changed no keyword.
    validator = jsonschema.Draft4Validator(schema, format_checker=_FORMATS)
    return [
        f"{where}: {mistake.json_path}: {mistake.message}"
        for mistake in validator.iter_errors(value)
    ]


def _json_schema(described: Any) -> Any:
    return described.get("content", {}).get("application/json", {}).get("schema")


class Contract:
    """GitHub's description of the runners' paths."""

    def __init__(self, text: str) -> None:
        whole = json.loads(text)
        self._operations: list[tuple[str, re.Pattern[str], Any]] = []
        # A path that varies less goes first: `downloads` is no runner's number.
        for path in sorted(whole["paths"], key=lambda path: (path.count("{"), path)):
            pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))
            described = _plain(whole["paths"][path], whole)
            shared = described.pop("parameters", [])
            for method, operation in described.items():
                operation["parameters"] = [*shared, *operation.get("parameters", [])]
                self._operations.append((method.upper(), pattern, operation))
        self._error = _plain(whole["components"]["schemas"]["basic-error"], whole)

    def _find(self, call: Call) -> tuple[Any, dict[str, str]] | None:
        for method, pattern, operation in self._operations:
            match = pattern.fullmatch(call.path)
            if method == call.method and match:
                return operation, match.groupdict()
        return None

    def request(self, call: Call) -> list[str]:
        """Return what is wrong with a request on the runners' paths."""
        found = self._find(call)
        if found is None:
            return [f"GitHub describes no {call.method} {call.path}"]
        operation, in_path = found
        given = {"path": in_path, "query": call.query}
        wrong = []
        for parameter in operation["parameters"]:
            name, values = parameter["name"], given.get(parameter["in"], {})
            if name in values:
                value: object = values[name]
                if parameter["schema"].get("type") == "integer" and re.fullmatch(
                    r"-?[0-9]+", values[name]
                ):
                    value = int(values[name])
                wrong += _mistakes(parameter["schema"], value, f"the parameter {name}")
            elif parameter.get("required"):
                wrong.append(f"the parameter {name} is missing")
        known = {item["name"] for item in operation["parameters"] if item["in"] == "query"}
        wrong += [f"GitHub describes no parameter {name}" for name in call.query.keys() - known]
        body = operation.get("requestBody")
        if body and (call.body is not None or body.get("required")):
            wrong += _mistakes(_json_schema(body), call.body, "the request's body")
        return wrong

    def answer(self, call: Call, answer: Answer) -> list[str]:
        """Return what is wrong with an answer to a request that is itself right."""
        found = self._find(call)
        if found is None:
            return [f"GitHub describes no {call.method} {call.path}"]
        described = found[0]["responses"].get(str(answer.status))
        if described is None and answer.status not in _COMMON_STATUSES:
            return [f"GitHub does not answer {answer.status}"]
        schema = self._error if described is None else _json_schema(described)
        if schema is None:
            return [] if answer.body is None else ["there is a body where GitHub sends none"]
        return _mistakes(schema, answer.body, "the answer's body")


# What there is.


@dataclass
class Token:
    """A token that somebody was given.

    `permissions` are of one that REST takes: `read`, `write` or `none` for each scope that it sees.
    The others have the scope that they are for. `client` is the registration of a listener's.
    """

    kind: str
    expires: float
    permissions: dict[str, str] = field(default_factory=dict)
    scope: str = ""
    client: str = ""


@dataclass
class Runner:
    """A registered runner; `forced_status` and `forced_busy` are what a test says of it."""

    number: int
    scope: str
    name: str
    labels: dict[str, str]
    group: int = 1
    ephemeral: bool = False
    disable_update: bool = False
    version: str = ""
    client: str = ""
    session: str = ""
    polled: float = 0
    polling: int = 0
    job: int = 0
    forced_status: str = ""
    forced_busy: bool | None = None

    @property
    def status(self) -> str:
        """`online` or `offline`."""
        if self.forced_status:
            return self.forced_status
        heard = self.polling or self.job or time.monotonic() - self.polled < ONLINE_SECONDS
        return "online" if self.session and heard else "offline"

    @property
    def busy(self) -> bool:
        """Whether it runs a job."""
        return bool(self.job) if self.forced_busy is None else self.forced_busy


@dataclass
class Job:
    """A job for a runner, or for one that has all of some labels."""

    number: int
    scope: str
    labels: list[str]
    runner: int
    steps: list[str]
    env: dict[str, str]
    state: str = "queued"
    conclusion: str = ""
    log: str = ""


@dataclass
class Fault:
    """What happens to requests: to those that a pattern finds, from a first one, so many times."""

    pattern: str
    times: int | None = None
    after: int = 0
    status: int = 0
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    close: bool = False
    cut: int | None = None

    def strikes(self, request: str) -> bool:
        """Return whether it happens to this request, which counts."""
        if self.times == 0 or not re.search(self.pattern, request):
            return False
        if self.after:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


def _group(number: int, name: str, *, visibility: str, public: bool) -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "visibility": visibility,
        "default": number == 1,
        "inherited": False,
        "allows_public_repositories": public,
        "restricted_to_workflows": False,
        "selected_workflows": [],
        "workflow_restrictions_read_only": False,
    }


def _number_of(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class State:
    """All that the double knows; whoever reads or changes it holds `changed`."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.contract = Contract(DESCRIPTION.read_text())
        self.given: set[str] = set()
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        with self.changed:
            self.reset()

    def reset(self) -> None:
        """Begin anew: an organization, two repositories, a token and an app."""
        self.count = 0
        self.validity: float = HOUR
        self.repositories = {"octo/camera": True, "octo/open": False}
        self.groups = {
            "octo": [_group(1, "Default", visibility="all", public=False)],
        }
        self.runners: dict[int, Runner] = {}
        self.labels: dict[str, int] = {}
        self.jobs: dict[int, Job] = {}
        self.releases: dict[str, dict[str, tuple[bytes, str]]] = {}
        self.published: dict[str, str] = {}
        self.tokens: dict[str, Token] = {}
        self.requests: list[dict[str, Any]] = []
        self.violations: list[dict[str, str]] = []
        self.faults: list[Fault] = []
        everything = dict.fromkeys(("repos/octo/camera", "repos/octo/open", "orgs/octo"), "write")
        self.app = {"id": 4711, "client_id": "Iv23liLabOnlyDouble0", "installation": 815}
        self.app_permissions = dict(everything)
        self.token = self.mint("fine-grained", 30 * 24 * HOUR, permissions=everything)
        self.changed.notify_all()

    def next_number(self) -> int:
        """Return a number that nothing has."""
        self.count += 1
        return self.count

    @property
    def key(self) -> str:
        """The app's private key, as GitHub hands it out: PEM of PKCS #1."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ).decode()

    # Tokens.

    def mint(
        self,
        kind: str,
        seconds: float,
        *,
        permissions: dict[str, str] | None = None,
        scope: str = "",
        client: str = "",
    ) -> str:
        """Give out a token."""
        prefixes = {"fine-grained": "github_pat_", "installation": "ghs_"}
        random = "A" + base64.b32encode(secrets.token_bytes(17)).decode().rstrip("=")
        value = prefixes.get(kind, "") + random
        self.tokens[value] = Token(kind, time.time() + seconds, permissions or {}, scope, client)
        self.given.add(value)
        return value

    def valid(self, value: str, *kinds: str) -> Token | None:
        """Return a token of some kinds that has not expired, or None."""
        token = self.tokens.get(value)
        if token is None or token.kind not in kinds or token.expires <= time.time():
            return None
        return token

    def kind_of(self, call: Call) -> str:
        """Return what kind of authorization a request has: never its value."""
        if not call.authorization:
            return "none"
        token = self.tokens.get(call.credential)
        if token is not None:
            return token.kind
        return "app" if call.credential.count(".") == 2 else "unknown"

    def check_jwt(self, text: str) -> None:
        """Believe the app by its JWT.

        Raises:
            RefusedError: it is none, it is not signed by the app's key, or its times are wrong.
        """
        try:
            head, claims, signature = text.split(".")
            signed = f"{head}.{claims}".encode()
            scheme = padding.PKCS1v15(), hashes.SHA256()
            self._key.public_key().verify(_decoded(signature), signed, *scheme)
            algorithm = json.loads(_decoded(head)).get("alg")
            said = json.loads(_decoded(claims))
        except (ValueError, AttributeError, binascii.Error, InvalidSignature):
            raise RefusedError(401, "A JSON web token could not be decoded") from None
        if algorithm != "RS256" or not isinstance(said, dict):
            raise RefusedError(401, "A JSON web token could not be decoded")
        if str(said.get("iss")) not in (str(self.app["id"]), self.app["client_id"]):
            raise RefusedError(401, "'Issuer' claim ('iss') must be the app's ID or client ID")
        issued, expires, now = said.get("iat"), said.get("exp"), time.time()
        if not isinstance(issued, int) or issued > now:
            raise RefusedError(
                401,
                "'Issued at' claim ('iat') must be an Integer representing the time that the"
                " assertion was issued",
            )
        if not isinstance(expires, int) or expires <= now:
            raise RefusedError(
                401,
                "'Expiration time' claim ('exp') must be a numeric value representing the future"
                " time at which the assertion expires",
            )
        if expires > now + JWT_SECONDS:
            raise RefusedError(401, "'Expiration time' claim ('exp') is too far in the future")
        self.given.add(text)

    # Runners and jobs.

    def exists(self, scope: str) -> bool:
        """Return whether there is such a repository or organization."""
        kind, _slash, name = scope.partition("/")
        return name in (self.repositories if kind == "repos" else self.groups)

    def groups_of(self, scope: str) -> list[dict[str, Any]]:
        """Return the runner groups of a scope; a repository has only the first."""
        kind, _slash, name = scope.partition("/")
        default = _group(1, "Default", visibility="all", public=False)
        return self.groups[name] if kind == "orgs" else [default]

    def find(self, scope: str, number: int) -> Runner:
        """Return a runner of a scope.

        Raises:
            RefusedError: there is none.
        """
        runner = self.runners.get(number)
        if runner is None or runner.scope != scope:
            raise RefusedError(404)
        return runner

    def named(self, scope: str, name: str) -> Runner | None:
        """Return a scope's runner of a name, or None."""
        found = (item for item in self.runners.values() if (item.scope, item.name) == (scope, name))
        return next(found, None)

    def remove(self, runner: Runner) -> None:
        """Delete a registration: its listener hears of it at once."""
        self.lose_job(runner)
        self.runners.pop(runner.number, None)
        self.changed.notify_all()

    def conclude(self, runner: Runner, conclusion: str, log: str) -> None:
        """End the job that a runner has; an ephemeral runner's registration ends with it."""
        job = self.jobs[runner.job]
        job.state, job.conclusion, job.log = "done", conclusion, log
        runner.job = 0
        if runner.ephemeral:
            self.remove(runner)
        self.changed.notify_all()

    def lose_job(self, runner: Runner) -> None:
        """End the job of a runner that is not there any more, if it has one."""
        if runner.job:
            self.conclude(runner, "failure", "The runner was lost.")

    def next_job(self, runner: Runner) -> Job | None:
        """Return a job that waits for this runner, or None."""
        own = {label.lower() for label in runner.labels}
        for job in self.jobs.values():
            owner = "orgs/" + job.scope.split("/")[1]
            if job.state != "queued" or runner.scope not in (job.scope, owner):
                continue
            if job.runner == runner.number:
                return job
            if not job.runner and own.issuperset(label.lower() for label in job.labels):
                return job
        return None

    # What was asked for.

    def begin(self, call: Call) -> dict[str, Any]:
        """Write a request down, without an answer yet."""
        path = call.path
        if call.query:
            path += "?" + urlencode(call.query, quote_via=quote)
        for value in self.given:
            path = path.replace(value, "***")
        record: dict[str, Any] = {
            "number": len(self.requests) + 1,
            "method": call.method,
            "path": path,
            "status": None,
            "authorization": self.kind_of(call),
        }
        self.requests.append(record)
        return record

    def violated(self, call: Call, what: list[str]) -> Answer:
        """Write down that the contract was broken, and answer so."""
        for text in what:
            self.violations.append({"method": call.method, "path": call.path, "error": text})
        return error(500, "The contract was broken: " + "; ".join(what))


# GitHub's REST interface.


def _stamp(moment: float) -> str:
    # With a fraction and an offset, as GitHub has it here, where `Z` would be as right.
    there = datetime.fromtimestamp(moment, timezone(timedelta(hours=-8)))
    return there.isoformat(timespec="milliseconds")


def _page(call: Call, items: list[Any]) -> tuple[list[Any], dict[str, str]]:
    """Return the page that was asked for, and the header that leads to the others."""
    try:
        size = min(max(int(call.query.get("per_page", 30)), 1), 100)
        page = max(int(call.query.get("page", 1)), 1)
    except ValueError:
        size, page = 30, 1
    last = max(-(-len(items) // size), 1)
    others: dict[str, int] = {}
    if page > 1:
        others |= {"prev": min(page - 1, last), "first": 1}
    if page < last:
        others |= {"next": page + 1, "last": last}
    links = []
    for relation, number in others.items():
        query = urlencode(call.query | {"page": str(number)}, quote_via=quote)
        links.append(f'<{call.origin}{API}{call.path}?{query}>; rel="{relation}"')
    headers = {"Link": ", ".join(links)} if links else {}
    return items[(page - 1) * size : page * size], headers


class Rest:
    """Paths below `/api/v3`."""

    def __init__(self, state: State) -> None:
        self.state = state

    def answer(self, call: Call) -> Answer:
        """Answer a request, and hold both against GitHub's description."""
        described = _RUNNERS.fullmatch(call.path) is not None
        wrong = self.state.contract.request(call) if described else []
        route = next(
            (
                (handler, match.groups())
                for method, pattern, handler in self.ROUTES
                if method == call.method and (match := re.fullmatch(pattern, call.path))
            ),
            None,
        )
        if route is None and not wrong:
            wrong = [f"the double knows no {call.method} {API}{call.path}"]
        if wrong or route is None:
            return self.state.violated(call, wrong)
        handler, values = route
        try:
            given = handler(self, Call(**(vars(call) | {"values": values})))
        except RefusedError as refusal:
            given = error(refusal.status, refusal.message)
        wrong = self.state.contract.answer(call, given) if described else []
        return self.state.violated(call, wrong) if wrong else given

    def _token(self, call: Call) -> Token:
        token = None
        if call.scheme("bearer", "token"):
            token = self.state.valid(call.credential, "fine-grained", "installation")
        if token is None:
            raise RefusedError(401, "Bad credentials")
        return token

    def _allow(self, call: Call, scope: str, *, write: bool = False) -> None:
        """Let a token in that may do this.

        Raises:
            RefusedError: it is none, it does not see the scope, or it has not the permission.
        """
        token = self._token(call)
        level = token.permissions.get(scope, "")
        public = self.state.repositories.get(scope.removeprefix("repos/")) is False
        if not self.state.exists(scope) or not (level or public):
            raise RefusedError(404)
        if level not in (("write",) if write else ("read", "write")):
            who = "integration" if token.kind == "installation" else "personal access token"
            raise RefusedError(403, f"Resource not accessible by {who}")

    def _label(self, name: str, kind: str) -> dict[str, Any]:
        number = self.state.labels.setdefault(name, len(self.state.labels) + 1)
        return {"id": number, "name": name, "type": kind}

    def _labels(self, runner: Runner) -> Answer:
        labels = [self._label(name, kind) for name, kind in runner.labels.items()]
        return Answer(200, {"total_count": len(labels), "labels": labels})

    def _runner(self, runner: Runner) -> dict[str, Any]:
        return {
            "id": runner.number,
            "name": runner.name,
            "os": "Linux",
            "status": runner.status,
            "busy": runner.busy,
            "ephemeral": runner.ephemeral,
            "runner_group_id": runner.group,
            "version": runner.version or None,
            "labels": [self._label(name, kind) for name, kind in runner.labels.items()],
        }

    def list_runners(self, call: Call) -> Answer:
        """Return a scope's runners."""
        (scope,) = call.values
        self._allow(call, scope)
        name = call.query.get("name")
        found = [
            runner
            for runner in self.state.runners.values()
            if runner.scope == scope and name in (None, runner.name)
        ]
        shown, headers = _page(call, found)
        runners = [self._runner(runner) for runner in shown]
        return Answer(200, {"total_count": len(found), "runners": runners}, headers=headers)

    def _asset(self, call: Call, version: str, architecture: str) -> tuple[str, str]:
        name = f"actions-runner-linux-{architecture}-{version}.tar.gz"
        return name, f"{call.origin}/actions/runner/releases/download/v{version}/{name}"

    def downloads(self, call: Call) -> Answer:
        """Return the newest release."""
        (scope,) = call.values
        self._allow(call, scope)
        found = []
        newest = max(self.state.releases, key=_number_of, default="")
        for architecture, (_content, checksum) in self.state.releases.get(newest, {}).items():
            name, url = self._asset(call, newest, architecture)
            found.append(
                {
                    "os": "linux",
                    "architecture": architecture,
                    "download_url": url,
                    "filename": name,
                    "sha256_checksum": checksum,
                }
            )
        return Answer(200, found)

    def show_runner(self, call: Call) -> Answer:
        """Return a runner."""
        scope, number = call.values
        self._allow(call, scope)
        return Answer(200, self._runner(self.state.find(scope, int(number))))

    def delete_runner(self, call: Call) -> Answer:
        """Delete a registration, unless the runner has a job."""
        scope, number = call.values
        self._allow(call, scope, write=True)
        runner = self.state.find(scope, int(number))
        if runner.busy:
            text = f"Runner {runner.name} is currently running a job and cannot be deleted."
            raise RefusedError(422, text)
        self.state.remove(runner)
        return Answer(204)

    def labels(self, call: Call) -> Answer:
        """Return a runner's labels, after they were changed if that was asked for."""
        scope, number = call.values
        self._allow(call, scope, write=call.method != "GET")
        runner = self.state.find(scope, int(number))
        if call.method in ("PUT", "DELETE"):
            fixed = {name: kind for name, kind in runner.labels.items() if kind == "read-only"}
            runner.labels = fixed
        if call.method in ("PUT", "POST"):
            for name in call.body["labels"]:
                runner.labels.setdefault(name, "custom")
        self.state.changed.notify_all()
        return self._labels(runner)

    def new_token(self, call: Call) -> Answer:
        """Give out a token by which a runner registers itself, or removes itself."""
        scope, use = call.values
        self._allow(call, scope, write=True)
        expires = time.time() + self.state.validity
        value = self.state.mint(use, self.state.validity, scope=scope)
        return Answer(201, {"token": value, "expires_at": _stamp(expires)})

    def repository(self, call: Call) -> Answer:
        """Return a repository, to whom sees it."""
        (name,) = call.values
        token = self._token(call)
        private = self.state.repositories.get(name, True)
        if name not in self.state.repositories or (
            private and f"repos/{name}" not in token.permissions
        ):
            raise RefusedError(404)
        body = {
            "id": list(self.state.repositories).index(name) + 1,
            "name": name.partition("/")[2],
            "full_name": name,
            "private": private,
            "visibility": "private" if private else "public",
        }
        return Answer(200, body)

    def runner_groups(self, call: Call) -> Answer:
        """Return the runner groups of an organization."""
        (scope,) = call.values
        self._allow(call, scope)
        groups = self.state.groups_of(scope)
        shown, headers = _page(call, groups)
        body = {"total_count": len(groups), "runner_groups": shown}
        return Answer(200, body, headers=headers)

    def move_runner(self, call: Call) -> Answer:
        """Put a runner into a group."""
        scope, group, number = call.values
        self._allow(call, scope, write=True)
        if int(group) not in [item["id"] for item in self.state.groups_of(scope)]:
            raise RefusedError(404)
        self.state.find(scope, int(number)).group = int(group)
        return Answer(204)

    def installation_token(self, call: Call) -> Answer:
        """Give the app a token of an installation."""
        (number,) = call.values
        if not call.scheme("bearer"):
            raise RefusedError(401, "A JSON web token could not be decoded")
        self.state.check_jwt(call.credential)
        if int(number) != self.state.app["installation"]:
            raise RefusedError(404)
        value = self.state.mint("installation", HOUR, permissions=self.state.app_permissions)
        expires = datetime.fromtimestamp(time.time() + HOUR, UTC)
        body = {
            "token": value,
            "expires_at": f"{expires:%Y-%m-%dT%H:%M:%SZ}",
            "permissions": {"administration": "write", "organization_self_hosted_runners": "write"},
            "repository_selection": "selected",
        }
        return Answer(201, body)

    def release(self, call: Call) -> Answer:
        """Return a release with its checksums in the notes; whoever asks sees it."""
        (version,) = call.values
        if call.authorization:
            self._token(call)
        if version not in self.state.releases:
            raise RefusedError(404)
        lines, assets = ["## SHA-256 Checksums", ""], []
        for architecture, (content, checksum) in self.state.releases[version].items():
            name, url = self._asset(call, version, architecture)
            mark = f"SHA linux-{architecture}"
            lines.append(f"- {name} <!-- BEGIN {mark} -->{checksum}<!-- END {mark} -->")
            assets.append({"name": name, "browser_download_url": url, "size": len(content)})
        body = {
            "tag_name": f"v{version}",
            "name": f"v{version}",
            "draft": False,
            "prerelease": False,
            "published_at": self.state.published[version],
            "body": "\n".join(lines),
            "assets": assets,
        }
        return Answer(200, body)

    _SCOPE = r"/(repos/[^/]+/[^/]+|orgs/[^/]+)"
    _ONE = _SCOPE + r"/actions/runners/([0-9]+)"
    # Those of the runners' paths that GitHub's description has; what follows are the others.
    ROUTES: ClassVar[list[tuple[str, str, Callable[[Rest, Call], Answer]]]] = [
        ("GET", _SCOPE + "/actions/runners", list_runners),
        ("GET", _SCOPE + "/actions/runners/downloads", downloads),
        ("POST", _SCOPE + "/actions/runners/(registration|remove)-token", new_token),
        ("GET", _ONE, show_runner),
        ("DELETE", _ONE, delete_runner),
        ("GET", _ONE + "/labels", labels),
        ("PUT", _ONE + "/labels", labels),
        ("POST", _ONE + "/labels", labels),
        ("DELETE", _ONE + "/labels", labels),
        # Beyond the description.
        ("GET", r"/repos/actions/runner/releases/tags/v([0-9.]+)", release),
        ("GET", r"/repos/([^/]+/[^/]+)", repository),
        ("GET", r"/(orgs/[^/]+)/actions/runner-groups", runner_groups),
        (
            "PUT",
            r"/(orgs/[^/]+)/actions/runner-groups/([0-9]+)/runners/([0-9]+)",
            move_runner,
        ),
        ("POST", r"/app/installations/([0-9]+)/access_tokens", installation_token),
    ]


class Services:
    """What a runner itself asks for."""

    def __init__(self, state: State) -> None:
        self.state = state

    def answer(self, call: Call) -> Answer:
        """Answer a request."""
        for method, pattern, handler in self.ROUTES:
            match = re.fullmatch(pattern, call.path)
            if method == call.method and match:
                try:
                    return handler(self, Call(**(vars(call) | {"values": match.groups()})))
                except RefusedError as refusal:
                    return error(refusal.status, refusal.message)
        return error(404, "Not Found")

    # The registration.

    def register(self, call: Call) -> Answer:
        """Let in who has a token to register or to remove a runner."""
        event = call.text("runner_event", default="")
        names = urlsplit(call.text("url")).path.strip("/")
        scope = ("repos/" if "/" in names else "orgs/") + names
        kind = {"register": "registration", "remove": "remove"}.get(event, "")
        token = self.state.valid(call.credential, kind) if call.scheme("remoteauth") else None
        if token is None or token.scope != scope or not self.state.exists(scope):
            raise RefusedError(404)
        body = {
            "url": f"{call.origin}/_services/{scope}",
            "token": self.state.mint("session", HOUR, scope=scope),
            "token_schema": "OAuthAccessToken",
        }
        return Answer(200, body)

    def _allow(self, call: Call, scope: str) -> None:
        token = self.state.valid(call.credential, "session") if call.scheme("bearer") else None
        if token is None or token.scope != scope:
            raise RefusedError(401)

    def groups(self, call: Call) -> Answer:
        """Return a scope's groups."""
        (scope,) = call.values
        self._allow(call, scope)
        groups = self.state.groups_of(scope)
        body = {"groups": [{"id": group["id"], "name": group["name"]} for group in groups]}
        return Answer(200, body)

    def agents(self, call: Call) -> Answer:
        """Return the runners of a name."""
        (scope,) = call.values
        self._allow(call, scope)
        found = self.state.named(scope, call.query.get("name", ""))
        return Answer(200, {"agents": [{"id": found.number, "name": found.name}] if found else []})

    def _enroll(self, call: Call, scope: str, number: int) -> dict[str, Any]:
        """Write a runner down as its registration describes it; return its new credentials.

        Raises:
            RefusedError: the description is not one.
        """
        body = call.body if isinstance(call.body, dict) else {}
        group = body.get("group_id")
        known = [item["id"] for item in self.state.groups_of(scope)]
        if not isinstance(group, int) or group not in known:
            raise RefusedError(404, "There is no such group")
        try:
            labels = {str(label["name"]): str(label["type"]) for label in body["labels"]}
        except (KeyError, TypeError):
            raise RefusedError(400, "The labels are none") from None
        if not set(labels.values()) <= {"read-only", "custom"}:
            raise RefusedError(400, "A label's type is read-only or custom")
        runner = Runner(
            number,
            scope,
            call.text("name"),
            labels,
            group=group,
            ephemeral=body.get("ephemeral") is True,
            disable_update=body.get("disable_update") is True,
            version=call.text("version"),
            client=secrets.token_hex(16),
        )
        self.state.runners[number] = runner
        self.state.changed.notify_all()
        return {"id": number, "client_id": runner.client}

    def add(self, call: Call) -> Answer:
        """Register a runner."""
        (scope,) = call.values
        self._allow(call, scope)
        if self.state.named(scope, call.text("name")):
            raise RefusedError(409, "A runner exists with the same name")
        return Answer(201, self._enroll(call, scope, self.state.next_number()))

    def replace(self, call: Call) -> Answer:
        """Register a runner in the place of one: that one's credentials end."""
        scope, number = call.values
        self._allow(call, scope)
        old = self.state.find(scope, int(number))
        other = self.state.named(scope, call.text("name"))
        if other not in (None, old):
            raise RefusedError(409, "A runner exists with the same name")
        self.state.lose_job(old)
        return Answer(200, self._enroll(call, scope, old.number))

    def delete(self, call: Call) -> Answer:
        """Remove a registration."""
        scope, number = call.values
        self._allow(call, scope)
        self.state.remove(self.state.find(scope, int(number)))
        return Answer(204)

    # The listener.

    def oauth(self, call: Call) -> Answer:
        """Let a listener in by what its registration gave it."""
        (scope,) = call.values
        client = call.text("client_id")
        if client not in [item.client for item in self.state.runners.values() if item.client]:
            raise RefusedError(401)
        return Answer(200, {"token": self.state.mint("listener", HOUR, scope=scope, client=client)})

    def _listener(self, call: Call, scope: str) -> Runner:
        """Return the runner whose listener asks.

        Raises:
            RefusedError: 401 for one that was never let in, 404 when its registration is gone.
        """
        token = self.state.valid(call.credential, "listener") if call.scheme("bearer") else None
        if token is None or token.scope != scope:
            raise RefusedError(401)
        for runner in self.state.runners.values():
            if (runner.client, runner.scope) == (token.client, scope):
                return runner
        raise RefusedError(404)

    def _own(self, call: Call) -> Runner:
        scope, number = call.values
        runner = self._listener(call, scope)
        if runner.number != int(number):
            raise RefusedError(404)
        return runner

    def open_session(self, call: Call) -> Answer:
        """Have a listener be the runner's only one."""
        runner = self._own(call)
        silent = time.monotonic() - runner.polled
        if runner.session and (runner.polling or silent < TAKEN_SECONDS):
            raise RefusedError(409, "Another session of this runner listens")
        # A listener that begins anew has no job: the one before it took that with it.
        self.state.lose_job(runner)
        runner.session = secrets.token_hex(8)
        runner.polled = time.monotonic()
        self.state.changed.notify_all()
        return Answer(201, {"session": runner.session})

    def close_session(self, call: Call) -> Answer:
        """End a session, and with it the job that it has."""
        runner = self._own(call)
        if runner.session == call.query.get("session"):
            runner.session = ""
            self.state.lose_job(runner)
            self.state.changed.notify_all()
        return Answer(204)

    def message(self, call: Call) -> Answer:
        """Wait for a job; the state is free meanwhile."""
        runner = self._own(call)
        session = call.query.get("session", "")
        try:
            wait = min(float(call.query.get("wait", POLL_SECONDS)), POLL_SECONDS)
        except ValueError:
            raise RefusedError(400, "wait is no number") from None
        end = time.monotonic() + wait
        runner.polling += 1
        try:
            while True:
                if self.state.runners.get(runner.number) is not runner:
                    raise RefusedError(404)
                if runner.session != session:
                    raise RefusedError(409, "This session has ended")
                if not call.alive():
                    raise GoneError
                job = None if runner.job else self.state.next_job(runner)
                if job:
                    job.state, job.runner, runner.job = "running", runner.number, job.number
                    self.state.changed.notify_all()
                    given = {"id": job.number, "steps": job.steps, "env": job.env}
                    return Answer(200, {"job": given})
                left = end - time.monotonic()
                if left <= 0:
                    return Answer(202)
                self.state.changed.wait(min(left, LOOK_SECONDS))
        finally:
            runner.polling -= 1
            runner.polled = time.monotonic()

    def conclude(self, call: Call) -> Answer:
        """Take a job's result."""
        scope, number = call.values
        runner = self._listener(call, scope)
        if runner.job != int(number):
            raise RefusedError(404)
        conclusion = call.text("conclusion")
        if conclusion not in ("success", "failure"):
            raise RefusedError(400, "A conclusion is success or failure")
        # It was heard just now, as if it had polled.
        runner.polled = time.monotonic()
        self.state.conclude(runner, conclusion, call.text("log", default=""))
        return Answer(200, {})

    # The download, which needs no authorization.

    def download(self, call: Call) -> Answer:
        """Return a release's archive."""
        version, architecture, again = call.values
        found = self.state.releases.get(version, {}).get(architecture)
        if found is None or again != version:
            raise RefusedError(404)
        return Answer(200, content=found[0])

    _SCOPE = r"/_services/(repos/[^/]+/[^/]+|orgs/[^/]+)"
    _ONE = _SCOPE + r"/agents/([0-9]+)"
    ROUTES: ClassVar[list[tuple[str, str, Callable[[Services, Call], Answer]]]] = [
        ("POST", API + "/actions/runner-registration", register),
        ("GET", _SCOPE + "/groups", groups),
        ("GET", _SCOPE + "/agents", agents),
        ("POST", _SCOPE + "/agents", add),
        ("PUT", _ONE, replace),
        ("DELETE", _ONE, delete),
        ("POST", _SCOPE + "/oauth", oauth),
        ("POST", _ONE + "/session", open_session),
        ("DELETE", _ONE + "/session", close_session),
        ("GET", _ONE + "/message", message),
        ("POST", _SCOPE + "/jobs/([0-9]+)", conclude),
        (
            "GET",
            r"/actions/runner/releases/download/v([0-9.]+)"
            r"/actions-runner-linux-(\w+)-([0-9.]+)\.tar\.gz",
            download,
        ),
    ]


class Lab:
    """What tests do with it: `POST /_lab/NAME` calls the method NAME with the body's values."""

    def __init__(self, state: State) -> None:
        self.state = state

    def answer(self, call: Call) -> Answer:
        """Do what a test says."""
        name = call.path.removeprefix("/_lab/")
        if call.method != "POST" or name not in self.NAMES:
            return error(404, f"The lab knows no {call.method} {call.path}")
        try:
            return Answer(200, {"result": getattr(self, name)(**(call.body or {}))})
        except RefusedError as refusal:
            return error(refusal.status, refusal.message)
        except (TypeError, ValueError, KeyError, re.error) as mistake:
            return error(400, f"{name}: {mistake!r}")

    def reset(self) -> None:
        """Begin anew."""
        self.state.reset()

    def token(self) -> str:
        """Return the token that there is from the beginning."""
        return self.state.token

    def app(self) -> dict[str, Any]:
        """Return the app, with its private key."""
        return {**self.state.app, "key": self.state.key}

    def _shown(self, runner: Runner) -> dict[str, Any]:
        return {
            "id": runner.number,
            "scope": runner.scope,
            "name": runner.name,
            "status": runner.status,
            "busy": runner.busy,
            "labels": runner.labels,
            "group_id": runner.group,
            "ephemeral": runner.ephemeral,
            "disable_update": runner.disable_update,
            "version": runner.version,
        }

    def _number(self, number: int) -> Runner:
        if number not in self.state.runners:
            raise RefusedError(404, f"There is no runner {number}")
        return self.state.runners[number]

    def add_runner(
        self, scope: str, name: str, labels: dict[str, str], group_id: int, **about: Any
    ) -> dict[str, Any]:
        """Add a runner without a listener."""
        if not self.state.exists(scope):
            raise RefusedError(404, f"There is no {scope}")
        if self.state.named(scope, name):
            raise RefusedError(409, f"{scope} has a runner {name}")
        runner = Runner(self.state.next_number(), scope, name, labels, group=group_id, **about)
        self.state.runners[runner.number] = runner
        return self._shown(runner)

    def runners(self, scope: str) -> list[dict[str, Any]]:
        """Return all runners, or those of a scope."""
        return [
            self._shown(runner)
            for runner in self.state.runners.values()
            if scope in ("", runner.scope)
        ]

    def set_runner(self, number: int, changes: dict[str, Any]) -> dict[str, Any]:
        """Say what a runner is like."""
        runner = self._number(number)
        allowed = {"forced_status", "forced_busy", "labels", "version"}
        if not changes.keys() <= allowed:
            raise RefusedError(400, f"Only {', '.join(sorted(allowed))} can be changed")
        for name, value in changes.items():
            setattr(runner, name, value)
        self.state.changed.notify_all()
        return self._shown(runner)

    def remove_runner(self, number: int) -> None:
        """Delete a registration."""
        self.state.remove(self._number(number))

    def add_group(self, org: str, name: str, visibility: str, public: bool) -> int:
        """Add a runner group to an organization, or have the one of that name be so."""
        groups = self.state.groups[org]
        for there in groups:
            if there["name"] == name:
                there |= _group(there["id"], name, visibility=visibility, public=public)
                return int(there["id"])
        groups.append(_group(len(groups) + 1, name, visibility=visibility, public=public))
        return len(groups)

    def set_repository(self, name: str, private: bool) -> None:
        """Add a repository, or make one private or public."""
        self.state.repositories[name] = private

    def queue_job(
        self, scope: str, labels: list[str], runner: int, steps: list[str], env: dict[str, str]
    ) -> int:
        """Have a job wait for a runner."""
        job = Job(self.state.next_number(), scope, labels, runner, steps, env)
        self.state.jobs[job.number] = job
        self.state.changed.notify_all()
        return job.number

    def job(self, number: int, wait: float) -> dict[str, Any]:
        """Return a job, once it is done or the time is over."""
        end = time.monotonic() + min(wait, POLL_SECONDS)
        job = self.state.jobs[number]
        while job.state != "done" and (left := end - time.monotonic()) > 0:
            self.state.changed.wait(left)
        return vars(job)

    def put_release(
        self, version: str, architecture: str, content: str, checksum: str, published_at: str
    ) -> str:
        """Publish an archive (base64); return its SHA-256."""
        _number_of(version)
        raw = base64.b64decode(content, validate=True)
        digest = hashlib.sha256(raw).hexdigest()
        self.state.releases.setdefault(version, {})[architecture] = (raw, checksum or digest)
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        self.state.published[version] = published_at or self.state.published.get(version, now)
        return digest

    def mint(self, kind: str, permissions: dict[str, str], seconds: float) -> str:
        """Give out a token that REST takes."""
        if kind not in ("fine-grained", "installation"):
            raise RefusedError(400, f"{kind} is no token that REST takes")
        return self.state.mint(kind, seconds, permissions=permissions)

    def set_token(self, value: str, changes: dict[str, Any]) -> None:
        """Change what a token may do, or until when."""
        token = self.state.tokens[value]
        if "permissions" in changes:
            token.permissions = changes["permissions"]
        if "seconds" in changes:
            token.expires = time.time() + changes["seconds"]

    def set_app(self, permissions: dict[str, str]) -> None:
        """Change what the tokens may do that the app gets from now on."""
        self.state.app_permissions = permissions

    def validity(self, seconds: float) -> None:
        """Set how long tokens to register and to remove are good from now on."""
        self.state.validity = seconds

    def expire_registrations(self) -> None:
        """Have all tokens expire that were given out to register and to remove."""
        for token in self.state.tokens.values():
            if token.kind in ("registration", "remove"):
                token.expires = 0

    def add_fault(self, **about: Any) -> None:
        """Have something happen to requests."""
        re.compile(about["pattern"])
        self.state.faults.append(Fault(**about))

    def clear_faults(self) -> None:
        """Have nothing happen any more."""
        self.state.faults.clear()

    def mark(self) -> int:
        """Return how many requests there were."""
        return len(self.state.requests)

    def requests(self, since: int) -> list[dict[str, Any]]:
        """Return the requests since a mark."""
        return self.state.requests[since:]

    def violations(self) -> list[dict[str, str]]:
        """Return where the contract was broken."""
        return self.state.violations

    def secrets(self) -> list[str]:
        """Return all tokens ever given out, and a line of the app's key that only it has."""
        return [*sorted(self.state.given), self.state.key.splitlines()[12]]

    NAMES = frozenset(
        {
            *("reset", "token", "app"),
            *("add_runner", "runners", "set_runner", "remove_runner", "add_group"),
            *("set_repository", "queue_job", "job", "put_release"),
            *("mint", "set_token", "set_app", "validity", "expire_registrations"),
            *("add_fault", "clear_faults", "mark", "requests", "violations", "secrets"),
        }
    )


class Server(ThreadingHTTPServer):
    """The server: HTTPS, a thread for each connection."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext, lab_token: str) -> None:
        super().__init__(address, Handler)
        self.lab_token = lab_token
        self.state = State()
        self.rest = Rest(self.state)
        self.services = Services(self.state)
        self.lab = Lab(self.state)
        self._tls = tls

    def get_request(self) -> tuple[socket.socket, Any]:
        """Take a connection; its thread shakes hands, so that a silent one delays nobody."""
        taken, whence = super().get_request()
        return self._tls.wrap_socket(taken, True, do_handshake_on_connect=False), whence

    def handle_error(self, request: object, client_address: object) -> None:
        """Say what went wrong, except that a client is gone."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "GitHub.com"
    sys_version = ""
    timeout = IDLE_SECONDS
    # Header and body are two writes; together they would wait for an acknowledgement.
    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: what was asked for is in the state."""

    def _alive(self) -> bool:
        # Whoever waits for an answer sends nothing: there is something only at the end.
        return not select.select([self.connection], [], [], 0)[0]

    def _call(self) -> Call:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            raise RefusedError(400, "Problems parsing JSON") from None
        target = urlsplit(self.path)
        return Call(
            self.command,
            target.path,
            dict(parse_qsl(target.query, keep_blank_values=True)),
            body,
            self.headers.get("Authorization", ""),
            f"https://{self.headers.get('Host', '')}",
            self._alive,
        )

    def _close(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, answer: Answer, cut: int | None = None) -> None:
        """Send an answer, or only so many bytes of its body."""
        content, kind = answer.content, "application/octet-stream"
        if content is None:
            kind = "application/json; charset=utf-8"
            content = b"" if answer.body is None else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("X-GitHub-Request-Id", secrets.token_hex(8).upper())
        if content:
            self.send_header("Content-Type", kind)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:cut])
        if cut is not None:
            self._close()

    def _lab(self, call: Call) -> None:
        given = self.headers.get("X-Lab-Token", "")
        if not hmac.compare_digest(given.encode(), self.server.lab_token.encode()):
            self._send(error(401, "The lab's token is another"))
            return
        with self.server.state.changed:
            answer = self.server.lab.answer(call)
        self._send(answer)

    def _public(self, call: Call) -> None:
        state = self.server.state
        with state.changed:
            record = state.begin(call)
            # A pattern is held against what the list of requests shows.
            request = f"{record['method']} {record['path']}"
            struck = [fault for fault in state.faults if fault.strikes(request)]
        fault = struck[0] if struck else Fault("")
        time.sleep(fault.delay)
        if fault.close:
            record["status"] = 0
            self._close()
            return
        if fault.status:
            text = fault.message or HTTPStatus(fault.status).phrase
            answer = error(fault.status, text, fault.headers)
        else:
            with state.changed:
                try:
                    answer = self._answer(call)
                except GoneError:
                    record["status"] = 0
                    self._close()
                    return
        record["status"] = answer.status
        self._send(answer, fault.cut)

    def _answer(self, call: Call) -> Answer:
        inside = call.path.removeprefix(API)
        if inside == call.path or inside == "/actions/runner-registration":
            return self.server.services.answer(call)
        return self.server.rest.answer(Call(**(vars(call) | {"path": inside})))

    def serve(self) -> None:
        """Answer a request."""
        try:
            call = self._call()
        except RefusedError as refusal:
            self._send(error(refusal.status, refusal.message))
            return
        if call.path.startswith("/_lab/"):
            self._lab(call)
        else:
            self._public(call)


# The base class calls a method for each verb.
for _verb in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
    setattr(Handler, f"do_{_verb}", Handler.serve)


def make(port: int, certificate: Path, key: Path, lab_token: str, address: str = "") -> Server:
    """Return a server that listens, and serves once it is told to.

    Args:
        port: where; 0 has the kernel choose.
        certificate: its certificate's file (PEM).
        key: the file of that one's private key (PEM).
        lab_token: what a test has to know.
        address: of which of the machine's addresses; of all if empty.
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    return Server((address, port), tls, lab_token)


def main() -> None:
    """Serve until the end; the first line of the output says at which port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=443)
    parser.add_argument("--address", default="")
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    given = parser.parse_args()
    token = given.token_file.read_text().strip()
    server = make(given.port, given.certificate, given.key, token, given.address)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
