"""A stored cohort proved: made, verified, harmed in ten ways, repaired, and compared byte by byte.

python -m benchmarks.proof [--rows 100000] [--workers 2] [--folder EMPTY_FOLDER]

The cohort is of simulated persons, drawn by the shipped `tiny` twin in two steps, gates on and two
attempts each, so that the ledger holds rejects. Every object but the records of runs is hashed
before the harm and after the repair: what differs is listed in the result, and the exit code is 1.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.damages import harm_all
from benchmarks.facts import write_result
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.executors.protocol import Executor
from ecgtwin.generation.merge_cohort import merge_cohort
from ecgtwin.generation.repair_cohort import repair_cohort
from ecgtwin.generation.repair_plan import source_of
from ecgtwin.generation.run import generate_cohort
from ecgtwin.generation.stored_plan import read_stored
from ecgtwin.generation.verify_cohort import Verification, verify_cohort
from ecgtwin.sources.ingest import ingest
from ecgtwin.sources.simulated import SimulatedSource
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.manifest import digest_bytes
from ecgtwin.store.objects import join, list_tree, read_object

NUM_ROWS = 100_000
NUM_PERSONS, NUM_STEPS, NUM_ATTEMPTS = 50, 2, 2
REPORTS = ("sinus rhythm", "atrial fibrillation", "left bundle branch block")
RATES_BPM = (60, 75, 90, 110)
NUM_CELLS = NUM_PERSONS * len(REPORTS) * len(RATES_BPM)
ROWS_PER_SHARD, ROWS_PER_CHUNK = 128, 16


def main() -> int:
    """Prove one cohort, write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=NUM_ROWS, help=f"at least, of {NUM_CELLS} more")
    parser.add_argument("--workers", type=int, default=1, help="Ray actors (default: none)")
    parser.add_argument("--folder", help="where to (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = proved(arguments.folder or temporary, arguments.rows, _executor(arguments.workers))
    result = {"workers": arguments.workers, **found}
    print(json.dumps(result, indent=1))
    print(write_result("proof", result))
    return 0 if result["is_proved"] else 1


def proved(folder: str, num_rows: int, executor: Executor) -> dict[str, Any]:
    """Return the counts and the seconds of every step on a cohort under ``folder``."""
    clock = _Clock()
    spec = _specification(folder, num_rows)
    url = spec.output.url
    with clock.step("ingest"):
        source = SimulatedSource(seed=2024, num_persons=NUM_PERSONS, visits_per_person=1)
        assert spec.corpus is not None
        settings = IngestSpec(max_reject_share=0.5)
        ingest(source, spec.corpus, settings=settings, executor=LocalExecutor())
    with clock.step("generate"):
        made = generate_cohort(spec, executor=executor)
    with clock.step("merge"):
        merge_cohort(url)
    with clock.step("verify"):
        whole = _verified(url, executor)
    before = digests(url)
    harmed = harm_all(url)
    different = differing(before, digests(url))
    with clock.step("verify, harmed"):
        found = _verified(url, executor)
    with clock.step("repair"):
        done = repair_cohort(
            found,
            source_of(url, checkpoint=None, spec=None),
            executor=executor,
            remove_strays=True,
        )
    with clock.step("verify, repaired"):
        after = _verified(url, executor)
    left = differing(before, digests(url))
    return {
        "rows": whole.num_rows,
        "accepted": whole.num_accepted,
        "shards": whole.num_shards,
        "objects": len(before),
        "object_bytes": whole.num_bytes,
        "is_complete": made.is_complete,
        "problems_before": len(whole.problems),
        "harmed": {damage.name: name for damage, name in harmed},
        "objects_harmed": len(different),
        "problems_found": dict(Counter(problem.kind for problem in found.problems)),
        "mended": done.mended,
        "left": done.left,
        "problems_after": len(after.problems),
        "objects_that_differ": left,
        "seconds": clock.seconds,
        "is_proved": made.is_complete
        and not whole.problems
        and len(different) == len(harmed)
        and not after.problems
        and not left,
    }


def digests(url: str) -> dict[str, str]:
    """Return the digest of every object but the records of runs."""
    names = [name for name, _ in list_tree(url) if not name.startswith("runs/")]
    return {name: digest_bytes(read_object(join(url, name))) for name in names}


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return the names of what is not the same in both."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _specification(folder: str, num_rows: int) -> CohortSpec:
    fields = {
        "checkpoint": "tiny",
        "corpus": str(Path(folder) / "corpus"),
        "patients": {"count": NUM_PERSONS},
        "conditions": {
            "grid": {
                "statements": [[report] for report in REPORTS],
                "heart_rate_bpm": list(RATES_BPM),
            }
        },
        "replicates": -(-num_rows // NUM_CELLS),
        "sampling": {"num_steps": NUM_STEPS, "guidance_scale": 1},
        "gates": {"accept": "exact", "max_attempts": NUM_ATTEMPTS},
        "output": {
            "url": str(Path(folder) / "cohort"),
            "rows_per_shard": ROWS_PER_SHARD,
            "rows_per_chunk": ROWS_PER_CHUNK,
        },
    }
    return CohortSpec.parse(fields, origin="a benchmark")


def _executor(num_workers: int) -> Executor:
    if num_workers == 1:
        return LocalExecutor()
    from ecgtwin.executors.ray_executor import RayExecutor

    return RayExecutor(num_workers=num_workers)


def _verified(url: str, executor: Executor) -> Verification:
    return verify_cohort(read_stored(url), executor=executor, complete=True)


class _Clock:
    """Seconds of wall time by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 2)
        print(f"{name}: {self.seconds[name]} s", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
