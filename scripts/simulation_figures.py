"""Draw the figures of docs/simulated.md: states on ECG paper, distributions beside real ones.

python scripts/simulation_figures.py [states] [distributions]

The distributions are those of benchmarks/results/simulation.json.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgtwin.plots.ecg_paper import draw_strips
from ecgtwin.plots.figures import COLOURS, FONT, GREY, INK, RULE
from ecgtwin.plots.markup import element, number, text
from ecgtwin.signals.leads import LEADS
from ecgtwin.sources.simulated import STATES, simulate_one

ROOT = Path(__file__).parent.parent
SEED, PERSON, VISIT = 4, 47, 1
RATES_BPM = {
    "sinus bradycardia": 48.0,
    "sinus tachycardia": 120.0,
    "atrial fibrillation": 95.0,
    "second degree av block": 60.0,
    "third degree av block": 36.0,
    "paced rhythm": 65.0,
}
CONDUCTION = (
    "left bundle branch block", "right bundle branch block", "left ventricular hypertrophy",
    "low qrs voltage", "inferior myocardial infarction", "anterior myocardial infarction",
    "ischemia in lateral leads", "prolonged qt interval",
)  # fmt: skip
SECOND_LEADS = {
    "left ventricular hypertrophy": "V5",
    "low qrs voltage": "V3",
    "inferior myocardial infarction": "aVL",
    "anterior myocardial infarction": "V3",
    "ischemia in lateral leads": "V5",
    "prolonged qt interval": "V4",
}
GALLERIES = {
    "rhythms": [state for state in STATES if state not in CONDUCTION],
    "findings": list(CONDUCTION),
}
POPULATIONS = dict(zip(("PTB-XL", "LUDB", "simulated"), COLOURS[:3], strict=True))
NAMES = {
    "heart_rate_bpm": "Heart rate, bpm",
    "rr_sd_ms": "SD of R-R, ms",
    "pr_ms": "PR, ms",
    "qrs_ms": "QRS, ms",
    "qt_ms": "QT, ms",
    "qtc_ms": "QTc (Fridericia), ms",
    "axis_deg": "QRS axis, degrees",
}
LEVELS = {
    "r_mv": "R, mV",
    "s_mv": "S, mV",
    "t_mv": "T, mV",
    "st_mv": "ST, 100 ms after R, mV",
    "fast_noise_uv": "Noise of 35 to 140 Hz, uV",
    "wander_uv": "Wander below 0.6 Hz, uV",
}
SPECTRA = ("I", "V3")
COLUMNS, CELL_W, CELL_H = 3, 300.0, 190.0
LEFT, TOP, PLOT_W, PLOT_H = 46.0, 30.0, 240.0, 120.0

Figures = Mapping[str, Any]


def main(words: list[str]) -> int:
    """Draw what is named, or both."""
    if not words or "states" in words:
        for name, chosen in GALLERIES.items():
            (ROOT / "docs" / f"simulated-{name}.svg").write_text(states(name, chosen))
    if not words or "distributions" in words:
        result = json.loads((ROOT / "benchmarks" / "results" / "simulation.json").read_text())
        (ROOT / "docs" / "simulated-distributions.svg").write_text(distributions(result))
    return 0


def states(name: str, chosen: Sequence[str]) -> str:
    """Return one person in some states, lead II and then another lead of the same beats."""
    panels = []
    for state in chosen:
        row = simulate_one(
            seed=SEED,
            person=PERSON,
            visit=VISIT,
            state=state,
            heart_rate_bpm=RATES_BPM.get(state, 72.0),
        )
        samples_mv = row.record.samples_mv.copy()
        half = samples_mv.shape[1] // 2
        second = SECOND_LEADS.get(state, "V1")
        samples_mv[1, half:] = samples_mv[LEADS.index(second), :half]
        panels.append((samples_mv, f"then {second}: {state}"))
    return draw_strips(
        panels,
        sampling_rate_hz=500.0,
        leads=("II",),
        title=f"One simulated person: {name}",
        subtitle="left half: lead II, right half: the second lead in the same five seconds",
        marker="SYNTHETIC - not for clinical use",
    )


def distributions(result: Figures) -> str:
    """Return small plots: histograms, levels by lead, noise by frequency."""
    cells = [_histogram(NAMES[key], result["histograms"][key]) for key in NAMES]
    cells += [_levels(words, result["quantities"], key) for key, words in LEVELS.items()]
    cells += [_spectrum(lead, result["spectrum"]) for lead in SPECTRA]
    rows = -(-len(cells) // COLUMNS)
    placed = [
        element(
            "g",
            cell,
            transform=f"translate({number(CELL_W * (at % COLUMNS))} "
            f"{number(26 + CELL_H * (at // COLUMNS))})",
        )
        for at, cell in enumerate(cells)
    ]
    legend = "".join(
        element("rect", x=46 + 110 * at, y=6, width=12, height=12, fill=colour)
        + text(name, 63 + 110 * at, 16, size=12)
        for at, (name, colour) in enumerate(POPULATIONS.items())
    )
    width, height = COLUMNS * CELL_W, 26 + rows * CELL_H
    label = "Distributions of the simulated population beside PTB-XL and LUDB"
    return element(
        "svg",
        element("title", label)
        + element("rect", width=width, height=height, fill="#ffffff")
        + legend
        + "".join(placed),
        xmlns="http://www.w3.org/2000/svg",
        width=width,
        height=height,
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        font_family=FONT,
    )


def _frame(title: str, x_ticks: Sequence[tuple[float, str]], top_label: str) -> str:
    box = element("rect", x=LEFT, y=TOP, width=PLOT_W, height=PLOT_H, fill="none", stroke=RULE)
    words = text(title, LEFT, TOP - 8, size=12, fill=INK, font_weight="bold")
    words += text(top_label, LEFT - 4, TOP + 10, size=10, fill=GREY, text_anchor="end")
    for x, label in x_ticks:
        words += text(label, x, TOP + PLOT_H + 14, size=10, fill=GREY, text_anchor="middle")
    return box + words


def _path(points: Sequence[tuple[float, float]], colour: str, **more: object) -> str:
    path = "L".join(f"{number(x)} {number(y)}" for x, y in points)
    return element("path", d=f"M{path}", stroke=colour, fill="none", stroke_width=1.6, **more)


def _histogram(title: str, found: Figures) -> str:
    edges = np.array(found["edges"])
    middles = (edges[1:] + edges[:-1]) / 2
    top = max(max(found[name]) for name in POPULATIONS)
    across = LEFT + PLOT_W * (middles - edges[0]) / (edges[-1] - edges[0])
    lines = "".join(
        _path(
            list(zip(across, TOP + PLOT_H * (1 - np.array(found[name]) / top), strict=True)), colour
        )
        for name, colour in POPULATIONS.items()
    )
    ticks = [(LEFT + PLOT_W * share, f"{edges[0] + share * (edges[-1] - edges[0]):.0f}")
             for share in (0.0, 0.5, 1.0)]  # fmt: skip
    return _frame(title, ticks, f"{top:.0%}") + lines


def _levels(title: str, quantities: Figures, key: str) -> str:
    spreads = {name: [quantities[f"{key} {lead}"][name] for lead in LEADS] for name in POPULATIONS}
    low = min(0.0, *(one["p25"] for all_leads in spreads.values() for one in all_leads))
    high = max(0.0, *(one["p75"] for all_leads in spreads.values() for one in all_leads))
    scale = PLOT_H / (high - low)
    marks, ticks = "", []
    for at, lead in enumerate(LEADS):
        middle = LEFT + PLOT_W * (at + 0.5) / len(LEADS)
        ticks.append((middle, lead))
        for beside, (name, colour) in zip((-5, 0, 5), POPULATIONS.items(), strict=True):
            one = spreads[name][at]
            top, foot, centre = (TOP + scale * (high - one[key]) for key in ("p75", "p25", "p50"))
            x = middle + beside
            marks += _path([(x, top), (x, foot)], colour)
            marks += element("circle", cx=x, cy=centre, r=2.2, fill=colour)
    zero = TOP + scale * high
    line = _path([(LEFT, zero), (LEFT + PLOT_W, zero)], RULE)
    return _frame(title, ticks, f"{high:.3g}") + line + marks


def _spectrum(lead: str, found: Figures) -> str:
    hz = np.array(found["hz"])
    across = LEFT + PLOT_W * (hz - hz[0]) / (hz[-1] - hz[0])
    low, high = np.log10(0.02), np.log10(6.0)
    parts = ""
    for name, colour in POPULATIONS.items():
        for quartile, more in zip(
            found[name][lead],
            ({"stroke_dasharray": "3 3"}, {}, {"stroke_dasharray": "3 3"}),
            strict=True,
        ):
            share = (np.log10(np.clip(quartile, 0.02, 6.0)) - low) / (high - low)
            points = list(zip(across, TOP + PLOT_H * (1 - share), strict=True))
            parts += _path(points, colour, **more)
    ticks = [(LEFT + PLOT_W * (f - hz[0]) / (hz[-1] - hz[0]), f"{f} Hz") for f in (50, 100, 200)]
    return _frame(f"Noise density in {lead}, uV / sqrt(Hz)", ticks, "6") + parts


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
