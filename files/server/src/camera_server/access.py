"""Who may see the picture: lets in who shows credentials, and turns away everybody else.

It stands before all routes, so that a new one is closed until it is named here.
"""

import asyncio
import base64
import binascii
import hmac
import html
import re
import string
import time
from collections.abc import Awaitable, Iterator
from enum import Enum, auto
from importlib import resources
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from camera_server.credentials import Credentials, Entry, User
from camera_server.passwords import Passwords, TooManyAttemptsError

COOKIE_SECONDS = 30 * 24 * 3600

# Open to everybody. /readyz is, too, but does not say to everybody what it knows.
_PUBLIC = {("GET", "/healthz"), ("GET", "/sign-in"), ("POST", "/sign-in")}
_READINESS = ("GET", "/readyz")

_CHALLENGE = 'Basic realm="camera", charset="UTF-8", Bearer realm="camera"'
_MAX_FORM = 2**14
_FORM_SECONDS = 10.0

# Nobody keeps an answer: it is the picture of a moment, or says something of who asked. And no
# address goes elsewhere as a Referer, since it may hold a token.
_HEADERS = {
    "cache-control": "no-store, no-cache, must-revalidate, max-age=0",
    "pragma": "no-cache",
    "referrer-policy": "no-referrer",
}

# Of a page with a form: with no-referrer a browser would not tell, either, that the form that
# comes back is ours (its Origin would be "null"). To others it sends no address in this way too.
PAGE_HEADERS = {"referrer-policy": "same-origin"}
PAGE_POLICY = "default-src 'none'; base-uri 'none'; form-action 'self'; style-src 'unsafe-inline'"

_SIGN_IN = string.Template(
    resources.files("camera_server").joinpath("sign_in.html").read_text(encoding="utf-8")
)


class Way(Enum):
    """How a request was let in."""

    OPEN = auto()
    COOKIE = auto()
    TOKEN = auto()
    PASSWORD = auto()


class Access:
    """Knows users and tokens by what requests carry."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._entries: dict[tuple[str, str], Entry] = {
            (entry.kind, entry.name): entry for entry in (*credentials.users, *credentials.tokens)
        }
        self._passwords = Passwords(credentials.users)

    async def way_in(self, request: Request) -> Way | None:
        """Return what lets the request in, or None. Raises TooManyAttemptsError.

        A password comes last: it alone takes time to check.
        """
        if self._has_cookie(request):
            return Way.COOKIE
        if any(self.of_token(token) for token in _shown_tokens(request)):
            return Way.TOKEN
        basic = _shown_password(request)
        if basic and await self.of_password(request, *basic):
            return Way.PASSWORD
        return None

    def of_token(self, token: str) -> Entry | None:
        """Return whose token it is, or None."""
        return self._credentials.token(token)

    async def of_password(self, request: Request, name: str, password: str) -> Entry | None:
        """Return the user whose password it is, or None. Raises TooManyAttemptsError."""
        # The connection's own address: what a request says of it anybody could say.
        client = request.client.host if request.client else ""
        right = await self._passwords.check(client, name, password)
        return self._entries[User.kind, name] if right else None

    def remember(self, request: Request, response: Response, entry: Entry) -> None:
        """Have the browser keep a cookie for this user or token."""
        content = f"{entry.kind}:{entry.name}:{int(time.time()) + COOKIE_SECONDS}"
        _set_cookie(request, response, f"{content}:{_seal(content, entry)}", COOKIE_SECONDS)

    def _has_cookie(self, request: Request) -> bool:
        content, _colon, seal = request.cookies.get(_cookie_name(request), "").rpartition(":")
        kind, _colon, rest = content.partition(":")
        name, _colon, expiry = rest.partition(":")
        entry = self._entries.get((kind, name))
        if entry is None or not hmac.compare_digest(seal.encode(), _seal(content, entry).encode()):
            return False
        return time.time() < int(expiry)


def _seal(content: str, entry: Entry) -> str:
    """Return what only this server can put below a cookie's content.

    The key is made from the entry's hash: it outlives a restart, and goes with the secret.
    """
    key = hmac.digest(entry.secret, b"camera-server cookie", "sha256")
    return hmac.new(key, content.encode(), "sha256").hexdigest()


def _cookie_name(request: Request) -> str:
    """Return the cookie's name. A browser does not keep the ports of a host apart; this does."""
    port = re.search(r":(\d{1,5})$", request.headers.get("host", ""))
    return f"camera-server-{port[1]}" if port else "camera-server"


def _set_cookie(request: Request, response: Response, value: str, seconds: int) -> None:
    response.set_cookie(
        _cookie_name(request),
        value,
        max_age=seconds,
        path="/",
        secure=request.scope["scheme"] == "https",
        httponly=True,
        # Not "strict": the cookie of a link with a token would be missing right after it was set.
        samesite="lax",
    )


def _shown_tokens(request: Request) -> Iterator[str]:
    scheme, token = get_authorization_scheme_param(request.headers.get("authorization"))
    if scheme.lower() == "bearer":
        yield token
    if token := request.query_params.get("token", ""):
        yield token


def _shown_password(request: Request) -> tuple[str, str] | None:
    scheme, encoded = get_authorization_scheme_param(request.headers.get("authorization"))
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    name, colon, password = text.partition(":")
    return (name, password) if colon else None


