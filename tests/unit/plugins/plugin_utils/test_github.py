# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of GitHub, and what its answers become; GitHub is a real server over TLS."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.rpi_camera.fleet.plugins.plugin_utils import _github
from ansible_collections.rpi_camera.fleet.plugins.plugin_utils._github import (
    AppKey,
    GitHub,
    GitHubError,
    Group,
    Release,
    Runner,
    Scope,
)
from ansible_collections.rpi_camera.fleet.tests.unit.plugins.authority import Authority
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

GIVEN = "github_pat_11SECRET"
SHA = "ab" * 32


@dataclass(frozen=True)
class Asked:
    """A request as it has arrived."""

    method: str
    # Below /api/v3, without the query.
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An answer; `cut`: how many bytes of it are kept back."""

    status: int = 200
    data: object = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0


@dataclass
class Double:
    """A GitHub Enterprise Server that answers as `answer` says, and notes what it was asked."""

    host: str
    answer: Callable[[Asked], Reply] = lambda _asked: Reply()
    asked: list[Asked] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def github(self, path: str = "acme/lamp", **options: Any) -> GitHub:
        """Return a client for a repository or an organization."""
        options = {"token": GIVEN} | options
        return GitHub(Scope.of(f"https://{self.host}/{path}"), sleep=self.slept.append, **options)

    def replies(self, *replies: Reply) -> None:
        """Answer with these in turn; the last one stays."""
        left = list(replies)
        self.answer = lambda _asked: left.pop(0) if len(left) > 1 else left[0]


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    """A server in a thread, whose certificate this process trusts."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            url = urlsplit(self.path)
            asked = Asked(
                self.command,
                url.path.removeprefix("/api/v3"),
                parse_qs(url.query),
                dict(self.headers),
                self.rfile.read(size),
            )
            found.asked.append(asked)
            reply = found.answer(asked)
            text = reply.data if isinstance(reply.data, str) else json.dumps(reply.data)
            body = b"" if reply.status == 204 else text.encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            # A client that has given up is no failure.
            with contextlib.suppress(OSError):
                self.wfile.write(body[: len(body) - reply.cut])

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def do_PUT(self) -> None:
            self.answer()

        def do_DELETE(self) -> None:
            self.answer()

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    authority = Authority(tmp_path, "github")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = authority.server().wrap_socket(server.socket, server_side=True)
        found = Double(f"127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """Return an App's key."""
    return rsa.generate_private_key(65537, 2048)


def pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    encryption: KeySerializationEncryption | None = None,
) -> str:
    """Return a private key as GitHub hands it out."""
    form = PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()).decode()


def runner(number: int, name: str = "", **more: object) -> dict[str, Any]:
    """Return a runner as GitHub describes it."""
    return {
        "id": number,
        "name": name or f"pi-{number}",
        "os": "Linux",
        "status": "online",
        "busy": False,
        "labels": [
            {"id": 1, "name": "self-hosted", "type": "read-only"},
            {"id": 2, "name": "ARM64", "type": "read-only"},
            {"id": 3, "name": "camera", "type": "custom"},
        ],
        **more,
    }


