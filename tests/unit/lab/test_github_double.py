"""The double of GitHub: what it answers, and that it holds all that against GitHub's contract."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.lab.console import LabError
from tests.lab.github import ORGANIZATION, REPOSITORY, Double, server

RUNNERS = f"/api/v3/{REPOSITORY}/actions/runners"
SERVICES = f"/_services/{REPOSITORY}"
LAB_TOKEN = secrets.token_hex(8)


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)


def ask(
    double: Double,
    method: str,
    path: str,
    token: str = "",
    body: object = None,
    scheme: str = "Bearer",
) -> Answer:
    headers = {"Authorization": f"{scheme} {token}"} if token else {}
    connection = double.connection()
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        given = connection.getresponse()
        return Answer(given.status, given.headers, given.read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 -subj /CN=x"
    use = "-addext keyUsage=critical,digitalSignature,keyCertSign"
    names = "-addext subjectAltName=IP:127.0.0.1 -keyout key -out certificate"
    command = [*new.split(), *use.split(), *names.split()]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def running(certificate: Path) -> Iterator[Double]:
    made = server.make(
        0, certificate / "certificate", certificate / "key", LAB_TOKEN, address="127.0.0.1"
    )
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    port = made.server_address[1]
    yield Double("127.0.0.1", port, (certificate / "certificate").read_text(), LAB_TOKEN)
    made.shutdown()
    made.server_close()


@pytest.fixture
def double(running: Double) -> Double:
    running.reset()
    return running


# REST.


def test_runners_come_in_pages_that_lead_to_each_other(double: Double) -> None:
    for number in range(45):
        double.add_runner(f"camera-{number}")
    token = double.token

    first = ask(double, "GET", RUNNERS, token)
    assert first.body["total_count"] == 45
    assert len(first.body["runners"]) == 30
    links = {
        relation: url
        for url, relation in re.findall(r'<([^>]+)>; rel="(\w+)"', first.headers["Link"])
    }
    assert links == {
        "next": double.url(f"{RUNNERS}?page=2"),
        "last": double.url(f"{RUNNERS}?page=2"),
    }
    second = ask(double, "GET", links["next"].removeprefix(double.url().rstrip("/")), token)
    assert [runner["name"] for runner in second.body["runners"]] == [
        f"camera-{number}" for number in range(30, 45)
    ]
    assert 'rel="first"' in second.headers["Link"]
    assert 'rel="next"' not in second.headers["Link"]

    whole = ask(double, "GET", f"{RUNNERS}?per_page=100", token)
    assert len(whole.body["runners"]) == 45
    assert whole.headers["Link"] is None
    named = ask(double, "GET", f"{RUNNERS}?name=camera-4", token)
    assert [runner["name"] for runner in named.body["runners"]] == ["camera-4"]
    assert double.violations() == []


@pytest.mark.parametrize("scope", [REPOSITORY, ORGANIZATION])
def test_a_runner_is_shown_and_deleted_unless_it_is_busy(double: Double, scope: str) -> None:
    runner = double.add_runner("hall", scope=scope, status="online", busy=True, version="")
    path = f"/api/v3/{scope}/actions/runners/{runner.id}"
    shown = ask(double, "GET", path, double.token)
    assert (shown.status, shown.body["status"], shown.body["busy"]) == (200, "online", True)
    # GitHub allows null here by OpenAPI's own word for it.
    assert shown.body["version"] is None
    assert ask(double, "DELETE", path, double.token).status == 422
    double.force(runner.id, status="offline", busy=False)
    assert ask(double, "DELETE", path, double.token).status == 204
    assert ask(double, "DELETE", path, double.token).status == 404
    assert ask(double, "GET", path, double.token).status == 404
    assert double.violations() == []


def test_labels_change_except_those_that_are_read_only(double: Double) -> None:
    runner = double.add_runner("hall", labels=["old"])
    path = f"{RUNNERS}/{runner.id}/labels"

    def names(answer: Answer) -> list[str]:
        assert answer.status == 200
        assert answer.body["total_count"] == len(answer.body["labels"])
        return [label["name"] for label in answer.body["labels"]]

    fixed = ["self-hosted", "Linux", "ARM64"]
    token = double.token
    assert names(ask(double, "GET", path, token)) == [*fixed, "old"]
    assert names(ask(double, "PUT", path, token, {"labels": ["a", "b"]})) == [*fixed, "a", "b"]
    assert names(ask(double, "POST", path, token, {"labels": ["b", "c"]})) == [*fixed, *"abc"]
    assert double.runner("hall").custom_labels == ["a", "b", "c"]
    assert names(ask(double, "DELETE", path, token)) == fixed
    assert double.set_labels(runner.id, ["z"]).custom_labels == ["z"]
    assert double.violations() == []


@pytest.mark.parametrize("scheme", ["Bearer", "token"])
def test_a_token_is_known_under_both_schemes(double: Double, scheme: str) -> None:
    assert ask(double, "GET", RUNNERS, double.token, scheme=scheme).status == 200


def test_who_may_not_gets_the_status_that_says_why(double: Double) -> None:
    def status(token: str, method: str = "GET", path: str = RUNNERS) -> int:
        return ask(double, method, path, token).status

    refused = ask(double, "GET", RUNNERS)
    assert refused.status == 401
    assert refused.body["message"] == "Bad credentials"
    assert status("github_pat_unknown") == 401
    expired = double.mint({REPOSITORY: "write"})
    assert status(expired) == 200
    double.expire(expired)
    assert status(expired) == 401

    blind = double.mint({ORGANIZATION: "write"})
    assert status(blind) == 404
    assert status(blind, path="/api/v3/repos/octo/camera") == 404
    assert status(blind, path="/api/v3/repos/octo/open") == 200
    assert status(blind, path="/api/v3/repos/octo/open/actions/runners") == 403

    weak = double.mint({REPOSITORY: "none"})
    refused = ask(double, "GET", RUNNERS, weak)
    assert refused.status == 403
    assert refused.body["message"] == "Resource not accessible by personal access token"
    double.permit(weak, {REPOSITORY: "read"})
    assert status(weak) == 200
    assert status(weak, "POST", f"{RUNNERS}/registration-token") == 403
    assert double.violations() == []


def test_a_repository_says_whether_it_is_private(double: Double) -> None:
    double.set_repository("octo/open", private=True)
    shown = ask(double, "GET", "/api/v3/repos/octo/open", double.token).body
    assert (shown["full_name"], shown["private"], shown["visibility"]) == (
        "octo/open",
        True,
        "private",
    )


def test_a_runner_is_put_into_a_group(double: Double) -> None:
    group = double.add_group("cameras", visibility="selected")
    runner = double.add_runner("hall", scope=ORGANIZATION)
    groups = f"/api/v3/{ORGANIZATION}/actions/runner-groups"
    found = ask(double, "GET", groups, double.token).body
    assert [(item["name"], item["default"]) for item in found["runner_groups"]] == [
        ("Default", True),
        ("cameras", False),
    ]
    assert ask(double, "PUT", f"{groups}/{group}/runners/{runner.id}", double.token).status == 204
    assert double.runner("hall", ORGANIZATION).group_id == group
    assert ask(double, "PUT", f"{groups}/99/runners/{runner.id}", double.token).status == 404


# The contract.


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/hall", None),
        ("GET", "?perpage=100", None),
        ("GET", "?per_page=many", None),
        ("PUT", "/1/labels", {"labels": "one"}),
        ("PUT", "/1/labels", None),
        ("POST", "/1/labels", {"labels": []}),
        ("PUT", "/1/labels", {"labels": ["x"] * 101}),
        ("PATCH", "/1", {"name": "other"}),
        ("GET", "/registration-token", None),
    ],
)
def test_a_request_that_github_does_not_describe_is_a_violation(
    double: Double, method: str, path: str, body: object
) -> None:
    double.add_runner("hall")
    assert ask(double, method, RUNNERS + path, double.token, body).status == 500
    assert {found.method for found in double.violations()} == {method}
    double.reset()
    assert double.violations() == []


def test_an_answer_that_github_does_not_describe_is_a_violation(double: Double) -> None:
    runner = double.add_runner("hall")
    double._set_runner(runner.id, labels={"x": "neither"})
    assert ask(double, "GET", RUNNERS, double.token).status == 500
    assert "'neither' is not one of" in double.violations()[0].error


def test_every_path_that_the_double_has_for_runners_is_described(double: Double) -> None:
    # One that is not would never be held against anything.
    double.put_release("2.336.0", "arm64", b"x")
    for path in ("", "/downloads"):
        assert ask(double, "GET", RUNNERS + path, double.token).status == 200
    for use in ("registration", "remove"):
        given = ask(double, "POST", f"{RUNNERS}/{use}-token", double.token)
        assert given.status == 201
        left = datetime.fromisoformat(given.body["expires_at"]) - datetime.now(UTC)
        assert 3590 < left.total_seconds() <= 3600
    assert double.violations() == []


# An app.


def _jwt(double: Double, /, key: str = "", **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": double.app.client_id, "iat": now - 60, "exp": now + 500, **changes}

    def text(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    head = text(b'{"alg": "RS256", "typ": "JWT"}')
    signed = f"{head}.{text(json.dumps(claims).encode())}"
    private = serialization.load_pem_private_key((key or double.app.key).encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    signature = private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{text(signature)}"


def test_an_app_gets_a_token_for_its_jwt(double: Double) -> None:
    path = f"/api/v3/app/installations/{double.app.installation}/access_tokens"
    given = ask(double, "POST", path, _jwt(double))
    assert given.status == 201
    assert given.body["token"].startswith("ghs_")
    assert ask(double, "GET", RUNNERS, given.body["token"]).status == 200
    assert ask(double, "POST", path, _jwt(double, iss=str(double.app.id))).status == 201
    elsewhere = "/api/v3/app/installations/1/access_tokens"
    assert ask(double, "POST", elsewhere, _jwt(double)).status == 404
    assert [found.authorization for found in double.requests()] == [
        *("app", "installation", "app", "app")
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody"},
        {"exp": int(time.time()) - 1},
        {"exp": int(time.time()) + 3600},
        {"iat": int(time.time()) + 3600},
        {"exp": None},
    ],
)
def test_a_jwt_with_wrong_claims_is_refused(double: Double, changes: dict[str, Any]) -> None:
    path = f"/api/v3/app/installations/{double.app.installation}/access_tokens"
    assert ask(double, "POST", path, _jwt(double, **changes)).status == 401


def test_a_jwt_by_another_key_is_refused(double: Double) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = f"/api/v3/app/installations/{double.app.installation}/access_tokens"
    assert ask(double, "POST", path, _jwt(double, key.decode())).status == 401
    assert ask(double, "POST", path, "no.jwt.§".encode().decode("latin-1")).status == 401
    assert ask(double, "POST", path, double.token).status == 401


# Releases.


def test_a_release_has_its_checksums_in_its_notes_and_its_archive(double: Double) -> None:
    content = b"runner" * 1000
    double.put_release("2.9.0", "arm64", b"older")
    digest = double.put_release("2.336.0", "arm64", content, published_at="2026-01-31T12:00:00Z")
    double.put_release("2.336.0", "x64", b"other", checksum="0" * 64)
    assert digest == hashlib.sha256(content).hexdigest()

    found = ask(double, "GET", "/api/v3/repos/actions/runner/releases/tags/v2.336.0").body
    assert (found["tag_name"], found["published_at"]) == ("v2.336.0", "2026-01-31T12:00:00Z")
    assert f"<!-- BEGIN SHA linux-arm64 -->{digest}<!-- END SHA linux-arm64 -->" in found["body"]
    assert f"<!-- BEGIN SHA linux-x64 -->{'0' * 64}<!-- END SHA linux-x64 -->" in found["body"]
    url = found["assets"][0]["browser_download_url"]
    asset = "actions-runner-linux-arm64-2.336.0.tar.gz"
    assert url == double.url(f"actions/runner/releases/download/v2.336.0/{asset}")
    assert ask(double, "GET", url.removeprefix(double.url().rstrip("/"))).content == content

    listed = ask(double, "GET", f"{RUNNERS}/downloads", double.token).body
    assert [(item["architecture"], item["sha256_checksum"]) for item in listed] == [
        ("arm64", digest),
        ("x64", "0" * 64),
    ]
    missing = "/api/v3/repos/actions/runner/releases/tags/v2.1.0"
    assert ask(double, "GET", missing).status == 404


# Faults, and what is told of requests.


def test_a_fault_strikes_so_often_and_from_then_on(double: Double) -> None:
    double.fault("^GET .*/runners$", after=1, times=2, status=429, retry_after=7)
    statuses = []
    for _number in range(4):
        answer = ask(double, "GET", RUNNERS, double.token)
        statuses.append(answer.status)
        assert answer.headers["Retry-After"] == ("7" if answer.status == 429 else None)
    assert statuses == [200, 429, 429, 200]
    double.fault("runners", status=503)
    assert ask(double, "POST", f"{RUNNERS}/remove-token", double.token).status == 503
    double.clear_faults()
    assert ask(double, "GET", RUNNERS, double.token).status == 200
    assert double.violations() == []


def test_a_connection_is_closed_delayed_or_cut(double: Double) -> None:
    double.fault("GET", times=1, close=True)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(double, "GET", RUNNERS, double.token)
    double.fault("GET", times=1, delay=0.3)
    began = time.monotonic()
    assert ask(double, "GET", RUNNERS, double.token).status == 200
    assert time.monotonic() - began >= 0.3
    double.put_release("2.336.0", "arm64", b"x" * 5000)
    double.fault("tar.gz$", times=1, cut=100)
    path = "/actions/runner/releases/download/v2.336.0/actions-runner-linux-arm64-2.336.0.tar.gz"
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(double, "GET", path)
    assert len(caught.value.partial) == 100
    assert len(ask(double, "GET", path).content) == 5000
    assert [found.status for found in double.requests()] == [0, 200, 200, 200]


def test_requests_are_listed_since_a_mark_without_any_secret(double: Double) -> None:
    token = double.token
    ask(double, "GET", RUNNERS, token)
    mark = double.mark()
    ask(double, "GET", f"{RUNNERS}?name={token}", token)
    ask(double, "GET", "/nothing")
    found = double.requests(mark)
    assert [(item.method, item.path, item.status, item.authorization) for item in found] == [
        ("GET", f"{RUNNERS}?name=***", 200, "fine-grained"),
        ("GET", "/nothing", 404, "none"),
    ]
    assert token in double.secrets()
    assert double.app.key.splitlines()[12] in double.secrets()


def test_the_lab_is_closed_to_others(double: Double) -> None:
    other = Double("127.0.0.1", int(double.url().split(":")[2].strip("/")), double.ca, "guess")
    with pytest.raises(LabError, match="token is another"):
        other.reset()
    with pytest.raises(LabError, match="knows no POST /_lab/state"):
        double._call("state")
    with pytest.raises(LabError, match="There is no orgs/none"):
        double.add_runner("x", scope="orgs/none")


# A runner.


class Listener:
    """What a runner says, from its registration on."""

    def __init__(self, double: Double, name: str = "hall", *, ephemeral: bool = False) -> None:
        self.double = double
        self.name = name
        self.ephemeral = ephemeral
        self.number = 0
        self.client = ""
        self.token = ""
        self.session = ""

    def enter(self, use: str = "registration", event: str = "register") -> Answer:
        given = ask(self.double, "POST", f"{RUNNERS}/{use}-token", self.double.token)
        body = {"url": self.double.url("octo/camera"), "runner_event": event}
        path = "/api/v3/actions/runner-registration"
        return ask(self.double, "POST", path, given.body["token"], body, "RemoteAuth")

    def description(self) -> dict[str, object]:
        return {
            "name": self.name,
            "group_id": 1,
            "labels": [
                {"name": "self-hosted", "type": "read-only"},
                {"name": "camera", "type": "custom"},
            ],
            "ephemeral": self.ephemeral,
            "disable_update": True,
            "version": "2.336.0",
            "os": "Linux",
        }

    def register(self, method: str = "POST", suffix: str = "") -> Answer:
        session = self.enter().body
        assert session["url"] == self.double.url(SERVICES)
        path = f"{SERVICES}/agents{suffix}"
        given = ask(self.double, method, path, session["token"], self.description())
        if given.status < 300:
            self.number, self.client = given.body["id"], given.body["client_id"]
        return given

    def log_in(self) -> int:
        body = {"client_id": self.client}
        given = ask(self.double, "POST", f"{SERVICES}/oauth", body=body)
        if given.status == 200:
            self.token = given.body["token"]
        return given.status

    def listen(self) -> int:
        path = f"{SERVICES}/agents/{self.number}/session"
        given = ask(self.double, "POST", path, self.token)
        if given.status == 201:
            self.session = given.body["session"]
        return given.status

    @property
    def poll_path(self) -> str:
        return f"{SERVICES}/agents/{self.number}/message?session={self.session}"

    def poll(self, wait: float = 0) -> Answer:
        return ask(self.double, "GET", f"{self.poll_path}&wait={wait}", self.token)

    def poll_meanwhile(self, wait: float = 20) -> list[Answer]:
        """Begin to poll; return where the answer will be, with a thread to join."""
        found: list[Answer] = []
        self.thread = threading.Thread(target=lambda: found.append(self.poll(wait)))
        mark = self.double.mark()
        self.thread.start()
        while not self.double.requests(mark):
            time.sleep(0.01)
        return found

    def conclude(self, job: int, conclusion: str = "success") -> Answer:
        body = {"conclusion": conclusion, "log": "it ran"}
        return ask(self.double, "POST", f"{SERVICES}/jobs/{job}", self.token, body)


@pytest.fixture
def listener(double: Double) -> Listener:
    listener = Listener(double)
    assert listener.register().status == 201
    assert listener.log_in() == 200
    return listener


def test_only_the_right_token_lets_a_runner_register(double: Double) -> None:
    listener = Listener(double)
    assert listener.enter("remove", "register").status == 404
    assert listener.enter("registration", "remove").status == 404
    assert listener.enter("remove", "remove").status == 200
    double.validity(0)
    assert listener.enter().status == 404
    double.validity(60)
    given = ask(double, "POST", f"{RUNNERS}/registration-token", double.token).body["token"]
    path = "/api/v3/actions/runner-registration"
    elsewhere = {"url": double.url("octo/open"), "runner_event": "register"}
    here = {"url": double.url("octo/camera"), "runner_event": "register"}
    assert ask(double, "POST", path, given, elsewhere, "RemoteAuth").status == 404
    assert ask(double, "POST", path, given, here, "RemoteAuth").status == 200
    double.expire_registrations()
    refused = ask(double, "POST", path, given, here, "RemoteAuth")
    assert (refused.status, refused.body["message"]) == (404, "Not Found")
    assert given in double.secrets()


def test_a_runner_registers_once_and_is_replaced(listener: Listener) -> None:
    double = listener.double
    session = listener.enter().body["token"]
    assert ask(double, "GET", f"{SERVICES}/groups", session).body == {
        "groups": [{"id": 1, "name": "Default"}]
    }
    found = ask(double, "GET", f"{SERVICES}/agents?name=hall", session).body
    assert found == {"agents": [{"id": listener.number, "name": "hall"}]}
    other = Listener(double)
    assert other.register().status == 409
    assert listener.listen() == 201
    waiting = listener.poll_meanwhile()
    assert other.register("PUT", f"/{listener.number}").status == 200
    listener.thread.join(5)
    assert [answer.status for answer in waiting] == [404]
    assert (listener.log_in(), other.log_in()) == (401, 200)
    assert double.runner("hall").status == "offline"
    path = f"{SERVICES}/agents/{listener.number}"
    assert ask(double, "DELETE", path, session).status == 204
    assert ask(double, "DELETE", path, session).status == 404
    assert ask(double, "GET", f"{SERVICES}/agents", "unknown").status == 401


def test_a_job_goes_to_a_runner_that_has_its_labels(listener: Listener) -> None:
    double = listener.double
    assert double.runner("hall").status == "offline"
    assert listener.listen() == 201
    assert double.wait_for_runner("hall", busy=False).status == "online"
    elsewhere = double.queue_job("true", labels=["gpu"])
    assert listener.poll().status == 202
    waiting = listener.poll_meanwhile()
    job = double.queue_job("echo $GREETING", labels=["Camera"], env={"GREETING": "hello"})
    listener.thread.join(5)
    given = waiting[0].body["job"]
    assert given == {"id": job, "steps": ["echo $GREETING"], "env": {"GREETING": "hello"}}
    assert double.runner("hall").busy
    assert ask(double, "DELETE", f"{RUNNERS}/{listener.number}", double.token).status == 422
    assert listener.conclude(elsewhere).status == 404
    assert listener.conclude(job).status == 200
    done = double.wait_for_job(job)
    assert (done.conclusion, done.log, done.runner) == ("success", "it ran", listener.number)
    assert not double.runner("hall").busy
    assert double.job(elsewhere).state == "queued"
    with pytest.raises(LabError, match="the job is not done"):
        double.wait_for_job(elsewhere, seconds=0.1)


def test_an_ephemeral_runner_ends_with_its_job(double: Double) -> None:
    listener = Listener(double, ephemeral=True)
    listener.register()
    listener.log_in()
    listener.listen()
    job = double.queue_job("true", runner=listener.number)
    assert listener.poll().status == 200
    assert listener.conclude(job, "failure").status == 200
    assert double.job(job).conclusion == "failure"
    assert double.runners() == []
    assert listener.poll().status == 404
    assert listener.log_in() == 401


def test_a_poll_ends_at_once_when_the_registration_does(listener: Listener) -> None:
    listener.listen()
    waiting = listener.poll_meanwhile()
    began = time.monotonic()
    listener.double.remove_runner(listener.number)
    listener.thread.join(5)
    assert waiting[0].status == 404
    assert time.monotonic() - began < 2


def test_a_runner_is_offline_when_it_is_not_heard_of(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ONLINE_SECONDS", 0.3)
    double = listener.double
    listener.listen()
    waiting = listener.poll_meanwhile(1)
    time.sleep(0.5)
    assert double.runner("hall").status == "online"
    listener.thread.join(5)
    assert waiting[0].status == 202
    assert double.wait_for_runner("hall", "offline", seconds=5).status == "offline"
    listener.poll()
    assert double.runner("hall").status == "online"
    session = f"{SERVICES}/agents/{listener.number}/session?session={listener.session}"
    assert ask(double, "DELETE", session, listener.token).status == 204
    assert double.runner("hall").status == "offline"


def test_a_second_session_has_to_wait_until_the_first_is_silent(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener.listen()
    first = listener.session
    assert listener.listen() == 409
    monkeypatch.setattr(server, "TAKEN_SECONDS", 0)
    assert listener.listen() == 201
    assert listener.session != first
    listener.session = first
    assert listener.poll().status == 409


def test_a_listener_that_dies_is_not_heard_of_any_more(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ONLINE_SECONDS", 0.1)
    double = listener.double
    listener.listen()
    connection = double.connection()
    headers = {"Authorization": f"Bearer {listener.token}"}
    connection.request("GET", f"{listener.poll_path}&wait=50", headers=headers)
    double.wait_for_runner("hall", "online")
    connection.close()
    double.wait_for_runner("hall", "offline", seconds=5)
    assert double.requests()[-1].status == 0


def test_a_job_is_lost_with_its_listener(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = listener.double
    listener.listen()
    job = double.queue_job("sleep 1000")
    assert listener.poll().status == 200
    monkeypatch.setattr(server, "TAKEN_SECONDS", 0)
    assert listener.listen() == 201
    assert double.job(job).conclusion == "failure"
    assert not double.runner("hall").busy


# The program.


def test_the_program_says_at_which_port_it_serves(certificate: Path) -> None:
    token = certificate / "token"
    token.write_text(f"{LAB_TOKEN}\n")
    files = [f"--certificate={certificate / 'certificate'}", f"--key={certificate / 'key'}"]
    where = ["--port=0", "--address=127.0.0.1", f"--token-file={token}"]
    with subprocess.Popen(
        [sys.executable, server.__file__, *files, *where], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout
        port = int(program.stdout.readline())
        ca = (certificate / "certificate").read_text()
        assert Double("127.0.0.1", port, ca, LAB_TOKEN).violations() == []
        program.terminate()
