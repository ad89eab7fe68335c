import json
import os
import socket
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from camera_server import cli, settings
from camera_server.settings import CameraSettings, Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "DEFAULT_CONFIG", tmp_path / "default.toml")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "camera-server.toml"
    path.write_text(text)
    return path


def problems(tmp_path: Path, text: str, **environment: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, text), environment)
    return caught.value.problems


def test_without_anything_set_one_camera_is_served_on_loopback() -> None:
    loaded = load_settings(None, {})
    assert (loaded.listen_host, loaded.port, loaded.idle_seconds) == ("127.0.0.1", 8080, 60)
    assert loaded.camera == (CameraSettings(name="camera", source="picamera2"),)
    assert (loaded.camera[0].width, loaded.camera[0].height) == (640, 480)
    assert (loaded.camera[0].fps, loaded.camera[0].quality) == (30, 80)


def test_open_access_listens_everywhere() -> None:
    assert load_settings(None, {"CAMERA_SERVER_ACCESS": "open"}).listen_host == str(IPv4Address(0))


def test_the_default_file_is_read_when_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "default.toml").write_text("port = 81")
    assert load_settings(None, {}).port == 81


def test_the_environment_speaks_about_the_server_and_the_first_camera(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'port = 81\n[[camera]]\nname = "a"\nwidth = 320\ncamera_id = 1\n[[camera]]\nname = "b"\n',
    )
    loaded = load_settings(
        path,
        {
            "CAMERA_SERVER_PORT": "82",
            "CAMERA_SERVER_IDLE_SECONDS": "0.5",
            "CAMERA_SERVER_CAMERA": "test-pattern",
            "CAMERA_SERVER_HEIGHT": "240",
            "CAMERA_SERVER_FPS": "",
            "PATH": "/bin",
        },
    )
    first, second = loaded.camera
    assert (loaded.port, loaded.idle_seconds) == (82, 0.5)
    assert (first.source, first.width, first.height, first.fps) == ("test-pattern", 320, 240, 30)
    assert first.camera_id == "1"
    assert second == CameraSettings(name="b")


@pytest.mark.parametrize(
    ("text", "setting", "value", "allowed"),
    [
        ("port = 65536", "port", "65536", "0 (any free port) to 65535"),
        ('port = "8080"', "port", "'8080'", "whole number"),
        ('access = "public"', "access", "'public'", "'restricted' or 'open'"),
        ("credentials = 1", "credentials", "1", "the path of a credentials file"),
        ("idle_seconds = -1", "idle_seconds", "-1", "0 to 86400"),
        ("max_viewers = 0", "max_viewers", "0", "viewers from 1 to 10000"),
        ("max_viewers = 10001", "max_viewers", "10001", "viewers from 1 to 10000"),
        ("max_viewers = true", "max_viewers", "True", "viewers from 1 to 10000"),
        ('cors_origins = "*"', "cors_origins", "'*'", "a list of origins"),
        ("cors_origins = [1]", "cors_origins[0]", "1", "a list of origins"),
        ('socket = "run/s"', "socket", "'run/s'", "absolute path of a Unix socket"),
        ('socket = "/run/\\u0000"', "socket", "'/run/\\x00'", "absolute path of a Unix socket"),
        ("camera = []", "camera", "[]", "at least one"),
        ("camera = [1]", "camera[0]", "1", "[[camera]] table"),
        ('[[camera]]\nname = "Front"', "camera[0].name", "'Front'", "a-z, 0-9"),
        ('[[camera]]\nsource = "usb"', "camera[0].source", "'usb'", "'test-pattern' or"),
        ("[[camera]]\nwidth = 641", "camera[0].width", "641", "even"),
        ("[[camera]]\nheight = 16", "camera[0].height", "16", "64 to 9152"),
        ("[[camera]]\nfps = true", "camera[0].fps", "True", "1 to 120"),
        ("[[camera]]\nquality = 100", "camera[0].quality", "100", "1 to 95"),
        ("[[camera]]\ncamera_id = 1.5", "camera[0].camera_id", "1.5", "index"),
        ("[[camera]]\nmodel = true", "camera[0].model", "True", "path of a network"),
        ('[[camera]]\nmodel = "x.rpk"', "camera[0].model", "'x.rpk'", "absolute path"),
        ("[[camera]]\nreplay = 1", "camera[0].replay", "1", "the path of a folder of JPEGs"),
        ('[[camera]]\nreplay = ""', "camera[0].replay", "''", "the path of a folder of JPEGs"),
        ("[[camera]]\nhflip = 1", "camera[0].hflip", "1", "true or false"),
        ('[[camera]]\nvflip = "true"', "camera[0].vflip", "'true'", "true or false"),
        ('[[camera]]\nmodel = ""', "camera[0].model", "''", "absolute path"),
    ],
)
def test_a_bad_setting_is_one_message_with_setting_value_and_what_is_allowed(
    tmp_path: Path, text: str, setting: str, value: str, allowed: str
) -> None:
    (message,) = problems(tmp_path, text)
    assert f"camera-server.toml: {setting} = {value} is not allowed" in message
    assert allowed in message


