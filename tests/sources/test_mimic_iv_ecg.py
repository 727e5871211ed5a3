"""MIMIC-IV-ECG: what its tables say is what the rows say, and what they do not say is unknown."""

import gzip
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgtwin.errors import SourceError
from ecgtwin.signals.leads import LEADS
from ecgtwin.sources.archives.mimic_iv_ecg import MimicIvEcgSource
from ecgtwin.sources.source import Reject, SourceRow, plan_columns
from ecgtwin.sources.statements import read_machine
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.objects import replace_object
from tests.sources.mimic_tables import LEADS as MIMIC_LEADS
from tests.sources.mimic_tables import SUBJECT, study_path, write_archive, write_recording

OTHER = 10001217


def opened(folder, **given):
    return MimicIvEcgSource.open(str(folder), settings=IngestSpec(**given))


def plan_of(folder, *, rows_per_block=256, **given):
    """Return all columns of the plan."""
    blocks = list(opened(folder, **given).plan(rows_per_block))
    return {name: [value for block in blocks for value in block[name]] for name in blocks[0]}


def steps(rng, num_samples=5000):
    """Return (12, time), every lead another, near the baseline."""
    return rng.integers(-300, 300, (12, num_samples)).astype(np.int16)


def test_the_published_first_rows(real_data, tmp_path):
    source = real_data / "mimic_iv_ecg_format"
    for name in ("record_list.csv", "machine_measurements.csv"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    plan = plan_of(tmp_path)
    lines = ["Sinus rhythm", "Possible right atrial abnormality", "Borderline ECG"]
    reading = read_machine(lines)
    assert plan["record_id"] == ["40689238"]
    assert plan["patient_id"] == ["10000032"]
    assert plan["file"] == ["files/p1000/p10000032/s40689238/40689238"]
    assert plan["heart_rate_bpm"] == pytest.approx([60_000 / 659])
    assert plan["statements"] == [tuple(found.code for found in reading.statements)]
    assert plan["certainties"] == [tuple(found.certainty for found in reading.statements)]
    assert plan["unmapped"] == [reading.unmapped]
    assert (plan["age_years"], plan["sex"]) == ([None], ["unknown"])
    assert (plan["flags"], plan["reason_kind"]) == ([()], [None])


def test_the_layout_of_the_demo(real_data, tmp_path):
    """Its paths lack the folder of ten thousand; it has no measurements; dates are out of order."""
    table = (real_data / "mimic_iv_ecg_format" / "demo_record_list_first_rows.csv").read_bytes()
    (tmp_path / "record_list.csv").write_bytes(table)
    plan = plan_of(tmp_path)
    assert len(plan["file"]) == 7
    assert plan["file"][0] == "files/p10000032/s107143276/107143276"
    assert plan["patient_id"][:5] == ["10000032"] * 3 + ["10001217"] * 2
    assert plan["visit"] == [0, 2, 1, 0, 1, 0, 0]
    assert plan["days_since_first"][1] == pytest.approx(14 + 23 * 60 / 86400 + 12 / 86400)
    assert plan["heart_rate_bpm"] == [None] * 7
    assert plan["flags"] == [()] * 7
    assert plan["reason_kind"] == [None] * 7


@pytest.mark.parametrize(
    ("rr_ms", "bpm"),
    [
        ("300", 200.0), ("299", None), ("1500", 40.0), ("1501", None), ("800", 75.0),
        ("29999", None), ("0", None), ("65535", None), ("-800", None), ("", None),
        ("fast", None), ("nan", None), ("inf", None), ("800.0", 75.0),
    ],
)  # fmt: skip
def test_an_rr_interval_that_can_be_one_is_the_rate(tmp_path, rr_ms, bpm):
    write_archive(tmp_path, [{}, {}], [{"rr_interval": rr_ms}, {"rr_interval": 600}])
    assert plan_of(tmp_path)["heart_rate_bpm"] == [bpm, 100.0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.integers(-70_000, 70_000), st.floats()), min_size=1, max_size=20))
