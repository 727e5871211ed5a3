"""A long round of the fuzz test: what came of so many spoiled headers, signal files and tables.

``python -m benchmarks.fuzz --changes 100000`` is a long round; ``--replay
ptbxl/header/12`` makes one change again.
"""

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks.facts import write_result
from tests.sources.fuzz_rounds import archives
from tests.sources.fuzzing import Tally, WrongError

PARTS = ("header", "signal", "table")


def main() -> None:
    """Fuzz the archives in turn, write the result; end with 1 where anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the real recordings")
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--replay", help="ARCHIVE/PART/NUMBER")
    given = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="ecgtwin-fuzz-") as folder:
        all_archives = archives(Path(folder), given.data, tally)
        if given.replay:
            name, part, number = given.replay.split("/")
            found = {archive.seed.name: archive for archive in all_archives}
            print(found[name].run(part, int(number)))
            return
        pairs = [(archive, part) for archive in all_archives for part in archive.seed.parts()]
        start_s, wrong = time.process_time(), []
        for change in range(given.changes):
            archive, part = pairs[change % len(pairs)]
            try:
                archive.run(part, change // len(pairs))
            except WrongError as error:
                wrong.append(str(error))
                print(error, flush=True)
        seconds = time.process_time() - start_s
    by_part = {
        part: {
            result: count
            for (of_part, result), count in sorted(tally.outcomes.items())
            if of_part == part
        }
        for part in PARTS
    }
    result = {
        "num_changes": given.changes,
        "changes": {part: sum(found.values()) for part, found in by_part.items()},
        "outcomes": by_part,
        "rejects": dict(tally.rejects.most_common()),
        "failures": len(wrong),
        "archives": [archive.seed.name for archive in all_archives],
        "processor_ms_per_change": round(1000 * seconds / given.changes, 2),
    }
    print(write_result("fuzz", result))
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
