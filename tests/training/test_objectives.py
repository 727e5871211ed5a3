"""The three losses against closed forms, and that what must not matter does not."""

import numpy as np
import pytest
import torch
from torch import nn

from ecgtwin.diffusion.ddpm import alphas_cumprod
from ecgtwin.errors import SpecificationError
from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.models.text_encoder import make_encoder, statements_encoder
from ecgtwin.signals.leads import INDEPENDENT_LEADS, LEADS
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.recipe import BaseExtractorRecipe, DenoiserRecipe, VaeRecipe
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.bands import with_bands
from ecgtwin.training.data import (
    DenoiserBatches,
    PairBatches,
    VaeBatches,
    latent_statistics,
    normal_of_rows,
)
from ecgtwin.training.objectives import (
    BaseExtractorObjective,
    DenoiserObjective,
    VaeObjective,
    condition_of,
)
from ecgtwin.training.rows import LatentRows, TrainingRows
from tests.tiny import TINY, TINY_PUBLISHED, tiny_twin

TRAINING = TrainingSpec()
DENOISER = DenoiserRecipe(training=TRAINING)
CERTAIN = DenoiserRecipe(training=TRAINING, condition_dropout=0, field_dropout=0)
EXTRACTOR = BaseExtractorRecipe(training=TRAINING)
CROPPED = BaseExtractorRecipe(training=TRAINING, crop_frames=24)
KINDS = ("vae", "pairs", "cropped pairs", "denoiser")


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    patients = [f"p{index // 2}" for index in range(16)] + ["alone"]
    conditions = [
        CardiacCondition(statements=("sinus rhythm",), heart_rate_bpm=50 + index, sex="male")
        for index in range(17)
    ]
    samples = random.standard_normal((17, 8, 1024)).astype(np.float32)
    return TrainingRows(samples, conditions, patients)


@pytest.fixture(scope="module")
def latents(rows):
    return LatentRows.of(rows, tiny_twin())


def whole(batches):
    return slice(0, batches.total)


def batches_of(kind, rows, latents, seed=3):
    if kind == "vae":
        return VaeBatches(rows, latent_shape=(4, 64), seed=seed, total=8)
    if kind in ("pairs", "cropped pairs"):
        recipe = CROPPED if kind == "cropped pairs" else EXTRACTOR
        return PairBatches(latents, recipe, seed=seed, total=8)
    return DenoiserBatches(latents, DENOISER, seed=seed, total=8)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_a_batch_are_the_rows_of_the_whole(kind, rows, latents):
    batches = batches_of(kind, rows, latents)
    one = batches(5, whole(batches))
    parts = [batches(5, part) for part in (slice(0, 3), slice(3, 4), slice(4, 8))]
    for key, value in one.items():
        joined = torch.cat([part[key] for part in parts])
        torch.testing.assert_close(joined, value, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_follows_from_seed_and_number(kind, rows, latents):
    first, again = (batches_of(kind, rows, latents) for _ in range(2))
    first(0, whole(first))
    for key, value in first(7, whole(first)).items():
        torch.testing.assert_close(again(7, whole(again))[key], value, equal_nan=True)
    other = batches_of(kind, rows, latents, seed=4)(7, whole(first))
    same = again(7, whole(again))
    assert any(not torch.equal(other[key], value) for key, value in same.items())


def test_noise_is_standard_normal_and_differs_by_row_and_step():
    noise = normal_of_rows(0, 3, slice(0, 64), 4, 64)
    assert float(noise.mean()) == pytest.approx(0, abs=0.03)
    assert float(noise.std()) == pytest.approx(1, abs=0.03)
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], normal_of_rows(0, 4, slice(0, 1), 4, 64)[0])


def test_a_single_recording_is_never_its_own_reference(latents):
    batches = DenoiserBatches(
        latents, DenoiserRecipe(training=TRAINING, base_dropout=0), seed=0, total=256
    )
    batch = batches(0, whole(batches))
    alone = torch.isclose(batch["latent_BCF"], latents.latents_BCF[16]).all(dim=(1, 2))
    assert 5 < int(alone.sum()) < 80
    assert torch.equal(batch["has_base_B"], ~alone)