def test_no_rate_comes_from_a_sentinel(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("rr")
    write_archive(folder, [{}] * len(values), [{"rr_interval": value} for value in values])
    for value, rate in zip(values, plan_of(folder)["heart_rate_bpm"], strict=True):
        is_rr = not math.isnan(value) and 300 <= value <= 1500
        assert rate == (pytest.approx(60_000 / value) if is_rr else None)


def test_blank_reports_stand_between_filled_ones(tmp_path):
    lines = {"report_0": "Sinus rhythm", "report_3": "Abnormal ECG", "report_17": "Zzyzx 12"}
    write_archive(tmp_path, [{}, {}, {}], [lines, {"report_0": " "}, lines])
    plan = plan_of(tmp_path)
    said = read_machine(["Sinus rhythm", "Abnormal ECG", "Zzyzx 12"])
    assert plan["statements"][0] == tuple(found.code for found in said.statements)
    assert plan["unmapped"][0] == said.unmapped
    assert "Zzyzx 12" in plan["unmapped"][0]
    assert (plan["statements"][1], plan["unmapped"][1]) == ((), ())
    assert plan["statements"][2] == plan["statements"][0]


def test_measurements_are_joined_on_subject_and_study(tmp_path):
    measured = [
        {"study_id": 40_000_002, "rr_interval": 600},
        {"study_id": 40_000_001, "subject_id": OTHER, "rr_interval": 500},  # of somebody else
        {"study_id": 40_000_000, "rr_interval": 1000},
        {"study_id": 40_000_000, "rr_interval": 400},  # the first line counts
        {"study_id": 49_999_999},  # not in the record list
    ]
    write_archive(tmp_path, [{}, {}, {}], measured)
    plan = plan_of(tmp_path)
    assert plan["heart_rate_bpm"] == [60.0, None, 100.0]
    assert plan["flags"] == [(), ("measurements_missing",), ()]
    assert plan["statements"][1] == plan["unmapped"][1] == ()
    assert plan["reason_kind"] == [None] * 3


def test_visits_are_counted_by_date_and_rejects_are_none(tmp_path):
    studies = [
        {"ecg_time": "2180-08-06 09:07:36"},
        {"ecg_time": "2180-07-23 08:44:24"},
        {"ecg_time": "soon"},
        {"ecg_time": "2100-01-01 00:00:00", "path": "../40000003"},
        {"ecg_time": "2180-07-23 20:44:24"},
        {
            "ecg_time": "2099-01-01 00:00:00",
            "subject_id": OTHER,
            "path": study_path(OTHER, 40_000_005),
        },
    ]
    plan = plan_of(write_archive(tmp_path, studies))
    assert plan["visit"] == [2, 0, 3, 0, 1, 0]
    assert plan["days_since_first"][1] == 0
    assert plan["days_since_first"][4] == pytest.approx(0.5)
    assert plan["days_since_first"][2] is plan["days_since_first"][3] is None
    assert plan["flags"][2] == ("date_unreadable:soon",)
    assert plan["reason_kind"] == [None, None, None, "row_malformed", None, None]


@pytest.mark.parametrize(
    ("line", "column", "value"),
    [
        ({"subject_id": "1000003x"}, "subject_id", "1000003x"),
        ({"subject_id": ""}, "subject_id", ""),
        ({"subject_id": "-10000032"}, "subject_id", "-10000032"),
        ({"subject_id": "100000320"}, "subject_id", "100000320"),
        ({"study_id": "s1"}, "study_id", "s1"),
        ({"path": ""}, "path", ""),
        ({"path": "/etc/passwd"}, "path", "/etc/passwd"),
        ({"path": "files/../../x"}, "path", "files/../../x"),
        ({"path": "s3://bucket/x"}, "path", "s3://bucket/x"),
        ({"subject_id": OTHER}, "path", study_path(SUBJECT, 40_000_000)),
        ({"study_id": 7}, "path", study_path(SUBJECT, 40_000_000)),
    ],
)
def test_a_line_that_makes_no_sense_is_a_reject_with_its_value(tmp_path, line, column, value):
    source = opened(write_archive(tmp_path, [line, {}]))
    (plan,) = source.plan(256)
    assert plan["reason_kind"] == ["row_malformed", None]
    assert plan["reason_value"] == [value, None]
    assert f"record_list.csv: {column} " in plan["reason"][0]
    bad, _ = source.read(0, 2)
    assert isinstance(bad, Reject)
    assert bad.kind == "row_malformed"


def test_a_study_listed_twice_is_kept_once(tmp_path):
    same = {"study_id": 40_000_000, "path": study_path(SUBJECT, 40_000_000)}
    plan = plan_of(write_archive(tmp_path, [{}, {}, same]))
    assert plan["reason_kind"] == [None, None, "duplicate_record"]
    assert plan["reason_value"][2] == "40000000"
    assert plan["visit"] == [0, 1, 0]


def test_lines_that_cannot_be_cut_come_last_and_are_counted(tmp_path):
    write_archive(tmp_path, [{}, {}, {}])
    table = tmp_path / "record_list.csv"
    lines = table.read_text().splitlines()
    lines[2:2] = ["10000032,1", '10000032,"2,3,4,5']
    table.write_text("\n".join(lines) + "\n")
    for rows_per_block in (1, 2, 4, 256):
        plan = plan_of(tmp_path, rows_per_block=rows_per_block)
        assert len(plan["file"]) == len(opened(tmp_path)) == 5
        assert plan["reason_kind"] == [None] * 3 + ["row_malformed"] * 2
        assert plan["record_id"][3:] == ["record_list.csv:3", "record_list.csv:4"]
        assert plan["reason_value"][3:] == lines[2:4]


PATIENT = {"subject_id": SUBJECT, "gender": "F", "anchor_age": 52, "anchor_year": 2180}


@pytest.mark.parametrize(
    ("patient", "age", "flags"),
    [
        ({}, 52, ()),
        ({"anchor_year": 2178}, 54, ()),
        ({"anchor_year": 2190}, 42, ()),
        ({"anchor_age": 88, "anchor_year": 2179}, 89, ()),
        ({"anchor_age": 88, "anchor_year": 2178}, 90, ()),
        ({"anchor_age": 91}, 90, ()),
        ({"anchor_age": 91, "anchor_year": 2185}, None, ("age_censored",)),
        ({"anchor_age": 2, "anchor_year": 2187}, None, ("age_out_of_range:-5",)),
        ({"anchor_age": 52, "anchor_year": 2000}, None, ("age_out_of_range:232",)),
        ({"anchor_age": ""}, None, ()),
        ({"anchor_year": "soon"}, None, ()),
    ],
)
def test_age_is_that_at_the_recording(tmp_path, patient, age, flags):
    plan = plan_of(write_archive(tmp_path, [{}], patients=[PATIENT | patient]))
    assert (plan["age_years"], plan["flags"]) == ([age], [flags])


def test_sex_and_age_are_unknown_where_the_patient_is(tmp_path):
    subjects = [SUBJECT, OTHER, 10000001, 10000002]
    studies = [
        {"subject_id": subject, "path": study_path(subject, 40_000_000 + number)}
        for number, subject in enumerate(subjects)
    ]
    patients = [
        PATIENT | {"subject_id": OTHER, "gender": "M"},
        PATIENT,
        PATIENT | {"subject_id": 10000001, "gender": "other"},
    ]
    plan = plan_of(write_archive(tmp_path, studies, patients=patients))
    assert plan["sex"] == ["female", "male", "unknown", "unknown"]
    assert plan["age_years"] == [52, 52, 52, None]
    assert plan["flags"] == [(), (), ("sex_unreadable:other",), ("patient_missing",)]


def test_tables_may_be_gzipped_and_patients_lie_in_hosp(tmp_path):
    write_archive(tmp_path / "plain", [{}, {}], patients=[PATIENT])
    packed = tmp_path / "packed"
    (packed / "hosp").mkdir(parents=True)
    for path in (tmp_path / "plain").iterdir():
        folder = packed / "hosp" if path.name == "patients.csv" else packed
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert plan_of(packed) == plan_of(tmp_path / "plain")
    assert plan_of(packed)["age_years"] == [52, 52]


@pytest.mark.parametrize("table", ["record_list.csv", "machine_measurements.csv", "patients.csv"])
def test_a_table_without_its_columns_is_refused(tmp_path, table):
    write_archive(tmp_path, [{}], patients=[PATIENT])
    (tmp_path / table).write_text("subject_id,other\n1,2\n")
    with pytest.raises(SourceError, match=rf"{table} has no column \w+.* \(found subject_id, ot"):
        opened(tmp_path)


def test_what_is_no_archive_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"holds no record_list\.csv"):
        opened(tmp_path)
    write_archive(tmp_path, [])
    with pytest.raises(SourceError, match="has no records"):
        opened(tmp_path)


