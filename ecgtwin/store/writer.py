"""Write signals: metadata once, then whole shards, each ending with its commit."""

import json
import os
import platform
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import CohortMismatchError, CommitConflictError, StoreError
from ecgtwin.signals.leads import INDEPENDENT_LEADS, LEADS
from ecgtwin.spec.shard import Shard
from ecgtwin.store.commit import put_new, stage
from ecgtwin.store.layout import (
    COLUMNS,
    FILL,
    LIMIT,
    SAMPLES,
    SIGNALS,
    STEP_MV,
    Schema,
    SignalLayout,
    ledger_name,
    manifest_name,
    object_name,
    shard_name,
)
from ecgtwin.store.manifest import (
    Manifest,
    check_columns,
    digest_bytes,
    encode_manifest,
    read_manifest,
)
from ecgtwin.store.objects import join, object_exists, read_if_there, read_object, replace_object
from ecgtwin.store.zarr_shards import encode_metadata, encode_shard, read_layout

Steps = TypeVar("Steps", np.int16, np.int32)

_BLOCK_SAMPLES = 1 << 17  # quantised together: they stay in the cache


@dataclass(frozen=True, slots=True)
class CommittedShard:
    """A shard that is on disk. ``was_ours``: this call wrote its manifest, not an earlier one."""

    index: int
    num_rows: int
    object_digest: str
    object_bytes: int
    was_ours: bool
    replaced_digest: str | None  # an uncommitted object of other bytes that stood in its place


@dataclass(frozen=True, slots=True)
class EncodedShard:
    """A whole shard as the bytes that are put: object, ledger part (may be empty), manifest."""

    manifest: Manifest
    data: bytes
    ledger_data: bytes

    @property
    def manifest_data(self) -> bytes:
        """The bytes of the manifest."""
        return encode_manifest(self.manifest)


def create_signals(url: str, layout: SignalLayout) -> None:
    """Write the Zarr metadata and coordinates of an empty ``signals.zarr``; a repeat does nothing.

    CohortMismatchError when signals of another layout are there.
    """
    root = join(url, SIGNALS)
    if object_exists(join(root, SAMPLES, "zarr.json")):
        found = read_layout(url)
        if found != layout:
            raise CohortMismatchError(
                f"{url} holds signals laid out as {found}, asked for was {layout}; "
                "choose another URL, or delete what is there"
            )
        return
    for name, data in encode_metadata(layout):
        put_new(join(root, name), data)


