"""Three stages of a shard, a thread each, so that the stages of several shards overlap.

``sampling`` keeps the device at work while the shard before is decoded and judged and the one
before that is written. A thread does one thing at a time; shards wait for it in their order.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal, TypeVar

import torch

Stage = Literal["sampling", "judging", "writing"]
STAGES: tuple[Stage, ...] = ("sampling", "judging", "writing")

T = TypeVar("T")


class Stages:
    """Runs what belongs to a stage in its thread.

    ``on_start`` is called with the stage's name in each new thread. torch has one thread in each.
    """

    num_overlapping = len(STAGES)

    def __init__(self, on_start: Callable[[Stage], None] | None = None) -> None:
        def begin(stage: Stage) -> None:
            torch.set_num_threads(1)
            if on_start is not None:
                on_start(stage)

        self._threads = {
            stage: ThreadPoolExecutor(1, f"ecgtwin-{stage}", begin, (stage,)) for stage in STAGES
        }

    def run(self, stage: Stage, work: Callable[[], T]) -> T:
        """Return what ``work`` gives, called in the thread of ``stage`` after what waits there."""
        return self._threads[stage].submit(work).result()


class ShardClock:
    """The stages of one shard, and the seconds that it was at work in each of its parts."""

    def __init__(self, stages: Stages | None = None) -> None:
        """``stages`` None: everything is done in the calling thread."""
        self._stages = stages
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def run(self, stage: Stage, work: Callable[[], T]) -> T:
        """Return what ``work`` gives, called in ``stage``."""
        return work() if self._stages is None else self._stages.run(stage, work)

    @contextmanager
    def counted(self, part: str) -> Iterator[None]:
        """Add the wall time of the block to ``part``."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - started
