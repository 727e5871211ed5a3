"""EcgTwin: records in, records out; a checkpoint is what was saved or an error."""

import itertools
import json

import numpy as np
import pytest
import torch

from ecgtwin.errors import (
    CheckpointError,
    EcgTwinError,
    EncoderMismatchError,
    SpecificationError,
)
from ecgtwin.models.text_encoder import HashedEncoder
from ecgtwin.signals.leads import LEADS, derive_limb_leads, limb_residual_mv
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.twin.twin import EcgTwin
from tests.tiny import TINY, TINY_CHAIN, TINY_PUBLISHED, tiny_twin

CONDITIONS = [
    CardiacCondition(statements=("sinus rhythm",), heart_rate_bpm=70, age_years=60, sex="male"),
    CardiacCondition(statements=("atrial fibrillation",), heart_rate_bpm=120),
    CardiacCondition(),
]
KNOWN = [
    CardiacCondition(statements=("sinus rhythm",), heart_rate_bpm=70, age_years=60, sex="male"),
    CardiacCondition(
        statements=("atrial fibrillation", "left axis deviation"),
        heart_rate_bpm=120,
        age_years=71,
        sex="female",
    ),
]


@pytest.fixture(scope="module")
def twin():
    return tiny_twin()


@pytest.fixture(scope="module")
def paper():
    return EcgTwin.untrained("paper", seed=0)


def inputs(twin, num=3):
    random = np.random.default_rng(0)
    samples = random.standard_normal((num, 12, 1024)).astype(np.float32)
    noise = random.standard_normal((num, *twin.latent_shape)).astype(np.float32)
    return twin.base_vectors(samples, CONDITIONS[:num]), noise


def test_twins_obey_the_limb_lead_identities(twin):
    base, noise = inputs(twin)
    drawn = twin.draw(base, CONDITIONS, noise, SamplingSpec(num_steps=2))
    assert drawn.shape == (3, 12, 1024)
    assert drawn.dtype == np.float32
    assert drawn.std() > 0
    assert limb_residual_mv(drawn).max() < 1e-5


def test_a_twin_does_not_depend_on_its_batch(twin):
    base, noise = inputs(twin)
    sampling = SamplingSpec(num_steps=3, guidance_scale=2.0)
    together = twin.draw(base, CONDITIONS, noise, sampling)
    alone = twin.draw(base[1:2], CONDITIONS[1:2], noise[1:2], sampling)
    np.testing.assert_allclose(together[1:2], alone, atol=1e-4)


def test_person_condition_noise_and_guidance_each_matter(twin):
    base, noise = inputs(twin)
    plain = SamplingSpec(num_steps=3)
    start = twin.draw(base[:1], CONDITIONS[:1], noise[:1], plain)
    others = [
        twin.draw(base[1:2], CONDITIONS[:1], noise[:1], plain),
        twin.draw(base[:1], CONDITIONS[1:2], noise[:1], plain),
        twin.draw(base[:1], CONDITIONS[:1], noise[1:2], plain),
        twin.draw(base[:1], CONDITIONS[:1], noise[:1], SamplingSpec(num_steps=3, guidance_scale=4)),
    ]
    assert all(np.abs(other - start).max() > 1e-4 for other in others)


def test_saved_is_loaded(twin, tmp_path):
    url = str(tmp_path / "twin")
    digest = twin.save(url, provenance={"recipe": "none"})
    loaded = EcgTwin.load(url)
    assert loaded.digest == digest
    assert loaded.provenance == {"recipe": "none"}
    base, noise = inputs(twin)
    sampling = SamplingSpec(num_steps=2)
    np.testing.assert_array_equal(
        loaded.draw(base, CONDITIONS, noise, sampling), twin.draw(base, CONDITIONS, noise, sampling)
    )


def test_half_precision_files_are_half_as_large(twin, tmp_path):
    twin.save(str(tmp_path / "full"), provenance={})
    twin.save(str(tmp_path / "half"), provenance={}, dtype=torch.float16)
    sizes = [
        sum(file.stat().st_size for file in (tmp_path / name).glob("*.safetensors"))
        for name in ("full", "half")
    ]
    assert sizes[1] < 0.7 * sizes[0]
    assert EcgTwin.load(str(tmp_path / "half")).vae.latent_scale_C1.dtype == torch.float32


def test_another_checkpoint_is_never_overwritten(twin, tmp_path):
    url = str(tmp_path / "twin")
    twin.save(url, provenance={})
    before = (tmp_path / "twin" / "denoiser.safetensors").read_bytes()
    with pytest.raises(EcgTwinError):
        tiny_twin(seed=1).save(url, provenance={})
    assert (tmp_path / "twin" / "denoiser.safetensors").read_bytes() == before


