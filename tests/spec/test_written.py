"""YAML that is written reads back as it was, the same for the same, and people can read it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.written import minimal, write_yaml
from ecgtwin.spec.yaml_text import YamlText

VALUES: dict[str, Any] = {
    "version": 1,
    "checkpoint": "tiny",
    "corpus": "s3://bucket/corpus",
    "patients": {"split": "test", "count": 4},
    "conditions": {
        "strata": [
            {
                "label": "AF",
                "statements": ["atrial fibrillation", {"code": "no", "certainty": "possible"}],
                "heart_rate_bpm": {"start": 60.0, "stop": 62.5, "step": 0.5},
                "count": 100,
                "among": "patient.sex == 'male' and 60 <= patient.age_years < 70",
            },
            {"statements": ["no"], "count": 3},
        ]
    },
    "output": {"url": "out"},
}


def read(text: str) -> Any:
    return YamlText.of(text.encode(), origin="written").data


def test_a_specification_reads_back_as_it_was() -> None:
    text = write_yaml(VALUES, head=["made by a test: [", ""], comments={"conditions": ["one", "#"]})
    assert read(text) == VALUES
    spec = CohortSpec.parse(VALUES, origin="a test")
    assert CohortSpec.parse_text(YamlText.of(text.encode(), origin="x")) == spec
    assert CohortSpec.parse(minimal(spec), origin="minimal") == spec
    assert text.splitlines() == [
        "# made by a test: [",
        "#",
        "version: 1",
        "checkpoint: tiny",
        "corpus: s3://bucket/corpus",
        "",
        "patients: {split: test, count: 4}",
        "",
        "# one",
        "# #",
        "conditions:",
        "  strata:",
        "    - label: AF",
        "      statements:",
        "        - atrial fibrillation",
        "        - {code: 'no', certainty: possible}",
        "      heart_rate_bpm: {start: 60, stop: 62.5, step: 0.5}",
        "      count: 100",
        "      among: patient.sex == 'male' and 60 <= patient.age_years < 70",
        "    - statements: ['no']",
        "      count: 3",
        "",
        "output: {url: out}",
    ]


def test_what_is_as_it_would_be_anyway_is_not_written() -> None:
    data = {"checkpoint": "tiny", "corpus": "c", "patients": {"split": "test"},
            "conditions": [{"heart_rate_bpm": 60.0}], "output": {"url": "out"}}  # fmt: skip
    assert minimal(CohortSpec.parse(data, origin="a test")) == data


words = st.text(max_size=20)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(words.filter(str.isidentifier), trees, min_size=1, max_size=4))
def test_anything_reads_back(values: dict[str, Any]) -> None:
    text = write_yaml(values, head=[], comments={})
    assert text == write_yaml(values, head=[], comments={})
    assert read(text) == values


@pytest.mark.parametrize("word", ["no", "1e3", "0123", "2020-01-01", "~", "a: b", "# c", "é", "'"])
def test_words_that_mean_something_to_yaml_are_quoted(word: str) -> None:
    text = write_yaml({"ids": [word]}, head=[], comments={})
    assert read(text) == {"ids": [word]}