def test_a_bad_variable_is_called_by_its_own_name() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {"CAMERA_SERVER_WIDTH": "wide", "CAMERA_SERVER_PORT": "-1"})
    port, width = caught.value.problems
    assert port.startswith("CAMERA_SERVER_PORT = -1 is not allowed")
    assert width.startswith("CAMERA_SERVER_WIDTH = 'wide' is not allowed")


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    text = "port = -1\n[[camera]]\nfps = 0\n[[camera]]\nname = '-'\nwidht = 1"
    assert len(problems(tmp_path, text)) == 4


def test_unknown_keys_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    (message,) = problems(tmp_path, "prt = 1")
    assert "prt: is not a setting; known are host, port" in message
    (message,) = problems(tmp_path, "[[camera]]\nwidht = 1")
    assert "camera[0].widht: is not a setting; known are name, source, width" in message
    (message,) = problems(tmp_path, "", CAMERA_SERVER_WIDHT="1")
    assert message.startswith("CAMERA_SERVER_WIDHT: is not a setting")


def test_two_cameras_cannot_share_a_name(tmp_path: Path) -> None:
    (message,) = problems(tmp_path, '[[camera]]\nname = "a"\n[[camera]]\nname = "a"')
    assert "camera.name = 'a' is used more than once" in message


@pytest.mark.parametrize("host", ["192.0.2.1", "::", "camera.example"])
def test_restricted_access_stays_on_loopback(tmp_path: Path, host: str) -> None:
    (message,) = problems(tmp_path, f'host = "{host}"')
    assert f"host = '{host}' is not allowed with access = 'restricted'" in message
    assert load_settings(write(tmp_path, f'host = "{host}"\naccess = "open"'), {}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_restricted_access_takes_any_loopback_address(host: str) -> None:
    assert Settings(host=host).listen_host == host


def test_with_credentials_restricted_access_listens_everywhere(tmp_path: Path) -> None:
    loaded = load_settings(write(tmp_path, 'credentials = "/etc/somewhere.json"'), {})
    assert loaded.credentials == Path("/etc/somewhere.json")
    assert (loaded.access, loaded.listen_host) == ("restricted", str(IPv4Address(0)))
    text = 'credentials = "c.json"\nhost = "192.0.2.1"'
    assert load_settings(write(tmp_path, text), {}).listen_host == "192.0.2.1"


def test_open_access_and_credentials_exclude_each_other(tmp_path: Path) -> None:
    (message,) = problems(tmp_path, 'access = "open"', CAMERA_SERVER_CREDENTIALS="c.json")
    assert message == (
        "access = 'open' is not allowed with credentials (c.json): it would let everyone watch; "
        "remove the credentials, or use access = 'restricted'"
    )


def test_credentials_of_systemd_are_taken_when_nothing_else_is_said(tmp_path: Path) -> None:
    folder = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load_settings(None, folder).credentials is None
    assert load_settings(None, folder).listen_host == "127.0.0.1"
    given = tmp_path / "credentials.json"
    given.touch()
    assert load_settings(None, folder).credentials == given
    named = folder | {"CAMERA_SERVER_CREDENTIALS": "c.json"}
    assert load_settings(None, named).credentials == Path("c.json")
    assert load_settings(write(tmp_path, 'credentials = "d.json"'), folder).credentials == Path(
        "d.json"
    )
    (message,) = problems(tmp_path, 'access = "open"', **folder)
    assert str(given) in message


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "**",
        "site.example",
        "ftp://site.example",
        "https://",
        "https://site.example/",
        "https://site.example/a",
        "https://Site.example",
        "https://anna@site.example",
        "https://site.example:",
        "https://site.example:0",
        "https://site.example:080",
        "https://site.example:65536",
        "https://*.example",
        "https://site.example\n",
    ],
)
def test_an_origin_is_a_scheme_and_a_host_and_nothing_behind(tmp_path: Path, origin: str) -> None:
    text = f'cors_origins = ["http://a.example", {json.dumps(origin)}]'
    (message,) = problems(tmp_path, text)
    assert f"camera-server.toml: cors_origins[1] = {origin!r} is not allowed" in message
    assert "each '*' or 'scheme://host[:port]'" in message


