"""The same recording met twice: found by fingerprint, and what follows for persons and splits."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ecgtwin.signals.fingerprint import differing_bits

MAX_BITS = 28  # of 256; copies at other rates differ in up to 17
MIN_SHARED_ENERGY = 0.965  # copies at other rates share 0.98, strangers of 28 bits up to 0.93
_BLOCK = 4_000_000  # candidate pairs compared at a time

Words = NDArray[np.uint64]
Rows = NDArray[np.int64]


def copies(
    words: Words, confirm: Callable[[Rows, Rows], NDArray[np.bool_]], *, num_known: int = 0
) -> Rows:
    """Return, for each of (n, 4) fingerprint words, the first row that it is a copy of, or itself.

    Rows are in the order in which they arrived. The first ``num_known`` are from elsewhere and are
    not compared with each other. ``confirm`` looks at the signals of (earlier, later) rows whose
    fingerprints are near: few, but some are not copies.
    """
    first = np.arange(len(words))
    near = _near(words, num_known)
    if len(near):
        kept = near[confirm(near[:, 0], near[:, 1])]
        np.minimum.at(first, kept[:, 1], kept[:, 0])
    for row in np.flatnonzero(first < np.arange(len(words))):  # a copy of a copy
        first[row] = first[first[row]]
    return first


def _near(words: Words, num_known: int) -> Rows:
    """Return all (earlier, later) rows of near fingerprints, (pairs, 2), in order, each once."""
    # A copy is alike in at least one band of 16 bits: certain up to 15 differing ones, 99 % at 20.
    found = [np.zeros((0, 2), dtype=np.int64)]
    bands = words.view(np.uint16) if len(words) else np.zeros((0, 16), np.uint16)
    for band in range(bands.shape[1]):
        for earlier, later in _pairs_alike(bands[:, band], num_known):
            close = differing_bits(words[earlier], words[later]) <= MAX_BITS
            found.append(np.stack([earlier[close], later[close]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _pairs_alike(
    values: NDArray[np.uint16], num_known: int
) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (earlier, later) rows of equal value, later ones not known, a block at a time."""
    order = np.argsort(values, kind="stable")
    edges = np.flatnonzero(np.diff(values[order])) + 1
    groups = [group for group in np.split(order, edges) if len(group) > 1]
    held: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    num_held = 0
    for group in groups:
        for place in range(1, len(group)):
            if group[place] < num_known:
                continue
            held.append((group[:place], np.full(place, group[place])))
            num_held += place
            if num_held >= _BLOCK:
                yield _joined(held)
                held, num_held = [], 0
    if held:
        yield _joined(held)


def _joined(
    pairs: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])


def joined(count: int, same: Iterable[tuple[int, int]]) -> Rows:
    """Return, for each of ``count`` numbers, the first that it is the same as through ``same``."""
    first = np.arange(count)
    for a, b in same:
        low, high = sorted((_root(first, a), _root(first, b)))
        first[high] = low
    for number in range(count):  # a root is smaller, so it is final when it is looked up
        first[number] = first[first[number]]
    return first


def _root(first: NDArray[np.int64], number: int) -> int:
    while first[number] != number:
        number = int(first[number])
    return number
