"""Our training loop against a bare one, two ranks against one, and the memory of a large contrast.

python -m benchmarks.training [--rounds 3] [--quick]

Overhead: two ranks train the denoiser of ``tiny`` in turns by a bare loop (torch's own
DistributedDataParallel, AdamW, clipping; a ready batch) and by ours (DeepSpeed ZeRO 1; batches,
moving average, log line each step). Scaling: ranks of one thread, each pinned to a core of its
own, at the same batch per rank; beside it what two that know nothing of each other make at the
same time, which is as much as the machine allows. Memory: peak resident size of a process that
trains the extractor of ``tiny`` on 16,384 pairs, above one whose whole batch is a micro-batch of
512; in both glibc gives blocks above 1 MiB back at once, so that what it hoards is not counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.facts import write_result

ROOT = Path(__file__).parents[1]
LARGEST_OVERHEAD, LARGEST_WAIT = 0.10, 0.05
LEAST_SCALING, LEAST_STEP_S = 1.7, 0.5
APART = 0  # among paces by the number of ranks
LARGEST_EXTRA_MIB, LARGE_BATCH, MICRO_BATCH = 200, 16_384, 512


def main() -> None:
    """Run all three; print and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the least of everything, not written")
    arguments = parser.parse_args()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = {
            "overhead": overhead(folder, arguments.rounds, quick=arguments.quick),
            "scaling": scaling(folder, arguments.rounds, quick=arguments.quick),
            "contrast_memory": contrast_memory(folder, quick=arguments.quick),
            "load_before": load_before,
        }
    print(json.dumps(result, indent=1))
    if not arguments.quick:
        print(f"wrote {write_result('training', result)}")


def overhead(folder: Path, rounds: int, *, quick: bool) -> dict[str, object]:
    """Return how much longer a step of ours takes than one of the bare loop."""
    batch, steps = (4, 3) if quick else (128, 7)
    out = folder / "overhead"
    _ranks(2, "overhead", out, batch, steps, rounds)
    found = json.loads((out / "overhead.json").read_text())
    ratios = [one["ours_s"] / one["bare_s"] for one in found]
    wait = statistics.median(one["data_wait_share"] for one in found)
    bare_s = statistics.median(one["bare_s"] for one in found)
    return {
        "batch_size": batch,
        "rounds": found,
        "ratio": statistics.median(ratios),
        "wanted_ratio": 1 + LARGEST_OVERHEAD,
        "data_wait_share": wait,
        "wanted_data_wait_share": LARGEST_WAIT,
        "met": statistics.median(ratios) <= 1 + LARGEST_OVERHEAD
        and wait < LARGEST_WAIT
        and bare_s >= LEAST_STEP_S,
    }


def scaling(folder: Path, rounds: int, *, quick: bool) -> dict[str, object]:
    """Return how many times one rank's samples per second two ranks make, in turns."""
    share, steps = (4, 3) if quick else (64, 7)
    pairs = []
    for number in range(rounds):
        paces = {}
        for ranks in (1, 2):
            out = folder / f"pace-{number}-{ranks}"
            _ranks(ranks, "pace", out, share * ranks, steps, 1)
            (paces[ranks],) = json.loads((out / "pace.json").read_text())
        paces[APART] = _apart(folder / f"apart-{number}", share, steps)
        pairs.append(paces)
    ratios = [pair[2] / pair[1] for pair in pairs]
    limits = [pair[APART] / pair[1] for pair in pairs]
    return {
        "batch_size_per_rank": share,
        "samples_per_s": [
            {"one_rank": pair[1], "two_ranks": pair[2], "two_apart": pair[APART]} for pair in pairs
        ],
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "limit_of_the_machine": statistics.median(limits),
        "share_of_the_limit": statistics.median(
            [ratio / limit for ratio, limit in zip(ratios, limits, strict=True)]
        ),
        "wanted_ratio": LEAST_SCALING,
        "met": statistics.median(ratios) >= LEAST_SCALING,
    }


def contrast_memory(folder: Path, *, quick: bool) -> dict[str, object]:
    """Return the peak of a large batch above that of one micro-batch."""
    large, micro = (1024, 64) if quick else (LARGE_BATCH, MICRO_BATCH)
    peaks = {}
    for batch in (micro, large):
        out = folder / f"memory-{batch}"
        _run(
            [sys.executable, "-m", "benchmarks.training_ranks", "memory", str(out)],
            *(batch, 1, micro),
            MALLOC_MMAP_THRESHOLD_=str(2**20),
        )
        peaks[batch] = json.loads((out / "memory.json").read_text())
    extra = peaks[large]["peak_mib"] - peaks[micro]["peak_mib"]
    return {
        "batch_sizes": [micro, large],
        "peak_mib": [peaks[micro]["peak_mib"], peaks[large]["peak_mib"]],
        "loss_at_start": [peaks[micro]["loss"], peaks[large]["loss"]],
        "extra_mib": extra,
        "wanted_extra_mib": LARGEST_EXTRA_MIB,
        "met": extra <= LARGEST_EXTRA_MIB,
    }


def _apart(out: Path, share: int, steps: int) -> float:
    """Return the samples per second of two trainings of one rank each, at the same time."""
    folders = [out.with_name(f"{out.name}-{core}") for core in (0, 1)]
    running = [
        subprocess.Popen(
            [*_launcher(1, "pace", folder), *map(str, (share, steps, 1))],
            env=_environment(ECGTWIN_BENCHMARK_CORE=str(core)),
            cwd=ROOT,
        )
        for core, folder in enumerate(folders)
    ]
    codes = [one.wait() for one in running]
    if any(codes):
        raise RuntimeError(f"a rank ended with {codes}")
    return sum(json.loads((folder / "pace.json").read_text())[0] for folder in folders)


def _launcher(count: int, kind: str, out: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--local-addr", "127.0.0.1", "--nproc-per-node", str(count)),
        *("-m", "benchmarks.training_ranks", kind, str(out)),
    ]


def _ranks(count: int, kind: str, out: Path, *numbers: int) -> None:
    _run(_launcher(count, kind, out), *numbers)


def _environment(**more: str) -> dict[str, str]:
    fixed = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    return os.environ | fixed | more


def _run(words: list[str], *numbers: int, **more: str) -> None:
    subprocess.run([*words, *map(str, numbers)], env=_environment(**more), cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
