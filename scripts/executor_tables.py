"""The table of what the executor costs, from benchmarks/results/."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


def null_model() -> str:
    """The bars, then what else was found of the driver, the loop and the resume."""
    result: dict[str, Any] = json.loads((RESULTS / "null-model.json").read_text())
    lines = ["| bar | below | found | met |", "|---|--:|--:|---|"]
    words = {True: "yes", False: "no", None: "the machine is too busy to say"}
    for name, bar in result["bars"].items():
        lines.append(f"| {name} | {bar['at_most']:g} | {bar['found']:.4g} | {words[bar['met']]} |")
    ray, resume = result["ray"], result["resume"]
    lines += ["", "| what | found |", "|---|--:|"]
    lines += [f"| {name} | {found} |" for name, found in _rows(ray, result["loop"], resume)]
    machine = result["machine"]
    made = f"`{result['command']}`, {result['date']}, {machine['processor']}"
    return "\n".join(["", *lines, "", f"{made}, {machine['cores']} cores.", ""]) + "\n"


def _rows(
    ray: dict[str, Any], loop: dict[str, Any], resume: dict[str, Any]
) -> list[tuple[str, str]]:
    shards = f"{ray['shards']:,} shards of {ray['sleep_s']:g} s in {ray['workers']} actors"
    return [
        (f"{shards}, from the first one's end, s", f"{ray['seconds_from_the_first']:.1f}"),
        ("the machine's processors busy meanwhile", f"{ray['machine_busy_share']:.0%}"),
        ("its load before, and after", f"{ray['load_before']:.1f}, {ray['load_after']:.1f}"),
        ("driver until the first end, processor ms", f"{ray['driver_start_ms']:,}"),
        *(
            (f"the loop alone with {name}, processor us per shard", f"{row['us_per_shard']:.1f}")
            for name, row in loop.items()
        ),
        (
            f"resume of {resume['shards']:,} shards with {resume['committed']:,} committed, "
            "processor s",
            f"{resume['processor_s']:.1f}",
        ),
        ("load during the resume", f"{resume['load']:.1f}"),
    ]


TABLES: dict[str, Callable[[], str]] = {"null-model": null_model}
