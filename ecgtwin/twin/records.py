"""Records in, records out: a person, a condition and a seed become one synthetic recording."""

import hashlib
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ecgtwin.diffusion.noise_key import noise_key, standard_normal
from ecgtwin.errors import SpecificationError
from ecgtwin.signals.record import EcgRecord
from ecgtwin.spec.base import digest_of
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.twin.persons import Person, base_vectors_of

if TYPE_CHECKING:
    from ecgtwin.twin.twin import EcgTwin

Samples = NDArray[np.float32]

SYNTHETIC = "synthetic-"  # how the id of every record begins that no heart made
_ID_LETTERS = 16


def generate_records(
    twin: "EcgTwin",
    persons: Sequence[Person],
    conditions: Sequence[CardiacCondition],
    seeds: Sequence[int],
    sampling: SamplingSpec | None,
) -> list[EcgRecord]:
    """Return one record per person, condition and seed, drawn as one batch."""
    check_lengths(persons, conditions, seeds)
    chosen = sampling or twin.spec.sampling
    base = base_vectors_of(twin, persons)
    noise, noise_at = seeded_noise(twin, seeds)
    samples_mv = twin.draw(base, conditions, noise, chosen, noise_at=noise_at)
    made_by = chosen.digest()
    return [
        synthetic_record(twin, one_mv, vector, condition.digest(), str(seed), made_by)
        for one_mv, vector, condition, seed in zip(samples_mv, base, conditions, seeds, strict=True)
    ]


def seeded_noise(twin: "EcgTwin", seeds: Sequence[int]) -> tuple[Samples, Callable[[int], Samples]]:
    """Return the noise (B, channel, frame) of ``seeds``, and that of each step.

    It follows from the seed alone, so persons and conditions under one seed share it.
    """
    keys = [
        noise_key(
            cohort_seed=seed, person="", condition_digest=None, replicate=0, attempt=0
        )
        for seed in seeds
    ]  # fmt: skip

    def noise_at(index: int) -> Samples:
        return standard_normal(keys, twin.latent_shape, step=1 + index).astype(np.float32)

    return standard_normal(keys, twin.latent_shape).astype(np.float32), noise_at


def synthetic_record(
    twin: "EcgTwin", samples_mv: Samples, base_vector: Samples, *made_of: str
) -> EcgRecord:
    """Return a record whose ids follow from the person and everything it was made of."""
    person = array_digest(base_vector)
    identity = digest_of([twin.digest, person, *made_of])
    return EcgRecord(
        samples_mv,
        twin.sampling_rate_hz,
        patient_id=SYNTHETIC + person[:_ID_LETTERS],
        record_id=SYNTHETIC + identity[:_ID_LETTERS],
    )


def array_digest(values: Samples) -> str:
    """Return the hex BLAKE2b-128 digest of an array's float32 values."""
    return hashlib.blake2b(values.astype("<f4").tobytes(), digest_size=16).hexdigest()


def check_lengths(
    persons: Sequence[Person], conditions: Sequence[CardiacCondition], seeds: Sequence[int]
) -> None:
    """Raise SpecificationError unless there is one condition and one seed per person."""
    if not len(persons) == len(conditions) == len(seeds) or not len(persons):
        raise SpecificationError(
            f"{len(persons)} persons, {len(conditions)} conditions and {len(seeds)} seeds; give "
            "as many of each, at least one"
        )
    for seed in seeds:
        if not isinstance(seed, Integral) or seed < 0:
            raise SpecificationError(f"a seed is a whole number of at least 0 (found {seed!r})")
    for place, condition in enumerate(conditions):
        if not isinstance(condition, CardiacCondition):
            raise SpecificationError(
                f"condition {place} is {type(condition).__name__}; give a CardiacCondition"
            )
