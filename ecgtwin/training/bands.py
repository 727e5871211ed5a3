"""The loss by level of noise, averaged rightly over micro-batches, ranks, steps and batches.

A batch has few samples in a band, another number in each: a mean of such means would count the
samples of poor batches for more. Each band is therefore two outputs, its sum and its share of the
samples, both per sample of the batch, and becomes one figure when all means are taken.
"""

from collections.abc import Mapping

from torch import Tensor

NUM_BANDS = 5  # equal parts of time, from data to noise
SUM, SHARE = ".sum", ".share"


def band_outputs(error_B: Tensor, noise_B: Tensor) -> dict[str, Tensor]:
    """Return ``loss_band_1`` (nearest to data) to ``loss_band_5`` as sums and shares.

    ``noise_B`` is the time, from 0 (data) to 1 (noise).
    """
    band_B = (noise_B * NUM_BANDS).long().clamp(0, NUM_BANDS - 1)
    outputs: dict[str, Tensor] = {}
    for band in range(NUM_BANDS):
        inside_B = (band_B == band).to(error_B.dtype)
        outputs[f"loss_band_{band + 1}{SUM}"] = (error_B.detach() * inside_B).mean()
        outputs[f"loss_band_{band + 1}{SHARE}"] = inside_B.mean()
    return outputs


def with_bands(means: Mapping[str, float]) -> dict[str, float]:
    """Return means of outputs with every sum divided by its share; a band of nobody is left out."""
    found: dict[str, float] = {}
    for name, value in means.items():
        if name.endswith(SUM):
            band = name.removesuffix(SUM)
            if means[band + SHARE] > 0:
                found[band] = value / means[band + SHARE]
        elif not name.endswith(SHARE):
            found[name] = value
    return found
