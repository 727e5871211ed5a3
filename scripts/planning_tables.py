"""The tables of planning, gates and engine of cohorts, from benchmarks/results/."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

PARTS = ("decoding", "gates", "writing")
RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


def cohort_planning() -> str:
    """Time and memory of planning a cohort: the bars, then every large case."""
    result: dict[str, Any] = json.loads((RESULTS / "cohort-planning.json").read_text())
    lines = ["| bar | at most | found | of the limit | met |", "|---|--:|--:|--:|---|"]
    for name, bar in result["bars"].items():
        lines.append(
            f"| {name} | {bar['at_most']:g} | {bar['found']:.2f} | {bar['ratio_to_limit']:.0%} "
            f"| {'yes' if bar['met'] else 'no'} |"
        )
    lines += ["", "| case | rows | classes | shards | summary, s | highest memory, MB |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    for name, found in result["large"].items():
        lines.append(
            f"| {name} | {found['rows']:,} | {found['classes']:,} | {found['shards']:,} "
            f"| {found['seconds']:.2f} | {found['peak_mb']:.0f} |"
        )
    machine = result["machine"]
    made = f"`{result['command']}`, {result['date']}, {machine['processor']}"
    whole = f"{result['patients']:,} patients x {result['conditions']:,} conditions"
    return "\n".join(["", *lines, "", f"{whole}. {made}, {machine['cores']} cores.", ""]) + "\n"


def gates() -> str:
    """What the gates cost: the parts of each kind of ECG, then the bars."""
    result: dict[str, Any] = json.loads((RESULTS / "gates.json").read_text())
    parts = list(next(iter(result["figures"].values()))["median_ms"])
    lines = [
        f"| ms an ECG: median (quickest) | {' | '.join(parts)} | fail a gate |",
        "|---|" + "--:|" * (len(parts) + 1),
    ]
    for name, found in result["figures"].items():
        cells = [
            f"{found['median_ms'][part]:.3f} ({found['quickest_ms'][part]:.3f})" for part in parts
        ]
        lines.append(f"| {name} | {' | '.join(cells)} | {found['failing_share']:.0%} |")
    lines += ["", "| bar | at most | found | met |", "|---|--:|--:|---|"]
    lines += [
        f"| {name} | {bar['at_most']:g} | {bar['found']:.2f} | {'yes' if bar['met'] else 'no'} |"
        for name, bar in result["bars"].items()
    ]
    machine = result["machine"]
    made = f"`{result['command']}`, {result['date']}, {machine['processor']}"
    said = f"{result['rows']} rows, {result['rounds']} rounds, CPU time of one core. {made}"
    return "\n".join(["", *lines, "", f"{said}, {machine['cores']} cores.", ""]) + "\n"


def cohort_engine() -> str:
    """The engine against bare drawing, its bars, and its memory."""
    result: dict[str, Any] = json.loads((RESULTS / "cohort-engine.json").read_text())
    lines = [
        "| medians | bare drawing, ECG/s | the engine, ECG/s | share | sampling alone, ECG/s "
        "| decoding, gates, writing: ms an ECG |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for key, name in (("one", "one worker, sampling on one core"), ("two", "two Ray actors")):
        if (found := result.get(key)) is not None:
            spent = ", ".join(f"{found[f'{part}_ms']:.2f}" for part in PARTS)
            lines.append(
                f"| {name} | {found['bare_ecgs_per_s']:.1f} | {found['ecgs_per_s']:.1f} "
                f"| {found['share']:.0%} | {found['sampled_per_s']:.1f} | {spent} |"
            )
    lines += ["", "| bar | asked | found | met |", "|---|--:|--:|---|"]
    lines += [
        f"| {name} | {bar['asked']:g} | {bar['found']:.3f} | {'yes' if bar['met'] else 'no'} |"
        for name, bar in result["bars"].items()
    ]
    memory, machine = result["memory"], result["machine"]
    grown = (
        f"Resident over {memory['shards']:,} shards: {memory['second_tenth_mib']:.0f} MiB in "
        f"their second tenth, {memory['last_tenth_mib']:.0f} MiB in the last, "
        f"{memory['peak_mib']:.0f} MiB at most."
    )
    made = f"`{result['command']}`, {result['date']}, {machine['processor']}"
    said = f"{len(result['one']['rounds'])} rounds, load {result['load']:.1f}. {made}"
    return "\n".join(["", *lines, "", grown, "", f"{said}, {machine['cores']} cores.", ""]) + "\n"


TABLES: dict[str, Callable[[], str]] = {
    "cohort-planning": cohort_planning,
    "gates": gates,
    "cohort-engine": cohort_engine,
}
