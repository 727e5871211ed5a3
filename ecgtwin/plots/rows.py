"""Where the rows of a drawing lie on the paper: as near as they can without touching."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

MM_PER_S = 25.0
MM_PER_MV = 10.0
PAPER_S = 10.0
NUM_COLUMNS = 4
COLUMN_S = PAPER_S / NUM_COLUMNS
REACH_MM = (
    50.0  # a trace further than this from its zero line leaves the paper, and the foot says so
)
ROW_MM = 25.0  # the least distance of two zero lines
LETTER_MM = 2.8  # height of a capital in a lead label
CLEAR_MM = 1.0
LABEL_RISE_MM = 6.0

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Strip:
    """One lead over a stretch of paper time, in a row of the paper."""

    lead: str
    row: int
    column: int
    time_s: Floats  # (n,) seconds from the left end of the paper
    samples_mv: Floats  # (n,)

    @cached_property
    def label_mm(self) -> tuple[float, float]:
        """Where the label begins: (right of the strip's left end, above its zero line)."""
        for right in (1.4, 4.4):
            if self._is_free(right, LABEL_RISE_MM):
                return right, LABEL_RISE_MM
        near = self._rises_mm(1.4)
        above = float(near.max()) + CLEAR_MM
        below = float(min(near.min(), 0.0)) - CLEAR_MM - LETTER_MM
        return 1.4, above if above + below <= 2 * LABEL_RISE_MM else below

    @cached_property
    def reach_mm(self) -> tuple[float, float]:
        """How far the strip with its label reaches (above, below) its zero line."""
        rises = np.clip(self.known_mv * MM_PER_MV, -REACH_MM, REACH_MM)
        label = self.label_mm[1]
        above = max(float(rises.max(initial=MM_PER_MV)), label + LETTER_MM)
        return above, max(float(-rises.min(initial=-2.0)), -label)

    @property
    def known_mv(self) -> Floats:
        """The samples that are there."""
        return self.samples_mv[np.isfinite(self.samples_mv)]

    @property
    def fault(self) -> str:
        """What of the strip cannot be seen on the paper; empty when all of it can."""
        known = self.known_mv
        if not len(known):
            return f"{self.lead}: no samples"
        worst = float(known[np.abs(known).argmax()])
        if abs(worst) * MM_PER_MV > REACH_MM:
            return f"{self.lead} leaves the paper ({worst:+.1f} mV)"
        return f"{self.lead} has gaps" if len(known) < len(self.samples_mv) else ""

    def _rises_mm(self, right_mm: float) -> Floats:
        """Return the trace above zero where a label at ``right_mm`` would stand."""
        place_mm = (self.time_s - self.column * COLUMN_S) * MM_PER_S
        width_mm = 2.4 * len(self.lead)
        inside = (place_mm > right_mm - CLEAR_MM) & (place_mm < right_mm + width_mm + CLEAR_MM)
        rises: Floats = self.samples_mv[inside & np.isfinite(self.samples_mv)] * MM_PER_MV
        return rises

    def _is_free(self, right_mm: float, foot_mm: float) -> bool:
        near = self._rises_mm(right_mm)
        foot, head = foot_mm - CLEAR_MM, foot_mm + LETTER_MM + CLEAR_MM
        return not len(near) or bool(near.max() < foot or near.min() > head)


def zero_lines_mm(strips: Sequence[Strip], top_mm: float) -> tuple[list[float], float]:
    """Return (y of each row's zero line, y of the paper's lower edge), all on the 5 mm grid.

    Two rows stand apart by what their strips in the same column need.
    """
    num_rows = 1 + max(strip.row for strip in strips)
    above = np.zeros((num_rows, NUM_COLUMNS))
    below = np.zeros((num_rows, NUM_COLUMNS))
    for strip in strips:
        end_s = strip.time_s[-1] if len(strip.time_s) else 0.0
        num_columns = int(np.ceil(float(end_s) / COLUMN_S - 0.05))
        columns = slice(strip.column, max(strip.column + 1, num_columns))
        rise, fall = strip.reach_mm
        above[strip.row, columns] = np.maximum(above[strip.row, columns], rise)
        below[strip.row, columns] = np.maximum(below[strip.row, columns], fall)
    lines = [top_mm + _grid_up(above[0].max() + 2.0)]
    for row in range(1, num_rows):
        needed = float((below[row - 1] + above[row]).max()) + 1.5
        lines.append(lines[-1] + max(ROW_MM, _grid_up(needed)))
    return lines, lines[-1] + max(15.0, _grid_up(float(below[-1].max()) + 6.0))


def _grid_up(length_mm: float) -> float:
    return 5.0 * float(np.ceil(length_mm / 5.0 - 1e-9))
