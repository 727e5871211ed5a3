"""Laws of the networks: what enters, what may not, and what an absent pathway means."""

import pytest
import torch

from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.models.dit import DiT
from ecgtwin.models.embeddings import Rotary, patient_code
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.model import AdaXSpec
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
    return ConditionBatch.of(conditions, text_width=TINY.text.width)


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
    rotary = Rotary(8, 64)
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
