"""Laws of the networks: what enters, what may not, and what an absent pathway means."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ecgtwin.errors import SpecificationError
from ecgtwin.models.base_extractor import BaseExtractor
from ecgtwin.models.build import build_denoiser, build_vae
from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.models.dit import DiT
from ecgtwin.models.embeddings import Rotary, patient_code, period_angles
from ecgtwin.models.text_encoder import HashedEncoder
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.model import AdaXSpec, BaseExtractorSpec
from ecgtwin.spec.presets import preset
from tests.tiny import TINY, tiny_twin

SINUS = CardiacCondition(
    statements=("sinus rhythm",), heart_rate_bpm=70, age_years=60, sex="female"
)
PACED = CardiacCondition(
    statements=("atrial fibrillation", "left bundle branch block"),
    heart_rate_bpm=120,
    age_years=60,
    sex="female",
)


def batch_of(*conditions):
    return ConditionBatch.of(conditions, encode=hashed(TINY))


def randomised(module):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.2, generator=generator)
    return module.eval().requires_grad_(False)


def predict(denoiser, base, conditions, **presence):
    noisy = torch.randn(len(base), 4, 64, generator=torch.Generator().manual_seed(5))
    told = denoiser.embed(base, conditions, **presence)
    return denoiser(noisy, torch.full((len(base),), 0.6), told)


def bases(num, seed=7):
    return torch.randn(
        num, TINY.base_extractor.base_width, generator=torch.Generator().manual_seed(seed)
    )


def test_denoiser_starts_at_zero_velocity():
    fresh = DiT(TINY)
    assert not predict(fresh, bases(1), batch_of(SINUS)).any()


@pytest.mark.parametrize("pathway", ["adaptive_norm", "cross_attention"])
def test_an_absent_pathway_is_deaf_and_the_other_hears(pathway):
    spec = TINY.denoiser.model_copy(update={"adax": AdaXSpec(**{pathway: False})})
    denoiser = randomised(DiT(TINY.model_copy(update={"denoiser": spec})))
    start = predict(denoiser, bases(1), batch_of(SINUS))
    other_person = predict(denoiser, bases(1, seed=8), batch_of(SINUS))
    other_state = predict(denoiser, bases(1), batch_of(PACED))
    deaf, hears = (
        (other_person, other_state) if pathway == "adaptive_norm" else (other_state, other_person)
    )
    torch.testing.assert_close(deaf, start)
    assert (hears - start).abs().max() > 1e-3


def test_padding_takes_no_part():
    denoiser = randomised(DiT(TINY))
    alone = predict(denoiser, bases(1), batch_of(SINUS))
    beside = predict(denoiser, bases(1).repeat(2, 1), batch_of(SINUS, PACED))
    torch.testing.assert_close(beside[:1], alone, atol=1e-5, rtol=1e-5)

    extractor = randomised(tiny_twin().base_extractor)
    latent = torch.randn(1, 4, 64)
    alone = extractor(latent, batch_of(SINUS))
    beside = extractor(latent.repeat(2, 1, 1), batch_of(SINUS, PACED))
    torch.testing.assert_close(beside[:1], alone, atol=1e-5, rtol=1e-5)


def test_dropped_rows_forget_their_content_row_by_row():
    denoiser = randomised(DiT(TINY))
    first = torch.tensor([True, False])
    mixed = predict(denoiser, bases(2), batch_of(SINUS, PACED), is_told_B=first)
    swapped = predict(denoiser, bases(2), batch_of(SINUS, SINUS), is_told_B=first)
    torch.testing.assert_close(mixed, swapped, atol=1e-5, rtol=1e-5)
    nobody = predict(denoiser, bases(2), batch_of(SINUS, SINUS), has_base_B=first)
    others = predict(
        denoiser,
        torch.cat([bases(2)[:1], bases(1, seed=9)]),
        batch_of(SINUS, SINUS),
        has_base_B=first,
    )
    torch.testing.assert_close(nobody, others, atol=1e-5, rtol=1e-5)


def test_statement_certainty_reaches_the_denoiser():
    denoiser = randomised(DiT(TINY))
    outputs = [
        predict(
            denoiser,
            bases(1),
            batch_of(
                CardiacCondition(statements=({"code": "atrial fibrillation", "certainty": word},))
            ),
        )
        for word in ("definite", "possible", "negated")
    ]
    assert min((outputs[i] - outputs[j]).abs().max() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-3


def test_unknown_is_not_zero_and_over_89_is_one_class():
    nan = torch.tensor([float("nan")])
    unknown = patient_code(nan, nan, torch.tensor([-1]))
    newborn = patient_code(nan, torch.tensor([0.0]), torch.tensor([0]))
    assert not unknown.any()
    assert newborn.any()
    assert CardiacCondition(age_years=101).age_years == CardiacCondition(age_years=93).age_years


def test_rotary_code_sees_relative_position_only():
    rotary = Rotary(period_angles(8, 64))
    query, key = torch.randn(8), torch.randn(8)
    turned_query = rotary(query.expand(1, 1, 64, 8))[0, 0]
    turned_key = rotary(key.expand(1, 1, 64, 8))[0, 0]
    products = turned_query @ turned_key.T
    torch.testing.assert_close(
        products.diagonal(5), products[0, 5].expand(59), atol=1e-4, rtol=1e-4
    )


def test_base_vector_length_is_fixed_and_follows_the_signal():
    extractor = randomised(tiny_twin().base_extractor)
    vectors = extractor(torch.randn(3, 4, 64), batch_of(SINUS, SINUS, SINUS))
    torch.testing.assert_close(vectors.square().mean(dim=1), torch.ones(3))
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3


def test_latents_are_normalised_by_the_stored_statistics():
    vae = randomised(tiny_twin().vae)
    samples = torch.randn(2, 8, 1024)
    before = vae.encode(samples)
    rebuilt = vae.decode(before)
    vae.latent_mean_C1.fill_(0.5)
    vae.latent_scale_C1.fill_(2.0)
    torch.testing.assert_close(vae.encode(samples), (before - vae_mean(before)) / 2.0)
    torch.testing.assert_close(vae.decode(vae.encode(samples)), rebuilt, atol=1e-4, rtol=1e-4)
    assert rebuilt.shape == samples.shape


def vae_mean(latent):
    return torch.full_like(latent, 0.5)


def with_adax(spec, **choices):
    """``spec`` with a randomised DiT whose block is changed."""
    adax = spec.denoiser.adax.model_copy(update=choices)
    denoiser = spec.denoiser.model_copy(update={"adax": adax})
    return spec.model_copy(update={"denoiser": denoiser})


@pytest.mark.parametrize("pathway", ["adaptive_norm", "cross_attention"])
def test_an_absent_pathway_has_no_weights(pathway):
    names = {
        "adaptive_norm": ("base.", "null_base"),
        "cross_attention": ("tokens.", "cross_attention."),
    }[pathway]
    state = DiT(with_adax(TINY, **{pathway: False})).state_dict()
    assert not [key for key in state if any(name in key for name in names)]
    whole = DiT(TINY).state_dict()
    assert all(any(name in key for key in whole) for name in names)


BLOCKS = {
    "ours": {},
    "after": {"cross_attention_first": False},
    "ungated": {"gated_cross_attention": False},
    "plain input": {"gated_cross_attention": False, "normalise_cross_input": False},
    "normalised": {"normalise_qkv": True},
    "published": {
        "cross_attention_first": False,
        "gated_cross_attention": False,
        "normalise_qkv": True,
    },
}


@pytest.mark.parametrize("choices", BLOCKS.values(), ids=BLOCKS)
def test_a_control_that_changes_nothing_changes_nothing(choices):
    """Fused attention and attention with its maps in hand are one function, in every block."""
    denoiser = randomised(DiT(with_adax(TINY, **choices)))
    conditions = batch_of(SINUS, PACED)
    told = denoiser.embed(bases(2), conditions)
    noisy, time = torch.randn(2, 4, 64), torch.full((2,), 0.4)
    seen = []

    def keep(layer, maps_BHFK, token_is_real_BK):
        seen.append((layer, maps_BHFK, token_is_real_BK))
        return maps_BHFK

    fused = denoiser(noisy, time, told)
    torch.testing.assert_close(denoiser(noisy, time, replace(told, control=keep)), fused)
    ((layer, maps, is_real),) = seen
    assert layer == 0
    assert maps.shape == (2, 2, 64, 2)
    torch.testing.assert_close(maps.sum(dim=-1), torch.ones(2, 2, 64))
    assert not maps.masked_select(~is_real[:, None, None, :]).any()


def test_a_control_decides_which_values_are_heard():
    denoiser = randomised(DiT(TINY))
    told = denoiser.embed(bases(1), batch_of(PACED))
    noisy, time = torch.randn(1, 4, 64), torch.full((1,), 0.4)
    swapped = replace(
        told,
        keys_values=tuple((key, value.flip(dims=(2,))) for key, value in told.keys_values),
        control=lambda layer, maps_BHFK, token_is_real_BK: maps_BHFK.flip(dims=(-1,)),
    )
    torch.testing.assert_close(denoiser(noisy, time, swapped), denoiser(noisy, time, told))


def test_every_choice_of_block_makes_a_difference():
    outputs = {
        name: predict(randomised(DiT(with_adax(TINY, **choices))), bases(1), batch_of(SINUS, PACED))
        for name, choices in BLOCKS.items()
    }
    names = list(outputs)
    for place, name in enumerate(names):
        for other in names[place + 1 :]:
            assert (outputs[name] - outputs[other]).abs().max() > 1e-4, (name, other)


@pytest.mark.parametrize("name", ["tiny", "paper"])
def test_what_does_not_change_over_steps_is_done_once(name):
    spec = preset(name)
    denoiser = build_denoiser(spec).eval().requires_grad_(False)
    once = ("tokens", "to_kv", "norm_k", "norm_v", "base")
    calls = []
    for path, module in denoiser.named_modules():
        if path.rpartition(".")[2] in once:
            module.register_forward_hook(lambda *_, path=path: calls.append(path))
    told_of = ConditionBatch.of([SINUS], encode=hashed(spec))
    told = denoiser.embed(torch.zeros(1, spec.base_extractor.base_width), told_of)
    assert len(calls) == len(set(calls)) == 2 + 3 * spec.denoiser.num_layers
    calls.clear()
    noisy = torch.randn(1, spec.vae.latent_channels, spec.vae.num_frames)
    for time in (0.9, 0.5, 0.1):
        denoiser(noisy, torch.tensor([time]), told)
    assert calls == []


def hashed(spec):
    """Encode statements by hashing, whatever text encoder ``spec`` names."""
    encoder = HashedEncoder(spec.text.width)
    return lambda statements: encoder.encode([one.code for one in statements])


def test_a_base_vector_does_not_depend_on_its_batch_but_for_the_published_fault():
    many = CardiacCondition(
        statements=tuple(f"finding {number}" for number in range(5)),
        heart_rate_bpm=80,
        age_years=50,
        sex="male",
    )
    assert difference_in_batch(preset("base"), SINUS, many) < 1e-5
    assert difference_in_batch(preset("paper"), SINUS, many) < 1e-5
    paper = preset("paper")
    extractor = paper.base_extractor.model_copy(update={"reference_mask": True})
    faulty = paper.model_copy(update={"base_extractor": extractor})
    assert difference_in_batch(faulty, SINUS, many) > 1e-3


def difference_in_batch(spec, one, other):
    torch.manual_seed(0)
    extractor = BaseExtractor(spec).eval().requires_grad_(False)
    latent = torch.randn(2, spec.vae.latent_channels, spec.vae.num_frames)
    alone = extractor(latent[:1], ConditionBatch.of([one], encode=hashed(spec)))
    beside = extractor(latent, ConditionBatch.of([one, other], encode=hashed(spec)))
    return (alone - beside[:1]).abs().max()


def test_without_a_projection_the_base_vector_is_as_wide_as_the_network():
    with pytest.raises(SpecificationError, match="base_width must be 128, not 64"):
        BaseExtractorSpec.parse({"projection": False, "base_width": 64}, origin="here")


def test_small_is_small():
    sizes = [half_precision_mib(network) for network in networks_of(preset("small"))]
    assert max(sizes) < 16
    assert sum(sizes) < 24


def networks_of(spec):
    return build_vae(spec), BaseExtractor(spec), build_denoiser(spec)


def half_precision_mib(network):
    return sum(2 * value.numel() for value in network.state_dict().values()) / 2**20


def test_base_is_the_largest_of_ours_and_decodes_cheaply():
    sizes = {
        name: sum(half_precision_mib(network) for network in networks_of(preset(name)))
        for name in ("tiny", "small", "base")
    }
    assert sizes["tiny"] < sizes["small"] < sizes["base"]
    vae = build_vae(preset("base")).requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        vae.decode(torch.randn(1, *vae.latent_mean_C1.shape[:1], preset("base").vae.num_frames))
    assert 0 < counter.get_total_flops() <= 1.5e9


def test_an_extractor_without_the_condition_pathway_is_deaf_and_has_no_weights_for_it():
    sizes = TINY.base_extractor.model_copy(update={"condition_pathway": False})
    spec = TINY.model_copy(update={"base_extractor": sizes})
    extractor = randomised(BaseExtractor(spec))
    assert not [key for key in extractor.state_dict() if "tokens" in key or "cross" in key]
    latent = torch.randn(2, 4, 64)
    sinus, paced = (extractor(latent, batch_of(one, one)) for one in (SINUS, PACED))
    assert torch.equal(sinus, paced)
    nobody = torch.zeros(2, dtype=torch.bool)
    assert torch.equal(extractor(latent, batch_of(SINUS, SINUS), is_told_B=nobody), sinus)
    told = randomised(BaseExtractor(TINY))
    assert (told(latent, batch_of(SINUS, SINUS)) - told(latent, batch_of(PACED, PACED))).any()


def test_an_extractor_that_is_told_the_state_alone_is_deaf_to_age_and_sex():
    older = SINUS.model_copy(update={"age_years": 80.0, "sex": "male"})
    latent = torch.randn(1, 4, 64)
    for told, hears in ((True, True), (False, False)):
        sizes = TINY.base_extractor.model_copy(update={"age_and_sex": told})
        extractor = randomised(BaseExtractor(TINY.model_copy(update={"base_extractor": sizes})))
        one, other, paced = (extractor(latent, batch_of(who)) for who in (SINUS, older, PACED))
        assert torch.equal(one, other) != hears
        assert (one - paced).abs().max() > 1e-3


def test_local_frames_are_the_same_wherever_their_window_stands():
    sizes = TINY.base_extractor.model_copy(update={"local_frames": 16})
    local = randomised(BaseExtractor(TINY.model_copy(update={"base_extractor": sizes})))
    told, latent = batch_of(SINUS, PACED), torch.randn(2, 4, 64)
    windows = torch.cat([local.frames(part, told) for part in latent.split(16, dim=2)], dim=1)
    torch.testing.assert_close(local.frames(latent, told), windows)
    whole = randomised(BaseExtractor(TINY))
    assert whole.state_dict().keys() == local.state_dict().keys()
    torch.testing.assert_close(whole.frames(latent[..., :16], told), windows[:, :16])
    assert (whole.frames(latent, told) - windows).abs().max() > 1e-3


def test_single_pathways_of_tiny_cost_what_both_do():
    names = ("tiny", "tiny-adaptive-norm", "tiny-cross-attention")
    costs = {name: step_flops(preset(name)) for name in names}
    assert costs["tiny"] > 0
    for name, cost in costs.items():
        assert cost == pytest.approx(costs["tiny"], rel=0.03), name


def step_flops(spec):
    """Return the floating-point operations of a forward and a backward pass of two samples."""
    denoiser = randomised(build_denoiser(spec)).requires_grad_(True)
    conditions = ConditionBatch.of([PACED, PACED], encode=hashed(spec))
    base = torch.randn(2, spec.base_extractor.base_width)
    noisy = torch.randn(2, spec.vae.latent_channels, spec.vae.num_frames)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        told = denoiser.embed(base, conditions)
        denoiser(noisy, torch.full((2,), 0.5), told).square().mean().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["tiny", "paper-unet"])
def test_activations_made_again_give_the_same_gradients_and_are_not_kept(name):
    spec = preset(name)
    denoiser = randomised(build_denoiser(spec)).requires_grad_(True)
    conditions = ConditionBatch.of([SINUS, SINUS], encode=hashed(spec))
    base = torch.randn(2, spec.base_extractor.base_width)
    noisy = torch.randn(2, spec.vae.latent_channels, spec.vae.num_frames)
    gradients, kept = {}, {}
    for remade in (False, True):
        denoiser.activation_checkpointing = remade
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: (sizes.append(tensor.numel()), tensor)[1],
            lambda tensor: tensor,
        ):
            told = denoiser.embed(base, conditions)
            loss = denoiser(noisy, torch.full((2,), 0.5), told).square().mean()
        kept[remade] = sum(sizes)
        parameters = list(denoiser.parameters())
        gradients[remade] = torch.autograd.grad(loss, parameters, allow_unused=True)
    for plain, again in zip(gradients[False], gradients[True], strict=True):
        assert (plain is None) == (again is None)
        if plain is not None:
            torch.testing.assert_close(again, plain)
    assert kept[True] < kept[False] / 2
