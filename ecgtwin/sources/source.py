"""Source: records with their conditions, read by row number from anywhere."""

from dataclasses import dataclass
from typing import Protocol

from ecgtwin.signals.record import EcgRecord
from ecgtwin.spec.condition import CardiacCondition


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One usable recording and the state it was taken in.

    ``visit`` counts the recordings of a patient from 0. ``official_split`` is the split that the
    publisher of the data assigned, None where there is none.
    """

    record: EcgRecord
    condition: CardiacCondition
    visit: int
    official_split: str | None


@dataclass(frozen=True, slots=True)
class Reject:
    """One recording that cannot be used; it keeps its row, with the reason."""

    record_id: str
    patient_id: str
    reason: str


class Source(Protocol):
    """A fixed, ordered list of recordings. Picklable, so that any worker can read a share."""

    @property
    def name(self) -> str:
        """Return the word that says what kind of source this is."""

    def __len__(self) -> int:
        """Return the number of rows, usable or not."""

    def read(self, start: int, stop: int) -> list[SourceRow | Reject]:
        """Return rows ``start`` to ``stop`` (exclusive), one entry each, in row order."""

    def describe(self) -> dict[str, object]:
        """Return JSON-able provenance; equal descriptions mean equal rows."""
