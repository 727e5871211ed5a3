"""Small figures of a report, as SVG text: requested against measured rate, and loss curves."""

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

from ecgtwin.plots.markup import element, escape, number, text

FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
INK, GREY, RULE = "#15181c", "#5b6470", "#d9dde2"
# Okabe and Ito 2008: told apart by all readers, also in print.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00", "#666666")

LEFT, TOP, SIDE = 56.0, 14.0, 330.0  # the square plot; the legend stands to its right
LEGEND = 225.0  # the width of one of its two columns
WIDTH, HEIGHT = LEFT + SIDE + 22.0 + 2 * LEGEND, 400.0

OTHERS = " other states"

Point = tuple[float, float | None, str]  # requested, measured, state


def rate_scatter(
    requested_bpm: Sequence[float],
    measured_bpm: Sequence[float | None],
    states: Sequence[str],
    *,
    band_bpm: float | None = None,
) -> str:
    """Return a plot of measured against requested heart rate with the line of identity.

    Points are coloured by state, the rarest of more than eight alike. Twins without a measurable
    rate (None) stand as ticks under the plot, at the rate they were asked for. ``band_bpm`` shades
    an error of that size.
    """
    points = [
        (float(asked), None if found is None or not math.isfinite(found) else float(found), state)
        for asked, found, state in zip(requested_bpm, measured_bpm, _named(states), strict=True)
        if asked is not None and math.isfinite(asked)
    ]
    if not points:
        return ""
    values = [asked for asked, _, _ in points] + [found for _, found, _ in points if found]
    low, high = 10 * math.floor(min(values) / 10 - 0.5), 10 * math.ceil(max(values) / 10 + 0.5)
    scale = SIDE / (high - low)
    ranked = Counter(state for _, _, state in points)
    order = sorted(ranked, key=lambda state: (state.endswith(OTHERS), -ranked[state]))
    colours = dict(zip(order, COLOURS, strict=False))
    parts = [
        _frame(low, high, scale),
        _identity(low, high, scale, band_bpm),
        *(_point(point, low, scale, colours) for point in points),
        _legend(points, colours, band_bpm),
    ]
    label = "Requested against measured heart rate"
    return _figure("\n".join(parts), WIDTH, HEIGHT, label)


def _figure(content: str, width: float, height: float, label: str) -> str:
    return element(
        "svg",
        element("title", escape(label)) + content,
        xmlns="http://www.w3.org/2000/svg",
        width=width,
        height=height,
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        class_="figure",
        font_family=FONT,
    )


def _frame(low: float, high: float, scale: float) -> str:
    step = 20 if high - low <= 200 else 50
    ticks = range(step * math.ceil(low / step), int(high) + 1, step)
    lines, words = "", ""
    foot = TOP + SIDE
    for tick in ticks:
        x, y = LEFT + (tick - low) * scale, foot - (tick - low) * scale
        lines += f"M{number(x)} {number(TOP)}V{number(foot)}"
        lines += f"M{number(LEFT)} {number(y)}H{number(LEFT + SIDE)}"
        words += text(str(tick), x, foot + 24, size=11, fill=GREY, text_anchor="middle")
        words += text(str(tick), LEFT - 8, y + 4, size=11, fill=GREY, text_anchor="end")
    grid = element("path", d=lines or "M0 0", stroke=RULE, fill="none")
    square = element(
        "rect", x=LEFT, y=TOP, width=SIDE, height=SIDE, fill="none", stroke=GREY, stroke_width=1
    )
    middle = LEFT + SIDE / 2
    names = text("Requested heart rate (bpm)", middle, foot + 44, size=12, text_anchor="middle")
    names += text(
        "Measured heart rate (bpm)",
        0.0,
        0.0,
        size=12,
        text_anchor="middle",
        transform=f"translate(14 {number(TOP + SIDE / 2)}) rotate(-90)",
    )
    return grid + square + words + names


def _identity(low: float, high: float, scale: float, band_bpm: float | None) -> str:
    foot, right = TOP + SIDE, LEFT + SIDE
    shade = ""
    if band_bpm is not None:
        off = min(band_bpm, high - low) * scale
        corners = [
            (LEFT, foot),
            (LEFT, foot - off),
            (right - off, TOP),
            (right, TOP),
            (right, TOP + off),
            (LEFT + off, foot),
        ]
        outline = " ".join(f"{number(x)},{number(y)}" for x, y in corners)
        shade = element("polygon", points=outline, fill="#0072b2", fill_opacity=0.08)
    line = f"M{number(LEFT)} {number(foot)}L{number(right)} {number(TOP)}"
    return shade + element(
        "path", d=line, stroke=INK, fill="none", stroke_dasharray="5 4", class_="identity"
    )


