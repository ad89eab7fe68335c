"""Who is let in: the application itself, asked as a server would, and a real server's process."""

import asyncio
import base64
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from camera_server import access, cli, passwords
from camera_server.app import create_app
from camera_server.credentials import (
    Credentials,
    ScryptHash,
    Token,
    User,
    write_credentials,
)
from camera_server.feed import State
from camera_server.settings import CameraSettings, Settings
from fastapi.routing import iter_route_contexts
from server_helpers import PATIENCE, RunningServer, eventually, running_server

WORD = "geheim: pässwort"
KEY = "geheim_token-0123456789"
ANNA = User(name="anna", scrypt=ScryptHash.of(WORD))
TV = Token.of("tv", KEY)
CREDENTIALS = Credentials(users=(ANNA,), tokens=(TV,))
BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
CHALLENGE = 'Basic realm="camera", charset="UTF-8", Bearer realm="camera"'


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def cookie(self) -> str:
        """What a browser sends back."""
        return self.headers["set-cookie"].partition(";")[0]


class Site:
    """The application, without a server around it; its cameras do not run."""

    def __init__(
        self, credentials: Credentials | None = CREDENTIALS, settings: Settings | None = None
    ) -> None:
        path = None if credentials is None else Path("credentials.json")
        self.app = create_app(settings or Settings(credentials=path), credentials)
        self._runner = asyncio.Runner()

    def close(self) -> None:
        self._runner.close()

    def ask(
        self,
        path: str,
        method: str = "GET",
        *,
        client: str = "192.0.2.1",
        scheme: str = "http",
        form: str | None = None,
        **headers: str,
    ) -> Answer:
        """Ask once; a header's name is written with underscores."""
        sent = {"host": "camera.test:8080"} | {
            name.replace("_", "-"): text for name, text in headers.items()
        }
        body = b""
        if form is not None:
            body = form.encode("latin-1")
            sent = {"content-type": "application/x-www-form-urlencoded"} | sent
        place, _mark, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": scheme,
            "path": place,
            "raw_path": place.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), text.encode()) for name, text in sent.items()],
            "client": (client, 50000),
            "server": ("192.0.2.9", 8080),
            "state": {},
        }
        return self._runner.run(self._ask(scope, body))

    async def _ask(self, scope: dict[str, Any], body: bytes) -> Answer:
        messages: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        async with asyncio.timeout(PATIENCE):
            await self.app(scope, receive, send)
        start, *rest = messages
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(part.get("body", b"") for part in rest))

    def sign_in(self, **fields: str) -> Answer:
        return self.ask("/sign-in", "POST", form=urlencode(fields))


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def ways() -> dict[str, dict[str, str]]:
    """All ways of showing credentials but the cookie: what to add to the path, and headers."""
    return {
        "basic": {"authorization": basic("anna", WORD)},
        "bearer": {"authorization": f"Bearer {KEY}"},
        "query": {"path": f"?token={KEY}"},
    }


def routes(site: Site) -> list[tuple[str, str]]:
    """Every method and path that the application has, whatever its router."""
    found = []
    for context in iter_route_contexts(site.app.routes):
        assert context.path is not None
        path = re.sub(r"\{camera\}", "camera", context.path)
        assert "{" not in path, "a parameter that this test has to fill in"
        found += [(method, path) for method in context.methods or ()]
    return found


