"""What the gates of drawn ECGs cost: milliseconds of one core an ECG of twelve leads and 10 s.

OMP_NUM_THREADS=1 python -m benchmarks.gates CORPUS [--ptbxl FOLDER] [--rows 512] [--rounds 9]

A worker judges what it has drawn before it writes it: ``all together`` is that whole step of a
shard, ``judge_rows`` and ``manifest_columns`` of ``generation.judge``. Beside it stand its parts,
each over the shard by itself: quantising (and back to mV), measuring, limb residual, gates and
columns. Three kinds of ECGs: drawn by the shipped networks for persons of CORPUS, simulated, and
recordings of PTB-XL (where fewer than the rows, the first stand there again), each at the rate of
the networks and at 500 Hz. Times are CPU seconds of the process, which is kept on one core: of what
else runs on the machine they hold no time, but they are longer where it shares caches and cores.
Parts go in turns; figures are medians over the rounds.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.facts import write_result
from benchmarks.measurement import read_records
from ecgtwin.generation.draw import FIRST_ATTEMPT
from ecgtwin.generation.gates import failed_gates_of
from ecgtwin.generation.judge import judge_rows, manifest_columns
from ecgtwin.generation.plan import SampleRequest
from ecgtwin.generation.prepare import ResolvedCohort, resolve_cohort
from ecgtwin.generation.texts import load_twin
from ecgtwin.generation.trial import draw_spread
from ecgtwin.signals.leads import limb_residual_mv
from ecgtwin.signals.measurement import measure_all
from ecgtwin.signals.preprocess import resample_rows
from ecgtwin.sources.simulated import simulate
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.store.reader import to_mv
from ecgtwin.store.writer import quantise

Samples = NDArray[np.float32]
Figures = dict[str, Any]

NUM_ROWS, NUM_ROUNDS = 512, 9
HIGH_HZ = 500.0
LIMIT_MS = 1.0
SEED = 7
ALL = "all together"
CONDITIONS = [
    {"statements": ["sinus rhythm"], "heart_rate_bpm": {"start": 55, "stop": 100, "count": 4}},
    {"statements": ["sinus rhythm", "left bundle branch block"], "heart_rate_bpm": 75},
    {"statements": ["normal ecg"], "heart_rate_bpm": 65},
    {"statements": ["atrial fibrillation"], "heart_rate_bpm": 110},
    {"statements": ["prolonged qt interval"]},
]


def main() -> None:
    """Time every kind of ECG at both rates, write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus")
    parser.add_argument("--ptbxl", type=Path, help="folder with records500 of PTB-XL")
    parser.add_argument("--rows", type=int, default=NUM_ROWS)
    parser.add_argument("--rounds", type=int, default=NUM_ROUNDS)
    arguments = parser.parse_args()
    cohort, requests, drawn_mv = drawn(arguments.corpus, arguments.rows)
    rate_hz = cohort.layout.sampling_rate_hz
    ecgs = {
        "drawn": (drawn_mv, resample_rows(drawn_mv, from_hz=rate_hz, to_hz=HIGH_HZ)),
        "simulated": tuple(simulated(arguments.rows, hz) for hz in (rate_hz, HIGH_HZ)),
    }
    if arguments.ptbxl is not None:
        real_mv = ptbxl(arguments.ptbxl, arguments.rows)
        ecgs["PTB-XL"] = (resample_rows(real_mv, from_hz=HIGH_HZ, to_hz=rate_hz), real_mv)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    result = compared(cohort, requests, ecgs, num_rounds=arguments.rounds)
    print(json.dumps(result, indent=1))
    whole = (arguments.rows, arguments.rounds) == (NUM_ROWS, NUM_ROUNDS)
    if whole and arguments.ptbxl is not None:
        print(write_result("gates", result))


def drawn(corpus: str, num_rows: int) -> tuple[ResolvedCohort, Sequence[SampleRequest], Samples]:
    """Return ECGs (row, 12, time) in mV of the shipped networks, and what was asked for."""
    fields = {
        "checkpoint": "tiny",
        "corpus": corpus,
        "patients": {"split": "train"},
        "conditions": CONDITIONS,
        "replicates": num_rows,
        "gates": {},
        "output": {"url": "not-written"},
    }
    cohort = resolve_cohort(CohortSpec.parse(fields, origin="the benchmark"), at_url=False)
    trial = draw_spread(load_twin("tiny", texts_at=corpus), cohort, num_rows)
    return cohort, trial.requests, trial.samples_mv


