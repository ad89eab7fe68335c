"""What the role says before the first change is what the server would say after it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule
from camera_server.credentials import NAME_PATTERN
from camera_server.settings import ORIGIN_PATTERN, CameraSettings, Settings
from pydantic import ValidationError

ROLE = Path(__file__).resolve().parents[2] / "roles" / "camera_app"
VARS = yaml.safe_load((ROLE / "vars/main.yml").read_text())
SPECS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())
OPTIONS = SPECS["argument_specs"]["main"]["options"]


def _accepts(key: str, value: object) -> bool:
    try:
        CameraSettings.model_validate({key: value})
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("limits", VARS["__camera_app_ranges"], ids=lambda limits: limits["key"])
def test_the_server_has_the_role_s_limits(limits: dict[str, Any]) -> None:
    key, least, most, step = (limits[name] for name in ("key", "least", "most", "multiple"))
    assert _accepts(key, least)
    assert _accepts(key, most)
    assert not _accepts(key, least - step)
    assert not _accepts(key, most + step)
    assert _accepts(key, least + 1) is (step == 1)


@pytest.mark.parametrize(
    "name", ["a", "garden-2", "a" * 63, "a" * 64, "-a", "a-", "A", "a_b", "a\n", ""]
)
def test_the_server_takes_the_role_s_names(name: str) -> None:
    assert _accepts("name", name) is bool(re.match(VARS["__camera_app_name_pattern"], name))


@pytest.mark.parametrize("folder", ["usr/share/imx500-models", "opt", "homes", "tmpl"])
def test_the_server_takes_the_role_s_networks(folder: str) -> None:
    assert re.match(VARS["__camera_app_path_pattern"], f"/{folder}/x.rpk")
    assert _accepts("model", f"/{folder}/x.rpk")


@pytest.mark.parametrize("folder", ["home/pi", "root", "run/user/1000", "tmp", "var/tmp"])
def test_a_path_that_the_unit_s_sandbox_hides_is_not_allowed(folder: str) -> None:
    assert not re.match(VARS["__camera_app_path_pattern"], f"/{folder}/x.rpk")
    assert not re.match(VARS["__camera_app_path_pattern"], "/" + folder.removesuffix("/pi"))


@pytest.mark.parametrize("model", ["x.rpk", ""])
def test_a_network_that_is_no_absolute_path_is_not_allowed(model: str) -> None:
    assert not re.match(VARS["__camera_app_path_pattern"], model)
    assert not _accepts("model", model)


@pytest.mark.parametrize(
    "more",
    [
        {"source": "picamera2", "camera_id": "0", "model": "/x.rpk", "hflip": True, "vflip": False},
        {"source": "replay", "replay": "/srv/film.mjpeg"},
    ],
    ids=["picamera2", "replay"],
)
@pytest.mark.parametrize("trial", [False, True])
def test_the_server_takes_the_role_s_file_in_the_trial_too(
    more: dict[str, Any], trial: bool
) -> None:
    camera = {"name": "door", "fps": "5", **more}
    # As a number too, since YAML makes one of it.
    camera |= {"camera_id": 0} if "camera_id" in camera else {}
    environment = jinja2.Environment(
        autoescape=jinja2.select_autoescape(default_for_string=False),
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= FilterModule().filters()
    template = ROLE / "templates/etc/rpi_camera/camera-server.toml.j2"
    text = environment.from_string(template.read_text()).render(
        ansible_managed="managed",
        camera_app_access="open",
        camera_app_host="",
        camera_app_port=8080,
        camera_app_max_viewers="7",
        camera_app_cors_origins=["*", "https://site.example"],
        camera_app_cameras=[camera],
        __camera_app_is_trial=trial,
        __camera_app_ranges=VARS["__camera_app_ranges"],
    )
    settings = Settings.model_validate(tomllib.loads(text))
    assert trial or settings.max_viewers == 7
    assert trial or settings.cors_origins == ("*", "https://site.example")
    (taken,) = settings.camera
    real = CameraSettings(name="door", fps=5, **more)
    drawn = CameraSettings(name="door", fps=5, source="test-pattern")
    assert taken == (drawn if trial else real)


def test_the_server_takes_the_role_s_origins() -> None:
    assert VARS["__camera_app_origin_pattern"] == ORIGIN_PATTERN.removesuffix("$") + r"\Z"


@pytest.mark.parametrize(("viewers", "taken"), [(0, False), (1, True), (10000, True)])
def test_the_server_takes_the_role_s_number_of_viewers(viewers: int, taken: bool) -> None:
    preflight = (ROLE / "tasks/preflight_variables.yml").read_text()
    assert "camera_app_max_viewers | int not in range(1, 10001)" in preflight
    try:
        Settings(max_viewers=viewers)
    except ValidationError:
        assert not taken
    else:
        assert taken


@pytest.mark.parametrize("name", ["camera_app_max_viewers", "camera_app_cors_origins"])
def test_the_role_has_the_server_s_defaults(name: str) -> None:
    default = getattr(Settings(), name.removeprefix("camera_app_"))
    assert OPTIONS[name]["default"] == (list(default) if isinstance(default, tuple) else default)


def test_the_server_takes_the_role_s_users() -> None:
    assert VARS["__camera_app_user_pattern"] == NAME_PATTERN.removesuffix("$") + r"\Z"


def test_the_specs_name_what_the_server_can_be_told() -> None:
    assert set(OPTIONS["camera_app_cameras"]["options"]) == set(CameraSettings.model_fields)


@pytest.mark.parametrize(
    ("option", "annotation"),
    [
        (OPTIONS["camera_app_access"], Settings.model_fields["access"].annotation),
        (
            OPTIONS["camera_app_cameras"]["options"]["source"],
            CameraSettings.model_fields["source"].annotation,
        ),
    ],
    ids=["access", "source"],
)
def test_the_specs_offer_what_the_server_takes(option: dict[str, Any], annotation: object) -> None:
    assert set(option["choices"]) == set(get_args(annotation))


def test_what_the_server_needs_is_pinned_by_digest_and_shadows_no_numpy() -> None:
    text = (ROLE.parents[1] / "files/server/requirements.txt").read_text()
    entries = [
        entry
        for entry in text.replace("\\\n", " ").splitlines()
        if entry.strip()[:1] not in ("", "#")
    ]
    assert entries
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    assert not any(entry.startswith("numpy") for entry in entries)