def test_damage_is_named(twin, tmp_path):
    twin.save(str(tmp_path), provenance={})
    weights = tmp_path / "vae.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match=r"vae\.safetensors has digest"):
        EcgTwin.load(str(tmp_path))
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"vae\.safetensors is missing"):
        EcgTwin.load(str(tmp_path))
    (tmp_path / "twin.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        EcgTwin.load(str(tmp_path))
    for content in ({"format": 99}, {"format": 1, "spec": 3, "files": [], "provenance": {}}, []):
        (tmp_path / "twin.json").write_text(json.dumps(content))
        with pytest.raises(CheckpointError):
            EcgTwin.load(str(tmp_path))


def test_a_missing_checkpoint_names_what_is_shipped():
    with pytest.raises(CheckpointError, match="shipped preset"):
        EcgTwin.load("/nonexistent/checkpoint")


def known_inputs(twin):
    random = np.random.default_rng(1)
    samples = random.standard_normal((2, 12, 1024)).astype(np.float32)
    noise = random.standard_normal((1 + 4, 2, *twin.latent_shape)).astype(np.float32)
    return twin.base_vectors(samples, KNOWN), noise


def test_the_noise_of_each_step_is_used_where_the_sampler_adds_some():
    twin = tiny_twin(spec=TINY_PUBLISHED)
    base, noise = known_inputs(twin)
    sampling = twin.spec.sampling

    def drawn(steps):
        return twin.draw(base, KNOWN, noise[0], sampling, noise_at=lambda index: steps[index])

    start = drawn(noise[1:])
    np.testing.assert_array_equal(drawn(noise[1:]), start)
    for index in range(3):
        changed = noise[1:].copy()
        changed[index] = 0
        assert np.abs(drawn(changed) - start).max() > 1e-3
    with pytest.raises(ValueError, match="noise_at"):
        twin.draw(base, KNOWN, noise[0], sampling)


@pytest.mark.parametrize(
    ("spec", "sampling", "message"),
    [
        (TINY_PUBLISHED, SamplingSpec(sampler="ddpm", guidance_scale=2.0), "guidance_scale: 2 "),
        (TINY_PUBLISHED, SamplingSpec(), "'euler' does not follow .* ddpm, ddim"),
        (TINY, SamplingSpec(sampler="ddim"), "'ddim' does not follow .* euler, heun"),
    ],
)
def test_what_the_networks_cannot_be_sampled_with_is_refused_first(spec, sampling, message):
    def no_noise(index):
        raise AssertionError(index)

    twin = tiny_twin(spec=spec)
    base = np.full((2, spec.base_extractor.base_width), np.nan, np.float32)
    noise = np.zeros((2, *twin.latent_shape), np.float32)
    with pytest.raises(SpecificationError, match=message):
        twin.draw(base, KNOWN, noise, sampling, noise_at=no_noise)


def test_the_interval_of_guidance_is_a_share_of_the_process():
    twin = tiny_twin(spec=TINY_CHAIN)
    base, noise = known_inputs(twin)

    def drawn(scale, until_time):
        sampling = SamplingSpec(
            sampler="ddim", num_steps=4, guidance_scale=scale, guided_until_time=until_time
        )
        return twin.draw(base, KNOWN, noise[0], sampling)

    # Steps 750, 500, 250 and 0 of 1000.
    np.testing.assert_array_equal(drawn(3.0, 0.76), drawn(1.0, 0.0))
    np.testing.assert_array_equal(drawn(3.0, 0.3), drawn(3.0, 0.5))
    levels = [drawn(3.0, until_time) for until_time in (0.76, 0.6, 0.4, 0.1, 0.0)]
    for before, after in itertools.pairwise(levels):
        assert np.abs(before - after).max() > 1e-5


def test_a_text_encoder_is_made_on_demand_or_given_and_must_be_the_one_of_the_networks(tmp_path):
    url = str(tmp_path / "twin")
    tiny_twin().save(url, provenance={})
    given = HashedEncoder(TINY.text.width)
    assert EcgTwin.load(url, text_encoder=given).text_encoder is given
    made = EcgTwin.load(url)
    assert made.text_encoder is made.text_encoder
    assert made.text_encoder.identity == given.identity
    with pytest.raises(EncoderMismatchError, match="hashed-64"):
        EcgTwin.load(url, text_encoder=HashedEncoder(64))


def test_published_networks_are_saved_and_loaded(paper, tmp_path):
    url = str(tmp_path / "paper")
    digest = paper.save(url, provenance={"trained": False})
    loaded = EcgTwin.load(url)
    assert (loaded.digest, loaded.spec) == (digest, paper.spec)
    state = paper.state_dict()
    assert loaded.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    assert loaded.device == torch.device("cpu")
    assert loaded.latent_shape == (4, 128)
    torch.testing.assert_close(1 / loaded.vae.latent_scale_C1, torch.full((4, 1), 0.18215))
    assert not loaded.vae.latent_mean_C1.any()


def test_leads_go_by_name_between_us_and_the_published_networks(paper):
    """Theirs have aVF before aVL: only these two change places, both ways."""
    samples = np.random.default_rng(2).standard_normal((1, 12, 1024)).astype(np.float32)
    theirs = samples.copy()
    theirs[:, [4, 5]] = samples[:, [5, 4]]
    latents = paper.latents(samples)
    assert torch.equal(latents, paper.vae.encode(torch.from_numpy(theirs)))
    assert not torch.equal(latents, paper.vae.encode(torch.from_numpy(samples)))
    decoded = paper.vae.decode(latents).numpy()
    drawn = paper.samples_of(latents, leads="as_generated")
    for place, lead in enumerate(LEADS):
        source = {"aVL": 5, "aVF": 4}.get(lead, place)
        np.testing.assert_array_equal(drawn[:, place], decoded[:, source])
    consistent = paper.samples_of(latents, leads="consistent")
    independent = drawn[:, [0, 1, 6, 7, 8, 9, 10, 11]]
    np.testing.assert_array_equal(consistent, derive_limb_leads(independent))
    assert limb_residual_mv(consistent).max() < 1e-5 < limb_residual_mv(drawn).max()


def test_a_network_of_eight_leads_draws_consistent_ones_whatever_is_asked(twin):
    latents = torch.from_numpy(inputs(twin)[1])
    np.testing.assert_array_equal(
        twin.samples_of(latents, leads="as_generated"), twin.samples_of(latents, leads="consistent")
    )
