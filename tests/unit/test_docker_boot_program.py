"""docker_boot's program on the device: what can be said of it without an engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from docker_boot import app, engine, health, registry, state, supervisor, update

GOOD, OLD, NEW = (f"hub:5000/camera@sha256:{digit * 64}" for digit in "123")


@pytest.fixture(autouse=True)
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the program's folders below a temporary one, and an engine that has every image."""
    for name in ("CONFIGURATIONS", "STATES", "RUNTIME"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setattr(app, name, folder)
    monkeypatch.setattr(engine, "image", lambda name: {"Id": name})
    return tmp_path


def _app(**told: Any) -> app.App:
    """Return an app whose configuration is in force."""
    path = app.configuration("camera")
    path.write_text(json.dumps({"name": "camera", "image": "hub:5000/camera:stable"} | told))
    return app.load(path)


def _state(**told: Any) -> None:
    entries = {key: {"reference": value, "since": state.now()} for key, value in told.items()}
    state.path("camera").write_text(json.dumps(entries))


@pytest.mark.parametrize(
    ("image", "repository", "host", "pinned"),
    [
        ("nginx:1", "nginx", "docker.io", False),
        ("library/nginx:1", "library/nginx", "docker.io", False),
        ("hub:5000/anna/camera:stable", "hub:5000/anna/camera", "hub:5000", False),
        (f"ghcr.io/anna/camera@sha256:{'0' * 64}", "ghcr.io/anna/camera", "ghcr.io", True),
        ("localhost/camera:1", "localhost/camera", "localhost", False),
    ],
)
def test_an_image_s_name_is_read_as_docker_reads_it(
    image: str, repository: str, host: str, pinned: bool
) -> None:
    of = _app(image=image)
    assert (of.repository, of.registry_host, bool(of.pinned)) == (repository, host, pinned)


def test_a_configuration_of_another_version_can_be_used() -> None:
    of = _app(health={"type": "http", "later": 1}, later=True)
    assert of.health.type == "http"
    assert of.health.window == app.Health().window
    assert of.stop_seconds == app.App("", "", "").stop_seconds


def test_another_configuration_has_another_fingerprint() -> None:
    assert _app().fingerprint != _app(ports=["1:1"]).fingerprint


def test_what_others_may_read_holds_no_secret() -> None:
    of = _app(
        secrets={"key": "first line\nsecond line", "conf": "port = 8080"},
        secret_paths={"conf": "/etc/conf"},
        registry={"username": "anna", "password": "correct horse"},
        health={"type": "http", "urls": ["http://127.0.0.1/video?token=battery"]},
    )
    said = of.hush("correct horse, second line, port = 8080, http://127.0.0.1/video?token=battery")
    assert said == "…, …, port = 8080, http://127.0.0.1/video?…"
    assert len(of.hush("x" * 9999)) < 600


def test_after_three_starts_that_were_not_well_the_one_before_has_its_turn() -> None:
    of = _app()
    _state(current=GOOD, previous=OLD)
    chosen = []
    for count in range(8):
        (app.runtime("camera") / "failures").write_text(str(count))
        choice = supervisor.choose("camera")
        assert choice is not None
        assert choice.app == of
        chosen.append(choice.reference)
    assert chosen == [GOOD] * 3 + [OLD] * 3 + [GOOD] * 2


def test_an_image_that_is_gone_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    _app()
    _state(current=GOOD, previous=OLD)
    monkeypatch.setattr(engine, "image", lambda name: {"Id": name} if name == OLD else None)
    choice = supervisor.choose("camera")
    assert choice is not None
    assert choice.reference == OLD
    monkeypatch.setattr(engine, "image", lambda _name: None)
    assert supervisor.choose("camera") is None


def test_an_image_is_known_by_our_own_name_too(monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"localhost/docker-boot/camera:{'1' * 12}"
    monkeypatch.setattr(engine, "image", lambda name: {"Id": name} if name == own else None)
    assert supervisor.present("camera", GOOD) == own
    assert supervisor.present("camera", NEW) == ""


@pytest.mark.parametrize("text", ["", "{", "[]", '{"reference": "x"}'])
def test_a_candidate_that_cannot_be_read_is_none(text: str) -> None:
    _app()
    _state(current=GOOD)
    supervisor.candidate("camera").write_text(text)
    choice = supervisor.choose("camera")
    assert choice is not None
    assert (choice.reference, choice.candidate) == (GOOD, False)


@pytest.mark.parametrize("text", ["", "null", "[1]", "{"])
def test_a_state_that_cannot_be_read_is_a_new_one(text: str) -> None:
    state.path("camera").write_text(text)
    assert state.load("camera") == state.EMPTY | {"name": "camera"}


def test_the_state_is_told_to_prometheus(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    of = _app(textfile_folder=str(folder))
    with state.editing(of) as known:
        known["running"] = known["current"] = {"reference": GOOD, "since": state.now()}
        known["last_check"] = {"time": "2026-05-03T22:10:40Z", "result": "failed"}
    lines = (folder / "rpi_camera_docker_boot_camera.prom").read_text().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values == {
        'docker_boot_running{name="camera"}': "1",
        'docker_boot_running_current{name="camera"}': "1",
        'docker_boot_rejected{name="camera"}': "0",
        'docker_boot_last_check_timestamp_seconds{name="camera"}': "1777846240",
        'docker_boot_last_check_success{name="camera"}': "0",
    }


@pytest.mark.parametrize(
    "start",
    [
        "2026-05-03T22:10:40.123456789Z",
        "2026-05-04T00:10:40.123456789+02:00",
        "2026-05-03T22:10:40.1Z",
    ],
)
def test_a_health_check_s_time_is_read_in_any_zone(start: str) -> None:
    log = [
        {"ExitCode": 1, "Start": "", "Output": ""},
        {"ExitCode": 0, "Start": start, "Output": ""},
    ]
    container = {
        "Config": {"Healthcheck": {"Test": ["CMD", "true"]}},
        "State": {"Health": {"Status": "healthy", "Log": log}},
    }
    well, reason, since = health.judge(_app(), container, 3)
    assert (well, reason) == (True, "")
    assert int(since) == 1777846240


@pytest.mark.parametrize(
    "address", ["http://[::1/", "http://127.0.0.1:x/", "http://127.0.0.1:9/", "https://127.0.0.1:9"]
)
def test_an_address_that_cannot_be_asked_is_a_reason(address: str) -> None:
    assert address in health.probe(app.Health(type="http", urls=[address]), "http")
    assert health.probe(app.Health(type="mjpeg", urls=[address]), "mjpeg")


def test_each_address_has_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    dark = {"http://b/"}
    monkeypatch.setattr(
        health, "_http", lambda url, _token: f"{url} is dark" if url in dark else ""
    )
    asked = app.Health(type="http", urls=["http://a/", "http://b/"])
    assert health.probe(asked, "http") == "http://b/ is dark"
    dark.clear()
    assert health.probe(asked, "http") == ""


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        ("Get https://hub/v2/: dial tcp: lookup hub: no such host", registry.LaterError, "asked"),
        (
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid",
            registry.LaterError,
            "not valid now",
        ),
        ("unauthorized: authentication required", registry.RefusedError, "login"),
        ("dial tcp 10.0.0.1:443: connect: permission denied", registry.LaterError, "asked"),
        ("manifest unknown: manifest unknown", registry.RefusedError, "no such image"),
    ],
)
def test_what_skopeo_says_is_worth_another_try_or_not(
    words: str, kind: type, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_clock", lambda: "")
    judged = registry._judge(words, "hub")
    assert isinstance(judged, kind)
    assert said in str(judged)


def test_only_the_layers_that_are_missing_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = {"a": ["1", "2", "x"], "b": ["1"], "c": None}
    monkeypatch.setattr(engine, "images", lambda: [{"Id": name} for name in layers])
    monkeypatch.setattr(engine, "image", lambda name: {"RootFS": {"Layers": layers[name]}})
    found = registry.Found(NEW, "arm64", ["arm64"], [("1", 10), ("2", 20), ("3", 30), ("4", 40)])
    assert registry.missing_bytes(found) == 70


def test_an_image_that_takes_the_device_down_is_not_tried_for_ever() -> None:
    of = _app()
    for times in range(1, update.TRIES + 1):
        update._count(of, NEW)
        assert state.load("camera")["trying"] == {"reference": NEW, "times": times}
    with pytest.raises(update.FailedError, match="went down 3 times") as failed:
        update._count(of, NEW)
    assert failed.value.bad == NEW
    assert state.load("camera")["trying"] is None
    update._count(of, OLD)
    assert state.load("camera")["trying"] == {"reference": OLD, "times": 1}


@pytest.mark.parametrize(
    ("how", "system", "times"),
    [("signal", "running", 0), ("signal", "stopping", 1), ("timeout", "running", 1)],
)
def test_who_stops_an_update_does_not_blame_the_image(
    monkeypatch: pytest.MonkeyPatch, how: str, system: str, times: int
) -> None:
    update._count(_app(), NEW)
    monkeypatch.setattr(update, "systemctl", lambda *_words: system)
    monkeypatch.setenv("SERVICE_RESULT", how)
    assert update.settle("camera") == 0
    known = state.load("camera")
    assert (known["trying"] or {"times": 0})["times"] == times
    assert how in known["last_check"]["reason"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "a", "health": [1]}'])
def test_a_new_configuration_that_cannot_be_read_is_given_up(text: str) -> None:
    _app()
    app.staged("camera").write_text(text)
    assert update._path("camera") == app.configuration("camera")
    assert not app.staged("camera").exists()


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        ("driver failed programming external connectivity: bind: cannot assign address", 0),
        ("failed to set up container networking: address already in use", 0),
        ("exec: camera-server: executable file not found in $PATH", 1),
    ],
)
def test_a_port_that_is_not_there_yet_gives_no_other_image_its_turn(
    monkeypatch: pytest.MonkeyPatch, said: str, counted: int
) -> None:
    def fail(_choice: object, _old: object) -> None:
        raise supervisor.StartError(said)

    _app()
    _state(current=GOOD, previous=OLD)
    monkeypatch.setattr(engine, "wait", lambda _seconds: None)
    monkeypatch.setattr(engine, "container", lambda _name: None)
    monkeypatch.setattr(supervisor, "replace", fail)
    assert supervisor.Supervisor("camera").run() == 1
    assert supervisor._count("camera") == counted


