"""Editing: the same person and noise under an edited report, beat by beat where it was.

An edit is drawn beside its source in one batch, whose edited half looks at the statements where
the source does (``models.attention_control``). A recording is edited from the noise that the
deterministic sampler makes it of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgtwin.diffusion.inversion import path_to_data
from ecgtwin.diffusion.process import time_of_noise
from ecgtwin.diffusion.samplers import Predict, Sampler, num_steps, run
from ecgtwin.errors import SpecificationError
from ecgtwin.models.attention_control import EditMaps, RecordMaps
from ecgtwin.signals.record import EcgRecord
from ecgtwin.spec.condition import CardiacCondition, Statement
from ecgtwin.spec.edit import Edit, EditedCondition, EditSpec, edited_condition
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.twin.persons import Person, Reference, base_vectors_of, prepared_samples
from ecgtwin.twin.records import array_digest, check_lengths, seeded_noise, synthetic_record

if TYPE_CHECKING:
    from ecgtwin.twin.twin import EcgTwin

Samples = NDArray[np.float32]

RECORDING_STEPS = 20
INVERSION_ITERATIONS = 5  # evaluations that undo one of these steps
_ROUNDING = 1e-6  # of a noise level


@dataclass(frozen=True, slots=True)
class AttentionMaps:
    """Where an ECG looked at the statements it was drawn in.

    ``shares`` is float32 (evaluation, layer, frame, statement), averaged over heads: how much of
    the attention of a frame, an even share of the recording's time, went to a statement.
    Evaluations are in the order they were made, from the first one that was edited.
    """

    shares: Samples
    statements: tuple[Statement, ...]

    def mean(self) -> Samples:
        """Return (frame, statement), averaged over evaluations and layers."""
        averaged: Samples = self.shares.mean(axis=(0, 1))
        return averaged


@dataclass(frozen=True, slots=True)
class Edited:
    """An ECG before and after its edit; where the edited one looked, if that was recorded."""

    source: EcgRecord
    edited: EcgRecord
    maps: AttentionMaps | None


def edit_spec(edits: EditSpec | Sequence[Edit]) -> EditSpec:
    """Return ``edits`` as a specification; a bare sequence takes its defaults."""
    if isinstance(edits, EditSpec):
        return edits
    if not isinstance(edits, Sequence) or isinstance(edits, str):
        raise SpecificationError(
            f"edits: found {type(edits).__name__}; give a list of edits, or an EditSpec"
        )
    return EditSpec.parse({"edits": list(edits)}, origin="edit")


@torch.no_grad()
def edit_records(
    twin: "EcgTwin",
    persons: Sequence[Person],
    conditions: Sequence[CardiacCondition],
    spec: EditSpec,
    seeds: Sequence[int],
    sampling: SamplingSpec | None,
    *,
    record_maps: bool,
) -> list[Edited]:
    """Return an edited ECG beside its source for each person, condition and seed.

    Above the level at which the edit starts there is one trajectory, that of the source.
    """
    check_lengths(persons, conditions, seeds)
    chosen = sampling or twin.spec.sampling
    sampler = twin.sampler(chosen)
    edited = _edited(twin, conditions, spec)
    base = base_vectors_of(twin, persons)
    batch = _Batch(twin, base, conditions, edited, spec, chosen, record_maps)
    noise, noise_at = seeded_noise(twin, seeds)

    def step_noise(index: int, copies: int) -> Tensor:
        return torch.from_numpy(noise_at(index)).to(twin.device).repeat(copies, 1, 1)

    first = batch.first_step(sampler)
    latents = run(
        sampler,
        twin.predictor(base, conditions, chosen),
        torch.from_numpy(noise).to(twin.device),
        stop=first,
        noise_at=lambda index: step_noise(index, 1),
    )
    predict, recorder = batch.predictor()
    latents = run(
        sampler,
        predict,
        latents.repeat(2, 1, 1),
        start=first,
        noise_at=lambda index: step_noise(index, 2),
    )
    return batch.results(latents, recorder, [str(seed) for seed in seeds])


@torch.no_grad()
def edit_recordings(
    twin: "EcgTwin",
    references: Sequence[Reference],
    spec: EditSpec,
    sampling: SamplingSpec | None,
    *,
    record_maps: bool,
) -> list[Edited]:
    """Return each reference's own recording, as the VAE keeps it, and its edit.

    The source rows are held on the inverted trajectory, so they end where they began.
    """
    for one in references:
        if not isinstance(one, Reference):
            raise SpecificationError(
                f"a recording to edit is {type(one).__name__}; give a Reference (a record and its "
                "condition)"
            )
    chosen = sampling or recording_sampling(twin)
    sampler = twin.sampler(chosen)
    conditions = [one.condition for one in references]
    edited = _edited(twin, conditions, spec)
    samples_mv = prepared_samples(twin, [one.record for one in references])
    base = base_vectors_of(twin, references)
    batch = _Batch(twin, base, conditions, edited, spec, chosen, record_maps)

    unguided = chosen.model_copy(update={"guidance_scale": 1.0})
    first = batch.first_step(sampler)
    path = path_to_data(
        sampler,
        twin.predictor(base, conditions, unguided),
        twin.latents(samples_mv),
        down_to=first,
        num_iterations=INVERSION_ITERATIONS,
    )
    predict, recorder = batch.predictor()
    after = path[0]
    for index, before in zip(range(first, num_steps(sampler)), path, strict=False):
        stacked = sampler.step(index, predict, torch.cat([before, after]), None)
        after = stacked[len(references) :]
    latents = torch.cat([path[-1], after])
    return batch.results(latents, recorder, [array_digest(one_mv) for one_mv in samples_mv])


def recording_sampling(twin: "EcgTwin") -> SamplingSpec:
    """Return how recordings are edited by default: without noise, clipping and guidance."""
    own = twin.spec.sampling
    return SamplingSpec(
        sampler="ddim" if own.sampler in ("ddpm", "ddim") else "euler",
        num_steps=RECORDING_STEPS,
        leads=own.leads,
    )


def _edited(
    twin: "EcgTwin", conditions: Sequence[CardiacCondition], spec: EditSpec
) -> list[EditedCondition]:
    """Return the conditions after ``spec``; raise SpecificationError where that cannot be."""
    if not twin.spec.denoiser.adax.cross_attention:
        raise SpecificationError(
            f"these networks ({twin.spec.preset!r}) have no cross-attention and are not told the "
            "statements, so none can be edited; take others"
        )
    return [edited_condition(condition, spec) for condition in conditions]


@dataclass(frozen=True)
class _Batch:
    """Source rows, and the edited rows that follow them."""

    twin: "EcgTwin"
    base_vectors: Samples
    conditions: Sequence[CardiacCondition]
    edited: Sequence[EditedCondition]
    spec: EditSpec
    sampling: SamplingSpec
    record_maps: bool

    def first_step(self, sampler: Sampler) -> int:
        """Return the first step that starts at the level of the edit or below."""
        unit = time_of_noise(self.twin.spec.process)
        starts = [time / unit for time in sampler.times[:-1]]
        first = sum(level > self.spec.start_level + _ROUNDING for level in starts)
        if first == len(starts):
            raise SpecificationError(
                f"start_time: {self.spec.start_level:g} is below {starts[-1]:.4g}, where the last "
                f"of {len(starts)} steps starts, so nothing would be edited; raise it, or take "
                "more steps"
            )
        return first

    def predictor(self) -> tuple[Predict, RecordMaps | None]:
        """Return the prediction of all rows, and what records the maps if they are wanted."""
        after = [one.condition for one in self.edited]
        most = max(len(one.statements) for one in [*self.conditions, *after])
        control = EditMaps.of(
            self.edited,
            num_tokens=max(1, most),
            renormalise=self.spec.renormalise,
            device=self.twin.device,
        )
        recorder = RecordMaps(control) if self.record_maps else None
        predict = self.twin.predictor(
            np.concatenate([self.base_vectors, self.base_vectors]),
            [*self.conditions, *after],
            self.sampling,
            control=recorder or control,
        )
        return predict, recorder

    def results(
        self, latents: Tensor, recorder: RecordMaps | None, origins: Sequence[str]
    ) -> list[Edited]:
        """Return the rows of ``latents`` as records; ``origins`` say what each was drawn from."""
        sources, after = np.split(self.twin.samples_of(latents, leads=self.sampling.leads), 2)
        made_by, edit = self.sampling.digest(), self.spec.digest()
        results = []
        for row, (condition, vector, origin) in enumerate(
            zip(self.conditions, self.base_vectors, origins, strict=True)
        ):
            made_of = (condition.digest(), origin, made_by)
            results.append(
                Edited(
                    synthetic_record(self.twin, sources[row], vector, *made_of),
                    synthetic_record(self.twin, after[row], vector, *made_of, edit),
                    None if recorder is None else self._maps(recorder, row),
                )
            )
        return results

    def _maps(self, recorder: RecordMaps, row: int) -> AttentionMaps:
        statements = self.edited[row].condition.statements
        recorded = recorder.recorded(self.twin.spec.vae.num_frames)
        of_row = recorded[:, :, len(self.edited) + row, :, : len(statements)]
        return AttentionMaps(of_row.float().cpu().numpy(), statements)
