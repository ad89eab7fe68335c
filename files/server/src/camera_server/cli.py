"""The command ``camera-server``."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from logfmter import Logfmter

from camera_server.credentials import CredentialsError, read_credentials
from camera_server.settings import (
    DEFAULT_CONFIG,
    SettingsError,
    load_settings,
    missing_models,
    replay_problems,
)

EXIT_FAILED = 1
EXIT_BAD_SETTINGS = 2

_EPILOG = """\
settings (TOML, defaults shown):
  access = "restricted"     or "open", which lets everyone watch
  credentials = "FILE"      who may watch; made by camera-server-credentials, and there by
                            default if systemd's LoadCredential= gives a credentials.json
  host = "127.0.0.1"        with credentials, or access = "open": "0.0.0.0"
  port = 8080
  socket = "FILE"           a Unix socket to listen on instead of host and port; default: none
  idle_seconds = 60         a camera closes so long after its last viewer
  max_viewers = 50          streams at the same time, of all cameras together
  cors_origins = []         whose pages may read the answers, such as "https://site.example";
                            "*" is everybody's
  [[camera]]                one for each camera; the first is the one at /video
  name = "camera"
  source = "picamera2"      or "test-pattern" or "replay", which need no camera
  camera_id = "0"           libcamera's id, or index; default: the first camera
  model = "FILE"            a network (.rpk) for the AI camera IMX500; default: none
  replay = "PATH"           what source = "replay" shows: a folder of JPEGs or a .mjpeg file
  hflip = false             mirror the picture of a picamera2 camera left to right,
  vflip = false             top to bottom; both where it hangs upside down
  width = 640
  height = 480
  fps = 30
  quality = 80              of the JPEGs, 1 to 95

environment, on top of the file (the camera's settings mean the first camera):
  CAMERA_SERVER_HOST, _PORT, _SOCKET, _ACCESS, _CREDENTIALS, _IDLE_SECONDS, _MAX_VIEWERS,
  CAMERA_SERVER_CORS_ORIGINS (with commas between them),
  CAMERA_SERVER_CAMERA (its source), _CAMERA_ID, _MODEL, _REPLAY, _HFLIP, _VFLIP,
  CAMERA_SERVER_WIDTH, _HEIGHT, _FPS, _QUALITY

try it without a camera:
  CAMERA_SERVER_CAMERA=test-pattern camera-server
  and open http://127.0.0.1:8080/

exit status: 0 stopped or checked, 1 cannot listen, 2 bad settings; after SIGTERM the signal's
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    _log_to_stderr()
    # What uvicorn says about its own start and end is said by us, with the address. And what it
    # says about requests that it does not understand, everybody could fill the log with.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    try:
        settings = load_settings(options.config, os.environ)
        path = settings.credentials
        credentials = None if path is None else read_credentials(path)
        problems = replay_problems(settings)
        if options.check:
            problems += missing_models(settings)
        if problems:
            raise SettingsError(problems)
    except SettingsError as error:
        for problem in error.problems:
            print(f"camera-server: {problem}", file=sys.stderr)
        return EXIT_BAD_SETTINGS
    except CredentialsError as error:
        print(f"camera-server: {error}", file=sys.stderr)
        return EXIT_BAD_SETTINGS
    if options.check:
        print("ok")
        return 0

    # Late, so that a check is quick: templates are validated by it.
    from camera_server.server import ListenError, serve

    try:
        serve(settings, credentials)
    except ListenError as error:
        print(f"camera-server: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        pass
    return 0


def _log_to_stderr() -> None:
    """Write each event as one line of key=value; who keeps the lines (journald) adds the time."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Logfmter(keys=["level"], mapping={"level": "levelname"}))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="camera-server",
        description="Stream cameras as MJPEG over HTTP.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"settings file (default: {DEFAULT_CONFIG}, if there is one)",
    )
    parser.add_argument(
        "--check", action="store_true", help="check the settings, print 'ok', and do nothing else"
    )
    return parser
