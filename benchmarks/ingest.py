"""An ingest against a bare loop, two workers against one, its memory, and reading what it made.

python -m benchmarks.ingest PTBXL_FOLDER [--quick] [--only PART ...]

PTBXL_FOLDER holds recordings of 500 Hz. The archives that are ingested are made of them in a
temporary folder, see ``benchmarks.archive_copies``. ``--quick`` and ``--only`` write no result.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy import signal
from torch.utils.data import DataLoader

from benchmarks.archive_copies import write_archive
from benchmarks.facts import write_result
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.executors.protocol import Executor
from ecgtwin.signals.record import EcgRecord
from ecgtwin.sources.ingest import ingest
from ecgtwin.sources.opening import open_archive
from ecgtwin.sources.wfdb_records import write_wfdb
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.reader import Corpus
from ecgtwin.store.torch_dataset import EcgDataset, Place

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # wfdb uses what pandas 3 deprecates
    import wfdb

Result = dict[str, Any]

BATCH = 64
SHARDS_TO_WARM = 4  # of two workers: each has then started, imported and done one
BARS = {
    "one core: rate of an ingest / rate of the bare loop": ("at_least", 0.8),
    "two workers / one worker": ("at_least", 1.8),
    "memory: growth of the peak from the smaller to the larger archive": ("at_most", 0.1),
    "reading batches / reading WFDB files": ("at_least", 20.0),
}
CHILD = """
import sys
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.sources.ingest import ingest
from ecgtwin.sources.opening import open_archive
from ecgtwin.spec.ingest import IngestSpec

def peak_mib():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

peaks = []
settings = IngestSpec(measure=False, ptbxl_rate_hz=100)
source = open_archive("ptbxl", sys.argv[1], settings)
made = ingest(source, sys.argv[2], settings=settings, executor=LocalExecutor(),
              on_shard=lambda rows: peaks.append(peak_mib()))
