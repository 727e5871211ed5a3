"""The result of ``benchmarks.gpu`` in at most 100 columns."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 100
AGREEMENT_COLUMNS = (
    "encoder",
    "decoder",
    "extractor",
    "denoiser",
    "draw",
    "loss",
    "gradient",
)
RATE_HEAD = (
    f"{'preset':<7}{'what':<14}{'precision':<10}{'batch':>6}{'ECG/s':>12}{'ms':>10}"
    f"{'spread':>8}{'TFLOP/s':>9}{'of peak':>9}{'GiB':>8}"
)


def table(result: Mapping[str, Any]) -> str:
    """Return every section in words, then what was skipped and what failed."""
    blocks = [
        _heading(result),
        _agreement(result["agreement"], on_cpu=result["device"]["kind"] == "cpu"),
        _rates("One pass of one network", result["forward"]),
        _rates("Training step of the denoiser (TorchEngine, AdamW)", result["training"]),
        _draws(result["draws"]),
        _against_reference(result["against_reference"]),
        _rates("With torch.compile", result["compiled"]),
        _listed("Skipped", result["skipped"], "reason"),
        _listed("FAILED", result["failed"], "error"),
    ]
    return "\n\n".join(block for block in blocks if block)


def _heading(result: Mapping[str, Any]) -> str:
    device = result["device"]
    memory = f", {device['memory_gib']:.0f} GiB" if device["memory_gib"] else ""
    peaks = ", ".join(f"{row['precision']} {row['tflops']:.4g}" for row in result["peaks"])
    lines = [
        f"ecgtwin on {device['name']}{memory}, torch {result['versions']['torch']}, "
        f"CUDA {device['cuda'] or 'absent'}; {result['seconds']:.0f} s of "
        f"{result['minutes'] * 60:.0f} s",
        *(["No GPU: small sizes only, to see that it runs."] if device["kind"] == "cpu" else []),
        f"Peak of a matrix product, TFLOP/s (shares are of these): {peaks}",
        "GFLOP for one ECG: "
        + "; ".join(
            f"{name}: " + ", ".join(f"{what} {value:.2f}" for what, value in gflop.items())
            for name, gflop in result["gflop"].items()
        ),
    ]
    return "\n".join(line for whole in lines for line in textwrap.wrap(whole, WIDTH))


def _agreement(rows: Sequence[Mapping[str, Any]], *, on_cpu: bool) -> str:
    head = f"{'preset':<7}{'precision':<10}" + "".join(f"{name:>10}" for name in AGREEMENT_COLUMNS)
    lines = [
        "Largest difference from the CPU in fp32, over the largest value"
        + (" (fp32 is compared with itself here)" if on_cpu else ""),
        head,
    ]
    for row in rows:
        errors = "".join(f"{row['errors'][name]:>10.1e}" for name in AGREEMENT_COLUMNS)
        verdict = "agrees" if row["agrees"] else "DIFFERS"
        lines.append(f"{row['preset']:<7}{row['precision']:<10}{errors}  {verdict}")
    return "\n".join(lines)


def _rates(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join([title, RATE_HEAD, *map(_rate, rows)]) if rows else ""


def _rate(row: Mapping[str, Any]) -> str:
    memory = row["peak_memory_gib"]
    spread = (row["slowest_s"] - row["quickest_s"]) / row["median_s"]
    return (
        f"{row['preset']:<7}{row['what']:<14}{row['precision']:<10}{row['batch']:>6}"
        f"{row['ecg_per_s']:>12,.1f}{1000 * row['median_s']:>10,.1f}{spread:>8.0%}"
        f"{row['tflops']:>9.4g}{_share(row['share_of_peak']):>9}"
        f"{'-' if memory is None else f'{memory:.1f}':>8}"
    )


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _draws(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    lines = [
        "Draws from text to samples on the host; the last three columns are shares of the time",
        f"{'preset':<7}{'precision':<10}{'steps':>5}{'batch':>6}{'ECG/s':>11}{'s':>9}{'TFLOP/s':>9}"
        f"{'of peak':>8}{'GiB':>7}{'steps':>7}{'decoder':>8}{'rest':>6}",
    ]
    for row in rows:
        shares, memory = row["shares"], row["peak_memory_gib"]
        rest = shares["embedding"] + shares["copy to host"]
        lines.append(
            f"{row['preset']:<7}{row['precision']:<10}{row['steps']:>5}{row['batch']:>6}"
            f"{row['ecg_per_s']:>11,.2f}{row['median_s']:>9.3f}{row['tflops']:>9.4g}"
            f"{_share(row['share_of_peak']):>8}{'-' if memory is None else f'{memory:.1f}':>7}"
            f"{shares['steps']:>7.0%}{shares['decoder']:>8.1%}{rest:>6.1%}"
        )
    return "\n".join(lines)


def _against_reference(rows: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(map(_ratio, rows))


def _ratio(row: Mapping[str, Any]) -> str:
    ratio = row["reference_over_ours"]
    return (
        f"The published way of sampling takes {ratio['median']:.2f} times ours "
        f"({ratio['least']:.2f} to {ratio['most']:.2f}): {row['preset']}, batch {row['batch']}, "
        f"{row['steps']} steps"
    )


def _listed(title: str, rows: Sequence[Mapping[str, Any]], reason: str) -> str:
    if not rows:
        return ""
    lines = [f"{title}: {len(rows)} cases"]
    for row in rows:
        case = " ".join(
            str(value) for key, value in row.items() if key != reason and value is not None
        )
        lines += textwrap.wrap(f"{case}: {row[reason]}", WIDTH, initial_indent="  ")
    return "\n".join(lines)
