"""Which part of an ECG looked at which statement: lead II over one heat strip per statement.

SVG text whose user unit is a millimetre, on the scale of ECG paper.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecgtwin.plots.ecg_paper import (
    COARSE,
    FINE,
    FONT,
    GREY,
    INK,
    PAPER,
    framed_marker,
    marker_width_mm,
)
from ecgtwin.plots.markup import element, escape, number, text, wrapped
from ecgtwin.plots.rows import MM_PER_MV, MM_PER_S
from ecgtwin.plots.trace import interpolate, path_data
from ecgtwin.signals.leads import LEADS

LEFT_MM, RIGHT_MM = 5.0, 5.0
CLEAR_MM = 5.0  # of paper above and below the trace
STRIP_MM, NAME_MM, GAP_MM = 9.0, 5.2, 3.0
LEAST_SPAN = 0.02  # a share that varies less than this is drawn nearly even
# From little to much attention: one hue, ever darker, so that grey prints keep the order.
LITTLE, MUCH = np.array([246, 249, 252]), np.array([8, 64, 129])

Floats = NDArray[np.floating]


def draw_attention(
    samples_mv: Floats,
    shares: Floats,
    statements: Sequence[str],
    *,
    sampling_rate_hz: float,
    lead: str = "II",
    title: str = "",
    subtitle: str = "",
    marker: str = "",
) -> str:
    """Return one SVG of ``lead`` of ``samples_mv`` (12, time) over a heat strip per statement.

    ``shares`` (frame, statement) say how much of the attention of each of the frames, which divide
    the recording evenly, went to each statement. A strip is coloured from its own least to its own
    greatest share, both written beside its name; ``marker`` stands in a frame at the top. Raises
    ValueError where the shapes do not fit.
    """
    _check(samples_mv, shares, statements)
    duration_s = samples_mv.shape[1] / sampling_rate_hz
    width_mm = LEFT_MM + duration_s * MM_PER_S + RIGHT_MM
    heading, top_mm = _heading(title, subtitle, marker, width_mm)
    paper, y_mm = _trace(samples_mv[LEADS.index(lead)], lead, sampling_rate_hz, top_mm, width_mm)
    parts = [heading, paper]
    for name, share in zip(statements, np.asarray(shares).T, strict=True):
        parts.append(_strip(name, share, y_mm, duration_s))
        y_mm += NAME_MM + STRIP_MM + GAP_MM
    parts.append(_axis(y_mm - GAP_MM, duration_s))
    height_mm = y_mm - GAP_MM + 12.0
    label = title or "Attention to the statements"
    sheet = element("rect", width=width_mm, height=height_mm, fill="#fff")
    return element(
        "svg",
        "\n".join([element("title", escape(label)), sheet, *parts]),
        xmlns="http://www.w3.org/2000/svg",
        width=f"{number(width_mm)}mm",
        height=f"{number(height_mm)}mm",
        viewBox=f"0 0 {number(width_mm)} {number(height_mm)}",
        role="img",
        class_="attention",
        font_family=FONT,
    )


def _check(samples_mv: Floats, shares: Floats, statements: Sequence[str]) -> None:
    if np.ndim(samples_mv) != 2 or len(samples_mv) != len(LEADS):
        raise ValueError(f"a drawing needs samples (12, time), not {np.shape(samples_mv)}")
    if np.ndim(shares) != 2 or shares.shape[1] != len(statements) or not shares.size:
        raise ValueError(
            f"{len(statements)} statements need shares (frame, {len(statements)}), "
            f"not {np.shape(shares)}"
        )


def _heading(title: str, subtitle: str, marker: str, width_mm: float) -> tuple[str, float]:
    parts, y_mm = [], 0.6
    if marker:
        parts.append(framed_marker(marker, right_mm=width_mm - RIGHT_MM))
    beside_mm = width_mm - RIGHT_MM - marker_width_mm(marker)
    for line in wrapped(title, width_mm=beside_mm, font_size_mm=4.8):
        y_mm += 5.6
        parts.append(text(line, LEFT_MM, y_mm, size=4.8, font_weight="bold"))
    for line in wrapped(subtitle, width_mm=width_mm, font_size_mm=3.5):
        y_mm += 5.2
        parts.append(text(line, LEFT_MM, y_mm, size=3.5, fill=GREY))
    return "".join(parts), max(y_mm, 6.4 if marker else 0.0) + 3.0


def _trace(
    samples_mv: Floats, lead: str, sampling_rate_hz: float, top_mm: float, width_mm: float
) -> tuple[str, float]:
    """Return the lead on paper, and where the paper ends."""
    time_s, drawn = interpolate(samples_mv[None], sampling_rate_hz=sampling_rate_hz)
    rise_mm = np.clip(drawn[0] * MM_PER_MV, -40.0, 40.0)
    known = rise_mm[np.isfinite(rise_mm)]
    above = 5.0 * np.ceil((max(known.max(initial=0.0), 0.0) + CLEAR_MM) / 5.0)
    below = 5.0 * np.ceil((max(-known.min(initial=0.0), 0.0) + CLEAR_MM) / 5.0)
    zero_mm, bottom_mm = top_mm + float(above), top_mm + float(above + below)
    path = path_data(LEFT_MM + time_s * MM_PER_S, zero_mm - rise_mm)
    line = element(
        "path",
        d=path or "M0 0",
        fill="none",
        stroke=INK,
        stroke_width=0.3,
        stroke_linejoin="round",
        class_="trace",
    )
    name = text(lead, LEFT_MM + 1.4, top_mm + 4.4, size=3.6, halo=PAPER, font_weight="bold")
    return _paper(top_mm, bottom_mm, width_mm) + line + name, bottom_mm + 1.5


def _paper(top_mm: float, bottom_mm: float, width_mm: float) -> str:
    right_mm = width_mm - RIGHT_MM
    across, down = right_mm - LEFT_MM, bottom_mm - top_mm
    fine: list[str] = []
    coarse: list[str] = []
    for step in range(int(across) + 1):
        line = f"M{number(LEFT_MM + step)} {number(top_mm)}v{number(down)}"
        (fine if step % 5 else coarse).append(line)
    for step in range(round(down) + 1):
        line = f"M{number(LEFT_MM)} {number(top_mm + step)}h{number(across)}"
        (fine if step % 5 else coarse).append(line)
    return "".join(
        [
            element("rect", x=LEFT_MM, y=top_mm, width=across, height=down, fill=PAPER),
            element("path", d="".join(fine), stroke=FINE, stroke_width=0.12, fill="none"),
            element("path", d="".join(coarse), stroke=COARSE, stroke_width=0.2, fill="none"),
        ]
    )


def _strip(name: str, share: Floats, y_mm: float, duration_s: float) -> str:
    least, most = float(share.min()), float(share.max())
    spread = max(most - least, LEAST_SPAN)
    middle = max((least + most) / 2, spread / 2)  # no share at all is the lightest, not a half
    depth = 0.5 + (share - middle) / spread
    cell_mm = duration_s * MM_PER_S / len(share)
    top_mm = y_mm + NAME_MM
    cells = "".join(
        element(
            "rect",
            x=LEFT_MM + index * cell_mm,
            y=top_mm,
            width=cell_mm,
            height=STRIP_MM,
            fill=_colour(float(value)),
            class_="cell",
        )
        for index, value in enumerate(depth)
    )
    across = duration_s * MM_PER_S
    frame = element(
        "rect",
        x=LEFT_MM,
        y=top_mm,
        width=across,
        height=STRIP_MM,
        fill="none",
        stroke=GREY,
        stroke_width=0.15,
    )
    said = text(name, LEFT_MM, top_mm - 1.4, size=3.4, font_weight="bold", class_="statement")
    right = {"text_anchor": "end", "class_": "range"}
    span = text(_range(least, most), LEFT_MM + across, top_mm - 1.4, size=3.0, fill=GREY, **right)
    return element("g", cells, shape_rendering="crispEdges") + frame + said + span


def _range(least: float, most: float) -> str:
    low, high = f"{100 * least:.1f}", f"{100 * most:.1f}"
    return f"{low} % everywhere" if low == high else f"{low} % to {high} % of the attention"


def _colour(depth: float) -> str:
    red, green, blue = np.rint(LITTLE + depth * (MUCH - LITTLE)).astype(int).tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def _axis(y_mm: float, duration_s: float) -> str:
    ticks, words = [], []
    for second in range(int(duration_s) + 1):
        x_mm = LEFT_MM + second * MM_PER_S
        ticks.append(f"M{number(x_mm)} {number(y_mm)}v1.6")
        words.append(text(str(second), x_mm, y_mm + 5.0, size=3.0, fill=GREY, text_anchor="middle"))
    middle_mm = LEFT_MM + duration_s * MM_PER_S / 2
    unit = text("Time (s)", middle_mm, y_mm + 10.0, size=3.4, text_anchor="middle")
    said = "Darker: more attention; each strip has a scale of its own"
    note = text(said, LEFT_MM, y_mm + 10.0, size=3.0, fill=GREY)
    line = element("path", d="".join(ticks), stroke=GREY, stroke_width=0.2, fill="none")
    return line + "".join(words) + unit + note
