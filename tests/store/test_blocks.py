"""Blocks: the same rows have the same digest, and other rows are never taken for them."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecgtwin.errors import CommitConflictError, DamageError, StoreError
from ecgtwin.store.blocks import (
    block_name,
    encode_block,
    put_block,
    read_arrow_blocks,
    read_block_rows,
)
from ecgtwin.store.objects import join

TYPES = {"row": pa.int64(), "text": pa.string(), "words": pa.list_(pa.string())}
COLUMNS = {"row": [0, 1, 2], "text": ["a", None, "ä\0"], "words": [["x"], [], ["y", "z"]]}


@pytest.fixture
def target(tmp_path) -> str:
    return join(str(tmp_path), block_name("plan/records", 0))


def test_a_block_reads_back_whole_and_in_part(target: str) -> None:
    data, digest = encode_block(COLUMNS, TYPES)
    put_block(target, data, digest)
    whole = read_arrow_blocks([target], TYPES, digests=[digest])
    assert whole.to_pydict() == COLUMNS
    part = read_block_rows(target, 1, 3, TYPES, owner="o")
    assert part == {name: values[1:3] for name, values in COLUMNS.items()}


def test_the_digest_is_of_the_rows_and_not_of_how_they_came() -> None:
    digest = encode_block(COLUMNS, TYPES)[1]
    assert (
        encode_block({name: tuple(values) for name, values in COLUMNS.items()}, TYPES)[1] == digest
    )
    assert encode_block(COLUMNS | {"row": [0, 1, 3]}, TYPES)[1] != digest
    assert encode_block(COLUMNS | {"words": [["x"], [], ["yz"]]}, TYPES)[1] != digest


def test_the_same_content_written_by_another_version_is_no_conflict(target: str, tmp_path) -> None:
    data, digest = encode_block(COLUMNS, TYPES)
    put_block(target, data, digest)
    table = pa.Table.from_pydict(COLUMNS, schema=pa.schema(list(TYPES.items())))
    other = tmp_path / "other.parquet"
    pq.write_table(table.replace_schema_metadata({"content": digest}), other, compression="snappy")
    put_block(target, other.read_bytes(), digest)  # other bytes, the same rows
    assert read_arrow_blocks([target], TYPES, digests=[digest]).to_pydict() == COLUMNS


def test_other_rows_at_the_place_are_a_conflict(target: str) -> None:
    put_block(target, *encode_block(COLUMNS, TYPES))
    with pytest.raises(CommitConflictError):
        put_block(target, *encode_block(COLUMNS | {"row": [4, 5, 6]}, TYPES))


def test_another_owner_reads_anew(target: str, tmp_path) -> None:
    put_block(target, *encode_block(COLUMNS, TYPES))
    assert read_block_rows(target, 0, 1, TYPES, owner="first")["row"] == [0]
    (tmp_path / "plan" / "records-000000.parquet").unlink()
    put_block(target, *encode_block(COLUMNS | {"row": [7, 8, 9]}, TYPES))
    assert read_block_rows(target, 0, 1, TYPES, owner="second")["row"] == [7]


@pytest.mark.parametrize(
    "columns", [{"row": [0]}, COLUMNS | {"more": [1, 2, 3]}, COLUMNS | {"row": ["a", "b", "c"]}]
)
def test_columns_that_are_no_block_are_refused(columns) -> None:
    with pytest.raises(StoreError):
        encode_block(columns, TYPES)


def test_damage_is_found(target: str, tmp_path) -> None:
    data, digest = encode_block(COLUMNS, TYPES)
    put_block(target, data, digest)
    for content in (data[:-9], b"", b"PAR1" + data[20:]):
        (tmp_path / "plan" / "records-000000.parquet").write_bytes(content)
        with pytest.raises(DamageError, match="is damaged"):
            read_arrow_blocks([target], TYPES, digests=[digest])
    put_other, other = encode_block(COLUMNS | {"row": [4, 5, 6]}, TYPES)
    (tmp_path / "plan" / "records-000000.parquet").write_bytes(put_other)
    with pytest.raises(DamageError, match="not those that were written"):
        read_arrow_blocks([target], TYPES, digests=[digest])
    assert read_arrow_blocks([target], TYPES, digests=[other])["row"].to_pylist() == [4, 5, 6]
