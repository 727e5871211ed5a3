"""The tables of the pages on ingest, statements and training data, from benchmarks/results/."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
Figure = Mapping[str, Any]


def resampling() -> str:
    """Our resampling, the published one and scipy's, by the rate of the recordings."""
    result = _read("resampling")
    names = {"ours": "ours", "fft": "FFT (published)", "scipy_polyphase": "scipy's polyphase"}
    lines = [
        "| recordings | method | error of tones up to 40 Hz, dB | left of tones above 60 Hz, dB "
        "| error at a cut, uV: median, 95 % | loss of height: median | ms a recording |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for rate, found in result["rates"].items():
        for key, name in names.items():
            row = found["methods"][key]
            cut, left = row["largest_error_at_a_cut_uv"], row["alias_rejection_db"]
            lines.append(
                f"| {found['records']} of {rate} Hz | {name} | {row['pass_band_error_db']:.0f} "
                f"| {'no such tones' if left is None else format(left, '.0f')} "
                f"| {cut['median']:.1f}, {cut['p95']:.0f} | {row['loss_of_height']['median']:.1%} "
                f"| {found['milliseconds'][key]:.2f} |"
            )
    return _made(lines, result)


def resampling_tolerance() -> str:
    """How far ours is from the filter that the shipped weights were trained with."""
    result = _read("resampling")
    (bar,) = result["bars"].values()
    lines = [
        "| difference to scipy's polyphase filter, with which the shipped weights were trained: "
        "RMS, uV | median | largest |",
        "|---|--:|--:|",
    ]
    for rate, found in result["rates"].items():
        row = found["difference_to_former_rms_uv"]
        lines.append(
            f"| {found['records']} of {rate} Hz | {row['median']:.2f} | {row['largest']:.2f} |"
        )
    lines.append(f"| allowed | | {bar['at_most']:g} |")
    return _made(lines, result)


def ingest() -> str:
    """Speed and memory of an ingest, and the bars it was to meet."""
    result = _read("ingest")
    rates, workers, memory, reading = (
        result[part] for part in ("rates", "workers", "memory", "reading")
    )
    small, large = [found for found in memory.values() if isinstance(found, dict)]
    paces = {
        "bare loop": rates["bare_loop"]["per_s"],
        "ingest without the measurement, all of it": rates["ingest"]["per_s"],
        "ingest with the measurement": rates["with_measurement"]["per_s"],
        "shards, one Ray worker": workers["one_per_s"],
        "shards, two Ray workers": workers["two_per_s"],
        "shuffled batches from the corpus": reading["batches_per_s"],
        "rows at random places of the corpus": reading["random_rows_per_s"],
        "the same as WFDB files": reading["wfdb_per_s"],
    }
    lines = ["| what | recordings a second |", "|---|--:|"]
    lines += [f"| {name} | {pace:,.0f} |" for name, pace in paces.items()]
    lines += ["", "| what | value |", "|---|--:|"]
    parts = {
        "ingest / bare loop, without planning": rates["ingest"]["ratio_without_planning"],
        "ingest with the measurement / bare loop": rates["with_measurement"]["ratio"],
        "random rows / WFDB files": reading["ratio_of_random_rows"],
    }
    lines += [f"| {name} | {found['median']:.2f} |" for name, found in parts.items()]
    lines += [
        f"| highest memory, {found['recordings']:,} recordings | {found['peak_mib']:.0f} MiB |"
        for found in (small, large)
    ]
    lines += [
        f"| its growth; of that by the tables of the archive | {memory['growth_mib']:.0f} MiB; "
        f"{memory['growth_mib_of_planning']:.0f} MiB |"
    ]
    return _made([*lines, "", *_bars(result)], result)


def planning() -> str:
    """Time and memory of planning MIMIC-IV-ECG."""
    result = _read("planning")
    return _made(_bars(result), result)


def _bars(result: Figure) -> list[str]:
    lines = ["| bar | asked | found | met |", "|---|--:|--:|---|"]
    for name, bar in result["bars"].items():
        side = "at_least" if "at_least" in bar else "at_most"
        asked = f"{side.replace('_', ' ')} {bar[side]:g}"
        lines.append(f"| {name} | {asked} | {bar['found']:.2f} | {'yes' if bar['met'] else 'no'} |")
    return lines


def pairs() -> str:
    """How long pairs of the size of MIMIC-IV-ECG take."""
    result = _read("training-data")
    found = result["pairs"]
    lines = ["| pairs | to build, s | a batch, ms |", "|---|--:|--:|"]
    names = {
        "usual": "usual",
        "avoid": "`same_condition: avoid`, exponent 0.5",
        "require": "`same_condition: require`",
        "loop": "a plain loop of Python",
    }
    for key, name in names.items():
        build = f"{found[key]['build_s']:.1f}" if "build_s" in found[key] else ""
        lines.append(f"| {name} | {build} | {1000 * found[key]['batch_s']:.2f} |")
    made = (
        f"{found['rows']:,} recordings of {found['persons']:,} persons, {found['batch']:,} a batch"
    )
    return _made([*lines, "", f"{made}; at most {found['most_of_a_person']:,} of one."], result)


def stored_latents() -> str:
    """What stored latents save."""
    result = _read("training-data")
    found = result["latents"]
    lines = [
        f"| latents, `{found['preset']}`, one thread | records a second |",
        "|---|--:|",
        f"| encoded | {found['encoded_per_s']:,.0f} |",
        f"| read from beside the corpus | {found['read_per_s']:,.0f} |",
    ]
    return _made(lines, result)


def packing() -> str:
    """Bytes and time of ways to pack samples."""
    result = _read("training-data")
    rows = {name: row for name, row in result["packing"].items() if name != "records"}
    lines = ["| form, compression | bytes a record | ms a record | records in 40 MiB |"]
    lines.append("|---|--:|--:|--:|")
    for name, row in rows.items():
        chosen = " (packs)" if name == "planes, bzip2" else ""
        lines.append(
            f"| {name}{chosen} | {row['bytes']:,.0f} | {row['ms']:.1f} "
            f"| {row['records_in_40_mib']:,} |"
        )
    return _made([*lines, "", f"{result['packing']['records']} recordings of PTB-XL."], result)


def statement_coverage() -> str:
    """How much of PTB-XL's reports becomes statements, and how fast."""
    result = _read("statements")
    found, speed = result["coverage"], result["speed"]
    lines = [
        "| of PTB-XL's reports | |",
        "|---|--:|",
        f"| reports | {result['reports']:,} |",
        f"| with at least one statement | {found['with_statement']:.1%} |",
        f"| read to the last word | {found['to_the_last_word']:.1%} |",
        f"| characters not left as unmapped | {found['characters']:.1%} |",
        f"| statements per report | {found['statements_per_report']:.2f} |",
        f"| canonical statements there are | {result['canonical_statements']} |",
        f"| reports read per second | {speed['reports_per_s']:,.0f} |",
        f"| distinct machine lines read per second | {speed['distinct_lines_per_s']:,.0f} |",
    ]
    return _made(lines, result)


def statement_agreement() -> str:
    """How far what is read of the reports agrees with the SCP codes beside them."""
    result = _read("statements")
    lines = ["| statement | by codes | by reports | precision | recall |", "|---|--:|--:|--:|--:|"]
    for code, row in result["agreement"].items():
        lines.append(
            f"| {code} | {row['codes']:,} | {row['reports']:,} "
            f"| {row['precision']:.1%} | {row['recall']:.1%} |"
        )
    return _made(lines, result)


TABLES: dict[str, Callable[[], str]] = {
    "resampling": resampling,
    "resampling-tolerance": resampling_tolerance,
    "ingest": ingest,
    "planning": planning,
    "statement-coverage": statement_coverage,
    "statement-agreement": statement_agreement,
    "pairs": pairs,
    "stored-latents": stored_latents,
    "packing": packing,
}


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def _made(lines: list[str], result: Figure) -> str:
    machine = result["machine"]
    made = f"`{result['command']}`, {result['date']}, {machine['processor']}"
    return "\n".join(["", *lines, "", f"{made}, {machine['cores']} cores.", ""]) + "\n"
