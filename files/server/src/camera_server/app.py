"""The routes: a page, streams, snapshots, states, and what health checks ask."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from importlib import resources
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel

from camera_server.access import (
    PAGE_HEADERS,
    PAGE_POLICY,
    Access,
    Gate,
    Way,
    sign_in_routes,
)
from camera_server.all_cameras import Cameras
from camera_server.credentials import Credentials
from camera_server.feed import CameraFeed, State
from camera_server.metrics import MEDIA_TYPE, Metrics
from camera_server.settings import Settings
from camera_server.stream import MjpegStream

# How long a snapshot waits for the camera, in seconds.
SNAPSHOT_SECONDS = 10.0

# When somebody who found the server full may try again, in seconds.
RETRY_SECONDS = 10

# What the scripts of another site may read of an answer.
_EXPOSED = ["ETag", "Retry-After", "X-Frame-Age", "X-Frame-Sequence", "X-Frame-State"]
_EXPOSED.append("X-Timestamp")


class UnknownCameraError(Exception):
    """A path names a camera that there is not; the text is its name."""


class Refusal(BaseModel):
    """Why there is no answer."""

    error: str


class NoPicture(Refusal):
    """Why there is no snapshot: what the camera is doing, and the reason."""

    state: State
    reason: str


class NoCamera(Refusal):
    """Why there is no such camera: which there are."""

    cameras: list[str]


class CameraState(BaseModel):
    """What ``/state`` tells: sizes in pixels, rates in frames a second, ages in seconds."""

    name: str
    source: str
    state: State
    reason: str | None
    width: int
    height: int
    fps: int
    measured_fps: float
    frames: int
    viewers: int
    restarts: int
    frame_age: float | None
    pid: int | None


class CameraStates(BaseModel):
    """What ``/cameras`` tells: the states of all cameras, in the order of the settings.

    ``full``: as many watch as may.
    """

    cameras: list[CameraState]
    full: bool


def create_app(settings: Settings, credentials: Credentials | None) -> FastAPI:
    """Return the application for these settings; its cameras run for its lifespan.

    ``credentials``: what is in the file that the settings name; None where they name none.
    """
    if (settings.credentials is None) != (credentials is None):
        raise ValueError("the credentials are not those of the settings")
    feeds = (CameraFeed(camera, settings.idle_seconds) for camera in settings.camera)
    cameras = Cameras(feeds, settings.max_viewers)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        cameras.start()
        try:
            yield
        finally:
            await cameras.stop()

    # The interactive documentation would load its scripts from elsewhere.
    app = FastAPI(
        title="Camera server",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={} if credentials is None else _TURNED_AWAY,
    )
    app.state.cameras = cameras
    app.state.metrics = Metrics(cameras)
    app.add_exception_handler(UnknownCameraError, _unknown_camera)
    access = None if credentials is None else Access(credentials)
    app.add_middleware(Gate, access=access)
    if access is not None:
        app.include_router(sign_in_routes(access))
    app.include_router(_whole_server)
    app.include_router(_one_camera)
    app.include_router(
        _one_camera, prefix="/cameras/{camera}", responses=_UNKNOWN, dependencies=[Depends(_named)]
    )
    if settings.cors_origins:
        # Outside of the gate: a browser asks whether it may ask, and shows no credentials then.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_headers=["Authorization", "If-None-Match"],
            expose_headers=_EXPOSED,
        )
    return app


async def _unknown_camera(request: Request, error: Exception) -> Response:
    cameras: Cameras = request.app.state.cameras
    answer = {"error": f"there is no camera {str(error)!r}", "cameras": list(cameras.feeds)}
    return JSONResponse(answer, 404)


# Dependencies are coroutines: FastAPI calls functions in a thread, for each request.
async def _cameras(request: Request) -> Cameras:
    cameras: Cameras = request.app.state.cameras
    return cameras


AllCameras = Annotated[Cameras, Depends(_cameras)]


async def _named(camera: Annotated[str, Path(description="A camera's name")]) -> None:
    """Have the description of the API know the name that is in a path."""


async def _chosen(request: Request, cameras: AllCameras) -> CameraFeed:
    """Return the camera that the path names, or the first. Raises UnknownCameraError."""
    name = request.path_params.get("camera")
    if name is None:
        return cameras.first
    if name not in cameras.feeds:
        raise UnknownCameraError(name)
    return cameras.feeds[name]


Camera = Annotated[CameraFeed, Depends(_chosen)]

_whole_server = APIRouter()
_one_camera = APIRouter()

_Answers = dict[int | str, dict[str, Any]]
_JPEG: dict[str, Any] = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}
_STREAM: dict[str, Any] = {"multipart/x-mixed-replace": _JPEG["image/jpeg"]}
_TURNED_AWAY: _Answers = {
    401: {"model": Refusal, "description": "Who asks shows no credentials, or wrong ones."},
    429: {"model": Refusal, "description": "Wrong passwords came too often from this address."},
}
_UNKNOWN: _Answers = {404: {"model": NoCamera, "description": "There is no such camera."}}

_PAGE = resources.files("camera_server").joinpath("page.html").read_text(encoding="utf-8")
_SIGN_OUT = '<form method="post" action="sign-out"><button>Sign out</button></form>'
_PAGE_TO_SIGN_OUT = _PAGE.replace("<!-- sign-out -->", _SIGN_OUT)
_POLICY = f"{PAGE_POLICY}; img-src 'self' data:; connect-src 'self'; script-src 'unsafe-inline'"


@_whole_server.get("/", response_class=HTMLResponse)
async def page(request: Request) -> Response:
    """Answer with the page for people."""
    text = _PAGE_TO_SIGN_OUT if request.state.way is Way.COOKIE else _PAGE
    return HTMLResponse(text, headers={**PAGE_HEADERS, "content-security-policy": _POLICY})


@_whole_server.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> Response:
    """Answer that the process answers."""
    return PlainTextResponse("ok\n")


@_whole_server.get(
    "/readyz",
    response_class=PlainTextResponse,
    responses={503: {"content": {"text/plain": {}}, "description": "A camera is lost."}},
)
async def readyz(request: Request, cameras: AllCameras) -> Response:
    """Answer 503 with the reasons while a camera that is wanted gives no picture.

    Never opens a camera: one that nobody watches is as it should be. Who shows no credentials
    where they are needed hears no reasons.
    """
    lost = [feed for feed in cameras.feeds.values() if feed.state is State.LOST]
    if not lost:
        return PlainTextResponse("ready\n")
    if request.state.way is None:
        return PlainTextResponse("not ready\n", 503)
    reasons = "".join(f"{feed.settings.name}: {feed.reason}\n" for feed in lost)
    return PlainTextResponse(reasons, 503)


@_whole_server.get("/cameras", response_model=CameraStates)
async def states(cameras: AllCameras) -> Response:
    """Answer with what each camera is doing, in the order of the settings; never opens one."""
    described = [_describe(feed) for feed in cameras.feeds.values()]
    answer = CameraStates(cameras=described, full=cameras.full)
    return JSONResponse(answer.model_dump(mode="json"))


@_whole_server.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Answer with what Prometheus wants to know; opens no camera."""
    return Response(request.app.state.metrics.write(), media_type=MEDIA_TYPE)


