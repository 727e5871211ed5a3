"""The last step of an ingest: who is who, the tables by which a corpus is read, the counts.

Everything follows from the committed manifests, so a second run makes the same bytes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ecgtwin.sources.persons import Resolved, register_of
from ecgtwin.sources.plan_table import rows_per_block
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.corpus_tables import TABLES, TableWriter
from ecgtwin.store.layout import SignalLayout
from ecgtwin.store.manifest import Manifest, committed_shards, read_manifests
from ecgtwin.store.reader import Corpus

_LONG_ROWS = 65536  # of the tables that are not per row

Columns = dict[str, list[Any]]


@dataclass(slots=True)
class Tally:
    """Counts over the rows of a corpus."""

    kept: int = 0
    rows: int = 0
    without_rate: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    statements: Counter[tuple[str, str]] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)
    rows_of_person: Counter[str] = field(default_factory=Counter)
    rows_of_split: Counter[str] = field(default_factory=Counter)
    split_of_person: dict[str, str] = field(default_factory=dict)

    def add(self, columns: Columns) -> None:
        """Count a shard whose persons and splits are resolved."""
        self.rows += len(columns["row"])
        for place, accepted in enumerate(columns["accepted"]):
            self.unmapped.update(columns["unmapped"][place])
            self.flags.update({flag.partition(":")[0] for flag in columns["flags"][place]})
            if not accepted:
                self.rejected[columns["reason_kind"][place]] += 1
                continue
            self.kept += 1
            person, split = columns["person_id"][place], columns["split"][place]
            self.rows_of_person[person] += 1
            self.rows_of_split[split] += 1
            self.split_of_person[person] = split
            self.without_rate += columns["heart_rate_bpm"][place] is None
            pairs = zip(columns["statements"][place], columns["certainties"][place], strict=True)
            self.statements.update(pairs)


def tally(
    url: str,
    layout: SignalLayout,
    *,
    digest: str,
    settings: IngestSpec,
    write: bool,
) -> dict[str, Any]:
    """Return the counts of what is committed; with ``write`` make the tables of a whole corpus."""
    indices = committed_shards(url)
    known = [Corpus(known_url) for known_url in settings.known]
    resolved = register_of(url, read_manifests(url, indices), known).resolve(settings)
    names = resolved.names()
    writer = TableWriter(url, digest) if write else None
    counted = Tally()
    for block in _blocks(url, indices, rows_per_block(settings) // settings.rows_per_shard):
        gathered: Columns = {}
        for manifest in block:
            columns = _resolved(manifest.columns, resolved, names)
            counted.add(columns)
            for name, values in columns.items():
                gathered.setdefault(name, []).extend(values)
        if writer is not None:
            _put_rows(writer, gathered)
    counts = _counts(counted, resolved, layout)
    if writer is not None:
        _put_long(writer, counted)
        writer.complete(counts)
    return counts


def _blocks(url: str, indices: Sequence[int], size: int) -> Iterator[Iterator[Manifest]]:
    for start in range(0, len(indices), size):
        yield read_manifests(url, indices[start : start + size])


def _resolved(columns: Columns, resolved: Resolved, names: tuple[list[str], list[str]]) -> Columns:
    """Return the columns with persons, recordings and splits led back to where they came first."""
    persons = [resolved.person(person) for person in columns["person_id"]]
    recordings = [
        names[1][resolved.recording(recording)] if accepted else recording
        for accepted, recording in zip(columns["accepted"], columns["recording_id"], strict=True)
    ]
    return {
        **columns,
        "person_id": [names[0][number] for number in persons],
        "split": [resolved.splits[number] for number in persons],
        "recording_id": recordings,
    }


def _put_rows(writer: TableWriter, columns: Columns) -> None:
    for table in ("records", "conditions"):
        writer.put(table, {name: columns[name] for name in TABLES[table]})
    rejected = [place for place, accepted in enumerate(columns["accepted"]) if not accepted]
    writer.put(
        "rejects",
        {name: [columns[name][place] for place in rejected] for name in TABLES["rejects"]},
    )


def _put_long(writer: TableWriter, counted: Tally) -> None:
    codes = sorted({code for code, _ in counted.statements})
    certainties = ("definite", "possible", "negated")
    _put_all(
        writer,
        "statements",
        {
            "statement": codes,
            **{word: [counted.statements[code, word] for code in codes] for word in certainties},
        },
    )
    texts = sorted(counted.unmapped)
    _put_all(writer, "unmapped", {"text": texts, "rows": [counted.unmapped[t] for t in texts]})
    persons = sorted(counted.rows_of_person)
    _put_all(
        writer,
        "split",
        {
            "person_id": persons,
            "split": [counted.split_of_person[person] for person in persons],
            "rows": [counted.rows_of_person[person] for person in persons],
        },
    )


def _put_all(writer: TableWriter, table: str, columns: Columns) -> None:
    count = len(next(iter(columns.values())))
    for start in range(0, max(count, 1), _LONG_ROWS):
        block = {name: values[start : start + _LONG_ROWS] for name, values in columns.items()}
        writer.put(table, block)


def _counts(counted: Tally, resolved: Resolved, layout: SignalLayout) -> dict[str, Any]:
    num_pair_persons, num_pairs = resolved.num_pairs()
    mapped = Counter[str]()
    for (code, _), rows in counted.statements.items():
        mapped[code] += rows
    return {
        "num_rows": layout.num_rows,
        "num_committed": counted.rows,
        "num_kept": counted.kept,
        "rejected": _by_count(counted.rejected),
        "flags": _by_count(counted.flags),
        "num_patients": len(counted.rows_of_person),
        "num_pair_patients": num_pair_persons,
        "num_pairs": num_pairs,
        "num_copies": resolved.num_copies,
        "num_split_conflicts": resolved.num_conflicts,
        "records_by_split": _by_count(counted.rows_of_split),
        "patients_by_split": _by_count(Counter(counted.split_of_person.values())),
        "num_without_rate": counted.without_rate,
        "num_statements": len(mapped),
        "statements": dict(mapped.most_common(10)),
        "num_unmapped": sum(counted.unmapped.values()),
        "unmapped": dict(counted.unmapped.most_common(10)),
    }


def _by_count(counter: Counter[str]) -> dict[str, int]:
    """Return the counts, largest first, then by name, so that their order is always the same."""
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))
