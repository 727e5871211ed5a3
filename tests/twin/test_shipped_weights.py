"""The shipped weights: small enough, whole, and good for what the demo promises."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from ecgtwin.signals.beats import heart_rate_bpm, r_peaks
from ecgtwin.signals.leads import limb_residual_mv
from ecgtwin.sources.simulated import simulate
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.presets import preset
from ecgtwin.twin.checkpoint import resolve
from ecgtwin.twin.twin import EcgTwin

NUM = 32


@pytest.fixture(scope="module")
def twin():
    return EcgTwin.load("tiny")


def test_they_are_the_preset_and_at_most_eight_mib(twin):
    assert twin.spec == preset("tiny")
    files = list(Path(resolve("tiny")).glob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) <= 8 * 2**20
    sampling = twin.spec.sampling
    assert sampling.num_steps * (2 if sampling.guidance_scale != 1 else 1) <= 20


def test_the_card_names_the_weights_that_are_there(twin):
    assert twin.digest in (Path(resolve("tiny")) / "README.md").read_text()


def test_a_person_no_training_saw_beats_at_the_requested_rate(twin):
    """The corpus of the weights has seed 2025; these persons have another."""
    persons = simulate(seed=31, persons=range(8), visits_per_person=1, sampling_rate_hz=102.4)
    own = [row.condition for row in persons]
    samples = np.stack([row.record.samples_mv for row in persons]).astype(np.float32)
    base = np.repeat(twin.base_vectors(samples, own), NUM // 8, axis=0)
    requested = np.random.default_rng(1).permutation(np.linspace(45, 150, NUM))
    conditions = [
        CardiacCondition(
            statements=(rhythm(rate),), heart_rate_bpm=rate, age_years=60, sex="female"
        )
        for rate in requested
    ]
    noise = np.random.default_rng(2).standard_normal((NUM, *twin.latent_shape))
    drawn = twin.draw(base, conditions, noise.astype(np.float32), twin.spec.sampling)
    peaks = [r_peaks(one, sampling_rate_hz=twin.sampling_rate_hz) for one in drawn]
    assert np.mean([len(found) >= 3 for found in peaks]) >= 0.9
    rates = [heart_rate_bpm(found, sampling_rate_hz=twin.sampling_rate_hz) for found in peaks]
    measured = np.array([np.nan if rate is None else rate for rate in rates])
    known = np.isfinite(measured)
    assert np.abs(measured - requested)[known].mean() <= 10
    assert spearmanr(requested[known], measured[known]).statistic >= 0.9
    assert limb_residual_mv(drawn).max() < 1e-5


def rhythm(rate_bpm):
    if rate_bpm < 60:
        return "sinus bradycardia"
    return "sinus rhythm" if rate_bpm <= 100 else "sinus tachycardia"
