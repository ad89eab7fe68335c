"""Camera processes that misbehave, each in one way: ``python fake_camera.py WAY FILE``.

FILE gets a line for each start, so that a way can differ from one start to the next.
"""

import io
import os
import signal
import sys
import time
from pathlib import Path

from camera_server.framing import Kind, Record, pack
from PIL import Image

STARTED = Record(Kind.STARTED, 0)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (640, 480), "green").save(buffer, "JPEG")
    return buffer.getvalue()


def send(record: Record) -> None:
    sys.stdout.buffer.writelines(pack(*record))
    sys.stdout.buffer.flush()


def frames(count: int) -> None:
    picture = jpeg()
    for _turn in range(count):
        send(Record(Kind.FRAME, time.monotonic_ns(), picture))
        time.sleep(0.02)


def main() -> None:
    way, log = sys.argv[1], Path(sys.argv[2])
    sys.stdin.readline()
    with log.open("a") as starts:
        starts.write("start\n")
    start = len(log.read_text().splitlines())
    if way == "good":
        frames(10**9)
    elif way == "error":
        send(Record(Kind.ERROR, 0, metadata={"error": "the cable is out"}))
    elif way == "exit":
        sys.exit(3)
    elif way == "killed":
        frames(3)
        os.kill(os.getpid(), signal.SIGKILL)
    elif way == "silent":
        send(STARTED)
        signal.pause()
    elif way == "opens-never":
        signal.pause()
    elif way == "opens-slowly":
        time.sleep(1)
        send(STARTED)
        frames(10**9)
    elif way == "overtaken":
        frames(3)
        send(STARTED)
        signal.pause()
    elif way == "hangs-once":
        frames(5 if start == 1 else 10**9)
        signal.pause()
    elif way == "junk":
        frames(2)
        print("INFO: a library says hello" * 10, flush=True)
        signal.pause()
    elif way == "closes":
        frames(2)
        os.close(1)
        signal.pause()
    elif way == "recovers":
        if start >= 4:
            frames(30)
        sys.exit(1)


if __name__ == "__main__":
    main()
