"""Short forms of a command line and of a table: what they stand for, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.csv_strata import MAX_BYTES, strata_in_csv
from ecgtwin.spec.words import (
    condition_in_words,
    report_in_words,
    stratum_in_words,
    values_in_words,
)


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("60", 60),
        ("62.5", 62.5),
        ("60, 80,100", [60, 80, 100]),
        ("60:100:10", {"start": 60, "stop": 100, "step": 10}),
        ("own", "own"),
        ("own,70", ["own", 70]),
        ("60,unknown", [60, None]),
        ("{start: 60, stop: 90, count: 4}", {"start": 60, "stop": 90, "count": 4}),
        ("[60, 70]", [60, 70]),
        ("60:100", "60:100"),  # the specification says what is wrong with it
    ],
)
def test_values_in_words(said: str, values: Any) -> None:
    assert values_in_words(said) == values


def test_reports_conditions_and_strata_in_words() -> None:
    assert report_in_words("AF, LBBB (possible),") == [
        "AF", {"code": "LBBB", "certainty": "possible"},
    ]  # fmt: skip
    assert report_in_words(" ") == []
    assert condition_in_words("AF") == {"statements": ["AF"]}
    assert condition_in_words("AF @ 60:90:10") == {
        "statements": ["AF"], "heart_rate_bpm": {"start": 60, "stop": 90, "step": 10},
    }  # fmt: skip
    assert stratum_in_words("AF@70=500") == {
        "statements": ["AF"], "heart_rate_bpm": 70, "count": 500,
    }  # fmt: skip
    with pytest.raises(SpecificationError, match="say how many ECGs"):
        stratum_in_words("AF @ 70")
    with pytest.raises(SpecificationError, match="is not YAML"):
        values_in_words("{start: 60")
    for odd in (
        "[2020-13-45]",
        "[" * 3000,
        "{start: 60, stop: 1:40, step: 10}",
        "[no, 2020-01-01]",
    ):
        with pytest.raises(SpecificationError):
            values_in_words(odd)


TABLE = """\
statements,count,heart_rate_bpm,age_years,sex,among,label
atrial fibrillation,500,60:120:10,own,own,patient.age_years >= 60,"AF, old"

"sinus rhythm, PVC (possible)",20,"60,80",,"female,male",,
"""


def test_a_table_gives_a_stratum_a_row() -> None:
    assert strata_in_csv(TABLE.encode("utf-8-sig"), origin="t.csv") == [
        {
            "statements": ["atrial fibrillation"],
            "count": 500,
            "heart_rate_bpm": {"start": 60, "stop": 120, "step": 10},
            "age_years": "own",
            "sex": "own",
            "among": "patient.age_years >= 60",
            "label": "AF, old",
        },
        {
            "statements": ["sinus rhythm", {"code": "PVC", "certainty": "possible"}],
            "count": 20,
            "heart_rate_bpm": [60, 80],
            "sex": ["female", "male"],
        },
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1: no column statements and no column count; columns are statements, count"),
        (b"statements,count\n", "has no rows; write one"),
        (b"statement,count\n", "line 1: unknown column 'statement', statements perhaps"),
        (b"statements,count,count\n", "line 1: column 'count' stands there twice"),
        (b"statements,count\nAF\n", "line 2: 1 cells in 2 columns; a text with commas stands in"),
        (b"statements,count\nAF,5\nAF,\n", "line 3: stratum.count: .*found nothing"),
        (b"statements,count\nAF,many\n", r"line 2: stratum\.count: .*'many'"),
        (b"statements,count\nAF,0\n", r"line 2: stratum\.count: .*found 0"),
        (b"statements,count,sex\nAF,1,F\n", r"line 2: stratum\.sex: .*found 'F'"),
        (b"statements,count,among\nAF,1,patient.age > 3\n", r"line 2: stratum\.among: column 1"),
        (b'statements,count\n"AF,5\n', "is a quote not closed"),
        (b"statements,count\n\xff,5\n", r"is not UTF-8 \(byte 17\)"),
        (b"x" * (MAX_BYTES + 1), "is larger than 4 MiB"),
    ],
)
def test_mistakes_of_a_table_are_named(data: bytes, message: str) -> None:
    with pytest.raises(SpecificationError, match=message) as caught:
        strata_in_csv(data, origin="t.csv")
    assert str(caught.value).startswith("t.csv")


def test_a_stratum_needs_a_report_or_says_there_is_none(tmp_path: Path) -> None:
    assert strata_in_csv(b"statements,count\n,5\n", origin="t") == [{"statements": [], "count": 5}]
