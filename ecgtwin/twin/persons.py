"""Who an ECG is drawn of: one or several reference recordings, or a base vector."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import RecordError, SpecificationError
from ecgtwin.signals.record import EcgRecord
from ecgtwin.signals.usable import usable_samples
from ecgtwin.spec.condition import CardiacCondition

if TYPE_CHECKING:
    from ecgtwin.twin.twin import EcgTwin

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reference:
    """A recording of a person and the condition it was taken in."""

    record: EcgRecord
    condition: CardiacCondition


# A base vector is (width,) float32, as EcgTwin.base_vector returns it.
Person = Reference | Sequence[Reference] | Samples


def prepared_samples(twin: "EcgTwin", records: Sequence[EcgRecord]) -> Samples:
    """Return what the networks read of ``records``: (B, 12, time) in mV at the twin's rate.

    Each is resampled and cut as an ingest does it. Raises RecordError naming the record that is too
    short, has other than twelve leads, or fails a check of its quality.
    """
    prepared = []
    for record in records:
        if not isinstance(record, EcgRecord):
            raise RecordError(f"a recording is {type(record).__name__}; give an EcgRecord")
        try:
            prepared.append(
                usable_samples(record, to_hz=twin.sampling_rate_hz, num_samples=twin.num_samples)
            )
        except RecordError as error:
            raise RecordError(f"record {record.record_id!r}: {error}") from None
    return np.stack(prepared)


def base_vectors_of(twin: "EcgTwin", persons: Sequence[Person]) -> Samples:
    """Return base vectors (B, width), those of one person's references averaged.

    The networks are given one reference at a time: who else is asked for must not show in the low
    bits, from which the ids of records follow.
    """
    return np.stack([_base_vector(twin, person) for person in persons])


def _base_vector(twin: "EcgTwin", person: Person) -> Samples:
    references = _references(twin, person)
    if isinstance(person, np.ndarray):
        return person.astype(np.float32, copy=False)
    prepared = prepared_samples(twin, [one.record for one in references])
    vectors = np.concatenate(
        [
            twin.base_vectors(samples_mv[None], [one.condition])
            for samples_mv, one in zip(prepared, references, strict=True)
        ]
    )
    return vectors[0] if len(vectors) == 1 else averaged(twin, vectors)


def averaged(twin: "EcgTwin", vectors: Samples) -> Samples:
    """Return the mean (width,) of base vectors (n, width) of one person.

    Where base vectors have a fixed length, the root of their width, the mean is set back to it.
    """
    mean: Samples = vectors.mean(axis=0, dtype=np.float32)
    if not twin.spec.base_extractor.projection:
        return mean
    length = float(np.linalg.norm(mean))
    if not length > 0:
        raise RecordError("the references of one person cancel out; leave some of them out")
    return mean * np.float32(math.sqrt(len(mean)) / length)


def _references(twin: "EcgTwin", person: Person) -> list[Reference]:
    """Return the references of a person, none for a base vector; check what was given."""
    if isinstance(person, Reference):
        return [person]
    if isinstance(person, np.ndarray):
        width = twin.spec.base_extractor.base_width
        if person.shape != (width,):
            raise SpecificationError(
                f"a base vector has shape {person.shape}; ({width},) is needed, one person at a "
                "time"
            )
        if not np.isfinite(person).all():
            raise SpecificationError("a base vector has values that are no finite numbers")
        return []
    if isinstance(person, EcgRecord) or not all(isinstance(one, Reference) for one in person):
        raise SpecificationError(
            f"a person is {type(person).__name__}; give a Reference (a record and its condition), "
            "several of them, or a base vector"
        )
    if not person:
        raise SpecificationError("a person without any reference; give at least one")
    return list(person)
