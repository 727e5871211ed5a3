"""The index of a finished cohort: the rows of all manifests as a few large Parquet tables.

    index/rows-00000.parquet   ``shard``, then a manifest's columns; row groups of whole shards
    index/cells.parquet        counts by patient and condition
    index/index.json           put last: what the others are

The same manifests give the same bytes.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ecgtwin.errors import DamageError
from ecgtwin.store.layout import COHORT_COLUMNS
from ecgtwin.store.manifest import Manifest, digest_bytes, manifest_arrays
from ecgtwin.store.objects import join, read_if_there, read_object
from ecgtwin.store.tables import encode_table

INDEX_FOLDER = "index"
INDEX = "index/index.json"
CELLS = "index/cells.parquet"
_TABLE = re.compile(r"index/(rows-\d{5,}|cells)\.parquet")
ROWS_PER_PART = 1_000_000
_DIGEST = "content_blake2b"
_ROWS_PER_GROUP = 16_384  # at least, but for the last of a part


@dataclass(frozen=True, slots=True)
class IndexObject:
    """One object of an index, ready to be put; ``num_rows`` are those of a table."""

    name: str
    data: bytes
    num_rows: int

    def entry(self) -> dict[str, Any]:
        """Return what ``index.json`` says of it."""
        return {"name": self.name, "rows": self.num_rows, "blake2b": digest_bytes(self.data)}


def row_parts(
    manifests: Iterable[Manifest], *, rows_per_part: int = ROWS_PER_PART
) -> Iterator[IndexObject]:
    """Yield the tables of rows; whole shards in each, ``rows_per_part`` rows at most.

    One table is in memory at a time.
    """
    number, part = 0, _Part()
    for manifest in manifests:
        if part.num_rows and part.num_rows + len(manifest.shard) > rows_per_part:
            yield part.ended(number)
            number, part = number + 1, _Part()
        part.add(manifest)
    if part.num_rows:
        yield part.ended(number)


def counts_table(name: str, columns: Mapping[str, NDArray[Any]]) -> IndexObject:
    """Return a table of counts."""
    table = pa.table({key: pa.array(values) for key, values in columns.items()})
    return IndexObject(name, encode_table(table, {}), table.num_rows)


def is_table(name: str) -> bool:
    """Say whether ``name``, of an object inside a cohort, is that of a table of an index."""
    return _TABLE.fullmatch(name) is not None


def read_index(url: str) -> dict[str, Any] | None:
    """Return what ``index.json`` says, None where there is none; DamageError: it is no index."""
    name = join(url, INDEX)
    data = read_if_there(name)
    if data is None:
        return None
    try:
        found = json.loads(data)
        if found.pop(_DIGEST) != digest_bytes(_encoded(found)):
            raise ValueError("its content is not what was written")
        objects = [(str(one["name"]), str(one["blake2b"])) for one in found["objects"]]
        others = [other for other, _ in objects if not is_table(other)]
        if others:
            raise ValueError(f"{others[0]!r} is no table of an index")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamageError(f"{name} is damaged: it is no index ({error!r})") from error
    return {**found, "digests": dict(objects)}


def index_faults(url: str, found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and fault of each object of an index that is not what ``index.json`` says."""
    for name, wanted in found["digests"].items():
        try:
            digest = digest_bytes(read_object(join(url, name)))
        except FileNotFoundError:
            yield name, "is missing"
            continue
        if digest != wanted:
            yield name, f"has digest {digest}, index.json says {wanted}"


def encode_index(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of ``index.json``, with a digest of ``content`` in it."""
    return _encoded({**content, _DIGEST: digest_bytes(_encoded(content))})


def _encoded(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


class _Part:
    """A table of rows being written."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._schema = pa.schema([("shard", pa.int32()), *COHORT_COLUMNS.items()])
        self._sink = io.BytesIO()
        self._writer = pq.ParquetWriter(
            self._sink,
            self._schema,
            compression="zstd",
            compression_level=3,
            version="2.6",
            data_page_version="1.0",
            write_page_checksum=True,
        )
        self._waiting: list[pa.Table] = []

    def add(self, manifest: Manifest) -> None:
        num = len(manifest.shard)
        shard = pa.array(np.full(num, manifest.shard.index, np.int32))
        self._waiting.append(pa.table([shard, *manifest_arrays(manifest)], schema=self._schema))
        self.num_rows += num
        if sum(table.num_rows for table in self._waiting) >= _ROWS_PER_GROUP:
            self._write()

    def ended(self, number: int) -> IndexObject:
        self._write()
        self._writer.close()
        return IndexObject(f"index/rows-{number:05d}.parquet", self._sink.getvalue(), self.num_rows)

    def _write(self) -> None:
        if self._waiting:
            table = pa.concat_tables(self._waiting)
            self._writer.write_table(table, row_group_size=table.num_rows)
            self._waiting = []
