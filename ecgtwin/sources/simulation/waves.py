"""Waves: the events of many strips as bell curves, drawn together into their samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REACH = 4.5  # widths after which a wave is below a microvolt


@dataclass(frozen=True, slots=True)
class Waves:
    """The waves of one strip.

    ``weights_mv`` (8, columns) is what each kind of wave is at unit height in the independent
    leads; event i is a bell of ``column[i]`` with its centre and the widths of its two sides in
    s, ``height[i]`` tall.
    """

    weights_mv: Array
    column: NDArray[np.int64]
    centre_s: Array
    rise_s: Array
    fall_s: Array
    height: Array


class WaveList:
    """Collects the waves of one strip, group by group."""

    def __init__(self) -> None:
        self._weights: list[Array] = []
        self._events: list[tuple[Array, ...]] = []
        self._num_columns = 0

    def add(self, weights_mv: Array, centres_s: Array, widths_s: Array, heights: Array) -> None:
        """Add (events, waves) bells; ``weights_mv`` (8, waves), ``widths_s`` (2, events, waves)."""
        num_events, num_waves = centres_s.shape
        columns = np.broadcast_to(self._num_columns + np.arange(num_waves), (num_events, num_waves))
        heights = np.broadcast_to(heights, (num_events, num_waves))
        arrays = (columns, centres_s, widths_s[0], widths_s[1], heights)
        self._events.append(tuple(np.ravel(values) for values in arrays))
        self._weights.append(weights_mv)
        self._num_columns += num_waves

    def waves(self) -> Waves:
        """Return everything added."""
        joined = [np.concatenate(values) for values in zip(*self._events, strict=True)]
        return Waves(
            np.ascontiguousarray(np.concatenate(self._weights, axis=1)),
            joined[0].astype(np.int64),
            *joined[1:],
        )


def render(strips: Sequence[Waves], *, sampling_rate_hz: float, num_samples: int) -> Array:
    """Return the leads (strips, 8, num_samples) in mV.

    All waves of all strips of about one length are evaluated at once, near their centres only.
    What a strip becomes does not depend on the others: its waves are added in their own order.
    """
    counts = [strip.weights_mv.shape[1] for strip in strips]
    firsts = np.concatenate([[0], np.cumsum(counts)])
    unit = np.zeros(int(firsts[-1]) * num_samples)
    row = np.concatenate(
        [first + strip.column for first, strip in zip(firsts, strips, strict=False)]
    )
    centre, rise, fall, height = (
        np.concatenate([getattr(strip, name) for strip in strips])
        for name in ("centre_s", "rise_s", "fall_s", "height")
    )
    first = np.ceil((centre - REACH * rise) * sampling_rate_hz).astype(np.int64)
    length = np.ceil(REACH * (rise + fall) * sampling_rate_hz).astype(np.int64) + 1
    size = np.ceil(4 * np.log2(np.maximum(length, 2))).astype(np.int64)  # classes of like length
    seen = (first < num_samples) & (first + length > 0) & (height != 0)
    for one in np.unique(size[seen]):
        chosen = np.flatnonzero(seen & (size == one))
        span = np.arange(int(np.ceil(2 ** (one / 4))))
        index = first[chosen, None] + span
        offset = index / sampling_rate_hz - centre[chosen, None]
        width = np.where(offset < 0, rise[chosen, None], fall[chosen, None])
        bell = height[chosen, None] * np.exp(-0.5 * (offset / width) ** 2)
        inside = (index >= 0) & (index < num_samples)
        flat = row[chosen, None] * num_samples + index
        np.add.at(unit, flat[inside], bell[inside])
    rows = unit.reshape(-1, num_samples)
    return np.stack(
        [
            strip.weights_mv @ rows[first : first + count]
            for strip, first, count in zip(strips, firsts, counts, strict=False)
        ]
    )
