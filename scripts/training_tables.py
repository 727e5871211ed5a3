"""The tables on extractors and on pathways, from benchmarks/results/."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
CORPORA = {"simulated": "simulated", "ptbxl": "PTB-XL"}
VECTORS = {
    "with_condition": "told the condition",
    "told_state": "the same, told statements and rate only",
    "not_told": "the same, told nothing",
    "trained_on_state": "trained on statements and rate only",
    "without_condition": "trained without the pathway",
    "age_and_sex": "age and sex alone, no ECG",
    "latents": "mean and deviation of the latent",
}
TWINS = {
    "adax": "AdaX",
    "adaptive_norm": "adaptive normalisation alone",
    "cross_attention": "cross-attention alone",
}
Figure = Mapping[str, Any]


def retrieval() -> str:
    """How extractors find a person among strangers, by another recording in another state."""
    result = _read("base-extractor")
    lines = [
        "| persons | base vectors | recall@1 | recall@10 | mean rank | AUROC |",
        "|---|---|---|---|---|---|",
    ]
    for corpus, name in CORPORA.items():
        for kind, words in _kinds(result[corpus]["different_states"]):
            row = result[corpus]["different_states"][kind]
            who = f"{name}: {row['num_persons']} among {row['num_strangers']:,} strangers"
            if "reason" in row:
                lines.append(f"| {who} | {words} | {row['reason']} | | | |")
                continue
            lines.append(
                f"| {who} | {words} | {_interval(row['recall_at_1'], '.1%')} "
                f"| {_interval(row['recall_at_10'], '.1%')} | {_interval(row['mean_rank'], '.1f')} "
                f"| {_interval(row['auroc'], '.3f')} |"
            )
    return _made(lines, result)


def leak() -> str:
    """What a linear probe reads off base vectors of the state."""
    result = _read("base-extractor")
    lines = [
        "| persons | base vectors | statements: mean AUROC (chance 0.5) | heart rate: R² |",
        "|---|---|---|---|",
    ]
    for corpus, name in CORPORA.items():
        for kind, words in _kinds(result[corpus]["leak"]):
            row = result[corpus]["leak"][kind]
            who = f"{name}: {row['num_persons']}, {row['num_statements']} statements"
            lines.append(
                f"| {who} | {words} | {_interval(row['macro_auroc'], '.3f')} "
                f"| {_interval(row['heart_rate_r2'], '.2f')} |"
            )
    return _made(lines, result)


def pathways() -> str:
    """AdaX and its pathways alone, at equal compute."""
    result = _read("pathways")
    lines = [
        "| persons | denoiser | training, of AdaX's operations | validation loss "
        "| error of the heart rate, bpm | own person: AUROC | own less others |",
        "|---|---|--:|---|---|---|---|",
    ]
    for corpus, name in CORPORA.items():
        found = result[corpus]
        for kind, words in TWINS.items():
            row, cost = found[kind], result["training"][corpus][kind]
            lines.append(
                f"| {name}: {found['persons']} | {words} | {cost['share_of_adax']:.1%} "
                f"| {_interval(row['validation_loss'], '.3f')} "
                f"| {_interval(row['heart_rate']['error_bpm'], '.1f')} "
                f"| {_interval(row['own_person']['auroc'], '.3f')} "
                f"| {_interval(row['own_person']['own_less_others'], '.3f')} |"
            )
        own = found["own_recordings"]
        if "reason" not in own:
            lines.append(
                f"| {name}: {own['num_ecgs']} | their own other recordings | | | "
                f"| {_interval(own['auroc'], '.3f')} "
                f"| {_interval(own['own_less_others'], '.3f')} |"
            )
    return _made(lines, result)


def speed() -> str:
    """Our loop against a bare one, ranks against one, memory of a large contrast."""
    result = _read("training")
    overhead, scaling, memory = (result[key] for key in ("overhead", "scaling", "contrast_memory"))
    seconds = sorted(one["ours_s"] for one in overhead["rounds"])
    large, small = memory["batch_sizes"][1], memory["batch_sizes"][0]
    lines = [
        "| what | found | wanted |",
        "|---|--:|--:|",
        f"| a step of ours over one of bare DDP, two ranks, {seconds[len(seconds) // 2]:.2f} s | "
        f"{overhead['ratio'] - 1:.1%} more | at most {overhead['wanted_ratio'] - 1:.0%} |",
        f"| of a step, waiting for data | {overhead['data_wait_share']:.1%} "
        f"| below {overhead['wanted_data_wait_share']:.0%} |",
        f"| two ranks over one, samples a second | {scaling['ratio']:.2f} times "
        f"| at least {scaling['wanted_ratio']:.1f} |",
        f"| the same of two processes that exchange nothing | "
        f"{scaling['limit_of_the_machine']:.2f} times | |",
        f"| memory of {large:,} pairs above {small} | {memory['extra_mib']:.0f} MiB "
        f"| at most {memory['wanted_extra_mib']} MiB |",
    ]
    made = f"`{result['command']}`, {result['date']}, {result['machine']['processor']}."
    return "\n".join(["", *lines, "", made, "", ""])


TABLES: dict[str, Callable[[], str]] = {
    "extractor-retrieval": retrieval,
    "extractor-leak": leak,
    "pathways": pathways,
    "training-speed": speed,
}


def _kinds(found: Figure) -> list[tuple[str, str]]:
    return [(kind, words) for kind, words in VECTORS.items() if kind in found]


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def _interval(figure: Figure, form: str) -> str:
    if "reason" in figure:
        return str(figure["reason"])
    if figure["value"] is None:
        return "not measured"
    if figure["low"] is None:
        return format(figure["value"], form)
    value, low, high = (format(figure[name], form) for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _made(lines: list[str], result: Figure) -> str:
    checkpoints = ", ".join(f"{name} `{digest}`" for name, digest in result["checkpoints"].items())
    made = f"`{result['command']}`, {result['date']}; {checkpoints}"
    return "\n".join(["", *lines, "", f"Brackets: 95 % bootstrap intervals. {made}.", ""]) + "\n"
