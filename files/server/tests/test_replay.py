import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from camera_server import cli
from camera_server.cameras import pacing, replay
from camera_server.cameras.replay import looped
from camera_server.framing import Kind, Record
from camera_server.settings import Settings, replay_problems
from camera_server.task import CameraTask
from recordings import SIZE, film, folder, picture
from server_helpers import camera_records, decode, running_server

JPEGS = [picture(shade, thumbnail=True) for shade in (10, 90, 170)]


def records(count: int, replay: Path, fps: int = 100) -> list[Record]:
    """Run the camera's process; return what it writes first."""
    task = CameraTask("film", "replay", *SIZE, fps, 80, None, None, os.getpid(), replay=str(replay))
    return camera_records(task, count)


@pytest.fixture(params=["folder", "film"])
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The three pictures, the second with metadata, or each in a film."""
    if request.param == "folder":
        path = folder(tmp_path / "all", *JPEGS)
        (path / "0002.json").write_text('{"n": 2}')
        return path
    (tmp_path / "film.jsonl").write_text('{}\n{"n": 2}\n{}\n')
    return film(tmp_path / "film.mjpeg", *JPEGS)


def test_a_recording_is_replayed_as_it_is_over_and_over(recorded: Path) -> None:
    started, *frames = records(8, recorded)
    assert (started.kind, started.metadata) == (Kind.STARTED, {"encoder": "replay"})
    assert [record.kind for record in frames] == [Kind.FRAME] * 7
    assert [record.jpeg for record in frames] == [*JPEGS, *JPEGS, JPEGS[0]]
    assert [record.metadata for record in frames[:4]] == [{}, {"n": 2}, {}, {}]


def test_a_recording_has_the_rate_that_is_set(recorded: Path) -> None:
    times = [record.captured_ns for record in records(21, recorded, fps=50)[1:]]
    assert (times[-1] - times[0]) / 1e9 == pytest.approx(19 / 50, abs=0.1)


def test_a_picture_without_an_end_is_said_before_the_start(tmp_path: Path) -> None:
    path = folder(tmp_path / "all", JPEGS[0][:-5])
    (record,) = records(2, path)
    assert record.kind is Kind.ERROR
    assert record.metadata == {"error": f"replay is {path}: {path}/0001.jpg is cut short"}


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_a_recording_that_goes_away_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(replay, "_KEPT_BYTES", sum(map(len, JPEGS[:kept])))
    path = folder(tmp_path / "all", *JPEGS)
    turn = looped(path, SIZE)
    assert [frame.jpeg for frame in itertools.islice(turn, 4)] == [*JPEGS, JPEGS[0]]
    (path / "0002.jpg").unlink()
    if kept >= 2:  # it is in memory
        assert next(turn).jpeg == JPEGS[1]
    else:
        with pytest.raises(FileNotFoundError, match=r"0002\.jpg"):
            next(turn)


def test_a_film_is_not_read_to_its_end_before_it_begins(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mjpeg", JPEGS[0], b"no picture at all")
    assert next(looped(path, SIZE)).jpeg == JPEGS[0]


def test_frames_are_due_at_a_rate_and_none_is_made_up_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, slept = 5_000_000_000, []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(round(seconds, 6))
        now += round(seconds * 1e9)

    clock = SimpleNamespace(monotonic_ns=lambda: now, sleep=sleep)
    monkeypatch.setattr(pacing, "time", clock)
    due = pacing.paced(10)
    assert [next(due) for _turn in range(3)] == [0, 1, 2]
    assert slept == [0.1, 0.1]
    now += 50_000_000
    assert (next(due), slept[2:]) == (3, [0.05])
    now += 10_000_000_000
    assert [next(due), next(due)] == [4, 5]
    assert slept[3:] == [0.1]


def viewed(path: Path, count: int) -> Iterator[bytes]:
    settings = {
        "CAMERA_SERVER_CAMERA": "replay",
        "CAMERA_SERVER_REPLAY": str(path),
        "CAMERA_SERVER_WIDTH": "64",
        "CAMERA_SERVER_HEIGHT": "64",
    }
    with running_server(**settings) as server:
        viewer = server.watch()
        yield viewer.until("live").jpeg
        for _turn in range(count - 1):
            yield viewer.part().jpeg


def test_a_viewer_sees_the_recording(recorded: Path) -> None:
    seen = list(viewed(recorded, 10))
    assert set(seen) == set(JPEGS)
    assert decode(seen[0]).size == SIZE


@pytest.mark.parametrize("arguments", [[], ["--check"]])
@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("absent", b"", "there is no such folder or file"),
        ("film.mjpeg", JPEGS[0][:-5], "{path}, picture 1 (byte 0), is cut short"),
        (
            "film.mjpeg",
            picture(1, (32, 32)),
            "{path}, picture 1 (byte 0), is 32x32, and width = 64 and height = 64 are set",
        ),
    ],
)
def test_a_bad_recording_ends_the_server_at_its_start(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    name: str,
    content: bytes,
    expected: str,
) -> None:
    path = tmp_path / name
    if content:
        path.write_bytes(content)
    config = tmp_path / "camera-server.toml"
    config.write_text(
        f'[[camera]]\nsource = "replay"\nreplay = "{path}"\nwidth = 64\nheight = 64\n'
        '[[camera]]\nname = "door"\nsource = "replay"\nreplay = "/absent"\n'
    )
    assert cli.main([*arguments, "--config", str(config)]) == 2
    allowed = "a folder of JPEGs (*.jpg, *.jpeg) or a film of them (*.mjpeg, *.mjpg)"
    assert capsys.readouterr() == (
        "",
        f"camera-server: replay = '{path}' of the camera 'camera' is not allowed: "
        f"{expected.format(path=path)}; it must be {allowed}, all of the set size\n"
        "camera-server: replay = '/absent' of the camera 'door' is not allowed: there is no such "
        f"folder or file; it must be {allowed}, all of the set size\n",
    )


def test_a_good_recording_passes_the_check(recorded: Path) -> None:
    camera = {"source": "replay", "replay": str(recorded), "width": 64, "height": 64}
    assert replay_problems(Settings.model_validate({"camera": [camera]})) == []


def test_a_relative_path_counts_from_where_the_server_is_started(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recorded.parent)
    assert next(viewed(Path(recorded.name), 1)) in JPEGS
