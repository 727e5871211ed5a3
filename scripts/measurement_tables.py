"""The tables of docs/measurements.md, from benchmarks/results/measurement.json."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent.parent / "benchmarks" / "results" / "measurement.json"
CORPORA = {
    "ludb": "LUDB, 500 Hz",
    "ptbxl_500_hz": "PTB-XL, 500 Hz",
    "ptbxl_100_hz": "PTB-XL, 100 Hz",
    "ptb_1000_hz": "PTB, 1000 Hz",
}
VALUES = {
    "heart_rate_bpm": "heart rate, bpm",
    "pr_ms": "PR, ms",
    "qrs_ms": "QRS, ms",
    "qt_ms": "QT, ms",
    "qtc_fridericia_ms": "QTc Fridericia, ms",
    "qtc_bazett_ms": "QTc Bazett, ms",
    "qrs_axis_deg": "QRS axis, degrees",
}
EXCHANGES = ("LA/RA", "RA/LL", "LA/LL")
NAMES = {"ludb": "LUDB", "ptbxl": "PTB-XL", "cinc2011": "Challenge 2011"}


def speed() -> str:
    """Time per recording, ours and XQRS in turns."""
    result = _read()
    lines = [
        "| recordings of 10 s | ours, twelve leads | ours, one recording a call | XQRS, lead II "
        "| XQRS, twelve leads | XQRS lead II / ours | XQRS twelve / ours |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for key, name in CORPORA.items():
        row = result["speed"][key]
        lines.append(
            f"| {name}: {row['recordings']} | {row['ours_ms']:.2f} ms "
            f"| {row['ours_one_at_a_time_ms']:.2f} ms | {row['xqrs_lead_ii_ms']:.1f} ms "
            f"| {row['xqrs_twelve_leads_ms']:.0f} ms | {row['ratio_lead_ii']:.1f} "
            f"| {row['ratio_twelve_leads']:.0f} |"
        )
    return _made(lines, result)


def beats() -> str:
    """Beats found on LUDB."""
    result = _read()
    best = result["beats"]["xqrs_best_lead"]
    names = {
        "ours": "ours",
        "xqrs_lead_ii": "XQRS, lead II",
        "xqrs_best_lead": f"XQRS, its best lead ({best['lead']})",
    }
    lines = ["| detector | found | missed | false | F1 |", "|---|--:|--:|--:|--:|"]
    for key, name in names.items():
        row = result["beats"][key]
        counts = f"{row['found']} | {row['missed']} | {row['false']}"
        lines.append(f"| {name} | {counts} | {row['f1']:.4f} |")
    return _made(lines, result)


def errors() -> str:
    """Median and 90th percentile of the absolute errors on LUDB, by rate."""
    result = _read()
    rates = sorted(result["errors"], key=int)
    lines = [
        f"| +-: median (90th percentile) | {' | '.join(f'{rate} Hz' for rate in rates)} |",
        "|---|" + "--:|" * len(rates),
    ]
    for key, name in VALUES.items():
        rows = [result["errors"][rate][key] for rate in rates]
        cells = [f"{row['median']:.1f} ({row['p90']:.1f})" for row in rows]
        lines.append(f"| {name}: {rows[rates.index('500')]['recordings']} | {' | '.join(cells)} |")
    return _made(lines, result)


def exchanged() -> str:
    """Recordings flagged as they are and with exchanged electrodes."""
    result = _read()
    lines = [
        "| recordings | as recorded | LA/RA exchanged, named so | RA/LL exchanged, named so "
        "| either, named wrongly | LA/LL exchanged, flagged |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for key, name in NAMES.items():
        row = result["exchanged"][key]
        num = row["recordings"]
        named = [row[exchange][exchange] / num for exchange in EXCHANGES[:2]]
        wrong = row["LA/RA"]["RA/LL"] + row["RA/LL"]["LA/RA"]
        alarms = " + ".join(f"{count} {kind}" for kind, count in row["as_recorded"].items())
        lines.append(
            f"| {name}: {num} | {alarms} | {named[0]:.1%} | {named[1]:.1%} "
            f"| {wrong} | {sum(row['LA/LL'].values())} |"
        )
    return _made(lines, result)


def p_waves() -> str:
    """How often the P wave of lead I is upside down, among the flagged and the others."""
    result = _read()
    lines = [
        "| recordings as they are | flagged LA/RA, with a P wave | P inverted in I "
        "| not flagged, with a P wave | P inverted in I |",
        "|---|--:|--:|--:|--:|",
    ]
    for key, name in NAMES.items():
        rows = [result["exchanged"][key]["p_waves_as_recorded"][one] for one in ("LA/RA", "none")]
        cells = [f"{row['with_p']} | {row['inverted_in_i']}" for row in rows]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return _made(lines, result)


TABLES: dict[str, Callable[[], str]] = {
    "measurement-speed": speed,
    "measurement-beats": beats,
    "measurement-errors": errors,
    "exchanged-leads": exchanged,
    "exchanged-p-waves": p_waves,
}


def _read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULT.read_text())
    return found


def _made(lines: list[str], result: dict[str, Any]) -> str:
    machine = result["machine"]
    made = f"`{result['command']}`, {result['date']}, {machine['processor']}"
    versions = f"numpy {result['versions']['numpy']}, wfdb {result['versions']['wfdb']}"
    return "\n".join(["", *lines, "", f"{made}, one core, {versions}.", ""]) + "\n"
