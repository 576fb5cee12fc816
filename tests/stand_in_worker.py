"""What stands in a worker process for Concrete: rows say what happens to it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence


def start(setting: object) -> None:
    del setting


def ready() -> bool:
    return True


def run(path: str, frames: Sequence[bytes]) -> list[bytes]:
    """Answer each row with the process, how many rows came with it, and the row."""
    for frame in frames:
        if frame == b"die":
            os._exit(7)
        if frame == b"wrong":
            raise ValueError("Concrete says so")
        if frame.startswith(b"until"):
            while not os.path.exists(frame[6:]):
                time.sleep(0.01)
    return [f"{os.getpid()} {path} {len(frames)} {frame.decode()}".encode() for frame in frames]
