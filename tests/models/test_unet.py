"""The U-Net: the published one's numbers, and the laws that every denoiser keeps."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ecgtwin.errors import SpecificationError
from ecgtwin.models.build import build_denoiser
from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.models.unet import UNet
from ecgtwin.spec.model import TokenSpec, UNetSpec
from ecgtwin.spec.presets import preset
from ecgtwin.spec.process import FlowSpec
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.twin.published_keys import UNET
from tests.models.published import digest, filled_state
from tests.tiny import TINY

PAPER = preset("paper-unet")
FRAMES = (128, 64, 32, 16, 8, 4, 8, 16, 32, 64, 128)
RELATIVE = 1e-5  # measured 9e-7; a LayerNorm of another epsilon is 2e-5 away


def unet(spec=PAPER, *, seed=3, **sizes):
    """A U-Net as built, with ``sizes`` in place of its specification's."""
    torch.manual_seed(seed)
    denoiser = spec.denoiser.model_copy(update=sizes)
    return UNet(spec.model_copy(update={"denoiser": denoiser})).eval().requires_grad_(False)


def normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def conditions(num=2, *, num_tokens=3, seed=11, mask=None):
    """Conditions in the published form."""
    patient = torch.cat([normal(num, 2, seed=seed), torch.ones(num, 1)], dim=1)
    return ConditionBatch.published(normal(num, num_tokens, 768, seed=seed + 1), patient, mask)


def bases(num=2, *, seed=7):
    return normal(num, 256, seed=seed)


def predict(denoiser, conditioning, *, num=2, time=600.0):
    return denoiser(normal(num, 4, 128, seed=5), torch.full((num,), time), conditioning)


def distance(first, second):
    return float((first - second).abs().max())


@pytest.fixture(scope="module")
def fixture(real_data):
    with np.load(real_data / "parity" / "unet_ecgtwin.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def published(real_data, fixture):
    """The U-Net with the fixtures' weights."""
    folder = real_data / "parity"
    state = filled_state("unet_ecgtwin", int(fixture["weight_seed"]), folder)
    checks = json.loads((folder / "fill_check.json").read_text())
    assert digest(state) == checks["unet_ecgtwin"]["sha256"]
    denoiser = unet()
    ours = denoiser.state_dict()
    assert set(UNET.wanted(ours)) == set(state)
    denoiser.load_state_dict(UNET.filled(ours, state))
    return denoiser


@pytest.mark.parametrize(
    ("tokens", "mask", "expected"),
    [("tokens", None, "eps_nomask"), ("tokens_padded", "mask", "eps_masked")],
)
def test_predicts_the_published_numbers(published, fixture, tokens, mask, expected):
    told = ConditionBatch.published(
        fixture[tokens], fixture["p"], None if mask is None else fixture[mask]
    )
    conditioning = published.embed(fixture["base_vector"], told)
    found = published(fixture["x"], fixture["t"].float(), conditioning)
    assert distance(found, fixture[expected]) <= RELATIVE * fixture[expected].abs().max()


def test_preset_has_the_published_number_of_parameters():
    denoiser = build_denoiser(PAPER)
    assert isinstance(denoiser, UNet)
    assert sum(parameter.numel() for parameter in denoiser.parameters()) == 7_375_680


def test_every_layer_runs_once_either_in_embed_or_in_forward():
    denoiser, ran = unet(), []
    for name, module in denoiser.named_modules():
        if list(module.parameters(recurse=False)) and not list(module.children()):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    conditioning = denoiser.embed(bases(), conditions())
    embedding = set(ran)
    predict(denoiser, conditioning)
    assert len(ran) == len(set(ran))
    assert {name.split(".adax.")[1] for name in embedding} == {
        "base",
        "tokens.enter",
        "block.cross_attention.to_kv",
        "block.cross_attention.norm_k",
        "block.cross_attention.norm_v",
    }
    assert len(embedding) == 5 * len(FRAMES)
    owners = {name.rpartition(".")[0] for name, _ in denoiser.named_parameters()}
    assert set(ran) == {name for name in owners if not name.endswith(".tokens")}


def test_a_control_sees_the_maps_of_every_stage_in_order():
    denoiser, seen = unet(), []

    def record(layer, maps_BHFK, token_is_real_BK):
        seen.append((layer, tuple(maps_BHFK.shape), token_is_real_BK))
        torch.testing.assert_close(maps_BHFK.sum(dim=-1), torch.ones(maps_BHFK.shape[:3]))
        return maps_BHFK

    mask = torch.tensor([[1.0, 1, 1], [1, 0, 0]])
    conditioning = denoiser.embed(bases(), conditions(mask=mask))
    controlled = predict(denoiser, replace(conditioning, control=record))
    heads = [4 if frames == 4 else 8 for frames in FRAMES]
    assert [layer for layer, _, _ in seen] == list(range(11))
    assert [shape for _, shape, _ in seen] == [
        (2, num_heads, frames, 3) for num_heads, frames in zip(heads, FRAMES, strict=True)
    ]
    assert all(torch.equal(is_real, mask > 0) for _, _, is_real in seen)
    plain = predict(denoiser, conditioning)
    torch.testing.assert_close(controlled, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layer", range(5))
def test_every_stage_hears_person_and_control_by_its_own_entry(layer):
    denoiser = unet(num_levels=3)
    conditioning = denoiser.embed(bases(), conditions())
    assert len(conditioning.base) == len(conditioning.keys_values) == 5
    plain = predict(denoiser, conditioning)
    base = list(conditioning.base)
    base[layer] = base[layer].roll(1, dims=0)

    def silence(at, maps_BHFK, token_is_real_BK):
        return maps_BHFK * (at != layer)

    for changed in (
        replace(conditioning, base=tuple(base)),
        replace(conditioning, control=silence),
    ):
        assert distance(predict(denoiser, changed), plain) > 1e-4


@pytest.mark.parametrize("pathway", ["adaptive_norm", "cross_attention"])
def test_an_absent_pathway_is_deaf_and_the_other_hears(pathway):
    adax = PAPER.denoiser.adax.model_copy(update={pathway: False})
    denoiser = unet(num_levels=3, adax=adax)
    start, other_person, other_state = (
        predict(denoiser, denoiser.embed(base, told))
        for base, told in (
            (bases(), conditions()),
            (bases(seed=8), conditions()),
            (bases(), conditions(seed=30)),
        )
    )
    pair = (other_person, other_state)
    deaf, hears = pair if pathway == "adaptive_norm" else pair[::-1]
    assert torch.equal(deaf, start)
    assert distance(hears, start) > 1e-3
    later = predict(denoiser, denoiser.embed(bases(), conditions()), time=100.0)
    assert distance(later, start) > 1e-3
    absent = ".adax.base." if pathway == "adaptive_norm" else ".adax.tokens."
    assert not any(absent in name for name, _ in denoiser.named_parameters())


def test_padding_takes_no_part():
    denoiser = unet()
    told = conditions(num_tokens=4, mask=torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]]))
    both = predict(denoiser, denoiser.embed(bases(), told))
    fewer = replace(
        told, text_BKW=told.text_BKW[:, :2], token_is_real_BK=told.token_is_real_BK[:, :2]
    )
    alone = predict(denoiser, denoiser.embed(bases(), fewer))
    torch.testing.assert_close(alone[1], both[1], atol=1e-5, rtol=1e-5)
    assert distance(alone[0], both[0]) > 1e-4


