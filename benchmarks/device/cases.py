"""Cases that are run while there is time; what was not run is listed with the reason."""

import gc
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

Row = dict[str, Any]


class TimeIsUpError(BaseException):
    """Ends a case when its section is over; no handler of ordinary errors stops it."""


class Cases:
    """Rows of each section; skipped and failed cases.

    ``shares`` maps each section, in order, to the share of ``budget_s`` that is spent by its end.
    The clock starts at ``started`` (of ``time.monotonic``).
    """

    def __init__(self, shares: Mapping[str, float], *, started: float, budget_s: float) -> None:
        self.rows: dict[str, list[Row]] = {section: [] for section in shares}
        self.skipped: list[Row] = []
        self.failed: list[Row] = []
        self._until = {section: started + share * budget_s for section, share in shares.items()}

    def run(
        self,
        section: str,
        case: Row,
        measure: Callable[[], Row],
        *,
        expected_s: float = 0.0,
    ) -> float | None:
        """Measure a case and keep its row; return the seconds it took, or None.

        It is not begun if it is expected to outlast its section, and ends with it in any case.
        """
        name, began = {"section": section, **case}, time.monotonic()
        left = self._until[section] - began
        if left <= expected_s:
            self._skip(name, _too_long(expected_s, left))
            return None
        try:
            with _alarm(left):
                found = measure()
        except TimeIsUpError:
            self._skip(name, "begun, not done when the time of its section was up")
        except torch.OutOfMemoryError:
            self._skip(name, "out of memory")
        except Exception as error:  # a benchmark of machines unknown goes on with the next case
            first = (str(error).splitlines() or [""])[0][:200]
            self.failed.append({**name, "error": f"{type(error).__name__}: {first}"})
        else:
            took_s = time.monotonic() - began
            self.rows[section].append({**case, **found, "took_s": took_s})
            return took_s
        finally:
            _release()
        return None

    def leave_out(self, section: str, case: Row, reason: str) -> None:
        """List a case that is not for this machine."""
        self._skip({"section": section, **case}, reason)

    def as_json(self) -> dict[str, object]:
        """Return the sections, and what was skipped and what failed."""
        return {**self.rows, "skipped": self.skipped, "failed": self.failed}

    def _skip(self, name: Row, reason: str) -> None:
        self.skipped.append({**name, "reason": reason})


def _too_long(expected_s: float, left_s: float) -> str:
    if left_s <= 0:
        return "no time is left"
    return f"would take {expected_s:.0f} s or so, and its section has {left_s:.0f} s left"


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise TimeIsUpError inside the block after ``seconds``."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeIsUpError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
