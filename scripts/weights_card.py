"""Write the card of the shipped weights from what their training and their demos left behind.

python scripts/weights_card.py TRAINING_FOLDER CHECKPOINT_FOLDER [NAME=RESULTS_JSON ...]

Every number in the card comes from those files.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from ecgtwin.plots.catalogue import GROUPS, lookup, written
from ecgtwin.plots.figures import loss_curve

RESULTS = Path("benchmarks/results/tiny-weights")


def main(words: list[str]) -> int:
    """Write README.md beside the weights, and log, curves and figures for the record."""
    training, checkpoint = Path(words[0]), Path(words[1])
    runs = {name: json.loads(Path(path).read_text()) for name, path in map(_pair, words[2:])}
    summary = json.loads((training / "summary.json").read_text())
    lines = [json.loads(line) for line in (training / "log.jsonl").read_text().splitlines()]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "log.jsonl").write_text((training / "log.jsonl").read_text())
    (RESULTS / "summary.json").write_text((training / "summary.json").read_text())
    for stage in summary["stages"]:
        points = [
            (line["step"], line["loss"])
            for line in lines
            if line["stage"] == stage and line.get("loss") is not None
        ]
        (RESULTS / f"{stage}.svg").write_text(loss_curve(points, name=stage))
    (checkpoint / "README.md").write_text(_card(checkpoint, summary, lines, runs))
    return 0


def _pair(word: str) -> tuple[str, str]:
    name, _, path = word.partition("=")
    return name, path


def _card(
    checkpoint: Path,
    summary: dict[str, object],
    lines: list[dict[str, object]],
    runs: dict[str, dict[str, object]],
) -> str:
    mib = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors")) / 2**20
    return "\n".join(
        [
            "# The `tiny` weights",
            "",
            f"Digest `{summary['digest']}`, {mib:.2f} MiB of fp16 safetensors. "
            f"Made by the steps of `scripts/weights.sh`, {datetime.now(UTC):%Y-%m-%d}.",
            "",
            "## Data",
            "",
            f"{summary['training_records']:,} ECGs of {summary['training_patients']:,} persons: "
            "simulated persons (`ecgtwin ingest simulated --persons 3000 --visits 4 --seed 2025`, "
            "training split) and, of the first 500 records of PTB-XL, folds 1 to 8 "
            "(Wagner et al. 2020, CC BY 4.0). Folds 9 and 10 trained nothing.",
            "",
            "## Training",
            "",
            "Recipe `ecgtwin/recipes/tiny.yaml`, DeepSpeed, two processes on two CPU cores that "
            "other jobs shared. Log and curves: `benchmarks/results/tiny-weights/`.",
            "",
            *_training_table(summary, lines),
            "",
            "## Figures",
            "",
            "Of cohorts of 512 twins of persons that no training saw, gates off, requested rates "
            "even over 45 to 150 bpm and independent of the reference.",
            "",
            *_figures_table(runs),
            "",
            "## Limits",
            "",
            "Few steps, small networks, 102.4 samples a second, mostly simulated persons: for "
            "tests, demos and as a start for training. Few real persons with two recordings (25) "
            "were seen, so nothing is claimed of how well a real person is kept. Not for care.",
            "",
        ]
    )


def _training_table(summary: dict[str, object], lines: list[dict[str, object]]) -> list[str]:
    rows = ["| network | parameters | steps | last loss | validation |", "|---|--:|--:|--:|---|"]
    stages, parameters = summary["stages"], summary["parameters"]
    assert isinstance(stages, dict)
    assert isinstance(parameters, dict)
    for name, stage in stages.items():
        last = [line["loss"] for line in lines if line["stage"] == name and line.get("loss")][-1]
        held_out = ", ".join(f"{key} {value:.3g}" for key, value in stage["validation"].items())
        rows.append(
            f"| {name} | {parameters[name]:,} | {stage['steps']:,} | {last:.4f} | {held_out} |"
        )
    return rows


def _figures_table(runs: dict[str, dict[str, object]]) -> list[str]:
    rows = ["| figure | " + " | ".join(runs) + " |", "|---|" + "--:|" * len(runs)]
    for group in GROUPS:
        for figure in group.figures:
            values = [lookup(results, figure.path) for results in runs.values()]
            cells = [
                "not computed"
                if value is None
                else written(value, unit=figure.unit, decimals=figure.decimals)
                for value in values
            ]
            rows.append(f"| {group.title}: {figure.name} | " + " | ".join(cells) + " |")
    return rows


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
