"""KeyTable: which of our tensors a published tensor fills.

A row is ``(published name, our name)``. ``#`` stands for a number and ``*`` for the last word of a
name; both sides hold the same ones in the same order. Several names of ours share one published
tensor, which is cut along its first axis in their order.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, dtype

Row = tuple[str, str | tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A published tensor as it has to be, and our names that it fills, in order."""

    shape: tuple[int, ...]
    dtype: dtype
    ours: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyTable:
    """The rows of one network, and the names that have no partner."""

    rows: tuple[Row, ...]
    only_ours: tuple[str, ...] = ()  # stay as built
    no_axis: tuple[str, ...] = ()  # published without an axis, ours with one of length 1

    def wanted(self, ours: Mapping[str, Tensor]) -> dict[str, Wanted]:
        """Return, by published name, what a file must hold to fill the state ``ours``.

        Raises LookupError where ``ours`` and the rows do not belong together.
        """
        found: dict[str, Wanted] = {}
        for name in ours:
            if _is_among(name, self.only_ours):
                continue
            published, names = self._row_of(name)
            want = Wanted(self._shape(published, ours, names), ours[names[0]].dtype, names)
            if found.setdefault(published, want) != want:
                raise LookupError(f"{published} fills {found[published].ours} as well as {names}")
        return found

    def filled(
        self, ours: Mapping[str, Tensor], published: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the state ``ours`` with the values of ``published``, which has all it wants."""
        state = {name: ours[name] for name in ours if _is_among(name, self.only_ours)}
        for key, want in self.wanted(ours).items():
            lengths = [ours[name].shape[0] if ours[name].dim() else 1 for name in want.ours]
            rows = published[key].reshape(sum(lengths), -1)
            start = 0
            for name, length in zip(want.ours, lengths, strict=True):
                part = rows[start : start + length]
                state[name] = part.reshape(ours[name].shape).clone()
                start += length
        return state

    def _shape(
        self, published: str, ours: Mapping[str, Tensor], names: tuple[str, ...]
    ) -> tuple[int, ...]:
        first = ours[names[0]]
        if not first.dim() or _is_among(published, self.no_axis):
            return ()
        return (sum(ours[name].shape[0] for name in names), *first.shape[1:])

    def _row_of(self, name: str) -> tuple[str, tuple[str, ...]]:
        """Return the published name and all our names of the one row that ``name`` stands in."""
        hits = [
            (_fill(published, match), tuple(_fill(one, match) for one in _names(ours)))
            for published, ours in self.rows
            for template in _names(ours)
            if (match := _pattern(template).fullmatch(name))
        ]
        if len(hits) != 1:
            raise LookupError(f"{name} stands in {len(hits)} rows of its table, not in one")
        return hits[0]


def _names(ours: str | tuple[str, ...]) -> tuple[str, ...]:
    return (ours,) if isinstance(ours, str) else ours


def _is_among(name: str, templates: Iterable[str]) -> bool:
    return any(_pattern(template).fullmatch(name) for template in templates)


def _pattern(template: str) -> re.Pattern[str]:
    escaped = re.escape(template)
    return re.compile(escaped.replace(r"\#", r"(\d+)").replace(r"\*", "([a-z_]+)"))


def _fill(template: str, match: re.Match[str]) -> str:
    values = iter(match.groups())
    return re.sub(r"[#*]", lambda _: next(values), template)