def test_origins_come_as_a_list_or_with_commas_from_the_environment(tmp_path: Path) -> None:
    origins = ("*", "http://192.0.2.1:8000", "https://[2001:db8::1]:443", "https://site.example")
    text = f"cors_origins = {json.dumps(origins)}\nmax_viewers = 1"
    loaded = load_settings(write(tmp_path, text), {})
    assert (loaded.cors_origins, loaded.max_viewers) == (origins, 1)
    environment = {
        "CAMERA_SERVER_CORS_ORIGINS": "http://localhost:3000, https://site.example",
        "CAMERA_SERVER_MAX_VIEWERS": "10000",
    }
    loaded = load_settings(write(tmp_path, text), environment)
    assert loaded.cors_origins == ("http://localhost:3000", "https://site.example")
    assert loaded.max_viewers == 10000
    assert (Settings().cors_origins, Settings().max_viewers) == ((), 50)
    (message,) = problems(tmp_path, "", CAMERA_SERVER_CORS_ORIGINS="https://site.example,usb")
    assert message.startswith("CAMERA_SERVER_CORS_ORIGINS[1] = 'usb' is not allowed")


def test_a_socket_is_as_long_as_the_kernel_takes(tmp_path: Path) -> None:
    fits = "/" + "ä" * 53
    assert len(fits.encode()) == 107
    assert load_settings(None, {"CAMERA_SERVER_SOCKET": fits}).socket == fits
    listener = socket.socket(socket.AF_UNIX)
    with pytest.raises(OSError, match="AF_UNIX path too long"):
        listener.bind(fits + "x")
    listener.close()
    (message,) = problems(tmp_path, f'socket = "{fits}x"')
    assert f"socket = '{fits}x' is not allowed: it must be the absolute path" in message
    assert "at most 107 bytes" in message


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ('host = "127.0.0.1"', "host = '127.0.0.1'"),
        ("port = 8080", "port = 8080"),
        ('host = "::"\nport = 81', "host = '::' and port = 81"),
    ],
)
def test_a_socket_stands_in_place_of_host_and_port(tmp_path: Path, text: str, others: str) -> None:
    (message,) = problems(tmp_path, text, CAMERA_SERVER_SOCKET="/run/camera.sock")
    assert message == (
        f"socket = '/run/camera.sock' is not allowed with {others}: the server listens either on "
        "a socket or on a host and port; remove one of them"
    )


@pytest.mark.parametrize("more", ["", 'access = "open"', 'credentials = "c.json"'])
def test_a_socket_is_as_good_as_loopback(tmp_path: Path, more: str) -> None:
    text = f'socket = "/run/camera.sock"\n{more}'
    assert load_settings(write(tmp_path, text), {}).socket == "/run/camera.sock"