def test_without_credentials_nothing_but_health_and_the_sign_in_page_answers(site: Site) -> None:
    everything = routes(site)
    assert ("GET", "/video") in everything
    assert ("GET", "/cameras/camera/snapshot") in everything
    assert ("POST", "/sign-out") in everything
    answered = {}
    for method, path in everything:
        answer = site.ask(path, method)
        if answer.status != 401:
            answered[method, path] = (answer.status, answer.body)
    sign_in = answered.pop(("GET", "/sign-in"))
    assert sign_in[0] == 200
    assert b"camera_" not in sign_in[1]
    assert answered == {
        ("GET", "/healthz"): (200, b"ok\n"),
        ("GET", "/readyz"): (200, b"ready\n"),
        # The form was not sent as one.
        ("POST", "/sign-in"): (415, answered["POST", "/sign-in"][1]),
    }


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_all_else_is_the_same_refusal(site: Site, method: str) -> None:
    refusal = site.ask("/state", method)
    assert refusal.status == 401
    assert refusal.headers["www-authenticate"] == CHALLENGE
    for path in (
        "/cameras/side/state",
        "/cameras/camera/state",
        "/snapshot",
        "/nowhere",
        "/healthz/",
        "/healthz/../state",
        "//healthz",
        "/HEALTHZ",
        "/healthz\n",
        "/sign-in/",
        "/docs",
        "/openapi.json",
        "",
    ):
        assert site.ask(path, method) == refusal, path
    if method != "GET":
        for path in ("/", "/healthz", "/readyz"):
            assert site.ask(path, method) == refusal, path


@pytest.mark.parametrize("host", ["a/healthz?", "a/healthz#", "a/sign-in?", "", "[", "a b"])
def test_a_forged_host_opens_nothing(site: Site, host: str) -> None:
    assert site.ask("/state", host=host).status == 401
    assert site.ask("/healthz", host=host).status == 200


@pytest.mark.parametrize("way", ["basic", "bearer", "query"])
def test_every_way_lets_in_everywhere(site: Site, way: str) -> None:
    shown = ways()[way]
    query, headers = shown.pop("path", ""), shown
    for path in ("/state", "/cameras/camera/state", "/", "/readyz"):
        answer = site.ask(path + query, **headers)
        assert answer.status == 200, path
        assert "set-cookie" not in answer.headers
    assert site.ask("/cameras/side/state" + query, **headers).status == 404
    assert site.ask("/nowhere" + query, **headers).status == 404
    assert b"Sign out" not in site.ask("/" + query, **headers).body