def test_dropout_is_drawn_per_sample_at_its_rate(latents):
    recipe = DenoiserRecipe(
        training=TRAINING, base_dropout=0.3, condition_dropout=0.2, field_dropout=0.5
    )
    batch = DenoiserBatches(latents, recipe, seed=0, total=4000)(0, slice(0, 4000))
    assert float(batch["is_told_B"].float().mean()) == pytest.approx(0.8, abs=0.03)
    assert float(batch["rate_B"].isnan().float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float((batch["sex_B"] == -1).float().mean()) == pytest.approx(0.5, abs=0.03)


def test_vae_loss_of_a_silent_decoder_is_the_mean_absolute_sample():
    vae = tiny_twin().vae
    for parameter in vae.decoder.parameters():
        parameter.zero_()
    recipe = VaeRecipe(training=TRAINING, kl_weight=0, slope_weight=0)
    samples = torch.randn(2, 8, 1024)
    out = VaeObjective(vae, recipe)({"samples_BLT": samples, "noise_BCF": torch.zeros(2, 4, 64)})
    assert float(out["loss"]) == pytest.approx(float(samples.abs().mean()), rel=1e-5)
    for parameter in vae.encoder.parameters():
        parameter.zero_()
    mean_zero_variance_one = VaeObjective(vae, VaeRecipe(training=TRAINING, kl_weight=1.0))
    out = mean_zero_variance_one({"samples_BLT": samples, "noise_BCF": torch.zeros(2, 4, 64)})
    assert float(out["kl"]) == pytest.approx(0, abs=1e-6)


def test_vectors_of_the_extractor_have_unit_length_and_its_scale_is_learnt(latents):
    batches = PairBatches(latents, EXTRACTOR, seed=0, total=8)
    extractor = tiny_twin().base_extractor.requires_grad_(True)
    out = BaseExtractorObjective(extractor, EXTRACTOR)(batches(0, whole(batches)))
    for name in ("first_BW", "second_BW"):
        torch.testing.assert_close(out[name].norm(dim=1), torch.ones(8))
    out["log_scale"].sum().backward()
    assert extractor.log_scale.grad == 1


def test_each_member_of_a_pair_is_seen_through_a_window_of_its_own(latents):
    whole_rows, windows = (
        PairBatches(latents, recipe, seed=0, total=400)(0, slice(0, 400))
        for recipe in (EXTRACTOR, CROPPED)
    )
    firsts = []
    for member in ("reference_latent_BCF", "target_latent_BCF"):
        of_latent_BCWF = whole_rows[member].unfold(2, 24, 1)  # W: where a window begins
        is_there = (of_latent_BCWF == windows[member][:, :, None]).all(dim=3).all(dim=1)
        assert torch.equal(is_there.sum(dim=1), torch.ones(400, dtype=torch.long))
        firsts.append(is_there.long().argmax(dim=1))
        assert set(firsts[-1].tolist()) == set(range(64 - 24 + 1))
    assert float((firsts[0] == firsts[1]).float().mean()) < 0.1
    for key in set(whole_rows) - {"reference_latent_BCF", "target_latent_BCF"}:
        torch.testing.assert_close(windows[key], whole_rows[key], equal_nan=True)


def test_the_first_frames_alone_are_placed_as_in_the_whole_strip():
    rotary = tiny_twin().base_extractor.layers[0].self_attention.rotary
    asked = torch.randn(2, 64, 2 * rotary.cosine_FE.shape[1])
    torch.testing.assert_close(rotary(asked[:, :24]), rotary(asked)[:, :24])


def test_denoiser_loss_of_a_silent_network_is_the_targets_power(latents):
    denoiser = tiny_twin().denoiser
    denoiser.head.weight.zero_()
    denoiser.head.bias.zero_()
    batch = DenoiserBatches(latents, DENOISER, seed=0, total=16)(0, slice(0, 16))
    out = DenoiserObjective(denoiser, DENOISER, process=TINY.process)(batch)
    power = (batch["noise_BCF"] - batch["latent_BCF"]).square().mean()
    assert float(out["loss"]) == pytest.approx(float(power), rel=1e-5)


class KnowsTheOnlyLatent(nn.Module):
    """Tells the noise of a chain whose data is zero, exactly, and keeps what it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def embed(self, base_BW, conditions, *, has_base_B=None, is_told_B=None):
        return None

    def forward(self, noisy_BCF, step_B, conditioning):
        self.asked += step_B.tolist()
        signal = alphas_cumprod(TINY_PUBLISHED.process)[step_B.long()][:, None, None]
        return noisy_BCF / (1 - signal).sqrt()


def chain_batch(latents, num):
    return DenoiserBatches(latents, CERTAIN, seed=0, total=num)(0, slice(0, num))


def test_a_perfect_prediction_of_the_noise_costs_nothing_at_every_trained_step(latents):
    batch = chain_batch(latents, 998)
    batch["latent_BCF"] = torch.zeros_like(batch["latent_BCF"])
    batch["time_normal_B"] = torch.special.ndtri((torch.arange(998) + 0.5) / 998)
    denoiser = KnowsTheOnlyLatent()
    out = DenoiserObjective(denoiser, CERTAIN, process=TINY_PUBLISHED.process)(batch)
    assert denoiser.asked == [float(step) for step in range(1, 999)]
    assert float(out["loss"]) < 1e-9
    batch["latent_BCF"] += 1
    worse = DenoiserObjective(denoiser, CERTAIN, process=TINY_PUBLISHED.process)(batch)
    worse = with_bands({name: float(value) for name, value in worse.items()})
    by_band = [worse[f"loss_band_{band}"] for band in range(1, 6)]
    assert by_band == sorted(by_band, reverse=True)
    assert by_band[0] > 10 * by_band[-1] > 0


def test_min_snr_caps_the_weight_of_steps_with_little_noise(latents):
    """Hang et al. 2023: of a prediction of the noise, min(ratio, gamma) / ratio."""
    process = TINY_PUBLISHED.process
    signal = alphas_cumprod(process)[[100, 900]]
    ratio = (signal / (1 - signal)).tolist()
    assert ratio[0] > 2 > ratio[1]
    recipe = CERTAIN.model_copy(update={"weighting": "min_snr", "min_snr_gamma": 2.0})
    batch = chain_batch(latents, 2)
    batch["time_normal_B"] = torch.special.ndtri((torch.tensor([99, 899]) + 0.5) / 998)
    denoiser = KnowsTheOnlyLatent()
    plain = DenoiserObjective(denoiser, CERTAIN, process=process)
    weighted = DenoiserObjective(denoiser, recipe, process=process)
    assert float(weighted(batch)["loss"]) < float(plain(batch)["loss"])
    for row, weight in enumerate((2.0 / ratio[0], 1.0)):
        one = {name: value[row : row + 1] for name, value in batch.items()}
        kept = plain(one)["loss"] * weight
        assert float(weighted(one)["loss"]) == pytest.approx(float(kept), rel=1e-4)


def test_a_flow_is_not_weighted_by_its_ratio_of_variances(latents):
    recipe = DENOISER.model_copy(update={"weighting": "min_snr"})
    with pytest.raises(SpecificationError, match="set time_mean and time_spread instead"):
        DenoiserObjective(tiny_twin().denoiser, recipe, process=TINY.process)


def test_what_a_recipe_adds_to_the_loss_of_the_vae_is_told_and_weighs_as_said():
    vae, samples = tiny_twin().vae, torch.randn(2, 8, 1024)
    batch = {"samples_BLT": samples, "noise_BCF": torch.zeros(2, 4, 64)}
    plain = VaeRecipe(training=TRAINING)
    more = plain.model_copy(update={"spectral_weight": 0.5, "lead_consistency_weight": 2.0})
    before, after = (VaeObjective(vae, recipe)(batch) for recipe in (plain, more))
    added = 0.5 * after["spectral_error_mv"] + 2.0 * after["limb_error_mv"]
    assert float(after["loss"]) == pytest.approx(float(before["loss"] + added), rel=1e-5)
    assert not {"spectral_error_mv", "limb_error_mv"} & set(before)
    leads = [float(before[f"error_mv_{lead}"]) for lead in INDEPENDENT_LEADS]
    assert np.mean(leads) == pytest.approx(float(before["error_mv"]), rel=1e-5)
    assert {f"error_mv_{lead}" for lead in LEADS} <= set(before)


def test_published_networks_train_on_the_noise(latents):
    twin = tiny_twin(spec=TINY_PUBLISHED)
    twin.denoiser.head.weight.zero_()
    twin.denoiser.head.bias.zero_()
    batch = chain_batch(latents, 16)
    batch |= {"age_B": torch.full((16,), 50.0), "base_BW": torch.zeros(16, 16)}
    out = DenoiserObjective(twin.denoiser, CERTAIN, process=TINY_PUBLISHED.process)(batch)
    assert float(out["loss"]) == pytest.approx(float(batch["noise_BCF"].square().mean()), rel=1e-5)


def test_conditions_survive_the_batch():
    conditions = ConditionBatch.of(
        [CardiacCondition(statements=("a", "b"), age_years=50)],
        encode=statements_encoder(TINY, make_encoder(TINY.text)),
    )
    entries = {f"x_{name}": getattr(conditions, name) for name in conditions.__slots__}
    again = condition_of(entries, "x_")
    for name in conditions.__slots__:
        assert getattr(again, name) is getattr(conditions, name)


def test_latent_statistics_are_per_channel():
    first, second = torch.randn(400, 64) * 2 + 5, torch.randn(400, 64)
    mean, scale = latent_statistics([torch.stack([first, second], dim=1)])
    torch.testing.assert_close(mean[:, 0], torch.tensor([5.0, 0.0]), atol=0.1, rtol=0)
    torch.testing.assert_close(scale[:, 0], torch.tensor([2.0, 1.0]), atol=0.1, rtol=0)
