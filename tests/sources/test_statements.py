"""Codes become canonical statements; certainty is never lost, nor is a code."""

import csv
from pathlib import Path

import pytest

from ecgtwin.sources.simulated import STATES
from ecgtwin.sources.statements import (
    scp_statement,
    snomed_statement,
    statement_table,
    without_repeats,
)
from ecgtwin.spec.condition import Statement


@pytest.mark.parametrize(
    ("likelihood", "certainty"),
    [(100, "definite"), (80, "definite"), (50, "possible"), (15, "possible"), (0, "definite")],
)
def test_likelihood_becomes_certainty(likelihood: float, certainty: str) -> None:
    assert scp_statement("CLBBB", likelihood) == Statement(
        code="left bundle branch block", certainty=certainty
    )


def test_simulated_and_real_states_share_their_codes() -> None:
    assert set(STATES) <= set(statement_table("scp").values())


def test_both_vocabularies_agree() -> None:
    pairs = [
        ("AFIB", "164889003"),
        ("CRBBB", "713427006"),
        ("PVC", "17338001"),
        ("1AVB", "270492004"),
    ]
    for scp, snomed in pairs:
        assert scp_statement(scp, 0) == snomed_statement(snomed)


def test_unknown_codes_are_kept() -> None:
    assert scp_statement("NEW", 0, description="Brand NEW  finding").code == "brand new finding"
    assert scp_statement("NEW", 0).code == "scp new"
    assert snomed_statement("12345").code == "snomed 12345"


def test_table_is_canonical_and_unambiguous() -> None:
    for vocabulary in ("scp", "snomed"):
        table = statement_table(vocabulary)
        assert all(Statement(code=text).code == text for text in table.values())
    path = Path(__file__).parents[2] / "ecgtwin" / "sources" / "statements.csv"
    keys = [tuple(row[:2]) for row in csv.reader(path.read_text().splitlines())]
    assert len(keys) == len(set(keys))


def test_every_code_of_ptb_xl_is_in_the_table(real_data: Path) -> None:
    text = (real_data / "ptbxl" / "scp_statements.csv").read_text()
    assert {row[""] for row in csv.DictReader(text.splitlines())} == set(statement_table("scp"))


def test_repeats_keep_the_surest() -> None:
    possible = Statement(code="sinus rhythm", certainty="possible")
    other = Statement(code="normal ecg")
    sure = Statement(code="sinus rhythm")
    assert without_repeats([possible, other, sure]) == (sure, other)
    assert without_repeats([sure, other, possible]) == (sure, other)
