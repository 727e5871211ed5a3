"""One stored ECG drawn again, by its recorded attempt and in its own batch, beside the stored one.

Under the numerics that made the cohort it must be the same to the last bit. Under others it is the
same ECG with other low bits: within ``TOLERANCE_MV``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import CohortMismatchError, DamageError, SpecificationError
from ecgtwin.executors.torch_threads import one_torch_thread
from ecgtwin.generation.counts import condition_in_words
from ecgtwin.generation.numerics import (
    device_at_hand,
    differing_numerics,
    fingerprint,
    settle_numerics,
)
from ecgtwin.generation.prepare import ResolvedCohort
from ecgtwin.generation.remake import remake_rows
from ecgtwin.generation.repair_plan import source_of
from ecgtwin.signals.leads import LEADS
from ecgtwin.store.layout import SIGNALS
from ecgtwin.store.manifest import read_manifest
from ecgtwin.store.objects import join
from ecgtwin.store.reader import StoredSteps
from ecgtwin.store.writer import quantise

TOLERANCE_MV = 0.02


@dataclass(frozen=True, slots=True)
class SampleAgain:
    """A stored row and the same one drawn again; samples are steps (12, time) of ``step_mv`` mV.

    ``other_numerics`` says how the machine at hand differs from the one that made the cohort.
    """

    row: int
    person: str
    condition: str
    replicate: int
    attempt: int
    is_accepted: bool
    stored: NDArray[np.int16]
    drawn: NDArray[np.int16]
    step_mv: float
    other_numerics: tuple[str, ...]

    @property
    def difference_mv(self) -> float:
        """The largest difference of a sample."""
        return float(self._apart().max() * self.step_mv)

    @property
    def is_same(self) -> bool:
        """Say whether it is the same: to the last bit, or within the tolerance elsewhere."""
        return self.difference_mv <= (TOLERANCE_MV if self.other_numerics else 0.0)

    def lines(self) -> list[str]:
        """Return it in lines for a person."""
        accepted = "accepted" if self.is_accepted else "not accepted"
        found = [
            f"row {self.row}: {self.person}, {self.condition}, replicate {self.replicate}, "
            f"attempt {self.attempt}, {accepted}"
        ]
        if self.other_numerics:
            found.append(f"drawn with other numerics: {'; '.join(self.other_numerics)}")
        if not self.difference_mv:
            return [*found, "drawn again it is the same to the last bit"]
        apart = self._apart()
        lead = LEADS[int(apart.max(axis=1).argmax())]
        where = f"{np.count_nonzero(apart):,} of {apart.size:,} samples differ, most in lead {lead}"
        verdict = (
            f"within the tolerance of {TOLERANCE_MV:g} mV between unlike numerics"
            if self.is_same
            else "it is NOT the stored one"
        )
        return [
            *found,
            f"drawn again it differs by up to {self.difference_mv:.3g} mV: {verdict}; {where}",
        ]

    def _apart(self) -> NDArray[np.int32]:
        return np.abs(self.stored.astype(np.int32) - self.drawn.astype(np.int32))


def sample_again(url: str, row: int, *, checkpoint: str | None = None) -> SampleAgain:
    """Draw ``row`` of the cohort at ``url`` again; nothing is written.

    ``checkpoint``: where its networks are, None: where ``cohort.json`` says. SpecificationError
    where the cohort has no such row, CohortMismatchError where it is not committed, or the
    checkpoint is another one, DamageError where what is stored cannot be read.
    """
    source = source_of(url, checkpoint=checkpoint, spec=None)
    cohort, twin = source.cohort, source.twin.to(device_at_hand())
    if not 0 <= row < cohort.plan.num_rows:
        raise SpecificationError(
            f"row {row} is not in {url}, whose rows are 0 to {cohort.plan.num_rows - 1}"
        )
    shard = cohort.plan.shards()[row // cohort.layout.rows_per_shard]
    try:
        manifest = read_manifest(url, shard.index)
    except FileNotFoundError:
        raise CohortMismatchError(
            f"row {row} of {url} is not made yet: shard {shard.index} is not committed"
        ) from None
    attempts, place = manifest.columns["attempt"], row - shard.start
    is_accepted = manifest.columns["accepted"][place]
    settle_numerics()
    with one_torch_thread():
        mine = fingerprint(twin.device, batch_rows=cohort.plan.spec.batch_rows)
        drawn_mv = remake_rows(twin, cohort, shard, attempts, [place])
    steps, _ = quantise(drawn_mv, step_mv=cohort.layout.step_mv)
    request = cohort.plan.request_at(row)
    return SampleAgain(
        row=row,
        person=request.person,
        condition=condition_in_words(request.condition),
        replicate=request.replicate,
        attempt=attempts[place],
        is_accepted=is_accepted,
        stored=_stored(cohort, row, is_accepted=is_accepted),
        drawn=steps[0],
        step_mv=cohort.layout.step_mv,
        other_numerics=tuple(differing_numerics(url, mine)),
    )


def _stored(cohort: ResolvedCohort, row: int, *, is_accepted: bool) -> NDArray[np.int16]:
    """Return the stored steps (12, time) of ``row``."""
    stored = StoredSteps(cohort.url)
    if stored.layout != cohort.layout:
        raise DamageError(
            f"{join(cohort.url, SIGNALS)} is damaged: it is laid out as {stored.layout}, the plan "
            f"says {cohort.layout}; `ecgtwin cohort repair` mends it"
        )
    steps: NDArray[np.int16] = stored.read_steps(np.array([row]), are_accepted=is_accepted)[0]
    return steps
