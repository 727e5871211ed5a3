"""The tables of planning cohorts and of their gates, from benchmarks/results/."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


TABLES: dict[str, Callable[[], str]] = {"cohort-planning": cohort_planning, "gates": gates}
