"""CheckShard: one stored shard against its manifest and the plan. Idempotent; changes nothing."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ecgtwin.errors import DamageError
from ecgtwin.generation.decisions import (
    decision_faults,
    keeps_rejects,
    ledger_fault,
    wanted_rejects,
)
from ecgtwin.generation.plan import CohortPlan
from ecgtwin.generation.planned_rows import Cells, Columns, cells_of, planned_columns
from ecgtwin.generation.problems import Problem
from ecgtwin.generation.stored_plan import StoredCohort, read_stored
from ecgtwin.spec.shard import Shard
from ecgtwin.store.layout import ledger_name, manifest_name, object_name
from ecgtwin.store.manifest import Manifest, digest_bytes, read_whole_manifest
from ecgtwin.store.objects import PARALLEL_READS, absolute_url, join, read_object


@dataclass(frozen=True, slots=True)
class ShardCheck:
    """What was found of one shard; the numbers of rows are those of its manifest.

    ``is_committed`` of a shard whose manifest cannot be read is False; ``cells`` is None where
    the plan is not known.
    """

    index: int
    is_committed: bool
    num_rows: int
    num_accepted: int
    num_bytes: int
    may_have_ledger: bool
    cells: Cells | None
    problems: tuple[Problem, ...]
    manifest_digest: str = ""


class CheckShard:
    """Work: reads the plan again where it is called in another process."""

    num_overlapping = PARALLEL_READS

    def __init__(self, stored: StoredCohort) -> None:
        self._url = absolute_url(stored.url)
        self._read_once(stored)

    def _read_once(self, stored: StoredCohort | None) -> None:
        self._stored = stored
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"_url": self._url}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._read_once(None)

    def __call__(self, shard: Shard) -> ShardCheck:
        """Check ``shard``."""
        with self._lock:
            if self._stored is None:
                self._stored = read_stored(self._url)
        return check_shard(self._stored, shard)


def check_shard(stored: StoredCohort, shard: Shard) -> ShardCheck:
    """Return what is wrong with ``shard``: manifest, rows, object and ledger part.

    StoreError where the store cannot be reached.
    """
    plan = stored.plan
    planned = None if plan is None else planned_columns(plan, shard)
    try:
        manifest, digest = read_whole_manifest(stored.url, shard.index)
    except FileNotFoundError:
        return _uncommitted(shard, planned, ())
    except DamageError as error:
        problem = Problem("manifest", shard.index, manifest_name(shard.index), str(error))
        return _uncommitted(shard, planned, (problem,))
    problems = _check_manifest(stored, manifest, shard)
    is_exact = None
    if not problems and plan is not None and planned is not None:
        problems = _check_rows(stored.url, plan, manifest, planned)
        is_exact = not problems and keeps_rejects(plan.spec.gates)
    num_bytes, found = _check_object(stored.url, manifest)
    accepted = manifest.columns["accepted"]
    return ShardCheck(
        index=shard.index,
        is_committed=True,
        num_rows=len(manifest.shard),
        num_accepted=sum(accepted),
        num_bytes=num_bytes,
        may_have_ledger=bool(manifest.ledger_digest),
        cells=None if planned is None or problems else cells_of(planned, manifest.columns),
        problems=(*problems, *found, *_check_ledger(stored.url, manifest, is_exact)),
        manifest_digest=digest,
    )


def _uncommitted(
    shard: Shard, planned: Columns | None, problems: tuple[Problem, ...]
) -> ShardCheck:
    cells = None if planned is None else cells_of(planned, None)
    return ShardCheck(shard.index, False, 0, 0, 0, True, cells, problems)


def _check_manifest(stored: StoredCohort, manifest: Manifest, shard: Shard) -> list[Problem]:
    index = shard.index
    name = join(stored.url, manifest_name(index))
    digest = stored.plan_digest
    if digest is not None and manifest.plan_digest != digest:
        text = f"{name} is of plan {manifest.plan_digest or 'none'}, not of plan {digest}"
        return [Problem("other_plan", index, manifest_name(index), text)]
    fits = stored.layout is None or manifest.shard == shard
    if fits and manifest.object_name == object_name(index) and manifest.schema == "cohort":
        return []
    text = f"{name} does not fit the signals: {manifest.shard} of a {manifest.schema}"
    return [Problem("manifest", index, manifest_name(index), text)]


def _check_rows(url: str, plan: CohortPlan, manifest: Manifest, planned: Columns) -> list[Problem]:
    """Return one problem where rows are not what the plan says, naming the first of them."""
    index = manifest.shard.index
    wrong: dict[int, str] = {}
    for name, wanted in planned.items():
        for place, (found, value) in enumerate(zip(manifest.columns[name], wanted, strict=True)):
            if found != value:
                wrong.setdefault(place, f"{name} {found!r}, the plan says {value!r}")
    for place, fault in decision_faults(plan.spec.gates, manifest.columns):
        wrong.setdefault(place, fault)
    if not wrong:
        return []
    first = min(wrong)
    name = manifest_name(index)
    text = (
        f"{join(url, name)}: row {manifest.shard.start + first} has {wrong[first]} "
        f"({len(wrong)} of {len(manifest.shard)} rows differ)"
    )
    return [Problem("rows", index, name, text)]


def _check_object(url: str, manifest: Manifest) -> tuple[int, list[Problem]]:
    """Return the bytes of the object, and what is wrong with it."""
    index = manifest.shard.index
    name = object_name(index)
    target = join(url, name)
    try:
        data = read_object(target)
    except FileNotFoundError:
        text = f"{target} is missing, but its shard is committed"
        return 0, [Problem("missing_object", index, name, text)]
    found = digest_bytes(data)
    if found == manifest.object_digest and len(data) == manifest.object_bytes:
        return len(data), []
    text = (
        f"{target} has digest {found} ({len(data)} bytes), its manifest says "
        f"{manifest.object_digest} ({manifest.object_bytes} bytes)"
    )
    return len(data), [Problem("object", index, name, text)]


def _check_ledger(url: str, manifest: Manifest, is_exact: bool | None) -> list[Problem]:
    """``is_exact`` says whether rejects are kept, None: not known."""
    index = manifest.shard.index
    name = ledger_name(index)
    target = join(url, name)
    if not manifest.ledger_digest:
        if not is_exact or not wanted_rejects(manifest):
            return []
        text = f"{join(url, manifest_name(index))} has rejected rows, but no ledger part"
        return [Problem("rows", index, manifest_name(index), text)]
    try:
        data = read_object(target)
    except FileNotFoundError:
        text = f"{target} is missing, but its shard is committed"
        return [Problem("missing_ledger", index, name, text)]
    found = digest_bytes(data)
    if found != manifest.ledger_digest:
        text = f"{target} has digest {found}, its manifest says {manifest.ledger_digest}"
        return [Problem("ledger", index, name, text)]
    fault = ledger_fault(data, manifest)
    return [] if fault is None else [Problem("ledger", index, name, f"{target}: {fault}")]
