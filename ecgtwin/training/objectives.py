"""Three losses: VAE, contrastive base extractor, denoiser. Each maps a batch to a scalar.

An objective is a module that holds the network it trains; frozen parts come in through the batch.
Everything random comes in through the batch too, so that a step is a function of its batch.
Axes: B batch, L independent lead, T sample, C channel, F frame, W base width.
"""

from torch import Tensor, nn
from torch.nn import functional

from ecgtwin.diffusion.process import noisy_at, time_of_noise, training_target, training_times
from ecgtwin.models.base_extractor import BaseExtractor
from ecgtwin.models.build import AnyDenoiser, AnyVae
from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.spec.process import Process
from ecgtwin.spec.recipe import BaseExtractorRecipe, DenoiserRecipe, VaeRecipe

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

    The slope (mV per sample) keeps QRS complexes sharp, which the mean error alone smooths.
    """

    def __init__(self, vae: AnyVae, recipe: VaeRecipe) -> None:
        super().__init__()
        self.network = vae
        self.recipe = recipe

    def forward(self, batch: Batch) -> Batch:
        """``samples_BLT`` in mV and standard normal ``noise_BCF`` -> loss and its parts."""
        samples_BLT = batch["samples_BLT"]
        mean, log_variance = self.network.posterior(samples_BLT)
        rebuilt = self.network.decode_raw(mean + (log_variance / 2).exp() * batch["noise_BCF"])
        error = (rebuilt - samples_BLT).abs().mean()
        slope_error = (rebuilt.diff(dim=-1) - samples_BLT.diff(dim=-1)).abs().mean()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
        loss = error + self.recipe.slope_weight * slope_error + self.recipe.kl_weight * divergence
        return {"loss": loss, "error_mv": error.detach(), "kl": divergence.detach()}


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

    Flow: Liu et al. 2022, eq. 1. Chain: Ho et al. 2020, eq. 14.
    """

    def __init__(self, denoiser: AnyDenoiser, recipe: DenoiserRecipe, *, process: Process) -> None:
        super().__init__()
        self.network = denoiser
        self.recipe = recipe
        self.process = process

    def forward(self, batch: Batch) -> Batch:
        """Target latent, base vector, condition, noise, time draw, presence flags -> loss."""
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
        near_noise = time_B / time_of_noise(self.process) > 0.7
        return {
            "loss": error_B.mean(),
            "loss_near_noise": _mean_where(error_B, near_noise),
            "loss_near_data": _mean_where(error_B, ~near_noise),
        }


def _mean_where(values_B: Tensor, chosen_B: Tensor) -> Tensor:
    return (values_B.detach() * chosen_B).sum() / chosen_B.sum().clamp(min=1)
