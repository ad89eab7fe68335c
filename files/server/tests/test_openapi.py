"""The server against its own description: what a client may send, and what comes back."""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from camera_server.credentials import Credentials, Token, write_credentials
from server_helpers import RunningServer, running_server

ASKED_WRONGLY = [f"fps={fps}" for fps in ("0", "-1", "121", "nan", "inf", "", "%00", "1&fps=x")]
TOKEN = secrets.token_urlsafe(24)


@pytest.fixture(params=["open", "restricted"])
def headers(request: pytest.FixtureRequest) -> dict[str, str]:
    """What a client shows: nothing to a server that asks nobody, else a token."""
    return {} if request.param == "open" else {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def server(headers: dict[str, str], tmp_path: Path) -> Iterator[RunningServer]:
    settings = {"CAMERA_SERVER_IDLE_SECONDS": "0.5"}
    if headers:
        path = tmp_path / "credentials.json"
        write_credentials(path, Credentials(users=(), tokens=(Token.of("test", TOKEN),)))
        settings |= {"CAMERA_SERVER_CREDENTIALS": str(path), "CAMERA_SERVER_HOST": "127.0.0.1"}
    with running_server(**settings) as server:
        yield server


def test_answers_are_as_described(
    server: RunningServer, headers: dict[str, str], tmp_path: Path
) -> None:
    status, body, _headers = server.get("/openapi.json", **headers)
    assert status == 200
    description = tmp_path / "openapi.json"
    description.write_bytes(body)
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", "--no-color"]
    # A stream does not end where it is asked for rightly.
    command += ["--exclude-path-regex", "/video$", "--max-examples=30", "--request-timeout=20"]
    command += ["--url", f"http://127.0.0.1:{server.port}", str(description)]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout
    assert " passed" in ended.stdout, ended.stdout
    for path in ("/video", "/cameras/camera/video"):
        for query in ASKED_WRONGLY:
            status, body, _headers = server.get(f"{path}?{query}", **headers)
            assert status == 422, query
            assert json.loads(body)["detail"][0]["loc"] == ["query", "fps"]
    assert server.get("/cameras/%00/video", **headers)[0] == 404
    server.stop()
    assert not [line for line in server.log if line.startswith("level=ERROR")], server.log
