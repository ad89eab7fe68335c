"""Ask the server in this container whether it is well: `python -m camera_server.health`.

A container is asked every half minute for as long as it lives, so this reads no more of the
settings than where the server listens, and imports nothing that costs. /readyz opens no camera.
"""

import os
import socket
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

# As settings.py has them, which is too much to import for this.
CONFIG = Path("/etc/rpi_camera/camera-server.toml")
TIMEOUT_SECONDS = 4
# Who listens everywhere is asked on loopback.
_EVERYWHERE = {"": "127.0.0.1", socket.inet_ntoa(bytes(4)): "127.0.0.1", "::": "::1"}


def address(config: Path, environment: Mapping[str, str]) -> str | tuple[str, int]:
    """Return where the server listens: a Unix socket's path, or host and port.

    ``config`` is the settings file, which may be absent. The environment's variables go before
    it; an empty one counts as absent.
    """
    settings = tomllib.loads(config.read_text(encoding="utf-8")) if config.exists() else {}

    def setting(name: str, default: object) -> str:
        return environment.get(f"CAMERA_SERVER_{name.upper()}") or str(settings.get(name, default))

    if path := setting("socket", ""):
        return path
    host = setting("host", "")
    return _EVERYWHERE.get(host, host), int(setting("port", 8080))


def ask(where: str | tuple[str, int]) -> tuple[bool, str]:
    """Return whether a server says that it is ready, and what it says.

    Raises OSError if it does not answer.
    """
    if isinstance(where, str):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT_SECONDS)
        connection.connect(where)
    else:
        connection = socket.create_connection(where, TIMEOUT_SECONDS)
    with connection, connection.makefile("rb") as answer:
        connection.sendall(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        head, _blank, body = answer.read().partition(b"\r\n\r\n")
    return head.split(b" ", 2)[1:2] == [b"200"], body.decode(errors="replace").strip()


def main() -> int:
    """Print what the server says; return 0 if it is well, else 1."""
    try:
        where = address(CONFIG, os.environ)
    # tomllib's own error is one of these.
    except (OSError, ValueError) as error:
        print(f"{CONFIG} cannot be used: {error}")
        return 1
    try:
        well, words = ask(where)
    except OSError as error:
        place = where if isinstance(where, str) else f"{where[0]}:{where[1]}"
        well, words = False, f"no answer at {place}: {error}"
    print(words)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
