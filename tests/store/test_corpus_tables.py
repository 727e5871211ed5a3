"""What says that a corpus is finished: absent, damaged and refused are three things."""

from pathlib import Path

import pytest

from ecgtwin.errors import DamageError, StoreError
from ecgtwin.store.corpus_tables import COMPLETE, TABLES, TableWriter, check_tables, read_complete


def test_an_unfinished_corpus_has_none(tmp_path: Path) -> None:
    assert read_complete(str(tmp_path)) is None


def test_what_was_written_is_read_and_one_that_was_cut_off_is_damaged(tmp_path: Path) -> None:
    writer = TableWriter(str(tmp_path), "a digest")
    writer.put("split", {"person_id": ["a"], "split": ["train"], "rows": [1]})
    writer.put("records", {name: [] for name in TABLES["records"]})
    written = writer.complete({"rows": 1})
    assert read_complete(str(tmp_path)) == written
    assert list(check_tables(str(tmp_path), written)) == []
    name = tmp_path / COMPLETE
    name.write_bytes(name.read_bytes()[:-9])
    with pytest.raises(DamageError, match="ingest again"):
        read_complete(str(tmp_path))


def test_what_the_store_refuses_to_read_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / COMPLETE).mkdir(parents=True)
    with pytest.raises(StoreError, match="Is a directory") as refused:
        read_complete(str(tmp_path))
    assert not isinstance(refused.value, DamageError)