@pytest.mark.parametrize(
    ("url", "web", "api", "path"),
    [
        (
            "https://github.com/acme/lamp",
            "https://github.com/acme/lamp",
            "https://api.github.com",
            "repos/acme/lamp",
        ),
        (
            "https://www.GitHub.com/Acme/",
            "https://github.com/Acme",
            "https://api.github.com",
            "orgs/Acme",
        ),
        (
            "https://acme.ghe.com/lab/a.b_c-d/",
            "https://acme.ghe.com/lab/a.b_c-d",
            "https://api.acme.ghe.com",
            "repos/lab/a.b_c-d",
        ),
        (
            "https://git.acme.org:8443/lab",
            "https://git.acme.org:8443/lab",
            "https://git.acme.org:8443/api/v3",
            "orgs/lab",
        ),
        (
            "https://git.acme.org:443/lab/x",
            "https://git.acme.org/lab/x",
            "https://git.acme.org/api/v3",
            "repos/lab/x",
        ),
        (
            "https://notghe.com/lab",
            "https://notghe.com/lab",
            "https://notghe.com/api/v3",
            "orgs/lab",
        ),
    ],
)
def test_a_page_leads_to_its_interface(url: str, web: str, api: str, path: str) -> None:
    scope = Scope.of(url)
    assert (scope.web, scope.api, scope.path) == (web, api, path)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://github.com/acme/lamp", "https://"),
        ("github.com/acme/lamp", "https://"),
        ("git@github.com:acme/lamp", "https://"),
        ("https://github.com/acme/lamp.git", "without .git"),
        ("https://github.com/enterprises/acme", "enterprise"),
        ("https://github.com/orgs/acme", "no owner"),
        ("https://github.com/acme/lamp/settings", "more than a repository"),
        ("https://github.com", "no owner"),
        ("https://github.com/acme//", "no repository"),
        ("https://github.com/acme/..", "no repository"),
        ("https://github.com/ac me", "no owner"),
        ("https:///acme/lamp", "no host"),
        ("https://github.com:99999/acme", "no URL"),
        ("https://[::1/acme", "no URL"),
        ("https://me:hunter2@github.com/acme", "no user, password"),
        ("https://github.com/acme?token=hunter2", "query"),
        ("https://github.com/acme#hunter2", "fragment"),
    ],
)
def test_other_urls_are_refused(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        Scope.of(url)
    assert "https://HOST/OWNER/REPOSITORY" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_runner_is_found_by_its_exact_name(double: Double) -> None:
    double.replies(
        Reply(
            data={
                "total_count": 2,
                "runners": [
                    runner(1, "pi-10"),
                    runner(2, "pi-1", busy=True, runner_group_id=7, version="2.336.0"),
                ],
            }
        )
    )
    github = double.github()
    assert github.runner("pi-1") == Runner(
        id=2,
        name="pi-1",
        online=True,
        busy=True,
        labels=frozenset({"camera"}),
        fixed_labels=frozenset({"self-hosted", "ARM64"}),
        group_id=7,
        version="2.336.0",
    )
    assert github.runner("pi") is None
    asked = double.asked[0]
    assert (asked.method, asked.path) == ("GET", "/repos/acme/lamp/actions/runners")
    assert asked.query == {"name": ["pi-1"], "per_page": ["100"]}
    assert asked.headers["Authorization"] == f"Bearer {GIVEN}"
    assert asked.headers["Accept"] == "application/vnd.github+json"
    assert asked.headers["X-Github-Api-Version"] == "2022-11-28"
    assert asked.headers["User-Agent"].startswith("rpi_camera.fleet")
    assert github.requests == 2


def test_a_name_is_sought_on_all_pages_when_the_server_ignores_it(double: Double) -> None:
    runners = [runner(number) for number in range(130)]

    def answer(asked: Asked) -> Reply:
        page, size = (int(asked.query.get(key, ["1"])[0]) for key in ("page", "per_page"))
        base = f"https://{double.host}/api/v3{asked.path}?per_page={size}&page="
        link = f'<{base}1>; rel="first"' + (f', <{base}2>; rel="next"' if page == 1 else "")
        data = {"total_count": 130, "runners": runners[(page - 1) * size : page * size]}
        return Reply(data=data, headers={"Link": link})

    double.answer = answer
    found = double.github("acme").runner("pi-125")
    assert found is not None
    assert found.id == 125
    assert [asked.path for asked in double.asked] == ["/orgs/acme/actions/runners"] * 2
    assert double.github("acme").runner("pi-130") is None


def test_no_page_of_another_host_is_asked_for(double: Double) -> None:
    double.replies(
        Reply(data={"runners": []}, headers={"Link": '<https://evil.invalid/2>; rel="next"'})
    )
    github = double.github()
    with pytest.raises(GitHubError, match="another host"):
        github.runner("pi")
    assert github.requests == 1


def test_a_list_without_an_end_is_left(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_github, "MAX_PAGES", 3)
    link = f'<https://{double.host}/api/v3/orgs/acme/actions/runner-groups?page=2>; rel="next"'
    double.replies(Reply(data={"runner_groups": []}, headers={"Link": link}))
    with pytest.raises(GitHubError, match="does not end"):
        double.github("acme").groups()
    assert len(double.asked) == 3


def test_a_runner_is_looked_up_by_its_number(double: Double) -> None:
    double.replies(Reply(data=runner(4, status="offline")), Reply(404, {"message": "Not Found"}))
    github = double.github()
    found = github.runner_by_id(4)
    assert found is not None
    assert (found.name, found.online) == ("pi-4", False)
    assert double.asked[0].path == "/repos/acme/lamp/actions/runners/4"
    assert github.runner_by_id(4) is None


@pytest.mark.parametrize(
    ("answer", "public"),
    [
        ({"private": False, "visibility": "public"}, True),
        ({"private": True, "visibility": "internal"}, False),
        ({"private": True}, False),
        ({"private": False}, True),
    ],
)
def test_whether_a_repository_is_public(double: Double, answer: object, public: bool) -> None:
    double.replies(Reply(data=answer))
    assert double.github().repository_is_public() is public
    assert double.asked[0].path == "/repos/acme/lamp"


def test_groups_are_listed_and_runners_moved(double: Double) -> None:
    group = {"id": 3, "name": "lab", "default": False, "allows_public_repositories": True}
    double.replies(Reply(data={"runner_groups": [group]}), Reply(204))
    github = double.github("acme")
    assert github.groups() == [Group(3, "lab", default=False, allows_public=True)]
    github.move(12, 3)
    asked = double.asked[1]
    assert asked.method == "PUT"
    assert asked.path == "/orgs/acme/actions/runner-groups/3/runners/12"


def test_tokens_are_minted(double: Double) -> None:
    double.replies(Reply(201, {"token": "no token\n"}), Reply(201, {"token": "AABF3"}))
    github = double.github()
    with pytest.raises(GitHubError, match="not as described"):
        github.registration_token()
    assert (github.registration_token(), github.remove_token()) == ("AABF3", "AABF3")
    assert [(asked.method, asked.path) for asked in double.asked[1:]] == [
        ("POST", "/repos/acme/lamp/actions/runners/registration-token"),
        ("POST", "/repos/acme/lamp/actions/runners/remove-token"),
    ]


def test_labels_are_set(double: Double) -> None:
    double.replies(Reply(data={"total_count": 1, "labels": []}))
    double.github().set_labels(5, ["camera", "roof"])
    asked = double.asked[0]
    assert (asked.method, asked.path) == ("PUT", "/repos/acme/lamp/actions/runners/5/labels")
    assert json.loads(asked.body) == {"labels": ["camera", "roof"]}


def test_a_registration_is_removed_once(double: Double) -> None:
    double.replies(Reply(204), Reply(404, {"message": "Not Found"}))
    github = double.github()
    github.delete(5)
    github.delete(5)
    assert [(asked.method, asked.path) for asked in double.asked] == [
        ("DELETE", "/repos/acme/lamp/actions/runners/5")
    ] * 2


def test_a_runner_with_a_job_is_not_removed(double: Double) -> None:
    double.replies(Reply(422, {"message": "Bad request - Runner is running a job"}))
    with pytest.raises(GitHubError, match="is running a job, and cannot be removed") as caught:
        double.github().delete(5)
    assert caught.value.status == 422
    assert double.slept == []


def test_the_newest_release_is_the_one_for_the_machine(double: Double) -> None:
    def download(system: str, architecture: str, **more: object) -> dict[str, object]:
        name = f"actions-runner-linux-{architecture}-2.336.0.tar.gz"
        url = f"https://github.com/actions/runner/releases/download/v2.336.0/{name}"
        return {"os": system, "architecture": architecture, "filename": name} | (
            {"download_url": url} | more
        )

    double.replies(
        Reply(
            data=[
                download("osx", "arm64"),
                download("linux", "x64", sha256_checksum=SHA.upper()),
                download("linux", "arm64"),
            ]
        )
    )
    github = double.github()
    name = "actions-runner-linux-x64-2.336.0.tar.gz"
    url = f"https://github.com/actions/runner/releases/download/v2.336.0/{name}"
    assert github.newest("x64") == Release("2.336.0", url, name, SHA)
    assert github.newest("arm64").sha256 == ""
    with pytest.raises(GitHubError, match="offers no runner for linux-arm"):
        github.newest("arm")


@pytest.mark.parametrize(
    "wrong",
    [
        {"filename": "../../etc/actions-runner-linux-x64-2.336.0.tar.gz"},
        {"download_url": "http://github.com/x"},
        {"sha256_checksum": "abc"},
        {"filename": 3},
    ],
)
def test_a_strange_release_is_refused(double: Double, wrong: dict[str, object]) -> None:
    item = {
        "os": "linux",
        "architecture": "x64",
        "filename": "actions-runner-linux-x64-2.336.0.tar.gz",
        "download_url": "https://github.com/x",
    }
    double.replies(Reply(data=[item | wrong]))
    with pytest.raises(GitHubError, match="not as described"):
        double.github().newest("x64")


def test_a_releases_checksum_is_in_its_notes(double: Double) -> None:
    names = [f"actions-runner-linux-{kind}-2.330.0.tar.gz" for kind in ("x64", "arm64", "arm")]
    body = "\n".join(
        f"- {name} <!-- BEGIN SHA linux-{kind} -->{digit * 64}<!-- END SHA linux-{kind} -->"
        for name, kind, digit in zip(names, ("x64", "arm64", "arm"), "123", strict=True)
    )
    assets = [{"name": name, "browser_download_url": f"https://x.org/{name}"} for name in names]
    double.replies(
        Reply(data={"body": body, "assets": assets}),
        Reply(data={"body": "Fixes.", "assets": assets}),
        Reply(data={"body": body, "assets": []}),
        Reply(404, {"message": "Not Found"}),
    )
    github = double.github()
    expected = Release("2.330.0", f"https://x.org/{names[1]}", names[1], "2" * 64)
    assert github.release("2.330.0", "arm64") == expected
    assert double.asked[0].path == "/repos/actions/runner/releases/tags/v2.330.0"
    assert github.release("2.330.0", "arm64").sha256 == ""
    with pytest.raises(GitHubError, match="no archive for linux-arm64"):
        github.release("2.330.0", "arm64")
    with pytest.raises(GitHubError, match=r"knows no runner of version 2\.330\.0"):
        github.release("2.330.0", "arm64")
    with pytest.raises(GitHubError, match="three numbers"):
        github.release("../../user", "arm64")
    assert github.requests == 4


def test_an_app_signs_in_once(double: Double) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.path.startswith("/app/"):
            return Reply(201, {"token": "ghs_fresh", "expires_at": "x"})
        return Reply(data={"runners": []})

    double.answer = answer
    app = AppKey("Iv23li", "77", pem(rsa_key()))
    github = double.github(token=None, app=app)
    assert double.asked == []
    github.runner("pi")
    github.runner("pi")
    first, *others = double.asked
    assert (first.method, first.path) == ("POST", "/app/installations/77/access_tokens")
    assert [asked.headers["Authorization"] for asked in others] == ["Bearer ghs_fresh"] * 2
    assert github.requests == 3

    kind, jwt = first.headers["Authorization"].split()
    assert kind == "Bearer"
    signed, _dot, signature = jwt.rpartition(".")
    rsa_key().public_key().verify(
        base64.urlsafe_b64decode(signature + "=="),
        signed.encode(),
        padding.PKCS1v15(),
        hashes.SHA256(),
    )
    header, claims = (
        json.loads(base64.urlsafe_b64decode(part + "==")) for part in signed.split(".")
    )
    assert header == {"alg": "RS256", "typ": "JWT"}
    now = time.time()
    assert claims["iss"] == "Iv23li"
    assert now - 90 < claims["iat"] <= now - 60
    assert now + 300 < claims["exp"] <= claims["iat"] + 600


@pytest.mark.parametrize(
    ("status", "why"),
    [(401, "do not belong together"), (403, "suspended"), (404, "no installation")],
)
def test_an_app_is_not_let_in(double: Double, status: int, why: str) -> None:
    double.replies(Reply(status, {"message": "no"}))
    github = double.github(token=None, app=AppKey("1", "77", pem(rsa_key())))
    with pytest.raises(GitHubError, match=why) as caught:
        github.runner("pi")
    assert caught.value.status == status


def broken_keys() -> list[tuple[str, str]]:
    """Return texts that are no App's key, and why."""
    locked = pem(rsa_key(), BestAvailableEncryption(b"x"))
    return [
        ("", "no PEM"),
        ("-----BEGIN RSA PRIVATE KEY-----\nSECRET\n-----END RSA PRIVATE KEY-----\n", "no PEM"),
        (pem(rsa_key())[:900], "no PEM"),
        (locked, "password"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "no RSA"),
    ]


@pytest.mark.parametrize(("key", "why"), broken_keys(), ids=lambda text: text[:8])
def test_a_broken_key_is_refused_and_not_shown(key: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        AppKey("1", "2", key)
    assert "BEGIN" not in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_no_secret_is_in_a_repr(double: Double) -> None:
    app = AppKey("1", "2", pem(rsa_key()))
    assert "PRIVATE" not in repr(app)
    assert GIVEN not in repr(double.github())
    with pytest.raises(ValueError, match="not both"):
        double.github(app=app)


@pytest.mark.parametrize("token", ["", f"{GIVEN}\n", f"{GIVEN} x", f"{GIVEN}é"])
def test_a_token_that_cannot_be_one_is_refused(double: Double, token: str) -> None:
    with pytest.raises(ValueError, match="the token is empty, or holds blanks") as caught:
        double.github(token=token)
    assert GIVEN not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("acme/lamp", 401, "the token is not valid or has expired"),
        ("acme/lamp", 403, 'the repository permission "Administration: write"'),
        ("acme", 403, 'the organization permission "Self-hosted runners: write"'),
        ("acme", 404, "it does not exist, or the token cannot see it"),
        ("acme", 301, "it has moved"),
        ("acme", 409, "(409: Told ********)"),
    ],
)
def test_a_refusal_says_what_to_do(double: Double, path: str, status: int, text: str) -> None:
    # A server, or a proxy before it, may repeat what it was sent.
    double.replies(Reply(status, {"message": f"Told {GIVEN}"}, {"Location": "/elsewhere"}))
    github = double.github(path)
    with pytest.raises(GitHubError) as caught:
        github.registration_token()
    message = str(caught.value)
    where = f"POST /{github.scope.path}/actions/runners/registration-token"
    assert message.startswith(f"GitHub refuses {where} ({status}: Told ********)")
    assert text in message
    assert caught.value.status == status
    assert GIVEN not in message
    assert github.requests == 1