print(len(source), peaks[0], peaks[-1], peak_mib())
"""


@dataclass(frozen=True)
class Sizes:
    """Numbers of recordings, and of rounds that are taken in turns."""

    rates: int = 2000
    workers: int = 4096
    memory: tuple[int, int] = (2000, 20_000)
    reading: int = 1024
    rounds: int = 5


QUICK = Sizes(rates=250, workers=1024, memory=(500, 1500), reading=256, rounds=3)


@dataclass
class Marks:
    """When how many rows were done; the first mark is the end of planning."""

    started_s: float = field(default_factory=time.perf_counter)
    rows: list[int] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)

    def __call__(self, num_rows: int) -> None:
        self.rows.append(num_rows)
        self.at_s.append(time.perf_counter() - self.started_s)

    def rate_after(self, shards: int) -> float:
        """Return rows per second from the end of that shard to the end of the last."""
        rows = sum(self.rows[shards + 1 :])
        return rows / (self.at_s[-1] - self.at_s[shards])


def main() -> None:
    """Measure; write the result."""
    _restart_with_one_thread()
    parser = argparse.ArgumentParser()
    parser.add_argument("ptbxl", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else Sizes()
    result: Result = {}
    for name in arguments.only:
        with tempfile.TemporaryDirectory(prefix="ecgtwin-ingest-") as folder:
            started = time.perf_counter()
            result[name] = PARTS[name](arguments.ptbxl, Path(folder), sizes)
            print(name, f"{time.perf_counter() - started:.0f} s", json.dumps(result[name]))
    if set(arguments.only) != set(PARTS):
        return
    result["bars"] = _bars(result)
    print(json.dumps(result["bars"], indent=1))
    if not arguments.quick:
        print(write_result("ingest", result))


def rates(ptbxl: Path, folder: Path, sizes: Sizes) -> Result:
    """Compare the ingest, pinned to one core, with rdrecord and the published resampling."""
    paths = write_archive(ptbxl, folder / "archive", num_records=sizes.rates, rate_hz=500)
    kinds = {"ingest": False, "with_measurement": True}
    spent: dict[str, list[float]] = {name: [] for name in ("bare", *kinds)}
    marks: dict[str, list[Marks]] = {name: [] for name in kinds}
    with _on_one_core():
        _bare_loop(paths[:50])
        for turn in range(sizes.rounds):
            spent["bare"].append(_seconds(_bare_loop, paths))
            for name, measure in kinds.items():
                settings = IngestSpec(measure=measure)
                mark = Marks()
                _ingest(folder / "archive", folder / f"{name}-{turn}", settings, mark)
                spent[name].append(time.perf_counter() - mark.started_s)
                marks[name].append(mark)
    found: Result = {
        "recordings": sizes.rates,
        "rounds": sizes.rounds,
        "rejected": sizes.rates - len(Corpus(str(folder / "ingest-0"))),
        "bare_loop": _pace(spent["bare"], sizes.rates),
    }
    for name in kinds:
        planning = [mark.at_s[0] for mark in marks[name]]
        shards = [mark.at_s[-1] - mark.at_s[0] for mark in marks[name]]
        found[name] = _pace(spent[name], sizes.rates) | {
            "planning_s": median(planning),
            "shards_s": median(shards),
            "ratio": _ratio(spent["bare"], spent[name]),
            "ratio_without_planning": _ratio(
                spent["bare"], [a - b for a, b in zip(spent[name], planning, strict=True)]
            ),
            "ratio_of_the_shards_alone": _ratio(spent["bare"], shards),
        }
    return found


def workers(ptbxl: Path, folder: Path, sizes: Sizes) -> Result:
    """Compare two Ray workers with one, from the end of their first shards to the end of all."""
    from ecgtwin.executors.ray_cluster import local_cluster
    from ecgtwin.executors.ray_executor import RayExecutor

    write_archive(ptbxl, folder / "archive", num_records=sizes.workers, rate_hz=500)
    settings = IngestSpec(measure=False, rows_per_shard=128)
    paces: dict[int, list[float]] = {1: [], 2: []}
    with local_cluster(2):
        for turn in range(sizes.rounds):
            for number in paces:
                mark = Marks()
                target = folder / f"{number}-{turn}"
                _ingest(folder / "archive", target, settings, mark, RayExecutor(number))
                paces[number].append(mark.rate_after(SHARDS_TO_WARM))
    return {
        "recordings": sizes.workers,
        "rounds": sizes.rounds,
        "start_up": f"excluded: rates are from the end of shard {SHARDS_TO_WARM} to that of all",
        "one_per_s": median(paces[1]),
        "two_per_s": median(paces[2]),
        "ratio": _ratio(paces[2], paces[1]),
    }


def memory(ptbxl: Path, folder: Path, sizes: Sizes) -> Result:
    """Return the peaks of resident memory of ingests in processes of their own."""
    found: Result = {}
    for number in sizes.memory:
        archive = folder / f"archive-{number}"
        write_archive(ptbxl, archive, num_records=number, rate_hz=100)
        command = [sys.executable, "-c", CHILD, str(archive), str(folder / f"corpus-{number}")]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        recordings, planned, shards, finished = map(float, printed.split())
        found[str(number)] = {
            "recordings": int(recordings),
            "peak_after_planning_mib": planned,
            "peak_after_shards_mib": shards,
            "peak_mib": finished,
        }
    small, large = (found[str(number)] for number in sizes.memory)
    growth_mib = large["peak_mib"] - small["peak_mib"]
    planning_mib = large["peak_after_planning_mib"] - small["peak_after_planning_mib"]
    return {
        "rate_hz": 100,
        **found,
        "growth_mib": growth_mib,
        "growth_mib_of_planning": planning_mib,
        "growth": growth_mib / small["peak_mib"],
    }


def reading(ptbxl: Path, folder: Path, sizes: Sizes) -> Result:
    """Compare epochs of shuffled batches with rdrecord of the same recordings, one core."""
    write_archive(ptbxl, folder / "archive", num_records=sizes.reading, rate_hz=500)
    _ingest(folder / "archive", folder / "corpus", IngestSpec(measure=False), Marks())
    corpus = Corpus(str(folder / "corpus"))
    paths = _as_wfdb(corpus, folder / "wfdb")
    spent: dict[str, list[float]] = {"batches": [], "wfdb": [], "random_rows": []}
    with _on_one_core():
        for turn in range(sizes.rounds + 1):  # the first is not counted
            order = np.random.default_rng(turn).permutation(len(corpus))
            spent["batches"].append(_seconds(_read_epoch, corpus, turn))
            spent["random_rows"].append(_seconds(_read_rows, corpus, order))
            spent["wfdb"].append(_seconds(_read_files, [paths[row] for row in order]))
    kept = {name: seconds[1:] for name, seconds in spent.items()}
    return {
        "recordings": len(corpus),
        "rounds": sizes.rounds,
        "sampling_rate_hz": corpus.layout.sampling_rate_hz,
        "reader": f"EcgDataset in a DataLoader without workers, batches of {BATCH}, whole epochs",
        **{f"{name}_per_s": len(corpus) / median(seconds) for name, seconds in kept.items()},
        "ratio": _ratio(kept["wfdb"], kept["batches"]),
        "ratio_of_random_rows": _ratio(kept["wfdb"], kept["random_rows"]),
    }


PARTS: dict[str, Callable[[Path, Path, Sizes], Result]] = {
    "rates": rates,
    "workers": workers,
    "memory": memory,
    "reading": reading,
}


def _ingest(
    archive: Path, target: Path, settings: IngestSpec, mark: Marks, executor: Executor | None = None
) -> None:
    source = open_archive("ptbxl", str(archive), settings)
    done = executor or LocalExecutor()
    summary = ingest(source, str(target), settings=settings, executor=done, on_shard=mark)
    if summary.failures:
        raise RuntimeError(summary.failures[0].error)


def _bare_loop(paths: Sequence[Path]) -> None:
    for path in paths:
        signal.resample(wfdb.rdrecord(str(path)).p_signal, 1024)


def _as_wfdb(corpus: Corpus, folder: Path) -> list[Path]:
    """Write what the corpus holds as WFDB files; check that they say the same."""
    folder.mkdir()
    paths = []
    for row in range(len(corpus)):
        (samples_mv,) = corpus.samples_mv([row])
        record = EcgRecord(samples_mv, corpus.layout.sampling_rate_hz, "", f"r{row:06d}")
        paths.append(write_wfdb(record, folder))
        if row % 100 == 0:
            same = wfdb.rdrecord(str(paths[-1])).p_signal.T
            np.testing.assert_allclose(same, samples_mv, atol=1e-4)
    return paths


def _read_epoch(corpus: Corpus, epoch: int) -> None:
    dataset = EcgDataset(corpus, seed=0, batch_size=BATCH, place=Place(epoch))
    count = sum(len(batch["row"]) for batch in DataLoader(dataset, batch_size=BATCH))
    assert count == len(corpus)


def _read_rows(corpus: Corpus, order: np.ndarray[Any, Any]) -> None:
    for start in range(0, len(order), BATCH):
        corpus.samples_mv(order[start : start + BATCH])


def _read_files(paths: Sequence[Path]) -> None:
    for path in paths:
        wfdb.rdrecord(str(path))


def _pace(seconds: Sequence[float], count: int) -> Result:
    return {
        "per_s": count / median(seconds),
        "milliseconds_per_recording": 1000 * median(seconds) / count,
    }


def _ratio(slower: Sequence[float], quicker: Sequence[float]) -> Result:
    """Return the ratio of each round: median and range."""
    found = [a / b for a, b in zip(slower, quicker, strict=True)]
    return {"median": median(found), "lowest": min(found), "highest": max(found)}


def _bars(result: Result) -> Result:
    found = (
        result["rates"]["ingest"]["ratio"]["median"],
        result["workers"]["ratio"]["median"],
        result["memory"]["growth"],
        result["reading"]["ratio"]["median"],
    )
    bars = {}
    for (name, (side, bar)), value in zip(BARS.items(), found, strict=True):
        is_met = value >= bar if side == "at_least" else value <= bar
        bars[name] = {side: bar, "found": value, "met": is_met}
    return bars


def _seconds(call: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started


@contextmanager
def _on_one_core() -> Iterator[None]:
    """Pin this process, all its threads to come included, to one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _restart_with_one_thread() -> None:
    """Start again where BLAS may use threads: it reads the variable once, when imported."""
    if os.environ.get("OMP_NUM_THREADS") != "1":
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main()