@pytest.mark.parametrize(
    "shown",
    [
        {"authorization": basic("anna", WORD + "x")},
        {"authorization": basic("anna", "")},
        {"authorization": basic("ben", WORD)},
        {"authorization": basic("tv", KEY)},
        {"authorization": basic("", "")},
        {"authorization": "Basic !"},
        {"authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
        {"authorization": "Basic " + base64.b64encode(b"anna").decode()},
        {"authorization": "Basic"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": f"Bearer {WORD}"},
        {"authorization": f"Bearer {TV.sha256}"},
        {"authorization": f"Digest {KEY}"},
        {"authorization": KEY},
        {"path": "/state?token="},
        {"path": f"/state?token={KEY}x"},
        {"path": f"/state?token={KEY[:-1]}"},
        {"path": f"/state?Token={KEY}"},
        {"path": "/state?token=%ff%00"},
        {"cookie": "camera-server-8080=user:anna:9999999999:"},
        {"cookie": "camera-server-8080=:::"},
        {"cookie": "camera-server-8080=é"},
        {"cookie": f"camera-server-8080=token:tv:9999999999:{TV.sha256}"},
        {"cookie": ";;=;"},
    ],
)
def test_wrong_credentials_are_the_same_refusal(site: Site, shown: dict[str, str]) -> None:
    assert site.ask(**({"path": "/state"} | shown)) == site.ask("/state")


def test_wrong_credentials_do_no_harm_beside_right_ones(site: Site) -> None:
    assert site.ask("/state?token=wrong", authorization=f"Bearer {KEY}").status == 200
    assert site.ask(f"/state?token={KEY}", authorization=basic("anna", "wrong")).status == 200
    assert site.ask(f"/state?token={KEY}", cookie="camera-server-8080=wrong").status == 200


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_a_scheme_s_case_does_not_matter(site: Site, scheme: str) -> None:
    assert site.ask("/state", authorization=f"{scheme} {KEY}").status == 200


@pytest.mark.parametrize("accept", ["image/avif,image/webp,image/*,*/*;q=0.8", "application/json"])
def test_the_page_s_own_requests_get_no_dialogue(site: Site, accept: str) -> None:
    answer = site.ask("/video", accept=accept)
    assert answer.status == 401
    assert "www-authenticate" not in answer.headers


def test_who_opens_an_address_by_hand_is_asked_by_the_browser(site: Site) -> None:
    answer = site.ask("/snapshot", accept=BROWSER)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, CHALLENGE)


def test_a_browser_is_sent_to_the_sign_in_page(site: Site) -> None:
    for path in ("/", "/?token=wrong", "/?next=https://elsewhere.test/"):
        answer = site.ask(path, accept=BROWSER)
        assert (answer.status, answer.headers["location"]) == (303, "sign-in")
    assert site.ask("/").status == 401


def test_readiness_tells_its_reasons_to_those_who_may_watch(site: Site) -> None:
    (feed,) = site.app.state.cameras.feeds.values()
    feed.state, feed.reason = State.LOST, "the cable"
    answer = site.ask("/readyz")
    assert (answer.status, answer.body) == (503, b"not ready\n")
    assert site.ask(f"/readyz?token={KEY}").body == b"camera: the cable\n"


@pytest.mark.parametrize("form", [{"user": "anna", "password": WORD}, {"token": f" {KEY}\n"}])
def test_signing_in_gives_a_cookie_that_lets_in(site: Site, form: dict[str, str]) -> None:
    answer = site.sign_in(**form)
    assert (answer.status, answer.headers["location"], answer.body) == (303, "./", b"")
    attributes = answer.headers["set-cookie"].split("; ")[1:]
    assert sorted(attributes) == ["HttpOnly", "Max-Age=2592000", "Path=/", "SameSite=lax"]
    assert site.ask("/state", cookie=f"other=1; {answer.cookie}").status == 200
    page = site.ask("/", cookie=answer.cookie, accept=BROWSER)
    assert page.status == 200
    assert b"Sign out" in page.body
    # By a name that another server on this host, at another port, does not use.
    assert site.ask("/state", cookie=answer.cookie, host="camera.test:8081").status == 401


def test_over_https_the_cookie_stays_there(site: Site) -> None:
    answer = site.ask("/sign-in", "POST", form=urlencode({"token": KEY}), scheme="https")
    assert "Secure" in answer.headers["set-cookie"].split("; ")


def test_a_cookie_outlives_a_restart_and_dies_with_its_secret(site: Site) -> None:
    def lets_in(cookie: str, users: tuple[User, ...], tokens: tuple[Token, ...]) -> bool:
        after = Site(Credentials(users=users, tokens=tokens))
        try:
            return after.ask("/state", cookie=cookie).status == 200
        finally:
            after.close()

    by_user = site.sign_in(user="anna", password=WORD).cookie
    by_token = site.sign_in(token=KEY).cookie
    assert lets_in(by_user, (ANNA,), ())
    assert lets_in(by_token, (), (TV,))
    assert not lets_in(by_user, (User(name="anna", scrypt=ScryptHash.of("another")),), (TV,))
    assert not lets_in(by_token, (ANNA,), (Token.of("tv", KEY + "x"),))
    assert not lets_in(by_user, (), (TV,))
    assert not lets_in(by_user, (User(name="ben", scrypt=ANNA.scrypt),), (TV,))
    assert not lets_in(by_token, (ANNA,), (Token.of("anna", KEY),))


def test_a_cookie_ends_after_thirty_days(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = site.sign_in(user="anna", password=WORD).cookie
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + access.COOKIE_SECONDS - 5)
    assert site.ask("/state", cookie=cookie).status == 200
    monkeypatch.setattr(time, "time", lambda: now + access.COOKIE_SECONDS + 5)
    assert site.ask("/state", cookie=cookie).status == 401


def test_a_cookie_cannot_be_changed(site: Site) -> None:
    name, _equals, value = site.sign_in(user="anna", password=WORD).cookie.partition("=")
    kind, user, expiry, seal = value.split(":")
    for forged in (
        f"{kind}:{user}:{int(expiry) + 1}:{seal}",
        f"token:tv:{expiry}:{seal}",
        f"{kind}:{user}:{expiry}:{seal[:-1]}",
        f"{kind}:{user}:{expiry}:{seal.upper()}",
        f"{kind}:{user}:{seal}",
    ):
        assert site.ask("/state", cookie=f"{name}={forged}").status == 401, forged


def test_a_link_with_a_token_signs_a_browser_in_and_hides_the_token(site: Site) -> None:
    answer = site.ask(f"/?token={KEY}", accept=BROWSER)
    assert (answer.status, answer.headers["location"]) == (303, "./")
    assert KEY not in str(answer)
    assert site.ask("/", accept=BROWSER, cookie=answer.cookie).status == 200


def test_a_failed_sign_in_shows_the_form_with_the_reason(site: Site) -> None:
    answer = site.sign_in(user='<"anna">', password="w" + WORD)
    text = answer.body.decode()
    assert answer.status == 401
    assert "set-cookie" not in answer.headers
    assert "www-authenticate" not in answer.headers
    assert 'role="alert" aria-live="assertive">Wrong user name or password.</p>' in text
    assert 'value="&lt;&quot;anna&quot;&gt;"' in text
    assert WORD not in text
    text = site.sign_in(token=KEY + "x").body.decode()
    assert "This token is not valid." in text
    assert "<details open>" in text
    assert KEY not in text
    assert site.sign_in().status == 401


def test_signing_out_takes_the_cookie_away(site: Site) -> None:
    cookie = site.sign_in(user="anna", password=WORD).cookie
    answer = site.ask("/sign-out", "POST", cookie=cookie)
    assert (answer.status, answer.headers["location"]) == (303, "sign-in")
    assert answer.cookie == 'camera-server-8080=""'
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert "Path=/" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({}, True),
        ({"origin": "http://camera.test:8080"}, True),
        ({"origin": "https://CAMERA.test:8080"}, True),  # behind a proxy
        ({"sec_fetch_site": "same-origin", "origin": "null"}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"origin": "null"}, False),
        ({"origin": "http://camera.test:8081"}, False),
        ({"origin": "http://elsewhere.test"}, False),
        ({"origin": "http://camera.test:8080.elsewhere.test"}, False),
        ({"origin": "http://["}, False),
        ({"sec_fetch_site": "cross-site", "origin": "http://camera.test:8080"}, False),
        ({"sec_fetch_site": "same-site"}, False),
    ],
)
def test_forms_of_other_sites_are_refused(site: Site, headers: dict[str, str], own: bool) -> None:
    for path, form in (("/sign-in", f"token={KEY}"), ("/sign-out", "")):
        cookie = site.sign_in(token=KEY).cookie
        answer = site.ask(path, "POST", form=form, cookie=cookie, **headers)
        assert answer.status == (303 if own else 403)
        assert ("set-cookie" in answer.headers) == own


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ("x=" + "a" * 2**14, 413),
        ("token=\xff", 400),
        ("token=%ff", 400),
        ("&".join(["a=b"] * 11), 400),
        ("", 401),
        ("token", 401),
    ],
)
def test_what_is_no_form(site: Site, form: str, status: int) -> None:
    assert site.ask("/sign-in", "POST", form=form).status == status


