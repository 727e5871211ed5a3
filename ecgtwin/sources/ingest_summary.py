"""What a corpus holds, in numbers: kept, rejected and why, persons, pairs, splits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ecgtwin.executors.protocol import Outcome
from ecgtwin.sources.source import Reject
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.reader import Corpus

_SPLITS = ("train", "validation", "test")
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class IngestSummary:
    """Counts over the committed rows of a corpus, and what the last ingest did.

    ``rejected`` and ``flags``: kind -> rows. ``num_pair_patients``: persons with two recordings or
    more, who make ``num_pairs`` unordered pairs. ``num_copies``: rows whose recording came before,
    here or in a known corpus. ``num_split_conflicts``: persons that a known corpus trains on and
    that are kept from training here. ``num_written``: shards that this ingest committed.
    """

    digest: str
    num_rows: int
    num_committed: int
    num_kept: int
    rejected: dict[str, int]
    flags: dict[str, int]
    num_patients: int
    num_pair_patients: int
    num_pairs: int
    num_copies: int
    num_split_conflicts: int
    records_by_split: dict[str, int]
    patients_by_split: dict[str, int]
    num_without_rate: int
    num_statements: int
    statements: dict[str, int]
    num_unmapped: int
    unmapped: dict[str, int]
    wanted_shares: dict[str, float]
    max_reject_share: float
    num_written: int = 0
    failures: tuple[Outcome, ...] = ()
    was_stopped: bool = False

    @classmethod
    def of(
        cls,
        digest: str,
        counts: Mapping[str, Any],
        settings: IngestSpec,
        *,
        num_written: int = 0,
        failures: tuple[Outcome, ...] = (),
        was_stopped: bool = False,
    ) -> "IngestSummary":
        """Return the summary of the counts that ``sources.finish.tally`` gives."""
        validation, test = settings.validation_share, settings.test_share
        return cls(
            digest=digest,
            **counts,
            wanted_shares={
                "train": 1 - validation - test,
                "validation": validation,
                "test": test,
            },
            max_reject_share=settings.max_reject_share,
            num_written=num_written,
            failures=failures,
            was_stopped=was_stopped,
        )

    @property
    def num_rejected(self) -> int:
        """Return how many rows cannot be used."""
        return sum(self.rejected.values())

    def line(self) -> str:
        """Return the summary as one sentence."""
        splits = ", ".join(f"{self.patients_by_split.get(split, 0):,} {split}" for split in _SPLITS)
        return (
            f"{self.num_kept:,} of {self.num_rows:,} records kept, "
            f"{self.num_rejected:,} rejected; "
            f"{self.num_patients:,} patients ({splits}), "
            f"{self.num_pair_patients:,} with two or more records ({self.num_pairs:,} pairs)"
        )

    def text(self) -> str:
        """Return the summary as lines for a person."""
        lines = [self.line()]
        lines += [f"  rejected {count:,}: {kind}" for kind, count in _largest(self.rejected)]
        lines += [f"  flagged {count:,}: {kind}" for kind, count in _largest(self.flags)]
        if self.num_copies:
            lines.append(f"  {self.num_copies:,} records are copies of earlier ones")
        if self.num_split_conflicts:
            lines.append(
                f"  {self.num_split_conflicts:,} persons are trained on in a known corpus and "
                "kept from training here: do not train on both"
            )
        lines.append(f"  splits: {self._splits()}")
        if self.num_statements:
            common = ", ".join(f"{code} {rows:,}" for code, rows in _largest(self.statements)[:3])
            lines.append(f"  {self.num_statements:,} statements, most often {common}")
        if self.num_unmapped:
            common = ", ".join(f"{text!r} {rows:,}" for text, rows in _largest(self.unmapped)[:3])
            lines.append(f"  {self.num_unmapped:,} texts stand for no statement: {common} ...")
        if self.num_without_rate:
            lines.append(f"  {self.num_without_rate:,} records without a heart rate")
        if self.was_stopped:
            lines.append(
                f"  stopped: {self.num_rejected:,} of {self.num_committed:,} rows were rejected, "
                f"more than {self.max_reject_share:.0%} of the source; see why above, then go on "
                "with a larger --max-reject-share"
            )
        return "\n".join(lines)

    def _splits(self) -> str:
        """Return rows and share of each split beside the share that was wanted."""
        total = max(self.num_kept, 1)
        return ", ".join(
            f"{split} {self.records_by_split.get(split, 0):,} "
            f"({self.records_by_split.get(split, 0) / total:.1%}, wanted "
            f"{self.wanted_shares[split]:.0%})"
            for split in _SPLITS
        )


def _largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]


def read_rejects(url: str) -> list[Reject]:
    """Return the committed rows of a corpus that are not accepted, in row order."""
    columns = Corpus(url).columns
    names = ("accepted", "record_id", "patient_id", "reason", "reason_kind", "reason_value")
    return [
        Reject(record, patient, reason, kind, value)
        for accepted, record, patient, reason, kind, value in zip(
            *(columns[name] for name in names), strict=True
        )
        if not accepted
    ]
