"""A tiny corpus, a saved tiny twin and specifications over them."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.shard import Shard
from ecgtwin.store.commit import put_new
from ecgtwin.store.layout import SignalLayout
from ecgtwin.store.objects import join, read_object
from ecgtwin.store.s3 import filesystem
from ecgtwin.store.writer import create_signals, write_shard
from tests.store.shards import whole_columns
from tests.tiny import tiny_twin

NUM_SAMPLES, RATE_HZ = 1024, 102.4


@dataclass(frozen=True)
class Row:
    """One record of the tiny corpus."""

    patient_id: str
    visit: int
    split: str = "train"
    accepted: bool = True
    age_years: float | None = 60.0
    sex: str = "female"
    statements: tuple[tuple[str, str], ...] = (("sinus rhythm", "definite"),)


DEFAULT_ROWS = (
    Row("p1", 1),
    Row("p2", 0, age_years=None, sex="unknown"),
    Row("p1", 0, age_years=41.0),
    Row("p3", 0, accepted=False),
    Row("p3", 1, sex="male"),
    Row("p4", 0, split="test"),
    Row("p5", 0, split="test", accepted=False),
)


def make_corpus(url: str, rows: Sequence[Row] = DEFAULT_ROWS, *, key: str | None = None) -> str:
    """Write a corpus of noise with the given persons; return its URL.

    ``key``: of the pseudonyms, from which the noise of their twins follows; None: a new one.
    """
    layout = SignalLayout(len(rows), NUM_SAMPLES, RATE_HZ, rows_per_shard=16, rows_per_chunk=16)
    put_new(join(url, "corpus.json"), b'{"kind": "corpus", "digest": "c0ffee"}')
    put_new(join(url, "private/pseudonym.key"), (key or secrets.token_hex(32)).encode())
    create_signals(url, layout)
    samples_mv = np.random.default_rng(0).normal(0, 0.3, (len(rows), 12, NUM_SAMPLES))
    columns: dict[str, list[Any]] = {
        "accepted": [row.accepted for row in rows],
        "reason": [None if row.accepted else "a flat lead" for row in rows],
        "record_id": [f"{row.patient_id}-{row.visit}" for row in rows],
        "patient_id": [row.patient_id for row in rows],
        "source": ["tiny"] * len(rows),
        "visit": [row.visit for row in rows],
        "split": [row.split for row in rows],
        "age_years": [row.age_years for row in rows],
        "sex": [row.sex for row in rows],
        "heart_rate_bpm": [None if row.visit else 71.5 for row in rows],
        "measured_heart_rate_bpm": [12.0 for _ in rows],
        "statements": [[code for code, _ in row.statements] for row in rows],
        "certainties": [[certainty for _, certainty in row.statements] for row in rows],
    }
    shard = Shard(0, 0, len(rows))
    filled = whole_columns(columns)
    write_shard(url, layout, shard, samples_mv, filled, schema="corpus", plan_digest="c0ffee")
    return url


def make_checkpoint(folder: Path, seed: int = 0) -> str:
    """Save the untrained tiny twin; return its URL."""
    tiny_twin(seed).save(str(folder), provenance={"trained": False})
    return str(folder)


def make_spec(inputs: Path, url: Path | str, **changes: Any) -> CohortSpec:
    """Return a specification over the corpus and twin in ``inputs``: 12 rows in 3 shards."""
    fields = {
        "checkpoint": str(inputs / "twin"),
        "corpus": str(inputs / "corpus"),
        "patients": {"split": "train"},
        "conditions": [
            {
                "statements": ["sinus rhythm"],
                "heart_rate_bpm": {"start": 60, "stop": 120, "count": 3},
            },
            {"statements": ["atrial fibrillation"], "age_years": 80, "sex": "male"},
        ],
        "batch_rows": 3,
        "sampling": {"num_steps": 2},
        "output": {"url": str(url), "rows_per_shard": 4, "rows_per_chunk": 2},
    }
    return CohortSpec.parse(fields | changes, origin="a test")


def objects_under(url: str) -> dict[str, bytes]:
    """Return every object of a cohort but the records of its runs."""
    root = Path(url)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] != "runs"
    }


def s3_objects_under(url: str) -> dict[str, bytes]:
    """Return what ``objects_under`` does, of a cohort on S3."""
    root = url.removeprefix("s3://") + "/"
    names = [str(name).removeprefix(root) for name in filesystem().find(root)]
    return {
        name: read_object(join(url, name)) for name in sorted(names) if not name.startswith("runs/")
    }
