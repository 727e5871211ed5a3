"""A folder of WFDB records: any depth, comments, and tables that say more."""

from dataclasses import replace
from pathlib import Path

import pytest

from ecgtwin.errors import SourceError
from ecgtwin.sources.archives.wfdb_tree import WfdbTreeSource
from ecgtwin.sources.source import Reject, SourceRow
from ecgtwin.sources.statements import read_scp
from ecgtwin.sources.wfdb_records import write_wfdb
from ecgtwin.spec.condition import CardiacCondition, Statement
from ecgtwin.spec.ingest import ColumnsSpec, IngestSpec
from tests.sources.records import outcome, planned, simulated_record, write_tree

ALL = ColumnsSpec(
    record_id="file", patient_id="who", recorded_at="when", age_years="age", sex="sex",
    heart_rate_bpm="rate", statements="says", report="text", split="fold",
)  # fmt: skip
HEADING = "file,who,when,age,sex,rate,says,text,fold"


def opened(folder: Path, **settings) -> WfdbTreeSource:
    return WfdbTreeSource.open(str(folder), settings=IngestSpec(**settings))


def test_records_are_found_at_any_depth_in_order_of_their_path(tmp_path: Path) -> None:
    write_tree(tmp_path / "b", 2)
    write_tree(tmp_path / "a" / "deep", 1)
    source = opened(tmp_path)
    columns = planned(source)
    assert columns["record_id"] == ["a/deep/rec0", "b/rec0", "b/rec1"]
    assert columns["patient_id"] == columns["file"] == columns["record_id"]
    row = source.read(1, 2)[0]
    assert isinstance(row, SourceRow)
    assert row.condition == CardiacCondition(
        statements=(Statement(code="sinus rhythm"),), age_years=61, sex="female"
    )
    assert (row.official_split, row.days_since_first) == (None, None)


def test_patients_are_taken_from_a_table_beside_them(tmp_path: Path) -> None:
    write_tree(tmp_path, 3)
    before = opened(tmp_path).describe()
    (tmp_path / "patients.csv").write_text("record_id,patient_id\nrec0,anna\nrec2,anna\n")
    columns = planned(opened(tmp_path))
    assert columns["patient_id"] == ["anna", "rec1", "anna"]
    assert columns["visit"] == [0, 0, 1]
    assert columns["flags"] == [[], ["no_table_row"], []]
    assert opened(tmp_path).describe() != before


def test_every_column_of_a_table_is_used(tmp_path: Path) -> None:
    write_tree(tmp_path, 4)
    rows = [
        'rec0,anna,2021-05-03,33,M,71,"426783006;CRBBB| Sinus tachycardia",,train',
        "rec1,anna,2021-05-01T12:00:00,,,,,,validation",
        "rec2,anna,soon,300,x,7,,,holdout",
        "rec2,bert,2021-05-01,1,F,70,,,train",
        "ghost,carl,2021-05-01,1,F,70,,,train",
    ]
    (tmp_path / "records.csv").write_text("\n".join([HEADING, *rows, "cut,line"]) + "\n")
    source = opened(tmp_path, columns=ALL)
    columns = planned(source)
    assert columns["record_id"] == ["rec0", "rec1", "rec2", "rec3", "ghost", "records.csv:7"]
    assert columns["patient_id"][:5] == ["anna", "anna", "anna", "rec3", "carl"]
    assert columns["visit"] == [1, 0, 2, 0, 0, 0]
    assert columns["days_since_first"][:4] == [1.5, 0, None, None]
    assert columns["official_split"][:4] == ["validation"] * 3 + [None]
    assert columns["age_years"][:4] == [33, 61, None, 61]
    assert columns["sex"][:4] == ["male", "female", "unknown", "female"]
    assert columns["heart_rate_bpm"][:4] == [71, None, None, None]
    assert columns["flags"][:4] == [
        [],
        [],
        ["duplicate_table_row", "age_out_of_range:300", "sex_unreadable:x",
         "heart_rate_out_of_range:7", "split_unknown:holdout", "date_unreadable:soon"],
        ["no_table_row"],
    ]  # fmt: skip
    assert columns["reason_kind"] == [None, None, None, None, "header_missing", "row_malformed"]
    assert columns["statements"][0][:2] == [
        "sinus rhythm",
        read_scp({"CRBBB": 100.0}).statements[0].code,
    ]
    assert len(columns["statements"][0] + columns["unmapped"][0]) == 3
    assert columns["statements"][1] == ["sinus rhythm"]  # of the header
    assert len(opened(tmp_path, columns=ALL, limit=4)) == 4
    assert [type(row) for row in source.read(0, 9)] == [*[SourceRow] * 4, Reject, Reject]


