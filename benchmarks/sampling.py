"""Fifty sampling steps of one network: our way against the published way, in one process.

python -m benchmarks.sampling

Ours embeds the condition once and never makes an attention map. The published way makes every map
(those of the self-attention are averaged over heads and thrown away) and embeds tokens, keys,
values and base projection anew in each step; see ``benchmarks.reference_way``. The networks are
those of the preset ``paper``, untrained, with nothing left at zero. The two ways take turns, and
both outputs must agree.
"""

import argparse
from collections.abc import Mapping
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.facts import write_result
from benchmarks.networks import Inputs, stirred_twin
from benchmarks.reference_way import OURS, REFERENCE, SINGLE_WAYS, Way, calls_in_steps, drawn
from benchmarks.timing import Timing, seconds_of
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.twin.twin import EcgTwin

PRESET = "paper"
MOST_DIFFERENCE = 1e-4  # over the largest value
WARM_STEPS = 2
COUNTED_BATCH = 2


def main() -> None:
    """Compare, print a table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--part-steps", type=int, default=10, help="of each way by itself")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    twin = stirred_twin(PRESET).to(arguments.device)
    result: dict[str, Any] = {
        "preset": PRESET,
        "device": arguments.device,
        "batch": arguments.batch,
        **compared(twin, arguments.batch, arguments.steps, num_pairs=arguments.pairs),
        "single_ways": single_ways(
            twin, arguments.batch, arguments.part_steps, num_pairs=arguments.pairs
        ),
        "calls_in_steps": calls(twin, arguments.steps),
    }
    print(table(result))
    on = "" if arguments.device == "cpu" else f"-{arguments.device}"
    print(write_result(f"sampling-{arguments.steps}-steps{on}", result))


def spec_of(num_steps: int) -> SamplingSpec:
    """Return DDIM in ``num_steps``; nothing is clipped, for a clip would hide differences."""
    return SamplingSpec(sampler="ddim", num_steps=num_steps)


def compared(twin: EcgTwin, batch: int, num_steps: int, *, num_pairs: int) -> dict[str, Any]:
    """Return seconds of both ways, their ratio in each pair, and how far the outputs differ.

    AssertionError where they differ.
    """
    inputs, sampling = Inputs.of(twin, batch), spec_of(num_steps)
    difference = largest_difference(
        drawn(twin, inputs, sampling, OURS), drawn(twin, inputs, sampling, REFERENCE)
    )
    assert difference <= MOST_DIFFERENCE, f"the two ways differ by {difference:.1e}"
    ours, reference = in_turns(twin, inputs, sampling, REFERENCE, num_pairs=num_pairs)
    return {
        "steps": num_steps,
        "seconds": {
            "ours": Timing.of(ours).as_json(),
            "reference": Timing.of(reference).as_json(),
        },
        "reference_over_ours": ratio_of(ours, reference),
        "largest_difference": difference,
    }


def in_turns(
    twin: EcgTwin, inputs: Inputs, sampling: SamplingSpec, other: Way, *, num_pairs: int
) -> tuple[list[float], list[float]]:
    """Return seconds of our way and of ``other``, run in turns; the first of a pair changes."""
    seconds: dict[Way, list[float]] = {OURS: [], other: []}
    for way in seconds:
        drawn(twin, inputs, spec_of(WARM_STEPS), way)
    for pair in range(num_pairs):
        for way in (OURS, other) if pair % 2 == 0 else (other, OURS):
            spent = seconds_of(partial(drawn, twin, inputs, sampling, way), twin.device)
            seconds[way].append(spent)
    return seconds[OURS], seconds[other]


def single_ways(
    twin: EcgTwin, batch: int, num_steps: int, *, num_pairs: int
) -> dict[str, dict[str, float]]:
    """Return what each published way by itself takes over ours."""
    inputs, sampling = Inputs.of(twin, batch), spec_of(num_steps)
    return {
        name: ratio_of(*in_turns(twin, inputs, sampling, way, num_pairs=num_pairs))
        for name, way in SINGLE_WAYS.items()
    }


def ratio_of(ours: list[float], other: list[float]) -> dict[str, float]:
    """Return median, least and most of the pairs' ratios ``other / ours``."""
    ratios = [theirs / mine for mine, theirs in zip(ours, other, strict=True)]
    return {"median": median(ratios), "least": min(ratios), "most": max(ratios)}


def calls(twin: EcgTwin, num_steps: int) -> dict[str, dict[str, list[int]]]:
    """Return how often each module of a kind runs during the steps, in both ways."""
    inputs, sampling = Inputs.of(twin, COUNTED_BATCH), spec_of(num_steps)
    return {
        "ours": calls_in_steps(twin, inputs, sampling, OURS),
        "reference": calls_in_steps(twin, inputs, sampling, REFERENCE),
    }


def largest_difference(expected: Tensor, found: Tensor) -> float:
    """Return the largest difference over the largest value."""
    return float((expected - found).abs().max() / expected.abs().max())


def table(result: Mapping[str, Any]) -> str:
    """Return ``result`` in words."""
    lines = [
        f"{result['steps']} DDIM steps of '{result['preset']}', batch {result['batch']}, "
        f"{result['device']}, {torch.get_num_threads()} threads",
        f"{'':<12}{'median s':>10}{'quickest':>10}{'slowest':>10}{'runs':>6}{'ECG/s':>8}",
    ]
    for way, took in result["seconds"].items():
        rate = result["batch"] / took["median_s"]
        lines.append(
            f"{way:<12}{took['median_s']:>10.2f}{took['quickest_s']:>10.2f}"
            f"{took['slowest_s']:>10.2f}{took['num_runs']:>6}{rate:>8.2f}"
        )
    lines.append(f"reference / ours: {_ratio(result['reference_over_ours'])}")
    lines += [
        f"  with {name} alone: {_ratio(ratio)}" for name, ratio in result["single_ways"].items()
    ]
    lines.append(f"largest difference over largest value: {result['largest_difference']:.1e}")
    lines.append("calls of each module during the steps, ours and reference:")
    ours, reference = result["calls_in_steps"].values()
    lines += [
        f"  {kind:<24}{_numbers(ours[kind]):>6}{_numbers(reference[kind]):>6}"
        f"  ({len(ours[kind])} of them)"
        for kind in ours
    ]
    return "\n".join(lines)


def _ratio(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})"


def _numbers(counts: list[int]) -> str:
    return "/".join(str(count) for count in sorted(set(counts)))


if __name__ == "__main__":
    main()
