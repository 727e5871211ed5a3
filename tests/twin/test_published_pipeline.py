"""The published chain as a whole: reference latent and reports in, twelve leads out."""

import numpy as np
import pytest
import torch

from ecgtwin.diffusion.samplers import run
from ecgtwin.signals.leads import LEADS, limb_residual_mv
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.sampling import SamplingSpec
from tests.twin.published import published_twin

SAMPLING = SamplingSpec(sampler="ddpm", num_steps=5, clip_sample=True, leads="as_generated")
TO_OURS = [0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11]  # published: aVF before aVL
TOLERANCE = 2e-4  # absolute; the largest value is 3.2


@pytest.fixture(scope="module")
def stored(real_data):
    with np.load(real_data / "parity" / "pipeline.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def twin(stored, real_data):
    vectors = {
        f"{whose} {place}": vector
        for whose, name in (("reference", "ref_tokens"), ("target", "tokens"))
        for place, vector in enumerate(stored[name])
    }
    seed = int(stored["weight_seed"])
    return published_twin(real_data / "parity", weight_seed=seed, vectors=vectors)


def condition(whose, heart_rate_age_sex):
    rate, age, sex = (float(value) for value in heart_rate_age_sex)
    return CardiacCondition(
        statements=(f"{whose} 0", f"{whose} 1"),
        heart_rate_bpm=rate,
        age_years=age,
        sex=("female", "male")[int(sex)],
    )


@pytest.fixture(scope="module")
def base(twin, stored):
    latents = torch.from_numpy(stored["ref_latent"])[None]
    own = twin.condition_batch([condition("reference", stored["ref_hr_age_sex"])])
    return np.repeat(twin.base_extractor(latents, own).numpy(), 2, axis=0)


def ours(published):
    """Return (B, 12, time) in our order of leads from (B, time, 12) in the published one."""
    return published.transpose(0, 2, 1)[:, TO_OURS]


def test_the_base_vector_of_the_reference(base, stored):
    np.testing.assert_allclose(base, stored["base_vector"], atol=2e-5, rtol=0)


def test_the_latent_and_the_ecg_of_the_target(twin, base, stored):
    wanted = [condition("target", stored["target_hr_age_sex"])] * 2
    noise = stored["noise"]
    latent = run(
        twin.sampler(SAMPLING),
        twin.predictor(base, wanted, SAMPLING),
        torch.from_numpy(stored["x_T"]),
        noise_at=lambda index: torch.from_numpy(noise[index]),
    )
    np.testing.assert_allclose(latent.numpy(), stored["latent"], atol=TOLERANCE, rtol=0)
    drawn = twin.draw(base, wanted, stored["x_T"], SAMPLING, noise_at=lambda index: noise[index])
    np.testing.assert_allclose(drawn, ours(stored["ecg"]), atol=TOLERANCE, rtol=0)


def test_leads_are_as_generated_or_follow_from_two(twin, stored):
    latents = torch.from_numpy(stored["ref_latent"])[None]
    drawn = twin.samples_of(latents, leads="as_generated")
    np.testing.assert_allclose(drawn, ours(stored["ref_ecg"][None]), atol=2e-5, rtol=0)
    assert limb_residual_mv(drawn).max() > 0.1
    consistent = twin.samples_of(latents, leads="consistent")
    assert limb_residual_mv(consistent).max() < 1e-5
    kept = [LEADS.index(lead) for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]
    np.testing.assert_array_equal(consistent[:, kept], drawn[:, kept])


def test_the_network_reads_its_leads_in_the_order_it_was_trained_with(twin, stored):
    read = twin.latents(ours(stored["ref_ecg"][None]))
    in_published_order = torch.from_numpy(stored["ref_ecg"].T.copy())[None]
    assert torch.equal(read, twin.vae.encode(in_published_order))
