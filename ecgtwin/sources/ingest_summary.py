"""What a corpus holds, in numbers: kept, rejected and why, patients, pairs, splits."""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from ecgtwin.executors.protocol import Outcome
from ecgtwin.sources.source import Reject
from ecgtwin.store.reader import Corpus


@dataclass(frozen=True, slots=True)
class IngestSummary:
    """Counts over the committed rows of a corpus, and what the last ingest did.

    ``rejected``: kind of reason -> records. ``num_pair_patients``: patients with at least two kept
    records, so with same-patient pairs. ``num_written``: shards that this ingest committed.
    """

    digest: str
    num_rows: int
    num_kept: int
    rejected: dict[str, int]
    num_patients: int
    num_pair_patients: int
    records_by_split: dict[str, int]
    patients_by_split: dict[str, int]
    num_without_rate: int
    num_written: int
    failures: tuple[Outcome, ...]

    def line(self) -> str:
        """Return the summary as one sentence."""
        splits = ", ".join(
            f"{self.patients_by_split.get(split, 0)} {split}"
            for split in ("train", "validation", "test")
        )
        return (
            f"{self.num_kept:,} of {self.num_rows:,} records kept, "
            f"{self.num_rows - self.num_kept:,} rejected; "
            f"{self.num_patients:,} patients ({splits}), "
            f"{self.num_pair_patients:,} with two or more records"
        )


def summarise(
    url: str, *, digest: str, num_written: int, failures: tuple[Outcome, ...]
) -> IngestSummary:
    """Count what is committed at ``url``."""
    corpus = Corpus(url)
    patients = corpus.column("patient_id")
    per_patient = Counter(patients)
    split_of_patient = dict(zip(patients, corpus.column("split"), strict=True))
    kinds = Counter(reason_kind(reject) for reject in rejects_of(corpus))
    return IngestSummary(
        digest=digest,
        num_rows=len(corpus.columns["row"]),
        num_kept=len(corpus),
        rejected=dict(kinds.most_common()),
        num_patients=len(per_patient),
        num_pair_patients=sum(count >= 2 for count in per_patient.values()),
        records_by_split=dict(Counter(corpus.column("split"))),
        patients_by_split=dict(Counter(split_of_patient.values())),
        num_without_rate=int(np.isnan(corpus.column("heart_rate_bpm")).sum()),
        num_written=num_written,
        failures=failures,
    )


def read_rejects(url: str) -> list[Reject]:
    """Return the reject table of the corpus at ``url``: its committed, not accepted rows."""
    return rejects_of(Corpus(url))


def rejects_of(corpus: Corpus) -> list[Reject]:
    """Return the committed rows that are not accepted, in row order."""
    names = ("accepted", "record_id", "patient_id", "reason")
    rows = zip(*(corpus.columns[name] for name in names), strict=True)
    return [
        Reject(record, patient, reason)
        for accepted, record, patient, reason in rows
        if not accepted
    ]


def reason_kind(reject: Reject) -> str:
    """Return what a reason shares with the same fault elsewhere: no ids, leads or numbers."""
    text = reject.reason.removeprefix(f"record {reject.record_id}: ")
    text = re.split(r"\s*(?:\(|;|:| in lead |, lead)", text, maxsplit=1)[0]
    return re.sub(r"\b\d+(?:\.\d+)?", "N", text)
