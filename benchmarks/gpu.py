"""What the networks do on this machine's GPU, in one command of less than ten minutes.

python benchmarks/gpu.py

It asks whether the device agrees with the CPU, and how quick a pass, a training step and a draw of
the presets ``paper`` and ``base`` are, by batch size and precision, beside the peak of the device.
torch, numpy, scipy, pydantic and pyyaml are enough. Without a GPU it runs small sizes on the CPU.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.device.cases import Cases, Row
from benchmarks.device.precision import PRECISIONS, matmul_tflops
from benchmarks.device.table import table
from benchmarks.device.workbench import Workbench
from benchmarks.facts import RESULTS, facts

# With AMX, oneDNN 3 (torch 2.13) computes strided convolutions in bf16 wrongly on some Intel CPUs;
# it reads this at its first use.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")

STARTED = time.monotonic()
PRESETS = ("paper", "base")
# The share of the time that may be spent by the end of each section.
SHARES = {
    "agreement": 0.4,
    "peaks": 0.45,
    "forward": 0.55,
    "training": 0.65,
    "draws": 0.8,
    "against_reference": 0.85,
    "compiled": 1.0,
}
RESERVE_S = 20.0  # to import, to print and to write


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is run. ``paper`` is compared with the published way of sampling."""

    precisions: tuple[str, ...]
    batches: tuple[int, ...]
    networks_batch: int  # of VAE and base extractor
    draw_steps: Mapping[str, int]
    agreement_steps: int
    matmul_size: int
    reference_batches: tuple[int, ...]
    compiled_batch: int | None
    minutes: float
    is_quick: bool = False


ON_GPU = Sizes(
    precisions=PRECISIONS,
    batches=(8, 64, 512, 2048),
    networks_batch=512,
    draw_steps={"paper": 50, "base": 16},
    agreement_steps=5,
    matmul_size=8192,
    reference_batches=(32, 512),
    compiled_batch=512,
    minutes=9,
)
ON_CPU = Sizes(
    precisions=("bf16", "fp32"),
    batches=(1, 4),
    networks_batch=4,
    draw_steps={"paper": 4, "base": 4},
    agreement_steps=5,
    matmul_size=2048,
    reference_batches=(4,),
    compiled_batch=None,
    minutes=2,
)
QUICK = Sizes(
    precisions=("bf16", "fp32"),
    batches=(1,),
    networks_batch=1,
    draw_steps={"paper": 1, "base": 1},
    agreement_steps=1,
    matmul_size=128,
    reference_batches=(1,),
    compiled_batch=None,
    minutes=2,
    is_quick=True,
)


def main() -> int:
    """Run every case there is time for, write, print; return 1 if something is wrong."""
    arguments = _arguments()
    device = torch.device(arguments.device)
    sizes = QUICK if arguments.quick else ON_GPU if device.type == "cuda" else ON_CPU
    minutes = arguments.minutes or sizes.minutes
    cases = Cases(_shares(sizes), started=STARTED, budget_s=60 * minutes - RESERVE_S)
    known: dict[str, Any] = {**facts(), "device": _device(device), "minutes": minutes, "gflop": {}}

    def result() -> dict[str, Any]:
        _add_shares_of_peak(cases)
        return {**known, "seconds": time.monotonic() - STARTED, **cases.as_json()}

    for section in _sections(cases, device, sizes, known):
        print(f"{time.monotonic() - STARTED:6.0f} s  {section}", file=sys.stderr, flush=True)
        _write(arguments.out, result())
    if arguments.out:
        print(f"written to {arguments.out}\n")
    print(table(result()))
    agrees = all(row["agrees"] for row in cases.rows["agreement"])
    return 0 if agrees and cases.rows["agreement"] and not cases.failed else 1


def _shares(sizes: Sizes) -> dict[str, float]:
    """Return the shares of the time; the others have that of a compilation that is not tried."""
    whole = SHARES["against_reference"] if sizes.compiled_batch is None else 1.0
    return {section: min(share / whole, 1.0) for section, share in SHARES.items()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, help="the longest it may take (GPU: 9, CPU: 2)")
    parser.add_argument("--out", type=Path, help="results/gpu.json, or gpu-on-cpu.json")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--quick", action="store_true", help="the least of everything; see if it runs"
    )
    arguments = parser.parse_args()
    if arguments.out is None and not arguments.quick:
        arguments.out = RESULTS / ("gpu-on-cpu.json" if arguments.device == "cpu" else "gpu.json")
    return arguments


