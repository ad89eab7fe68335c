"""The encoders' names, and what they refuse; nothing is encoded."""

# Those of picamera2's formats.ALL_FORMATS that are not raw.
FORMATS = (
    *("NV21", "NV12", "YUV420", "YVU420", "YVYU", "YUYV", "UYVY", "VYUY"),
    *("BGR888", "RGB888", "XBGR8888", "XRGB8888", "RGB161616", "BGR161616"),
)


class Encoder:
    def __init__(self) -> None:
        self.firsttimestamp: int | None = None

    def set_format(self, value: str) -> None:
        """What assigning to ``format`` does."""
        if value not in FORMATS:
            raise ValueError(f"Invalid format: {value}. Valid formats are: {FORMATS}")


class JpegEncoder(Encoder):
    def __init__(self, q: int | None = None) -> None:
        super().__init__()
        self.q = q