def quantise(
    samples_mv: NDArray[np.floating], *, step_mv: float = STEP_MV
) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """Return (rows, 12, time) as int16 steps of ``step_mv``, and per row how many saturated.

    I, II and V1..V6 are rounded half to even. III = II - I exactly, in integers; aVR, aVL and aVF
    are rounded from the integers, so within half a step. NaN becomes the fill value. ``step_mv``
    is one of ``spec.storage.STEPS_MV``.
    """
    samples = np.asarray(samples_mv)
    if samples.ndim != 3 or samples.shape[1] != len(LEADS):
        raise StoreError(f"samples_mv must be (rows, 12, time), found shape {samples.shape}")
    stored = np.empty(samples.shape, dtype=np.int16)
    saturated = np.zeros(len(samples), dtype=np.int32)
    size = max(1, _BLOCK_SAMPLES * len(samples) // max(1, samples.size))
    for start in range(0, len(samples), size):
        block = slice(start, start + size)
        saturated[block] = _quantise_block(samples[block], round(1 / step_mv), stored[block])
    return stored, saturated


def _quantise_block(
    samples: NDArray[np.floating], steps_per_mv: int, stored: NDArray[np.int16]
) -> NDArray[np.int64]:
    """Write a few rows as steps to ``stored``; return how many of each saturated."""
    steps = np.empty((len(samples), len(INDEPENDENT_LEADS), samples.shape[2]))
    steps[:, :2], steps[:, 2:] = samples[:, :2], samples[:, 6:]
    steps *= steps_per_mv
    largest_mv = max(float(samples.max(initial=0)), -float(samples.min(initial=0)))
    if largest_mv * steps_per_mv < LIMIT // 2:  # all are finite, and no lead can saturate
        whole = np.rint(steps, out=steps).astype(np.int16)
        stored[:, :2], stored[:, 6:] = whole[:, :2], whole[:, 2:]
        stored[:, 2:6] = _derived_steps(whole[:, 0], whole[:, 1])
        return np.zeros(len(samples), dtype=np.int64)
    missing = np.isnan(steps)
    cut = np.abs(steps) > LIMIT + 0.5
    whole = np.rint(np.clip(np.where(missing, 0, steps), -LIMIT, LIMIT)).astype(np.int32)
    derived = _derived_steps(whole[:, 0], whole[:, 1])
    stored[:, :2], stored[:, 6:] = whole[:, :2], whole[:, 2:]
    stored[:, 2:6] = np.clip(derived, -LIMIT, LIMIT)
    limb_missing = missing[:, :1] | missing[:, 1:2]
    gone = np.repeat(limb_missing, 4, axis=1)
    stored[np.concatenate([missing[:, :2], gone, missing[:, 2:]], axis=1)] = FILL
    over = (np.abs(derived) > LIMIT) & ~limb_missing
    saturated: NDArray[np.int64] = cut.sum(axis=(1, 2)) + over.sum(axis=(1, 2))
    return saturated


def _derived_steps(one: NDArray[Steps], two: NDArray[Steps]) -> NDArray[Steps]:
    """Return III, aVR, aVL and aVF (row, 4, time) from the steps of I and II."""
    right, left = _with_halves(0, -(one + two)), _with_halves(one, -two)
    return np.stack([two - one, right, left, _with_halves(two, -one)], axis=1)


def _with_halves(whole: NDArray[Steps] | int, halves: NDArray[Steps]) -> NDArray[Steps]:
    """Return ``whole + halves / 2``, rounded half to even."""
    below: NDArray[Steps] = whole + (halves >> 1)
    return below + (below & halves & 1)


def write_shard(
    url: str,
    layout: SignalLayout,
    shard: Shard,
    samples_mv: NDArray[np.floating],
    columns: Mapping[str, Sequence[Any]],
    *,
    schema: Schema,
    plan_digest: str,
    ledger: Sequence[Mapping[str, Any]] | None = None,
) -> CommittedShard:
    """Write one whole shard: object, then ledger part, then manifest, which is the commit.

    ``samples_mv`` is (rows, 12, time); ``columns`` are the schema's, where ``row`` and
    ``saturated`` are filled in here when absent; ``plan_digest`` is of the cohort's plan, or of
    the corpus. Idempotent. CommitConflictError when the shard is already committed with other
    bytes; nothing committed is replaced.
    """
    encoded = encode_whole(
        layout, shard, samples_mv, columns, schema=schema, plan_digest=plan_digest, ledger=ledger
    )
    return _commit(url, encoded)


def encode_whole(
    layout: SignalLayout,
    shard: Shard,
    samples_mv: NDArray[np.floating],
    columns: Mapping[str, Sequence[Any]],
    *,
    schema: Schema,
    plan_digest: str,
    ledger: Sequence[Mapping[str, Any]] | None = None,
) -> EncodedShard:
    """Return the bytes that ``write_shard`` puts; the same each time. StoreError: not a shard."""
    _check_shard(layout, shard, samples_mv)
    stored, saturated = quantise(samples_mv, step_mv=layout.step_mv)
    filled = {
        "row": list(range(shard.start, shard.stop)),
        "saturated": saturated.tolist(),
    } | {name: list(values) for name, values in columns.items()}
    _check_rows(filled, stored, shard, schema)
    data = encode_shard(layout, stored)
    ledger_data = _encode_ledger(ledger)
    manifest = Manifest(
        shard=shard,
        schema=schema,
        plan_digest=plan_digest,
        columns=filled,
        object_name=object_name(shard.index),
        object_digest=digest_bytes(data),
        object_bytes=len(data),
        ledger_digest=digest_bytes(ledger_data) if ledger_data else "",
    )
    return EncodedShard(manifest, data, ledger_data)


def _commit(url: str, encoded: EncodedShard) -> CommittedShard:
    manifest, data, ledger_data = encoded.manifest, encoded.data, encoded.ledger_data
    manifest_data = encoded.manifest_data
    index = manifest.shard.index
    stage("encoded", index)
    replaced = {object_name(index): _put_part(url, index, object_name(index), data)}
    stage("object", index)
    if ledger_data:
        replaced[ledger_name(index)] = _put_part(url, index, ledger_name(index), ledger_data)
    stage("ledger", index)
    try:
        was_ours = put_new(join(url, manifest_name(index)), manifest_data)
    except CommitConflictError:
        _give_back(url, index, replaced)
        raise
    stage("manifest", index)
    parts = {object_name(index): data, ledger_name(index): ledger_data}
    mine = {name: part for name, part in parts.items() if name in replaced}
    _make_true(url, index, manifest_data, mine)
    before = replaced[object_name(index)]
    return CommittedShard(
        index=index,
        num_rows=len(manifest.shard),
        object_digest=manifest.object_digest,
        object_bytes=len(data),
        was_ours=was_ours,
        replaced_digest=None if before is None else digest_bytes(before),
    )


def _put_part(url: str, index: int, name: str, data: bytes) -> bytes | None:
    """Put one part of an uncommitted shard; return the other bytes that it replaced, if any."""
    target = join(url, name)
    try:
        put_new(target, data)
        return None
    except CommitConflictError:
        if object_exists(join(url, manifest_name(index))):
            raise
    found = read_object(target)
    if found == data:
        return None
    if object_exists(join(url, manifest_name(index))):
        raise CommitConflictError(
            f"shard {index} of {url} was committed by another worker with other bytes; "
            "the committed ones stay"
        )
    replace_object(target, data)
    record_replacement(url, index, name, found=found, put=data)
    return found


def _give_back(url: str, index: int, replaced: Mapping[str, bytes | None]) -> None:
    """Undo replacements of parts that turn out to belong to a committed manifest."""
    committed = read_manifest(url, index)
    for name, before in replaced.items():
        if before is not None and digest_bytes(before) in (
            committed.object_digest,
            committed.ledger_digest,
        ):
            replace_object(join(url, name), before)


def _make_true(url: str, index: int, manifest_data: bytes, parts: Mapping[str, bytes]) -> None:
    """Re-read the parts behind our manifest, and restore what a slower writer replaced.

    That writer looked before our manifest stood; the manifest decides which bytes belong there.
    CommitConflictError where it is ours no more: somebody deleted it, and perhaps began anew.
    """
    for name, data in parts.items():
        target = join(url, name)
        found = read_if_there(target)
        if found == data:
            continue
        if read_if_there(join(url, manifest_name(index))) != manifest_data:
            raise CommitConflictError(
                f"shard {index} of {url} was deleted behind its commit; what is there was left"
            )
        replace_object(target, data)
        record_replacement(url, index, name, found=found, put=data)


def record_replacement(
    url: str,
    index: int | None,
    name: str,
    *,
    found: bytes | None,
    put: bytes,
    event: str = "replaced an uncommitted object",
) -> None:
    """Note a replacement under runs/: who, where and what, never part of the cohort's bytes.

    ``index``: of the shard, None where the object is of none.
    """
    note = {
        "event": event,
        "object": name,
        "found_blake2b": None if found is None else digest_bytes(found),
        "put_blake2b": digest_bytes(put),
        "host": platform.node(),
        "process": os.getpid(),
    }
    unique = secrets.token_hex(8)
    line = json.dumps(note, sort_keys=True) + "\n"
    owner = "cohort" if index is None else shard_name(index)
    put_new(join(url, f"runs/replaced/{owner}-{unique}.jsonl"), line.encode())


def _encode_ledger(ledger: Sequence[Mapping[str, Any]] | None) -> bytes:
    lines = [json.dumps(entry, sort_keys=True, ensure_ascii=False) for entry in ledger or ()]
    return "".join(line + "\n" for line in lines).encode()


def _check_shard(layout: SignalLayout, shard: Shard, samples_mv: NDArray[np.floating]) -> None:
    shards = layout.shards()
    if not 0 <= shard.index < len(shards) or shards[shard.index] != shard:
        raise StoreError(
            f"{shard} is not a shard of {layout}: a worker writes one whole shard, never a part"
        )
    expected = (len(shard), len(LEADS), layout.num_samples)
    if np.shape(samples_mv) != expected:
        raise StoreError(
            f"samples_mv of shard {shard.index} must be {expected}, found {np.shape(samples_mv)}"
        )


def _check_rows(
    columns: Mapping[str, Sequence[Any]], stored: NDArray[np.int16], shard: Shard, schema: Schema
) -> None:
    check_columns(columns, COLUMNS[schema], len(shard))
    if list(columns["row"]) != list(range(shard.start, shard.stop)):
        raise StoreError(f"column row of shard {shard.index} must be {shard.start} and upwards")
    holed = (stored == FILL).any(axis=(1, 2)) & np.asarray(columns["accepted"], dtype=bool)
    if holed.any():
        row = shard.start + int(np.flatnonzero(holed)[0])
        raise StoreError(
            f"row {row} is accepted but has samples that are NaN; mend it or reject it"
        )
