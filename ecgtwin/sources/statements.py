"""Codes of the sources (SCP-ECG, SNOMED CT) and the canonical statements they stand for."""

import csv
from collections.abc import Iterable
from functools import cache
from importlib import resources

from ecgtwin.spec.condition import Certainty, Statement

DEFINITE_LIKELIHOOD = 80.0  # percent
_CERTAINTY_ORDER: tuple[Certainty, ...] = ("definite", "possible", "negated")


@cache
def statement_table(vocabulary: str) -> dict[str, str]:
    """Return code -> canonical statement of ``"scp"`` or ``"snomed"``."""
    text = (resources.files("ecgtwin.sources") / "statements.csv").read_text()
    rows = csv.DictReader(text.splitlines())
    return {row["code"]: row["statement"] for row in rows if row["vocabulary"] == vocabulary}


def scp_statement(code: str, likelihood: float, *, description: str | None = None) -> Statement:
    """Return the statement of one SCP-ECG code with PTB-XL's likelihood in percent.

    PTB-XL writes likelihood 0 where none was given, as for every rhythm and form code: the code was
    stated, so it is definite. 80 and above is definite too, anything between is possible. A code
    that our table lacks takes ``description``, or stands for itself.
    """
    is_definite = likelihood <= 0 or likelihood >= DEFINITE_LIKELIHOOD
    text = statement_table("scp").get(code) or description or f"scp {code}"
    return Statement(code=text, certainty="definite" if is_definite else "possible")


def snomed_statement(code: str) -> Statement:
    """Return the statement of one SNOMED CT code; an unknown one stands for itself, by number."""
    return Statement(code=statement_table("snomed").get(code, f"snomed {code}"))


def without_repeats(statements: Iterable[Statement]) -> tuple[Statement, ...]:
    """Return each code once, in order of first mention, with the surest certainty given to it."""
    surest: dict[str, Statement] = {}
    for statement in statements:
        known = surest.get(statement.code)
        if known is None or _rank(statement) < _rank(known):
            surest[statement.code] = statement
    return tuple(surest.values())


def _rank(statement: Statement) -> int:
    return _CERTAINTY_ORDER.index(statement.certainty)
