"""The speed of light, from what shards say that they took."""

import pytest

from ecgtwin.executors.protocol import Outcome
from ecgtwin.generation.making import ShardResult
from ecgtwin.generation.speed import Speed
from ecgtwin.spec.shard import Shard


def outcome(worker: str, **changes: float) -> Outcome:
    found = {
        "num_rows": 10, "num_accepted": 9, "num_drawn": 20, "object_bytes": 1, "was_ours": True,
        "sampling_s": 4.0, "decoding_s": 0.5, "gating_s": 0.25, "writing_s": 0.25,
    }  # fmt: skip
    return Outcome(Shard(0, 0, 10), ShardResult(**found | changes), None, 1, worker, 6.0)  # type: ignore[arg-type]


def test_two_workers_against_what_both_can_draw() -> None:
    """Each samples 5 a second at its best; together they drew 40 in 5 seconds of their 50."""
    speed = Speed()
    speed.add(outcome("one"), seconds=4.0)
    speed.add(outcome("two"), seconds=5.0)
    assert speed.ceiling_per_worker == 5.0
    assert speed.share_of_ceiling == pytest.approx(0.8)
    assert speed.ecgs_per_second == 4.0
    shares = {"sampling": 0.8, "decoding": 0.1, "gates": 0.05, "writing": 0.05}
    assert speed.shares() == pytest.approx(shares)
    assert speed.light() == (
        "4 ECG/s, 2.00 draws an ECG; sampling alone 2 x 5: 80% of light, "
        "sampling 80%, decoding 10%, gates 5%, writing 5%"
    )


def test_a_shard_that_failed_takes_time_and_makes_nothing() -> None:
    speed = Speed()
    speed.add(Outcome(Shard(0, 0, 10), None, "an error", 3, "one", 1.0), seconds=8.0)
    assert (speed.num_ecgs, speed.num_shards, speed.light()) == (0, 0, "")
    speed.add(outcome("one", num_drawn=10), seconds=10.0)
    assert (speed.num_ecgs, speed.ecgs_per_second, speed.num_accepted) == (10, 1.0, 9)
    assert "draws an ECG" not in speed.light()
