"""SIGTERM, the notice of a machine that is taken away, as an orderly end of a run."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NoReturn

EXIT_CODE = 128 + signal.SIGTERM
OnPreempt = Literal["finish", "abandon"]


class Stopped(BaseException):
    """Ends a run now: it was told to stop, and what is in flight is no longer waited for."""


class Stopping:
    """Whether this process was told to stop."""

    def __init__(self) -> None:
        self._is_requested = False

    def is_requested(self) -> bool:
        """Say whether SIGTERM has come."""
        return self._is_requested

    def request(self) -> None:
        """Take note of it."""
        self._is_requested = True


@contextmanager
def stopping_on_sigterm(on_preempt: OnPreempt, *, grace_s: float) -> Iterator[Stopping]:
    """Turn SIGTERM, inside the block, into an end of the run that loses nothing committed.

    ``finish``: what is in flight is waited for, up to ``grace_s`` seconds from the signal, then
    Stopped is raised in the main thread; ``abandon``: it is raised at once. A second SIGTERM ends
    the process. Does nothing outside the main thread, where Python takes no signals.
    """
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def on_term(number: int, frame: object) -> None:
        if stopping.is_requested():
            os._exit(EXIT_CODE)
        stopping.request()
        if on_preempt == "abandon" or not grace_s:
            raise Stopped
        signal.setitimer(signal.ITIMER_REAL, grace_s)

    def on_alarm(number: int, frame: object) -> None:
        raise Stopped

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, on_term),
        signal.SIGALRM: signal.signal(signal.SIGALRM, on_alarm),
    }
    try:
        yield stopping
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def leave() -> NoReturn:
    """Say that the run was stopped, and end the process: abandoned threads are not waited for."""
    sys.stdout.flush()
    sys.stderr.write("ecgtwin: stopped by SIGTERM; the same command goes on from here\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)
