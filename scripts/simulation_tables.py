"""The tables of docs/simulated.md from benchmarks/results/simulation.json."""

import json
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent.parent / "benchmarks" / "results" / "simulation.json"
SCALARS = {
    "heart_rate_bpm": ("heart rate, bpm", ".0f"),
    "rr_sd_ms": ("SD of R-R, ms", ".0f"),
    "pr_ms": ("PR, ms", ".0f"),
    "qrs_ms": ("QRS, ms", ".0f"),
    "qt_ms": ("QT, ms", ".0f"),
    "qtc_ms": ("QTc (Fridericia), ms", ".0f"),
    "axis_deg": ("QRS axis, degrees", ".0f"),
}
LEVELS = {
    "r_mv": ("R, mV", ".2f"),
    "s_mv": ("S, mV", ".2f"),
    "t_mv": ("T, mV", ".2f"),
    "p_mv": ("P, mV", ".3f"),
    "st_mv": ("ST, mV", ".3f"),
    "fast_noise_uv": ("35 to 140 Hz, uV", ".1f"),
    "wander_uv": ("below 0.6 Hz, uV", ".0f"),
}
LEADS = ("I", "II", "aVL", "aVF", "V1", "V2", "V3", "V5", "V6")
NOISE = ("fast_noise_uv", "wander_uv")
BY_GROUP = {
    "heart_rate_bpm": ("rate", ".0f"),
    "pr_ms": ("PR", ".0f"),
    "qrs_ms": ("QRS", ".0f"),
    "qtc_ms": ("QTc", ".0f"),
    "axis_deg": ("axis", ".0f"),
    "rr_sd_ms": ("SD of R-R", ".0f"),
    "r_mv V5": ("R V5", ".2f"),
    "s_mv V2": ("S V2", ".2f"),
    "t_mv V3": ("T V3", ".2f"),
    "t_mv II": ("T II", ".2f"),
}


def speed() -> str:
    """ECGs a second."""
    result = _read()
    lines = ["| processes, one thread each | ECGs of 12 x 5000 a second | each, by second of CPU |"]
    lines.append("|--:|--:|--:|")
    for count, row in result["speed"]["processes"].items():
        lines.append(f"| {count} | {row['ecgs_per_s']:.0f} | {row['per_cpu_s']:.0f} |")
    bar = result["speed"]["bar"]
    lines.append(f"| wanted of two | {bar['at_least']:g}: {_met(bar)} | |")
    load = f"{result['speed']['load_before']:.1f}"
    return _table(lines, result, f"Load of the machine before: {load}.")


def identity() -> str:
    """How well persons are told apart."""
    result = _read()
    lines = ["| recordings | persons, pairs | AUROC | likeness to the own: 25, 50, 75 % "
             "| to others |", "|---|---|---|---|---|"]  # fmt: skip
    for name, row in result["identity"].items():
        if name != "bar":
            own, others = (
                ", ".join(f"{row[key][share]:.2f}" for share in ("p25", "p50", "p75"))
                for key in ("alike_same", "alike_different")
            )
            lines.append(
                f"| {name} | {row['persons']}, {row['pairs']} | {row['auroc']:.3f} "
                f"({row['low']:.3f} to {row['high']:.3f}) | {own} | {others} |"
            )
    bar = result["identity"]["bar"]
    lines.append(
        f"| difference of the first two, at most {bar['at_most']:g} | | {bar['found']:.3f}: "
        f"{_met(bar)} | | |"
    )
    return _table(lines, result, "Brackets: 95 % bootstrap intervals over persons.")


def quantities() -> str:
    """Medians and quartiles of rate, intervals and axis."""
    return _quantities({key: SCALARS[key] for key in SCALARS})


def amplitudes() -> str:
    """Medians and quartiles of amplitudes by lead."""
    return _quantities({f"{key} {lead}": (f"{words} {lead}", form)
                        for key, (words, form) in LEVELS.items() if key not in NOISE
                        for lead in LEADS})  # fmt: skip


def noise() -> str:
    """Medians and quartiles of noise by lead."""
    return _quantities({f"{key} {lead}": (f"{LEVELS[key][0]}, {lead}", LEVELS[key][1])
                        for key in NOISE for lead in ("I", "II", "V1", "V3", "V5")})  # fmt: skip


def groups() -> str:
    """Medians by sex and age, real before simulated."""
    result = _read()
    names = " | ".join(words for words, _ in BY_GROUP.values())
    lines = [f"| group | recordings | {names} |", "|---|---|" + "---|" * len(BY_GROUP)]
    for group, row in result["groups"].items():
        pairs = [
            f"{format(row[key]['PTB-XL'], form)} / {format(row[key]['simulated'], form)}"
            for key, (_, form) in BY_GROUP.items()
        ]
        counts = f"{row['records']['PTB-XL']} / {row['records']['simulated']}"
        lines.append(f"| {group} | {counts} | {' | '.join(pairs)} |")
    return _table(lines, result, "PTB-XL / simulated; ms, degrees, mV.")


def prevalence() -> str:
    """How often each state is stated."""
    result = _read()
    counts = result["prevalence"]["records"]
    lines = [f"| statement | {counts['PTB-XL']:,} of PTB-XL | {counts['simulated']} simulated |"]
    lines.append("|---|--:|--:|")
    lines += [
        f"| {state} | {row['PTB-XL']:.1%} | {row['simulated']:.1%} |"
        for state, row in result["prevalence"]["states"].items()
    ]
    return _table(lines, result, "")


TABLES = {
    "simulation-speed": speed,
    "simulation-identity": identity,
    "simulation-quantities": quantities,
    "simulation-amplitudes": amplitudes,
    "simulation-noise": noise,
    "simulation-groups": groups,
    "simulation-prevalence": prevalence,
}


def _quantities(shown: dict[str, tuple[str, str]]) -> str:
    result = _read()
    lines = ["| | PTB-XL | LUDB | simulated, at rest | distance to PTB-XL | LUDB's to PTB-XL |",
             "|---|---|---|---|--:|--:|"]  # fmt: skip
    for key, (words, form) in shown.items():
        row = result["quantities"][key]
        spreads = [_spread(row[name], form) for name in ("PTB-XL", "LUDB", "simulated")]
        apart = [row["distance"][pair] for pair in ("simulated, PTB-XL", "LUDB, PTB-XL")]
        lines.append(f"| {words} | {' | '.join(spreads)} | {apart[0]:.2f} | {apart[1]:.2f} |")
    return _table(lines, result, "Median (quartiles); distance: Kolmogorov-Smirnov.")


def _spread(row: dict[str, float], form: str) -> str:
    low, middle, high = (format(row[key], form) for key in ("p25", "p50", "p75"))
    return f"{middle} ({low} to {high})"


def _met(bar: dict[str, Any]) -> str:
    return "met" if bar["met"] else "not met"


def _read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULT.read_text())
    return found


def _table(lines: list[str], result: dict[str, Any], note: str) -> str:
    made = f"`{result['command']}`, {result['date']}."
    return "\n".join(["", *lines, "", f"{note} {made}".strip(), ""]) + "\n"
