"""What can be set, where it comes from, and what is said when it is wrong.

The settings are one typed object. Its values come from a TOML file, and on top
of that from ``CAMERA_SERVER_*`` in the environment, which speak about the server
and its first camera, so that a file is not needed to try it.
"""

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from camera_server.recording import ALLOWED, RecordingError, pictures

DEFAULT_CONFIG = Path("/etc/rpi_camera/camera-server.toml")
ENVIRONMENT_PREFIX = "CAMERA_SERVER_"

_EVERYWHERE = ipaddress.IPv4Address(0)
_LOOPBACK = ipaddress.IPv4Address("127.0.0.1")

# systemd puts what LoadCredential= names into a folder, and says which.
_CREDENTIALS_FOLDER = "CREDENTIALS_DIRECTORY"
_CREDENTIALS_FILE = "credentials.json"

_SERVER_VARIABLES = {
    "HOST": "host",
    "PORT": "port",
    "ACCESS": "access",
    "CREDENTIALS": "credentials",
    "SOCKET": "socket",
    "IDLE_SECONDS": "idle_seconds",
    "MAX_VIEWERS": "max_viewers",
    "CORS_ORIGINS": "cors_origins",
}
_CAMERA_VARIABLES = {
    "CAMERA": "source",
    "CAMERA_ID": "camera_id",
    "MODEL": "model",
    "REPLAY": "replay",
    "HFLIP": "hflip",
    "VFLIP": "vflip",
    "WIDTH": "width",
    "HEIGHT": "height",
    "FPS": "fps",
    "QUALITY": "quality",
}


class SettingsError(Exception):
    """The settings cannot be used; ``problems`` holds one sentence for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _even(value: int) -> int:
    """Refuse odd sizes: YUV420 halves the colour planes in both directions."""
    if value % 2:
        raise PydanticCustomError("odd", "odd")
    return value


def _index_as_text(value: object) -> object:
    """Take ``camera_id = 0`` as well as ``camera_id = "0"``; a bool is an int only to Python."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _short_enough(path: str) -> str:
    """Refuse a socket's path that does not fit, with the NUL behind it, into sun_path (unix(7))."""
    if len(os.fsencode(path)) > 107:
        raise PydanticCustomError("long", "long")
    return path


# As browsers send it: scheme and host in lower case, the host in ASCII (RFC 6454, 6.2).
ORIGIN_PATTERN = (
    r"^(\*|https?://([a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])"
    r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?)$"
)

_Side = Annotated[
    int,
    Field(ge=64, le=9152, description="an even whole number of pixels from 64 to 9152"),
    AfterValidator(_even),
]


