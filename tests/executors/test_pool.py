"""The pool's laws, on a transport whose deaths, silences and stops are drawn from a seed."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from ecgtwin.errors import ClusterError
from ecgtwin.executors.pool import MOST_LOSSES, Pool, PoolSettings
from ecgtwin.executors.protocol import Outcome
from ecgtwin.executors.transport import Event
from ecgtwin.spec.shard import Shard, cut_shards
from tests.executors.simulated import Simulated

SHARDS = cut_shards(200, 1)
STORM = {"node": 0.05, "silence": 0.05, "stop": 0.05, "no start": 0.02}


def settings(transport: Simulated, **others: Any) -> PoolSettings:
    given = {"num_workers": 8, "max_tries": 3, "verdict_s": 0.0, **others}
    return PoolSettings(overlapping=transport.overlapping, **given)


def run(transport: Simulated, **others: Any) -> dict[int, Outcome]:
    """Run all shards; each has exactly one outcome."""
    pool = Pool(transport, SHARDS, settings(transport, **others))
    outcomes = list(pool.run())
    pool.stop()
    assert sorted(outcome.shard.index for outcome in outcomes) == list(range(len(SHARDS)))
    assert transport.num_workers == 0
    return {outcome.shard.index: outcome for outcome in outcomes}


@pytest.mark.parametrize("overlapping", [1, 2, 3])
@pytest.mark.parametrize("seed", range(20))
def test_no_storm_loses_a_shard_repeats_an_outcome_or_makes_poison(
    seed: int, overlapping: int
) -> None:
    transport = Simulated(
        overlapping=overlapping, killers=[20, 21], raisers=[22], fates=STORM, seed=seed
    )
    ends = run(transport)
    assert {index for index, end in ends.items() if end.error is not None} == {20, 21, 22}
    assert [ends[index].tries for index in (20, 21, 22)] == [3, 3, 3]
    assert "the worker died: its end" in (ends[20].error or "")
    innocent = [end for index, end in ends.items() if index not in (20, 21, 22)]
    assert {end.tries for end in innocent} == {1}
    assert transport.most_in_flight == overlapping + 1
    assert transport.most_workers == 8


@pytest.mark.parametrize("seed", range(20))
def test_the_only_worker_is_replaced_when_it_is_told_to_stop_and_falls_silent(seed: int) -> None:
    storm = {"silence": 0.3, "stop": 0.3}
    ends = run(Simulated(overlapping=3, fates=storm, seed=seed), num_workers=1)
    assert {end.error for end in ends.values()} == {None}


@pytest.mark.parametrize("seed", range(10))
def test_a_neighbour_of_a_poison_shard_dies_with_it_once(seed: int) -> None:
    transport = Simulated(overlapping=3, killers=[20], seed=seed)
    ends = run(transport)
    assert ends[20].tries == 3
    assert 3 <= transport.deaths_beside.pop(20) <= 4  # once in company, then alone
    assert set(transport.deaths_beside.values()) <= {1}


def test_a_shard_that_loses_its_node_for_ever_is_given_up() -> None:
    ends = run(Simulated(fates={"node": 1.0}), max_tries=1)
    assert all(f"lost {MOST_LOSSES + 1} times" in (end.error or "") for end in ends.values())


def test_workers_that_never_start_end_the_run() -> None:
    transport = Simulated(fates={"no start": 1.0})
    with pytest.raises(ClusterError, match="could not start a worker: no start"):
        run(transport)


def test_shards_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def endless() -> Iterator[Shard]:
        for index in range(10**9):
            taken.append(index)
            yield Shard(index, index, index + 1)

    transport = Simulated(overlapping=2)
    outcomes = Pool(transport, endless(), settings(transport)).run()
    assert len(list(islice(outcomes, 100))) == 100
    assert len(taken) <= 100 + 8 * 3 + 8


def test_what_no_try_mends_is_said_before_all_shards_have_failed() -> None:
    endless = (Shard(index, index, index + 1) for index in range(10**9))
    transport = Simulated(mistaken=range(10**9))
    first = next(Pool(transport, endless, settings(transport)).run())
    assert (first.tries, first.is_hopeless) == (1, True)
    assert transport.num_sent <= 8 * 2


def test_stopping_hands_out_no_more_and_ends_with_those_in_flight() -> None:
    transport = Simulated()
    ended: list[Outcome] = []
    pool = Pool(transport, SHARDS, settings(transport, is_stopping=lambda: len(ended) >= 5))
    for outcome in pool.run():
        ended.append(outcome)
        if len(ended) == 5:
            sent_then = transport.num_sent
    assert transport.num_sent == sent_then == len(ended) < len(SHARDS)


class Growing(Simulated):
    """Holds other numbers of workers after some calls."""

    def __init__(self, places: dict[int, int]) -> None:
        super().__init__()
        self.places = 1
        self.seen: list[int] = []
        self._later = places
        self._calls = 0

    def events(self, timeout_s: float) -> list[Event]:
        self._calls += 1
        self.places = self._later.get(self._calls, self.places)
        self.seen.append(self.num_workers)
        return list(super().events(timeout_s))


def test_without_a_number_it_follows_what_the_cluster_holds() -> None:
    transport = Growing({60: 6})
    run(transport, num_workers=None, look_s=0.0)
    assert max(transport.seen[:60]) == 1
    assert max(transport.seen) == 6


def test_no_more_workers_are_started_than_there_are_shards() -> None:
    transport = Simulated()
    pool = Pool(transport, SHARDS[:3], settings(transport))
    assert len(list(pool.run())) == 3
    assert transport.most_workers == 3
