"""Means by level of noise are those of all samples, however these fall into batches."""

import pytest
import torch

from ecgtwin.training.bands import NUM_BANDS, band_outputs, with_bands


def mean_of(batches):
    """Return the means of outputs, as a step, a log line and a judge take them."""
    found = [band_outputs(error, noise) for error, noise in batches]
    return {name: float(torch.stack([one[name] for one in found]).mean()) for name in found[0]}


def test_a_mean_of_unequal_batches_is_that_of_their_samples():
    noise = torch.tensor([0.05, 0.05, 0.05, 0.95, 0.95, 0.55, 0.55, 0.05])
    error = torch.arange(8.0)
    batches = list(zip(error.split(4), noise.split(4), strict=True))
    found = with_bands({"loss": 1.0, **mean_of(batches)})
    assert found == {
        "loss": 1.0,
        "loss_band_1": pytest.approx((0 + 1 + 2 + 7) / 4),
        "loss_band_3": pytest.approx(5.5),
        "loss_band_5": pytest.approx(3.5),
    }


def test_bands_are_equal_and_run_from_data_to_noise():
    noise = (torch.arange(1000) + 0.5) / 1000
    found = with_bands(mean_of([(noise, noise)]))
    assert len(found) == NUM_BANDS
    for band in range(NUM_BANDS):
        assert found[f"loss_band_{band + 1}"] == pytest.approx(0.1 + 0.2 * band, abs=1e-4)


def test_the_ends_of_time_are_in_the_outer_bands():
    found = with_bands(mean_of([(torch.tensor([2.0, 4.0]), torch.tensor([0.0, 1.0]))]))
    assert found == {"loss_band_1": 2.0, "loss_band_5": 4.0}