def test_a_query_is_not_shown(double: Double) -> None:
    double.replies(Reply(403, "<html>no</html>"))
    with pytest.raises(GitHubError, match=r"refuses GET /repos/acme/lamp/actions/runners \(403\):"):
        double.github().runner("pi")


def test_without_a_token_none_is_sent(double: Double) -> None:
    double.replies(Reply(401, {"message": "Requires authentication"}))
    with pytest.raises(GitHubError, match="no token was given"):
        double.github(token=None).runner("pi")
    assert "Authorization" not in double.asked[0].headers


@pytest.mark.parametrize(
    ("refusal", "slept"),
    [
        (Reply(500, {"message": "oops"}), 1),
        (Reply(502, "<html>"), 1),
        (Reply(503, "", {"Retry-After": "7"}), 7),
        (Reply(429, {"message": "slow"}, {"Retry-After": "30"}), 30),
        (Reply(429, {"message": "slow"}), 1),
        (Reply(403, {"message": "no"}, {"Retry-After": "2"}), 2),
        (Reply(403, {"message": "You have exceeded a secondary rate limit"}), 1),
        (Reply(200, {"runners": []}, cut=3), 1),
    ],
)
def test_what_may_pass_is_tried_again(double: Double, refusal: Reply, slept: float) -> None:
    double.replies(refusal, Reply(data={"token": "AAA"}))
    github = double.github()
    assert github.registration_token() == "AAA"
    assert double.slept == [slept]
    assert github.requests == 2


