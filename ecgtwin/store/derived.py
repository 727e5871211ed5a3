"""Values computed once per record and kept beside a corpus, shard by shard.

``derived/<kind>-<digest>/shard-000000007.npz``: rows and their values, of the accepted rows of
shard 7. The digest names all that made the values (weights, settings): others stand beside them.
A shard's file is there whole or not at all, and is never changed.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import CommitConflictError, DamageError, StoreError
from ecgtwin.store.arrays import decode_arrays, encode_arrays
from ecgtwin.store.commit import put_new
from ecgtwin.store.layout import shard_name
from ecgtwin.store.objects import join, list_names, read_object, read_objects

Values = NDArray[np.float32]
_NAME = re.compile(r"shard-(\d{9,})\.npz")


@dataclass(frozen=True, slots=True)
class DerivedKey:
    """What values are of: ``kind`` ("latents"), digest of what makes them, digest of the corpus."""

    kind: str
    digest: str
    corpus_digest: str

    def folder(self, url: str) -> str:
        """Return where the values are beside the corpus at ``url``."""
        return join(url, f"derived/{self.kind}-{self.digest}")


def derived_shards(url: str, key: DerivedKey) -> set[int]:
    """Return the indices of the shards whose values are there; none of them is read."""
    matches = map(_NAME.fullmatch, list_names(key.folder(url)))
    return {int(match[1]) for match in matches if match}


def put_derived(
    url: str, key: DerivedKey, index: int, rows: NDArray[np.int64], values: Values
) -> bool:
    """Commit the values (n, ...) of ``n`` rows of shard ``index``; return whether this call did.

    Values that another worker put first stay: they are the same but for the last digits.
    """
    if len(rows) != len(values) or (np.diff(rows) <= 0).any():
        raise StoreError(f"{len(rows)} ascending rows need as many values, found {len(values)}")
    if not np.isfinite(values).all():
        raise StoreError(f"{key.kind} of shard {index} of {url} are not finite; nothing was stored")
    about = {"kind": key.kind, "digest": key.digest, "corpus": key.corpus_digest, "shard": index}
    data = encode_arrays({"rows": rows, "values": np.asarray(values, np.float32)}, about)
    name = _file_name(url, key, index)
    try:
        return put_new(name, data)
    except CommitConflictError:
        there, there_values = _decode(read_object(name), name, key, index)
        if not np.array_equal(there, rows) or there_values.shape != values.shape:
            raise
        return False


def read_derived(
    url: str, key: DerivedKey, rows: NDArray[np.int64], *, rows_per_shard: int
) -> tuple[NDArray[np.bool_], Values | None]:
    """Return which of ``rows`` have values (n,), and (n, ...), undefined for those that have none.

    None instead of an array where none of them has. DamageError where a file is not what its name
    says.
    """
    there = derived_shards(url, key)
    shards = rows // rows_per_shard
    wanted = [index for index in np.unique(shards).tolist() if index in there]
    names = [_file_name(url, key, index) for index in wanted]
    has_value = np.zeros(len(rows), bool)
    found: Values | None = None
    for index, name, data in zip(wanted, names, read_objects(names), strict=True):
        stored, values = _decode(data, name, key, index)
        if found is None:
            found = np.empty((len(rows), *values.shape[1:]), np.float32)
        mine = np.flatnonzero(shards == index)
        place = np.searchsorted(stored, rows[mine])
        known = np.isin(rows[mine], stored)
        has_value[mine[known]] = True
        found[mine[known]] = values[place[known]]
    return has_value, found


def _file_name(url: str, key: DerivedKey, index: int) -> str:
    return join(key.folder(url), f"{shard_name(index)}.npz")


def _decode(
    data: bytes, name: str, key: DerivedKey, index: int
) -> tuple[NDArray[np.int64], Values]:
    advice = "delete it and encode the corpus again"
    try:
        arrays, about = decode_arrays(data, name)
    except DamageError as error:
        raise DamageError(f"{error}; {advice}") from None
    wanted = {"kind": key.kind, "digest": key.digest, "corpus": key.corpus_digest, "shard": index}
    wrong = [word for word, value in wanted.items() if about.get(word) != value]
    if wrong or set(arrays) != {"rows", "values"}:
        raise DamageError(f"{name} holds other values ({', '.join(wrong) or 'arrays'}); {advice}")
    rows, values = arrays["rows"], arrays["values"]
    if rows.dtype != np.int64 or values.dtype != np.float32 or len(rows) != len(values):
        raise DamageError(f"{name} holds arrays of other types or lengths; {advice}")
    return rows, values
