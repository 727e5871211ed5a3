"""RepairShard: what is wrong with one stored shard is made again, to the same bytes. Idempotent."""

from dataclasses import dataclass
from typing import Any

from ecgtwin.executors.torch_threads import one_torch_thread
from ecgtwin.generation.check_shard import check_shard
from ecgtwin.generation.mending import mend_object
from ecgtwin.generation.prepare import ResolvedCohort
from ecgtwin.generation.remake import remake_shard
from ecgtwin.generation.stored_plan import StoredCohort
from ecgtwin.generation.worker import (
    encode_generated,
    generate_shard,
    load_for_work,
    with_absolute_paths,
)
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.shard import Shard
from ecgtwin.store.layout import ledger_name, manifest_name, object_name
from ecgtwin.store.manifest import Manifest, digest_bytes, read_manifest
from ecgtwin.store.writer import quantise
from ecgtwin.store.zarr_shards import encode_shard
from ecgtwin.twin.twin import EcgTwin

_OF_OBJECT = {"missing_object", "object"}
_OF_LEDGER = {"missing_ledger", "ledger"}


@dataclass(frozen=True, slots=True)
class ShardRepair:
    """The objects of a shard that were put, and why the rest was left; None: nothing was."""

    index: int
    names: tuple[str, ...]
    refusal: str | None


class RepairShard:
    """Work: loads the twin and the plan on its first call in a process."""

    def __init__(self, spec: CohortSpec, *, mixed_numerics: bool = False) -> None:
        self._spec = with_absolute_paths(spec)
        self._mixed_numerics = mixed_numerics
        self._loaded: tuple[EcgTwin, ResolvedCohort] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}

    def __call__(self, shard: Shard) -> ShardRepair:
        """Mend ``shard``."""
        with one_torch_thread():
            if self._loaded is None:
                self._loaded = load_for_work(self._spec, mixed_numerics=self._mixed_numerics)
            return repair_shard(*self._loaded, shard)


def repair_shard(twin: EcgTwin, cohort: ResolvedCohort, shard: Shard) -> ShardRepair:
    """Make again what is wrong with ``shard``, or all of it where it is not committed.

    Samples behind a good manifest are drawn as its attempts say; what makes other bytes than it
    records is left as it is.
    """
    url = cohort.url
    check = check_shard(StoredCohort(url, cohort.plan, cohort.layout, ()), shard)
    kinds = {problem.kind for problem in check.problems}
    if not check.is_committed and not kinds:
        generate_shard(twin, cohort, shard)
        return ShardRepair(shard.index, (manifest_name(shard.index),), None)
    if not kinds:
        return ShardRepair(shard.index, (), None)
    if kinds <= _OF_OBJECT:
        return _remake_object(twin, cohort, read_manifest(url, shard.index))
    good = read_manifest(url, shard.index) if kinds <= _OF_OBJECT | _OF_LEDGER else None
    return _remake_all(twin, cohort, shard, good)


def _remake_object(twin: EcgTwin, cohort: ResolvedCohort, manifest: Manifest) -> ShardRepair:
    """Draw the samples again by the recorded attempts."""
    shard = manifest.shard
    samples_mv = remake_shard(twin, cohort, shard, manifest.columns["attempt"])
    steps, _ = quantise(samples_mv, step_mv=cohort.layout.step_mv)
    data = encode_shard(cohort.layout, steps)
    name = object_name(shard.index)
    found = digest_bytes(data)
    if found != manifest.object_digest:
        return ShardRepair(shard.index, (), _refusal(name, found, manifest.object_digest))
    return ShardRepair(shard.index, _mended(cohort.url, shard.index, {name: data}), None)


def _remake_all(
    twin: EcgTwin, cohort: ResolvedCohort, shard: Shard, good: Manifest | None
) -> ShardRepair:
    """Make the whole shard again; put what is other than it, the manifest last.

    ``good``: its manifest, where that is what the plan says.
    """
    whole = encode_generated(twin, cohort, shard)
    index = shard.index
    names = object_name(index), ledger_name(index)
    if good is not None:
        made = whole.manifest.object_digest, whole.manifest.ledger_digest
        recorded = good.object_digest, good.ledger_digest
        for name, found, wanted in zip(names, made, recorded, strict=True):
            if found != wanted:
                return ShardRepair(index, (), _refusal(name, found, wanted))
    parts = {names[0]: whole.data}
    if whole.ledger_data:
        parts[names[1]] = whole.ledger_data
    parts[manifest_name(index)] = whole.manifest_data
    return ShardRepair(index, _mended(cohort.url, index, parts), None)


def _mended(url: str, index: int, parts: dict[str, bytes]) -> tuple[str, ...]:
    return tuple(name for name, data in parts.items() if mend_object(url, name, data, shard=index))


def _refusal(name: str, found: str, wanted: str) -> str:
    return (
        f"{name} made again has digest {found}, its manifest says {wanted}: it was drawn with "
        "other numerics; repair it where it was made, or restore it from a copy"
    )
