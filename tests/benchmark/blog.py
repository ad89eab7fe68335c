"""The MJPEG server of countless tutorials, to compare with: python -m tests.benchmark.blog FOLDER.

A thread gives frames to a condition, and each viewer's generator waits for it in a thread of the
pool. Tutorials leave the part's Content-Length away, which the load client needs.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from .stamping.sitecustomize import stamped

FPS = 30

app = FastAPI()
condition = threading.Condition()
newest = b""


def capture(folder: Path) -> None:
    """Loop the folder's pictures for ever."""
    global newest
    pictures = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    due, sequence = time.monotonic(), 0
    while True:
        sequence += 1
        due += 1 / FPS
        time.sleep(max(0, due - time.monotonic()))
        with condition:
            newest = stamped(pictures[sequence % len(pictures)], sequence)
            condition.notify_all()


def parts() -> Iterator[bytes]:
    """Yield a part for each frame."""
    while True:
        with condition:
            condition.wait()
            jpeg = newest
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        yield head.encode() + jpeg + b"\r\n"


@app.get("/video")
def video() -> StreamingResponse:
    """Stream."""
    return StreamingResponse(parts(), media_type="multipart/x-mixed-replace; boundary=frame")


if __name__ == "__main__":
    threading.Thread(target=capture, args=[Path(sys.argv[1])], daemon=True).start()
    uvicorn.run(app, host="127.0.0.1", port=0)
