"""The index of a complete cohort: every row once, the same bytes each time, counts that add up."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ecgtwin.cli import main
from ecgtwin.errors import CommitConflictError, DamageError, StoreError
from ecgtwin.generation.merge_cohort import merge_cohort
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.store.cohort_index import encode_index
from ecgtwin.store.layout import COHORT_COLUMNS, manifest_name
from ecgtwin.store.manifest import committed_shards, read_manifests
from tests.generation.cohorts import copied, make_exact, problems_of, repaired, verified
from tests.generation.corpora import objects_under

PART = "index/rows-{:05d}.parquet"


@pytest.fixture(scope="module")
def spec(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> CohortSpec:
    return make_exact(inputs, tmp_path_factory.mktemp("merged") / "cohort")


@pytest.fixture
def url(spec: CohortSpec, tmp_path: Path) -> str:
    return copied(spec.output.url, tmp_path / "cohort")


def columns_of(url: str) -> dict[str, list[object]]:
    manifests = list(read_manifests(url, committed_shards(url)))
    return {
        name: [value for one in manifests for value in one.columns[name]] for name in COHORT_COLUMNS
    }


def test_every_row_stands_once_in_tables_of_whole_shards(url: str) -> None:
    summary = merge_cohort(url, rows_per_part=20)
    assert (summary.num_parts, summary.num_rows, summary.is_new) == (3, 48, True)
    tables = [pq.read_table(Path(url, PART.format(number))) for number in range(3)]
    assert [table.num_rows for table in tables] == [20, 20, 8]
    wanted = columns_of(url)
    for name in COHORT_COLUMNS:
        assert [one for table in tables for one in table.column(name).to_pylist()] == wanted[name]
    shards = [one for table in tables for one in table.column("shard").to_pylist()]
    assert shards == [row // 4 for row in range(48)]
    assert verified(url, complete=True).problems == ()


def test_rows_are_found_by_the_statistics_of_their_group(url: str) -> None:
    merge_cohort(url)
    group = pq.ParquetFile(Path(url, PART.format(0))).metadata.row_group(0)
    found = {group.column(place).path_in_schema: group.column(place).statistics for place in (0, 1)}
    assert (found["shard"].min, found["shard"].max) == (0, 11)
    assert (found["row"].min, found["row"].max) == (0, 47)


def test_large_cohorts_have_row_groups_of_whole_shards(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecgtwin.store.cohort_index._ROWS_PER_GROUP", 6)
    merge_cohort(url)
    file = pq.ParquetFile(Path(url, PART.format(0))).metadata
    assert [file.row_group(number).num_rows for number in range(file.num_row_groups)] == [8] * 6


def test_counts_are_those_of_the_rows(url: str) -> None:
    merge_cohort(url)
    index = json.loads(Path(url, "index/index.json").read_text())
    rows = columns_of(url)
    assert index["rows"] == 48
    assert index["accepted"] == sum(rows["accepted"])
    assert index["attempts"] == sum(rows["attempt"]) + 48
    assert index["gate_failures"] == dict(
        Counter(one for failures in rows["gate_failures"] for one in failures)
    )
    for name, counts in index["statements"].items():
        mine = [name in statements for statements in rows["statements"]]
        assert counts["rows"] == sum(mine)
        assert counts["accepted"] == sum(np.logical_and(mine, rows["accepted"]))
    assert sum(one["rows"] for one in index["splits"].values()) == 48
    pairs = zip(
        rows["measured_heart_rate_bpm"], rows["heart_rate_bpm"], rows["accepted"], strict=True
    )
    errors = [found - asked for found, asked, kept in pairs if kept and found and asked]
    assert index["rate_error_bpm"]["of_accepted"] == len(errors)
    if errors:
        assert index["rate_error_bpm"]["p50"] == pytest.approx(np.median(errors), abs=2e-3)


def test_cells_say_what_was_planned_accepted_and_drawn(url: str) -> None:
    merge_cohort(url)
    cells = pq.read_table(Path(url, "index/cells.parquet")).to_pylist()
    rows = columns_of(url)
    keys = list(zip(rows["patient_index"], rows["condition_index"], strict=True))
    assert [(one["patient_index"], one["condition_index"]) for one in cells] == sorted(set(keys))
    for one in cells:
        mine = [
            place
            for place, key in enumerate(keys)
            if key == (one["patient_index"], one["condition_index"])
        ]
        assert one["planned"] == len(mine) == 4
        assert one["accepted"] == sum(rows["accepted"][place] for place in mine)
        assert one["attempts"] == sum(rows["attempt"][place] + 1 for place in mine)


def test_again_gives_the_same_bytes_and_changes_nothing(url: str, tmp_path: Path) -> None:
    other = copied(url, tmp_path / "other")
    merge_cohort(url)
    before = objects_under(url)
    again = merge_cohort(url)
    assert not again.is_new
    assert objects_under(url) == before
    merge_cohort(other)
    assert objects_under(other) == before


def test_a_merge_that_was_cut_off_is_finished(url: str) -> None:
    merge_cohort(url, rows_per_part=20)
    before = objects_under(url)
    for name in ("index/index.json", "index/cells.parquet", PART.format(1)):
        Path(url, name).unlink()
    assert problems_of(verified(url)) == [("index", None, "index/index.json")]
    assert merge_cohort(url, rows_per_part=20).is_new
    assert objects_under(url) == before


def test_missing_shards_are_refused_and_counted(url: str) -> None:
    for index in (2, 7):
        Path(url, manifest_name(index)).unlink()
    Path(url, manifest_name(12)).write_bytes(b"of no shard")
    with pytest.raises(StoreError, match="2 of 12 shards are not committed"):
        merge_cohort(url)
    assert not Path(url, "index").exists()


def test_rows_that_are_not_the_plans_are_refused(url: str) -> None:
    Path(url, manifest_name(2)).write_bytes(Path(url, manifest_name(3)).read_bytes())
    with pytest.raises(DamageError, match="shard-000000002"):
        merge_cohort(url)
    assert not Path(url, "index/index.json").exists()


def test_a_damaged_index_is_found_and_merged_again(url: str) -> None:
    merge_cohort(url)
    before = objects_under(url)
    for name in (PART.format(0), "index/cells.parquet", "index/index.json"):
        Path(url, name).write_bytes(before[name][:-9])
        assert problems_of(verified(url)) == [("index", None, name)]
        assert repaired(url).mended == [name]
        assert objects_under(url) == before


def test_a_lost_description_of_the_index_is_found_and_mended(url: str) -> None:
    merge_cohort(url)
    before = objects_under(url)
    Path(url, "index/index.json").unlink()
    assert problems_of(verified(url)) == [("index", None, "index/index.json")]
    assert repaired(url).mended == ["index/index.json"]
    assert objects_under(url) == before


@pytest.mark.parametrize("change", [{"accepted": 1}, {"rows": 49}, {"objects": []}])
def test_an_index_that_says_other_things_is_damaged_and_loses_no_table(
    url: str, change: dict[str, object]
) -> None:
    merge_cohort(url)
    before = objects_under(url)
    name = Path(url, "index/index.json")
    name.write_text(json.dumps(json.loads(name.read_text()) | change))
    assert problems_of(verified(url)) == [("index", None, "index/index.json")]
    with pytest.raises(CommitConflictError, match="`ecgtwin cohort repair` merges again"):
        merge_cohort(url)
    assert repaired(url, remove_strays=True).mended == ["index/index.json"]
    assert objects_under(url) == before


@pytest.mark.parametrize("text", ["5", "[]", "null", "{}", "{"])
def test_what_is_no_index_is_damaged(url: str, text: str) -> None:
    merge_cohort(url)
    before = objects_under(url)
    Path(url, "index/index.json").write_text(text)
    assert problems_of(verified(url)) == [("index", None, "index/index.json")]
    repaired(url)
    assert objects_under(url) == before


def test_a_file_of_somebody_else_is_no_index(url: str) -> None:
    Path(url, "index").mkdir()
    Path(url, "index/notes.txt").write_text("mine")
    assert problems_of(verified(url)) == [("stray", None, "index/notes.txt")]
    assert repaired(url).mended == []


def test_an_index_that_names_other_objects_is_damaged(url: str) -> None:
    merge_cohort(url)
    name = Path(url, "index/index.json")
    whole = name.read_text()
    content = json.loads(whole.replace("index/cells.parquet", "../cells.parquet"))
    name.write_bytes(
        encode_index({key: one for key, one in content.items() if key != "content_blake2b"})
    )
    (problem,) = verified(url).problems
    assert (problem.kind, "../cells.parquet" in problem.text) == ("index", True)
    repaired(url)
    assert name.read_text() == whole


def test_a_table_that_the_index_does_not_name_belongs_to_nothing(url: str) -> None:
    merge_cohort(url)
    Path(url, PART.format(1)).write_bytes(Path(url, PART.format(0)).read_bytes())
    assert problems_of(verified(url)) == [("stray", None, PART.format(1))]
    assert len(repaired(url).left) == 1
    repaired(url, remove_strays=True)
    assert verified(url, complete=True).problems == ()


def test_by_command(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cohort", "merge", url]) == 0
    assert "index.json written: 48 ECGs" in capsys.readouterr().out
    assert main(["cohort", "merge", url]) == 0
    assert "index.json already there" in capsys.readouterr().out
