"""Cohorts that keep every reject, to be proved, harmed and mended; and how that is asked for."""

import shutil
from pathlib import Path
from typing import Any

from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.repair_cohort import Repair, repair_cohort
from ecgtwin.generation.repair_plan import source_of
from ecgtwin.generation.run import generate_cohort
from ecgtwin.generation.stored_plan import read_stored
from ecgtwin.generation.verify_cohort import Verification, verify_cohort
from ecgtwin.spec.cohort import CohortSpec
from tests.generation.corpora import make_spec

# Untrained networks draw noise, of which about a third has a beat.
GATES = {
    "accept": "exact",
    "max_attempts": 3,
    "rate_tolerance_bpm": None,
    "min_beats": 1,
    "max_baseline_mv": None,
    "intervals": None,
    "quality": None,
}


def exact_spec(inputs: Path, url: Path | str, **changes: Any) -> CohortSpec:
    """Return a specification of 48 rows in 12 shards."""
    output = {"url": str(url), "rows_per_shard": 4, "rows_per_chunk": 2}
    return make_spec(inputs, url, replicates=4, gates=GATES, output=output, **changes)


def make_exact(inputs: Path, url: Path | str) -> CohortSpec:
    """Make that cohort; return its specification."""
    spec = exact_spec(inputs, url)
    assert generate_cohort(spec, executor=LocalExecutor()).is_complete
    return spec


def copied(url: str, to: Path) -> str:
    """Copy a cohort in a folder; return where to."""
    shutil.copytree(url, to)
    return str(to)


def verified(url: str, *, complete: bool = False) -> Verification:
    return verify_cohort(read_stored(url), executor=LocalExecutor(), complete=complete)


def repaired(
    url: str, *, complete: bool = False, spec: CohortSpec | None = None, **options: Any
) -> Repair:
    source = source_of(url, checkpoint=None, spec=spec)
    found = verified(url, complete=complete)
    return repair_cohort(found, source, executor=LocalExecutor(), **options)


def problems_of(found: Verification) -> list[tuple[str, int | None, str]]:
    return [(problem.kind, problem.shard, problem.name) for problem in found.problems]
