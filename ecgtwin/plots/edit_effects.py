"""What edits did, person by person, as SVG: one panel per edit and measure, medians on top."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.plots.figures import COLOURS, FONT, GREY, INK, RULE
from ecgtwin.plots.markup import element, number, text

PANEL_W, PANEL_H = 250.0, 250.0
LEFT, TOP, FOOT = 52.0, 58.0, 52.0
COLUMN = 62.0  # from one group of points to the next
JITTER = 15.0

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class EffectGroup:
    """One group of ECGs: its label, a value per person (NaN: none), median and its interval."""

    label: str
    values: Floats
    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class EffectPanel:
    """One edit seen through one measure; ``lines`` are thresholds in the measure's unit."""

    title: str
    unit: str
    groups: tuple[EffectGroup, ...]
    lines: tuple[float, ...]
    top: float  # of the axis, which starts at 0


def draw_edit_effects(panels: Sequence[EffectPanel], *, num_columns: int = 2) -> str:
    """Return one SVG with the panels in rows of ``num_columns``; persons jump sideways at random.

    Values above a panel's axis are drawn at its top edge.
    """
    width, height = LEFT + PANEL_W + 24, TOP + PANEL_H + FOOT
    num_rows = -(-len(panels) // num_columns)
    parts = [
        element(
            "g",
            _panel(panel),
            transform=f"translate({number(index % num_columns * width)} "
            f"{number(index // num_columns * height)})",
        )
        for index, panel in enumerate(panels)
    ]
    whole = (min(num_columns, len(panels)) * width, num_rows * height)
    return element(
        "svg",
        element("title", "What edits did, person by person")
        + element("rect", width=whole[0], height=whole[1], fill="#ffffff")
        + "".join(parts),
        xmlns="http://www.w3.org/2000/svg",
        width=whole[0],
        height=whole[1],
        viewBox=f"0 0 {number(whole[0])} {number(whole[1])}",
        role="img",
        font_family=FONT,
    )


def _panel(panel: EffectPanel) -> str:
    def y(value: float) -> float:
        return TOP + PANEL_H * (1 - min(value, panel.top) / panel.top)

    parts = [text(panel.title, LEFT, 22, size=13, fill=INK, font_weight="bold")]
    parts.append(text(panel.unit, LEFT, 40, size=11, fill=GREY))
    for step in range(5):
        value = panel.top * step / 4
        parts.append(_rule(y(value), RULE))
        parts.append(
            text(f"{value:.3g}", LEFT - 6, y(value) + 4, size=10, fill=GREY, text_anchor="end")
        )
    parts += [_rule(y(value), INK, dashes="4 3") for value in panel.lines]
    first = LEFT + (PANEL_W - COLUMN * (len(panel.groups) - 1)) / 2
    for index, group in enumerate(panel.groups):
        x, colour = first + COLUMN * index, COLOURS[index % len(COLOURS)]
        heights = [y(float(value)) for value in group.values if np.isfinite(value)]
        parts.append(_points(x, heights, colour))
        parts.append(_median(x, y(group.median), y(group.low), y(group.high)))
        parts += [
            text(word, x, TOP + PANEL_H + 17 + 13 * row, size=10.5, fill=INK, text_anchor="middle")
            for row, word in enumerate(group.label.split("\n"))
        ]
    return "".join(parts)


def _rule(y: float, colour: str, dashes: str = "none") -> str:
    return element(
        "line",
        x1=LEFT,
        x2=LEFT + PANEL_W,
        y1=y,
        y2=y,
        stroke=colour,
        stroke_width=1.0,
        stroke_dasharray=dashes,
    )


def _points(x: float, heights: Sequence[float], colour: str) -> str:
    sideways = np.random.default_rng(0).uniform(-JITTER, JITTER, len(heights))
    dots = [
        element("circle", cx=x + float(aside), cy=height, r=2.0)
        for aside, height in zip(sideways, heights, strict=True)
    ]
    return element("g", "".join(dots), fill=colour, fill_opacity=0.45)


def _median(x: float, middle: float, low: float, high: float) -> str:
    half = JITTER + 5
    bar = element("line", x1=x - half, x2=x + half, y1=middle, y2=middle, stroke_width=2.2)
    whisker = element("line", x1=x, x2=x, y1=low, y2=high, stroke_width=1.4)
    caps = [
        element("line", x1=x - 5, x2=x + 5, y1=end, y2=end, stroke_width=1.4) for end in (low, high)
    ]
    return element("g", bar + whisker + "".join(caps), stroke=INK)