def test_a_report_takes_the_place_of_the_headers_codes(tmp_path: Path) -> None:
    write_tree(tmp_path, 1)
    (tmp_path / "records.csv").write_text("record_id,text\nrec0,qqq zzz\n")
    row = opened(tmp_path, columns=ColumnsSpec(report="text")).read(0, 1)[0]
    assert (row.condition.statements, row.unmapped) == ((), ("qqq zzz",))


@pytest.mark.parametrize(
    ("heading", "message"),
    [
        ("file,when", r"has no column who, age.*\(found file, when\)"),
        (HEADING + ",who", "column who more than once"),
    ],
)
def test_a_table_without_the_mapped_columns_is_refused(
    tmp_path: Path, heading: str, message: str
) -> None:
    write_tree(tmp_path, 1)
    (tmp_path / "records.csv").write_text(heading + "\n")
    with pytest.raises(SourceError, match=message) as caught:
        planned(opened(tmp_path, columns=ALL))
    assert "\n" not in str(caught.value)


def test_mapped_columns_need_their_table(tmp_path: Path) -> None:
    write_tree(tmp_path, 1)
    with pytest.raises(SourceError, match=r"holds no records\.csv, whose columns"):
        planned(opened(tmp_path, columns=ALL))


def test_a_patient_that_is_no_text_is_a_reject(tmp_path: Path) -> None:
    write_tree(tmp_path, 1)
    (tmp_path / "patients.csv").write_bytes(b"record_id,patient_id\nrec0,a\0b\n")
    reject = opened(tmp_path).read(0, 1)[0]
    assert isinstance(reject, Reject)
    assert reject.kind == "row_malformed"


def test_recordings_of_other_rates_are_cut_at_samples(tmp_path: Path) -> None:
    long = replace(simulated_record(), sampling_rate_hz=240.7)
    write_wfdb(long, tmp_path)
    source = opened(tmp_path)
    starts = planned(source)["window_start_s"]
    assert starts == [0, 2407 / 240.7]
    first, second = source.read(0, 2)
    assert first.record.samples_mv.shape == second.record.samples_mv.shape == (12, 2407)
    assert first.record.samples_mv[1, -1] != second.record.samples_mv[1, 0]


def test_a_short_recording_is_still_a_row(tmp_path: Path) -> None:
    record = simulated_record()
    write_wfdb(replace(record, samples_mv=record.samples_mv[:, :900]), tmp_path)
    row = opened(tmp_path).read(0, 1)[0]
    assert row.record.samples_mv.shape == (12, 900)


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no WFDB record"):
        opened(tmp_path)


def test_ludb_is_read_with_its_wordings(real_data: Path) -> None:
    source = opened(real_data / "ludb")
    assert outcome(source) == (200, 0, {}, {})
    columns = planned(source)
    assert columns["record_id"][:3] == ["data/1", "data/10", "data/100"]
    assert (columns["age_years"][0], columns["sex"][0]) == (51, "female")
    assert sum(sex == "male" for sex in columns["sex"]) == 115
    said = [*columns["statements"][0], *columns["unmapped"][0]]
    assert len(said) >= 4
    assert "sinus bradycardia" in [text.lower() for text in said]