def test_three_tries_are_enough(double: Double) -> None:
    double.replies(Reply(502, {"message": "bad gateway"}))
    github = double.github()
    with pytest.raises(GitHubError, match=r"GitHub does not answer POST .* as it should") as caught:
        github.remove_token()
    assert caught.value.status == 502
    assert double.slept == [1, 3]
    assert len(double.asked) == github.requests == 3


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"Retry-After": "31"}, 31),
        (403, {"Retry-After": "DATE"}, 600),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "RESET"}, 600),
    ],
)
def test_a_long_wait_is_left_to_the_person(
    double: Double, status: int, headers: dict[str, str], seconds: int
) -> None:
    later = time.time() + 600
    values = {"DATE": formatdate(later, usegmt=True), "RESET": str(int(later))}
    headers = {name: values.get(value, value) for name, value in headers.items()}
    double.replies(Reply(status, {"message": "API rate limit exceeded"}, headers))
    with pytest.raises(GitHubError, match=r"limits how much .* try again in [0-9]+ s") as caught:
        double.github().registration_token()
    told = int(str(caught.value).rsplit(" ", 2)[1])
    assert seconds - 10 < told <= seconds
    assert caught.value.status == status
    assert double.slept == []


def test_nobody_answers(double: Double) -> None:
    github = GitHub(
        Scope.of("https://127.0.0.1:1/acme/lamp"), token=GIVEN, sleep=double.slept.append
    )
    with pytest.raises(GitHubError, match=r"does not answer GET .*127\.0\.0\.1:1") as caught:
        github.runner("pi")
    assert caught.value.status is None
    assert double.slept == [1, 3]
    assert github.requests == 3