class CameraSettings(BaseModel):
    """One camera: where its pictures come from, and their size, rate and quality."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
        Field(description="1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-'"),
    ] = "camera"
    source: Annotated[
        Literal["picamera2", "test-pattern", "replay"],
        Field(description="'picamera2', 'test-pattern' or 'replay'"),
    ] = "picamera2"
    width: _Side = 640
    height: _Side = 480
    fps: Annotated[
        int, Field(ge=1, le=120, description="a whole number of frames a second from 1 to 120")
    ] = 30
    quality: Annotated[
        int, Field(ge=1, le=95, description="a whole number (JPEG quality) from 1 to 95")
    ] = 80
    camera_id: Annotated[
        str | None,
        Field(description="libcamera's id of the camera, or its index in the list of cameras"),
        BeforeValidator(_index_as_text),
    ] = None
    model: Annotated[
        str | None,
        StringConstraints(pattern="^/"),
        Field(description="the absolute path of a network for the IMX500 (.rpk)"),
    ] = None

    replay: Annotated[
        str | None,
        StringConstraints(min_length=1),
        Field(description=f"the path of {ALLOWED}"),
    ] = None
    hflip: Annotated[bool, Field(description="true or false")] = False
    vflip: Annotated[bool, Field(description="true or false")] = False

    @model_validator(mode="after")
    def _check_flips(self) -> Self:
        for setting, value in (("hflip", self.hflip), ("vflip", self.vflip)):
            if value and self.source != "picamera2":
                raise PydanticCustomError(
                    "whole",
                    "{setting} = true is not allowed for the camera {name}, whose source is "
                    "{source}: only one with source = 'picamera2' can mirror its picture",
                    {"setting": setting, "name": repr(self.name), "source": repr(self.source)},
                )
        return self

    @model_validator(mode="after")
    def _check_replay(self) -> Self:
        if self.replay is not None and self.source != "replay":
            raise PydanticCustomError(
                "whole",
                "replay = {replay} is not allowed for the camera {name}, whose source is {source}: "
                "only one with source = 'replay' takes a recording",
                {
                    "replay": repr(self.replay),
                    "name": repr(self.name),
                    "source": repr(self.source),
                },
            )
        if self.replay is None and self.source == "replay":
            raise PydanticCustomError(
                "whole",
                "source = 'replay' is not allowed for the camera {name} without replay: "
                "set replay to the path of {allowed}",
                {"name": repr(self.name), "allowed": ALLOWED},
            )
        return self

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        if self.model is not None and self.source != "picamera2":
            raise PydanticCustomError(
                "whole",
                "model = {model} is not allowed for the camera {name}, whose source is {source}: "
                "only one with source = 'picamera2' takes a network",
                {"model": repr(self.model), "name": repr(self.name), "source": repr(self.source)},
            )
        return self


class Settings(BaseModel):
    """Everything that can be set. The first camera is the one at ``/video``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    host: Annotated[
        str | None,
        StringConstraints(min_length=1),
        Field(description="a host name or IP address to listen on"),
    ] = None
    port: Annotated[
        int,
        Field(ge=0, le=65535, description="a whole number from 0 (any free port) to 65535"),
    ] = 8080
    socket: Annotated[
        str | None,
        StringConstraints(pattern=r"^/[^\x00]+$"),
        Field(
            description="the absolute path of a Unix socket to listen on, at most 107 bytes long"
        ),
        AfterValidator(lambda path: path if path is None else _short_enough(path)),
    ] = None
    access: Annotated[
        Literal["restricted", "open"], Field(description="'restricted' or 'open'")
    ] = "restricted"
    credentials: Annotated[
        Path | None, Field(strict=False, description="the path of a credentials file")
    ] = None
    idle_seconds: Annotated[
        int | float,
        Field(ge=0, le=86400, description="a number of seconds from 0 to 86400"),
    ] = 60
    max_viewers: Annotated[
        int, Field(ge=1, le=10000, description="a whole number of viewers from 1 to 10000")
    ] = 50
    cors_origins: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=ORIGIN_PATTERN)], ...],
        Field(
            strict=False,
            description="a list of origins, each '*' or 'scheme://host[:port]' in lower case, "
            "with http or https and nothing behind",
        ),
    ] = ()
    camera: Annotated[
        tuple[CameraSettings, ...],
        Field(min_length=1, strict=False, description="at least one [[camera]] table"),
    ] = (CameraSettings(),)

    @property
    def listen_host(self) -> str:
        """The address to listen on, set or not; not used where there is a ``socket``."""
        if self.host is not None:
            return self.host
        everywhere = self.access == "open" or self.credentials is not None
        return str(_EVERYWHERE if everywhere else _LOOPBACK)

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [camera.name for camera in self.camera]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise PydanticCustomError(
                "whole",
                "camera.name = {name} is used more than once: "
                "each [[camera]] needs a name of its own",
                {"name": ", ".join(repr(name) for name in repeated)},
            )
        return self

    @model_validator(mode="after")
    def _check_socket(self) -> Self:
        others = []
        if self.host is not None:
            others.append(f"host = {self.host!r}")
        # The default says nothing: only a port that somebody has set contradicts.
        if "port" in self.model_fields_set:
            others.append(f"port = {self.port}")
        if self.socket is not None and others:
            raise PydanticCustomError(
                "whole",
                "socket = {socket} is not allowed with {others}: the server listens either on a "
                "socket or on a host and port; remove one of them",
                {"socket": repr(self.socket), "others": " and ".join(others)},
            )
        return self

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        if self.access == "open" and self.credentials is not None:
            raise PydanticCustomError(
                "whole",
                "access = 'open' is not allowed with credentials ({path}): it would let everyone "
                "watch; remove the credentials, or use access = 'restricted'",
                {"path": str(self.credentials)},
            )
        if (
            self.credentials is None
            and self.access == "restricted"
            and not _is_loopback(self.listen_host)
        ):
            raise PydanticCustomError(
                "whole",
                "host = {host} is not allowed with access = 'restricted': without credentials "
                "the server listens on loopback only (127.0.0.1, ::1 or localhost); "
                "give it a credentials file, or access = 'open', which lets everyone watch",
                {"host": repr(self.host)},
            )
        return self


def missing_models(settings: Settings) -> list[str]:
    """Return a sentence for each camera whose network is not there.

    No reason not to serve: the other cameras have pictures, and the file may come back.
    """
    return [
        f"model = {camera.model!r} of the camera {camera.name!r}: there is no such file"
        for camera in settings.camera
        if camera.model is not None and not Path(camera.model).is_file()
    ]


