"""Twelve leads on ECG paper, 25 mm/s and 10 mm/mV: SVG text whose user unit is a millimetre."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ecgtwin.plots.markup import element, escape, number, text, wrapped
from ecgtwin.plots.rows import (
    COLUMN_S,
    MM_PER_MV,
    MM_PER_S,
    NUM_COLUMNS,
    PAPER_S,
    REACH_MM,
    Strip,
    zero_lines_mm,
)
from ecgtwin.plots.trace import interpolate, path_data
from ecgtwin.signals.leads import LEADS

LAYOUT = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
RHYTHM_LEAD = "II"
START_MM = 20.0  # time 0; the calibration pulse stands to its left
WIDTH_MM = START_MM + PAPER_S * MM_PER_S + 5.0
PANEL_S = COLUMN_S - 0.2  # recordings side by side must not run into each other
CAPTION_MM = 3.9  # from line to line

INK = "#15181c"
GREY = "#5b6470"
ALARM = "#a3123a"
PAPER = "#fffbfa"
FINE, COARSE = "#f6cfcb", "#e79a94"
FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class _Heading:
    """What stands above the paper, and how high it is."""

    markup: str
    height_mm: float


def draw_twelve_leads(
    samples_mv: Floats,
    *,
    sampling_rate_hz: float,
    title: str = "",
    subtitle: str = "",
    details: Sequence[tuple[str, str]] = (),
    marker: str = "",
) -> str:
    """Return one SVG drawing of ``samples_mv`` (12, time), leads in the order of ``LEADS``.

    Three rows of four leads, 2.5 s each, over ten seconds of lead II. All leads share one time
    axis: the second column shows seconds 2.5 to 5. ``details`` are (name, value) pairs printed
    under the title; ``marker`` stands in a frame at the top right. Rows move apart until tall
    complexes no longer meet; nothing is filtered, shifted or scaled to fit, and the foot of the
    paper names what still leaves it.

    Raises ValueError when the samples are not twelve leads.
    """
    time_s, drawn = _drawable(samples_mv, sampling_rate_hz)
    strips = [
        _cut(lead, row, column, time_s, drawn)
        for row, leads in enumerate(LAYOUT)
        for column, lead in enumerate(leads)
    ]
    strips.append(_cut(RHYTHM_LEAD, len(LAYOUT), 0, time_s, drawn, duration_s=PAPER_S))
    duration_s = np.shape(samples_mv)[1] / sampling_rate_hz
    note = _sampling_note(sampling_rate_hz)
    if duration_s > PAPER_S + 0.5 / sampling_rate_hz:
        note += f"   first {PAPER_S:g} s of {duration_s:.1f} s"
    heading = _heading(title, subtitle, details, marker)
    return _drawing(strips, heading=heading, note=note, label=title or "Twelve-lead ECG")


def draw_side_by_side(
    panels: Sequence[tuple[Floats, str]],
    *,
    sampling_rate_hz: float,
    leads: Sequence[str] = ("II", "V1", "V5"),
    title: str = "",
    subtitle: str = "",
    marker: str = "",
) -> str:
    """Return one SVG with the first 2.3 s of ``leads`` of up to four recordings side by side.

    ``panels`` are (samples_mv (12, time), caption) pairs; the scale is that of the twelve leads.
    """
    strips = []
    for column, (samples_mv, _) in enumerate(panels[:NUM_COLUMNS]):
        time_s, drawn = _drawable(samples_mv, sampling_rate_hz)
        on_paper_s = time_s + column * COLUMN_S
        strips += [
            _cut(lead, row, column, on_paper_s, drawn, duration_s=PANEL_S)
            for row, lead in enumerate(leads)
        ]
    return _drawing(
        strips,
        heading=_heading(title, subtitle, (), marker),
        note=_sampling_note(sampling_rate_hz) + "   each column begins at its own second 0",
        label=title or "ECGs side by side",
        captions=[caption for _, caption in panels[:NUM_COLUMNS]],
    )


def draw_strips(
    panels: Sequence[tuple[Floats, str]],
    *,
    sampling_rate_hz: float,
    leads: Sequence[str] = ("II", "V1"),
    title: str = "",
    subtitle: str = "",
    marker: str = "",
) -> str:
    """Return one SVG with ten seconds of ``leads``, each recording's below the other's.

    ``panels`` are (samples_mv (12, time), name) pairs; all strips share one time axis, so that
    beats can be compared from row to row.
    """
    drawable = [(*_drawable(samples_mv, sampling_rate_hz), name) for samples_mv, name in panels]
    strips: list[Strip] = []
    for lead in leads:
        for time_s, drawn, name in drawable:
            strip = _cut(lead, len(strips), 0, time_s, drawn, duration_s=PAPER_S)
            strips.append(replace(strip, lead=f"{lead}, {name}"))
    return _drawing(
        strips,
        heading=_heading(title, subtitle, (), marker),
        note=_sampling_note(sampling_rate_hz),
        label=title or "ECG strips",
    )


def _drawable(samples_mv: Floats, sampling_rate_hz: float) -> tuple[Floats, Floats]:
    if np.ndim(samples_mv) != 2 or len(samples_mv) != len(LEADS):
        raise ValueError(f"a drawing needs samples (12, time), not {np.shape(samples_mv)}")
    return interpolate(samples_mv, sampling_rate_hz=sampling_rate_hz)


def _cut(
    lead: str,
    row: int,
    column: int,
    time_s: Floats,
    drawn: Floats,
    *,
    duration_s: float = COLUMN_S,
) -> Strip:
    """Return what ``lead`` shows from the left end of ``column`` on."""
    begin_s = column * COLUMN_S
    inside = (time_s >= begin_s - 1e-9) & (time_s <= begin_s + duration_s + 1e-9)
    return Strip(lead, row, column, time_s[inside], drawn[LEADS.index(lead), inside])


def _sampling_note(sampling_rate_hz: float) -> str:
    return f"{sampling_rate_hz:g} samples/s, no filter"


def _drawing(
    strips: Sequence[Strip],
    *,
    heading: _Heading,
    note: str,
    label: str,
    captions: Sequence[str] = (),
) -> str:
    top_mm = heading.height_mm
    captioned = [_caption_lines(said) for said in captions]
    captions_mm = CAPTION_MM * max((len(lines) for lines in captioned), default=0)
    captions_mm = 5.0 * np.ceil(captions_mm / 5.0)
    zeros_mm, bottom_mm = zero_lines_mm(strips, top_mm + captions_mm)
    height_mm = bottom_mm + 0.2
    parts = [
        element("title", escape(label)),
        element("rect", width=WIDTH_MM, height=height_mm, fill="#fff"),
        heading.markup,
        _grid(top_mm, bottom_mm),
        *(_calibration(zero) for zero in zeros_mm),
        _traces(strips, zeros_mm),
        "" if captioned else _separators(strips, zeros_mm),
        *(_label(strip, zeros_mm) for strip in strips),
        *(_caption(lines, column, top_mm) for column, lines in enumerate(captioned)),
        _foot(strips, note, bottom_mm),
    ]
    return element(
        "svg",
        "\n".join(part for part in parts if part),
        xmlns="http://www.w3.org/2000/svg",
        width=f"{number(WIDTH_MM)}mm",
        height=f"{number(height_mm)}mm",
        viewBox=f"0 0 {number(WIDTH_MM)} {number(height_mm)}",
        role="img",
        class_="ecg",
        font_family=FONT,
    )


def _heading(
    title: str, subtitle: str, details: Sequence[tuple[str, str]], marker: str
) -> _Heading:
    marker_mm = marker_width_mm(marker)
    beside_mm = WIDTH_MM - marker_mm - 6.0
    parts, y_mm = [], 0.6
    for line in wrapped(title, width_mm=beside_mm, font_size_mm=4.8):
        y_mm += 5.6
        parts.append(text(line, 0.0, y_mm, size=4.8, font_weight="bold"))
    subtitle_mm = WIDTH_MM if title else beside_mm
    for line in wrapped(subtitle, width_mm=subtitle_mm, font_size_mm=3.5):
        y_mm += 5.2
        parts.append(text(line, 0.0, y_mm, size=3.5, fill=GREY))
    if marker:
        parts.append(framed_marker(marker, right_mm=WIDTH_MM - 0.3))
        y_mm = max(y_mm, 6.4)
    x_mm = 0.0
    for name, value in details:
        parts.append(text(name, x_mm, y_mm + 5.8, size=2.7, fill=GREY))
        parts.append(text(value, x_mm, y_mm + 10.2, size=3.8, font_weight="bold"))
        x_mm += max(24.0, 2.4 * len(value) + 6.0, 1.7 * len(name) + 6.0)
    y_mm += 10.2 if details else 0.0
    return _Heading("\n".join(parts), y_mm + 3.0 if parts else 0.0)


def marker_width_mm(marker: str) -> float:
    """Return how wide the frame of ``marker`` is; 0 for none."""
    return 2.35 * len(marker) + 4.0 if marker else 0.0


def framed_marker(marker: str, *, right_mm: float) -> str:
    """Return ``marker`` in a frame at the top, whose right side is at ``right_mm``."""
    width_mm = marker_width_mm(marker)
    x_mm = right_mm - width_mm
    frame = element(
        "rect",
        x=x_mm,
        y=1.0,
        width=width_mm,
        height=6.4,
        rx=0.8,
        fill="none",
        stroke=ALARM,
        stroke_width=0.35,
    )
    middle_mm = x_mm + width_mm / 2
    bold = {"font_weight": "bold", "text_anchor": "middle"}
    return frame + text(marker, middle_mm, 5.45, size=3.4, fill=ALARM, **bold)


def _grid(top_mm: float, bottom_mm: float) -> str:
    down_mm = bottom_mm - top_mm
    sheet = element("rect", y=top_mm, width=WIDTH_MM, height=down_mm, fill=PAPER, class_="paper")
    fine: list[str] = []
    coarse: list[str] = []
    for x in range(round(WIDTH_MM) + 1):
        (fine if x % 5 else coarse).append(f"M{x} {number(top_mm)}v{number(down_mm)}")
    for y in range(round(down_mm) + 1):
        (fine if y % 5 else coarse).append(f"M0 {number(top_mm + y)}h{number(WIDTH_MM)}")
    lines = element("path", d="".join(fine), stroke=FINE, stroke_width=0.12, class_="mm-1")
    lines += element("path", d="".join(coarse), stroke=COARSE, stroke_width=0.2, class_="mm-5")
    return sheet + element("g", lines, fill="none")


def _calibration(zero_mm: float) -> str:
    """Return a pulse of 1 mV and 0.2 s, on the grid lines to the left of a row."""
    path = f"M7.5 {number(zero_mm)}h2.5v{-MM_PER_MV:g}h{0.2 * MM_PER_S:g}v{MM_PER_MV:g}h2.5"
    return element("path", d=path, fill="none", stroke=INK, stroke_width=0.3, class_="calibration")


def _traces(strips: Sequence[Strip], zeros_mm: Sequence[float]) -> str:
    paths = []
    for strip in strips:
        rise_mm = strip.samples_mv * MM_PER_MV
        seen = np.abs(np.nan_to_num(rise_mm, nan=np.inf)) <= REACH_MM
        y_mm = np.where(seen, zeros_mm[strip.row] - rise_mm, np.nan)
        path = path_data(START_MM + strip.time_s * MM_PER_S, y_mm)
        if path:
            paths.append(element("path", d=path, class_="trace", data_lead=strip.lead))
    return element(
        "g",
        "\n".join(paths),
        fill="none",
        stroke=INK,
        stroke_width=0.3,
        stroke_linejoin="round",
        stroke_linecap="round",
    )


def _separators(strips: Sequence[Strip], zeros_mm: Sequence[float]) -> str:
    """Return the short upright strokes where one lead hands over to the next."""
    marks = [
        f"M{number(_column_mm(strip.column))} {number(zeros_mm[strip.row] - 4)}v8"
        for strip in strips
        if strip.column
    ]
    path = "".join(marks) or "M0 0"
    return element("path", d=path, fill="none", stroke=INK, stroke_width=0.3, class_="separator")


def _label(strip: Strip, zeros_mm: Sequence[float]) -> str:
    right_mm, rise_mm = strip.label_mm
    x_mm, y_mm = _column_mm(strip.column) + right_mm, zeros_mm[strip.row] - rise_mm
    return text(strip.lead, x_mm, y_mm, size=3.6, halo=PAPER, font_weight="bold", class_="lead")


def _column_mm(column: int) -> float:
    return START_MM + column * COLUMN_S * MM_PER_S


def _caption_lines(said: str) -> list[str]:
    return wrapped(said, width_mm=PANEL_S * MM_PER_S, font_size_mm=3.2)


def _caption(lines: Sequence[str], column: int, top_mm: float) -> str:
    left_mm = _column_mm(column) + 1.4
    return "".join(
        text(
            line,
            left_mm,
            top_mm + 4.2 + CAPTION_MM * index,
            size=3.2,
            halo=PAPER,
            class_="caption",
            font_weight="bold",
        )
        for index, line in enumerate(lines)
    )


def _foot(strips: Sequence[Strip], note: str, bottom_mm: float) -> str:
    y_mm = bottom_mm - 1.6
    scale = f"{MM_PER_S:g} mm/s   {MM_PER_MV:g} mm/mV   {note}"
    said = text(scale, 7.5, y_mm, size=3.0, halo=PAPER, class_="scale")
    faults = "; ".join(dict.fromkeys(strip.fault for strip in strips if strip.fault))
    if faults:
        right = {"text_anchor": "end", "class_": "fault"}
        said += text(faults, WIDTH_MM - 5.0, y_mm, size=3.0, fill=ALARM, halo=PAPER, **right)
    return said
