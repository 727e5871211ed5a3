"""EcgTwin: the three networks as one thing. Reference ECGs in, twins in other states out."""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgtwin.diffusion.flow import shifted_times
from ecgtwin.diffusion.guidance import guided
from ecgtwin.diffusion.samplers import SAMPLERS
from ecgtwin.errors import CheckpointError
from ecgtwin.models.base_extractor import BaseExtractor
from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.models.dit import DiT
from ecgtwin.models.vae import Vae
from ecgtwin.signals.leads import derive_limb_leads, independent_leads
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.model import TwinSpec, preset
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.twin.checkpoint import load_checkpoint, save_checkpoint

Samples = NDArray[np.float32]


class EcgTwin(nn.Module):
    """A variational autoencoder, a base extractor and a denoiser that belong together."""

    def __init__(self, spec: TwinSpec) -> None:
        super().__init__()
        self.spec = spec
        self.vae = Vae(spec.vae)
        self.base_extractor = BaseExtractor(spec)
        self.denoiser = DiT(spec)
        self.provenance: Mapping[str, object] = {}
        self.digest = ""

    @classmethod
    def untrained(cls, spec: TwinSpec | str, *, seed: int) -> Self:
        """Return networks at their initial values, a function of ``seed``."""
        chosen = preset(spec) if isinstance(spec, str) else spec
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(chosen).eval().requires_grad_(False)

    @classmethod
    def load(cls, url: str, *, device: str = "cpu") -> Self:
        """Load a checkpoint folder or URL, or the weights shipped under a preset's name.

        Raises CheckpointError where something is missing, damaged, or does not fit.
        """
        stored = load_checkpoint(url)
        twin = cls(stored.spec)
        for name, weights in stored.weights.items():
            try:
                twin.get_submodule(name).load_state_dict(dict(weights))
            except RuntimeError as error:
                raise CheckpointError(f"checkpoint {url!r}: {name} does not fit: {error}") from None
        twin.provenance, twin.digest = stored.provenance, stored.digest
        return twin.to(device).eval().requires_grad_(False)

    def save(
        self,
        url: str,
        *,
        provenance: Mapping[str, object],
        dtype: torch.dtype = torch.float32,
    ) -> str:
        """Write the checkpoint to a new folder; return its digest."""
        weights = {
            name: {
                key: value.detach().cpu().to(dtype)
                for key, value in self.get_submodule(name).state_dict().items()
            }
            for name in ("vae", "base_extractor", "denoiser")
        }
        self.digest = save_checkpoint(url, self.spec, weights, provenance=provenance)
        return self.digest

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.vae.latent_mean_C1.device

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(channel, frame) of a latent."""
        return self.spec.vae.latent_channels, self.spec.vae.num_frames

    @property
    def num_samples(self) -> int:
        """Samples per lead of every ECG in and out."""
        return self.spec.vae.num_samples

    @property
    def sampling_rate_hz(self) -> float:
        """Sampling rate of every ECG in and out."""
        return self.spec.sampling_rate_hz

    def condition_batch(self, conditions: Sequence[CardiacCondition]) -> ConditionBatch:
        """Return ``conditions`` as the tensors the networks read."""
        return ConditionBatch.of(conditions, text_width=self.spec.text.width).to(self.device)

    @torch.no_grad()
    def latents(self, samples_mv: Samples) -> Tensor:
        """Return latents (B, channel, frame) of twelve-lead ECGs (B, 12, time) in mV."""
        eight = independent_leads(samples_mv).astype(np.float32)
        return self.vae.encode(torch.from_numpy(eight).to(self.device))

    @torch.no_grad()
    def base_vectors(self, samples_mv: Samples, conditions: Sequence[CardiacCondition]) -> Samples:
        """Return base vectors (B, width) of reference ECGs (B, 12, time) in mV.

        ``conditions`` are the references' own.
        """
        latents = self.latents(samples_mv)
        vectors: Samples = (
            self.base_extractor(latents, self.condition_batch(conditions)).cpu().numpy()
        )
        return vectors

    @torch.no_grad()
    def draw(
        self,
        base_vectors: Samples,
        conditions: Sequence[CardiacCondition],
        noise: Samples,
        sampling: SamplingSpec,
    ) -> Samples:
        """Return twelve-lead ECGs (B, 12, time) in mV of persons in ``conditions``.

        ``base_vectors`` is (B, width) and ``noise`` (B, channel, frame), standard normal. Leads
        III, aVR, aVL and aVF are derived, so the limb-lead identities hold.
        """
        told_batch = self.condition_batch(conditions)
        base = torch.from_numpy(base_vectors).to(self.device)
        told = self.denoiser.embed(base, told_batch)
        free = None
        if sampling.guidance_scale != 1.0:
            nobody = torch.zeros(len(conditions), dtype=torch.bool, device=self.device)
            free = self.denoiser.embed(base, told_batch, is_told_B=nobody)
        times = shifted_times(sampling.num_steps, shift=sampling.time_shift)
        velocity_at = guided(
            self.denoiser,
            told,
            free,
            scale=sampling.guidance_scale,
            until_time=sampling.guided_until_time,
        )
        start = torch.from_numpy(noise).to(self.device)
        latent = SAMPLERS[sampling.sampler](velocity_at, start, times)
        eight = self.vae.decode(latent).cpu().numpy()
        return derive_limb_leads(eight).astype(np.float32)