def test_text_with_nul_and_foreign_bytes_is_kept_marked(tmp_path):
    write_archive(tmp_path, [{}, {}], [{"report_1": "Zz NN"}, {"rr_interval": 600}])
    table = tmp_path / "machine_measurements.csv"
    table.write_bytes(table.read_bytes().replace(b"NN", b"\0\xff"))
    plan = plan_of(tmp_path)
    assert "Zz \ufffd\ufffd" in plan["unmapped"][0]
    assert plan["heart_rate_bpm"] == [75, 100]


def test_leads_are_found_by_name(tmp_path, rng):
    """aVF stands before aVL in the files; the samples are 200 steps a millivolt."""
    source = opened(write_archive(tmp_path, [{}]))
    samples = steps(rng)
    write_recording(tmp_path, study_path(SUBJECT, 40_000_000), samples, SUBJECT)
    reader = pickle.loads(pickle.dumps(source.reader()))
    assert len(pickle.dumps(reader)) < 10_000
    (row,) = source.read(0, 1)
    assert isinstance(row, SourceRow)
    assert row.record.sampling_rate_hz == 500
    assert (row.record.record_id, row.record.patient_id) == ("40000000", "10000032")
    for lead, name in enumerate(LEADS):
        expected = samples[MIMIC_LEADS.index(name)] / 200
        np.testing.assert_allclose(row.record.samples_mv[lead], expected, atol=1e-6)
    assert LEADS[4:6] == ("aVL", "aVF")
    assert MIMIC_LEADS[4:6] == ("aVF", "aVL")