def test_silence_ends(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_github, "TIMEOUT", 0.2)
    over = threading.Event()
    double.answer = lambda _asked: Reply(data=over.wait(10))
    with pytest.raises(GitHubError, match=r"has sent nothing for 0\.2 s"):
        double.github().runner("pi")
    over.set()
    assert len(double.asked) == 3


def test_an_unknown_certificate_is_not_tried_again(
    double: Double, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(Authority(tmp_path, "other").ca_path))
    github = double.github()
    with pytest.raises(GitHubError, match=r"is not trusted .* SSL_CERT_FILE"):
        github.runner("pi")
    assert (github.requests, double.asked) == (1, [])


def test_a_renamed_repository_is_followed_with_the_token(double: Double) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.path == "/repositories/9":
            return Reply(data={"private": True})
        return Reply(301, {}, {"Location": f"https://{double.host}/api/v3/repositories/9"})

    double.answer = answer
    github = double.github()
    assert github.repository_is_public() is False
    assert double.asked[1].headers["Authorization"] == f"Bearer {GIVEN}"
    assert github.requests == 2


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("https://evil.invalid/x", "another host"),
        ("http://HOST/x", "another host"),
        ("file:///etc/passwd", "another host"),
        ("https://[::1/x", "leads nowhere"),
    ],
)
def test_no_redirect_takes_the_token_elsewhere(double: Double, target: str, why: str) -> None:
    double.replies(Reply(302, {}, {"Location": target.replace("HOST", double.host)}))
    github = double.github()
    with pytest.raises(GitHubError, match=why):
        github.repository_is_public()
    assert github.requests == 1