def simulated(num_rows: int, rate_hz: float) -> Samples:
    """Return the first visits (row, 12, time) in mV of simulated persons."""
    rows = simulate(
        seed=SEED, persons=range(num_rows), visits_per_person=1, sampling_rate_hz=rate_hz
    )
    return np.stack([row.record.samples_mv for row in rows]).astype(np.float32)


def ptbxl(folder: Path, num_rows: int) -> Samples:
    """Return recordings (row, 12, time) of PTB-XL in mV at 500 Hz."""
    recordings = [samples for _, samples in read_records(folder / "records500")]
    return np.stack([recordings[row % len(recordings)] for row in range(num_rows)])


def compared(
    cohort: ResolvedCohort,
    requests: Sequence[SampleRequest],
    ecgs: dict[str, tuple[Samples, ...]],
    *,
    num_rounds: int,
) -> Figures:
    """Return the figures of every kind and rate, and the bars."""
    rates_hz = (cohort.layout.sampling_rate_hz, HIGH_HZ)
    figures: Figures = {}
    bars: Figures = {}
    for kind, of_rates in ecgs.items():
        for rate_hz, samples_mv in zip(rates_hz, of_rates, strict=True):
            layout = replace(
                cohort.layout, sampling_rate_hz=rate_hz, num_samples=samples_mv.shape[2]
            )
            found = timed(replace(cohort, layout=layout), requests, samples_mv, num_rounds)
            name = f"{kind}, {rate_hz:g} Hz"
            figures[name] = found
            bars[f"{name}: {ALL}, ms"] = _bar(found["median_ms"][ALL])
    return {"rows": len(requests), "rounds": num_rounds, "figures": figures, "bars": bars}


def timed(
    cohort: ResolvedCohort,
    requests: Sequence[SampleRequest],
    samples_mv: Samples,
    num_rounds: int,
) -> Figures:
    """Return ms per ECG of each part: the median over the rounds, and the quickest."""
    parts = parts_of(cohort, requests, samples_mv)
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(num_rounds + 1):
        for name, part in parts.items():
            spent_ms = 1000 * _cpu_s(part) / len(samples_mv)
            if turn:  # the first warms up
                taken[name].append(spent_ms)
    judged = judge_rows(cohort, requests, samples_mv)
    return {
        "median_ms": {name: round(median(spent), 4) for name, spent in taken.items()},
        "quickest_ms": {name: round(min(spent), 4) for name, spent in taken.items()},
        "failing_share": sum(bool(one.failures) for one in judged) / len(judged),
    }


def parts_of(
    cohort: ResolvedCohort, requests: Sequence[SampleRequest], samples_mv: Samples
) -> dict[str, Callable[[], object]]:
    """Return each part of the work on a shard, with its inputs made, and the whole."""
    layout, gates = cohort.layout, cohort.plan.spec.gates
    assert gates is not None
    steps, _ = quantise(samples_mv, step_mv=layout.step_mv)
    stored_mv = to_mv(steps, step_mv=layout.step_mv)
    judged = judge_rows(cohort, requests, samples_mv)
    attempts = [FIRST_ATTEMPT] * len(requests)
    measure = partial(
        measure_all, list(stored_mv), [layout.sampling_rate_hz] * len(requests), seek_swaps=False
    )
    judge = partial(
        failed_gates_of,
        stored_mv,
        measured=measure(),
        limb_residuals_mv=limb_residual_mv(stored_mv).tolist(),
        conditions=[request.condition for request in requests],
        gates=gates,
        sampling_rate_hz=layout.sampling_rate_hz,
    )
    return {
        "quantising": lambda: to_mv(
            quantise(samples_mv, step_mv=layout.step_mv)[0], step_mv=layout.step_mv
        ),
        "measuring": measure,
        "limb residual": lambda: limb_residual_mv(stored_mv),
        "gates": judge,
        "columns": lambda: manifest_columns(cohort, requests, judged, attempts),
        ALL: lambda: manifest_columns(
            cohort, requests, judge_rows(cohort, requests, samples_mv), attempts
        ),
    }


def _cpu_s(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def _bar(found: float) -> Figures:
    return {"at_most": LIMIT_MS, "found": found, "met": found <= LIMIT_MS}


if __name__ == "__main__":
    main()
