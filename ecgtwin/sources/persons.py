"""Who is who in a corpus: persons and recordings met before, and the split of each person."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ecgtwin.signals.fingerprint import fingerprint_words, shared_energy
from ecgtwin.sources.duplicates import MIN_SHARED_ENERGY, copies, joined
from ecgtwin.sources.splits import split_of, strictest
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.manifest import Manifest
from ecgtwin.store.reader import Corpus, StoredSteps, to_mv

Numbers = NDArray[np.int64]

_PAIRS_AT_A_TIME = 256


@dataclass(slots=True)
class _Names:
    """Names numbered in the order in which they are met."""

    number_of: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> int:
        return self.number_of.setdefault(name, len(self.number_of))

    def __len__(self) -> int:
        return len(self.number_of)


class Register:
    """Persons, recordings and fingerprints in order of arrival: known corpora, then this one.

    Holds some dozen bytes a row; signals only of rows whose fingerprints are near.
    """

    def __init__(self, url: str, known: Sequence[Corpus]) -> None:
        self._stores: list[StoredSteps] = [*known, StoredSteps(url)]
        self._store_of: list[int] = []  # of each kept row
        self._row_of: list[int] = []  # in its store
        self._persons, self._recordings = _Names(), _Names()
        self._person_of: list[int] = []
        self._recording_of: list[int] = []
        self._fingerprints: list[str] = []
        self._alias: dict[int, int] = {}  # what a known corpus calls its own persons
        self._official: dict[int, set[str]] = {}
        self._known_split: dict[int, set[str]] = {}
        for number, corpus in enumerate(known):
            self._add_known(number, corpus)
        self._num_known = len(self._fingerprints)

    def _add_known(self, store: int, corpus: Corpus) -> None:
        names = ("row", "patient_id", "person_id", "recording_id", "fingerprint", "split")
        rows = zip(*(corpus.column(name) for name in names), strict=True)
        archive = corpus.description["archive"]
        for row, patient, person, recording, mark, split in rows:
            self._add(store, int(row), person, recording, mark)
            self._alias[self._persons.number(f"{archive}:{patient}")] = self._persons.number(person)
            self._known_split.setdefault(self._persons.number(person), set()).add(split)

    def _add(self, store: int, row: int, person: str, recording: str, mark: str) -> None:
        self._store_of.append(store)
        self._row_of.append(row)
        self._person_of.append(self._persons.number(person))
        self._recording_of.append(self._recordings.number(recording))
        self._fingerprints.append(mark)

    def add(self, manifest: Manifest) -> None:
        """Take the rows of a shard; shards come in order."""
        columns = manifest.columns
        names = ("row", "accepted", "person_id", "recording_id", "fingerprint", "official_split")
        for row, accepted, person, recording, mark, official in zip(
            *(columns[name] for name in names), strict=True
        ):
            number = self._persons.number(person)
            if official is not None:
                self._official.setdefault(number, set()).add(official)
            if accepted:
                self._add(len(self._stores) - 1, row, person, recording, mark)

    def _are_copies(self, earlier: Numbers, later: Numbers) -> NDArray[np.bool_]:
        """Say of which pairs of kept rows the signals are the same."""
        found = []
        for start in range(0, len(later), _PAIRS_AT_A_TIME):
            part = slice(start, start + _PAIRS_AT_A_TIME)
            signals = self._signals(np.unique(np.concatenate([earlier[part], later[part]])))
            for one, other in zip(earlier[part].tolist(), later[part].tolist(), strict=True):
                (a_mv, a_rate_hz), (b_mv, b_rate_hz) = signals[one], signals[other]
                share = shared_energy(a_mv, b_mv, a_rate_hz=a_rate_hz, b_rate_hz=b_rate_hz)
                found.append(share >= MIN_SHARED_ENERGY)
        return np.array(found, dtype=bool)

    def _signals(self, kept: Numbers) -> dict[int, tuple[NDArray[np.float32], float]]:
        """Return number of the kept row -> samples (12, time) in mV and their rate in Hz."""
        found = {}
        for store, stored in enumerate(self._stores):
            mine = [number for number in kept.tolist() if self._store_of[number] == store]
            rows = np.array([self._row_of[number] for number in mine], dtype=np.int64)
            samples_mv = to_mv(stored.read_steps(rows), step_mv=stored.layout.step_mv)
            rate_hz = stored.layout.sampling_rate_hz
            found.update({n: (one, rate_hz) for n, one in zip(mine, samples_mv, strict=True)})
        return found

    def resolve(self, settings: IngestSpec) -> "Resolved":
        """Return who is who once all rows are in."""
        words = fingerprint_words(self._fingerprints)
        first = copies(words, self._are_copies, num_known=self._num_known)
        person_of = np.array(self._person_of, dtype=np.int64)
        recording_of = np.array(self._recording_of, dtype=np.int64)
        again = np.flatnonzero(
            (first < np.arange(len(first))) & (recording_of != recording_of[first])
        )
        same = zip(recording_of[again].tolist(), recording_of[first[again]].tolist(), strict=True)
        recording_root = joined(len(self._recordings), same)
        pairs = zip(person_of[again].tolist(), person_of[first[again]].tolist(), strict=True)
        root = joined(len(self._persons), [*self._alias.items(), *pairs])
        return Resolved(
            person_number=self._persons.number_of,
            recording_number=self._recordings.number_of,
            root=root,
            recording_root=recording_root,
            splits=self._splits(root, settings),
            num_copies=len(again),
            num_conflicts=self._num_conflicts(root),
            own=slice(self._num_known, None),
            person_of=root[person_of],
            recording_of=recording_root[recording_of],
        )

    def _gathered(self, root: Numbers, splits: dict[int, set[str]]) -> dict[int, set[str]]:
        found: dict[int, set[str]] = {}
        for number, values in splits.items():
            found.setdefault(int(root[number]), set()).update(values)
        return found

    def _splits(self, root: Numbers, settings: IngestSpec) -> dict[int, str]:
        """Return root -> split: of the publisher or a known corpus, the strictest; else by hash."""
        told = self._gathered(root, self._official)
        for number, values in self._gathered(root, self._known_split).items():
            told.setdefault(number, set()).update(values)
        names = {number: name for name, number in self._persons.number_of.items()}
        return {
            number: strictest(told[number])
            if number in told
            else split_of(
                names[number],
                salt=settings.split_salt,
                validation_share=settings.validation_share,
                test_share=settings.test_share,
            )
            for number in np.unique(root).tolist()
        }

    def _num_conflicts(self, root: Numbers) -> int:
        """Return how many persons a known corpus trains on that are kept from training here."""
        official = self._gathered(root, self._official)
        known = self._gathered(root, self._known_split)
        return sum(
            "train" in splits and strictest(splits | official.get(number, set())) != "train"
            for number, splits in known.items()
        )


@dataclass(frozen=True, slots=True)
class Resolved:
    """Persons and recordings by number, each led back to where it was met first.

    ``person_of`` and ``recording_of`` are per kept row, known ones first; ``own`` are this
    corpus's. ``num_copies``: rows whose recording was met before.
    """

    person_number: dict[str, int]
    recording_number: dict[str, int]
    root: Numbers
    recording_root: Numbers
    splits: dict[int, str]
    num_copies: int
    num_conflicts: int
    own: slice
    person_of: Numbers
    recording_of: Numbers

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of persons and of recordings, by number."""
        return list(self.person_number), list(self.recording_number)

    def person(self, person_id: str) -> int:
        """Return the number under which a person was met first."""
        return int(self.root[self.person_number[person_id]])

    def recording(self, recording_id: str) -> int:
        """Return the number under which a recording was met first."""
        return int(self.recording_root[self.recording_number[recording_id]])

    def num_pairs(self) -> tuple[int, int]:
        """Return persons with two recordings or more, and their pairs of different recordings."""
        own = np.stack([self.person_of[self.own], self.recording_of[self.own]], axis=1)
        if not len(own):
            return 0, 0
        persons = np.unique(own, axis=0)[:, 0]
        counts = np.unique(persons, return_counts=True)[1]
        return int((counts > 1).sum()), int((counts * (counts - 1) // 2).sum())


def register_of(url: str, manifests: Iterable[Manifest], known: Sequence[Corpus]) -> Register:
    """Return the register of known corpora and the shards of the one at ``url``."""
    register = Register(url, known)
    for manifest in manifests:
        register.add(manifest)
    return register
