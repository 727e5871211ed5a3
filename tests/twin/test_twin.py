"""EcgTwin: records in, records out; a checkpoint is what was saved or an error."""

import json

import numpy as np
import pytest
import torch

from ecgtwin.errors import CheckpointError, EcgTwinError
from ecgtwin.signals.leads import limb_residual_mv
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.twin.twin import EcgTwin
from tests.tiny import tiny_twin

CONDITIONS = [
    CardiacCondition(statements=("sinus rhythm",), heart_rate_bpm=70, age_years=60, sex="male"),
    CardiacCondition(statements=("atrial fibrillation",), heart_rate_bpm=120),
    CardiacCondition(),
]


@pytest.fixture(scope="module")
def twin():
    return tiny_twin()


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
    (tmp_path / "twin.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(CheckpointError):
        EcgTwin.load(str(tmp_path))


def test_a_missing_checkpoint_names_what_is_shipped():
    with pytest.raises(CheckpointError, match="shipped preset"):
        EcgTwin.load("/nonexistent/checkpoint")