def test_a_circle_of_redirects_is_left(double: Double) -> None:
    double.answer = lambda asked: Reply(302, {}, {"Location": f"/api/v3{asked.path}"})
    with pytest.raises(GitHubError, match="it has moved"):
        double.github().repository_is_public()
    assert len(double.asked) == 4


@pytest.mark.parametrize(
    "answer",
    [
        "<html>",
        [],
        {"runners": None},
        {"runners": [3]},
        {"runners": [{"name": 3}]},
        {"runners": [{"name": "pi"}]},
        {"runners": [runner(1, "pi", id=True)]},
        {"runners": [runner(1, "pi", busy="no")]},
        {"runners": [runner(1, "pi", labels=[{"type": "custom"}])]},
    ],
)
def test_a_strange_answer_is_refused(double: Double, answer: object) -> None:
    double.replies(Reply(data=answer))
    with pytest.raises(GitHubError, match="GitHub's answer is"):
        double.github().runner("pi")


def test_an_endless_answer_is_left(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_github, "MAX_ANSWER", 1000)
    double.replies(Reply(data={"runners": ["x" * 1000]}))
    with pytest.raises(GitHubError, match="does not end"):
        double.github().runner("pi")
    assert len(double.asked) == 1


def test_a_netrc_does_not_take_the_tokens_place(
    double: Double, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    double.replies(Reply(data={"runners": []}))
    double.github().runner("pi")
    assert double.asked[0].headers["Authorization"] == f"Bearer {GIVEN}"
