import pytest
from camera_server.placeholder import draw_placeholder
from server_helpers import decode

LONG = "Camera __init__ sequence did not complete: Failed to acquire camera " + "/base/soc" * 20


@pytest.mark.parametrize("size", [(640, 480), (64, 64), (1920, 1080), (480, 640)])
def test_it_has_the_size_asked_for_whatever_the_text(size: tuple[int, int]) -> None:
    for text in ("", "no frame for 2.0 s", LONG):
        assert decode(draw_placeholder(*size, "no camera", text)).size == size


def test_title_and_reason_can_be_seen() -> None:
    image = decode(draw_placeholder(640, 480, "no camera", LONG)).convert("L")
    bright = image.point([255 if level > 128 else 0 for level in range(256)])
    title = bright.crop((0, 120, 640, 260)).getbbox()
    reason = bright.crop((0, 265, 640, 480)).getbbox()
    assert title is not None
    assert reason is not None
    assert title[2] - title[0] > 320, "the title is as wide as half of the picture"
    assert title[0] > 0
    assert title[2] < 640
    assert reason[0] > 0
    assert reason[2] < 640