def test_another_kind_of_form_is_refused(site: Site) -> None:
    kind = "multipart/form-data; boundary=x"
    assert site.ask("/sign-in", "POST", form=f"token={KEY}", content_type=kind).status == 415


def test_nothing_is_kept_and_no_address_goes_elsewhere(site: Site) -> None:
    token = f"?token={KEY}"
    answers = {
        path: site.ask(path)
        for path in ("/state" + token, "/state", "/nowhere" + token, "/sign-in", "/" + token)
    }
    answers["link"] = site.ask("/" + token, accept=BROWSER)
    for path, answer in answers.items():
        assert "no-store" in answer.headers["cache-control"], path
        # A page's own forms need an Origin; to others it sends no address either.
        allowed = "same-origin" if path in ("/sign-in", "/" + token) else "no-referrer"
        assert answer.headers["referrer-policy"] == allowed, path


@pytest.mark.alone
def test_password_attempts_are_slowed_and_tokens_and_cookies_never(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "MAX_ATTEMPTS", 0)
    cookie = site.sign_in(token=KEY).cookie
    refused = site.ask("/state", authorization=basic("anna", WORD))
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert b"try again in 1 s" in refused.body
    refused = site.sign_in(user="anna", password=WORD)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert b"Too many attempts. Try again in 1 seconds." in refused.body
    for headers in ({"authorization": f"Bearer {KEY}"}, {"cookie": cookie}):
        assert site.ask("/state", **headers).status == 200
    assert site.ask("/healthz", authorization=basic("anna", WORD)).status == 200
    monkeypatch.undo()
    monkeypatch.setattr(passwords, "FIRST_DELAY", 1)
    for turn in range(passwords.FREE_FAILURES):
        assert site.sign_in(user="anna", password=f"wrong {turn}").status == 401
    began = time.monotonic()
    # Whichever form it takes, and whatever it says of where it comes from.
    forged = {"x_forwarded_for": "198.51.100.1", "forwarded": "for=198.51.100.1"}
    assert site.ask("/state", authorization=basic("anna", "x"), **forged).status == 401
    assert time.monotonic() - began >= 1
    began = time.monotonic()
    assert site.ask("/state", authorization=basic("anna", "x"), client="192.0.2.2").status == 401
    assert time.monotonic() - began < 1


