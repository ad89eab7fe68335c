import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from camera_server import recording
from camera_server.recording import RecordingError, pictures
from PIL import Image
from recordings import SIZE, film, folder, picture

JPEGS = [picture(shade, thumbnail=True) for shade in (10, 90, 170)]


def read(path: Path, size: tuple[int, int] = SIZE) -> list[tuple[bytes, dict[str, Any]]]:
    return [(found.jpeg.read(), found.read_metadata()) for found in pictures(path, size)]


def problem(path: Path, size: tuple[int, int] = SIZE) -> str:
    with pytest.raises(RecordingError) as caught:
        read(path, size)
    return str(caught.value)


def encoded(**options: Any) -> bytes:
    image = Image.effect_noise(SIZE, 90).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def test_a_folder_is_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.jpeg").write_bytes(JPEGS[1])
    (tmp_path / "a.JPG").write_bytes(JPEGS[0])
    (tmp_path / "c.jpg").write_bytes(JPEGS[2])
    (tmp_path / "c.json").write_text('{"boxes": [[0.5, 1]], "who": "Jörg"}')
    (tmp_path / "._a.jpg").write_text("what macOS leaves")
    (tmp_path / "notes.txt").touch()
    assert read(tmp_path) == [
        (JPEGS[0], {}),
        (JPEGS[1], {}),
        (JPEGS[2], {"boxes": [[0.5, 1]], "who": "Jörg"}),
    ]


@pytest.mark.parametrize("name", ["film.mjpeg", "film.MJPG"])
@pytest.mark.parametrize("padding", [b"", bytes(5000)])
def test_a_film_is_split_where_its_pictures_end(tmp_path: Path, name: str, padding: bytes) -> None:
    path = film(tmp_path / name, padding, *(jpeg + padding for jpeg in JPEGS))
    assert JPEGS[0].count(b"\xff\xd9") == 2, "the thumbnail has an end of its own"
    assert [jpeg for jpeg, _metadata in read(path)] == JPEGS
    (tmp_path / "film.jsonl").write_text('{"n": 1}\n{}\n{"n": 3}')
    assert read(path) == list(zip(JPEGS, [{"n": 1}, {}, {"n": 3}], strict=True))


@pytest.mark.parametrize("chunk", [1, 2, 3, 100, 1000])
def test_a_picture_may_be_larger_than_what_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(recording, "_CHUNK_BYTES", chunk)
    assert [jpeg for jpeg, _metadata in read(film(tmp_path / "film.mjpg", *JPEGS))] == JPEGS
    assert [jpeg for jpeg, _metadata in read(folder(tmp_path / "all", *JPEGS))] == JPEGS


@pytest.mark.parametrize(
    "options",
    [
        {"progressive": True},
        {"restart_marker_blocks": 1},
        {"optimize": True},
        {"comment": b"\xff\xd9"},
    ],
)
def test_other_kinds_of_jpegs_are_split_too(tmp_path: Path, options: dict[str, Any]) -> None:
    jpegs = [encoded(**options), JPEGS[0], encoded(**options)]
    assert [jpeg for jpeg, _metadata in read(film(tmp_path / "film.mjpeg", *jpegs))] == jpegs
    assert [jpeg for jpeg, _metadata in read(folder(tmp_path / "all", *jpegs))] == jpegs


def test_what_a_camera_appends_to_a_picture_is_left_out(tmp_path: Path) -> None:
    path = folder(tmp_path / "all", JPEGS[0] + b"\0\0a trailer")
    assert [jpeg for jpeg, _metadata in read(path)] == JPEGS[:1]


def test_no_more_of_a_folder_is_read_than_need_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def walk(data: bytes, *, header_only: bool = False) -> tuple[tuple[int, int], int]:
        assert header_only
        asked.append(len(data))
        return SIZE, 0

    monkeypatch.setattr(recording, "walk", walk)
    monkeypatch.setattr(recording, "_CHUNK_BYTES", 200)
    assert len(list(pictures(folder(tmp_path / "all", *JPEGS), SIZE))) == len(JPEGS)
    assert asked == [200] * 3


