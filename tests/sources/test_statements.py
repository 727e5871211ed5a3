"""Codes become canonical statements; certainty is never lost, nor is a code."""

import csv
from pathlib import Path

import pytest

from ecgtwin.sources.simulated import STATES
from ecgtwin.sources.statements import (
    Reading,
    canonical_codes,
    merge,
    read_machine,
    read_scp,
    read_snomed,
    statement_table,
    without_repeats,
)
from ecgtwin.spec.condition import Certainty, Statement

VOCABULARIES = ("scp", "snomed", "aha", "own")


@pytest.mark.parametrize(
    ("likelihood", "certainty"),
    [
        (100, "definite"),
        (80, "definite"),
        (50, "possible"),
        (35, "possible"),
        (15, "possible"),
        (0, "definite"),
        (float("nan"), "possible"),
    ],
)
def test_likelihood_becomes_certainty(likelihood: float, certainty: Certainty) -> None:
    expected = Statement(code="left bundle branch block", certainty=certainty)
    assert read_scp({"CLBBB": likelihood}) == Reading((expected,))


def test_simulated_and_real_states_share_their_codes() -> None:
    assert set(STATES) <= canonical_codes()


@pytest.mark.parametrize(
    ("scp", "snomed", "wording"),
    [
        ("AFIB", "164889003", "Atrial fibrillation"),
        ("CRBBB", "713427006", "Right bundle branch block"),
        ("CLBBB", "733534002", "LBBB"),
        ("PVC", "17338001", "Premature ventricular complexes"),
        ("PAC", "284470004", "PAC(s)"),
        ("1AVB", "270492004", "1st degree A-V block"),
        ("LNGQT", "111975006", "Prolonged QT interval"),
        ("LVOLT", "251146004", "Low QRS voltages"),
        ("PACE", "10370003", "Pacemaker rhythm"),
    ],
)
def test_all_vocabularies_agree(scp: str, snomed: str, wording: str) -> None:
    read = read_scp({scp: 0}).statements
    assert read == read_snomed([snomed]).statements
    assert read == read_machine([wording]).statements


def test_a_code_that_names_alternatives_is_sure_of_neither() -> None:
    both = read_snomed(["195080001"]).statements
    assert both == (
        Statement(code="atrial fibrillation", certainty="possible"),
        Statement(code="atrial flutter", certainty="possible"),
    )


def test_unknown_codes_are_kept_as_found() -> None:
    assert read_scp({"NEW": 0, "SR": 0}).unmapped == ("NEW",)
    assert read_snomed(["12345", "426783006", "12345"]) == Reading(
        (Statement(code="sinus rhythm"),), ("12345",)
    )


def test_table_is_canonical_and_unambiguous() -> None:
    for vocabulary in VOCABULARIES:
        for finding in statement_table(vocabulary).values():
            assert all(said.code and set(said.code) <= LETTERS for said in finding)
    path = Path(__file__).parents[2] / "ecgtwin" / "sources" / "statements.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    keys = [(row["vocabulary"], row["code"]) for row in rows]
    assert len(keys) == len(set(keys))
    assert {row["vocabulary"] for row in rows} == set(VOCABULARIES)
    assert all(row["source"] for row in rows)


LETTERS = set("abcdefghijklmnopqrstuvwxyz0123456789 -")


def test_own_statements_are_in_no_other_vocabulary() -> None:
    others = {
        said.code
        for vocabulary in VOCABULARIES[:3]
        for finding in statement_table(vocabulary).values()
        for said in finding
    }
    assert not others & set(statement_table("own"))


def test_every_code_of_the_public_tables_is_known(real_data: Path) -> None:
    text = (real_data / "ptbxl" / "scp_statements.csv").read_text()
    assert {row[""] for row in csv.DictReader(text.splitlines())} == set(statement_table("scp"))
    tables = real_data / "vocabulary"
    for name in ("snomed_challenge2020_scored.csv", "snomed_challenge2020_unscored.csv"):
        codes = {row["SNOMED CT Code"] for row in _rows(tables / name)}
        assert codes <= set(statement_table("snomed"))
    for row in _rows(tables / "aha_snomed.csv"):
        coded = statement_table("snomed")[row["SNOMEDCTCode"]]
        assert statement_table("aha")[row["AHA_Code"]] == coded


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))


def test_every_code_of_the_challenge_headers_is_known(real_data: Path) -> None:
    found = set()
    for path in (real_data / "challenge2020").glob("*/*.hea"):
        for line in path.read_text(errors="replace").splitlines():
            if line.replace(" ", "").startswith("#Dx:"):
                found |= {code.strip() for code in line.split(":")[1].split(",")}
    assert found - {"", "Unknown"} <= set(statement_table("snomed"))


def test_repeats_keep_the_surest() -> None:
    gone = Statement(code="sinus rhythm", certainty="negated")
    possible = Statement(code="sinus rhythm", certainty="possible")
    other = Statement(code="normal ecg")
    sure = Statement(code="sinus rhythm")
    assert without_repeats([possible, other, sure]) == (sure, other)
    assert without_repeats([sure, other, possible]) == (sure, other)
    assert without_repeats([gone, possible]) == (possible,)


def test_merge_believes_the_first_source_in_a_contradiction() -> None:
    said, denied = _one("definite"), _one("negated")
    assert merge(said, denied).statements == said.statements
    assert merge(denied, said).statements == denied.statements
    assert merge(denied, _one("possible"), said).statements == denied.statements


def test_merge_keeps_the_surest_of_sources_that_agree() -> None:
    for order in ((_one("possible"), _one("definite")), (_one("definite"), _one("possible"))):
        assert merge(*order).statements == _one("definite").statements


def test_merge_keeps_every_unmapped_text_once() -> None:
    first, second = Reading(unmapped=("a", "b")), Reading(unmapped=("b", "c"))
    assert merge(first, second, first).unmapped == ("a", "b", "c")
    assert merge() == Reading()


def _one(certainty: Certainty) -> Reading:
    return Reading((Statement(code="atrial fibrillation", certainty=certainty),))
