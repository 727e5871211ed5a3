"""Cut a pack out of a corpus: as many whole persons as a number of bytes holds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecgtwin.errors import SpecificationError
from ecgtwin.signals.leads import INDEPENDENT_LEADS, LEADS
from ecgtwin.signals.preprocess import resample
from ecgtwin.store.commit import put_new
from ecgtwin.store.layout import STEP_MV
from ecgtwin.store.objects import object_exists
from ecgtwin.store.pack import PACK_RATE_HZ, SUFFIX, Steps, encode_pack
from ecgtwin.store.pack_choice import PersonRows, fair_order, persons_of
from ecgtwin.store.pseudonyms import pseudonym, pseudonym_key
from ecgtwin.store.reader import Corpus, to_mv
from ecgtwin.store.writer import quantise

MIB = 2**20
_PROBE_ROWS = 256
_ROWS_PER_READ = 2048
_MOST_TRIES = 8
_FULL_ENOUGH = 0.98
_MARK = "pack\0"  # a pack's names are not a cohort's: the two cannot be joined


@dataclass(frozen=True, slots=True)
class PackSummary:
    """What went into a pack, and what there was to choose from."""

    out: str
    num_bytes: int
    num_rows: int
    num_rows_of_corpus: int
    num_persons: int
    num_persons_of_corpus: int
    num_paired: int
    rows_of_split: dict[str, int]
    num_statements: int
    num_statements_of_corpus: int
    resampled_from_hz: float | None

    def lines(self) -> list[str]:
        """Return the summary, line by line."""
        splits = ", ".join(
            f"{name} {count:,}" for name, count in sorted(self.rows_of_split.items())
        )
        lines = [
            f"{self.out}: {self.num_bytes / MIB:.2f} MiB",
            f"{self.num_rows:,} of {self.num_rows_of_corpus:,} records; {splits}",
            f"{self.num_persons:,} of {self.num_persons_of_corpus:,} persons, {self.num_paired:,} "
            "with two recordings or more",
            f"{self.num_statements:,} of {self.num_statements_of_corpus:,} statements",
        ]
        if self.resampled_from_hz is not None:
            lines.append(f"resampled from {self.resampled_from_hz:g} to {PACK_RATE_HZ:g} Hz")
        return lines


def cut_pack(
    url: str,
    out: str,
    *,
    max_bytes: int = 40 * MIB,
    splits: Sequence[str] = (),
    seed: int = 0,
) -> PackSummary:
    """Write a pack of at most ``max_bytes`` to the file or URL ``out``.

    ``splits`` empty: all of them. The same corpus, limit, splits and seed give the same pack.
    Raises SpecificationError where something is at ``out`` already, or one person is too much.
    """
    if not out.endswith(SUFFIX):
        raise SpecificationError(f"{out}: a pack's name ends with {SUFFIX}")
    if object_exists(out):
        raise SpecificationError(f"{out} exists and was left as it is; choose another name")
    cut = _Cut(Corpus(url), splits=splits, seed=seed)
    data, persons = cut.largest(max_bytes)
    put_new(out, data)
    rows = [row for person in persons for row in person.rows]
    return PackSummary(
        out=out,
        num_bytes=len(data),
        num_rows=len(rows),
        num_rows_of_corpus=len(cut.corpus),
        num_persons=len(persons),
        num_persons_of_corpus=len(set(cut.columns["person_id"])),
        num_paired=sum(len(person.recordings) > 1 for person in persons),
        rows_of_split=dict(Counter(cut.columns["split"][row] for row in rows)),
        num_statements=len({code for row in rows for code in cut.columns["statements"][row]}),
        num_statements_of_corpus=len({c for line in cut.columns["statements"] for c in line}),
        resampled_from_hz=None if cut.rate_hz == PACK_RATE_HZ else cut.rate_hz,
    )


class _Cut:
    """The order of the persons, and the samples of the first of them, read as far as needed."""

    def __init__(self, corpus: Corpus, *, splits: Sequence[str], seed: int) -> None:
        if len(corpus.columns["row"]) < corpus.layout.num_rows or not corpus.is_settled:
            raise SpecificationError(f"{corpus.url} is not finished; run its ingest again")
        self.corpus = corpus
        self.rate_hz = corpus.layout.sampling_rate_hz
        self._digest = str(corpus.description["digest"])
        self._key = pseudonym_key(corpus.url)
        names = (
            "person_id", "recording_id", "window", "visit", "split", "age_years", "sex",
            "heart_rate_bpm", "statements", "certainties",
        )  # fmt: skip
        self.columns: dict[str, list[Any]] = {name: list(corpus.column(name)) for name in names}
        known = set(self.columns["split"])
        if set(splits) - known:
            raise SpecificationError(
                f"{corpus.url} has no split {', '.join(sorted(set(splits) - known))}; it has "
                f"{', '.join(sorted(known)) or 'no records'}"
            )
        persons = persons_of(
            self.columns["person_id"],
            self.columns["split"],
            self.columns["recording_id"],
            self.columns["statements"],
        )
        wanted = [person for person in persons if not splits or person.split in splits]
        if not wanted:
            raise SpecificationError(f"{corpus.url} has no usable records to pack")
        self._order = fair_order(wanted, seed=seed)
        self._edges = np.cumsum([len(person.rows) for person in self._order])
        self._steps: list[Steps] = []
        self._num_read = 0

    def largest(self, max_bytes: int) -> tuple[bytes, list[PersonRows]]:
        """Return the bytes of a pack within ``max_bytes`` and who is in it."""
        num_rows = min(_PROBE_ROWS, int(self._edges[-1]))
        best, best_count, smallest_above = b"", 0, len(self._order) + 1
        for _ in range(_MOST_TRIES):
            count = int(np.searchsorted(self._edges, num_rows, side="right"))
            count = min(max(count, best_count + 1), smallest_above - 1)
            data = self._encode(count)
            if len(data) <= max_bytes:
                best, best_count = data, count
            else:
                smallest_above = count
            if best_count + 1 >= smallest_above or len(best) >= _FULL_ENOUGH * max_bytes:
                break
            # what a row takes, hardly ever exactly the same for others
            num_rows = int(self._edges[count - 1] * max_bytes / len(data) * 0.995)
        if not best:
            raise SpecificationError(
                f"{max_bytes} bytes hold no person of {self.corpus.url}: the first alone needs "
                f"{len(self._encode(1))}; raise the limit"
            )
        return best, self._order[:best_count]

    def _encode(self, count: int) -> bytes:
        persons = self._order[:count]
        return encode_pack(
            self._steps_of(int(self._edges[count - 1])),
            self._columns_of(persons),
            step_mv=STEP_MV,
            sampling_rate_hz=PACK_RATE_HZ,
            corpus_digest=self._digest,
        )

    def _steps_of(self, num_rows: int) -> Steps:
        """Return steps (row, 8, time) of the first rows in order; read each once."""
        if self._num_read < num_rows:
            ordered = [row for person in self._order for row in person.rows]
            wanted = np.asarray(ordered[self._num_read : num_rows], dtype=np.int64)
            self._steps.append(self._read(wanted))
            self._num_read = num_rows
        if len(self._steps) > 1:
            self._steps = [np.concatenate(self._steps)]
        return self._steps[0][:num_rows]

    def _read(self, positions: np.ndarray) -> Steps:
        """Return steps (n, 8, time) at the pack's rate, read in the order of the corpus."""
        found: Steps | None = None
        order = np.argsort(positions, kind="stable")
        for start in range(0, len(order), _ROWS_PER_READ):
            places = order[start : start + _ROWS_PER_READ]
            steps = self.corpus.read_steps(self.corpus.rows[positions[places]])
            step_mv = self.corpus.layout.step_mv
            if (self.rate_hz, step_mv) != (PACK_RATE_HZ, STEP_MV):
                stored_mv = to_mv(steps, step_mv=step_mv)
                moved = resample(stored_mv, from_hz=self.rate_hz, to_hz=PACK_RATE_HZ)
                steps = quantise(moved)[0]
            eight: Steps = steps[:, [LEADS.index(lead) for lead in INDEPENDENT_LEADS]]
            if found is None:
                found = np.empty((len(positions), *eight.shape[1:]), np.int16)
            found[places] = eight
        assert found is not None
        return found

    def _columns_of(self, persons: Sequence[PersonRows]) -> dict[str, list[Any]]:
        columns = self.columns
        names: list[str] = []
        recordings: list[str] = []
        for person in persons:
            names += [pseudonym(self._key, _MARK + person.person_id)] * len(person.rows)
            seen: dict[str, int] = {}
            for row in person.rows:
                number = seen.setdefault(columns["recording_id"][row], len(seen))
                recordings.append(str(number))
        rows = [row for person in persons for row in person.rows]
        taken = {
            name: [_plain(columns[name][row]) for row in rows]
            for name in ("window", "visit", "split", "age_years", "sex", "heart_rate_bpm",
                         "statements", "certainties")
        }  # fmt: skip
        return {"person": names, "recording": recordings, **taken}


def _plain(value: Any) -> Any:  # noqa: ANN401  (a column's value)
    """Return a value as JSON knows it: no NaN, no numpy number."""
    if isinstance(value, np.floating):
        return None if np.isnan(value) else float(value)
    return int(value) if isinstance(value, np.integer) else value
