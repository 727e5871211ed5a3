"""The parts of the benchmark that need no Ray, made small: they measure what they say."""

import os
from itertools import pairwise

import pytest

from benchmarks.null_model import (
    LEFT_OUT,
    Nap,
    bars_of,
    idle_share,
    looped,
    make_manifests,
    median_of,
    resumed,
)
from ecgtwin.executors.protocol import Outcome
from ecgtwin.spec.shard import Shard
from ecgtwin.store.layout import SignalLayout
from ecgtwin.store.manifest import READ_ALL, SAMPLED, sample_of


def nap(worker: str, begin: float, end: float) -> Outcome:
    return Outcome(Shard(0, 0, 1), Nap(begin, end), None, 1, worker, end - begin)


def test_idleness_counts_from_the_first_shard_of_a_worker_to_the_end_of_all() -> None:
    naps = [nap("a", 0, 4), nap("a", 5, 10), nap("b", 6, 8)]
    assert idle_share(naps) == pytest.approx(1 - (4 + 5 + 2) / (10 + 4))


def test_the_loop_ends_all_shards() -> None:
    found = looped(64, 1000)
    assert found["shards"] == 1000 - 64
    assert found["us_per_shard"] > 0


def test_a_resume_lists_what_is_there_and_what_is_left(tmp_path) -> None:
    num = READ_ALL * 3 // 2
    layout = SignalLayout(num, 16, 100.0, rows_per_shard=1, rows_per_chunk=1)
    committed = make_manifests(tmp_path, layout)
    missing = len(range(1, num, LEFT_OUT))
    assert committed == num - missing
    assert len(os.listdir(tmp_path / "manifest")) == committed
    assert resumed(str(tmp_path), layout, committed)["left"] == missing


def test_what_is_read_of_many_is_spread_evenly() -> None:
    indices = range(10, 10 + 10 * READ_ALL)
    read = sample_of(indices)
    assert (len(set(read)), read[0], read[-1]) == (SAMPLED, indices[0], indices[-1])
    steps = {after - before for before, after in pairwise(read)}
    assert len(steps) <= 2
    assert sample_of(indices[:READ_ALL]) == indices[:READ_ALL]


def test_each_figure_is_the_median_of_the_rounds() -> None:
    rounds = [{"a": 1.0, "b": 5.0}, {"a": 9.0, "b": 1.0}, {"a": 2.0, "b": 4.0}]
    assert median_of(rounds) == {"a": 2.0, "b": 4.0}


def test_idleness_is_not_judged_on_a_busy_machine() -> None:
    ray = {"driver_ms_per_shard": 1.0, "idle_share": 0.2, "machine_busy_share": 0.9}
    resume = {"seconds": 30.0}
    bars = bars_of({"ray": ray, "resume": resume})
    assert [bar["met"] for bar in bars.values()] == [True, None, False]
    ray["machine_busy_share"] = 0.5
    assert bars_of({"ray": ray, "resume": resume})["idle share of the actors"]["met"] is False
