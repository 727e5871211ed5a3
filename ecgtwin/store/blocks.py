"""Long tables beside the signals, cut into Parquet objects of a fixed number of rows.

``<name>-000000.parquet`` holds rows 0 to ``rows_per_block`` and so on. An object says the digest of
its content, which does not depend on the Parquet writer's version.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecgtwin.errors import CommitConflictError, DamageError, StoreError
from ecgtwin.store.commit import put_new
from ecgtwin.store.objects import read_object, read_objects
from ecgtwin.store.tables import encode_table

Types = Mapping[str, pa.DataType]

_CONTENT = b"content"


def block_name(folder: str, index: int) -> str:
    """Return where block ``index`` of the table ``folder`` is."""
    return f"{folder}-{index:06d}.parquet"


def encode_block(columns: Mapping[str, Sequence[Any]], types: Types) -> tuple[bytes, str]:
    """Return a block's Parquet bytes and the digest of its content.

    StoreError when a column is missing, unknown or of another type.
    """
    if set(columns) != set(types):
        raise StoreError(f"a block has columns {', '.join(types)}; found {', '.join(columns)}")
    try:
        table = pa.table(
            [pa.array(list(columns[name]), type=kind) for name, kind in types.items()],
            names=list(types),
        )
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise StoreError(f"a block does not hold what it should: {error}") from error
    digest = _content_digest(table)
    return encode_table(table, {_CONTENT.decode(): digest}), digest


def put_block(url: str, data: bytes, digest: str) -> None:
    """Commit a block; one of the same content that stands there already is fine.

    CommitConflictError when another stands there.
    """
    try:
        put_new(url, data)
    except CommitConflictError:
        found = _decode(read_object(url), url)
        if (found.schema.metadata or {}).get(_CONTENT, b"").decode() != digest:
            raise


def read_block_rows(
    url: str, start: int, stop: int, types: Types, *, owner: str
) -> dict[str, list[Any]]:
    """Return rows ``start`` to ``stop`` of the block at ``url``; the last block read is kept.

    ``owner`` is the digest of what the block belongs to: another one is read anew.
    """
    table = _kept(url, tuple(types.items()), owner)
    columns: dict[str, list[Any]] = table.slice(start, stop - start).to_pydict()
    return columns


@lru_cache(maxsize=1)
def _kept(url: str, types: tuple[tuple[str, pa.DataType], ...], owner: str) -> pa.Table:
    return _checked(read_object(url), url, dict(types))


def read_arrow_blocks(
    urls: Sequence[str], types: Types, *, digests: Sequence[str], check: bool = True
) -> pa.Table:
    """Return the blocks at ``urls``, one after the other, as one table.

    DamageError where one is not of the content that ``digests`` says, or, without ``check``, where
    it does not say so itself: checking every row of a million takes a quarter of a minute.
    """
    blocks = zip(urls, read_objects(urls), digests, strict=True)
    return pa.concat_tables(
        [_checked(data, url, types, digest=digest, check=check) for url, data, digest in blocks]
    )


def _checked(
    data: bytes, url: str, types: Types, *, digest: str | None = None, check: bool = True
) -> pa.Table:
    table = _decode(data, url)
    said = (table.schema.metadata or {}).get(_CONTENT, b"").decode()
    table = table.replace_schema_metadata(None)
    fits = table.schema == pa.schema(list(types.items())) and digest in (None, said)
    if not fits or (check and _content_digest(table) != said):
        raise DamageError(f"{url} is damaged: its rows are not those that were written")
    return table


def _decode(data: bytes, url: str) -> pa.Table:
    try:
        return pq.read_table(io.BytesIO(data), use_threads=False, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamageError(
            f"{url} is damaged: not a readable Parquet table ({str(error).splitlines()[0]})"
        ) from error


def _content_digest(table: pa.Table) -> str:
    """Return a digest of the rows; what Arrow leaves open (padding, empty bitmaps) is not in it."""
    text = json.dumps(table.to_pydict(), separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