def _device(device: torch.device) -> Row:
    if device.type != "cuda":
        return {"kind": "cpu", "name": "the CPU", "memory_gib": None, "cuda": None, "cudnn": None}
    found = torch.cuda.get_device_properties(device)
    return {
        "kind": device.type,
        "name": found.name,
        "memory_gib": found.total_memory / 2**30,
        "capability": f"{found.major}.{found.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
    }


def _sections(
    cases: Cases, device: torch.device, sizes: Sizes, known: dict[str, Any]
) -> Iterator[str]:
    """Run the sections one after another; yield what is done."""
    benches = [
        Workbench(name, device, draw_steps=sizes.draw_steps[name], is_quick=sizes.is_quick)
        for name in PRESETS
    ]
    known["gflop"] = {bench.preset: bench.gflop for bench in benches}
    yield "networks made, operations counted"
    for bench in benches:
        _agreement(cases, bench, sizes)
    yield "agreement with the CPU"
    for name in sizes.precisions:
        case: Row = {"precision": name}
        cases.run("peaks", case, partial(matmul_tflops, name, sizes.matmul_size, device))
    yield "peaks"
    for bench in benches:
        _forward(cases, bench, sizes)
    yield "passes"
    for bench in benches:
        _by_batch(cases, bench, sizes, "training")
    yield "training steps"
    for bench in benches:
        _by_batch(cases, bench, sizes, "draws")
    yield "draws"
    _against_reference(cases, benches[0], sizes)
    yield "the published way of sampling"
    for bench in benches:
        _compiled(cases, bench, sizes.compiled_batch)
    yield "torch.compile"


def _agreement(cases: Cases, bench: Workbench, sizes: Sizes) -> None:
    for name in reversed(sizes.precisions):  # fp32 first
        case: Row = {"preset": bench.preset, "precision": name}
        cases.run("agreement", case, partial(bench.agreement, name, sizes.agreement_steps))


def _forward(cases: Cases, bench: Workbench, sizes: Sizes) -> None:
    batch = sizes.networks_batch
    for what in ("encoder", "decoder", "extractor"):
        for name in sizes.precisions:
            cases.run(
                "forward",
                _case(bench, what, name, batch),
                partial(bench.network, what, name, batch),
            )
    _by_batch(cases, bench, sizes, "forward")


def _by_batch(cases: Cases, bench: Workbench, sizes: Sizes, section: str) -> None:
    """Run a section for each precision by rising batch; the last one tells what to expect."""
    what = {"forward": "denoiser", "training": "training step", "draws": "draw"}[section]
    measures: dict[str, Callable[[str, int], Row]] = {
        "forward": partial(bench.network, "denoiser"),
        "training": bench.training_step,
        "draws": bench.draw,
    }
    for name in sizes.precisions:
        took_s, before = 0.0, 1
        for batch in sizes.batches:
            took = cases.run(
                section,
                _case(bench, what, name, batch),
                partial(measures[section], name, batch),
                expected_s=took_s * batch / before,
            )
            took_s, before = (took_s, before) if took is None else (took, batch)


def _against_reference(cases: Cases, bench: Workbench, sizes: Sizes) -> None:
    for batch in sizes.reference_batches:
        cases.run(
            "against_reference",
            _case(bench, "draw", "fp32", batch),
            partial(
                bench.against_reference,
                batch,
                bench.draw_steps,
                num_pairs=1 if sizes.is_quick else 3,
            ),
        )


def _compiled(cases: Cases, bench: Workbench, batch: int | None) -> None:
    measures: dict[str, Callable[..., Row]] = {
        "draw": bench.draw,
        "training step": bench.training_step,
    }
    for what, measure in measures.items():
        case = _case(bench, what, "bf16", batch)
        if batch is None:
            cases.leave_out("compiled", case, "torch.compile is tried on a GPU only")
        else:
            cases.run("compiled", case, partial(measure, "bf16", batch, compiles=True))


def _case(bench: Workbench, what: str, name: str, batch: int | None) -> Row:
    return {"preset": bench.preset, "what": what, "precision": name, "batch": batch}


def _add_shares_of_peak(cases: Cases) -> None:
    peaks = {row["precision"]: row["tflops"] for row in cases.rows["peaks"]}
    for section in ("forward", "training", "draws", "compiled"):
        for row in cases.rows[section]:
            peak = peaks.get(row["precision"])
            row["share_of_peak"] = None if peak is None else row["tflops"] / peak


def _write(out: Path | None, result: Mapping[str, object]) -> None:
    """Write what there is so far: a run that is killed leaves its finished sections."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
