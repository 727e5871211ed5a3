"""PTB-XL: what its tables say is what the rows say."""

import csv
import gzip
import pickle
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from ecgtwin.errors import SourceError
from ecgtwin.sources.archives.ptbxl import PtbXlSource
from ecgtwin.sources.archives.ptbxl_persons import ptbxl_person
from ecgtwin.sources.source import Reject, SourceRow
from ecgtwin.sources.statements import read_report, read_scp
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.csv_tables import read_csv
from ecgtwin.store.objects import replace_object

COLUMNS = (
    "ecg_id", "patient_id", "age", "sex", "recording_date", "report", "scp_codes",
    "infarction_stadium1", "infarction_stadium2", "validated_by_human", "baseline_drift",
    "static_noise", "burst_noise", "electrodes_problems", "extra_beats", "pacemaker",
    "strat_fold", "filename_lr", "filename_hr",
)  # fmt: skip


def write_table(folder: Path, lines: list[dict[str, str]]) -> Path:
    """Write one line of the table for each of ``lines``, as given or usual; no recordings."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "ptbxl_database.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for number, line in enumerate(lines):
            usual = {
                "ecg_id": str(number + 1),
                "patient_id": f"{number}.0",
                "age": "56.0",
                "sex": "1",
                "recording_date": "1984-11-09 09:17:34",
                "scp_codes": "{'SR': 0.0}",
                "validated_by_human": "True",
                "strat_fold": "1",
                "filename_lr": f"records100/00000/{number + 1:05d}_lr",
                "filename_hr": f"records500/00000/{number + 1:05d}_hr",
            }
            writer.writerow(usual | line)
    return folder


def opened(folder, **given):
    return PtbXlSource.open(str(folder), settings=IngestSpec(**given))


def plan_of(folder, *, rows_per_block=256, **given):
    """Return all columns of the plan."""
    blocks = list(opened(folder, **given).plan(rows_per_block))
    return {name: [value for block in blocks for value in block[name]] for name in blocks[0]}


def plan_of_lines(folder, *lines, **given):
    return plan_of(write_table(folder, list(lines)), **given)


def said(codes=None, report=""):
    """Return (code, certainty) of SCP codes, or of a report."""
    reading = read_scp(codes) if codes else read_report(report)
    return [(found.code, found.certainty) for found in reading.statements]


def statements(plan, row=0):
    return list(zip(plan["statements"][row], plan["certainties"][row], strict=True))


@pytest.mark.parametrize(
    ("sex", "found", "flags"),
    [
        ("0", "male", ()), ("1", "female", ()), ("0.0", "male", ()), ("", "unknown", ()),
        ("2", "unknown", ("sex_unreadable:2",)),
    ],
)  # fmt: skip
def test_sex_one_is_female(tmp_path, sex, found, flags):
    plan = plan_of_lines(tmp_path, {"sex": sex})
    assert (plan["sex"], plan["flags"]) == ([found], [flags])


@pytest.mark.parametrize(
    ("age", "years", "flags"),
    [
        ("89.0", 89, ()),
        ("89.5", 90, ()),
        ("90.0", 90, ()),
        ("95", 90, ()),
        ("300.0", 90, ()),
        ("0", 0, ()),
        ("", None, ()),
        ("-5", None, ("age_out_of_range:-5",)),
        ("121", None, ("age_out_of_range:121",)),
        ("301", None, ("age_out_of_range:301",)),
        ("old", None, ("age_unreadable:old",)),
    ],
)
def test_ages_over_89_are_one_class_and_impossible_ones_unknown(tmp_path, age, years, flags):
    plan = plan_of_lines(tmp_path, {"age": age})
    assert (plan["age_years"], plan["flags"]) == ([years], [flags])


def test_folds_nine_and_ten_are_validation_and_test_for_the_whole_patient(tmp_path):
    lines = [{"strat_fold": fold} for fold in ("8", "9", "10.0")]
    torn = [{"strat_fold": fold, "patient_id": "77.0"} for fold in ("3", "10")]
    plan = plan_of_lines(tmp_path, *lines, *torn)
    assert plan["official_split"] == ["train", "validation", "test", "test", "test"]


def test_the_fold_of_a_bad_line_still_counts_for_its_patient(tmp_path):
    torn = [{"patient_id": "7", "scp_codes": "?", "strat_fold": "9"}, {"patient_id": "7"}]
    assert plan_of_lines(tmp_path, *torn)["official_split"] == ["validation", "validation"]


def test_visits_are_counted_by_date(tmp_path):
    dates = ["1990-01-03 10:00:00", "1990-01-01 10:00:00", "never", "1990-01-02 22:00:00"]
    lines = [{"patient_id": "7.0", "recording_date": date} for date in dates]
    plan = plan_of_lines(tmp_path, *lines)
    assert plan["visit"] == [2, 0, 3, 1]
    assert plan["days_since_first"] == [2.0, 0.0, None, 1.5]
    assert plan["patient_id"] == ["7"] * 4
    assert plan["flags"] == [(), (), ("date_unreadable:never",), ()]


def test_codes_keep_their_certainty_and_new_ones_their_description(tmp_path):
    write_table(tmp_path, [{"scp_codes": "{'SR': 0.0, 'CLBBB': 100.0, 'IMI': 35.0, 'XYZ': 0.0}"}])
    (tmp_path / "scp_statements.csv").write_text(",description\nXYZ,Something New\n")
    plan = plan_of(tmp_path)
    assert statements(plan) == said({"SR": 0.0, "CLBBB": 100.0, "IMI": 35.0})
    assert plan["certainties"] == [("definite", "definite", "possible")]
    assert plan["unmapped"] == [("XYZ: Something New",)]


def test_a_report_adds_what_the_codes_lack_and_never_outdoes_them(tmp_path):
    """The report names the infarct as certain and the axis; the code holds it for possible."""
    report = "sinusrhythmus linksschenkelblock inferiorer infarkt Zzyzx"
    plan = plan_of_lines(
        tmp_path, {"report": report, "scp_codes": "{'IMI': 35.0, 'SR': 0.0}"}, {"report": ""}
    )
    codes = said({"IMI": 35.0, "SR": 0.0})
    coded = {code for code, _ in codes}
    more = [entry for entry in said(report=report) if entry[0] not in coded]
    assert statements(plan)[: len(codes)] == codes
    assert [code for code, _ in statements(plan)].count(codes[0][0]) == 1
    assert {entry[0] for entry in statements(plan)} <= coded | {code for code, _ in more}
    assert plan["unmapped"][0] == read_report(report).unmapped
    assert plan["unmapped"][1] == ()


def test_a_paced_record_is_one_even_without_its_code(tmp_path):
    lines = [{"pacemaker": text} for text in ("ja, pacemaker", "ja, nan", "PACE????, nan", "")]
    plan = plan_of_lines(tmp_path, *lines)
    assert set(statements(plan)) == set(said({"SR": 0.0, "PACE": 0.0}))
    for row in (1, 2, 3):
        assert statements(plan, row) == said({"SR": 0.0})
    expected = [(), ("pacemaker_unsure:ja, nan",), ("pacemaker_unsure:PACE????, nan",), ()]
    assert plan["flags"] == expected


def test_noise_and_doubt_are_flags(tmp_path):
    line = {
        "baseline_drift": " , V1,V2",
        "static_noise": "alles,  ",
        "electrodes_problems": "V6",
        "validated_by_human": "False",
    }
    flags = ("baseline_drift:V1,V2", "static_noise:all", "electrodes_problems:V6", "not_validated")
    assert plan_of_lines(tmp_path, line)["flags"] == [flags]


def test_stages_and_extra_beats_are_kept_as_text(tmp_path):
    beats = {"extra_beats": "2VES"}
    plan = plan_of_lines(
        tmp_path,
        {"infarction_stadium1": "Stadium II-III", "infarction_stadium2": "unknown"},
        beats,
        beats | {"scp_codes": "{'PVC': 0.0}"},
    )
    assert plan["unmapped"] == [("infarction stadium ii-iii",), ("extra beats 2VES",), ()]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *[("scp_codes", text) for text in ("{'SR'", "[1]", "{'SR': 101}", "{'SR': -1}", "", "1")],
        ("scp_codes", "{'SR': 0.0} + {}"),
        ("scp_codes", "{" * 500),
        ("ecg_id", "x"),
        ("patient_id", ""),
        ("patient_id", "12.5"),
        ("strat_fold", "11"),
        ("strat_fold", ""),
        ("filename_hr", ""),
        ("filename_hr", "../x"),
        ("filename_hr", "records500/00000/00002_hr"),  # of another recording
    ],
)
def test_a_line_that_makes_no_sense_is_a_reject_with_its_value(tmp_path, column, value):
    source = opened(write_table(tmp_path, [{column: value}, {}]))
    (plan,) = source.plan(256)
    assert plan["reason_kind"] == ["row_malformed", None]
    assert plan["reason_value"] == [value[:200], None]
    assert plan["reason"][0].startswith("ptbxl_database.csv: ")
    assert isinstance(source.read(0, 1)[0], Reject)


def test_a_record_listed_twice_is_kept_once(tmp_path):
    again = {"ecg_id": "1", "filename_hr": "records500/00000/00001_hr", "patient_id": "3"}
    plan = plan_of_lines(tmp_path, {"patient_id": "3"}, again)
    assert plan["reason_kind"] == [None, "duplicate_record"]
    assert plan["visit"] == [0, 0]


def test_broken_lines_come_last_and_are_counted(tmp_path):
    write_table(tmp_path, [{}, {}])
    table = tmp_path / "ptbxl_database.csv"
    lines = table.read_bytes().splitlines()
    lines.insert(2, b'7,8,"half')
    table.write_bytes(b"\n".join(lines) + b"\n")
    plan = plan_of(tmp_path)
    assert plan["record_id"] == ["1", "2", "ptbxl_database.csv:3"]
    assert plan["reason_kind"] == [None, None, "row_malformed"]


def test_nul_and_foreign_bytes_spoil_only_their_value(tmp_path):
    write_table(tmp_path, [{"report": "NN", "ecg_id": "1"}, {"ecg_id": "2MM"}, {}])
    table = tmp_path / "ptbxl_database.csv"
    table.write_bytes(table.read_bytes().replace(b"NN", b"x\xff").replace(b"MM", b"\0"))
    plan = plan_of(tmp_path)
    assert plan["reason_kind"] == [None, "row_malformed", None]
    assert plan["reason_value"][1] == "2\ufffd"


def test_a_table_without_its_columns_is_refused(tmp_path):
    (tmp_path / "ptbxl_database.csv").write_text("ecg_id,patient_id\n1,1\n")
    with pytest.raises(SourceError, match=r"no column age, sex, .* \(found ecg_id, patient_id\)"):
        opened(tmp_path)


def test_what_is_no_archive_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"holds no ptbxl_database\.csv"):
        opened(tmp_path)
    with pytest.raises(SourceError, match="has no records"):
        opened(write_table(tmp_path, []))


def test_the_same_tables_give_the_same_plan_however_it_is_cut(tmp_path):
    for folder in ("here", "there"):
        write_table(tmp_path / folder, [{}] * 7)
    write_table(tmp_path / "edited", [{}] * 6 + [{"age": "41"}])
    assert plan_of(tmp_path / "here", rows_per_block=3) == plan_of(tmp_path / "there")
    here, there, edited = (
        opened(tmp_path / folder).describe() for folder in ("here", "there", "edited")
    )
    assert here == there
    assert here != edited
    assert plan_of(tmp_path / "here", limit=2)["record_id"] == ["1", "2"]


def test_the_published_part(real_data):
    plan = plan_of(real_data / "ptbxl")
    assert len(plan["file"]) == 500
    assert set(plan["reason_kind"]) == {None}
    assert Counter(plan["official_split"]) == {"train": 353, "validation": 81, "test": 66}
    counts = Counter(plan["patient_id"])
    assert (len(counts), counts["13619"], sum(n > 1 for n in counts.values())) == (466, 8, 25)
    visits = defaultdict(list)
    for patient, visit in zip(plan["patient_id"], plan["visit"], strict=True):
        visits[patient].append(visit)
    assert all(sorted(order) == list(range(len(order))) for order in visits.values())


def test_every_row_says_what_the_published_table_says(real_data):
    with (real_data / "ptbxl" / "ptbxl_database.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    plan = plan_of(real_data / "ptbxl", ptbxl_rate_hz=100)
    for row, line in enumerate(table):
        age = float(line["age"]) if line["age"] else None
        folds = {"9": "validation", "10": "test"}
        assert plan["record_id"][row] == line["ecg_id"]
        assert plan["patient_id"][row] == str(int(float(line["patient_id"])))
        assert plan["sex"][row] == {"0": "male", "1": "female"}[line["sex"]]
        assert plan["age_years"][row] == (age if age is None or age <= 89 else 90)
        assert plan["official_split"][row] == folds.get(line["strat_fold"], "train")
        assert plan["file"][row] == line["filename_lr"]


@pytest.fixture(scope="module")
def whole_plan(real_data, tmp_path_factory):
    """The plan of all of PTB-XL 1.0.1, which is there without recordings."""
    folder = tmp_path_factory.mktemp("ptbxl")
    table = (real_data / "ptbxl_metadata" / "ptbxl_database_v101.csv.gz").read_bytes()
    (folder / "ptbxl_database.csv.gz").write_bytes(table)
    return plan_of(folder)


def test_the_whole_published_table(whole_plan):
    assert len(whole_plan["record_id"]) == 21_837
    assert len(set(whole_plan["patient_id"])) == 18_885
    assert set(whole_plan["reason_kind"]) == {None}
    splits = Counter(whole_plan["official_split"])
    assert splits == {"train": 17_441, "validation": 2_193, "test": 2_203}
    assert Counter(whole_plan["sex"]) == {"male": 11_379, "female": 10_458}
    assert whole_plan["age_years"].count(None) == 89
    assert max(age for age in whole_plan["age_years"] if age is not None) == 90
    assert sum("not_validated" in flags for flags in whole_plan["flags"]) == 5_743
    assert all(whole_plan["statements"])


def test_the_packaged_persons_are_those_of_the_published_table(whole_plan):
    ids = [int(record) for record in whole_plan["record_id"]]
    pairs = zip(whole_plan["patient_id"], whole_plan["official_split"], strict=True)
    assert [ptbxl_person(record) for record in ids] == list(pairs)
    assert ptbxl_person(0) is ptbxl_person(max(ids) + 1) is None


def test_the_packaged_persons_name_their_licence():
    from importlib import resources

    data = (resources.files("ecgtwin.sources") / "ptbxl_persons.csv.gz").read_bytes()
    text = gzip.decompress(data).decode()
    assert "CC BY 4.0" in text
    assert "https://doi.org/10.13026/x4td-x982" in text
    assert len(data) < 150_000
    table = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    columns = ("ecg_id", "patient_id", "strat_fold")
    assert len(read_csv(table.encode(), "persons", required=columns)) == 21_837


def test_the_challenge_agrees_on_sex(real_data):
    """Record 1 was published twice; the other header says Female where the table says 1."""
    header = (real_data / "challenge2020" / "ptbxl_hr" / "HR00001.hea").read_text()
    assert "#Sex: Female" in header
    assert plan_of(real_data / "ptbxl", limit=1)["sex"] == ["female"]


def test_recordings_are_read_at_the_rate_asked_for(real_data):
    for rate_hz in (500, 100):
        source = opened(real_data / "ptbxl", ptbxl_rate_hz=rate_hz, limit=3)
        reader = pickle.loads(pickle.dumps(source.reader()))
        assert len(pickle.dumps(reader)) < 10_000
        rows = source.read(0, 3)
        for number, row in enumerate(rows):
            assert isinstance(row, SourceRow)
            assert row.record.sampling_rate_hz == rate_hz
            assert row.record.samples_mv.shape == (12, 10 * rate_hz)
            assert row.record.record_id == str(number + 1)


@pytest.mark.s3
def test_tables_and_recordings_may_lie_in_an_object_store(real_data, s3_url):
    url = f"{s3_url}/ptbxl"
    names = ("ptbxl_database.csv", *[f"records100/00000/00001_lr{end}" for end in (".hea", ".dat")])
    for name in names:
        replace_object(f"{url}/{name}", (real_data / "ptbxl" / name).read_bytes())
    given = {"ptbxl_rate_hz": 100, "limit": 2}
    here, there = (opened(place, **given).read(0, 2) for place in (real_data / "ptbxl", url))
    assert here[0].condition == there[0].condition
    np.testing.assert_array_equal(here[0].record.samples_mv, there[0].record.samples_mv)
    assert there[1].kind == "header_missing"
