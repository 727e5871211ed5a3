"""What training reads: pairs at the size of MIMIC-IV-ECG, ways to pack samples, stored latents.

python -m benchmarks.training_data DATA [--records 500]

DATA holds ``ptbxl`` (500 Hz). Pairs are drawn of a made-up population: 800,035 recordings of
160,000 persons, few of them with very many. Peers, each in the same run: pairs drawn one by one in
Python; deflate and LZMA of the same samples; latents encoded again.
"""

import argparse
import bz2
import lzma
import random
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.facts import write_result
from benchmarks.resampling import read_records
from ecgtwin.signals.leads import INDEPENDENT_LEADS, LEADS
from ecgtwin.signals.preprocess import resample
from ecgtwin.spec.pairs import PairSpec
from ecgtwin.store.derived import DerivedKey, put_derived, read_derived
from ecgtwin.store.layout import STEP_MV
from ecgtwin.store.pack import byte_planes
from ecgtwin.store.reader import to_mv
from ecgtwin.store.writer import quantise
from ecgtwin.training.pairs import PairSampler
from ecgtwin.twin.encoding import latents_of
from ecgtwin.twin.twin import EcgTwin

NUM_ROWS, NUM_PERSONS, BATCH = 800_035, 160_000, 1024
NUM_BATCHES = 50
LATENT_ROWS, ROWS_PER_SHARD = 4096, 256
MIB = 2**20


def main() -> None:
    """Measure all three; write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--records", type=int, default=500)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    records = read_records(arguments.data / "ptbxl/records500", 500, arguments.records)
    steps = [quantise(resample(one, from_hz=500, to_hz=102.4)[None])[0] for one in records]
    stored = np.concatenate(steps)
    result = {
        "pairs": measure_pairs(),
        "packing": measure_packing(stored),
        "latents": measure_latents(stored),
    }
    write_result("training-data", result)


def measure_pairs() -> dict[str, Any]:
    """Return seconds to build a sampler, and to draw a batch, by policy; and of a plain loop."""
    drawn = np.random.default_rng(0)
    weights = drawn.pareto(1.5, NUM_PERSONS) + 0.2
    more = drawn.choice(NUM_PERSONS, size=NUM_ROWS - NUM_PERSONS, p=weights / weights.sum())
    person = drawn.permutation(np.concatenate([np.arange(NUM_PERSONS), more]))
    names = [f"mimic-iv-ecg:{10_000_000 + number}" for number in person]
    recordings = [f"mimic-iv-ecg:{number}" for number in range(NUM_ROWS)]
    states = [frozenset([(f"code {code}", "definite")]) for code in drawn.integers(0, 50, NUM_ROWS)]
    policies = {
        "usual": PairSpec(),
        "avoid": PairSpec(patient_weight_exponent=0.5, same_condition="avoid"),
        "require": PairSpec(same_condition="require"),
    }
    found: dict[str, Any] = {
        "rows": NUM_ROWS,
        "persons": len(set(names)),
        "most_of_a_person": int(np.bincount(person).max()),
        "batch": BATCH,
    }
    for name, spec in policies.items():
        began = time.perf_counter()
        sampler = PairSampler(
            names, seed=0, spec=spec, recording_of_row=recordings, class_of_row=states
        )
        built_s = time.perf_counter() - began
        found[name] = {"build_s": built_s, "batch_s": _median_s(sampler.pairs_at)}
    found["loop"] = {"batch_s": _median_s(_plain_loop(names))}
    found["loop_to_usual"] = found["loop"]["batch_s"] / found["usual"]["batch_s"]
    return found


def _plain_loop(names: Sequence[str]) -> Callable[[int, int], object]:
    """Return what draws a batch person by person, as one writes it first."""
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows_of.setdefault(name, []).append(row)
    several = [rows for rows in rows_of.values() if len(rows) > 1]

    def batch(step: int, num: int) -> list[list[int]]:
        chance = random.Random(step)
        return [chance.sample(chance.choice(several), 2) for _ in range(num)]

    return batch


def _median_s(batch: Callable[[int, int], object]) -> float:
    seconds = []
    for step in range(NUM_BATCHES):
        began = time.perf_counter()
        batch(step, BATCH)
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def measure_packing(stored: NDArray[np.int16]) -> dict[str, Any]:
    """Return bytes and milliseconds a record of ways to compress eight leads."""
    eight = np.ascontiguousarray(stored[:, [LEADS.index(lead) for lead in INDEPENDENT_LEADS]])
    planes = b"".join(plane.tobytes() for plane in byte_planes(eight))
    moves = np.diff(eight, axis=2, prepend=np.int16(0)).tobytes()
    squeezers: dict[str, Callable[[bytes], bytes]] = {
        "deflate": lambda data: zlib.compress(data, 6),
        "bzip2": lambda data: bz2.compress(data, 9),
        "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    }
    forms = {"samples": eight.tobytes(), "differences": moves, "planes": planes}
    found: dict[str, Any] = {"records": len(eight)}
    for form, data in forms.items():
        for name, squeeze in squeezers.items():
            began = time.perf_counter()
            size = len(squeeze(data))
            spent_ms = 1000 * (time.perf_counter() - began)
            found[f"{form}, {name}"] = {
                "bytes": size / len(eight),
                "ms": spent_ms / len(eight),
                "records_in_40_mib": int(40 * MIB / (size / len(eight))),
            }
    return found


def measure_latents(stored: NDArray[np.int16]) -> dict[str, Any]:
    """Return records a second of encoding latents, and of reading the stored ones."""
    twin = EcgTwin.load("tiny")
    leads = [LEADS.index(lead) for lead in twin.spec.vae.lead_order]
    rows = np.arange(LATENT_ROWS)
    samples = to_mv(stored[rows % len(stored)][:, leads], step_mv=STEP_MV)
    key = DerivedKey("latents", "benchmark", "benchmark")
    made, read = [], []
    with tempfile.TemporaryDirectory() as url:
        latents = latents_of(twin, samples).numpy()
        for index in range(LATENT_ROWS // ROWS_PER_SHARD):
            mine = rows[index * ROWS_PER_SHARD : (index + 1) * ROWS_PER_SHARD]
            put_derived(url, key, index, mine, latents[mine])
        for _ in range(3):
            began = time.perf_counter()
            latents_of(twin, samples)
            made.append(time.perf_counter() - began)
            began = time.perf_counter()
            read_derived(url, key, rows, rows_per_shard=ROWS_PER_SHARD)
            read.append(time.perf_counter() - began)
    ratio = median(one / other for one, other in zip(made, read, strict=True))
    return {
        "rows": LATENT_ROWS,
        "preset": "tiny",
        "encoded_per_s": LATENT_ROWS / median(made),
        "read_per_s": LATENT_ROWS / median(read),
        "ratio": ratio,
    }


if __name__ == "__main__":
    main()