@pytest.mark.parametrize("length", [0, 1, 2, 3, 100, len(JPEGS[1]) // 2, len(JPEGS[1]) - 1])
def test_a_picture_that_is_cut_short_is_said(tmp_path: Path, length: int) -> None:
    path = folder(tmp_path / "all", JPEGS[0], JPEGS[1][:length])
    assert problem(path) == f"{path}/0002.jpg is cut short"


@pytest.mark.parametrize("length", [1, 2, 3, 100, len(JPEGS[1]) // 2, len(JPEGS[1]) - 1])
def test_a_film_whose_last_picture_is_cut_short_is_said(tmp_path: Path, length: int) -> None:
    path = film(tmp_path / "film.mjpeg", JPEGS[0], JPEGS[1][:length])
    assert problem(path) == f"{path}, picture 2 (byte {len(JPEGS[0])}), is cut short"


def test_a_picture_that_is_cut_short_in_the_middle_of_a_film_is_said(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mjpeg", JPEGS[0], JPEGS[1][:-2], JPEGS[2])
    assert problem(path) == f"{path}, picture 2 (byte {len(JPEGS[0])}), is cut short"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n", "it begins with 89 50 4E 47 instead of FF D8"),
        (b"\xff\xd8\xff\xd9", "it does not say its size"),
        (b"\xff\xd8\xff\xfe\x00\x04ab__", "a marker is missing at its byte 8"),
        (b"\xff\xd8\xff\xda\x00\x02ab\xff\xd9", "it does not say its size"),
    ],
)
def test_what_is_no_jpeg_is_said(tmp_path: Path, content: bytes, expected: str) -> None:
    path = folder(tmp_path / "all", content)
    assert problem(path) == f"{path}/0001.jpg is no JPEG: {expected}"
    path = film(tmp_path / "film.mjpeg", JPEGS[0], content)
    at = f"picture 2 (byte {len(JPEGS[0])}),"
    assert problem(path) == f"{path}, {at} is no JPEG: {expected}"


def test_a_picture_of_another_size_is_said_with_both(tmp_path: Path) -> None:
    path = folder(tmp_path / "all", JPEGS[0], picture(0, (80, 64), thumbnail=True))
    assert problem(path) == f"{path}/0002.jpg is 80x64, and width = 64 and height = 64 are set"
    path = film(tmp_path / "film.mjpeg", JPEGS[0])
    expected = f"{path}, picture 1 (byte 0), is 64x64, and width = 66 and height = 64 are set"
    assert problem(path, (66, 64)) == expected


def empty_folder(path: Path) -> tuple[Path, str]:
    (path / "0001.png").touch()
    return path, "the folder has no picture"


def empty_film(path: Path) -> tuple[Path, str]:
    path = film(path / "film.mjpeg", bytes(10_000))
    return path, f"{path} is empty"


def absent(path: Path) -> tuple[Path, str]:
    return path / "absent", "there is no such folder or file"


def other_film(path: Path) -> tuple[Path, str]:
    return film(path / "film.mp4", JPEGS[0]), "it is neither a folder nor a film"


def folder_for_a_picture(path: Path) -> tuple[Path, str]:
    (path / "0001.jpg").mkdir()
    return path, f"{path}/0001.jpg is no file"


@pytest.mark.parametrize(
    "make", [empty_folder, empty_film, absent, other_film, folder_for_a_picture]
)
def test_what_is_no_recording_is_said(
    tmp_path: Path, make: Callable[[Path], tuple[Path, str]]
) -> None:
    path, expected = make(tmp_path)
    assert problem(path) == expected


@pytest.mark.parametrize("text", ["", "{", "{]", '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}'])
def test_broken_metadata_is_said(tmp_path: Path, text: str) -> None:
    path = folder(tmp_path / "all", *JPEGS)
    (path / "0002.json").write_text(text)
    assert problem(path).startswith(f"{path}/0002.json is no JSON: ")


def test_deeply_nested_metadata_is_said(tmp_path: Path) -> None:
    path = folder(tmp_path / "all", *JPEGS)
    (path / "0002.json").write_text('{"a": ' + "[" * 100_000)
    assert problem(path).startswith(f"{path}/0002.json is no JSON: ")


def test_metadata_is_an_object_that_fits_into_a_record(tmp_path: Path) -> None:
    path = folder(tmp_path / "all", *JPEGS)
    (path / "0003.json").write_text("[1]")
    assert problem(path) == f"{path}/0003.json is no JSON object but [1]"
    (path / "0003.json").write_text(json.dumps({"a": "x" * 1024 * 1024}))
    assert problem(path) == f"{path}/0003.json has more than 1048576 bytes"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"n": 1}\n{"n": 2}\n', "ends before line 3, and the film goes on"),
        ("{}\n{}\n{}\n{}\n", "has a line 4, and the film has no such picture"),
    ],
)
def test_a_film_has_a_line_of_metadata_for_each_picture(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = film(tmp_path / "film.mjpeg", *JPEGS)
    (tmp_path / "film.jsonl").write_text(text)
    assert problem(path) == f"{tmp_path}/film.jsonl {expected}"


def test_a_broken_line_of_metadata_is_said(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mjpeg", *JPEGS)
    (tmp_path / "film.jsonl").write_text("{}\n\n{}\n")
    assert problem(path).startswith(f"{tmp_path}/film.jsonl, line 2, is no JSON: ")


def test_a_picture_that_becomes_shorter_is_said(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mjpeg", *JPEGS)
    found = list(pictures(path, SIZE))
    path.write_bytes(JPEGS[0])
    assert found[0].jpeg.read() == JPEGS[0]
    with pytest.raises(RecordingError, match="has become shorter while it is replayed"):
        found[1].jpeg.read()
