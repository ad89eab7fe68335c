"""The encoders' names; nothing is encoded."""


class Encoder:
    def __init__(self) -> None:
        self.firsttimestamp: int | None = None


class JpegEncoder(Encoder):
    def __init__(self, q: int | None = None) -> None:
        super().__init__()
        self.q = q
