"""Parquet tables with the same bytes for the same content."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecgtwin.errors import DamageError
from ecgtwin.store.commit import put_new
from ecgtwin.store.objects import read_object

_WRITER = re.compile(r"parquet-cpp-arrow version \d+\.\d+\.\d+")


def put_table(url: str, columns: Mapping[str, Sequence[Any]], metadata: Mapping[str, str]) -> bool:
    """Commit a table of typed-by-content columns; return whether this call created it.

    Nothing is overwritten: CommitConflictError when another table is at ``url``.
    """
    return put_new(url, encode_columns(columns, metadata))


def read_whole_table(url: str) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Return what ``read_table`` does of a table that ``put_table`` put.

    DamageError also where any byte is not as it was written.
    """
    data = read_object(url)
    columns, metadata = decode_table(data, url)
    if not is_as_written(data, encode_columns(columns, metadata)):
        raise DamageError(f"{url} is damaged: its bytes are not those of its rows")
    return columns, metadata


def encode_columns(columns: Mapping[str, Sequence[Any]], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes that ``put_table`` commits."""
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    return encode_table(table, metadata)


def read_table(url: str) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Return (columns, metadata). FileNotFoundError when absent, DamageError when not a table."""
    return decode_table(read_object(url), url)


def encode_table(table: pa.Table, metadata: Mapping[str, str]) -> bytes:
    """Return the Parquet bytes of ``table``; the same content gives the same bytes."""
    encoded = {key.encode(): value.encode() for key, value in sorted(metadata.items())}
    sink = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata(encoded),
        sink,
        compression="zstd",
        compression_level=3,
        version="2.6",
        data_page_version="1.0",
        row_group_size=65536,
        write_page_checksum=True,
    )
    return sink.getvalue()


def is_as_written(data: bytes, wanted: bytes) -> bool:
    """Say whether Parquet bytes that hold the content of ``wanted`` are those that were written.

    Bytes that another version of the Parquet library says it wrote are given credit.
    """
    if data == wanted:
        return True
    try:
        mine, theirs = (pq.read_metadata(io.BytesIO(one)).created_by for one in (wanted, data))
    except (pa.ArrowException, OSError, ValueError):
        return False
    return bool(mine != theirs and _WRITER.fullmatch(theirs or ""))


def decode_table(data: bytes, url: str) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Return (columns, metadata) of Parquet bytes that were read from ``url``."""
    try:
        table = pq.read_table(io.BytesIO(data), use_threads=False, page_checksum_verification=True)
        columns = {name: table.column(name).to_pylist() for name in table.column_names}
        metadata = {
            key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()
        }
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamageError(
            f"{url} is damaged: not a readable Parquet table ({str(error).splitlines()[0]}); in a "
            "cohort `ecgtwin cohort repair` may mend it, elsewhere restore it from a copy"
        ) from error
    return columns, metadata