def _point(point: Point, low: float, scale: float, colours: Mapping[str, str]) -> str:
    asked, found, state = point
    x = LEFT + (asked - low) * scale
    if found is None:
        path = f"M{number(x)} {number(TOP + SIDE + 3)}v7"
        return element("path", d=path, stroke=colours[state], stroke_width=1.5, class_="lost")
    y = TOP + SIDE - (found - low) * scale
    return element(
        "circle",
        cx=x,
        cy=y,
        r=2.6,
        fill=colours[state],
        fill_opacity=0.65,
        class_="twin",
    )


def _legend(points: Sequence[Point], colours: Mapping[str, str], band_bpm: float | None) -> str:
    """Return the names of the states in two columns beside the plot, and what the marks mean."""
    parts, feet = [], [TOP + 10.0, TOP + 10.0]
    for place, (state, colour) in enumerate(colours.items()):
        column = 2 * place // len(colours)
        x, y = LEFT + SIDE + 22 + column * LEGEND, feet[column]
        lines = textwrap.wrap(state, 30) or ["no statement"]
        count = sum(said == state for _, _, said in points)
        parts.append(element("circle", cx=x, cy=y - 4, r=4, fill=colour))
        parts += [text(line, x + 10, y + 14 * i, size=11.5) for i, line in enumerate(lines)]
        y += 14 * len(lines)
        parts.append(text(f"n = {count}", x + 10, y, size=10.5, fill=GREY))
        feet[column] = y + 21
    notes = ["dashed line: measured = requested"]
    if band_bpm is not None:
        notes.append(f"shaded: within {band_bpm:g} bpm of it")
    lost = sum(found is None for _, found, _ in points)
    if lost:
        notes.append(f"ticks under the plot: twins with no rate ({lost})")
    x, y = LEFT + SIDE + 18, max(*feet, TOP + SIDE - 15.0 * len(notes) + 12)
    parts += [text(said, x, y + 15 * i, size=11, fill=GREY) for i, said in enumerate(notes)]
    return "".join(parts)


def _named(states: Sequence[str]) -> list[str]:
    """Return the states with the rarest put together, so that each can have its colour."""
    common = [state for state, _ in Counter(states).most_common()]
    if len(common) <= len(COLOURS):
        return list(states)
    kept = set(common[: len(COLOURS) - 1])
    other = f"{len(common) - len(kept)}{OTHERS}"
    return [state if state in kept else other for state in states]


def loss_curve(points: Sequence[tuple[float, float]], *, name: str) -> str:
    """Return a small plot of (step, loss) points; empty with fewer than two finite ones."""
    known = [(float(s), float(v)) for s, v in points if v is not None and math.isfinite(v)]
    if len(known) < 2 or known[-1][0] == known[0][0]:
        return ""
    steps, losses = [s for s, _ in known], [v for _, v in known]
    low, high = min(losses), max(losses)
    span = (high - low) or 1.0
    width, height, left, top = 220.0, 84.0, 44.0, 10.0
    line = "L".join(
        f"{number(left + (s - steps[0]) / (steps[-1] - steps[0]) * width)} "
        f"{number(top + (high - v) / span * height)}"
        for s, v in known
    )
    axes = f"M{number(left)} {number(top)}V{number(top + height)}H{number(left + width)}"
    parts = [
        element("path", d=axes, stroke=GREY, fill="none", stroke_width=0.8),
        element("path", d="M" + line, class_="losses", stroke=COLOURS[0], fill="none"),
        text(f"{high:.3g}", left - 5, top + 5, size=10, fill=GREY, text_anchor="end"),
        text(f"{low:.3g}", left - 5, top + height, size=10, fill=GREY, text_anchor="end"),
        text(f"{steps[0]:g}", left, top + height + 14, size=10, fill=GREY),
        text(
            f"{steps[-1]:g} steps",
            left + width,
            top + height + 14,
            size=10,
            fill=GREY,
            text_anchor="end",
        ),
    ]
    return _figure("".join(parts), left + width + 4, top + height + 20, f"Loss of {name}")