class Gate:
    """ASGI middleware: turns away who may not pass, and tells the routes how others came in.

    ``request.state.way`` is a Way, or None on a public path, where nobody has to say.

    ``access`` is None where everybody may watch.
    """

    def __init__(self, app: ASGIApp, access: Access | None) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        # Anything else, a WebSocket say, is none of the server's; here it would pass unasked.
        if scope["type"] != "http":
            raise RuntimeError(f"cannot serve {scope['type']}")
        request = Request(scope, receive)
        answer = await self._turned_away(request)
        await (answer or self._app)(scope, receive, _with_headers(send))

    async def _turned_away(self, request: Request) -> Response | None:
        """Return the answer to who may not pass, or None."""
        # Not request.url, into which a forged Host header would get.
        place = (request.method, request.scope["path"])
        request.state.way = None
        if self._access is None:
            request.state.way = Way.OPEN
            return None
        if place in _PUBLIC:
            return None
        browsing = place == ("GET", "/") and "text/html" in request.headers.get("accept", "")
        if browsing and (entry := self._access.of_token(request.query_params.get("token", ""))):
            # The link with a token that a person was given: out of sight and history with it.
            answer = see_other("./")
            self._access.remember(request, answer, entry)
            return answer
        try:
            request.state.way = await self._access.way_in(request)
        except TooManyAttemptsError as error:
            return _too_many(error)
        if request.state.way or place == _READINESS:
            return None
        return see_other("sign-in") if browsing else _unknown(request)


def _with_headers(send: Send) -> Send:
    # Not a coroutine of its own: it is called for each part of a stream.
    def sending(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        return send(message)

    return sending


def see_other(place: str) -> Response:
    """Send a browser on, to a place of ours; 303 makes it a GET."""
    return RedirectResponse(place, 303)


def _too_many(error: TooManyAttemptsError) -> Response:
    seconds = str(error.retry_after)
    text = f"too many wrong passwords from this address; try again in {seconds} s"
    return JSONResponse({"error": text}, 429, headers={"retry-after": seconds})


def _unknown(request: Request) -> Response:
    """Answer 401, whatever was asked for: nothing is to be learnt from it.

    A browser asks its user for a name and password when it is challenged. That helps who opens
    an address by hand, and not who looks at a page, of which this was a picture or a question.
    """
    accept = request.headers.get("accept", "")
    by_page = accept.startswith(("image/", "application/json"))
    return JSONResponse(
        {"error": "sign in at /sign-in, or show a user's password or a token"},
        401,
        headers={} if by_page else {"www-authenticate": _CHALLENGE},
    )


def sign_in_routes(access: Access) -> APIRouter:
    """Return the routes by which people sign in and out."""
    # For people: none of them is part of the API that is described.
    router = APIRouter(include_in_schema=False)

    @router.get("/sign-in")
    async def sign_in_page() -> Response:
        """Answer with the form."""
        return _sign_in_page(200)

    @router.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        """Check the form; go to the page with a cookie, or show the form with what is wrong."""
        _refuse_other_sites(request)
        form = await _form(request)
        name, token = form.get("user", ""), form.get("token", "").strip()
        entry: Entry | None
        try:
            if token:
                entry = access.of_token(token)
            else:
                entry = await access.of_password(request, name, form.get("password", ""))
        except TooManyAttemptsError as error:
            message = f"Too many attempts. Try again in {error.retry_after} seconds."
            answer = _sign_in_page(429, message, name)
            answer.headers["retry-after"] = str(error.retry_after)
            return answer
        if entry is None:
            message = "This token is not valid." if token else "Wrong user name or password."
            return _sign_in_page(401, message, name, by_token=bool(token))
        answer = see_other("./")
        access.remember(request, answer, entry)
        return answer

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        """Have the browser forget its cookie."""
        _refuse_other_sites(request)
        answer = see_other("sign-in")
        _set_cookie(request, answer, "", 0)
        return answer

    return router


def _sign_in_page(status: int, error: str = "", name: str = "", by_token: bool = False) -> Response:
    text = _SIGN_IN.substitute(
        error=html.escape(error), name=html.escape(name), open="open" if by_token else ""
    )
    policy = f"{PAGE_POLICY}; img-src data:; frame-ancestors 'none'"
    return HTMLResponse(text, status, {**PAGE_HEADERS, "content-security-policy": policy})


def _refuse_other_sites(request: Request) -> None:
    """Take a form from our own page only, or from what is no browser. Raises HTTPException.

    Browsers say Sec-Fetch-Site where they trust the connection, and else at least the Origin.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        own = site in ("same-origin", "none")
    else:
        own = origin is None or _host(origin) == request.headers.get("host", "").lower()
    if not own:
        raise HTTPException(403, "this form comes from another site")


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a form that is not long. Raises HTTPException."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "send the fields as application/x-www-form-urlencoded")
    body = b""
    try:
        async with asyncio.timeout(_FORM_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MAX_FORM:
                    raise HTTPException(413, "the form is too long")
        fields = parse_qs(body.decode("ascii"), errors="strict", max_num_fields=10)
    except TimeoutError:
        raise HTTPException(408, "the form does not come") from None
    except (ClientDisconnect, ValueError):
        raise HTTPException(400, "this is no form") from None
    return {name: values[0] for name, values in fields.items()}
