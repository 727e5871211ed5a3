"""What the executor costs when the model costs nothing: the driver, the idle workers, the resume.

python -m benchmarks.null_model [--shards 960] [--resume 1000000]

- ``ray``: a work that sleeps half a second a shard and imports no torch, in 16 actors of one GPU
  each, on four simulated nodes of this machine; the median of three rounds. Processor time of the
  driver per shard, all its threads included, from the first shard's end to the last's, and before;
  idle share of the actors, each from its first shard to the end of the run. The machine's processor
  use of the same time stands beside it: actors wait for a busy machine too.
- ``loop``: the pool alone, with workers that are entries in a list and answer one at a time.
- ``resume``: a cohort's plan with all but one in a hundred manifests committed on this disk: list
  them, and compute the rest. The files are in the page cache: they have just been made.

Each part has a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.simulated_nodes import ray_settings, simulated_nodes
from ecgtwin.executors.pool import Pool, PoolSettings
from ecgtwin.executors.protocol import Outcome, Try
from ecgtwin.executors.transport import Answered, Event, Ready
from ecgtwin.spec.shard import Shard, ShardCut
from ecgtwin.store.layout import COLUMNS, SignalLayout, manifest_name
from ecgtwin.store.manifest import Manifest, encode_manifest, resumable_shards, sample_of

NUM_SHARDS, NUM_RESUMED = 960, 1_000_000
ROUNDS = 3  # with Ray
NUM_NODES, GPUS_PER_NODE = 4, 4
SLEEP_S = 0.5
NUM_LOOPED = 50_000
POOLS = (64, 1024)
LEFT_OUT = 100  # one manifest in so many is missing
LINKS = 60_000  # of one file, at most
PLAN = "a plan"
LIMIT_DRIVER_MS, LIMIT_IDLE, LIMIT_RESUME_S, BUSY = 2.0, 0.05, 20.0, 0.8
Figures = dict[str, Any]


def main() -> None:
    """Measure every part in a process of its own, write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", type=int, default=NUM_SHARDS, help="of the part with Ray")
    parser.add_argument("--resume", type=int, default=NUM_RESUMED, help="shards of the plan")
    parser.add_argument("--part", choices=("ray", "loop", "resume"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = arguments.shards, arguments.resume
    parts = {
        "ray": lambda: with_ray(arguments.shards),  # one round
        "loop": lambda: {f"{num} workers": looped(num, NUM_LOOPED) for num in POOLS},
        "resume": lambda: resumed_in_a_folder(arguments.resume),
    }
    if arguments.part:
        print(json.dumps(parts[arguments.part]()))
        return
    rounds = [_in_a_process("ray", *sizes) for _ in range(ROUNDS)]
    result: Figures = {"ray": {**median_of(rounds), "rounds": rounds}}
    result |= {part: _in_a_process(part, *sizes) for part in ("loop", "resume")}
    result["bars"] = bars_of(result)
    print(json.dumps(result, indent=1))
    if sizes == (NUM_SHARDS, NUM_RESUMED):
        from benchmarks.facts import write_result  # needs torch, which no part does

        print(write_result("null-model", result))


def _in_a_process(part: str, num_shards: int, num_resumed: int) -> Figures:
    command = [sys.executable, "-m", "benchmarks.null_model", "--part", part]
    command += ["--shards", str(num_shards), "--resume", str(num_resumed)]
    environment = os.environ | ray_settings()
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: Figures = json.loads(made.stdout.splitlines()[-1])
    return found


def median_of(rounds: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    return {name: median(one[name] for one in rounds) for name in rounds[0]}


def bars_of(result: Figures) -> Figures:
    """Return each bar with what was found. Idleness is judged where the machine is not busy."""
    ray = result["ray"]
    idle = _bar(ray["idle_share"], LIMIT_IDLE)
    if ray["machine_busy_share"] >= BUSY:
        idle["met"] = None
    return {
        "driver, processor ms per shard": _bar(ray["driver_ms_per_shard"], LIMIT_DRIVER_MS),
        "idle share of the actors": idle,
        "resume, s": _bar(result["resume"]["seconds"], LIMIT_RESUME_S),
    }


def _bar(found: float, at_most: float) -> Figures:
    return {"at_most": at_most, "found": found, "met": found <= at_most}


@dataclass(frozen=True, slots=True)
class Nap:
    """What one shard of the null work was: seconds of the epoch."""

    begin: float
    end: float


@dataclass(frozen=True)
class Sleep:
    """The null work."""

    seconds: float

    def __call__(self, shard: Shard) -> Nap:
        """Sleep; say when."""
        begin = time.time()
        time.sleep(self.seconds)
        return Nap(begin, time.time())


def with_ray(num_shards: int) -> Figures:
    """Return what the driver and the actors did while ``num_shards`` were slept through."""
    from ecgtwin.executors.ray_executor import RayExecutor

    num_workers = NUM_NODES * GPUS_PER_NODE
    with simulated_nodes(NUM_NODES, num_cpus=GPUS_PER_NODE, num_gpus=GPUS_PER_NODE):
        executor = RayExecutor(num_workers, num_gpus_per_worker=1)
        load = os.getloadavg()[0]
        marks = [_Mark.now()]
        outcomes: list[Outcome] = []
        for outcome in executor.run(Sleep(SLEEP_S), ShardCut(num_shards, 1)):
            if not outcomes:
                marks.append(_Mark.now())
                psutil.cpu_percent()
            outcomes.append(outcome)
        marks.append(_Mark.now())
        busy = psutil.cpu_percent() / 100
    begun, first, ended = marks
    return {
        "shards": len(outcomes),
        "workers": num_workers,
        "sleep_s": SLEEP_S,
        "seconds": round(ended.at_s - begun.at_s, 2),
        "seconds_from_the_first": round(ended.at_s - first.at_s, 2),
        "driver_start_ms": round((first.processor_s - begun.processor_s) * 1e3),
        "driver_ms_per_shard": round(
            (ended.processor_s - first.processor_s) / (len(outcomes) - 1) * 1e3, 3
        ),
        "idle_share": round(idle_share(outcomes), 4),
        "machine_busy_share": round(busy, 3),
        "load_before": round(load, 2),
        "load_after": round(os.getloadavg()[0], 2),
    }


@dataclass(frozen=True, slots=True)
class _Mark:
    """A moment, and the processor time that this process had used by then."""

    at_s: float
    processor_s: float

    @classmethod
    def now(cls) -> "_Mark":
        """Return this moment."""
        used = psutil.Process().cpu_times()
        return cls(time.perf_counter(), used.user + used.system)


def idle_share(outcomes: Sequence[Outcome]) -> float:
    """Return the share of the actors' time, from the first shard of each to the end, not slept."""
    naps: dict[str, list[Nap]] = {}
    for outcome in outcomes:
        assert isinstance(outcome.result, Nap), outcome.error
        naps.setdefault(outcome.worker, []).append(outcome.result)
    end = max(nap.end for of_one in naps.values() for nap in of_one)
    there_s = sum(end - min(nap.begin for nap in of_one) for of_one in naps.values())
    slept_s = sum(nap.end - nap.begin for of_one in naps.values() for nap in of_one)
    return 1 - slept_s / there_s


class InProcess:
    """Workers that are numbers: each shard is answered in the order of sending, one a call."""

    def __init__(self) -> None:
        self._next = 0
        self._events: deque[Event] = deque()

    def start(self) -> int:
        """Return a worker that is there at once."""
        self._next += 1
        self.ask(self._next)
        return self._next

    def ask(self, worker: int) -> None:
        """Answer that it is there."""
        self._events.append(Ready(worker, "here"))

    def send(self, worker: int, shard: Shard) -> int:
        """Do the shard."""
        self._next += 1
        self._events.append(Answered(self._next, Try(None, None, None, "here", 0.0)))
        return self._next

    def events(self, timeout_s: float) -> Sequence[Event]:
        """Return the oldest answer."""
        return [self._events.popleft()]

    def stop(self, worker: int) -> None:
        """Do nothing."""

    def has_node(self, node: str) -> bool:
        """Return True."""
        return True

    def capacity(self) -> int:
        """Return one place."""
        return 1

    def missing(self) -> str:
        """Return nothing."""
        return ""


def looped(num_workers: int, num_shards: int) -> Figures:
    """Return the processor time that the pool takes for a shard, the start of workers aside."""
    pool = Pool(InProcess(), ShardCut(num_shards, 1), PoolSettings(num_workers, max_tries=3))
    outcomes = pool.run()
    num_before = sum(1 for _ in zip(range(num_workers), outcomes, strict=False))
    started = time.process_time()
    num = sum(1 for _ in outcomes)
    spent_s = time.process_time() - started
    assert num + num_before == num_shards
    return {"shards": num, "us_per_shard": round(spent_s / num * 1e6, 2)}


def resumed_in_a_folder(num_shards: int) -> Figures:
    """Make the manifests of a plan in a folder that is deleted afterwards; resume it."""
    with tempfile.TemporaryDirectory() as folder:
        layout = SignalLayout(num_shards, 16, 100.0, rows_per_shard=1, rows_per_chunk=1)
        committed = make_manifests(Path(folder), layout)
        return {**resumed(folder, layout, committed), "load": round(os.getloadavg()[0], 2)}


def resumed(url: str, layout: SignalLayout, committed: int) -> Figures:
    """Return how long it takes to say what is left to do."""
    started, processor = time.perf_counter(), time.process_time()
    done = resumable_shards(url, layout, plan_digest=PLAN)
    shards = layout.shards()
    left = [shards[index] for index in range(len(shards)) if index not in done]
    seconds = time.perf_counter() - started
    assert (len(done), len(left)) == (committed, len(shards) - committed)
    return {
        "shards": len(shards),
        "committed": len(done),
        "left": len(left),
        "seconds": round(seconds, 2),
        "processor_s": round(time.process_time() - processor, 2),
    }


def make_manifests(folder: Path, layout: SignalLayout) -> int:
    """Write a manifest for all but one shard in a hundred; return how many.

    Those that a resume reads are manifests of their shards, the others links to such a one.
    """
    (folder / "manifest").mkdir()
    indices = [index for index in range(len(layout.shards())) if index % LEFT_OUT != 1]
    read = set(sample_of(indices))
    for index in read:
        (folder / manifest_name(index)).write_bytes(encode_manifest(_manifest(layout, index)))
    linked = [index for index in indices if index not in read]
    for start in range(0, len(linked), LINKS):
        first = folder / manifest_name(linked[start])
        first.write_bytes(encode_manifest(_manifest(layout, linked[start])))
        for index in linked[start + 1 : start + LINKS]:
            os.link(first, folder / manifest_name(index))
    return len(indices)


def _manifest(layout: SignalLayout, index: int) -> Manifest:
    columns: dict[str, list[Any]] = {
        name: [_plain(kind)] for name, kind in COLUMNS["cohort"].items()
    }
    columns["row"] = [index]
    return Manifest(layout.shards()[index], "cohort", PLAN, columns, "object", "0" * 64, 1, "")


def _plain(kind: Any) -> object:  # noqa: ANN401
    """Return a value of an Arrow type."""
    name = str(kind)
    if name.startswith("list"):
        return []
    if name == "bool":
        return True
    return "made up" if name == "string" else 1


if __name__ == "__main__":
    main()
