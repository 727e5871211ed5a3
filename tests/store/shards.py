"""Small corpora and cohorts to write, and a hook that runs between the steps of a commit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ecgtwin.spec.shard import Shard
from ecgtwin.store.layout import CORPUS_COLUMNS, NULLABLE, SignalLayout
from ecgtwin.store.writer import CommittedShard, create_signals, write_shard

LAYOUT = SignalLayout(
    num_rows=44, num_samples=64, sampling_rate_hz=102.4, rows_per_shard=16, rows_per_chunk=4
)
REJECTED = 5  # this row of LAYOUT is stored but not accepted

hook: Callable[[str, int], None] | None = None


def call_hook(name: str, shard_index: int) -> None:
    """Be named by ECGTWIN_COMMIT_HOOK."""
    if hook is not None:
        hook(name, shard_index)


def samples_of(layout: SignalLayout, seed: int = 0) -> np.ndarray:
    """Return (rows, 12, time) float32 in mV; REJECTED is all NaN."""
    shape = (layout.num_rows, 12, layout.num_samples)
    samples = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    if layout.num_rows > REJECTED:
        samples[REJECTED] = np.nan
    return samples


def whole_columns(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the columns with the other corpus columns as an unmeasured, plain row has them."""
    count = len(columns["record_id"])
    usual: dict[str, Any] = {name: None for name in CORPUS_COLUMNS if name in NULLABLE}
    usual |= {"window": 0, "window_start_s": 0.0, "unmapped": [], "flags": []}
    filled = {name: [value] * count for name, value in usual.items()} | columns
    for short, whole in (("patient_id", "person_id"), ("record_id", "recording_id")):
        names = zip(filled["source"], filled[short], strict=True)
        filled.setdefault(whole, [f"{source}:{name}" for source, name in names])
    assert set(filled) | {"row", "saturated"} == set(CORPUS_COLUMNS)
    return filled


def corpus_columns(shard: Shard) -> dict[str, list[Any]]:
    """Return every corpus column of a shard but ``row`` and ``saturated``."""
    rows = range(shard.start, shard.stop)
    columns = {
        "accepted": [row != REJECTED for row in rows],
        "reason_kind": ["flat_lead" if row == REJECTED else None for row in rows],
        "reason": ["flat lead V1" if row == REJECTED else None for row in rows],
        "record_id": [f"record-{row}" for row in rows],
        "patient_id": [f"patient-{row // 2}" for row in rows],
        "source": ["test"] * len(shard),
        "visit": [row % 2 for row in rows],
        "split": ["validation" if row % 4 == 0 else "train" for row in rows],
        "age_years": [None if row == 1 else 40.0 + row for row in rows],
        "sex": ["female"] * len(shard),
        "heart_rate_bpm": [None if row == 2 else 60.0 + row for row in rows],
        "measured_heart_rate_bpm": [None] * len(shard),
        "statements": [["sinus rhythm", f"code {row}"] for row in rows],
        "certainties": [["definite", "possible"] for _ in rows],
    }
    return whole_columns(columns)


def write_one(
    url: str, index: int, *, seed: int = 0, ledger: bool = True, plan_digest: str = "a plan"
) -> CommittedShard:
    """Write shard ``index`` of LAYOUT; another ``seed`` gives other bytes."""
    shard = LAYOUT.shards()[index]
    return write_shard(
        url,
        LAYOUT,
        shard,
        samples_of(LAYOUT, seed)[shard.start : shard.stop],
        corpus_columns(shard),
        schema="corpus",
        plan_digest=plan_digest,
        ledger=[{"row": shard.start, "reason": "ä test"}] if ledger else None,
    )


def write_corpus(url: str, *, shards: tuple[int, ...] = (0, 1, 2), seed: int = 0) -> None:
    """Write a corpus of LAYOUT, or some of its shards."""
    create_signals(url, LAYOUT)
    for index in shards:
        write_one(url, index, seed=seed)


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file under ``folder``, hidden ones too, but ``runs/``."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: path.read_bytes()
        for name, path in files.items()
        if path.is_file() and not name.startswith("runs/")
    }
