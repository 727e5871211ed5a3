"""The table of the planning of cohorts, from benchmarks/results/."""

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


TABLES: dict[str, Callable[[], str]] = {"cohort-planning": cohort_planning}
