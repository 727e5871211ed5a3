"""A complete cohort's manifests merged into an index: for whoever asks by row, cell or person."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import CommitConflictError, DamageError, StoreError
from ecgtwin.generation.plan import CohortPlan
from ecgtwin.generation.planned_rows import Cells, cells_of, merged_cells
from ecgtwin.generation.stored_plan import check_is_cohort, load_plan
from ecgtwin.store.cohort_index import (
    CELLS,
    INDEX,
    ROWS_PER_PART,
    IndexObject,
    counts_table,
    encode_index,
    row_parts,
)
from ecgtwin.store.commit import put_new
from ecgtwin.store.layout import manifest_name
from ecgtwin.store.manifest import Manifest, committed_shards, decode_manifest, digest_bytes
from ecgtwin.store.objects import join, read_objects

_AT_ONCE = 64  # manifests read ahead
_CELLS_AT_ONCE = 256
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class MergeSummary:
    """What an index holds; ``is_new``: this call made it."""

    url: str
    num_parts: int
    num_rows: int
    num_accepted: int
    is_new: bool

    def line(self) -> str:
        """Return it as one line."""
        done = "written" if self.is_new else "already there"
        tables = "table" if self.num_parts == 1 else "tables"
        return (
            f"{join(self.url, INDEX)} {done}: {self.num_rows:,} ECGs, {self.num_accepted:,} "
            f"accepted, in {self.num_parts} {tables}"
        )


def merge_cohort(
    url: str,
    *,
    rows_per_part: int = ROWS_PER_PART,
    advance: Callable[[int], None] = lambda num_shards: None,
) -> MergeSummary:
    """Write the index of the complete cohort at ``url``; one that is there already is left.

    StoreError where shards are missing, DamageError where a manifest is not what the plan says,
    CommitConflictError where another index stands there. ``advance`` is told of shards done.
    """
    num_new = 0
    plan = complete_plan(url)
    merging = Merging(url, plan, advance)
    for one in merging.objects(rows_per_part=rows_per_part):
        try:
            num_new += put_new(join(url, one.name), one.data)
        except CommitConflictError as error:
            raise CommitConflictError(
                f"{join(url, one.name)} is of another index, or damaged; `ecgtwin cohort repair` "
                "merges again"
            ) from error
    return MergeSummary(
        url=url,
        num_parts=merging.num_parts,
        num_rows=plan.num_rows,
        num_accepted=merging.counts.num_accepted,
        is_new=num_new > 0,
    )


def complete_plan(url: str) -> CohortPlan:
    """Return the plan of the cohort at ``url``; StoreError where it is not complete."""
    check_is_cohort(url)
    plan = load_plan(url)
    num_missing = len(set(range(plan.num_shards)) - set(committed_shards(url)))
    if num_missing:
        raise StoreError(
            f"{url} is not complete: {num_missing:,} of {plan.num_shards:,} shards are not "
            "committed; finish it with `ecgtwin generate` first"
        )
    return plan


@dataclass(slots=True)
class _Counts:
    """Statistics of rows, added up shard by shard."""

    num_accepted: int = 0
    num_attempts: int = 0
    of_failures: Counter[str] = field(default_factory=Counter)
    of_splits: Counter[tuple[str, bool]] = field(default_factory=Counter)
    of_statements: Counter[tuple[str, bool]] = field(default_factory=Counter)
    rate_errors_bpm: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, columns: dict[str, list[Any]]) -> None:
        accepted = columns["accepted"]
        self.num_accepted += sum(accepted)
        self.num_attempts += sum(columns["attempt"]) + len(accepted)
        self.of_failures.update(one for row in columns["gate_failures"] for one in row)
        self.of_splits.update(zip(columns["split"], accepted, strict=True))
        self.of_statements.update(
            (statement, is_accepted)
            for row, is_accepted in zip(columns["statements"], accepted, strict=True)
            for statement in row
        )
        asked, found = (
            np.array(columns[name], np.float32)
            for name in ("heart_rate_bpm", "measured_heart_rate_bpm")
        )
        errors = (found - asked)[np.asarray(accepted, bool)]
        self.rate_errors_bpm.append(errors[~np.isnan(errors)])

    def as_json(self) -> dict[str, Any]:
        errors = np.concatenate(self.rate_errors_bpm).astype(np.float64)
        quantiles = np.quantile(errors, _QUANTILES) if len(errors) else np.zeros(0)
        return {
            "accepted": self.num_accepted,
            "attempts": self.num_attempts,
            "gate_failures": dict(self.of_failures),
            "splits": _rows_and_accepted(self.of_splits),
            "statements": _rows_and_accepted(self.of_statements),
            "rate_error_bpm": {
                "of_accepted": len(errors),
                **{
                    f"p{round(100 * share):02d}": round(float(value), 3)
                    for share, value in zip(_QUANTILES, quantiles, strict=False)
                },
            },
        }


class Merging:
    """Goes through the manifests once and yields the objects of the index."""

    def __init__(
        self, url: str, plan: CohortPlan, advance: Callable[[int], None] = lambda num: None
    ) -> None:
        self._url, self._plan, self._advance = url, plan, advance
        self._cells: list[Cells] = []
        self._digests: list[str] = []
        self.counts = _Counts()
        self.num_parts = 0

    def objects(self, *, rows_per_part: int = ROWS_PER_PART) -> Iterator[IndexObject]:
        """Yield the objects, ``index.json`` last."""
        entries = []
        for part in row_parts(self._manifests(), rows_per_part=rows_per_part):
            self.num_parts += 1
            entries.append(part.entry())
            yield part
        cells = merged_cells(self._cells)
        table = counts_table(
            CELLS,
            {
                "patient_index": cells.patient_index.astype(np.int32),
                "condition_index": cells.condition_index.astype(np.int32),
                "planned": cells.planned,
                "accepted": cells.accepted,
                "attempts": cells.attempts,
            },
        )
        entries.append(table.entry())
        yield table
        content = {
            "plan_digest": self._plan.digest,
            "manifests_blake2b": manifests_digest(self._digests),
            "rows": self._plan.num_rows,
            "objects": entries,
            **self.counts.as_json(),
        }
        yield IndexObject(INDEX, encode_index(content), 0)

    def _manifests(self) -> Iterator[Manifest]:
        shards = self._plan.shards()
        for start in range(0, len(shards), _AT_ONCE):
            some = shards[start : start + _AT_ONCE]
            names = [join(self._url, manifest_name(shard.index)) for shard in some]
            for shard, name, data in zip(some, names, read_objects(names), strict=True):
                manifest = decode_manifest(data, shard.index, name)
                if manifest.shard != shard or manifest.plan_digest != self._plan.digest:
                    self._raise_other(shard.index)
                self._digests.append(digest_bytes(data))
                self._take(manifest)
                yield manifest
                self._advance(1)

    def _take(self, manifest: Manifest) -> None:
        shard, columns = manifest.shard, manifest.columns
        samples = [self._plan.rows.sample_at(row) for row in range(shard.start, shard.stop)]
        names = ("patient_index", "condition_index", "replicate")
        planned = dict(zip(names, map(list, zip(*samples, strict=True)), strict=True))
        if any(columns[name] != planned[name] for name in names):
            self._raise_other(shard.index)
        self._cells.append(cells_of(planned, columns))
        if len(self._cells) >= _CELLS_AT_ONCE:
            self._cells = [merged_cells(self._cells)]
        self.counts.add(columns)

    def _raise_other(self, index: int) -> None:
        raise DamageError(
            f"{join(self._url, manifest_name(index))} is not what the plan says; see `ecgtwin "
            "cohort verify`, then `repair`"
        )


def manifests_digest(digests: Iterable[str]) -> str:
    """Return one digest of the digests of all manifests, in the order of the shards."""
    return digest_bytes("".join(digests).encode())


def _rows_and_accepted(counts: Counter[tuple[str, bool]]) -> dict[str, dict[str, int]]:
    names = sorted({name for name, _ in counts})
    return {
        name: {"rows": counts[name, True] + counts[name, False], "accepted": counts[name, True]}
        for name in names
    }
