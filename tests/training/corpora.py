"""Small corpora to train from, written without an ingest."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtwin.signals.leads import derive_limb_leads
from ecgtwin.store.commit import put_new
from ecgtwin.store.layout import STEP_MV, SignalLayout
from ecgtwin.store.objects import join
from ecgtwin.store.writer import create_signals, write_shard
from tests.store.shards import whole_columns

CODES = ("sinus rhythm", "atrial fibrillation", "left bundle branch block")


@dataclass(frozen=True)
class Row:
    """One row of a corpus."""

    person: str
    recording: str
    split: str = "train"
    statements: tuple[str, ...] = ("sinus rhythm",)
    window: int = 0
    accepted: bool = True


def many_rows(num_persons: int = 14) -> list[Row]:
    """Return rows of persons with one to three recordings; some are rejected, one is windowed."""
    rows = []
    for number in range(num_persons):
        split = "validation" if number % 4 == 3 else "train"
        for visit in range(1 + number % 3):
            codes = CODES[: 1 + (number + visit) % 3]
            rows.append(
                Row(f"p{number}", f"{number}-{visit}", split, codes, accepted=number + visit != 6)
            )
    return [
        *rows,
        Row("p1", "1-1", statements=CODES, window=1),
        Row("t0", "t0-0", "test"),
        Row("t0", "t0-1", "test"),
    ]


def ecg_like(num_rows: int, num_samples: int, seed: int) -> NDArray[np.float32]:
    """Return (row, 12, time) in mV: spikes about once a second over a slow wander."""
    random = np.random.default_rng(seed)
    time = np.arange(num_samples)
    phase = random.uniform(0, 100, (num_rows, 1, 1))
    period = random.uniform(60, 130, (num_rows, 1, 1))
    sizes = random.normal(0, 0.8, (num_rows, 8, 1))
    beats = np.exp(-((((time + phase) % period) - 40) ** 2) / 8)
    noise = random.normal(0, 0.01, (num_rows, 8, num_samples))
    return derive_limb_leads(sizes * beats + noise).astype(np.float32)


def write_corpus(
    url: str,
    rows: Sequence[Row],
    *,
    rate_hz: float = 102.4,
    num_samples: int = 1024,
    rows_per_shard: int = 16,
    digest: str = "c0ffee",
    step_mv: float = STEP_MV,
    shards: Sequence[int] | None = None,
) -> str:
    """Write a corpus, or some of its shards; return its URL."""
    layout = SignalLayout(len(rows), num_samples, rate_hz, rows_per_shard, 4, step_mv)
    put_new(join(url, "corpus.json"), json.dumps({"digest": digest}).encode())
    put_new(join(url, "private/pseudonym.key"), secrets.token_hex(32).encode())
    create_signals(url, layout)
    samples_mv = ecg_like(len(rows), num_samples, seed=5)
    samples_mv[[not row.accepted for row in rows]] = np.nan
    for shard in layout.shards():
        if shards is not None and shard.index not in shards:
            continue
        part = rows[shard.start : shard.stop]
        columns: dict[str, list[Any]] = {
            "accepted": [row.accepted for row in part],
            "reason_kind": [None if row.accepted else "flat_lead" for row in part],
            "reason": [None if row.accepted else "a flat lead" for row in part],
            "record_id": [row.recording for row in part],
            "patient_id": [row.person for row in part],
            "source": ["test"] * len(part),
            "visit": [0] * len(part),
            "window": [row.window for row in part],
            "split": [row.split for row in part],
            "age_years": [None if row.person == "p0" else 71.3 for row in part],
            "sex": ["female"] * len(part),
            "heart_rate_bpm": [66.6 + len(row.statements) for row in part],
            "statements": [list(row.statements) for row in part],
            "certainties": [["possible"] * len(row.statements) for row in part],
        }
        write_shard(
            url,
            layout,
            shard,
            samples_mv[shard.start : shard.stop],
            whole_columns(columns),
            schema="corpus",
            plan_digest=digest,
        )
    return url
