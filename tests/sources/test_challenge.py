"""The PhysioNet Challenges: headers of every kind, windows, copies of PTB-XL, bare structs."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from ecgtwin.errors import SourceError
from ecgtwin.signals.leads import LEADS
from ecgtwin.sources.archives.challenge import ChallengeSource
from ecgtwin.sources.archives.ptbxl_persons import ptbxl_person
from ecgtwin.sources.source import Reject, SourceRow, planned_rows
from ecgtwin.sources.wfdb_records import write_wfdb
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.objects import replace_object
from tests.sources.records import (
    edit_header,
    outcome,
    planned,
    read_path,
    simulated_record,
    write_tree,
)

SETTINGS = IngestSpec()


def opened(folder: Path | str, **settings) -> ChallengeSource:
    return ChallengeSource.open(str(folder), settings=IngestSpec(**settings))


@pytest.fixture(scope="module")
def challenge(real_data: Path) -> Path:
    return real_data / "challenge2020"


# Folder -> rows, rows of later windows, rejects by kind, flagged rows.
COUNTS = {
    "chapman_ningbo": (43, 0, {}, {}),
    "cpsc2018": (8, 1, {}, {}),
    "cpsc2018_native_mat": (12, 7, {}, {}),
    "cpsc_extra": (28, 13, {}, {}),
    "georgia": (37, 0, {}, {"header_repaired": 22}),
    "ptbxl_hr": (20, 0, {}, {}),
    "": (148, 21, {}, {"header_repaired": 22}),
}


@pytest.mark.parametrize("folder", COUNTS)
def test_every_record_of_the_archives_is_read(challenge: Path, folder: str) -> None:
    assert outcome(opened(challenge / folder)) == COUNTS[folder]


def test_a_header_says_age_sex_and_codes(challenge: Path) -> None:
    row = opened(challenge / "chapman_ningbo").read(0, 1)[0]
    assert isinstance(row, SourceRow)
    assert row.record.record_id == row.record.patient_id == "JS00001"
    assert (row.condition.age_years, row.condition.sex) == (85, "male")
    said = [statement.code for statement in row.condition.statements]
    assert "atrial fibrillation" in said
    assert "right bundle branch block" in said


def test_malformed_headers_of_georgia_give_the_signal(challenge: Path) -> None:
    rows = opened(challenge / "georgia").read(0, 37)
    row = next(row for row in rows if row.record.record_id == "E07938")
    steps = np.frombuffer((challenge / "georgia" / "E07938.mat").read_bytes(), "<i2", offset=24)
    wanted = steps.reshape(-1, 12).T / np.float32(1000)
    np.testing.assert_array_equal(row.record.samples_mv, wanted)
    assert row.flags == ("header_repaired",)


def test_long_records_give_whole_windows(challenge: Path) -> None:
    """Q0005 has 23,853 samples: four windows of ten seconds, and 7.7 s that are no window."""
    source = opened(challenge / "cpsc_extra")
    columns = planned(source)
    places = [place for place, name in enumerate(columns["record_id"]) if name == "Q0005"]
    assert [columns["window"][place] for place in places] == [0, 1, 2, 3]
    assert [columns["window_start_s"][place] for place in places] == [0, 10, 20, 30]
    assert {columns["visit"][place] for place in places} == {0}
    whole = read_path(challenge / "cpsc_extra" / "Q0005")[0].samples_mv
    for row in source.read(places[0], places[-1] + 1):
        start = round(row.window_start_s * 500)
        np.testing.assert_array_equal(row.record.samples_mv, whole[:, start : start + 5000])


@pytest.mark.parametrize(
    ("settings", "count"),
    [({"windows": "first"}, 15), ({"max_windows": 2}, 20), ({"limit": 2}, 2), ({"limit": 3}, 6)],
)
def test_windows_and_records_can_be_limited(challenge: Path, settings: dict, count: int) -> None:
    source = opened(challenge / "cpsc_extra", **settings)
    assert len(source) == len(planned(source)["file"]) == count


def test_copies_of_ptbxl_keep_patient_and_fold(real_data: Path) -> None:
    """The number of a copy is the ecg_id: the samples are the same."""
    compared = 0
    for row in opened(real_data / "challenge2020" / "ptbxl_hr").read(0, 20):
        number = int(row.record.record_id[2:])
        patient_id, split = ptbxl_person(number)
        assert row.record.patient_id == f"ptbxl {patient_id}"
        assert row.official_split == split
        original = real_data / "ptbxl" / "records500" / "00000" / f"{number:05d}_hr"
        if original.with_suffix(".hea").is_file():
            same = read_path(original)[0].samples_mv
            np.testing.assert_allclose(row.record.samples_mv, same, atol=1e-6)
            compared += 1
    assert compared == 5


def test_only_copies_of_ptbxl_write_300_for_the_old(challenge: Path, tmp_path: Path) -> None:
    for name, folder in (("HR00001", "ptbxl_hr"), ("JS00001", "chapman_ningbo")):
        for suffix in (".hea", ".mat"):
            shutil.copyfile(challenge / folder / (name + suffix), tmp_path / (name + suffix))
    edit_header(tmp_path / "HR00001.hea", "#Age: 56", "#Age: 300")
    edit_header(tmp_path / "JS00001.hea", "#Age: 85", "#Age: 300")
    copy, other = opened(tmp_path).read(0, 2)
    assert (copy.condition.age_years, copy.flags) == (90, ())
    assert (other.condition.age_years, other.flags) == (None, ("age_out_of_range:300",))


@pytest.mark.parametrize(
    ("age", "years", "flags"),
    [
        ("NaN", None, ()),
        ("Unknown", None, ()),
        ("", None, ()),
        ("-1", None, ("age_out_of_range:-1",)),
        ("999", None, ("age_out_of_range:999",)),
        ("inf", None, ("age_out_of_range:inf",)),
        ("104", 90, ()),
        ("0", 0, ()),
    ],
)
def test_what_is_no_age_is_unknown(tmp_path: Path, age: str, years, flags) -> None:
    comments = [f"Age: {age}", "Sex: Unknown", "Dx: Unknown"]
    write_wfdb(simulated_record(), tmp_path, comments=comments)
    row = opened(tmp_path).read(0, 1)[0]
    assert isinstance(row, SourceRow)
    assert (row.condition.age_years, row.condition.sex, row.flags) == (years, "unknown", flags)
    assert (row.condition.statements, row.unmapped) == ((), ())


def test_words_among_the_codes_are_kept(tmp_path: Path) -> None:
    write_wfdb(simulated_record(), tmp_path, comments=["Dx: 426783006, 7, odd beat"])
    row = opened(tmp_path).read(0, 1)[0]
    assert [statement.code for statement in row.condition.statements] == ["sinus rhythm"]
    assert row.unmapped == ("7", "odd beat")


def test_bare_structs_are_rows_of_their_own(challenge: Path) -> None:
    source = opened(challenge / "cpsc2018_native_mat")
    rows = source.read(0, len(source))
    first, last = rows[0], rows[-1]
    assert (first.record.record_id, first.condition.age_years, first.condition.sex) == (
        "A1980", 52, "male",
    )  # fmt: skip
    assert first.condition.statements == ()
    assert first.record.samples_mv.shape == (len(LEADS), 5000)
    assert (last.record.record_id, last.window, last.window_start_s) == ("A1988", 4, 40)


def test_bad_records_are_planned_with_their_reasons(challenge: Path, tmp_path: Path) -> None:
    write_tree(tmp_path, 4)
    (tmp_path / "rec1.hea").write_text("rec1 12\n")
    (tmp_path / "rec2.dat").unlink()
    shutil.copyfile(challenge / "georgia" / "E00001.mat", tmp_path / "rec3a.mat")
    (tmp_path / "rec4.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(300))
    (tmp_path / "bad\nname.hea").write_text("x")
    source = opened(tmp_path)
    columns = planned(source)
    assert columns["reason_kind"] == [
        "name_malformed", None, "rate_invalid", "signal_missing", None, "header_missing",
        "signal_malformed",
    ]  # fmt: skip
    assert columns["age_years"][3] == 61  # what the header says is kept
    rows = source.read(0, len(source))
    kinds = {row.record_id: row.kind for row in rows if isinstance(row, Reject)}
    assert kinds == {
        r"bad\nname": "name_malformed",
        "rec1": "rate_invalid",
        "rec2": "signal_missing",
        "rec3a": "header_missing",
        "rec4": "signal_malformed",
    }


def test_a_header_that_promises_years_is_one_row(tmp_path: Path) -> None:
    write_tree(tmp_path, 1)
    edit_header(tmp_path / "rec0.hea", "500 5000", "500 900000000")
    assert planned(opened(tmp_path))["reason_kind"] == ["signal_truncated"]


def test_a_file_that_goes_after_the_plan_is_a_reject(tmp_path: Path) -> None:
    write_tree(tmp_path, 1)
    source = opened(tmp_path)
    rows = planned_rows(planned(source), first=0)
    (tmp_path / "rec0.hea").unlink()
    (reject,) = source.reader().read(rows)
    assert isinstance(reject, Reject)
    assert reject.kind == "header_missing"


def test_the_plan_is_the_same_every_time_in_blocks_of_any_size(challenge: Path) -> None:
    source, again = opened(challenge), opened(challenge)
    assert planned(source) == planned(again, rows_per_block=7)
    assert [len(columns["file"]) for columns in source.plan(100)] == [100, 48]
    assert source.describe() == again.describe()


def test_the_description_sees_headers_sizes_and_names_but_no_path(
    challenge: Path, tmp_path: Path
) -> None:
    seen = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        shutil.copytree(challenge / "cpsc2018", folder)
        seen.append(opened(folder).describe())
    assert seen[0] == seen[1]
    folder = tmp_path / "b"
    for path in folder.iterdir():
        path.chmod(0o644)
    edit_header(folder / "A0001.hea", "#Age: 74", "#Age: 75")
    seen.append(opened(folder).describe())
    (folder / "A0003.mat").write_bytes((folder / "A0003.mat").read_bytes() + b"xx")
    seen.append(opened(folder).describe())
    (folder / "A0005.mat").unlink()
    seen.append(opened(folder).describe())
    assert len({repr(found) for found in seen}) == 4
    assert str(tmp_path) not in repr(seen)


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no Challenge record"):
        opened(tmp_path)


@pytest.mark.s3
def test_a_bucket_gives_the_same_rows(challenge: Path, s3_url: str) -> None:
    for folder in ("cpsc2018", "cpsc2018_native_mat", "georgia"):
        for path in sorted((challenge / folder).iterdir())[:10]:
            replace_object(f"{s3_url}/challenge/{folder}/{path.name}", path.read_bytes())
    (local_names, local), (names, remote) = (
        (source.record_names(), source)
        for source in (opened(challenge), opened(f"{s3_url}/challenge"))
    )
    wanted = [name for name in local_names if name in names]
    assert len(wanted) == len(names) == 15
    by_window = {(row.record.record_id, row.window): row for row in local.read(0, len(local))}
    rows = remote.read(0, len(remote))
    assert len(rows) == len(remote) == 23
    for row in rows:
        same = by_window[row.record.record_id, row.window]
        assert (row.condition, row.flags) == (same.condition, same.flags)
        np.testing.assert_array_equal(row.record.samples_mv, same.record.samples_mv)
