"""A commit hook that kills or stops its own process at chosen steps, each once, and slows all down.

ECGTWIN_KILL="object:2,put:7" kills after the object of shard 2, and at the seventh put of a
process; ECGTWIN_STOP stops likewise, until somebody continues the process. ECGTWIN_KILL_FOLDER
holds a marker file per order that was carried out; ECGTWIN_PAUSE is in seconds.
"""

import os
import signal
import threading
import time
from pathlib import Path

_SIGNALS = {"ECGTWIN_KILL": signal.SIGKILL, "ECGTWIN_STOP": signal.SIGSTOP}
_puts = {"count": 0}


def on_stage(name: str, shard_index: int) -> None:
    """Die or stop here if that was ordered and has not happened yet."""
    time.sleep(float(os.environ.get("ECGTWIN_PAUSE", "0")))
    if name == "put":
        _puts["count"] += 1
        shard_index = _puts["count"]
    order = f"{name}:{shard_index}"
    for variable, number in _SIGNALS.items():
        if order in os.environ.get(variable, "").split(",") and _is_first(order):
            halt_here(number)


def halt_here(number: signal.Signals) -> None:
    """Get SIGKILL or SIGSTOP in this very line.

    A signal to the process may stop another thread first, and this one a few lines later.
    """
    signal.pthread_kill(threading.get_ident(), number)


def _is_first(order: str) -> bool:
    try:
        (Path(os.environ["ECGTWIN_KILL_FOLDER"]) / order).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
