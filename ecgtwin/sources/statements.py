"""Codes and wordings of the sources, and the canonical statements they stand for."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from ecgtwin.sources.vocabulary.tables import Finding, parse_finding
from ecgtwin.sources.vocabulary.wordings import read_wording
from ecgtwin.spec.condition import Certainty, Statement

DEFINITE_LIKELIHOOD = 80.0  # percent
_CERTAINTY_ORDER: tuple[Certainty, ...] = ("definite", "possible", "negated")
_KEPT_LINES, _KEPT_LENGTH = 1 << 17, 300  # readings kept, of lines of so many characters


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source says of one recording.

    ``unmapped``: codes, lines and phrases with content that no statement stands for, as found.
    """

    statements: tuple[Statement, ...] = ()
    unmapped: tuple[str, ...] = ()


@cache
def statement_table(vocabulary: str) -> dict[str, Finding]:
    """Return code -> canonical statements of ``"scp"``, ``"snomed"``, ``"aha"`` or ``"own"``.

    A code has one statement, but those that name alternatives. ``"own"`` are the statements that
    only wordings make.
    """
    rows = (row for row in _rows() if row["vocabulary"] == vocabulary)
    return {row["code"]: parse_finding(row["statement"]) for row in rows}


@cache
def canonical_codes() -> frozenset[str]:
    """Return every code that a statement read from a source can have."""
    findings = (parse_finding(row["statement"]) for row in _rows())
    return frozenset(statement.code for finding in findings for statement in finding)


def _rows() -> list[dict[str, str]]:
    text = (resources.files("ecgtwin.sources") / "statements.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def read_scp(codes: Mapping[str, float]) -> Reading:
    """Return the reading of SCP-ECG codes with PTB-XL's likelihoods in percent.

    PTB-XL writes likelihood 0 where none was given, as for every rhythm and form code: the code was
    stated, so it is definite. 80 and above is definite too; 15, 35, 50 and anything else, a
    likelihood that is no number among them, is possible.
    """
    table = statement_table("scp")
    found = (
        _as_sure(statement, likelihood)
        for code, likelihood in codes.items()
        for statement in table.get(code, ())
    )
    return Reading(without_repeats(found), tuple(code for code in codes if code not in table))


def _as_sure(statement: Statement, likelihood: float) -> Statement:
    if math.isfinite(likelihood) and (likelihood <= 0 or likelihood >= DEFINITE_LIKELIHOOD):
        return statement
    return Statement(code=statement.code, certainty="possible")


def read_snomed(codes: Sequence[str]) -> Reading:
    """Return the reading of SNOMED CT codes."""
    table = statement_table("snomed")
    found = (statement for code in codes for statement in table.get(code, ()))
    unmapped = dict.fromkeys(code for code in codes if code not in table)
    return Reading(without_repeats(found), tuple(unmapped))


def read_machine(lines: Sequence[str]) -> Reading:
    """Return the reading of a machine's report, line by line; blank lines say nothing.

    A line with words that no table knows gives what was understood of it, and is kept whole in
    ``unmapped`` as well. What is read of a line is remembered.
    """
    readings = [read_line(line.strip()) for line in lines if line and not line.isspace()]
    if len(readings) == 1:
        return readings[0]
    return _together(readings)


def read_line(line: str) -> Reading:
    """Return the reading of one line of a machine's report."""
    return _read_short_line(line) if len(line) <= _KEPT_LENGTH else _read_line(line)


def _read_line(line: str) -> Reading:
    statements, unknown = read_wording(line)
    return Reading(without_repeats(statements), (line,) if unknown else ())


_read_short_line = lru_cache(maxsize=_KEPT_LINES)(_read_line)


def read_report(text: str) -> Reading:
    """Return the reading of a free report in German, English or Swedish, such as PTB-XL's.

    ``unmapped`` holds the runs of words that no table knows.
    """
    statements, unknown = read_wording(text)
    return Reading(without_repeats(statements), tuple(dict.fromkeys(unknown)))


def merge(*readings: Reading) -> Reading:
    """Return what several sources say together: one statement per code.

    Sources that agree on a finding give it the surest certainty that one of them gave. Where one
    negates what another says, the source named first is believed.
    """
    found: dict[str, Statement] = {}
    for statement in (statement for reading in readings for statement in reading.statements):
        known = found.setdefault(statement.code, statement)
        if known.certainty == "possible" and statement.certainty == "definite":
            found[statement.code] = statement
    unmapped = dict.fromkeys(text for reading in readings for text in reading.unmapped)
    return Reading(tuple(found.values()), tuple(unmapped))


def without_repeats(statements: Iterable[Statement]) -> tuple[Statement, ...]:
    """Return each code of one source once, in order of first mention, as sure as it was said.

    A finding that is negated in one place and said in another is there.
    """
    surest: dict[str, Statement] = {}
    for statement in statements:
        known = surest.get(statement.code)
        if known is None or _rank(statement) < _rank(known):
            surest[statement.code] = statement
    return tuple(surest.values())


def _together(readings: Sequence[Reading]) -> Reading:
    statements = (statement for reading in readings for statement in reading.statements)
    unmapped = dict.fromkeys(text for reading in readings for text in reading.unmapped)
    return Reading(without_repeats(statements), tuple(unmapped))


def _rank(statement: Statement) -> int:
    return _CERTAINTY_ORDER.index(statement.certainty)
