"""How much of PTB-XL's reports is read, and how far it agrees with the SCP codes beside them.

python -m benchmarks.statements TABLE.csv.gz        (ptbxl_database.csv, packed or not)

Coverage: reports with a statement, reports read to the last word, share of characters understood.
Agreement: for each of the commonest statements, precision and recall of the report (definite or
possible) against the codes. The codes are a second opinion, set by people who often differed from
the report, and not the truth of the reading. Speed: distinct machine lines read per second.
"""

import ast
import csv
import gzip
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.facts import write_result
from ecgtwin.sources.statements import Reading, canonical_codes, read_machine, read_report, read_scp

COMMONEST = 20
NUM_LINES = 20_000


def main(words: list[str]) -> None:
    """Measure and write ``results/statements.json``."""
    rows = _rows(Path(words[0]))
    reports = [row["report"] for row in rows]
    started = time.perf_counter()
    read = [read_report(report) for report in reports]
    seconds = time.perf_counter() - started
    coded = [read_scp(ast.literal_eval(row["scp_codes"])) for row in rows]
    result = {
        "reports": len(rows),
        "canonical_statements": len(canonical_codes()),
        "coverage": _coverage(reports, read),
        "agreement": _agreement(read, coded),
        "speed": {
            "reports_per_s": len(rows) / seconds,
            "distinct_lines_per_s": _lines_per_second(reports),
        },
    }
    print(write_result("statements", result))


def _rows(path: Path) -> list[dict[str, str]]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return list(csv.DictReader(text.splitlines()))


def _coverage(reports: list[str], read: list[Reading]) -> dict[str, object]:
    unknown = sum(len(text) for reading in read for text in reading.unmapped)
    left = Counter(text.lower() for reading in read for text in reading.unmapped)
    return {
        "with_statement": sum(bool(reading.statements) for reading in read) / len(read),
        "to_the_last_word": sum(not reading.unmapped for reading in read) / len(read),
        "characters": 1 - unknown / sum(map(len, reports)),
        "statements_per_report": sum(len(reading.statements) for reading in read) / len(read),
        "commonest_unmapped": dict(left.most_common(10)),
    }


def _agreement(read: list[Reading], coded: list[Reading]) -> dict[str, dict[str, float]]:
    said, codes, both = Counter[str](), Counter[str](), Counter[str]()
    for report, scp in zip(read, coded, strict=True):
        mentioned, given = _mentioned(report), _mentioned(scp)
        said.update(mentioned)
        codes.update(given)
        both.update(mentioned & given)
    return {
        code: {
            "codes": number,
            "reports": said[code],
            "precision": both[code] / max(said[code], 1),
            "recall": both[code] / number,
        }
        for code, number in codes.most_common(COMMONEST)
    }


def _mentioned(reading: Reading) -> set[str]:
    return {said.code for said in reading.statements if said.certainty != "negated"}


def _lines_per_second(reports: list[str]) -> float:
    """Return how many lines that were never seen before are read in a second."""
    lines = [f"{reports[place % len(reports)][:60]} V{place}" for place in range(NUM_LINES)]
    started = time.perf_counter()
    for line in lines:
        read_machine([line])
    return NUM_LINES / (time.perf_counter() - started)


if __name__ == "__main__":
    main(sys.argv[1:])
