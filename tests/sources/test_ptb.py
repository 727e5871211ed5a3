"""PTB: patients by folder or table, visits by date, twelve of fifteen leads, windows."""

from pathlib import Path

import pytest

from ecgtwin.sources.archives.ptb import PtbSource
from ecgtwin.sources.source import Reject, SourceRow
from ecgtwin.sources.wfdb_records import write_wfdb
from ecgtwin.spec.ingest import IngestSpec
from tests.sources.records import outcome, planned, simulated_record


def opened(folder: Path, **settings) -> PtbSource:
    return PtbSource.open(str(folder), settings=IngestSpec(**settings))


def write_visit(folder: Path, name: str, date: str, *more: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = write_wfdb(
        simulated_record(), folder, comments=["age: 81", "sex: female", f"ECG date: {date}", *more]
    )
    for suffix in (".hea", ".dat"):
        path.with_suffix(suffix).rename(folder / f"{name}{suffix}")
    header = folder / f"{name}.hea"
    header.write_text(header.read_text().replace("rec0", name))


def test_every_record_is_read_in_windows(real_data: Path) -> None:
    """S0001 and s0010_re have 38.4 s, the four others 115.2 s."""
    assert outcome(opened(real_data / "ptb_diagnostic")) == (50, 44, {}, {})


def test_a_header_says_age_sex_date_and_diagnoses(real_data: Path) -> None:
    rows = opened(real_data / "ptb_diagnostic").read(47, 50)
    assert {row.record.record_id for row in rows} == {"s0010_re"}
    assert [row.window_start_s for row in rows] == [0, 10, 20]
    for row in rows:
        assert isinstance(row, SourceRow)
        assert row.record.sampling_rate_hz == 1000
        assert row.record.samples_mv.shape == (12, 10_000)
        assert (row.condition.age_years, row.condition.sex) == (81, "female")
        assert (row.visit, row.days_since_first, row.flags) == (0, 0, ())
        said = [statement.code for statement in row.condition.statements] + list(row.unmapped)
        assert any("infarction" in text for text in said)


def test_patients_are_folders_and_visits_go_by_date(tmp_path: Path) -> None:
    write_visit(tmp_path / "patient001", "s0010_re", "01/10/1990")
    write_visit(tmp_path / "patient001", "s0014lre", "28/09/1990")
    write_visit(tmp_path / "patient001", "s0016lre", "n/a")
    write_visit(tmp_path / "patient001", "s0017lre", "31/31/1990")
    write_visit(tmp_path / "patient002", "s0015lre", "1/1/1991")
    columns = planned(opened(tmp_path))
    assert columns["record_id"][0] == "patient001/s0010_re"
    assert columns["patient_id"] == [*["patient001"] * 4, "patient002"]
    assert columns["visit"] == [1, 0, 2, 3, 0]
    assert columns["days_since_first"] == [3, 0, None, None, 0]
    assert columns["flags"][2:4] == [[], ["date_unreadable:31/31/1990"]]


def test_a_flat_copy_takes_patients_from_a_table(tmp_path: Path) -> None:
    for name in ("s0010_re", "s0014lre", "s0015lre"):
        write_visit(tmp_path, name, "01/10/1990")
    alone = opened(tmp_path)
    assert planned(alone)["patient_id"] == ["s0010_re", "s0014lre", "s0015lre"]
    (tmp_path / "patients.csv").write_text("record_id,patient_id\ns0010_re,1\ns0014lre,1\ns9,2\n")
    told = opened(tmp_path)
    columns = planned(told)
    assert columns["patient_id"] == ["1", "1", "s0015lre", "2"]
    assert columns["visit"] == [0, 1, 0, 0]
    assert columns["reason_kind"] == [None, None, None, "header_missing"]
    assert columns["flags"] == [[], [], ["no_table_row"], []]
    assert told.describe() != alone.describe()


@pytest.mark.parametrize("text", ["n/a", "no", "unknown", ""])
def test_an_infarction_that_was_not_is_not_said(tmp_path: Path, text: str) -> None:
    lines = [f"Acute infarction (localization): {text}", f"Reason for admission: {text}"]
    write_visit(tmp_path, "s0010_re", "n/a", *lines)
    row = opened(tmp_path).read(0, 1)[0]
    assert (row.condition.statements, row.unmapped) == ((), ())


def test_a_bad_header_keeps_its_patient(tmp_path: Path) -> None:
    write_visit(tmp_path / "patient007", "s0010_re", "01/10/1990")
    (tmp_path / "patient007" / "s0011_re.hea").write_text("")
    reject = opened(tmp_path).read(1, 2)[0]
    assert isinstance(reject, Reject)
    assert (reject.patient_id, reject.kind) == ("patient007", "header_malformed")
