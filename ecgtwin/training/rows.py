"""The rows that training draws from: read from corpora or a pack, encoded once.

Axes: B batch, L lead, T sample, C channel, F frame, W width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgtwin.signals.leads import INDEPENDENT_LEADS, take_leads
from ecgtwin.spec.condition import CardiacCondition, condition_from_columns
from ecgtwin.spec.pairs import PairSpec
from ecgtwin.store.pack import Pack
from ecgtwin.training.conditions import ConditionRows
from ecgtwin.training.pairs import PairSampler
from ecgtwin.twin.encoding import (
    BASE_VECTORS,
    BLOCK_ROWS,
    LATENTS,
    RowsOfCorpus,
    base_vectors_digest,
    base_vectors_of_latents,
    latents_digest,
    latents_of,
)
from ecgtwin.twin.twin import EcgTwin

if TYPE_CHECKING:  # a machine without zarr and pyarrow trains from packs
    from ecgtwin.store.reader import Corpus


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """The accepted rows of one split, held in memory.

    ``recordings`` names the recording that each row is a window of, inside its person; None: each
    row is a recording. ``origins`` are the corpora that the rows came from, in order; empty where
    they came from elsewhere.
    """

    samples_BLT: NDArray[np.float32]
    conditions: list[CardiacCondition]
    persons: list[str]
    recordings: list[str] | None = None
    origins: tuple[RowsOfCorpus, ...] = ()

    @classmethod
    def read(
        cls, corpora: Sequence["Corpus"], split: str, leads: Sequence[str] = INDEPENDENT_LEADS
    ) -> "TrainingRows":
        """Read ``leads`` in that order and the conditions of ``split``, corpora in order."""
        return cls.joined([cls._read_one(corpus, split, leads) for corpus in corpora])

    @classmethod
    def read_pack(
        cls, pack: Pack, split: str, leads: Sequence[str] = INDEPENDENT_LEADS
    ) -> "TrainingRows":
        """Take the rows of ``split`` out of a pack."""
        rows = pack.rows_of(split)
        return cls(
            np.ascontiguousarray(take_leads(pack.samples_mv(rows), leads), np.float32),
            [condition_from_columns(pack.columns, row) for row in rows.tolist()],
            [pack.columns["person"][row] for row in rows.tolist()],
            [pack.columns["recording"][row] for row in rows.tolist()],
        )

    @classmethod
    def joined(cls, parts: Sequence["TrainingRows"]) -> "TrainingRows":
        """Return the rows of ``parts``, one after the other; at least one is needed."""
        if len(parts) == 1:
            return parts[0]
        recordings: list[str] = []
        for part in parts:
            recordings += part.recordings or [f"row {row}" for row in range(len(part))]
        origins = [part.origins for part in parts]
        return cls(
            np.concatenate([part.samples_BLT for part in parts]),
            [condition for part in parts for condition in part.conditions],
            [person for part in parts for person in part.persons],
            recordings,
            tuple(one for some in origins for one in some) if all(origins) else (),
        )

    @classmethod
    def _read_one(cls, corpus: "Corpus", split: str, leads: Sequence[str]) -> "TrainingRows":
        positions = _positions_of(corpus, split)
        samples = np.empty((len(positions), len(leads), corpus.layout.num_samples), np.float32)
        for start in range(0, len(positions), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            samples[block] = take_leads(corpus.samples_mv(positions[block]), leads)
        return cls._of_positions(corpus, positions, samples)

    @classmethod
    def without_samples(cls, corpus: "Corpus", split: str) -> "TrainingRows":
        """Read everything of ``split`` but the samples, of which there are none: (B, 0, 0)."""
        positions = _positions_of(corpus, split)
        return cls._of_positions(corpus, positions, np.empty((len(positions), 0, 0), np.float32))

    @classmethod
    def _of_positions(
        cls, corpus: "Corpus", positions: NDArray[np.int64], samples: NDArray[np.float32]
    ) -> "TrainingRows":
        columns = {
            name: corpus.column(name)
            for name in ("statements", "certainties", "heart_rate_bpm", "age_years", "sex")
        }
        persons, recordings = corpus.column("person_id"), corpus.column("recording_id")
        origin = RowsOfCorpus(
            corpus.url,
            str(corpus.description["digest"]),
            corpus.layout.rows_per_shard,
            corpus.rows[positions],
        )
        return cls(
            samples,
            [condition_from_columns(columns, position) for position in positions.tolist()],
            [str(persons[position]) for position in positions.tolist()],
            [str(recordings[position]) for position in positions.tolist()],
            (origin,),
        )

    def __len__(self) -> int:
        return len(self.persons)

    def sampler(self, spec: PairSpec, *, seed: int) -> PairSampler:
        """Return what draws pairs of these rows."""
        classes = None
        if spec.same_condition != "allow":
            classes = [
                frozenset((one.code, one.certainty) for one in condition.statements)
                for condition in self.conditions
            ]
        return PairSampler(
            self.persons,
            seed=seed,
            spec=spec,
            recording_of_row=self.recordings,
            class_of_row=classes,
        )

    def num_paired(self, spec: PairSpec) -> int:
        """Return how many persons have two recordings that may be a pair."""
        return self.sampler(spec, seed=0).num_persons


def _positions_of(corpus: "Corpus", split: str) -> NDArray[np.int64]:
    return np.flatnonzero(np.asarray(corpus.column("split")) == split)


@dataclass(frozen=True, slots=True)
class LatentRows:
    """Latents, encoded conditions and (for the denoiser) base vectors of the same rows.

    ``num_stored`` counts the latents and the base vectors that were found beside the corpus.
    """

    latents_BCF: Tensor
    conditions: ConditionRows
    rows: TrainingRows
    base_vectors_BW: Tensor
    num_stored: tuple[int, int] = (0, 0)

    @classmethod
    @torch.no_grad()
    def of(cls, rows: TrainingRows, twin: EcgTwin) -> "LatentRows":
        """Encode every row once with ``twin`` as it is now.

        What stands beside the corpus under the digests of these networks is taken from there.
        """
        conditions = ConditionRows.of(rows.conditions, twin)
        latents, num_latents = _stored_or_made(
            rows,
            LATENTS,
            latents_digest(twin) if rows.origins else None,
            lambda missing: latents_of(twin, rows.samples_BLT[missing]),
        )
        latents = latents.to(twin.device)
        vectors, num_vectors = _stored_or_made(
            rows,
            BASE_VECTORS,
            base_vectors_digest(twin) if rows.origins else None,
            lambda missing: base_vectors_of_latents(
                twin,
                latents[missing],
                lambda block: conditions.take(torch.from_numpy(missing[block])),
            ),
        )
        return cls(latents, conditions, rows, vectors.to(twin.device), (num_latents, num_vectors))


def _stored_or_made(
    rows: TrainingRows,
    kind: str,
    digest: str | None,
    make: Callable[[NDArray[np.int64]], Tensor],
) -> tuple[Tensor, int]:
    """Return the values of all rows, and how many were stored; ``make`` makes the others."""
    everything = np.arange(len(rows))
    if digest is None:
        return make(everything), 0
    from ecgtwin.twin.derived_values import stored_values

    has_value, values = stored_values(rows.origins, kind, digest)
    if values is None:
        return make(everything), 0
    missing = np.flatnonzero(~has_value)
    if len(missing):
        values[missing] = make(missing).cpu().numpy()
    return torch.from_numpy(values), len(rows) - len(missing)