def replay_problems(settings: Settings) -> list[str]:
    """Return a sentence for each camera whose recording cannot be replayed.

    Looks at each picture, so that none fails in the middle.
    """
    problems = []
    for camera in settings.camera:
        if camera.replay is None:
            continue
        try:
            for _picture in pictures(Path(camera.replay), (camera.width, camera.height)):
                pass
        except RecordingError as error:
            problems.append(
                f"replay = {camera.replay!r} of the camera {camera.name!r} is not allowed: "
                f"{error}; it must be {ALLOWED}"
            )
    return problems


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings(config: Path | None, environment: Mapping[str, str]) -> Settings:
    """Read the settings from a file and the environment.

    ``config`` is the file asked for. None means the default file, which may be absent.
    Raises SettingsError with a sentence for every problem found.
    """
    path = DEFAULT_CONFIG if config is None else config
    try:
        values = _read_file(path)
    except FileNotFoundError:
        if config is not None:
            raise SettingsError([f"{path}: there is no such file"]) from None
        values = {}
    origins = _overlay_environment(values, environment)
    if folder := environment.get(_CREDENTIALS_FOLDER):
        given = Path(folder, _CREDENTIALS_FILE)
        if "credentials" not in values and os.path.exists(given):
            values["credentials"] = str(given)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        details = [detail for detail in error.errors() if not _is_echo(detail)]
        problems = [_describe(detail, path, origins) for detail in details]
        raise SettingsError(problems) from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}"]) from None
    # tomllib lets pass what Python says of numbers too long and tables too deep.
    except (ValueError, RecursionError) as error:
        raise SettingsError([f"{path}: is not valid TOML: {error}"]) from None


def _overlay_environment(
    values: dict[str, Any], environment: Mapping[str, str]
) -> dict[tuple[str | int, ...], str]:
    """Put the environment's settings into ``values``; return which variable set what.

    An empty variable counts as absent, as Compose files leave them. Raises SettingsError
    for a variable with our prefix that means nothing: it is most likely misspelt.
    """
    origins: dict[tuple[str | int, ...], str] = {}
    unknown = []
    for variable, text in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or not text:
            continue
        short = variable.removeprefix(ENVIRONMENT_PREFIX)
        if short in _SERVER_VARIABLES:
            key = _SERVER_VARIABLES[short]
            values[key] = _split(text) if key == "cors_origins" else _value(key, text)
            origins[(key,)] = variable
        elif short in _CAMERA_VARIABLES:
            cameras = values.setdefault("camera", [{}])
            # A file with a wrong shape is reported as such by the validation.
            if isinstance(cameras, list) and cameras and isinstance(cameras[0], dict):
                key = _CAMERA_VARIABLES[short]
                cameras[0][key] = _value(key, text)
                origins[("camera", 0, key)] = variable
        else:
            unknown.append(variable)
    if unknown:
        known = ", ".join(ENVIRONMENT_PREFIX + name for name in _SERVER_VARIABLES)
        known += ", " + ", ".join(ENVIRONMENT_PREFIX + name for name in _CAMERA_VARIABLES)
        raise SettingsError([f"{name}: is not a setting; known are {known}" for name in unknown])
    return origins


def _split(text: str) -> list[str]:
    """Return what stands between commas: the environment has no lists."""
    return [part.strip() for part in text.split(",")]


def _value(key: str, text: str) -> bool | int | float | str:
    """Return a setting's value: a file may well be called 2024."""
    return text if key in ("credentials", "replay") else _as_in_toml(text)


def _as_in_toml(text: str) -> bool | int | float | str:
    """Give the variable's text the type that TOML would have given it."""
    if text in ("true", "false"):
        return text == "true"
    # No setting has more digits, and Python does not read thousands of them.
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"[+-]?\d{1,18}\.\d{1,18}", text):
        return float(text)
    return text


def _is_echo(detail: ErrorDetails) -> bool:
    """Tell whether this says no more than that something inside was refused.

    pydantic leaves a refused camera out, and then finds the list too short.
    """
    return detail["type"] == "too_short" and bool(detail["input"])


def _describe(
    detail: ErrorDetails, path: Path, origins: Mapping[tuple[str | int, ...], str]
) -> str:
    """Turn one of pydantic's errors into a sentence with setting, value and what is allowed."""
    location = detail["loc"]
    if detail["type"] == "whole":
        return detail["msg"]
    model: type[BaseModel] = Settings
    if len(location) > 1 and location[0] == "camera" and isinstance(location[1], int):
        model = CameraSettings
    # The place ends with the branch of a union that failed; the setting is before it.
    depth = 3 if model is CameraSettings else 1
    place = location[:depth]
    # One member of a list.
    member = "".join(f"[{part}]" for part in location[depth:] if isinstance(part, int))
    setting = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    where = origins.get(place, f"{path}: {setting.lstrip('.')}") + member
    if detail["type"] == "extra_forbidden":
        return f"{where}: is not a setting; known are {', '.join(model.model_fields)}"
    if len(place) == depth:
        allowed = model.model_fields[str(place[-1])].description
    else:
        allowed = "a [[camera]] table"
    return f"{where} = {detail['input']!r} is not allowed: it must be {allowed}"
