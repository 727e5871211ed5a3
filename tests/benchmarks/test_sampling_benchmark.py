"""Laws of the comparison of two ways to sample: the same numbers, other work."""

import pytest
import torch

from benchmarks.networks import Inputs, stirred_twin
from benchmarks.reference_way import (
    OURS,
    REFERENCE,
    SINGLE_WAYS,
    MaterialisedSelfAttention,
    Way,
    blocks_of,
    calls_in_steps,
    drawn,
    materialised,
)
from benchmarks.sampling import (
    MOST_DIFFERENCE,
    compared,
    largest_difference,
    single_ways,
    spec_of,
    table,
)
from ecgtwin.models.attention import SelfAttention
from ecgtwin.spec.presets import preset

NUM_STEPS = 4
EMBEDDED = {
    "tokens",
    "norms of tokens",
    "keys and values",
    "norms of keys and values",
    "base projection",
}


@pytest.fixture(scope="module")
def twin():
    """The published way in small."""
    paper = preset("paper")
    denoiser = paper.denoiser.model_copy(update={"width": 32, "num_layers": 2, "num_heads": 4})
    return stirred_twin(paper.model_copy(update={"denoiser": denoiser}))


@pytest.fixture(scope="module")
def inputs(twin):
    return Inputs.of(twin, 3)


def test_our_way_runs_nothing_step_invariant_during_the_steps(twin, inputs):
    calls = calls_in_steps(twin, inputs, spec_of(NUM_STEPS), OURS)
    assert calls.keys() == EMBEDDED | {"text"}
    assert all(count == 0 for counts in calls.values() for count in counts)


def test_the_published_way_runs_each_of_them_in_every_step(twin, inputs):
    calls = calls_in_steps(twin, inputs, spec_of(NUM_STEPS), REFERENCE)
    assert calls.pop("text") == [0]
    assert calls.keys() == EMBEDDED
    assert all(counts and set(counts) == {NUM_STEPS} for counts in calls.values())
    assert [len(calls[kind]) for kind in ("keys and values", "norms of keys and values")] == [2, 4]


@pytest.mark.parametrize("way", [REFERENCE, *SINGLE_WAYS.values()])
def test_every_way_draws_the_same(twin, inputs, way):
    ours = drawn(twin, inputs, spec_of(NUM_STEPS), OURS)
    assert largest_difference(ours, drawn(twin, inputs, spec_of(NUM_STEPS), way)) < 1e-5


def test_the_comparison_would_notice_another_person_or_condition(twin, inputs):
    ours = drawn(twin, inputs, spec_of(NUM_STEPS), OURS)
    changed = (
        Inputs(*values)
        for values in (
            (*fields_of(inputs)[:3], inputs.base_BW.roll(1, dims=0), inputs.conditions),
            (*fields_of(inputs)[:4], inputs.conditions[::-1][:1] * 3),
        )
    )
    for other in changed:
        found = drawn(twin, other, spec_of(NUM_STEPS), REFERENCE)
        assert largest_difference(ours, found) > 3 * MOST_DIFFERENCE


def fields_of(inputs):
    return tuple(getattr(inputs, name) for name in Inputs.__slots__)


def test_materialised_attention_is_ours_with_maps_averaged_over_heads(twin):
    ours = blocks_of(twin.denoiser)[0].self_attention
    theirs = MaterialisedSelfAttention(ours)
    x = torch.randn(2, 128, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert largest_difference(ours(x), theirs(x)) < 1e-5
        _, maps = theirs.attention(x, x, x)
    assert maps.shape == (2, 128, 128)
    torch.testing.assert_close(maps.sum(dim=-1), torch.ones(2, 128))


def test_the_published_way_makes_every_map(twin, inputs):
    """Self-attention by torch's module, cross-attention through a control, in each block."""
    seen = []

    def note(module, given, made):
        seen.append(made[1].shape)

    with materialised(twin.denoiser):
        for block in blocks_of(twin.denoiser):
            block.self_attention.attention.register_forward_hook(note)
        twin.denoiser(
            inputs.noise_BCF,
            inputs.times(twin),
            twin.denoiser.embed(inputs.base_BW, twin.condition_batch(inputs.conditions)),
        )
    assert seen == 2 * [(3, 128, 128)]


def test_a_twin_is_itself_again_after_the_published_way(twin, inputs):
    before = list(twin.denoiser.named_modules())
    with pytest.raises(ZeroDivisionError), materialised(twin.denoiser):
        _ = 1 / 0
    drawn(twin, inputs, spec_of(1), Way(makes_self_maps=True))
    assert list(twin.denoiser.named_modules()) == before


def test_a_rotary_code_on_queries_has_no_published_way():
    with pytest.raises(ValueError, match="rotary"):
        MaterialisedSelfAttention(SelfAttention(16, 2, 8))


def test_the_result_holds_each_run_and_its_table_fits(twin):
    result = {
        "preset": "paper",
        "device": "cpu",
        "batch": 1,
        **compared(twin, 1, 2, num_pairs=3),
        "single_ways": single_ways(twin, 1, 1, num_pairs=1),
        "calls_in_steps": {way: {"tokens": [0]} for way in ("ours", "reference")},
    }
    assert [took["num_runs"] for took in result["seconds"].values()] == [3, 3]
    ratio = result["reference_over_ours"]
    assert 0 < ratio["least"] <= ratio["median"] <= ratio["most"]
    assert result["single_ways"].keys() == SINGLE_WAYS.keys()
    assert max(map(len, table(result).splitlines())) <= 100
