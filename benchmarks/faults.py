"""Many rounds of killed processes, and what came of them: the tests of tests/faults, dated.

python -m benchmarks.faults [--rounds 20] [tests/faults/test_kill_training.py ...]

Each named file is run by pytest with that many rounds; the result, written after each, says how
many tests passed, and how long it took. One that fails makes the command fail, and is in the result
all the same.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from benchmarks.facts import write_result

ROOT = Path(__file__).parent.parent
DEFAULT_ROUNDS = 20
ROUNDS = ("ECGTWIN_FAULT_ROUNDS", "ECGTWIN_FUZZ_ROUNDS")


def main() -> int:
    """Run the files, write the result, return 1 where a test failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", default=["tests/faults"])
    parser.add_argument("--rounds", type=int, default=DEFAULT_ROUNDS)
    parser.add_argument("--name", default="faults", help="of the result")
    arguments = parser.parse_args()
    found: dict[str, dict[str, object]] = {}
    for name in arguments.files:
        try:
            found[name] = run(name, arguments.rounds)
        except KeyboardInterrupt:
            print(f"interrupted in {name}; the result has what was done before", file=sys.stderr)
            return 130
        result = {"rounds": arguments.rounds, "asked_for": arguments.files, "files": found}
        print(write_result(arguments.name, result))
    return 0 if all(one["failed"] == 0 and one["passed"] for one in found.values()) else 1


def run(name: str, rounds: int) -> dict[str, object]:
    """Return how many tests of a file passed, failed and were skipped, by name with seconds."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = [sys.executable, "-m", "pytest", "-q", "-m", "faults and not rgw", name]
        started = time.monotonic()
        subprocess.run(
            [*words, f"--junitxml={report}"],
            cwd=ROOT,
            env=os.environ | dict.fromkeys(ROUNDS, str(rounds)),
            check=False,
        )
        minutes = (time.monotonic() - started) / 60
        return {**read_report(report.read_text()), "minutes": round(minutes, 1)}


def read_report(text: str) -> dict[str, object]:
    """Return the outcome of each test in a JUnit report."""
    tests, counts = {}, {"passed": 0, "failed": 0, "skipped": 0}
    for case in ElementTree.fromstring(text).iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "passed"
        outcome = "skipped" if "skipped" in kinds else outcome
        counts[outcome] += 1
        tests[case.attrib["name"]] = {
            "outcome": outcome,
            "seconds": round(float(case.attrib["time"]), 1),
        }
    return {**counts, "tests": tests}


if __name__ == "__main__":
    sys.exit(main())
