"""The report of a cohort: one HTML page of ECG drawings and of what evaluation measured.

The results are plain JSON data; ``catalogue`` says where each figure stands. Besides those:
``about`` (source, corpus, checkpoint, digests, counts, command), ``targets``, ``states`` (one
mapping per state), ``training`` (one mapping per network), ``from_scratch`` (the figures of a
second run, under the same paths), ``selection_rule`` and, for the scatter plot,
``heart_rate.requested_bpm``, ``.measured_bpm`` and ``.states``, one entry per twin. Every part
may be missing; a ``reason`` in its place, or above it, is printed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgtwin.plots.catalogue import GROUPS, HEART_RATE, Results, lookup
from ecgtwin.plots.ecg_paper import draw_side_by_side, draw_twelve_leads
from ecgtwin.plots.markup import element, escape
from ecgtwin.plots.tables import (
    comparison_table,
    facts,
    group_tables,
    paragraph,
    rate_figure,
    state_table,
    target_table,
    training_tables,
)
from ecgtwin.signals.beats import measure

SYNTHETIC = "SYNTHETIC - not for clinical use"
REFERENCE = "REFERENCE - not for clinical use"
RULE = "median and worst by the difference between requested and measured heart rate"

ABOUT = (
    ("source", "Source", False),
    ("num_persons", "Persons", False),
    ("num_twins", "Twins", False),
    ("version", "ecgtwin version", False),
    ("corpus", "Corpus", True),
    ("checkpoint", "Checkpoint", True),
    ("cohort", "Cohort", True),
    ("specification_digest", "Specification digest", True),
    ("plan_digest", "Plan digest", True),
    ("checkpoint_digest", "Checkpoint digest", True),
    ("command", "Command", True),
)


STYLE = """
@page { size: A4 landscape; margin: 9mm 10mm; }
* { box-sizing: border-box; }
html { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
body { margin: 0; background: #e9ecef; color: #15181c; font: 14px/1.45 Helvetica, Arial,
  "Liberation Sans", "DejaVu Sans", sans-serif; }
main { width: 299mm; max-width: 100%; margin: 0 auto; }
.sheet { background: #fff; margin: 6mm 0; padding: 11mm 12mm; overflow-x: auto;
  box-shadow: 0 1px 4px rgba(20, 30, 40, .18); }
h1 { font-size: 25px; line-height: 1.2; margin: 0 0 2px; letter-spacing: -.01em; }
h2 { font-size: 19px; margin: 0 0 3mm; padding-bottom: 1.5mm; border-bottom: 2px solid #15181c; }
h3 { font-size: 15.5px; margin: 9mm 0 1mm; }
p { margin: 0 0 2.5mm; max-width: 230mm; }
.quiet { color: #5b6470; }
.top { display: flex; justify-content: space-between; align-items: flex-start; gap: 10mm; }
.marker { border: 2px solid #a3123a; color: #a3123a; border-radius: 4px; font-weight: 700;
  padding: 5px 12px; white-space: nowrap; letter-spacing: .02em; }
dl { display: grid; grid-template-columns: repeat(4, 1fr); gap: 3mm 8mm; margin: 6mm 0 0; }
dt { font-size: 11.5px; color: #5b6470; }
dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
dl .wide { grid-column: span 2; }
code { font: 12.5px/1.4 "DejaVu Sans Mono", Menlo, Consolas, monospace; font-weight: 400; }
table { border-collapse: collapse; width: 100%; margin: 2mm 0 4mm; }
th { text-align: left; font-size: 11.5px; font-weight: 600; color: #5b6470; vertical-align: bottom;
  border-bottom: 1px solid #9aa3ad; padding: 3px 10px 3px 0; }
td { border-bottom: 1px solid #e1e5e9; padding: 5px 10px 5px 0; vertical-align: top; }
td.number, th.number { text-align: right; padding-right: 18px; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
td.number { font-weight: 600; }
.missing, td.number.missing { color: #8a5a00; font-weight: 400; }
table.plain td:first-child { min-width: 62mm; }
table.plain th.number { white-space: normal; }
table.group { table-layout: fixed; }
table.group th:first-child { width: 25%; }
table.group th:nth-child(2) { width: 13%; }
table.group th:nth-child(3):not(:last-child) { width: 20%; }
.met { color: #0b6b3a; font-weight: 700; }
.unmet { color: #a3123a; font-weight: 700; }
svg.ecg, svg.figure { display: block; flex: none; }
figure { margin: 6mm 0 9mm; break-inside: avoid; }
figure:last-child { margin-bottom: 0; }
section.group { break-inside: avoid; }
section.group > svg { margin: 5mm 0 0; }
.curves { display: flex; flex-wrap: wrap; gap: 4mm 12mm; margin: 2mm 0 4mm; }
.curves div { font-size: 12px; font-weight: 600; }
@media print {
  body { background: #fff; font-size: 12px; }
  main { width: auto; }
  .sheet { margin: 0; padding: 0; box-shadow: none; overflow: visible; break-before: page; }
  .sheet:first-child { break-before: auto; }
  svg.ecg { max-width: 100%; max-height: 186mm; }
  h2, h3 { break-after: avoid; }
  tr { break-inside: avoid; }
}
"""


class Drawing(NamedTuple):
    """One ECG to draw: (12, time) in mV, and what it is.

    ``details`` are the (name, value) pairs above the paper; None has them measured in the ECG.
    """

    samples_mv: NDArray[np.floating]
    caption: str
    details: Sequence[tuple[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class ReportDrawings:
    """The ECGs of a report. Twins are of the person of ``reference``, in other states.

    The first part of a caption, up to a colon, becomes the title of its drawing.
    """

    sampling_rate_hz: float
    reference: Drawing
    twins: Sequence[Drawing]
    median: Drawing | None
    worst: Drawing | None


def write_report(results: Results, drawings: ReportDrawings, path: str | Path) -> None:
    """Write the report of ``results`` as one self-contained HTML file, in place of any other."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(report_html(results, drawings), encoding="utf-8")


def preview_html(twins: Sequence[Drawing], *, sampling_rate_hz: float, said: str) -> str:
    """Return a page with some twins, before a cohort is made; ``said`` stands above them."""
    head = element("h1", "ECG twins: a preview") + paragraph(said, quiet=True)
    top = element("div", element("div", head) + element("div", SYNTHETIC, class_="marker"),
                  class_="top")  # fmt: skip
    ecgs = [_ecg(twin, sampling_rate_hz, SYNTHETIC) for twin in twins]
    return _page("ecgtwin: preview of a cohort", ["\n".join([top, *ecgs])])


def report_html(results: Results, drawings: ReportDrawings) -> str:
    """Return the page that ``write_report`` writes."""
    sheets = [
        _front(results) + _overview(drawings),
        _same_person(drawings),
        _chosen(results, drawings),
        _figures(results),
        _training(results),
    ]
    return _page("ecgtwin: report of a cohort", sheets)


def _front(results: Results) -> str:
    about = lookup(results, "about")
    known = about if isinstance(about, dict) else {}
    counted = {
        "num_twins": lookup(results, "counts.twins"),
        "num_persons": lookup(results, "counts.persons"),
    }
    pairs = [
        (name, _fact(known.get(key, counted.get(key))), is_code) for key, name, is_code in ABOUT
    ]
    title = element("h1", escape(known.get("title") or "ECG twins: report of a cohort"))
    said = (
        "Each twin is an ECG drawn by a model for one person in a state that was asked for. "
        "No twin is a recording; no figure here says that one may be used in care."
    )
    left = element("div", title + paragraph(said, quiet=True))
    top = element("div", left + element("div", SYNTHETIC, class_="marker"), class_="top")
    return top + facts(pairs) + target_table(results)


def _fact(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)


def _overview(drawings: ReportDrawings) -> str:
    shown = [drawings.reference, *drawings.twins[:3]]
    panels = [(samples_mv, caption.partition(":")[0]) for samples_mv, caption, *_ in shown]
    svg = draw_side_by_side(panels, sampling_rate_hz=drawings.sampling_rate_hz)
    head = element("h3", "One person: the reference and its twins in other states")
    return element("figure", head + svg)


def _same_person(drawings: ReportDrawings) -> str:
    rate = drawings.sampling_rate_hz
    parts = [
        element("h2", "1. One person, several states"),
        paragraph(
            "The reference is the ECG the twins were made from. What belongs to the person "
            "(axis, progression across the chest, shape of the waves) should stay; what belongs "
            "to the state (rate, rhythm, conduction) should follow the request. "
            "The values above each drawing were measured in its own samples."
        ),
        _ecg(drawings.reference, rate, REFERENCE),
        *(_ecg(twin, rate, SYNTHETIC) for twin in drawings.twins),
    ]
    return "\n".join(parts)


def _chosen(results: Results, drawings: ReportDrawings) -> str:
    rule = str(lookup(results, "selection_rule") or RULE)
    parts = [
        element("h2", "2. The median and the worst twin"),
        paragraph(f"Chosen by a rule and not by eye: {rule.rstrip('.')}."),
    ]
    for name, drawing in (("Median twin", drawings.median), ("Worst twin", drawings.worst)):
        if drawing is None:
            parts.append(paragraph(f"{name}: none could be chosen by this rule."))
        else:
            parts.append(_ecg(drawing, drawings.sampling_rate_hz, SYNTHETIC, name))
    return "\n".join(parts)


def _ecg(drawing: Drawing, sampling_rate_hz: float, marker: str, name: str = "") -> str:
    samples_mv, caption, details = Drawing(*drawing)
    title, _, subtitle = caption.partition(":")
    if details is None:
        details = measured_details(samples_mv, sampling_rate_hz=sampling_rate_hz)
    svg = draw_twelve_leads(
        samples_mv,
        sampling_rate_hz=sampling_rate_hz,
        title=f"{name}. {title}" if name else title,
        subtitle=subtitle.strip(),
        details=details,
        marker=marker,
    )
    return element("figure", svg)


def measured_details(
    samples_mv: NDArray[np.floating], *, sampling_rate_hz: float
) -> list[tuple[str, str]]:
    """Return rate and intervals of an ECG (12, time) as printed above it; "-": not measurable."""
    if not np.isfinite(samples_mv).all():
        return []
    found = measure(samples_mv, sampling_rate_hz=sampling_rate_hz)
    corrected_ms = None
    if found.qt_ms is not None and found.heart_rate_bpm:
        corrected_ms = found.qt_ms * (found.heart_rate_bpm / 60) ** 0.5
    return [
        ("Vent. rate", _rounded(found.heart_rate_bpm, "bpm")),
        ("R-R deviation", _rounded(found.rr_sd_ms, "ms")),
        ("PR", _rounded(found.pr_ms, "ms")),
        ("QRS", _rounded(found.qrs_ms, "ms")),
        ("QT", _rounded(found.qt_ms, "ms")),
        ("QTc (Bazett)", _rounded(corrected_ms, "ms")),
    ]


def _rounded(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.0f} {unit}"


def _figures(results: Results) -> str:
    parts = [element("h2", "3. Figures")]
    for group in GROUPS:
        tables = group_tables(results, group)
        head = element("h3", escape(group.title)) + paragraph(group.question, quiet=True)
        parts.append(element("section", head + tables, class_="group"))
        if group is HEART_RATE:
            parts.append(element("section", rate_figure(results), class_="group"))
            parts.append(element("section", state_table(results), class_="group"))
    return "\n".join(parts)


def _training(results: Results) -> str:
    return element("h2", "4. Training") + training_tables(results) + comparison_table(results)


def _page(title: str, sheets: Sequence[str]) -> str:
    """Return the whole document. Each sheet of markup begins a printed page."""
    head = (
        '<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>"
    )
    body = "\n".join(element("div", sheet, class_="sheet") for sheet in sheets if sheet)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