def test_a_file_that_was_asked_for_must_be_there_and_be_toml(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such file"):
        load_settings(tmp_path / "absent.toml", {})
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load_settings(tmp_path, {})
    (message,) = problems(tmp_path, "port = \n")
    assert "is not valid TOML" in message
    assert "line 1" in message


def test_a_network_is_for_a_real_camera_only(tmp_path: Path) -> None:
    text = '[[camera]]\n[[camera]]\nname = "door"\nsource = "test-pattern"\nmodel = "/x.rpk"'
    (message,) = problems(tmp_path, text)
    assert message == (
        "model = '/x.rpk' is not allowed for the camera 'door', whose source is 'test-pattern': "
        "only one with source = 'picamera2' takes a network"
    )


def test_a_recording_belongs_to_the_source_that_replays_it(tmp_path: Path) -> None:
    text = '[[camera]]\n[[camera]]\nname = "door"\n'
    (message,) = problems(tmp_path, text + 'replay = "/all"')
    assert message == (
        "replay = '/all' is not allowed for the camera 'door', whose source is 'picamera2': "
        "only one with source = 'replay' takes a recording"
    )
    (message,) = problems(tmp_path, text + 'source = "replay"')
    assert message == (
        "source = 'replay' is not allowed for the camera 'door' without replay: set replay to the "
        "path of a folder of JPEGs (*.jpg, *.jpeg) or a film of them (*.mjpeg, *.mjpg), all of the "
        "set size"
    )
    (message,) = problems(tmp_path, "", CAMERA_SERVER_REPLAY="/all")
    assert "replay = '/all' is not allowed for the camera 'camera'" in message
    (message,) = problems(tmp_path, "", CAMERA_SERVER_CAMERA="replay")
    assert "source = 'replay' is not allowed for the camera 'camera' without replay" in message
    environment = {"CAMERA_SERVER_CAMERA": "replay", "CAMERA_SERVER_REPLAY": "all"}
    assert load_settings(None, environment).camera[0].replay == "all"


@pytest.mark.parametrize("flip", ["hflip", "vflip"])
def test_a_picture_is_mirrored_by_a_real_camera_only(tmp_path: Path, flip: str) -> None:
    variable = f"CAMERA_SERVER_{flip.upper()}"
    assert getattr(load_settings(None, {variable: "true"}).camera[0], flip) is True
    assert getattr(load_settings(None, {variable: "false"}).camera[0], flip) is False
    assert getattr(CameraSettings(), flip) is False
    (message,) = problems(tmp_path, "", **{variable: "yes"})
    assert message == f"{variable} = 'yes' is not allowed: it must be true or false"
    text = '[[camera]]\nname = "door"\nsource = "test-pattern"\n'
    (message,) = problems(tmp_path, f"{text}{flip} = true")
    assert message == (
        f"{flip} = true is not allowed for the camera 'door', whose source is 'test-pattern': "
        "only one with source = 'picamera2' can mirror its picture"
    )
    assert load_settings(write(tmp_path, f"{text}{flip} = false"), {})


def test_a_network_that_is_not_there_fails_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "network.rpk"
    monkeypatch.setenv("CAMERA_SERVER_MODEL", str(model))
    assert load_settings(None, os.environ).camera[0].model == str(model)
    assert cli.main(["--check"]) == 2
    assert capsys.readouterr() == (
        "",
        f"camera-server: model = '{model}' of the camera 'camera': there is no such file\n",
    )
    model.touch()
    assert cli.main(["--check"]) == 0


def test_check_says_ok(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--check", "--config", str(write(tmp_path, "port = 81"))]) == 0
    assert capsys.readouterr() == ("ok\n", "")


@pytest.mark.parametrize("arguments", [["--check"], []])
def test_bad_settings_end_with_2_and_a_line_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    path = write(tmp_path, "port = -1\n[[camera]]\nfps = 0")
    assert cli.main([*arguments, "--config", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()] == ["camera-server"] * 2


def test_the_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    text = capsys.readouterr().out
    for name in (*Settings.model_fields, *CameraSettings.model_fields):
        assert name in text
    for name in (*settings._SERVER_VARIABLES, *settings._CAMERA_VARIABLES):
        assert f"_{name}" in text


@pytest.mark.parametrize("text", ["port = " + "9" * 5000, "a = " + "[" * 3000])
def test_what_python_cannot_read_is_said_as_bad_toml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "camera-server.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="is not valid TOML"):
        load_settings(path, {})


def test_numbers_without_an_end_and_names_like_numbers() -> None:
    with pytest.raises(SettingsError, match=r"CAMERA_SERVER_PORT = '9{5000}' is not allowed"):
        load_settings(None, {"CAMERA_SERVER_PORT": "9" * 5000})
    settings = load_settings(
        None, {"CAMERA_SERVER_CAMERA": "replay", "CAMERA_SERVER_REPLAY": "2024"}
    )
    assert settings.camera[0].replay == "2024"
