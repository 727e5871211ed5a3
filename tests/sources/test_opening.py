"""What a user writes is opened as what it is, or refused with what was found."""

from pathlib import Path

import pytest

from ecgtwin.errors import SourceError
from ecgtwin.sources.opening import open_source
from tests.sources.records import write_tree
from tests.sources.test_ptbxl import write_table


def test_each_kind_is_recognised(tmp_path: Path) -> None:
    write_table(tmp_path / "table", [{}, {}])
    write_tree(tmp_path / "tree", 3)
    sources = [
        open_source("simulated", num_persons=4, visits_per_person=2),
        open_source(tmp_path / "table"),
        open_source(str(tmp_path / "tree")),
        open_source(tmp_path / "tree", limit=2),
    ]
    found = [(source.name, len(source)) for source in sources]
    assert found == [("simulated", 8), ("ptbxl", 2), ("wfdb", 3), ("wfdb", 2)]


def test_what_is_no_source_is_refused_with_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    faults = {
        tmp_path / "nowhere": "does not exist",
        tmp_path / "notes.txt": "is a file",
        tmp_path: r"holds notes\.txt",
    }
    for where, message in faults.items():
        with pytest.raises(SourceError, match=message) as caught:
            open_source(where)
        assert "allowed: 'simulated'" in str(caught.value)
