import os

import pytest
from camera_server.cameras.test_pattern import Pattern
from camera_server.framing import Kind
from camera_server.task import CameraTask
from server_helpers import camera_records, decode


def test_number_and_clock_can_be_seen() -> None:
    # After 300 frames the block is back where it was: only the number differs.
    pattern = Pattern(640, 480, 80)
    first = pattern.jpeg(0, "12:00:00")
    assert pattern.jpeg(300, "12:00:00") != first
    assert pattern.jpeg(0, "12:00:01") != first
    assert pattern.jpeg(0, "12:00:00") == first, "nothing of other frames is left over"


@pytest.mark.parametrize("size", [(64, 64), (320, 240), (1920, 1080), (64, 2048)])
def test_it_has_the_size_asked_for(size: tuple[int, int]) -> None:
    pattern = Pattern(*size, 80)
    pictures = [pattern.jpeg(number, "12:34:56") for number in range(20)]
    assert {decode(picture).size for picture in pictures} == {size}
    assert len(set(pictures)) == len(pictures)


def test_the_start_says_what_makes_the_jpegs() -> None:
    task = CameraTask("camera", "test-pattern", 64, 64, 100, 80, None, None, os.getpid())
    started, *frames = camera_records(task, 3)
    assert (started.kind, started.metadata) == (Kind.STARTED, {"encoder": "test-pattern"})
    assert [frame.metadata for frame in frames] == [{"frame": 0}, {"frame": 1}]
