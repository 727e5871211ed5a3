"""How long a call takes, once the device has done what it asks."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

import torch


@dataclass(frozen=True, slots=True)
class Pace:
    """Runs until ``enough_s`` seconds are spent, within the numbers of runs; warm ones first."""

    num_warm: int = 2
    least_runs: int = 3
    most_runs: int = 30
    enough_s: float = 0.6

    def is_enough(self, seconds: Sequence[float]) -> bool:
        """Say whether the runs so far, which took ``seconds``, are enough."""
        many = len(seconds) >= self.most_runs
        return many or (len(seconds) >= self.least_runs and sum(seconds) >= self.enough_s)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of repeated runs: the median, the quickest, the slowest."""

    median_s: float
    quickest_s: float
    slowest_s: float
    num_runs: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Timing":
        """Return the summary of some runs."""
        return cls(median(seconds), min(seconds), max(seconds), len(seconds))

    def as_json(self) -> dict[str, object]:
        """Return the fields by name."""
        return asdict(self)


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds from the start of ``call`` to the end of its work on ``device``."""
    if device.type != "cuda":
        started = time.perf_counter()
        call()
        return time.perf_counter() - started
    torch.cuda.synchronize(device)
    start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    start.record()
    call()
    end.record()
    torch.cuda.synchronize(device)
    return float(start.elapsed_time(end)) / 1000


def timed(call: Callable[[], object], device: torch.device, pace: Pace) -> Timing:
    """Run ``call`` at ``pace``."""
    for _ in range(pace.num_warm):
        seconds_of(call, device)
    seconds: list[float] = []
    while not pace.is_enough(seconds):
        seconds.append(seconds_of(call, device))
    return Timing.of(seconds)