def test_what_was_rejected_is_forgotten_when_the_tag_moves_on() -> None:
    of = _app()
    with state.editing(of) as known:
        known["rejected"] = [{"reference": NEW, "reason": "it rains", "time": state.now()}]
    with pytest.raises(update.FailedError, match="it rains"):
        update._known_as_bad(of, NEW)
    update._known_as_bad(of, OLD)
    assert state.load("camera")["rejected"] == []


def test_a_way_back_gives_a_candidate_up(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, ...]] = []
    monkeypatch.setattr(update, "systemctl", lambda *words: called.append(words))
    supervisor.candidate("camera").write_text("{}")
    monkeypatch.setenv("SERVICE_RESULT", "exit-code")
    assert update.settle("camera") == 0
    assert not supervisor.candidate("camera").exists()
    assert called == [("kill", "--kill-whom=main", "--signal=HUP", "docker-boot@camera.service")]


@pytest.mark.parametrize("kept", [False, True])
def test_what_was_stopped_for_a_container_runs_again_unless_one_was_kept(
    monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    called: list[tuple[str, ...]] = []

    def systemctl(*words: str) -> str:
        called.append(words)
        return "active" if words == ("is-active", "native.service") else "inactive"

    monkeypatch.setattr(supervisor, "systemctl", systemctl)
    monkeypatch.setattr(update, "systemctl", systemctl)
    supervisor._make_way(_app(replaces=["native.service", "other.service"]))
    assert called[-1] == ("stop", "native.service", "other.service")
    assert supervisor.darkness("camera").exists()
    if kept:
        _state(current=OLD)
    called.clear()
    update._take_back("camera")
    again = [
        ("stop", "--no-block", "docker-boot@camera.service"),
        ("start", "--no-block", "native.service"),
    ]
    assert called == ([] if kept else again)
    called.clear()
    update._take_back("camera")
    assert called == [], "it is done once"


def test_a_layer_is_on_the_disk_before_it_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{"status": "Extracting", "id": "a"}, {"status": "Pull complete", "id": "a"}]
    monkeypatch.setattr(engine, "_lines", lambda *_arguments, **_query: iter(lines))
    seen: list[str] = []
    monkeypatch.setattr("os.sync", lambda: seen.append("sync"))
    engine.pull(NEW, None, "hub:5000", seen.append)
    assert seen == ["sync", "layer a is here"]
