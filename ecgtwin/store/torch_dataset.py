"""A corpus or cohort as a torch dataset: shuffled, exactly once, resumable, worker-independent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from ecgtwin.store.reader import ShardedEcgs, to_mv

NUM_STREAMS = 8
CHUNKS_PER_WINDOW = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where an epoch stands: ``position`` counts the rows that *all* ranks have consumed."""

    epoch: int = 0
    position: int = 0


class EcgDataset(IterableDataset[dict[str, Any]]):
    """The accepted rows of ``ecgs`` in an order that is a function of (seed, epoch) alone.

    The order is cut into blocks of ``batch_size``; block k belongs to rank k modulo
    ``world_size``, and a ``DataLoader`` with the same ``batch_size`` gets the rank's blocks in
    order whatever its ``num_workers``. Each row appears exactly once over all ranks and workers.
    Starting at (epoch, position) gives the uninterrupted run's remaining rows.

    Yields ``samples_mv`` (12, time) float32, ``row``, and one entry per name in ``columns``
    (numbers as numbers, None as NaN; None text as ""). Use "spawn" or "forkserver" workers.
    """

    def __init__(
        self,
        ecgs: ShardedEcgs,
        *,
        seed: int,
        batch_size: int,
        place: Place | None = None,
        rank: int = 0,
        world_size: int = 1,
        split: str | None = None,
        columns: Sequence[str] = ("heart_rate_bpm",),
    ) -> None:
        """Read only rows of ``split`` when it is given."""
        if batch_size < 1 or not 0 <= rank < world_size:
            raise ValueError(f"batch_size {batch_size}, rank {rank} of {world_size} is impossible")
        super().__init__()
        self._ecgs = ecgs
        self._seed = seed
        self._batch_size = batch_size
        self._rank, self._world_size = rank, world_size
        self._columns = {name: _collatable(ecgs.column(name)) for name in columns}
        self._positions = np.arange(len(ecgs))
        if split is not None:
            splits = ecgs.column("split")
            self._positions = np.flatnonzero([found == split for found in splits])
        self.place = place or Place()

    @property
    def place(self) -> Place:
        """Where the next iteration starts. Set it between epochs, before workers start."""
        return self._place

    @place.setter
    def place(self, place: Place) -> None:
        if place.position % self._batch_size:
            raise ValueError(
                f"position {place.position} must be a multiple of batch_size {self._batch_size}"
            )
        self._place = place

    def __len__(self) -> int:
        """Return how many rows this rank has left in the epoch."""
        return sum(map(len, self._blocks()[self._rank :: self._world_size]))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield this rank's and this worker's rows from ``place`` to the end of the epoch."""
        mine = self._blocks()[self._rank :: self._world_size]
        worker = get_worker_info()
        if worker is not None:
            mine = mine[worker.id :: worker.num_workers]
        for positions, steps in self._read(mine):
            samples = torch.from_numpy(to_mv(steps, step_mv=self._ecgs.layout.step_mv))
            for offset, position in enumerate(positions.tolist()):
                yield {
                    "samples_mv": samples[offset],
                    "row": int(self._ecgs.rows[position]),
                    **{name: values[position] for name, values in self._columns.items()},
                }

    def _blocks(self) -> list[NDArray[np.int64]]:
        chunks = self._ecgs.rows[self._positions] // self._ecgs.layout.rows_per_chunk
        order = epoch_order(
            chunks, seed=self._seed, epoch=self._place.epoch, block_rows=self._batch_size
        )
        starts = range(self._place.position, len(order), self._batch_size)
        return [self._positions[order[start : start + self._batch_size]] for start in starts]

    def _read(
        self, blocks: Sequence[NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int16]]]:
        """Yield (positions, steps) per block; each chunk is read once, each row held until used."""
        rows_per_chunk = self._ecgs.layout.rows_per_chunk
        of_chunk: dict[int, list[int]] = {}
        for block in blocks:
            for row in self._ecgs.rows[block].tolist():
                of_chunk.setdefault(row // rows_per_chunk, []).append(row)
        held: dict[int, NDArray[np.int16]] = {}
        for block in blocks:
            rows = self._ecgs.rows[block].tolist()
            needed = sorted({row // rows_per_chunk for row in rows if row not in held})
            reading = [row for chunk in needed for row in of_chunk[chunk]]
            if reading:
                found = self._ecgs.read_steps(np.array(reading, dtype=np.int64))
                held |= zip(reading, found, strict=True)
            yield block, np.stack([held.pop(row) for row in rows])


def epoch_order(
    chunks: NDArray[np.int64], *, seed: int, epoch: int, block_rows: int
) -> NDArray[np.int64]:
    """Return a permutation of the rows whose chunk numbers are ``chunks``.

    Shuffled chunks are dealt to NUM_STREAMS streams, rows are shuffled within a window of each
    stream's chunks, and blocks of ``block_rows`` are taken from the streams in turn: so consumers
    whose number divides NUM_STREAMS share hardly a chunk, and yet the order does not know them.
    What fills no block is shuffled to the end. Raw Philox words only: they never change.
    """
    words = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64))
    names, chunk_of_row = np.unique(chunks, return_inverse=True)
    turn = np.empty(len(names), dtype=np.int64)
    turn[np.argsort(words.random_raw(len(names)), kind="stable")] = np.arange(len(names))
    stream = turn[chunk_of_row] % NUM_STREAMS
    window = turn[chunk_of_row] // (NUM_STREAMS * CHUNKS_PER_WINDOW)
    order = np.lexsort((words.random_raw(len(chunks)), window, stream))
    per_stream = [order[stream[order] == number] for number in range(NUM_STREAMS)]
    blocks: list[tuple[int, int, NDArray[np.int64]]] = []
    tails = []
    for number, rows in enumerate(per_stream):
        full = len(rows) // block_rows
        for turn_of_block in range(full):
            start = turn_of_block * block_rows
            blocks.append((turn_of_block, number, rows[start : start + block_rows]))
        tails.append(rows[full * block_rows :])
    tail = np.concatenate(tails)
    tail = tail[np.argsort(words.random_raw(len(tail)), kind="stable")]
    blocks.sort(key=lambda block: block[:2])
    return np.concatenate([*(rows for _, _, rows in blocks), tail])


def _collatable(values: NDArray[Any] | list[Any]) -> list[Any]:
    found: list[Any] = values.tolist() if isinstance(values, np.ndarray) else values
    return ["" if value is None else value for value in found]
