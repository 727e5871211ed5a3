"""A commit hook that kills its own process at chosen steps, each once, and slows all steps down.

ECGTWIN_KILL="object:2,put:7" kills after the object of shard 2, and at the seventh put of a
process; ECGTWIN_KILL_FOLDER holds a marker file per kill that has happened; ECGTWIN_PAUSE is in
seconds.
"""

import os
import signal
import time
from pathlib import Path

_puts = {"count": 0}


def on_stage(name: str, shard_index: int) -> None:
    """Die here if that was ordered and has not happened yet."""
    time.sleep(float(os.environ.get("ECGTWIN_PAUSE", "0")))
    if name == "put":
        _puts["count"] += 1
        shard_index = _puts["count"]
    order = f"{name}:{shard_index}"
    if order not in os.environ.get("ECGTWIN_KILL", "").split(","):
        return
    marker = Path(os.environ["ECGTWIN_KILL_FOLDER"]) / order
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