def test_open_to_everybody_nothing_is_asked() -> None:
    site = Site(None, Settings(access="open"))
    try:
        for method, path in routes(site):
            if not path.endswith(("/video", "/snapshot")):
                assert site.ask(path, method, accept=BROWSER).status == 200, path
        assert site.ask("/state?token=any", authorization=basic("x", "y")).status == 200
        assert site.ask("/sign-in").status == 404
        assert b"Sign out" not in site.ask("/").body
        assert "no-store" in site.ask("/").headers["cache-control"]
        (feed,) = site.app.state.cameras.feeds.values()
        feed.state, feed.reason = State.LOST, "the cable"
        assert site.ask("/readyz").body == b"camera: the cable\n"
    finally:
        site.close()


def test_credentials_cannot_be_forgotten_by_whoever_makes_the_application() -> None:
    with pytest.raises(ValueError, match="not those of the settings"):
        create_app(Settings(credentials=Path("credentials.json")), None)


def test_a_websocket_is_let_in_nowhere(site: Site) -> None:
    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(_message: Any) -> None:
        pytest.fail("it was answered")

    async def connect() -> None:
        with pytest.raises(RuntimeError, match="cannot serve websocket"):
            await site.app({"type": "websocket", "path": "/healthz"}, receive, send)

    asyncio.run(connect())


