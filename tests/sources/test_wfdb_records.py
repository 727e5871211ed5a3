"""WFDB in, millivolts in standard order out; every fault is one line that names the record."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecgtwin.errors import RecordError
from ecgtwin.signals.leads import LEADS, limb_residual_mv
from ecgtwin.sources.wfdb_records import content_digest, read_comments, read_wfdb, write_wfdb
from tests.sources.records import edit_header, simulated_record, with_empty_lead


@pytest.fixture(scope="module")
def record():
    return simulated_record()


def read(path: Path):
    return read_wfdb(path, record_id=path.name, patient_id="someone")


def test_reading_returns_what_was_written(record, tmp_path: Path) -> None:
    found = read(write_wfdb(record, tmp_path))
    assert found.samples_mv.shape == (12, 5000)
    assert found.samples_mv.dtype == np.float32
    assert found.sampling_rate_hz == 500
    assert (found.record_id, found.patient_id) == ("rec0", "someone")
    np.testing.assert_allclose(found.samples_mv, record.samples_mv, atol=0.00051)


def test_leads_are_ordered_by_name_not_by_place(record, tmp_path: Path) -> None:
    path = write_wfdb(record, tmp_path)
    lines = (tmp_path / "rec0.hea").read_text().splitlines()
    names = ["lead v6", "AVF", "iii", "V1", "aVL", "II", "V3", "AVR", "v2", "V5", "I", "V4"]
    lines[1:13] = [
        f"{line.rsplit(' ', 1)[0]} {name}" for line, name in zip(lines[1:13], names, strict=True)
    ]
    (tmp_path / "rec0.hea").write_text("\n".join(lines) + "\n")

    found = read(path).samples_mv

    assert found[LEADS.index("aVF")] == pytest.approx(record.samples_mv[1], abs=0.00051)
    assert found[LEADS.index("I")] == pytest.approx(record.samples_mv[10], abs=0.00051)


@pytest.mark.parametrize(("unit", "mv_per_unit"), [("uV", 1e-3), ("V", 1e3), ("mv", 1.0)])
def test_voltages_are_converted_to_mv(
    record, tmp_path: Path, unit: str, mv_per_unit: float
) -> None:
    path = write_wfdb(record, tmp_path)
    edit_header(tmp_path / "rec0.hea", "/mV", f"/{unit}")
    np.testing.assert_allclose(
        read(path).samples_mv, record.samples_mv * mv_per_unit, atol=0.00051 * mv_per_unit
    )


def test_missing_samples_inside_a_lead_stay_nan(record, tmp_path: Path) -> None:
    samples_mv = record.samples_mv.copy()
    samples_mv[3, 100:110] = np.nan
    found = read(write_wfdb(replace(record, samples_mv=samples_mv), tmp_path)).samples_mv
    assert np.isnan(found).sum() == 10
    assert np.isnan(found[3, 100:110]).all()


def test_comments_are_read_whatever_their_case(record, tmp_path: Path) -> None:
    path = write_wfdb(record, tmp_path, comments=["Age: 61", "SEX: Female", "no colon"])
    assert read_comments(path, record_id="rec0") == {"age": "61", "sex": "Female"}


def test_values_that_do_not_fit_are_refused(record, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"rec0: 40\.0 mV"):
        write_wfdb(replace(record, samples_mv=np.full((12, 100), 40, np.float32)), tmp_path)


def header_fault(old: str, new: str):
    return lambda folder: edit_header(folder / "rec0.hea", old, new)


FAULTS = {
    "the header is missing": lambda folder: (folder / "rec0.hea").unlink(),
    "the header is not WFDB": lambda folder: (folder / "rec0.hea").write_text("no header\n"),
    "the header is not WFDB (rec0.hea, IndexError": lambda folder: (folder / "rec0.hea").write_text(
        ""
    ),
    "the header is not WFDB (rec0.hea, HeaderSyntaxError": header_fault("rec0 12", "rec0.dat 12"),
    "the signal file is missing (rec0.dat": lambda folder: (folder / "rec0.dat").unlink(),
    "the signal file does not fit the header": lambda folder: (folder / "rec0.dat").write_bytes(
        (folder / "rec0.dat").read_bytes()[:50_001]
    ),
    "found rec0.dat of 0 bytes": lambda folder: (folder / "rec0.dat").write_bytes(b""),
    "promises 9000 samples a lead": header_fault("500 5000", "500 9000"),
    "KeyError: '17'": header_fault(".dat 16", ".dat 17"),
    "the sampling rate is 0": header_fault("12 500", "12 0"),
    "leads are in mmHg; allowed: nV, uV, mV, V": header_fault("/mV", "/mmHg"),
    "the header is not ASCII": header_fault("/mV", "/\u00b5V"),  # wfdb alone reads volts here
    "leads V6 are missing": header_fault(" V6", " V7"),
}


@pytest.mark.parametrize("wanted", FAULTS)
def test_a_fault_is_one_line_that_names_the_record(record, tmp_path: Path, wanted: str) -> None:
    path = write_wfdb(record, tmp_path)
    FAULTS[wanted](tmp_path)
    with pytest.raises(RecordError) as caught:
        read(path)
    message = str(caught.value)
    assert wanted in message
    assert message.startswith("record rec0: ")
    assert "\n" not in message


def test_two_leads_are_refused_by_name(record, tmp_path: Path) -> None:
    path = write_wfdb(record, tmp_path)
    lines = (tmp_path / "rec0.hea").read_text().replace("rec0 12", "rec0 2").splitlines()
    (tmp_path / "rec0.hea").write_text("\n".join(lines[:3]) + "\n")
    with pytest.raises(RecordError, match=r"leads III, .* are missing \(found I, II\)"):
        read(path)


def test_a_lead_of_nan_is_refused(record, tmp_path: Path) -> None:
    path = write_wfdb(with_empty_lead(record, 7), tmp_path)
    with pytest.raises(RecordError, match=r"all NaN.* in lead V2"):
        read(path)


def test_the_digest_sees_headers_and_sizes(record, tmp_path: Path) -> None:
    path = write_wfdb(record, tmp_path)
    seen = {content_digest([path])}
    (tmp_path / "rec0.dat").write_bytes((tmp_path / "rec0.dat").read_bytes()[:-2])
    seen.add(content_digest([path]))
    edit_header(tmp_path / "rec0.hea", "/mV", "/uV")
    seen.add(content_digest([path]))
    (tmp_path / "rec0.hea").unlink()
    seen.add(content_digest([path]))
    assert len(seen) == 4


def test_matlab_records_of_the_challenges_are_read(real_data: Path) -> None:
    found = read(real_data / "challenge2020" / "ptbxl_hr" / "HR00001")
    same = read(real_data / "ptbxl" / "records500" / "00000" / "00001_hr")
    np.testing.assert_allclose(found.samples_mv, same.samples_mv, atol=1e-6)
    assert limb_residual_mv(same.samples_mv) < 0.01


def test_twelve_of_fifteen_leads_are_taken(real_data: Path) -> None:
    found = read(real_data / "ptb_diagnostic" / "s0010_re")
    same = read(real_data / "ptb_diagnostic" / "S0001")
    assert found.sampling_rate_hz == 1000
    np.testing.assert_allclose(found.samples_mv, same.samples_mv, atol=0.001)