def test_a_recording_of_another_subject_is_refused(tmp_path, rng):
    write_archive(tmp_path, [{}, {}])
    for study, subject in ((40_000_000, OTHER), (40_000_001, SUBJECT)):
        write_recording(tmp_path, study_path(SUBJECT, study), steps(rng), subject)
    bad, good = opened(tmp_path).read(0, 2)
    assert isinstance(bad, Reject)
    assert (bad.kind, bad.value) == ("patient_mismatch", str(OTHER))
    assert isinstance(good, SourceRow)


def test_a_recording_that_is_not_there_is_a_reject(tmp_path):
    (row,) = opened(write_archive(tmp_path, [{}])).read(0, 1)
    assert isinstance(row, Reject)
    assert row.kind == "header_missing"


def test_short_windows_give_more_rows_of_what_can_be_read(tmp_path, rng):
    short = {"num_samples": 500, "sampling_rate_hz": 125.0}
    write_archive(tmp_path, [{}, {"path": ""}, {}])
    samples = steps(rng)
    write_recording(tmp_path, study_path(SUBJECT, 40_000_000), samples, SUBJECT)
    plan = plan_of(tmp_path, **short)
    assert plan["record_id"] == ["40000000"] * 2 + ["40000001"] + ["40000002"] * 2
    assert plan["window"] == [0, 1, 0, 0, 1]
    assert plan["window_start_s"] == [0, 4, 0, 0, 4]
    second = opened(tmp_path, **short).read(1, 2)[0]
    np.testing.assert_allclose(second.record.samples_mv[0], samples[0, 2000:4000] / 200, atol=1e-6)
    assert len(plan_of(tmp_path, **short, windows="first")["file"]) == 3
    assert len(plan_of(tmp_path, **short, max_windows=1)["file"]) == 3
    assert plan_of(tmp_path, **short, limit=2)["window"] == [0, 1, 0]


def test_the_limit_takes_the_first_and_changes_nothing_of_them(tmp_path):
    write_archive(tmp_path, [{"ecg_time": f"2180-07-0{9 - n} 00:00:00"} for n in range(5)])
    whole, part = plan_of(tmp_path), plan_of(tmp_path, limit=3)
    assert part == {name: values[:3] for name, values in whole.items()}
    assert len(opened(tmp_path, limit=3)) == 3


def test_the_same_tables_give_the_same_plan_however_it_is_cut(tmp_path):
    for folder in ("here", "there"):
        write_archive(tmp_path / folder, [{}] * 7, patients=[PATIENT])
    assert plan_of(tmp_path / "here", rows_per_block=3) == plan_of(tmp_path / "there")
    here, there = (opened(tmp_path / folder).describe() for folder in ("here", "there"))
    assert here == there
    assert str(tmp_path) not in str(here)
    assert set(plan_of(tmp_path / "here")) == set(
        plan_columns(record_id=[], file=[], patient_id=[])
    )


@pytest.mark.s3
def test_tables_and_recordings_may_lie_in_an_object_store(tmp_path, s3_url, rng):
    write_archive(tmp_path, [{}, {}], patients=[PATIENT])
    write_recording(tmp_path, study_path(SUBJECT, 40_000_000), steps(rng), SUBJECT)
    url = f"{s3_url}/mimic"
    for path in tmp_path.rglob("*"):
        if path.is_file():
            replace_object(f"{url}/{path.relative_to(tmp_path).as_posix()}", path.read_bytes())
    assert plan_of(url) == plan_of(tmp_path)
    here, there = opened(tmp_path).read(0, 2), opened(url).read(0, 2)
    np.testing.assert_array_equal(here[0].record.samples_mv, there[0].record.samples_mv)
    assert there[1].kind == here[1].kind == "header_missing"
