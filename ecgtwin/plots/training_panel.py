"""A panel of a training run: recordings of held-out persons beside what the networks made."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecgtwin.plots.ecg_paper import ALARM, FONT, GREY, draw_twelve_leads
from ecgtwin.plots.markup import element, escape, number, text
from ecgtwin.plots.raster import png_of
from ecgtwin.signals.beats import heart_rate_bpm, r_peaks
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.training.panels import Drawing, Likeness, Panel

_STAGE_NAMES = {"vae": "VAE", "denoiser": "Denoiser"}
GAP_MM = 8.0
HEAD_MM = 17.0
REAL = "#1d5c8a"
BAND_MM = 2.2  # the coloured edge that tells a real sheet from a made one
_SIZE = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')

Floats = NDArray[np.floating]


def drawing_of(panel: Panel) -> Drawing:
    """Return the panel as SVG, and as PNG where Pillow is installed."""
    svg = draw_training_panel(panel)
    try:
        return Drawing(svg, png_of(svg))
    except ModuleNotFoundError:
        return Drawing(svg, None)


def draw_training_panel(panel: Panel) -> str:
    """Return one SVG, a row a person: the recording on the left, what was made on the right.

    Both stand on ECG paper with all twelve leads, under the condition that the one was recorded in
    and the other was asked for, and the heart rates measured on each.
    """
    rows = [
        (_real(index, likeness, panel), _made(index, likeness, panel))
        for index, likeness in enumerate(panel.likenesses, 1)
    ]
    parts, y_mm = [], HEAD_MM
    column_mm = max((_size_mm(sheet)[0] for row in rows for sheet in row), default=0.0)
    for row in rows:
        for column, (sheet, colour) in enumerate(zip(row, (REAL, ALARM), strict=True)):
            x_mm = column * (column_mm + 2 * BAND_MM + GAP_MM)
            parts.append(_placed(sheet, x_mm, y_mm, colour))
        y_mm += max(_size_mm(sheet)[1] for sheet in row) + GAP_MM
    width_mm = 2 * (column_mm + 2 * BAND_MM) + GAP_MM
    return _page([_head(panel), *parts], width_mm, y_mm, panel)


def _real(index: int, likeness: Likeness, panel: Panel) -> str:
    measured = ("measured rate", _rate(likeness.real_mv, panel.sampling_rate_hz))
    return draw_twelve_leads(
        likeness.real_mv,
        sampling_rate_hz=panel.sampling_rate_hz,
        title=f"Person {index}: the recording",
        subtitle=_statements(likeness.condition),
        details=[measured, *_patient(likeness.condition, "{} in its report")],
    )


def _made(index: int, likeness: Likeness, panel: Panel) -> str:
    details = [("measured rate", _rate(likeness.made_mv, panel.sampling_rate_hz))]
    if panel.way == "generated":
        details += _patient(likeness.condition, "{} asked for")
    return draw_twelve_leads(
        likeness.made_mv,
        sampling_rate_hz=panel.sampling_rate_hz,
        title=f"Person {index}: {panel.way}",
        subtitle=_statements(likeness.condition),
        details=details,
        marker=panel.way.upper(),
    )


def _rate(samples_mv: Floats, sampling_rate_hz: float) -> str:
    if not np.isfinite(samples_mv).all():
        return "no number"
    peaks = r_peaks(samples_mv, sampling_rate_hz=sampling_rate_hz)
    rate_bpm = heart_rate_bpm(peaks, sampling_rate_hz=sampling_rate_hz)
    return "no beats found" if rate_bpm is None else f"{rate_bpm:.0f} bpm"


def _patient(condition: CardiacCondition, heading: str) -> list[tuple[str, str]]:
    rate, age = condition.heart_rate_bpm, condition.age_years
    said = {
        "rate": "unknown" if rate is None else f"{rate:.0f} bpm",
        "age": "unknown" if age is None else f"{age:.0f} years",
        "sex": condition.sex,
    }
    return [(heading.format(name), value) for name, value in said.items()]


def _statements(condition: CardiacCondition) -> str:
    said = [
        one.code if one.certainty == "definite" else f"{one.code} ({one.certainty})"
        for one in condition.statements
    ]
    return ", ".join(said) or "no statement"


def _head(panel: Panel) -> str:
    title = f"{_STAGE_NAMES.get(panel.stage, panel.stage)} after {panel.step:,} steps"
    note = (
        f"Persons that the training does not see; the same ones, with the same noise, in every "
        f"panel of this stage. Right: {panel.way} {panel.note}, weights {panel.weights}."
    )
    return text(title, 0.0, 6.0, size=5.6, font_weight="bold") + text(
        note, 0.0, 12.0, size=3.5, fill=GREY
    )


def _placed(sheet: str, x_mm: float, y_mm: float, colour: str) -> str:
    """Return ``sheet`` at a place of the page, a coloured band along its left edge."""
    _, height_mm = _size_mm(sheet)
    band = element(
        "rect", x=x_mm, y=y_mm, width=BAND_MM, height=height_mm, fill=colour, class_="band"
    )
    place = f'<svg x="{number(x_mm + 2 * BAND_MM)}" y="{number(y_mm)}" '
    return band + re.sub(r"mm\"", '"', sheet, count=2).replace("<svg ", place, 1)


def _size_mm(sheet: str) -> tuple[float, float]:
    found = _SIZE.search(sheet)
    if found is None:
        raise ValueError("a sheet without a viewBox has no size")
    return float(found[1]), float(found[2])


def _page(parts: Sequence[str], width_mm: float, height_mm: float, panel: Panel) -> str:
    return element(
        "svg",
        "\n".join(
            [
                element("title", escape(f"{panel.stage} after {panel.step} steps")),
                element("rect", width=width_mm, height=height_mm, fill="#fff"),
                *parts,
            ]
        ),
        xmlns="http://www.w3.org/2000/svg",
        width=f"{number(width_mm)}mm",
        height=f"{number(height_mm)}mm",
        viewBox=f"-4 -2 {number(width_mm + 8)} {number(height_mm + 4)}",
        role="img",
        font_family=FONT,
    )
