"""Which persons of a corpus a pack begins with: an order of which every beginning is a fair share.

Splits keep their shares of the records. Within a split a person comes early by chance, the more so
with two recordings or more and with statements that few persons have.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

PAIR_FACTOR = 4.0  # how much rather a person with two recordings is taken


@dataclass(slots=True)
class PersonRows:
    """A person's rows, split, recordings and statements."""

    person_id: str
    split: str
    rows: list[int] = field(default_factory=list)
    recordings: set[str] = field(default_factory=set)
    statements: set[str] = field(default_factory=set)


def persons_of(
    person_ids: Sequence[str],
    splits: Sequence[str],
    recordings: Sequence[str],
    statements: Sequence[Sequence[str]],
) -> list[PersonRows]:
    """Gather rows by person, in order of first appearance."""
    found: dict[str, PersonRows] = {}
    for row, name in enumerate(person_ids):
        person = found.setdefault(name, PersonRows(name, splits[row]))
        person.rows.append(row)
        person.recordings.add(recordings[row])
        person.statements.update(statements[row])
    return list(found.values())


def fair_order(persons: Sequence[PersonRows], *, seed: int) -> list[PersonRows]:
    """Return ``persons`` so that any beginning is a fair share; a function of ids and seed.

    Weighted sampling without replacement (Efraimidis and Spirakis 2006) in each split, then the
    splits merged by the share of their records that is taken.
    """
    counts = Counter(code for person in persons for code in person.statements)
    by_split: dict[str, list[tuple[float, PersonRows]]] = {}
    for person in persons:
        wait = -math.log(_chance(person.person_id, seed)) / _weight(person, counts, len(persons))
        by_split.setdefault(person.split, []).append((wait, person))
    placed: list[tuple[float, str, PersonRows]] = []
    for split, waiting in by_split.items():
        chosen = [person for _, person in sorted(waiting, key=lambda one: one[0])]
        edges = np.cumsum([0, *(len(person.rows) for person in chosen)])
        for person, (start, stop) in zip(chosen, pairwise(edges.tolist()), strict=True):
            placed.append(((start + stop) / 2 / edges[-1], split, person))
    return [person for _, _, person in sorted(placed, key=lambda one: one[:2])]


def _weight(person: PersonRows, counts: Counter[str], num_persons: int) -> float:
    """Return how early a person comes: by the root of the rarity of its rarest statement."""
    rarest = min((counts[code] for code in person.statements), default=num_persons)
    pairs = PAIR_FACTOR if len(person.recordings) > 1 else 1.0
    return pairs * math.sqrt(num_persons / rarest)


def _chance(person_id: str, seed: int) -> float:
    """Return a number in (0, 1) that is uniform over persons."""
    digest = hashlib.blake2b(f"{seed}\0{person_id}".encode(), digest_size=8).digest()
    return ((int.from_bytes(digest, "little") >> 11) + 0.5) / 2**53
