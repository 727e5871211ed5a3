"""Shard: consecutive rows that one worker writes as one object. Three integers travel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows ``start`` to ``stop`` (exclusive) of a cohort or corpus."""

    index: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class ShardCut(Sequence[Shard]):
    """``num_rows`` rows cut into shards of ``rows_per_shard``, each made as it is asked for."""

    num_rows: int
    rows_per_shard: int

    def __len__(self) -> int:
        return -(-self.num_rows // self.rows_per_shard)

    def __iter__(self) -> Iterator[Shard]:
        for index, start in enumerate(range(0, self.num_rows, self.rows_per_shard)):
            yield Shard(index, start, min(start + self.rows_per_shard, self.num_rows))

    @overload
    def __getitem__(self, place: int) -> Shard: ...

    @overload
    def __getitem__(self, place: slice) -> list[Shard]: ...

    def __getitem__(self, place: int | slice) -> Shard | list[Shard]:
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        index = range(len(self))[place]
        start = index * self.rows_per_shard
        return Shard(index, start, min(start + self.rows_per_shard, self.num_rows))


def cut_shards(num_rows: int, rows_per_shard: int) -> ShardCut:
    """Return the shards that partition ``num_rows`` rows; the last may be short."""
    return ShardCut(num_rows, rows_per_shard)