def test_the_order_of_statements_matters_and_places_are_a_hundred():
    denoiser = unet(num_levels=3)
    told = conditions()
    turned = replace(told, text_BKW=told.text_BKW.flip(1))
    start, other = (predict(denoiser, denoiser.embed(bases(), item)) for item in (told, turned))
    assert distance(start, other) > 1e-5
    denoiser.embed(bases(1), conditions(1, num_tokens=100))
    with pytest.raises(SpecificationError, match="101"):
        denoiser.embed(bases(1), conditions(1, num_tokens=101))


def test_time_is_a_step_for_a_chain_and_a_share_of_a_thousand_for_a_flow():
    flow = PAPER.model_copy(update={"process": FlowSpec(), "sampling": SamplingSpec()})
    chain_unet, flow_unet = unet(num_levels=3), unet(flow, num_levels=3)
    conditioning = chain_unet.embed(bases(), conditions())
    torch.testing.assert_close(
        predict(flow_unet, conditioning, time=0.5), predict(chain_unet, conditioning, time=500.0)
    )


def test_dropped_rows_forget_their_content_row_by_row():
    tokens = TokenSpec(kind="flagged")
    spec = TINY.model_copy(update={"denoiser": UNetSpec(num_levels=3, tokens=tokens)})
    denoiser = unet(spec)
    first = torch.tensor([True, False])

    def told(seed):
        return ConditionBatch(
            normal(2, 2, 32, seed=seed),
            normal(2, 2, 3, seed=seed),
            torch.ones(2, 2, dtype=torch.bool),
            *(normal(2, seed=seed).abs() for _ in range(2)),
            torch.zeros(2),
        )

    def output(base_seed, told_seed, **presence):
        conditioning = denoiser.embed(normal(2, 8, seed=base_seed), told(told_seed), **presence)
        return denoiser(normal(2, 4, 64, seed=5), torch.full((2,), 0.6), conditioning)

    for seeds, presence in (((1, 9), {"is_told_B": first}), ((8, 2), {"has_base_B": first})):
        start, other = output(1, 2, **presence), output(*seeds, **presence)
        torch.testing.assert_close(start[1], other[1])
        assert distance(start[0], other[0]) > 1e-4
    with pytest.raises(SpecificationError, match="guidance is impossible"):
        unet(num_levels=3).embed(bases(), conditions(), is_told_B=first)


def test_every_parameter_learns():
    denoiser = unet().train().requires_grad_(True)
    predict(denoiser, denoiser.embed(bases(), conditions())).square().sum().backward()
    still = [name for name, value in denoiser.named_parameters() if value.grad is None]
    assert not still
    assert all(bool(value.grad.isfinite().all()) for value in denoiser.parameters())


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"num_levels": 9}, "multiple of 256"),
        ({"num_heads": 3}, "num_heads 3"),
        ({"bottleneck_heads": 6}, "bottleneck_heads 6"),
        ({"kernel_size": 4}, "kernel_size 4"),
    ],
)
def test_impossible_sizes_are_refused(sizes, said):
    with pytest.raises(SpecificationError, match=said):
        unet(**sizes)
