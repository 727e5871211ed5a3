"""One Parquet file per shard: what its rows are, and the proof that the shard is committed."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ecgtwin.errors import CohortMismatchError, DamageError, StoreError
from ecgtwin.spec.shard import Shard
from ecgtwin.store.layout import COLUMNS, NULLABLE, Schema, SignalLayout, manifest_name
from ecgtwin.store.objects import join, list_names, read_object, read_objects
from ecgtwin.store.tables import decode_table, encode_table, is_as_written

READ_ALL = 4096  # manifests
SAMPLED = 256

_NAME = re.compile(r"shard-(\d{9,})\.parquet")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was committed for one shard: columns in row order, digests as BLAKE2b-256 hex.

    ``plan_digest`` says whose shard it is: the digest of the cohort's plan, or of the corpus.
    """

    shard: Shard
    schema: Schema
    plan_digest: str
    columns: dict[str, list[Any]]
    object_name: str
    object_digest: str
    object_bytes: int
    ledger_digest: str  # empty when the shard has no ledger part


def digest_bytes(data: bytes) -> str:
    """Return the hex BLAKE2b-256 digest by which objects are known."""
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def committed_shards(url: str) -> list[int]:
    """Return the indices of the shards that have a manifest, ascending; none of them is read."""
    matches = map(_NAME.fullmatch, list_names(join(url, "manifest")))
    return sorted(int(match[1]) for match in matches if match)


def resumable_shards(url: str, layout: SignalLayout, *, plan_digest: str) -> set[int]:
    """Return the indices of the shards that need not be made again.

    Up to ``READ_ALL`` manifests are all read. Of more, the names are listed and ``SAMPLED`` are
    read, the first and the last among them and the others evenly spread: a run begins within
    seconds whatever is there, and only ``verify`` reads all. DamageError where one that is read
    cannot be understood or does not fit, CohortMismatchError where it is of another plan: neither
    is a commit of this plan, and neither may be replaced.
    """
    shards = layout.shards()
    there = committed_shards(url)
    if there and there[-1] >= len(shards):
        name = join(url, manifest_name(there[-1]))
        raise DamageError(f"{name} is damaged: the signals have {len(shards)} shards")
    for manifest in read_manifests(url, sample_of(there)):
        index = manifest.shard.index
        name = join(url, manifest_name(index))
        if manifest.plan_digest != plan_digest:
            raise CohortMismatchError(
                f"{name} is of plan {manifest.plan_digest or 'none'}, not of plan {plan_digest}: "
                "something else wrote here; delete what is at the URL and start again, or choose "
                "another URL"
            )
        if manifest.shard != shards[index]:
            raise DamageError(f"{name} is damaged: {manifest.shard} does not fit the signals")
    return set(there)


def sample_of(indices: Sequence[int]) -> Sequence[int]:
    """Return those of the committed shards whose manifests a resume reads."""
    if len(indices) <= READ_ALL:
        return indices
    last = len(indices) - 1
    return [indices[place * last // (SAMPLED - 1)] for place in range(SAMPLED)]


def read_manifest(url: str, index: int) -> Manifest:
    """Return the manifest of shard ``index``.

    FileNotFoundError when the shard is not committed; DamageError when its manifest cannot be
    understood.
    """
    name = join(url, manifest_name(index))
    return decode_manifest(read_object(name), index, name)


def read_whole_manifest(url: str, index: int) -> tuple[Manifest, str]:
    """Return the manifest of shard ``index`` and the digest of its bytes.

    Raises as ``read_manifest``, DamageError also where any byte is not as it was written.

    What a reader passes over, as a flipped bit in the statistics, is found.
    """
    name = join(url, manifest_name(index))
    data = read_object(name)
    manifest = decode_manifest(data, index, name)
    try:
        wanted = encode_manifest(manifest)
    except StoreError as error:
        raise DamageError(f"{name} is damaged: {error}") from error
    if not is_as_written(data, wanted):
        raise DamageError(f"{name} is damaged: its bytes are not those of its rows")
    return manifest, digest_bytes(data)


def read_manifests(url: str, indices: Iterable[int]) -> Iterator[Manifest]:
    """Yield the manifests of several shards, read in parallel."""
    wanted = list(indices)
    names = [join(url, manifest_name(index)) for index in wanted]
    for index, name, data in zip(wanted, names, read_objects(names), strict=True):
        yield decode_manifest(data, index, name)


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes to commit; StoreError when a column is missing, unknown or ill-typed."""
    arrays = manifest_arrays(manifest)
    metadata = {
        "shard_index": str(manifest.shard.index),
        "row_start": str(manifest.shard.start),
        "row_stop": str(manifest.shard.stop),
        "schema": manifest.schema,
        "plan": manifest.plan_digest,
        "object": manifest.object_name,
        "object_blake2b": manifest.object_digest,
        "object_bytes": str(manifest.object_bytes),
        "ledger_blake2b": manifest.ledger_digest,
    }
    return encode_table(pa.table(arrays, names=list(COLUMNS[manifest.schema])), metadata)


def manifest_arrays(manifest: Manifest) -> list[pa.Array]:
    """Return the columns in the schema's order and types; StoreError where they are not such."""
    types = COLUMNS[manifest.schema]
    check_columns(manifest.columns, types, len(manifest.shard))
    return [_array(name, manifest.columns[name], kind) for name, kind in types.items()]


def decode_manifest(data: bytes, index: int, name: str) -> Manifest:
    """Return the manifest in ``data``, read from ``name``; DamageError when it is not one."""
    columns, metadata = decode_table(data, name)
    try:
        shard = Shard(
            int(metadata["shard_index"]), int(metadata["row_start"]), int(metadata["row_stop"])
        )
        schema: Schema = "corpus" if metadata["schema"] == "corpus" else "cohort"
        manifest = Manifest(
            shard=shard,
            schema=schema,
            plan_digest=metadata["plan"],
            columns=columns,
            object_name=metadata["object"],
            object_digest=metadata["object_blake2b"],
            object_bytes=int(metadata["object_bytes"]),
            ledger_digest=metadata["ledger_blake2b"],
        )
    except (KeyError, ValueError) as error:
        raise DamageError(f"{name} is damaged: it is no manifest ({error!r})") from error
    rows_match = columns.get("row") == list(range(shard.start, shard.stop))
    if shard.index != index or not rows_match or set(columns) != set(COLUMNS[schema]):
        raise DamageError(f"{name} is damaged: it does not describe shard {index}")
    return manifest


def check_columns(
    columns: Mapping[str, Sequence[Any]], types: Mapping[str, pa.DataType], num_rows: int
) -> None:
    """Raise StoreError unless ``columns`` are exactly ``types``, each ``num_rows`` long."""
    missing = [name for name in types if name not in columns]
    unknown = [name for name in columns if name not in types]
    if missing or unknown:
        raise StoreError(
            f"a manifest's columns are {', '.join(types)}; "
            f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
        )
    for name, values in columns.items():
        if len(values) != num_rows:
            raise StoreError(f"column {name} has {len(values)} values for {num_rows} rows")


def _array(name: str, values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    try:
        array = pa.array(list(values), type=kind)
    except (pa.ArrowException, OverflowError, TypeError) as error:
        raise StoreError(f"column {name} must be {kind}: {error}") from error
    if array.null_count and name not in NULLABLE:
        raise StoreError(f"column {name} must not hold None")
    return array
