"""DeepSpeed's dictionary follows from the specification; a raw one may add, not contradict."""

import pytest

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.deepspeed_config import BUCKET_ELEMENTS, deepspeed_config

BUCKET = {"reduce_bucket_size": BUCKET_ELEMENTS}


def config(**changes):
    return deepspeed_config(TrainingSpec(**changes), micro_batch=4, accumulation=2)


def test_what_follows_from_the_specification():
    derived = config(zero_stage=2, clip_norm=0.5)
    assert derived["train_micro_batch_size_per_gpu"] == 4
    assert derived["gradient_accumulation_steps"] == 2
    assert derived["gradient_clipping"] == 0.5
    assert derived["zero_optimization"] == {"stage": 2, **BUCKET}
    assert config()["zero_optimization"] == {"stage": 0}
    assert derived["torch_autocast"]["enabled"] is False
    assert config()["gradient_clipping"] == 0.0  # the engine clips


def test_precisions():
    assert config(precision="bf16")["torch_autocast"]["enabled"] is True
    whole = config(precision="bf16_weights", zero_stage=2)
    assert whole["bf16"] == {"enabled": True}
    assert whole["data_types"] == {"grad_accum_dtype": "fp32"}
    assert "torch_autocast" not in whole


def test_offload():
    assert config(zero_stage=1, offload="optimizer")["zero_optimization"] == {
        "stage": 1,
        "offload_optimizer": {"device": "cpu"},
        **BUCKET,
    }
    everything = config(zero_stage=3, offload="optimizer_and_parameters")["zero_optimization"]
    assert everything["offload_param"] == {"device": "cpu"}


def test_a_raw_dictionary_is_merged_in():
    raw = {"zero_optimization": {"stage": 2, "overlap_comm": True}, "wall_clock_breakdown": True}
    merged = config(zero_stage=2, deepspeed=raw)
    assert merged["zero_optimization"] == {"stage": 2, "overlap_comm": True, **BUCKET}
    own = config(zero_stage=2, deepspeed={"zero_optimization": {"reduce_bucket_size": 7}})
    assert own["zero_optimization"] == {"stage": 2, "reduce_bucket_size": 7}
    assert merged["wall_clock_breakdown"] is True


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {"zero_optimization": {"stage": 3}},
            r"deepspeed\.zero_optimization\.stage: 3 contradicts",
        ),
        ({"gradient_accumulation_steps": 7}, "contradicts 2"),
        ({"optimizer": {"type": "Lamb"}}, "is decided by learning_rate, betas and weight_decay"),
        ({"fp16": {"enabled": True}}, "is decided by precision"),
        ({"train_batch_size": 8}, "is decided by batch_size"),
        (
            {"zero_optimization": {"offload_param": {"device": "cpu"}}},
            r"zero_optimization\.offload_param: is decided by offload",
        ),
    ],
)
def test_a_contradiction_is_refused(raw, message):
    with pytest.raises(SpecificationError, match=message):
        config(zero_stage=2, deepspeed=raw)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "bf16_weights"}, "zero_stage must be 2 or 3"),
        ({"offload": "optimizer"}, "needs zero_stage 1 or more, found 0"),
        ({"offload": "optimizer_and_parameters", "zero_stage": 2}, "needs zero_stage 3"),
        ({"ema_decays": [0.9, 0.9]}, "holds a value twice"),
        ({"ema_decays": [1.0]}, "between 0 and 1"),
    ],
)
def test_what_does_not_go_together_is_said(changes, message):
    with pytest.raises(SpecificationError, match=message):
        TrainingSpec.parse(changes, origin="recipe.yaml")
