"""What every row and every reject must be, whatever was done to the archive."""

import re

import numpy as np

from ecgtwin.sources.source import Reject, SourceRow

_KIND = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_MAX_REASON = 600


def check_labels(row: SourceRow) -> None:
    """Refuse labels that no person has."""
    condition = row.condition
    age, rate = condition.age_years, condition.heart_rate_bpm
    assert age is None or 0 <= age <= 89 or age == 90, age
    assert rate is None or 20 <= rate <= 300, rate
    assert condition.sex in ("female", "male", "unknown")
    assert all(s.code and s.code.isprintable() for s in condition.statements)
    assert row.official_split in (None, "train", "validation", "test")
    assert row.visit >= 0
    assert row.days_since_first is None or np.isfinite(row.days_since_first)


def check_reject(reject: Reject) -> None:
    """Refuse a reject that does not say in one line which record, why and what was found."""
    assert _KIND.fullmatch(reject.kind), reject
    assert reject.kind != "unusable", reject
    check_line(reject.reason)
    assert reject.record_id in reject.reason or ".csv" in reject.reason, reject
    assert len(reject.value) <= _MAX_REASON, reject
    assert not re.search(r"[\0\r\n]", reject.value), reject
    reject.value.encode()


def check_line(text: str) -> None:
    """Refuse what is not one short printable line."""
    assert text.isprintable(), f"not one printable line: {text[:300]!r}"
    assert 0 < len(text) < _MAX_REASON, f"{len(text)} characters: {text[:100]!r}"
