"""A stored cohort re-hashed and held against its plan: what is there, and what is wrong.

``private/`` is never opened, so a cohort that was given away is verified like any other.
"""

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ecgtwin.errors import DamageError
from ecgtwin.executors.protocol import Executor, Outcome
from ecgtwin.executors.reasons import last_line
from ecgtwin.generation.check_shard import CheckShard, ShardCheck
from ecgtwin.generation.merge_cohort import manifests_digest
from ecgtwin.generation.planned_rows import Cells, merged_cells
from ecgtwin.generation.problems import Problem, of_shards
from ecgtwin.generation.stored_plan import StoredCohort
from ecgtwin.store.cohort_index import INDEX, INDEX_FOLDER, index_faults, is_table, read_index
from ecgtwin.store.layout import SIGNALS, SignalLayout, ledger_name, manifest_name, object_name
from ecgtwin.store.metadata import metadata_names
from ecgtwin.store.objects import join, list_tree

_CELLS_AT_ONCE = 256  # shards whose cells are merged together


@dataclass(frozen=True, slots=True)
class Verification:
    """What is there of a cohort, and what is wrong with it.

    Rows are those of manifests that can be read; ``cells`` is None where the plan is not known or
    the rows of a committed shard are not those of it. ``counts_missing``: a shard that is not
    committed is a problem.
    """

    url: str
    plan_digest: str | None
    num_shards: int
    num_committed: int
    num_rows: int
    num_rows_committed: int
    num_accepted: int
    num_bytes: int
    cells: Cells | None
    problems: tuple[Problem, ...]
    counts_missing: bool = False

    @property
    def is_complete(self) -> bool:
        """Say whether every shard is committed."""
        return self.num_committed == self.num_shards

    @property
    def num_shards_wrong(self) -> int:
        """How many shards have a problem."""
        return len(of_shards(self.problems))

    def cell_counts(self) -> dict[str, int]:
        """Return how many cells (patient and condition) there are, and how many of them are full.

        ``accepted`` are those of which every planned row is committed and accepted.
        """
        cells = self.cells
        if cells is None:
            return {}
        return {
            "planned": len(cells.planned),
            "committed": int(np.count_nonzero(cells.committed == cells.planned)),
            "accepted": int(np.count_nonzero(cells.accepted == cells.planned)),
            "empty": int(np.count_nonzero(cells.accepted == 0)),
        }

    def line(self) -> str:
        """Return what is there as one line."""
        counts = self.cell_counts()
        of_cells = (
            f"; {counts['accepted']:,} of {counts['planned']:,} cells of patient and condition full"
            if counts
            else ""
        )
        of_shards, of_rows = (
            (f" of {self.num_shards:,}", f" of {self.num_rows:,}") if self.num_rows else ("", "")
        )
        return (
            f"{self.num_committed:,}{of_shards} shards and {self.num_rows_committed:,}{of_rows} "
            f"ECGs committed, {self.num_accepted:,} accepted{of_cells}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "url": self.url,
            "plan_digest": self.plan_digest,
            "shards": {"planned": self.num_shards, "committed": self.num_committed},
            "rows": {
                "planned": self.num_rows,
                "committed": self.num_rows_committed,
                "accepted": self.num_accepted,
            },
            "cells": self.cell_counts(),
            "object_bytes": self.num_bytes,
            "problems": [
                {"kind": one.kind, "shard": one.shard, "object": one.name, "text": one.text}
                for one in self.problems
            ],
        }


