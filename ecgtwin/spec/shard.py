"""Shard: consecutive rows that one worker writes as one object. Three integers travel."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows ``start`` to ``stop`` (exclusive) of a cohort or corpus."""

    index: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def cut_shards(num_rows: int, rows_per_shard: int) -> list[Shard]:
    """Return the shards that partition ``num_rows`` rows; the last may be short."""
    starts = range(0, num_rows, rows_per_shard)
    return [
        Shard(index, start, min(start + rows_per_shard, num_rows))
        for index, start in enumerate(starts)
    ]
