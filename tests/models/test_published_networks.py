"""The published DiT and base extractor, number by number, and what they are as constructed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from ecgtwin.errors import SpecificationError
from ecgtwin.models.base_extractor import BaseExtractor
from ecgtwin.models.build import build_denoiser
from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.models.embeddings import Rotary, position_table, published_angles, time_code
from ecgtwin.spec.presets import preset
from ecgtwin.twin.published_keys import BASE_EXTRACTOR, DIT
from tests.models.published import filled_state

RELATIVE = 1e-4
EPS, MAPS, BLOCK = 2e-5, 5e-6, 5e-5  # absolute, as measured for the reference itself


@pytest.fixture(scope="module")
def parity(real_data):
    return real_data / "parity"


@pytest.fixture(scope="module")
def dit_file(parity):
    return stored(parity, "dit_ecgtwin")


@pytest.fixture(scope="module")
def ibe_file(parity):
    return stored(parity, "ibe")


@pytest.fixture(scope="module")
def dit(parity, dit_file):
    network = build_denoiser(preset("paper"))
    return with_weights(network, DIT, filled_state("dit_ecgtwin", dit_file["weight_seed"], parity))


@pytest.fixture(scope="module")
def ibe(parity, ibe_file):
    return filled_extractor(parity, ibe_file, reference_mask=False)


@pytest.fixture(scope="module")
def faulty_ibe(parity, ibe_file):
    return filled_extractor(parity, ibe_file, reference_mask=True)


def filled_extractor(parity, file, *, reference_mask):
    network = BaseExtractor(paper_with(reference_mask=reference_mask))
    state = filled_state("ibe", file["weight_seed"], parity)
    return with_weights(network, BASE_EXTRACTOR, state)


def paper_with(*, reference_mask):
    paper = preset("paper")
    extractor = paper.base_extractor.model_copy(update={"reference_mask": reference_mask})
    return paper.model_copy(update={"base_extractor": extractor})


def stored(parity, name):
    with np.load(parity / f"{name}.npz") as file:
        return {
            key: torch.from_numpy(file[key]) if file[key].ndim else int(file[key]) for key in file
        }


def with_weights(network, table, published):
    assert len(table.wanted(network.state_dict())) == len(published)
    network.load_state_dict(table.filled(network.state_dict(), published))
    return network.eval().requires_grad_(False)


def assert_same(ours, theirs, absolute):
    assert ours.shape == theirs.shape
    error = (ours - theirs).abs().max()
    assert error <= absolute
    assert error <= RELATIVE * theirs.abs().max()


def conditions_of(file, *, masked):
    if masked:
        return ConditionBatch.published(file["tokens_padded"], file["p"], file["mask"])
    return ConditionBatch.published(file["tokens"], file["p"])


class Recorded:
    """A control that changes nothing and keeps every map it sees."""

    def __init__(self):
        self.maps, self.masks = {}, []

    def __call__(self, layer, maps_BHFK, token_is_real_BK):
        self.maps[layer] = maps_BHFK
        self.masks.append(token_is_real_BK)
        return maps_BHFK


@pytest.mark.parametrize("masked", [False, True])
def test_the_dit_predicts_the_same_noise(dit, dit_file, masked):
    told = dit.embed(dit_file["base_vector"], conditions_of(dit_file, masked=masked))
    predicted = dit(dit_file["x"], dit_file["t"].float(), told)
    assert_same(predicted, dit_file["eps_masked" if masked else "eps_nomask"], EPS)


@pytest.mark.parametrize("masked", [False, True])
def test_every_layer_looks_at_the_same_tokens(dit, dit_file, masked):
    record = Recorded()
    conditions = conditions_of(dit_file, masked=masked)
    told = replace(dit.embed(dit_file["base_vector"], conditions), control=record)
    predicted = dit(dit_file["x"], dit_file["t"].float(), told)
    ending = "_masked" if masked else ""
    maps = torch.stack([record.maps[layer].mean(dim=1) for layer in range(7)])
    assert_same(maps, dit_file[f"attn_mean_heads{ending}"], MAPS)
    assert_same(predicted, dit_file["eps_masked" if masked else "eps_nomask"], EPS)
    assert all(mask is conditions.token_is_real_BK for mask in record.masks)
    assert list(record.maps) == list(range(7))


def test_one_block_of_the_dit_agrees_in_its_parts(dit, dit_file):
    index, record = dit_file["block_index"], Recorded()
    conditions = conditions_of(dit_file, masked=False)
    told = replace(dit.embed(dit_file["base_vector"], conditions), control=record)
    seen = {}
    hook = dit.blocks[index].register_forward_hook(
        lambda _, given, out: seen.update(x_in=given[0], context=given[1], x_out=out)
    )
    dit(dit_file["x"], dit_file["t"].float(), told)
    hook.remove()
    assert_same(seen["context"], dit_file["block_c"], BLOCK)
    assert_same(dit.tokens(conditions, None)[0], dit_file["block_tokens"], BLOCK)
    assert_same(record.maps[index], dit_file["block_attn_per_head"], MAPS)
    assert_same(seen["x_in"][:1], dit_file["block_x_in_item0"], BLOCK)
    assert_same(seen["x_out"][:1], dit_file["block_x_out_item0"], BLOCK)


def test_the_base_extractor_finds_the_same_vectors(ibe, ibe_file):
    latent = ibe_file["latent"].transpose(1, 2)
    conditions = conditions_of(ibe_file, masked=False)
    assert_same(ibe(latent, conditions), ibe_file["b_nomask"], EPS)
    assert_same(ibe.frames(latent, conditions)[:1], ibe_file["tokens_out_item0"], EPS)
    nobody = torch.zeros(len(latent), dtype=torch.bool)
    assert_same(ibe(latent, conditions, is_told_B=nobody), ibe_file["b_classfree"], EPS)


def test_padding_is_mended_or_as_published_by_one_field(ibe, faulty_ibe, ibe_file):
    latent = ibe_file["latent"].transpose(1, 2)
    padded = conditions_of(ibe_file, masked=True)
    assert_same(ibe(latent, padded), ibe_file["b_mended"], EPS)
    assert_same(faulty_ibe(latent, padded), ibe_file["b_padded_asis"], EPS)
    unmasked = ConditionBatch.published(ibe_file["tokens_padded"], ibe_file["p"])
    assert_same(ibe(latent, unmasked), ibe_file["b_padded_ignored"], EPS)
    assert (ibe(latent, padded) - faulty_ibe(latent, padded)).abs().max() > 1


def test_pairs_of_vectors_have_the_same_logits(ibe, ibe_file):
    first, second = (
        functional.normalize(
            ibe(
                ibe_file[f"latent{which}"].transpose(1, 2),
                ConditionBatch.published(ibe_file[f"tokens{which}"], ibe_file[f"p{which}"]),
            ),
            dim=-1,
        )
        for which in ("", "2")
    )
    logits = ibe.log_scale.exp() * first @ second.T
    assert_same(logits, ibe_file["pair_logits_1"], EPS)
    assert_same(logits.T, ibe_file["pair_logits_2"], EPS)


def test_fixed_tables_are_the_published_ones(parity):
    tables = stored(parity, "tables")
    turned = Rotary(published_angles(256, 128))(tables["rotary_in"])
    assert_same(turned, tables["rotary_out"], 2e-5)
    code = time_code(tables["timesteps"].float(), 256, steps_per_time=1)
    assert_same(code, tables["timestep_sinusoid"], 1e-4)
    assert_same(position_table(25, 256), tables["dit_token_positions_init"], 1e-5)
    assert_same(position_table(100, 8), tables["unet_token_positions_init_hidden8"], 1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("paper", 10_541_060), ("paper-adaln", 8_484_100), ("paper-cross-attention", 10_475_268)],
)
def test_the_denoisers_have_their_published_size(name, expected):
    assert num_parameters(build_denoiser(preset(name))) == expected


def test_the_base_extractor_has_its_published_size():
    assert num_parameters(BaseExtractor(preset("paper"))) == 3_361_025


def num_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture(scope="module")
def fresh():
    torch.manual_seed(0)
    return build_denoiser(preset("paper")).eval().requires_grad_(False)


def drawn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_as_constructed_only_the_text_is_heard(fresh):
    x, patient = drawn(1, 4, 128, seed=1), drawn(1, 3, seed=2)

    def predict(*, time=300.0, base_seed=3, text_seed=4):
        conditions = ConditionBatch.published(drawn(1, 2, 768, seed=text_seed), patient)
        told = fresh.embed(drawn(1, 256, seed=base_seed), conditions)
        return fresh(x, torch.tensor([time]), told)

    start = predict()
    assert torch.equal(predict(time=900.0), start)
    assert torch.equal(predict(base_seed=5), start)
    assert (predict(text_seed=6) - start).abs().max() > 1e-3
    assert start.abs().max() > 1e-2


def test_as_constructed_linear_layers_are_xavier_uniform(fresh):
    layers = {
        name: module
        for name, module in fresh.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    assert not any(layer.bias.any() for layer in layers.values())
    for name, layer in layers.items():
        if "modulation" in name:
            assert not layer.weight.any(), name
        elif name.startswith("time."):
            assert layer.weight.std() == pytest.approx(0.02, rel=0.05), name
        else:
            bound = (6 / sum(layer.weight.shape)) ** 0.5
            assert 0.97 * bound < layer.weight.abs().max() <= bound, name


def test_order_of_statements_matters_to_the_published_dit_alone(dit, ibe):
    text, patient = drawn(1, 3, 768, seed=1), drawn(1, 3, seed=2)
    one, other = (ConditionBatch.published(told, patient) for told in (text, text.flip(dims=(1,))))
    x, base = drawn(1, 4, 128, seed=3), drawn(1, 256, seed=4)
    time = torch.tensor([500.0])
    predictions = [dit(x, time, dit.embed(base, conditions)) for conditions in (one, other)]
    assert (predictions[0] - predictions[1]).abs().max() > 1e-2
    torch.testing.assert_close(ibe(x, one), ibe(x, other), atol=EPS, rtol=0)


def test_a_published_denoiser_refuses_to_be_guided(dit):
    conditions = ConditionBatch.published(drawn(2, 1, 768, seed=1), drawn(2, 3, seed=2))
    base = drawn(2, 256, seed=3)
    everybody = dit.embed(base, conditions, is_told_B=torch.tensor([True, True]))
    torch.testing.assert_close(everybody.keys_values, dit.embed(base, conditions).keys_values)
    with pytest.raises(SpecificationError, match=r"guidance is impossible.*guidance_scale to 1"):
        dit.embed(base, conditions, is_told_B=torch.tensor([True, False]))


def test_a_row_without_base_vector_has_a_zero_one(dit):
    conditions = ConditionBatch.published(drawn(2, 1, 768, seed=1), drawn(2, 3, seed=2))
    base = drawn(2, 256, seed=3)
    told = dit.embed(base, conditions, has_base_B=torch.tensor([True, False]))
    zeroed = dit.embed(base * torch.tensor([[1.0], [0.0]]), conditions)
    torch.testing.assert_close(told.base, zeroed.base)


@pytest.mark.parametrize(
    ("missing", "as_what"), [(0, float("nan")), (1, float("nan")), (2, float("nan")), (2, -1)]
)
def test_what_the_published_networks_cannot_say_is_refused(dit, ibe, missing, as_what):
    patient = drawn(2, 3, seed=2)
    patient[1, missing] = as_what
    conditions = ConditionBatch.published(drawn(2, 1, 768, seed=1), patient)
    with pytest.raises(SpecificationError, match="condition 1 is unknown"):
        dit.embed(drawn(2, 256, seed=3), conditions)
    untold = torch.tensor([True, False])
    vectors = ibe(drawn(2, 4, 128, seed=4), conditions, is_told_B=untold)
    assert vectors.isfinite().all()


def test_more_statements_than_places_are_refused(dit):
    conditions = ConditionBatch.published(drawn(1, 26, 768, seed=1), drawn(1, 3, seed=2))
    with pytest.raises(SpecificationError, match=r"26 statements.*places for 25"):
        dit.embed(drawn(1, 256, seed=3), conditions)
