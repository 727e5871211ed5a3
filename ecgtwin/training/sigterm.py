"""SIGTERM is a wish to stop: noted from the first moment on, granted where a checkpoint is made."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class _Notes:
    """The handler: keeps the signals instead of dying of them."""

    def __init__(self) -> None:
        self.caught: list[int] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.caught.append(number)


@contextmanager
def noted_sigterms() -> Iterator[list[int]]:
    """Note SIGTERMs while the block runs; the list grows with each.

    A block inside another one shares its list, so a signal that came early is not lost. Outside
    the main thread signals cannot be caught: there the list is the outer block's, or stays empty.
    """
    before = signal.getsignal(signal.SIGTERM)
    if isinstance(before, _Notes):
        yield before.caught
        return
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
    notes = _Notes()
    signal.signal(signal.SIGTERM, notes)
    try:
        yield notes.caught
    finally:
        signal.signal(signal.SIGTERM, before)