def verify_cohort(
    stored: StoredCohort,
    *,
    executor: Executor,
    complete: bool = False,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> Verification:
    """Return what is there and what is wrong; nothing is changed.

    A shard that is not committed is only counted, or, with ``complete``, a problem. StoreError
    where the store cannot be reached.
    """
    shards = stored.shards()
    found = _Found()
    with closing(executor.run(CheckShard(stored), shards)) as outcomes:
        for outcome in outcomes:
            found.add(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
    checks = sorted(found.checks, key=lambda check: check.index)
    problems = [*stored.problems, *found.unchecked]
    problems += [problem for check in checks for problem in check.problems]
    if complete:
        problems += _missing(stored.url, checks)
    if stored.layout is not None:
        ledgers = {check.index for check in checks if check.may_have_ledger or check.problems}
        ledgers |= {problem.shard for problem in found.unchecked if problem.shard is not None}
        problems += strays(stored.url, stored.layout, ledgers)
    problems += _index(stored.url, None if found.unchecked else checks)
    return Verification(
        url=stored.url,
        plan_digest=stored.plan_digest,
        num_shards=len(shards),
        num_committed=sum(check.is_committed for check in checks),
        num_rows=sum(map(len, shards)),
        num_rows_committed=sum(check.num_rows for check in checks),
        num_accepted=sum(check.num_accepted for check in checks),
        num_bytes=sum(check.num_bytes for check in checks),
        cells=found.cells(),
        problems=tuple(problems),
        counts_missing=complete,
    )


class _Found:
    """What the shards gave so far; cells are merged on the way."""

    def __init__(self) -> None:
        self.checks: list[ShardCheck] = []
        self.unchecked: list[Problem] = []
        self._cells: list[Cells] = []
        self._all_cells = True

    def add(self, outcome: Outcome) -> None:
        """Take one; raise what a user can mend."""
        if outcome.mistake is not None:
            raise outcome.mistake
        if not isinstance(outcome.result, ShardCheck):
            why = last_line(outcome.error)
            text = f"shard {outcome.shard.index} could not be checked: {why}"
            name = manifest_name(outcome.shard.index)
            self.unchecked.append(Problem("unchecked", outcome.shard.index, name, text))
            self._all_cells = False
            return
        check = outcome.result
        if check.cells is None:
            self._all_cells = False
        else:
            self._cells.append(check.cells)
            if len(self._cells) >= _CELLS_AT_ONCE:
                self._cells = [merged_cells(self._cells)]
        self.checks.append(replace(check, cells=None))

    def cells(self) -> Cells | None:
        """Return the cells of all shards, None where those of some are not known."""
        return merged_cells(self._cells) if self._all_cells else None


def _missing(url: str, checks: Iterable[ShardCheck]) -> list[Problem]:
    return [
        Problem(
            "missing_shard",
            check.index,
            manifest_name(check.index),
            f"{join(url, manifest_name(check.index))} is missing: the shard is not committed",
        )
        for check in checks
        if not check.is_committed and not check.problems
    ]


def _index(url: str, checks: Iterable[ShardCheck] | None) -> list[Problem]:
    """Return what is wrong with the index, if there is one; ``checks`` None: some are not known."""
    names = [name for name, _ in _tree(join(url, INDEX_FOLDER))]
    there = {f"{INDEX_FOLDER}/{name}" for name in names}
    try:
        found = read_index(url)
    except DamageError as error:
        return [Problem("index", None, INDEX, str(error))]
    if found is None:
        tables = {name for name in there if is_table(name)}
        return _of_no_index(url, there - tables) + ([_unfinished(url)] if tables else [])
    problems = [
        Problem("index", None, name, f"{join(url, name)} {fault}")
        for name, fault in index_faults(url, found)
    ]
    if checks is not None:
        manifests = manifests_digest(check.manifest_digest for check in checks)
        if found.get("manifests_blake2b") != manifests:
            text = f"{join(url, INDEX)} is of other manifests than those that are there"
            problems.append(Problem("index", None, INDEX, text))
    return problems + _of_no_index(url, there - {INDEX, *found["digests"]})


def _unfinished(url: str) -> Problem:
    text = (
        f"{join(url, INDEX)} is missing, but tables of an index are there: it was lost, or "
        "`ecgtwin cohort merge` or `rm` was cut off; the same command goes on from there"
    )
    return Problem("index", None, INDEX, text)


def _of_no_index(url: str, names: Iterable[str]) -> list[Problem]:
    return [
        Problem("stray", None, name, f"{join(url, name)} is not of the index")
        for name in sorted(names)
    ]


def strays(url: str, layout: SignalLayout, with_ledger: set[int]) -> list[Problem]:
    """Return the objects under signals, manifests and ledger that belong to no shard.

    ``with_ledger``: the shards that may have a ledger part.
    """
    indices = [shard.index for shard in layout.shards()]
    ours = {f"{SIGNALS}/{name}" for name in metadata_names(layout)}
    ours |= {object_name(index) for index in indices}
    ours |= {manifest_name(index) for index in indices}
    ours |= {ledger_name(index) for index in with_ledger}
    found = []
    for folder in (SIGNALS, "manifest", "ledger"):
        for name, num_bytes in _tree(join(url, folder)):
            whole = f"{folder}/{name}"
            if whole not in ours:
                text = f"{join(url, whole)} ({num_bytes:,} bytes) belongs to no shard"
                found.append(Problem("stray", None, whole, text))
    return found


def _tree(url: str) -> list[tuple[str, int]]:
    try:
        return list_tree(url)
    except (FileNotFoundError, NotADirectoryError):
        return []
