"""EcgTwin: the three networks as one thing. Reference ECGs in, twins in other states out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgtwin.diffusion.guidance import guided
from ecgtwin.diffusion.make import make_sampler
from ecgtwin.diffusion.process import time_of_noise
from ecgtwin.diffusion.samplers import Predict, Sampler
from ecgtwin.errors import CheckpointError, SpecificationError
from ecgtwin.models.adax import AttentionControl
from ecgtwin.models.base_extractor import BaseExtractor
from ecgtwin.models.build import build_denoiser, build_vae
from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.models.text_encoder import (
    TextEncoder,
    check_encoder,
    make_encoder,
    statements_encoder,
)
from ecgtwin.signals.leads import (
    derive_limb_leads,
    independent_leads,
    take_leads,
    twelve_leads,
)
from ecgtwin.signals.record import EcgRecord
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.edit import Edit, EditSpec
from ecgtwin.spec.model import TwinSpec
from ecgtwin.spec.presets import preset
from ecgtwin.spec.sampling import LeadsOfNetwork, SamplingSpec
from ecgtwin.twin.checkpoint import load_checkpoint, save_checkpoint
from ecgtwin.twin.drawing import NoiseAt, draw_latents
from ecgtwin.twin.editing import Edited, edit_recordings, edit_records, edit_spec
from ecgtwin.twin.persons import Person, Reference, base_vectors_of
from ecgtwin.twin.records import generate_records

Samples = NDArray[np.float32]


class EcgTwin(nn.Module):
    """A variational autoencoder, a base extractor and a denoiser that belong together."""

    def __init__(self, spec: TwinSpec) -> None:
        super().__init__()
        self.spec = spec
        self.vae = build_vae(spec)
        self.base_extractor = BaseExtractor(spec)
        self.denoiser = build_denoiser(spec)
        self.provenance: Mapping[str, object] = {}
        self.digest = ""
        self._text_encoder: TextEncoder | None = None

    @classmethod
    def untrained(cls, spec: TwinSpec | str, *, seed: int) -> Self:
        """Return networks at their initial values, a function of ``seed``."""
        chosen = preset(spec) if isinstance(spec, str) else spec
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(chosen).eval().requires_grad_(False)

    @classmethod
    def load(
        cls, url: str, *, device: str = "cpu", text_encoder: TextEncoder | None = None
    ) -> Self:
        """Load a checkpoint folder or URL, or the weights shipped under a preset's name.

        Raises CheckpointError where something is missing, damaged, or does not fit, and
        EncoderMismatchError where ``text_encoder`` is not the one of these networks.
        """
        stored = load_checkpoint(url)
        twin = cls(stored.spec)
        if text_encoder is not None:
            twin.text_encoder = text_encoder
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

    @property
    def text_encoder(self) -> TextEncoder:
        """What makes vectors of statements: the one given, or that of the specification.

        The latter is made at its first use; EncoderError where it cannot be had.
        """
        if self._text_encoder is None:
            self._text_encoder = make_encoder(self.spec.text)
        return self._text_encoder

    @text_encoder.setter
    def text_encoder(self, encoder: TextEncoder) -> None:
        """Take ``encoder``; raise EncoderMismatchError if the networks know another one."""
        check_encoder(self.spec.text, encoder)
        self._text_encoder = encoder

    def condition_batch(self, conditions: Sequence[CardiacCondition]) -> ConditionBatch:
        """Return ``conditions`` as the tensors the networks read."""
        encode = statements_encoder(self.spec, self.text_encoder)
        return ConditionBatch.of(conditions, encode=encode).to(self.device)

    @torch.no_grad()
    def latents(self, samples_mv: Samples) -> Tensor:
        """Return latents (B, channel, frame) of twelve-lead ECGs (B, 12, time) in mV.

        The network gets its own leads in its own order, whatever that is.
        """
        known = take_leads(samples_mv, self.spec.vae.lead_order).astype(np.float32)
        return self.vae.encode(torch.from_numpy(known).to(self.device))

    @torch.no_grad()
    def samples_of(
        self,
        latents: Tensor,
        *,
        leads: LeadsOfNetwork,
        to_host: Callable[[Tensor], Tensor] = Tensor.cpu,
    ) -> Samples:
        """Return twelve-lead ECGs (B, 12, time) in mV of ``latents`` (B, channel, frame).

        ``consistent`` derives III, aVR, aVL and aVF from I and II, so the limb-lead identities
        hold. ``as_generated`` leaves them as a twelve-lead network drew them; one of eight leads
        draws none of the four. The store of cohorts knows consistent leads only
        (``store.writer.quantise``). ``to_host`` copies a tensor from the device.
        """
        decoded = to_host(self.vae.decode(latents).float()).numpy()
        twelve = twelve_leads(decoded, self.spec.vae.lead_order)
        if leads == "consistent":
            twelve = derive_limb_leads(independent_leads(twelve))
        return twelve.astype(np.float32)

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

    def sampler(self, sampling: SamplingSpec) -> Sampler:
        """Return the sampler that ``sampling`` names.

        Raises SpecificationError where these networks cannot be sampled so.
        """
        if not isinstance(sampling, SamplingSpec):
            raise SpecificationError(f"sampling is {type(sampling).__name__}; give a SamplingSpec")
        if sampling.guidance_scale != 1 and self.spec.denoiser.tokens.kind == "published":
            raise SpecificationError(
                f"sampling.guidance_scale: {sampling.guidance_scale:g} asks for guidance, and "
                f"these networks ({self.spec.preset!r}) were never trained without a condition; "
                "leave it at 1"
            )
        return make_sampler(self.spec.process, sampling)

    @torch.no_grad()
    def predictor(
        self,
        base_vectors: Samples,
        conditions: Sequence[CardiacCondition],
        sampling: SamplingSpec,
        *,
        control: AttentionControl | None = None,
    ) -> Predict:
        """Return the denoiser, told of persons (B, width) and conditions, guided if asked for.

        ``control`` sees the attention of the told evaluations.
        """
        batch = self.condition_batch(conditions)
        base = torch.from_numpy(base_vectors).to(self.device)
        told = self.denoiser.embed(base, batch)
        free = None
        if sampling.guidance_scale != 1.0:
            nobody = torch.zeros(len(conditions), dtype=torch.bool, device=self.device)
            free = self.denoiser.embed(base, batch, is_told_B=nobody)
        return guided(
            self.denoiser,
            told if control is None else replace(told, control=control),
            free,
            scale=sampling.guidance_scale,
            until_time=sampling.guided_until_time * time_of_noise(self.spec.process),
        )

    @torch.no_grad()
    def draw(
        self,
        base_vectors: Samples,
        conditions: Sequence[CardiacCondition],
        noise: Samples,
        sampling: SamplingSpec,
        *,
        noise_at: NoiseAt | None = None,
    ) -> Samples:
        """Return twelve-lead ECGs (B, 12, time) in mV of persons in ``conditions``.

        ``base_vectors`` is (B, width) and ``noise`` (B, channel, frame), standard normal.
        ``noise_at(index)`` is that of step ``index`` (from 0), for samplers that add some. Leads
        III, aVR, aVL and aVF are as ``sampling.leads`` says, see ``samples_of``. Raises
        SpecificationError where these networks cannot be sampled so.
        """
        latents = draw_latents(self, base_vectors, conditions, noise, sampling, noise_at=noise_at)
        return self.samples_of(latents, leads=sampling.leads)

    def base_vector(self, reference: EcgRecord, condition: CardiacCondition) -> Samples:
        """Return the base vector (width,) of a recording of at least the network's length.

        ``condition`` is the recording's own. Raises RecordError where the recording is too short,
        has other than twelve leads, or is of a quality that an ingest refuses.
        """
        vector: Samples = base_vectors_of(self, [Reference(reference, condition)])[0]
        return vector

    def generate(
        self,
        person: Person,
        condition: CardiacCondition,
        *,
        seed: int = 0,
        sampling: SamplingSpec | None = None,
    ) -> EcgRecord:
        """Return an ECG of ``person`` in ``condition``; its id begins with "synthetic-".

        A person is a ``Reference``, several of them (their base vectors are averaged), or a base
        vector (width,). The noise follows from ``seed`` alone. ``sampling`` None: the networks'
        own. Raises RecordError for a reference that cannot be used, SpecificationError for a
        sampling that does not fit.
        """
        return self.generate_many([person], [condition], [seed], sampling=sampling)[0]

    def generate_many(
        self,
        persons: Sequence[Person],
        conditions: Sequence[CardiacCondition],
        seeds: Sequence[int],
        *,
        sampling: SamplingSpec | None = None,
    ) -> list[EcgRecord]:
        """Return what ``generate`` does for each person, condition and seed, as one batch."""
        return generate_records(self, persons, conditions, seeds, sampling)

    def edit(
        self,
        person: Person,
        condition: CardiacCondition,
        edits: EditSpec | Sequence[Edit],
        *,
        seed: int = 0,
        sampling: SamplingSpec | None = None,
        record_maps: bool = False,
    ) -> Edited:
        """Return the ECG that ``generate`` makes, and the same one under an edited report.

        ``edits`` replace, add or reweight statements of ``condition``; SpecificationError names one
        that it lacks. ``record_maps`` keeps where the edited ECG looked.
        """
        edited = self.edit_many(
            [person], [condition], edits, [seed], sampling=sampling, record_maps=record_maps
        )
        return edited[0]

    def edit_many(
        self,
        persons: Sequence[Person],
        conditions: Sequence[CardiacCondition],
        edits: EditSpec | Sequence[Edit],
        seeds: Sequence[int],
        *,
        sampling: SamplingSpec | None = None,
        record_maps: bool = False,
    ) -> list[Edited]:
        """Return what ``edit`` does for each person, condition and seed, as one batch."""
        spec = edit_spec(edits)
        return edit_records(
            self, persons, conditions, spec, seeds, sampling, record_maps=record_maps
        )

    def edit_recording(
        self,
        reference: Reference,
        edits: EditSpec | Sequence[Edit],
        *,
        sampling: SamplingSpec | None = None,
        record_maps: bool = False,
    ) -> Edited:
        """Return a real recording as the VAE keeps it, and the same one under an edited report.

        ``edits`` are of the reference's own condition. ``sampling`` must be deterministic (None:
        20 Euler or DDIM steps, no guidance); the recording is inverted without guidance, and a
        ``guidance_scale`` acts on its edit only. Raises RecordError and SpecificationError.
        """
        found = edit_recordings(
            self, [reference], edit_spec(edits), sampling, record_maps=record_maps
        )
        return found[0]