@_one_camera.get(
    "/video",
    response_class=Response,
    responses={
        200: {"content": _STREAM, "description": "Pictures without an end."},
        503: {"model": Refusal, "description": "As many watch as may."},
    },
)
async def video(
    camera: Camera,
    cameras: AllCameras,
    fps: Annotated[float | None, Query(ge=0.1, le=120, allow_inf_nan=False)] = None,
) -> Response:
    """Answer with the camera's pictures as multipart/x-mixed-replace, without an end.

    ``fps``: no more than so many a second, for a weak link; left out, all of them. 503 when as
    many watch as may.
    """
    if cameras.full:
        cameras.refused_viewers += 1
        error = f"{cameras.max_viewers} viewers watch already, which is the most (max_viewers)"
        return JSONResponse({"error": error}, 503, headers={"retry-after": str(RETRY_SECONDS)})
    return MjpegStream(camera, fps)


@_one_camera.get(
    "/snapshot",
    response_class=Response,
    responses={
        200: {"content": _JPEG, "description": "The picture."},
        304: {"description": "There is no newer picture than the one of If-None-Match."},
        503: {"model": NoPicture, "description": "No picture came in time."},
    },
)
async def snapshot(
    camera: Camera,
    max_age: Annotated[float | None, Query(ge=0, le=86400, allow_inf_nan=False)] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Answer with one picture of the camera, opening it if need be.

    ``max_age``: how many seconds before the request it may have been captured; left out,
    the newest will do. 304 when it is the one that the client has. 503 with the reason when none
    comes in time.
    """
    since_ns = 0 if max_age is None else time.monotonic_ns() - int(max_age * 1e9)
    with camera.wanted():
        try:
            async with asyncio.timeout(SNAPSHOT_SECONDS):
                frame = await camera.broadcaster.next_live(since_ns)
        except TimeoutError:
            frame = None
        if frame is None:
            stopping = camera.broadcaster.closed.is_set()
            reason = "the server is stopping" if stopping else camera.reason
            no_picture = NoPicture(
                error=f"no picture from camera {camera.settings.name!r}",
                state=camera.state,
                reason=reason or f"no frame within {SNAPSHOT_SECONDS:.0f} s",
            )
            return JSONResponse(no_picture.model_dump(mode="json"), 503)
    known = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    same = frame.tag in known or "*" in known
    response = Response(status_code=304) if same else Response(bytes(frame.jpeg))
    for line in frame.head(time.monotonic_ns()).decode().splitlines():
        name, _colon, value = line.partition(": ")
        # The length is the response's own business.
        if name != "Content-Length":
            response.headers[name] = value
    response.headers["ETag"] = frame.tag
    return response


@_one_camera.get("/state", response_model=CameraState)
async def state(camera: Camera) -> Response:
    """Answer with what the camera is doing; never opens it."""
    return JSONResponse(_describe(camera).model_dump(mode="json"))


def _describe(feed: CameraFeed) -> CameraState:
    settings = feed.settings
    age = feed.frame_age
    return CameraState(
        name=settings.name,
        source=settings.source,
        state=feed.state,
        reason=feed.reason,
        width=settings.width,
        height=settings.height,
        fps=settings.fps,
        measured_fps=round(feed.rate, 1),
        frames=feed.frames,
        viewers=feed.broadcaster.viewers,
        restarts=feed.restarts,
        frame_age=None if age is None else round(age, 3),
        pid=feed.pid,
    )
