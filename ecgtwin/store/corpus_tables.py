"""The tables of a finished corpus: what they are called, what they hold, how they are committed.

tables/records-*.parquet       what each row is, persons and recordings led back to the first one
tables/conditions-*.parquet    the state each row was taken in, and what no statement stands for
tables/statements-*.parquet    the vocabulary: how often each statement stands with each certainty
tables/unmapped-*.parquet      what the source says that no statement stands for, and how often
tables/split-*.parquet         the split of every person
tables/rejects-*.parquet       rows that cannot be used, the reason and what was found
tables/complete.json           the digests of all of them, and the counts; written last
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ecgtwin.errors import DamageError
from ecgtwin.store.blocks import block_name, encode_block, put_block, read_arrow_blocks
from ecgtwin.store.commit import put_new
from ecgtwin.store.layout import CONDITION_COLUMNS, CORPUS_COLUMNS
from ecgtwin.store.objects import join, read_if_there

COMPLETE = "tables/complete.json"

TABLES: dict[str, dict[str, pa.DataType]] = {
    "records": {
        name: kind
        for name, kind in CORPUS_COLUMNS.items()
        if name == "row" or name not in CONDITION_COLUMNS
    },
    "conditions": {name: CORPUS_COLUMNS[name] for name in CONDITION_COLUMNS},
    "statements": {
        "statement": pa.string(),
        "definite": pa.int64(),
        "possible": pa.int64(),
        "negated": pa.int64(),
    },
    "unmapped": {"text": pa.string(), "rows": pa.int64()},
    "split": {"person_id": pa.string(), "split": pa.string(), "rows": pa.int64()},
    "rejects": {
        "row": pa.int64(),
        "record_id": pa.string(),
        "patient_id": pa.string(),
        "reason_kind": pa.string(),
        "reason": pa.string(),
        "reason_value": pa.string(),
    },
}


@dataclass(slots=True)
class TableWriter:
    """Writes the tables of the corpus ``digest`` block by block, then completes it."""

    url: str
    digest: str
    _blocks: dict[str, list[str]] = field(default_factory=dict)

    def put(self, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Commit the next block of ``table``."""
        done = self._blocks.setdefault(table, [])
        data, digest = encode_block(columns, TABLES[table])
        put_block(join(self.url, _name(table, len(done))), data, digest)
        done.append(digest)

    def complete(self, counts: Mapping[str, Any]) -> dict[str, Any]:
        """Write ``complete.json``, after which readers use the tables; return its content."""
        content = {"digest": self.digest, "blocks": self._blocks, "counts": dict(counts)}
        data = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        put_new(join(self.url, COMPLETE), data.encode())
        found: dict[str, Any] = json.loads(data)
        return found


def read_complete(url: str) -> dict[str, Any] | None:
    """Return what ``complete.json`` says, None where the corpus is not finished."""
    target = join(url, COMPLETE)
    data = read_if_there(target)
    if data is None:
        return None
    try:
        found = json.loads(data)
        _ = found["digest"], found["blocks"]["records"], found["counts"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamageError(
            f"{target} is damaged: it does not say what the tables are ({error!r}); delete it and "
            "ingest again, which makes the tables anew"
        ) from None
    return dict(found)


def read_corpus_table(url: str, complete: Mapping[str, Any], table: str) -> pa.Table:
    """Return a whole table of a finished corpus; DamageError where it is not what was written."""
    names = [join(url, _name(table, index)) for index in range(len(complete["blocks"][table]))]
    digests = complete["blocks"][table]
    return read_arrow_blocks(names, TABLES[table], digests=digests, check=False)


def check_tables(url: str, complete: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line per block that is missing or not what was written."""
    for table, digests in complete["blocks"].items():
        for index, digest in enumerate(digests):
            target = join(url, _name(table, index))
            try:
                read_arrow_blocks([target], TABLES[table], digests=[digest])
            except FileNotFoundError:
                yield f"{target} is missing, but the corpus is finished"
            except DamageError as error:
                yield str(error)


def _name(table: str, index: int) -> str:
    return block_name(f"tables/{table}", index)
