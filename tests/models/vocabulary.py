"""Every statement that the sources and public vocabularies can make."""

import csv
from pathlib import Path

from ecgtwin.sources.statements import canonical_codes
from ecgtwin.spec.condition import Statement


def every_statement(real_data: Path) -> list[str]:
    """Return the distinct canonical codes, sorted."""
    found = set(canonical_codes())
    for path in sorted((real_data / "vocabulary").glob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            found |= {row["Dx"] for row in csv.DictReader(file)}
    return sorted({Statement(code=code).code for code in found if code.strip()})
