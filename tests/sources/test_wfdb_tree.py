"""A folder of WFDB records: any depth, Challenge comments, patients when told."""

from pathlib import Path

import pytest

from ecgtwin.errors import SourceError
from ecgtwin.sources.source import Reject, SourceRow
from ecgtwin.sources.wfdb_tree import WfdbTreeSource, condition_of
from ecgtwin.spec.condition import CardiacCondition, Statement
from tests.sources.records import write_tree


def test_records_are_found_at_any_depth_in_order_of_their_path(tmp_path: Path) -> None:
    write_tree(tmp_path / "b", 2)
    write_tree(tmp_path / "a" / "deep", 1)
    source = WfdbTreeSource.open(tmp_path)
    assert source.record_ids == ("a/deep/rec0", "b/rec0", "b/rec1")
    assert source.patient_ids == source.record_ids
    row = source.read(1, 2)[0]
    assert isinstance(row, SourceRow)
    assert row.condition == CardiacCondition(
        statements=(Statement(code="sinus rhythm"),), age_years=61, sex="female"
    )
    assert row.official_split is None


def test_patients_are_taken_from_a_table_beside_them(tmp_path: Path) -> None:
    write_tree(tmp_path, 3)
    before = WfdbTreeSource.open(tmp_path).describe()
    (tmp_path / "patients.csv").write_text("record_id,patient_id\nrec0,anna\nrec2,anna\n")
    source = WfdbTreeSource.open(tmp_path)
    assert source.patient_ids == ("anna", "rec1", "anna")
    assert source.visits == (0, 0, 1)
    assert source.describe() != before


@pytest.mark.parametrize("age", ["NaN", "Unknown", "", "-1", "999"])
def test_what_is_no_age_is_unknown(age: str) -> None:
    assert condition_of({"age": age, "sex": "Unknown", "dx": "Unknown"}) == CardiacCondition()


def test_ages_over_89_are_one_class() -> None:
    assert condition_of({"age": "104"}).age_years == 90


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no WFDB record"):
        WfdbTreeSource.open(tmp_path)


def test_malformed_headers_of_georgia_are_rejects(real_data: Path) -> None:
    source = WfdbTreeSource.open(real_data / "challenge2020" / "georgia")
    rows = source.read(0, len(source))
    malformed = {
        path.stem
        for path in (real_data / "challenge2020" / "georgia").glob("*.hea")
        if path.read_text().split()[0].endswith(".mat")
    }
    rejects = [row for row in rows if isinstance(row, Reject)]
    assert {reject.record_id for reject in rejects} == malformed
    assert malformed
    for reject in rejects:
        assert reject.reason.startswith(f"record {reject.record_id}: the header is not WFDB")
    assert len(rows) - len(rejects) == 15
