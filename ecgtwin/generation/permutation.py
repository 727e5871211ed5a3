"""A permutation of the first n numbers that follows from a key: nothing is shuffled, or held."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 4
_MASK = (1 << 64) - 1
_BLOCK = 1 << 16  # numbers permuted together: they stay in the cache
# Of splitmix64 (Steele et al. 2014, section 4.2, variant 13 of Stafford).
_SHIFTS, _FACTORS = (30, 27, 31), (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@dataclass(frozen=True)
class KeyedPermutation:
    """Place ``index`` of a permutation of ``size`` numbers (below 2^62), and back.

    Constant time and memory: a balanced Feistel network of four rounds (Luby and Rackoff 1988)
    over the least power of four that is not below ``size``; what falls outside is sent round again
    (Black and Rogaway 2002). It spreads well; it is no cipher.
    """

    key: bytes
    size: int
    _keys: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _half: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        digest = hashlib.blake2b(self.key, digest_size=8 * _ROUNDS).digest()
        parts = [digest[8 * place : 8 * place + 8] for place in range(_ROUNDS)]
        object.__setattr__(self, "_keys", tuple(int.from_bytes(one, "little") for one in parts))
        object.__setattr__(self, "_half", max((self.size - 1).bit_length() + 1, 2) // 2)

    def __getitem__(self, index: int) -> int:
        """Return the number that stands at place ``index``."""
        value = self._checked(index)
        while (value := self._forth(value)) >= self.size:
            pass
        return value

    def place_of(self, number: int) -> int:
        """Return the place at which ``number`` stands."""
        value = self._checked(number)
        while (value := self._back(value)) >= self.size:
            pass
        return value

    def first(self, count: int) -> NDArray[np.int64]:
        """Return the numbers that stand at the first ``count`` places."""
        found = np.arange(count, dtype=np.uint64)
        for start in range(0, count, _BLOCK):
            values = found[start : start + _BLOCK]
            values[:] = self._forth_many(values)
            outside = np.flatnonzero(values >= self.size)
            while len(outside):
                values[outside] = self._forth_many(values[outside])
                outside = outside[values[outside] >= self.size]
        return found.astype(np.int64)

    def _checked(self, value: int) -> int:
        if not 0 <= value < self.size:
            raise IndexError(f"{value} is not among the first {self.size} numbers")
        return value

    def _forth(self, value: int) -> int:
        mask = (1 << self._half) - 1
        left, right = value >> self._half, value & mask
        for key in self._keys:
            left, right = right, left ^ (_mixed(right, key) & mask)
        return (left << self._half) | right

    def _back(self, value: int) -> int:
        mask = (1 << self._half) - 1
        left, right = value >> self._half, value & mask
        for key in reversed(self._keys):
            left, right = right ^ (_mixed(left, key) & mask), left
        return (left << self._half) | right

    def _forth_many(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        half, mask = np.uint64(self._half), np.uint64((1 << self._half) - 1)
        left, right = values >> half, values & mask
        for key in self._keys:
            left, right = right, left ^ (_mixed_many(right, key) & mask)
        return (left << half) | right


def _mixed(value: int, key: int) -> int:
    value = (value + key) & _MASK  # written out, not a loop: it is run for every row
    value = ((value ^ (value >> _SHIFTS[0])) * _FACTORS[0]) & _MASK
    value = ((value ^ (value >> _SHIFTS[1])) * _FACTORS[1]) & _MASK
    return value ^ (value >> _SHIFTS[2])


def _mixed_many(values: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    values = values + np.uint64(key)  # uint64 wraps
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return values ^ (values >> np.uint64(_SHIFTS[-1]))
