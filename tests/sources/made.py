"""A source whose rows a test makes up, and corpora made of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ecgtwin.executors.local import LocalExecutor
from ecgtwin.sources.ingest import ingest
from ecgtwin.sources.ingest_summary import IngestSummary
from ecgtwin.sources.simulated import simulate
from ecgtwin.sources.source import Columns, PlannedRow, Reject, Source, SourceRow, plan_columns
from ecgtwin.spec.base import digest_of
from ecgtwin.spec.ingest import IngestSpec

SMALL = IngestSpec(rows_per_shard=8, rows_per_chunk=4, validation_share=0.2, test_share=0.2)


@dataclass(frozen=True)
class MadeReader:
    """Returns the rows that it was made with, by number."""

    rows: tuple[SourceRow | Reject, ...]

    def read(self, rows: Sequence[PlannedRow]) -> list[SourceRow | Reject]:
        return [self.rows[planned.row] for planned in rows]


@dataclass(frozen=True)
class MadeSource(Source):
    """Rows of a test."""

    rows: tuple[SourceRow | Reject, ...]
    name: str = "made"
    version: int = 1

    def __len__(self) -> int:
        return len(self.rows)

    def plan(self, rows_per_block: int) -> Iterator[Columns]:
        for start in range(0, len(self.rows), rows_per_block):
            block = self.rows[start : start + rows_per_block]
            yield plan_columns(
                record_id=[_record_id(row) for row in block],
                file=[_record_id(row) for row in block],
                patient_id=[_patient_id(row) for row in block],
                visit=[0 if isinstance(row, Reject) else row.visit for row in block],
                official_split=[
                    None if isinstance(row, Reject) else row.official_split for row in block
                ],
            )

    def reader(self) -> MadeReader:
        return MadeReader(self.rows)

    def describe(self) -> dict[str, object]:
        return {"name": self.name, "version": self.version, "ids": digest_of(len(self.rows))}


def _record_id(row: SourceRow | Reject) -> str:
    return row.record_id if isinstance(row, Reject) else row.record.record_id


def _patient_id(row: SourceRow | Reject) -> str:
    return row.patient_id if isinstance(row, Reject) else row.record.patient_id


def visits(*, seed: int = 3, persons: int = 10, visits_per_person: int = 2) -> list[SourceRow]:
    """Return simulated visits at 100 Hz, persons slowest."""
    return simulate(
        seed=seed,
        persons=range(persons),
        visits_per_person=visits_per_person,
        sampling_rate_hz=100.0,
    )


def renamed(row: SourceRow, **ids: Any) -> SourceRow:
    """Return the row with another record_id or patient_id, and other samples where given."""
    return replace(row, record=replace(row.record, **ids))


def run(
    source: Source, url: Path | str, settings: IngestSpec = SMALL, **more: Any
) -> IngestSummary:
    """Ingest in this process."""
    return ingest(source, str(url), settings=settings, executor=LocalExecutor(), **more)


def content(folder: Path) -> dict[str, bytes]:
    """Return every file below ``folder``."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
