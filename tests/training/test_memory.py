"""Ten million parameters, two moving averages; MB is a million bytes."""

import pytest

from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.deepspeed_config import BUCKET_ELEMENTS
from ecgtwin.training.memory import checkpoint_bytes, state_memory

NUM, MB = 10_000_000, 1e6
RANKS = 4
BUCKET = {"zero_optimization": {"reduce_bucket_size": 1_000_000}}


def memory_of(**fields):
    spec = TrainingSpec(ema_decays=(0.9, 0.99), deepspeed=BUCKET, **fields)
    return state_memory(NUM, spec, world_size=RANKS)


@pytest.mark.parametrize(
    ("fields", "weights", "gradients", "masters", "moments", "averages", "bucket"),
    [
        ({"zero_stage": 0}, 40, 40, 0, 80, 80, 0),
        ({"zero_stage": 0, "precision": "bf16"}, 40, 40, 0, 80, 80, 0),
        ({"zero_stage": 1}, 40, 40, 10, 20, 20, 4),
        ({"zero_stage": 2}, 40, 10, 10, 20, 20, 4),
        ({"zero_stage": 3}, 10, 10, 10, 20, 20, 4),
        ({"zero_stage": 2, "precision": "bf16_weights"}, 20, 10, 10, 20, 20, 2),
        ({"zero_stage": 3, "precision": "bf16_weights"}, 5, 10, 10, 20, 20, 2),
    ],
)
def test_each_stage_shares_out_more(fields, weights, gradients, masters, moments, averages, bucket):
    found = memory_of(**fields)
    assert {name: size / MB for name, size in found.device.items()} == {
        "weights": weights,
        "gradients": gradients,
        "master weights": masters,
        "Adam moments": moments,
        "moving averages": averages,
        "bucket of gradients": bucket,
    }
    assert found.host_bytes == 0
    assert found.device_bytes / MB == sum((weights, gradients, masters, moments, averages, bucket))


def test_offloading_moves_bytes_to_the_host_and_adds_none():
    plain = memory_of(zero_stage=3)
    optimiser = memory_of(zero_stage=3, offload="optimizer")
    everything = memory_of(zero_stage=3, offload="optimizer_and_parameters")
    assert (optimiser.device_bytes / MB, optimiser.host_bytes / MB) == (10 + 4, 60)
    assert (everything.device_bytes / MB, everything.host_bytes / MB) == (4, 70)
    for moved in (optimiser, everything):
        assert moved.device_bytes + moved.host_bytes == plain.device_bytes


def test_the_bucket_is_counted_where_no_other_is_asked_for():
    (size,) = {
        state_memory(NUM, TrainingSpec(zero_stage=stage), world_size=1).device[
            "bucket of gradients"
        ]
        for stage in (1, 2, 3)
    }
    assert size == 4 * BUCKET_ELEMENTS


def test_a_checkpoint_is_whole_and_fp32_whatever_the_stage():
    spec = TrainingSpec(ema_decays=(0.9, 0.99), zero_stage=3, precision="bf16_weights")
    assert checkpoint_bytes(NUM, 100, spec) == 4 * (5 * NUM + 100)