def test_the_camera_s_name_is_in_no_refusal() -> None:
    site = Site(
        settings=Settings(
            credentials=Path("credentials.json"), camera=(CameraSettings(name="nursery"),)
        )
    )
    try:
        for path in ("/", "/cameras/nursery/state", "/cameras/other/state", "/readyz", "/sign-in"):
            for accept in (BROWSER, "*/*", "image/png"):
                assert "nursery" not in str(site.ask(path, accept=accept))
    finally:
        site.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """A real server that everybody reaches, with credentials that the command has made."""
    path = tmp_path / "credentials.json"
    wanted = {
        "users": [{"name": "anna", "password": WORD}],
        "tokens": [{"name": "tv", "token": KEY}],
    }
    command = Path(sys.executable).with_name("camera-server-credentials")
    made = subprocess.run(
        [command, "--file", str(path)],
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (made.stdout, made.stderr) == ("changed\n", "")
    with running_server(CREDENTIALS_DIRECTORY=str(path.parent)) as server:
        yield server


def test_it_listens_everywhere_and_asks_on_loopback_too(server: RunningServer) -> None:
    assert any(f"http://0.0.0.0:{server.port}" in line for line in server.log)
    assert server.get("/healthz")[0] == 200
    for path in ("/state", "/video", "/snapshot", "/nowhere"):
        status, _body, headers = server.get(path)
        assert (status, headers["www-authenticate"]) == (401, CHALLENGE)


@pytest.mark.parametrize("way", ["basic", "bearer", "query", "cookie"])
def test_the_picture_comes_by_every_way(server: RunningServer, way: str) -> None:
    if way == "cookie":
        _status, _body, headers = server.get(f"/?token={KEY}", accept=BROWSER)
        shown = {"cookie": headers["set-cookie"].partition(";")[0]}
    else:
        shown = ways()[way]
    query = shown.pop("path", "")
    viewer = server.watch("/video" + query, **shown)
    viewer.until("live")
    assert viewer.response.headers["referrer-policy"] == "no-referrer"
    assert "no-store" in viewer.response.headers["cache-control"]
    assert server.get("/snapshot" + query, **shown)[0] == 200
    viewer.leave()


def test_what_a_request_says_of_a_proxy_changes_nothing(server: RunningServer) -> None:
    """From loopback, which uvicorn would believe by default."""
    forged = {"x-forwarded-for": "198.51.100.7", "x-forwarded-proto": "https", "x-real-ip": "::1"}
    _status, _body, headers = server.get(f"/?token={KEY}", accept=BROWSER, **forged)
    assert "secure" not in headers["set-cookie"].lower()
    for turn in range(passwords.FREE_FAILURES + 1):
        address = {"x-forwarded-for": f"198.51.100.{turn}"}
        assert server.get("/state", authorization=basic("anna", f"x{turn}"), **address)[0] == 401
    eventually(lambda: any("keep coming from 127.0.0.1" in line for line in server.log))
    assert not any("198.51" in line for line in server.log)


def test_secrets_reach_no_log(server: RunningServer) -> None:
    hidden = "geheim"
    cookie = server.get(f"/?token={KEY}", accept=BROWSER)[2]["set-cookie"].partition(";")[0]
    for path in ("/state", "/nowhere", "/snapshot", "/healthz", "/sign-in", "/", "/readyz"):
        for token in (KEY, "geheim-wrong-token-0123456789", "%ffgeheim"):
            server.get(f"{path}?token={token}")
            server.get(path, authorization=f"Bearer {token}")
    server.get("/state", authorization=basic("anna", WORD))
    server.get("/state", authorization="Basic geheim")
    server.get("/state", authorization=basic("geheim", "geheim"))
    server.get("/state", cookie=cookie)
    server.get(f"/snapshot?max_age=geheim&token={KEY}")
    server.get(f"/cameras/geheim/state?token={KEY}")
    for body in (b"token=" + KEY.encode(), b"user=geheim&password=geheim", b"token=%ffgeheim"):
        server.post("/sign-in", body)
        server.post("/sign-in", body, origin="http://geheim.test")
    server.post("/sign-out", b"", cookie=cookie)
    for line in (
        b"GET /geheim\xff?token=geheim HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /state?token=geheim HTTP/9.9\r\n\r\n",
        b"GEHEIM /state?token=geheim HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://geheim:geheim@[/?token=geheim HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET ?token=geheim HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /state?token=geheim HTTP/1.1\r\ngeheim\r\n\r\n",
        b"GET /state?token=geheim HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Key: geheim\r\n\r\n",
        b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\ntoken=geheim",
    ):
        server.raw(line)
    assert server.stop() < PATIENCE
    cookie_seal = cookie.rpartition(":")[2]
    said = "\n".join(server.log)
    assert "stopping" in said
    assert hidden not in said.lower()
    assert cookie_seal not in said
    assert "Traceback" not in said, said


def test_check_reads_the_credentials(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "credentials.json"
    config = tmp_path / "camera-server.toml"
    config.write_text(f"credentials = {json.dumps(str(path))}")
    assert cli.main(["--check", "--config", str(config)]) == 2
    assert capfd.readouterr().err == (
        f"camera-server: {path}: the credentials cannot be read: No such file or directory\n"
    )
    path.write_text('{"users": "geheim"}')
    assert cli.main(["--config", str(config)]) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"camera-server: {path}: is not a credentials file")
    assert "geheim" not in said
    write_credentials(path, CREDENTIALS)
    assert cli.main(["--check", "--config", str(config)]) == 0


@pytest.mark.parametrize("by_proxy", [True, False])
def test_only_a_proxy_on_the_unix_socket_says_who_asks(tmp_path: Path, by_proxy: bool) -> None:
    path, folder = tmp_path / "camera.sock", tmp_path / "credentials.json"
    write_credentials(folder, CREDENTIALS)
    listen = {"CAMERA_SERVER_PORT": "", "CAMERA_SERVER_SOCKET": str(path)}
    if not by_proxy:
        listen = {"CAMERA_SERVER_HOST": "127.0.0.1"}
    form = urlencode({"token": KEY})
    with running_server(CAMERA_SERVER_CREDENTIALS=str(folder), **listen) as server:
        request = (
            "POST /sign-in HTTP/1.1\r\nHost: camera.example\r\nX-Forwarded-For: 192.0.2.7\r\n"
            "X-Forwarded-Proto: https\r\nConnection: close\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(form)}\r\n\r\n{form}"
        )
        if by_proxy:
            with socket.socket(socket.AF_UNIX) as proxy:
                proxy.connect(str(path))
                proxy.sendall(request.encode())
                answer = b"".join(iter(lambda: proxy.recv(65536), b""))
        else:
            answer = server.raw(request.encode())
    assert answer.startswith(b"HTTP/1.1 303")
    cookie = re.search(rb"set-cookie: .*", answer)
    assert cookie
    # What came by HTTPS to the proxy gets a cookie that never goes another way.
    assert (b"Secure" in cookie[0]) == by_proxy


def test_a_form_has_to_come(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    write_credentials(path, CREDENTIALS)
    settings = {"CAMERA_SERVER_CREDENTIALS": str(path), "CAMERA_SERVER_HOST": "127.0.0.1"}
    changed = "import camera_server.access\ncamera_server.access._FORM_SECONDS = 0.3"
    with (
        running_server(changed=changed, **settings) as server,
        socket.create_connection(("127.0.0.1", server.port), 10) as dawdler,
    ):
        dawdler.sendall(
            b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\nt"
        )
        assert dawdler.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_a_proxy_s_own_word_counts_not_its_client_s(tmp_path: Path) -> None:
    path, socket_path = tmp_path / "credentials.json", tmp_path / "camera.sock"
    write_credentials(path, CREDENTIALS)
    settings = {"CAMERA_SERVER_PORT": "", "CAMERA_SERVER_SOCKET": str(socket_path)}
    password = base64.b64encode(b"anna:wrong").decode()
    with running_server(CAMERA_SERVER_CREDENTIALS=str(path), **settings):
        began = time.monotonic()
        for number in range(5):
            with socket.socket(socket.AF_UNIX) as proxy:
                proxy.connect(str(socket_path))
                proxy.sendall(
                    f"GET /state HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {password}\r\n"
                    f"X-Forwarded-For: 10.0.0.{number}, 203.0.113.8\r\n"
                    "Connection: close\r\n\r\n".encode()
                )
                answer = b"".join(iter(lambda: proxy.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 401")
        # The fourth waits for half a second, the fifth for one.
        assert time.monotonic() - began > 1.4
