"""Three losses: VAE, contrastive base extractor, denoiser. Each maps a batch to a scalar.

An objective is a module that holds the network it trains; frozen parts come in through the batch.
Everything random comes in through the batch too, so that a step is a function of its batch.
Axes: B batch, L independent lead, T sample, C channel, F frame, W base width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecgtwin.diffusion.ddpm import signal_to_noise
from ecgtwin.diffusion.process import noisy_at, time_of_noise, training_target, training_times
from ecgtwin.errors import SpecificationError
from ecgtwin.models.base_extractor import BaseExtractor
from ecgtwin.models.build import AnyDenoiser, AnyVae
from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.spec.process import DdpmSpec, Process
from ecgtwin.spec.recipe import BaseExtractorRecipe, DenoiserRecipe, VaeRecipe
from ecgtwin.training.bands import band_outputs
from ecgtwin.training.reconstruction import lead_errors_mv, limb_error_mv, spectral_error_mv

Batch = dict[str, Tensor]
CONDITION_KEYS = (
    "text_BKW",
    "certainty_BK3",
    "token_is_real_BK",
    "rate_B",
    "age_B",
    "sex_B",
)


def condition_of(batch: Batch, prefix: str) -> ConditionBatch:
    """Return the conditions that stand in ``batch`` under ``prefix``."""
    return ConditionBatch(*(batch[f"{prefix}{key}"] for key in CONDITION_KEYS))


class VaeObjective(nn.Module):
    """Absolute error in mV, the same of the slope, and the Kullback-Leibler term.

    The slope (mV per sample) keeps QRS complexes sharp, which the mean error alone smooths. The
    recipe may add an error of short-time spectra, which holds what both smooth, and one between
    the limb leads.
    """

    def __init__(self, vae: AnyVae, recipe: VaeRecipe) -> None:
        super().__init__()
        self.network = vae
        self.recipe = recipe

    def forward(self, batch: Batch) -> Batch:
        """``samples_BLT`` in mV and standard normal ``noise_BCF`` -> loss and its parts.

        ``error_mv_V1`` and so on are of each of the twelve leads.
        """
        samples_BLT, leads = batch["samples_BLT"], self.network.lead_order
        mean, log_variance = self.network.posterior(samples_BLT)
        rebuilt = self.network.decode_raw(mean + (log_variance / 2).exp() * batch["noise_BCF"])
        error = (rebuilt - samples_BLT).abs().mean()
        slope_error = (rebuilt.diff(dim=-1) - samples_BLT.diff(dim=-1)).abs().mean()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
        loss = error + self.recipe.slope_weight * slope_error + self.recipe.kl_weight * divergence
        outputs = {"error_mv": error.detach(), "kl": divergence.detach()}
        if self.recipe.spectral_weight:
            spectral = spectral_error_mv(rebuilt, samples_BLT)
            loss = loss + self.recipe.spectral_weight * spectral
            outputs["spectral_error_mv"] = spectral.detach()
        if self.recipe.lead_consistency_weight:
            limb = limb_error_mv(rebuilt, samples_BLT, leads)
            loss = loss + self.recipe.lead_consistency_weight * limb
            outputs["limb_error_mv"] = limb.detach()
        by_lead = lead_errors_mv(rebuilt, samples_BLT, leads)
        return {"loss": loss, **outputs, **{f"error_mv_{key}": by_lead[key] for key in by_lead}}


class BaseExtractorObjective(nn.Module):
    """Base vectors of two recordings of each person, for the contrast of a whole global batch.

    The loss is not of one micro-batch: ``training.steps.contrastive_step`` makes it.
    """

    def __init__(self, extractor: BaseExtractor, recipe: BaseExtractorRecipe) -> None:
        super().__init__()
        self.network = extractor
        self.max_scale = recipe.max_scale

    def forward(self, batch: Batch) -> Batch:
        """Latents and conditions of both members, ``is_told_B`` -> unit vectors, log scale."""
        first_BW, second_BW = (
            functional.normalize(
                self.network(
                    batch[f"{member}_latent_BCF"],
                    condition_of(batch, f"{member}_"),
                    is_told_B=batch["is_told_B"],
                ).float(),
                dim=-1,
            )
            for member in ("reference", "target")
        )
        log_scale = self.network.log_scale.float() * 1.0  # not the parameter, which ZeRO may part
        return {"first_BW": first_BW, "second_BW": second_BW, "log_scale": log_scale}


class DenoiserObjective(nn.Module):
    """Mean squared error of what the process asks for: the velocity of a flow, or the noise.

    Flow: Liu et al. 2022, eq. 1. Chain: Ho et al. 2020, eq. 14, and with ``weighting: min_snr`` the
    weights of Hang et al. 2023 (arXiv 2303.09556, section 3.4, for a prediction of the noise).
    SpecificationError for a weighting that is not of ``process``.
    """

    def __init__(self, denoiser: AnyDenoiser, recipe: DenoiserRecipe, *, process: Process) -> None:
        super().__init__()
        check_weighting(recipe, process)
        denoiser.activation_checkpointing = recipe.training.activation_checkpointing
        self.network = denoiser
        self.recipe = recipe
        self.process = process

    def forward(self, batch: Batch) -> Batch:
        """Target latent, base vector, condition, noise, time draw, presence flags -> loss.

        The loss by level of noise, not weighted, is given as ``training.bands`` says.
        """
        latent_BCF, noise_BCF = batch["latent_BCF"], batch["noise_BCF"]
        time_B = training_times(
            self.process,
            batch["time_normal_B"],
            mean=self.recipe.time_mean,
            spread=self.recipe.time_spread,
        )
        conditioning = self.network.embed(
            batch["base_BW"],
            condition_of(batch, ""),
            has_base_B=batch["has_base_B"],
            is_told_B=batch["is_told_B"],
        )
        noisy_BCF = noisy_at(self.process, latent_BCF, noise_BCF, time_B)
        target_BCF = training_target(self.process, latent_BCF, noise_BCF)
        predicted_BCF = self.network(noisy_BCF, time_B, conditioning)
        error_B = (predicted_BCF - target_BCF).square().mean(dim=(1, 2))
        loss = (error_B * self._weights(time_B)).mean()
        return {"loss": loss, **band_outputs(error_B, time_B / time_of_noise(self.process))}

    def _weights(self, time_B: Tensor) -> Tensor:
        if self.recipe.weighting == "none" or not isinstance(self.process, DdpmSpec):
            return torch.ones_like(time_B)
        ratio_B = signal_to_noise(self.process, time_B)
        return ratio_B.clamp(max=self.recipe.min_snr_gamma) / ratio_B


def check_weighting(recipe: DenoiserRecipe, process: Process) -> None:
    """Raise SpecificationError where ``process`` has no such weighting of the loss."""
    if recipe.weighting == "min_snr" and not isinstance(process, DdpmSpec):
        raise SpecificationError(
            "denoiser.weighting: min_snr is of the chain of noise (process ddpm); a flow is "
            "weighted by the times that it is trained at, set time_mean and time_spread instead"
        )
