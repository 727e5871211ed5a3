"""Rows drawn again by the attempts that their manifest records; no gate is asked a second time.

Round k of a shard drew the rows of which no attempt before k was accepted, in row order. Those are
the rows whose recorded attempt is k or later, so the recorded attempts give back every batch.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ecgtwin.executors.protocol import one_torch_thread
from ecgtwin.generation.draw import draw_to_store
from ecgtwin.generation.prepare import ResolvedCohort
from ecgtwin.spec.shard import Shard
from ecgtwin.twin.twin import EcgTwin


def remake_shard(
    twin: EcgTwin, cohort: ResolvedCohort, shard: Shard, attempts: Sequence[int]
) -> NDArray[np.float32]:
    """Return (rows, 12, time) in mV of a shard whose rows were stored at ``attempts``."""
    return remake_rows(twin, cohort, shard, attempts, range(len(attempts)))


def remake_rows(
    twin: EcgTwin,
    cohort: ResolvedCohort,
    shard: Shard,
    attempts: Sequence[int],
    places: Sequence[int],
) -> NDArray[np.float32]:
    """Return (place, 12, time) in mV of the rows at ``places`` of a shard, each in its own batch.

    ``attempts`` are those of all rows of the shard. Under the numerics that drew them the samples
    are the same to the last bit.
    """
    found: dict[int, NDArray[np.float32]] = {}
    wanted = set(places)
    with one_torch_thread():
        for attempt, batch in _batches(attempts, cohort.plan.spec.batch_rows):
            stored_here = {place for place in batch if attempts[place] == attempt}
            if not stored_here & wanted:
                continue
            requests = [cohort.plan.request_at(shard.start + place) for place in batch]
            drawn = draw_to_store(twin, cohort, requests, attempt=attempt)
            found |= {
                place: row_mv
                for place, row_mv in zip(batch, drawn, strict=True)
                if place in stored_here & wanted
            }
    return np.stack([found[place] for place in places])


def _batches(attempts: Sequence[int], size: int) -> Iterator[tuple[int, list[int]]]:
    """Yield the attempt and the places of every batch that was drawn of a shard."""
    for attempt in range(max(attempts) + 1):
        drawn = [place for place, last in enumerate(attempts) if last >= attempt]
        for start in range(0, len(drawn), size):
            yield attempt, drawn[start : start + size]
