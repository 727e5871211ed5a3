"""The cohort engine against the bare drawing of the same ECGs, and its memory over many shards.

python -m benchmarks.cohort_engine [--checkpoint tiny] [--rounds 3] [--shards 8]

Bare drawing is sampling and decoding in one thread, on one core. The engine makes the whole cohort
on local disk: its sampling thread on that core, all else (decoding, gates, quantising, encoding,
commits, driver) on another. Both draw the same rows, at the checkpoint's own steps, one after the
other in each round. The engine's time begins when its first shard is committed (networks are loaded
and the stages filled by then) and ends with the last one.

Two Ray actors are held against two processes that only draw. Memory is that of a process which
makes many small shards: resident, after the first tenth of them and at the end. Milliseconds are of
wall time; ``benchmarks.gates`` has what the gates cost in time of a processor.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import torch

from benchmarks.facts import write_result
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.executors.protocol import Executor, Outcome
from ecgtwin.executors.ray_executor import RayExecutor
from ecgtwin.generation.draw import Decoder, sample_rows
from ecgtwin.generation.numerics import device_at_hand, settle_numerics
from ecgtwin.generation.prepare import resolve_cohort, write_plan
from ecgtwin.generation.stages import Stage
from ecgtwin.generation.texts import load_twin
from ecgtwin.generation.worker import GenerateShard
from ecgtwin.spec.cohort import CohortSpec

LEAST_SHARE = 0.9
MOST_GATES_MS = 1.0
MOST_GROWTH = 0.05
ROWS_PER_SHARD, BATCH_ROWS = 64, 32
Figures = dict[str, Any]


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--memory-shards", type=int, default=1000)
    parser.add_argument("--bare", metavar="URL", help="only draw what is planned there")
    parser.add_argument("--core", type=int, default=0, help="of --bare")
    arguments = parser.parse_args()
    if arguments.bare is not None:
        print(bare(specification(Path(arguments.bare), arguments), core=arguments.core))
        return
    found: Figures = {"checkpoint": arguments.checkpoint, "rows_per_shard": ROWS_PER_SHARD}
    found["one"] = rounds_of(arguments, one_worker)
    if (os.cpu_count() or 1) > 1:
        found["two"] = rounds_of(arguments, two_workers)
    found["memory"] = memory(arguments)
    found["bars"] = bars(found)
    found["load"] = os.getloadavg()[0]
    path = write_result("cohort-engine", found)
    print(path, found["bars"], sep="\n")


def bars(found: Figures) -> Figures:
    """Return each bar with what was found."""
    one, grown = found["one"], found["memory"]["growth"]
    return {
        "engine against bare drawing": {
            "asked": LEAST_SHARE,
            "found": one["share"],
            "met": one["share"] >= LEAST_SHARE,
        },
        "gates, ms an ECG": {
            "asked": MOST_GATES_MS,
            "found": one["gates_ms"],
            "met": one["gates_ms"] <= MOST_GATES_MS,
        },
        "growth of memory": {"asked": MOST_GROWTH, "found": grown, "met": grown <= MOST_GROWTH},
    }


def specification(url: Path, arguments: argparse.Namespace, **changes: object) -> CohortSpec:
    """Return what is made: one ECG of each of many simulated persons, with gates."""
    fields = {
        "checkpoint": arguments.checkpoint,
        "patients": {"population": ROWS_PER_SHARD, "seed": 5},
        "conditions": [{"statements": ["sinus rhythm"], "heart_rate_bpm": 72}],
        "replicates": arguments.shards,
        "batch_rows": BATCH_ROWS,
        "gates": {"accept": "all"},
        "output": {"url": str(url), "rows_per_shard": ROWS_PER_SHARD, "rows_per_chunk": 16},
    }
    return CohortSpec.parse(fields | changes, origin="the benchmark")


def rounds_of(arguments: argparse.Namespace, one_round: Callable[[CohortSpec], Figures]) -> Figures:
    """Return the medians of several rounds, and the rounds."""
    rounds = []
    for _ in range(arguments.rounds):
        with TemporaryDirectory() as folder:
            rounds.append(one_round(specification(Path(folder) / "cohort", arguments)))
        print(rounds[-1], file=sys.stderr, flush=True)
    return {**{name: median(one[name] for one in rounds) for name in rounds[0]}, "rounds": rounds}


def one_worker(spec: CohortSpec) -> Figures:
    """Return both rates of one worker."""
    drawn = bare(spec)
    engine = made(spec, LocalExecutor(), on_stage_start=_pin)
    return {"bare_ecgs_per_s": drawn, **engine, "share": engine["ecgs_per_s"] / drawn}


def two_workers(spec: CohortSpec) -> Figures:
    """Return the rate of two actors, and of two processes that only draw."""
    write_plan(resolve_cohort(spec))
    words = [*sys.orig_argv, "--bare", spec.output.url, "--core"]
    both = [
        subprocess.Popen([*words, str(core)], stdout=subprocess.PIPE, text=True) for core in (0, 1)
    ]
    drawn = sum(float(one.communicate()[0].split()[-1]) for one in both)
    engine = made(spec, RayExecutor(2))
    return {"bare_ecgs_per_s": drawn, **engine, "share": engine["ecgs_per_s"] / drawn}


def bare(spec: CohortSpec, *, core: int = 0) -> float:
    """Return ECGs a second of sampling and decoding the rows of all shards but the first."""
    cohort = resolve_cohort(spec)
    twin = load_twin(spec.checkpoint, texts_at=None, device=device_at_hand())
    settle_numerics()
    torch.set_num_threads(1)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(allowed)[core]})
    vectors, decoder = cohort.base_vectors, Decoder(twin)
    try:
        num_ecgs, started = 0, 0.0
        for shard in cohort.plan.shards():
            requests = [cohort.plan.request_at(row) for row in range(shard.start, shard.stop)]
            decoder.decode(cohort.plan, sample_rows(twin, cohort.plan, vectors, requests))
            if shard.index == 0:
                started = time.perf_counter()
            else:
                num_ecgs += len(shard)
        return num_ecgs / (time.perf_counter() - started)
    finally:
        os.sched_setaffinity(0, allowed)


def made(spec: CohortSpec, executor: Executor, **settings: Callable[[Stage], None]) -> Figures:
    """Make the cohort; return ECGs a second since its first commit, and what its parts took."""
    cohort = write_plan(resolve_cohort(spec))
    times: list[float] = []
    outcomes: list[Outcome] = []
    for outcome in executor.run(GenerateShard(cohort.plan.spec, **settings), cohort.plan.shards()):
        if outcome.error is not None:
            raise RuntimeError(outcome.error)
        times.append(time.perf_counter())
        outcomes.append(outcome)
    results: list[Any] = [outcome.result for outcome in outcomes]
    num_ecgs = sum(one.num_rows for one in results)
    return {
        "ecgs_per_s": sum(one.num_rows for one in results[1:]) / (times[-1] - times[0]),
        "sampled_per_s": num_ecgs / sum(one.sampling_s for one in results),
        "gates_ms": 1000 * sum(one.gating_s for one in results) / num_ecgs,
        "decoding_ms": 1000 * sum(one.decoding_s for one in results) / num_ecgs,
        "writing_ms": 1000 * sum(one.writing_s for one in results) / num_ecgs,
    }


def _pin(stage: Stage) -> None:
    """Keep sampling on the first core, and the other stages off it."""
    cores = sorted(os.sched_getaffinity(os.getpid()))
    os.sched_setaffinity(0, {cores[0]} if stage == "sampling" else set(cores[1:]) or {cores[0]})


def memory(arguments: argparse.Namespace) -> Figures:
    """Return the resident memory of a process while it makes many small shards."""
    num_shards = arguments.memory_shards
    with TemporaryDirectory() as folder:
        spec = specification(
            Path(folder) / "cohort",
            arguments,
            patients={"population": 4, "seed": 5},
            replicates=num_shards,
            batch_rows=4,
            sampling={"num_steps": 1},
            output={"url": str(Path(folder) / "cohort"), "rows_per_shard": 4, "rows_per_chunk": 4},
        )
        cohort = write_plan(resolve_cohort(spec))
        resident = partial(psutil.Process().memory_info)
        found = [
            resident().rss / 2**20
            for _ in LocalExecutor().run(GenerateShard(cohort.plan.spec), cohort.plan.shards())
        ]
    tenth = max(1, num_shards // 10)
    before, after = median(found[tenth : 2 * tenth]), median(found[-tenth:])
    return {
        "shards": num_shards,
        "second_tenth_mib": before,
        "last_tenth_mib": after,
        "peak_mib": max(found),
        "growth": after / before - 1,
    }


if __name__ == "__main__":
    main()
