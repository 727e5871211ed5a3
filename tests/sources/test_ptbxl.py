"""PTB-XL: what its tables say is what the rows say."""

import csv
import pickle
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from ecgtwin.errors import SourceError
from ecgtwin.sources.ptbxl import PtbXlSource
from ecgtwin.sources.source import Reject, SourceRow
from ecgtwin.spec.condition import Statement
from tests.sources.records import write_tree

COLUMNS = "ecg_id patient_id age sex recording_date scp_codes strat_fold filename_lr filename_hr"


@pytest.fixture(scope="session")
def ptbxl(real_data: Path) -> Path:
    return real_data / "ptbxl"


def write_table(folder: Path, lines: list[dict[str, str]]) -> None:
    """Write records rec0, rec1, ... and one line of the table for each, as given or usual."""
    write_tree(folder, len(lines))
    with (folder / "ptbxl_database.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS.split())
        writer.writeheader()
        for number, line in enumerate(lines):
            usual = {
                "ecg_id": str(number + 1),
                "patient_id": f"{number}.0",
                "age": "56.0",
                "sex": "1",
                "recording_date": "1984-11-09 09:17:34",
                "scp_codes": "{'SR': 0.0}",
                "strat_fold": "1",
                "filename_lr": f"rec{number}",
                "filename_hr": f"rec{number}",
            }
            writer.writerow(usual | line)


def rows_of(folder: Path) -> list[SourceRow | Reject]:
    source = PtbXlSource.open(folder)
    return source.read(0, len(source))


def test_sex_one_is_female_and_ages_over_89_are_one_class(tmp_path: Path) -> None:
    lines = [
        {"sex": "0", "age": "90.0"},
        {"sex": "1", "age": "300.0"},
        {"sex": "", "age": ""},
        {"sex": "0.0", "age": "89.0"},
    ]
    write_table(tmp_path, lines)
    found = [(row.condition.sex, row.condition.age_years) for row in rows_of(tmp_path)]
    assert found == [("male", 90), ("female", 90), ("unknown", None), ("male", 89)]


def test_folds_nine_and_ten_are_validation_and_test_for_the_whole_patient(tmp_path: Path) -> None:
    lines = [{"strat_fold": fold} for fold in ("8", "9", "10.0")]
    torn = [{"strat_fold": fold, "patient_id": "77.0"} for fold in ("3", "10")]
    write_table(tmp_path, lines + torn)
    found = [row.official_split for row in rows_of(tmp_path)]
    assert found == ["train", "validation", "test", "test", "test"]


def test_visits_are_counted_by_date(tmp_path: Path) -> None:
    dates = ["1990-01-03 10:00:00", "1990-01-01 10:00:00", "1990-01-02 10:00:00"]
    write_table(tmp_path, [{"patient_id": "7.0", "recording_date": date} for date in dates])
    rows = rows_of(tmp_path)
    assert [row.visit for row in rows] == [2, 0, 1]
    assert [row.record.patient_id for row in rows] == ["7", "7", "7"]


def test_codes_keep_their_certainty_and_new_ones_their_description(tmp_path: Path) -> None:
    codes = "{'SR': 0.0, 'CLBBB': 100.0, 'IMI': 35.0, 'XYZ': 0.0}"
    write_table(tmp_path, [{"scp_codes": codes}])
    (tmp_path / "scp_statements.csv").write_text(",description\nXYZ,Something New\n")
    assert rows_of(tmp_path)[0].condition.statements == (
        Statement(code="sinus rhythm"),
        Statement(code="left bundle branch block"),
        Statement(code="inferior myocardial infarction", certainty="possible"),
        Statement(code="something new"),
    )


@pytest.mark.parametrize(
    "line", [{"scp_codes": "{'SR'"}, {"scp_codes": "[1]"}, {"age": "old"}, {"age": "-3"}]
)
def test_a_malformed_line_is_a_reject(tmp_path: Path, line: dict[str, str]) -> None:
    write_table(tmp_path, [line, {}])
    bad, good = rows_of(tmp_path)
    assert isinstance(bad, Reject)
    assert bad.reason.startswith("record 1: its line in ptbxl_database.csv is malformed")
    assert "\n" not in bad.reason
    assert isinstance(good, SourceRow)


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ptbxl_database.csv").write_text("ecg_id,patient_id\n1,1\n")
    with pytest.raises(SourceError, match=r"no column age, sex, .* \(found ecg_id, patient_id\)"):
        PtbXlSource.open(tmp_path)


def test_a_table_without_records_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path, [])
    with pytest.raises(SourceError, match="has no records"):
        PtbXlSource.open(tmp_path)


def test_equal_data_describes_itself_equally_wherever_it_lies(tmp_path: Path) -> None:
    for folder in ("here", "there", "edited"):
        write_table(tmp_path / folder, [{"age": "40"}, {}])
    table = tmp_path / "edited" / "ptbxl_database.csv"
    table.write_text(table.read_text().replace("40", "41"))
    here, there, edited = (
        PtbXlSource.open(tmp_path / folder).describe() for folder in ("here", "there", "edited")
    )
    assert here == there
    assert here != edited


def test_a_part_and_a_copy_read_the_same_rows(ptbxl: Path) -> None:
    source = PtbXlSource.open(ptbxl, limit=12)
    whole = source.read(0, 12)
    copy = pickle.loads(pickle.dumps(source))
    parts = [row for start in range(0, 12, 5) for row in copy.read(start, min(start + 5, 12))]
    assert len(source) == 12
    for one, two in zip(whole, parts, strict=True):
        assert one.record.record_id == two.record.record_id
        assert one.condition == two.condition
        assert (one.record.samples_mv == two.record.samples_mv).all()


def test_every_row_says_what_the_published_table_says(ptbxl: Path) -> None:
    with (ptbxl / "ptbxl_database.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    entries = PtbXlSource.open(ptbxl).entries
    visits = defaultdict(list)
    for line, entry in zip(table, entries, strict=True):
        assert entry.record_id == line["ecg_id"]
        assert entry.patient_id == str(int(float(line["patient_id"])))
        assert entry.condition.sex == {"0": "male", "1": "female"}[line["sex"]]
        age = float(line["age"]) if line["age"] else None
        assert entry.condition.age_years == (age if age is None or age <= 89 else 90)
        folds = {"9": "validation", "10": "test"}
        assert entry.official_split == folds.get(line["strat_fold"], "train")
        visits[entry.patient_id].append(entry.visit)
    assert all(sorted(order) == list(range(len(order))) for order in visits.values())
    counts = Counter(len(order) for order in visits.values())
    assert len(visits) == 466
    assert sum(number for size, number in counts.items() if size >= 2) == 25
    assert len(visits["13619"]) == max(counts)


def test_the_challenge_agrees_on_sex(ptbxl: Path, real_data: Path) -> None:
    """Record 1 was published twice; the other header says Female where the table says 1."""
    header = (real_data / "challenge2020" / "ptbxl_hr" / "HR00001.hea").read_text()
    assert "#Sex: Female" in header
    assert PtbXlSource.open(ptbxl, limit=1).entries[0].condition.sex == "female"


def test_the_low_rate_files_are_read_when_asked_for(ptbxl: Path) -> None:
    row = PtbXlSource.open(ptbxl, sampling_rate_hz=100, limit=1).read(0, 1)[0]
    assert isinstance(row, SourceRow)
    assert row.record.sampling_rate_hz == 100
    assert row.record.samples_mv.shape == (12, 1000)
