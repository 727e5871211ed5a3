"""Write the tables of docs/ from benchmarks/results/: no number there is typed by hand.

python scripts/results_tables.py [--check]

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``. ``--check`` writes nothing and
ends with 1 where a page is not what the results say.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import executor_tables  # beside this script
import ingest_tables
import measurement_tables
import planning_tables
import simulation_tables
import training_tables

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
CORPORA = {"simulated": "simulated", "ptbxl": "PTB-XL"}
EDITS = ("atrial fibrillation", "right bundle branch block", "left bundle branch block")
Figure = Mapping[str, Any]


def main(words: list[str]) -> int:
    """Fill the tables of every page, or check them."""
    stale = []
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text()
        filled = BLOCK.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)
        if filled != text:
            stale.append(page.name)
            if "--check" not in words:
                page.write_text(filled)
    print(f"{', '.join(stale) or 'no page'} {'differs' if '--check' in words else 'written'}")
    return 1 if stale and "--check" in words else 0


def references() -> str:
    """Similarity to the own person by number of averaged references."""
    result = _read("references")
    lines = [
        "| persons | references | cosine to the own held-out recording | to others | AUROC "
        "| own first |",
        "|---|--:|---|--:|--:|--:|",
    ]
    for corpus, name in CORPORA.items():
        for num, row in result[corpus]["persons_with_enough"].items():
            if "reason" in row:
                lines.append(f"| {name}: {row['persons']} | {num} | {row['reason']} | | | |")
                continue
            lines.append(
                f"| {name}: {row['persons']} | {num} | {_interval(row['own_similarity'], '.3f')} "
                f"| {row['mean_others']:.3f} | {row['auroc']:.4f} | {row['recall_at_1']:.0%} |"
            )
    return _table(lines, result)


def edits() -> str:
    """What each edit did to persons drawn in sinus rhythm."""
    result = _read("edits")
    lines = [
        "| edit | persons | measure | before | edited | drawn again, unedited "
        "| it took in | recognised |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for edit in EDITS:
        rhythm = edit == EDITS[0]
        key, form = ("rr_variation", ".3f") if rhythm else ("qrs_ms", ".0f")
        for corpus, name in CORPORA.items():
            row = result[corpus][edit]
            before, after, again = (
                _interval(row[key][when], form) for when in ("before", "after", "drawn_again")
            )
            lines.append(
                f"| {'to' if rhythm else 'add'} {edit} | {name}: {result[corpus]['persons']} "
                f"| {'variation of R-R' if rhythm else 'QRS, ms'} | {before} | {after} | {again} "
                f"| {_interval(row['took'], '.1%')} | {_interval(row['recognised'], '.1%')} |"
            )
    return _table(lines, result)


def rhythm() -> str:
    """The finer figures of the rhythm edit."""
    result = _read("edits")
    rows = {
        "above 0.12 after the edit": "took",
        "above 0.12 when drawn again, unedited": "control_took",
        "rose by 0.06 or more with the edit": "variation_rose",
        "rose by 0.06 or more when drawn again, unedited": "control_variation_rose",
        "below 0.06 before the edit": "regular_before",
        "below 0.06 before and above 0.12 after": "regular_before_and_irregular_after",
    }
    lines = ["| share of persons whose R-R variation is | simulated | PTB-XL |", "|---|---|---|"]
    for words, key in rows.items():
        shares = [_interval(result[corpus][EDITS[0]][key], ".1%") for corpus in CORPORA]
        lines.append(f"| {words} | {' | '.join(shares)} |")
    return _table(lines, result)


def recordings() -> str:
    """What the edits did to real recordings."""
    result = _read("edits")
    lines = ["| edit of a recording | measure | before | edited | it took in | recognised |"]
    lines.append("|---|---|---|---|---|---|")
    for edit in EDITS:
        row = result["ptbxl_recordings"][edit]
        key, form = ("rr_variation", ".3f") if edit == EDITS[0] else ("qrs_ms", ".0f")
        lines.append(
            f"| {edit} | {'variation of R-R' if edit == EDITS[0] else 'QRS, ms'} "
            f"| {_interval(row[key]['before'], form)} | {_interval(row[key]['after'], form)} "
            f"| {_interval(row['took'], '.1%')} | {_interval(row['recognised'], '.1%')} |"
        )
    return _table(lines, result)


def starts() -> str:
    """From which noise level an edit takes."""
    result = _read("edit-start")
    names = [f"{edit}, {name}" for edit in EDITS for name in CORPORA.values()]
    lines = [f"| starts at | {' | '.join(names)} |", "|--:|" + "--:|" * len(names)]
    levels = [row["start_time"] for row in result["simulated"][EDITS[0]]]
    for place, level in enumerate(levels):
        shares = [
            f"{result[corpus][edit][place]['took']['value']:.0%}"
            for edit in EDITS
            for corpus in CORPORA
        ]
        lines.append(f"| {level:g} | {' | '.join(shares)} |")
    return _table(lines, result)


def inversion() -> str:
    """What inverting and regenerating adds to the error of the VAE."""
    result = _read("inversion")
    lines = [
        "| PTB-XL recordings | error of the VAE alone, mV | added by inversion | at worst |",
        "|--:|---|---|--:|",
        f"| {result['recordings']} | {_interval(result['vae_error_mv'], '.3f')} "
        f"| {_interval(result['added_share'], '.3%')} | {result['worst_added_share']:.2%} |",
    ]
    return _table(lines, result)


TABLES: dict[str, Callable[[], str]] = {
    "references": references,
    "edits": edits,
    "edit-rhythm": rhythm,
    "edit-recordings": recordings,
    "edit-starts": starts,
    "inversion": inversion,
    **ingest_tables.TABLES,
    **simulation_tables.TABLES,
    **measurement_tables.TABLES,
    **training_tables.TABLES,
    **planning_tables.TABLES,
    **executor_tables.TABLES,
}


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def _interval(figure: Figure, form: str) -> str:
    if figure["value"] is None:
        return "not measured"
    value, low, high = (format(figure[name], form) for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _table(lines: list[str], result: Figure) -> str:
    made = f"`{result['command']}`, {result['date']}, checkpoint `{result['checkpoint']}`"
    return "\n".join(["", *lines, "", f"Brackets: 95 % bootstrap intervals. {made}.", ""]) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
