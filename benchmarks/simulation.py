"""The simulated population: how fast it is made, and how like PTB-XL and LUDB it is.

python -m benchmarks.simulation DATA_FOLDER [--persons 333] [--quick | --speed-only]

DATA_FOLDER holds ``ptbxl`` (records at 500 Hz), ``ludb`` and ``ptbxl_metadata``. Everything is
measured by ``benchmarks.populations`` on real and simulated recordings alike. ``--quick`` takes
few persons and writes no result; ``--speed-only`` measures the speed again, on a quiet machine, and
keeps the rest of the stored result.
"""

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.facts import RESULTS, write_result
from benchmarks.populations import (
    FRAME,
    PER_LEAD,
    RATE_HZ,
    SCALARS,
    Person,
    Population,
    eval_codes,
    ludb,
    ptbxl,
    simulated,
    values,
)
from ecgtwin.evaluation.identity import shape_correlation
from ecgtwin.signals.leads import LEADS
from ecgtwin.sources.simulated import STATES

Result = dict[str, Any]

SEED, VISITS = 2024, 3
BAR_PER_S, BAR_AUROC = 500.0, 0.05
SINUS = STATES[:3]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BY_GROUP = ("heart_rate_bpm", "pr_ms", "qrs_ms", "qtc_ms", "axis_deg", "rr_sd_ms", "r_mv V5",
            "s_mv V2", "t_mv V3", "t_mv II")  # fmt: skip
GROUPS: dict[str, Callable[[Person], bool]] = {
    "women": lambda person: person.female is True,
    "men": lambda person: person.female is False,
    "below 40": lambda person: person.age_years is not None and person.age_years < 40,
    "40 to 64": lambda person: person.age_years is not None and 40 <= person.age_years < 65,
    "65 and above": lambda person: person.age_years is not None and person.age_years >= 65,
}
SCP: dict[str, tuple[str, ...]] = {
    "sinus bradycardia": ("SBRAD",),
    "sinus rhythm": ("SR",),
    "sinus tachycardia": ("STACH",),
    "atrial fibrillation": ("AFIB",),
    "atrial flutter": ("AFLT",),
    "atrial premature complex": ("PAC",),
    "ventricular premature complex": ("PVC",),
    "first degree av block": ("1AVB",),
    "second degree av block": ("2AVB",),
    "third degree av block": ("3AVB",),
    "left bundle branch block": ("CLBBB",),
    "right bundle branch block": ("CRBBB",),
    "left ventricular hypertrophy": ("LVH",),
    "inferior myocardial infarction": ("IMI",),
    "anterior myocardial infarction": ("AMI", "ASMI"),
    "ischemia in lateral leads": ("ISCLA", "ISCAL"),
    "prolonged qt interval": ("LNGQT",),
    "low qrs voltage": ("LVOLT",),
    "paced rhythm": ("PACE",),
}
CHILD = """
import sys, time
from ecgtwin.sources.simulated import SimulatedSource
source = SimulatedSource(1, 4000, 3)
source.read(0, 48)
print("ready", flush=True)
sys.stdin.readline()
started, worked = time.perf_counter(), time.process_time()
for first in range(0, {rows}, 256):
    source.read(first, min(first + 256, {rows}))
print({rows} / (time.perf_counter() - started), {rows} / (time.process_time() - worked))
"""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--persons", type=int, default=333)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--speed-only", action="store_true")
    arguments = parser.parse_args()
    if arguments.speed_only:
        path = RESULTS / "simulation.json"
        stored = json.loads(path.read_text()) | {"speed": speed(rows=1024)}
        path.write_text(json.dumps(stored, indent=1) + "\n")
        print(json.dumps(stored["speed"]))
        return
    persons = 30 if arguments.quick else arguments.persons
    result: Result = {"speed": speed(rows=256 if arguments.quick else 1024)}
    print(json.dumps(result["speed"]), flush=True)
    real = ptbxl(arguments.data / "ptbxl")
    other = ludb(arguments.data / "ludb")
    ours = simulated(seed=SEED, num_persons=persons, visits_per_person=VISITS)
    result["identity"] = identity(real, ours)
    print(json.dumps(result["identity"], indent=1), flush=True)
    result |= comparison(real, other, ours)
    table = arguments.data / "ptbxl_metadata" / "ptbxl_database_v101.csv.gz"
    result["prevalence"] = prevalence(table, ours)
    if not arguments.quick:
        print(write_result("simulation", result))


def speed(*, rows: int, rounds: int = 5) -> Result:
    """Return ECGs of 12 x 5000 a second in one process and in two at once, one thread each.

    ``per_cpu_s`` counts the seconds that a process really had, which other work does not change.
    """
    processes: Result = {}
    load = os.getloadavg()[0]
    for count in (1, 2):
        found = [_rates(count, rows) for _ in range(rounds)]
        processes[str(count)] = {
            "ecgs_per_s": median(sum(wall for wall, _ in one) for one in found),
            "per_cpu_s": median(cpu for one in found for _, cpu in one),
        }
    two = processes["2"]["ecgs_per_s"]
    return {
        "processes": processes,
        "load_before": load,
        "bar": {"at_least": BAR_PER_S, "found": two, "met": bool(two >= BAR_PER_S)},
    }


def _rates(processes: int, rows: int) -> list[tuple[float, float]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD.format(rows=rows)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(processes)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    words = [child.communicate()[0].split() for child in children]
    return [(float(wall), float(cpu)) for wall, cpu in words]


def identity(real: Population, ours: Population) -> Result:
    """Return how well the usual beat tells a person's visits from those of others."""
    normal = [row for row, person in enumerate(real.persons) if "NORM" in person.labels]
    sinus = [row for row, person in enumerate(ours.persons) if len(person.labels) == 1
             and person.labels <= set(SINUS)]  # fmt: skip
    found: Result = {
        "PTB-XL": pairs(real, range(len(real.persons))),
        "simulated": pairs(ours, range(len(ours.persons))),
        "PTB-XL, normal": pairs(real, normal),
        "simulated, plain sinus": pairs(ours, sinus),
    }
    apart = abs(found["PTB-XL"]["auroc"] - found["simulated"]["auroc"])
    found["bar"] = {"at_most": BAR_AUROC, "found": apart, "met": bool(apart <= BAR_AUROC)}
    return found


def pairs(population: Population, rows: Sequence[int]) -> Result:
    """Return the AUROC of same against different persons, each person of one weight."""
    known = [row for row in rows if population.found[row]["shape"] is not None]
    shapes = np.stack([population.found[row]["shape"] for row in known])
    alike = shape_correlation(shapes, shapes)
    _, who = np.unique([population.persons[row].patient_id for row in known], return_inverse=True)
    one, two = np.triu_indices(len(known), 1)
    same = who[one] == who[two]
    own, others = alike[one, two][same], np.sort(alike[one, two][~same])
    below = np.searchsorted(others, own, "left") + np.searchsorted(others, own, "right")
    of, chance = who[one][same], below / (2 * len(others))
    by_person = np.array([chance[of == person].mean() for person in np.unique(of)])
    rng = np.random.default_rng(0)
    resampled = rng.choice(by_person, (2000, len(by_person))).mean(axis=1)
    return {
        "auroc": float(by_person.mean()),
        "low": float(np.quantile(resampled, 0.025)),
        "high": float(np.quantile(resampled, 0.975)),
        "auroc_by_pair": float(chance.mean()),
        "persons": len(by_person),
        "pairs": len(own),
        "alike_same": _spread(own),
        "alike_different": _spread(others),
    }


def comparison(real: Population, other: Population, ours: Population) -> Result:
    """Return quantiles of every quantity, distances between populations, and the spectrum."""
    names = [*SCALARS, *(f"{name} {lead}" for name in PER_LEAD for lead in LEADS)]
    rested = [row for row, person in enumerate(ours.persons) if person.at_rest]
    quantities: Result = {}
    for name in names:
        found = {
            "PTB-XL": values(real, name),
            "LUDB": values(other, name),
            "simulated": values(ours, name, rested),
        }
        quantities[name] = {key: _spread(numbers) for key, numbers in found.items()} | {
            "distance": {
                "simulated, PTB-XL": _apart(found["simulated"], found["PTB-XL"]),
                "LUDB, PTB-XL": _apart(found["LUDB"], found["PTB-XL"]),
            }
        }
    return {
        "records": {
            "PTB-XL": len(real.found),
            "LUDB": len(other.found),
            "simulated": len(ours.found),
            "simulated, at rest": len(rested),
        },
        "quantities": quantities,
        "all_rates": _spread(values(ours, "heart_rate_bpm")),
        "histograms": {name: _histogram(real, other, ours, rested, name) for name in SCALARS},
        "groups": groups(real, ours),
        "spectrum": spectrum((real, other, ours)),
    }


def groups(real: Population, ours: Population) -> Result:
    """Return medians by sex and age of normal real recordings and of plain sinus at rest."""
    found: Result = {}
    for group, belongs in GROUPS.items():
        rows = {
            "PTB-XL": [row for row, person in enumerate(real.persons)
                       if belongs(person) and "NORM" in person.labels],
            "simulated": [row for row, person in enumerate(ours.persons) if belongs(person)
                          and person.at_rest and person.labels <= set(SINUS)],
        }  # fmt: skip
        found[group] = {"records": {name: len(chosen) for name, chosen in rows.items()}} | {
            quantity: {
                "PTB-XL": _middle(values(real, quantity, rows["PTB-XL"])),
                "simulated": _middle(values(ours, quantity, rows["simulated"])),
            }
            for quantity in BY_GROUP
        }
    return found


def spectrum(populations: Sequence[Population]) -> Result:
    """Return quartiles of the noise density between the beats, by lead and frequency."""
    hz = np.fft.rfftfreq(FRAME, 1 / RATE_HZ)
    shown = np.flatnonzero((hz > 10) & (hz < 240))
    found: Result = {"hz": hz[shown].tolist()}
    for population in populations:
        density = np.stack([one["density_uv"] for one in population.found])[..., shown]
        found[population.name] = {
            lead: np.quantile(density[:, LEADS.index(lead)], (0.25, 0.5, 0.75), axis=0).tolist()
            for lead in ("I", "II", "V1", "V3", "V5")
        }
    return found


def prevalence(table: Path, ours: Population) -> Result:
    """Return how often each state is stated in all of PTB-XL and in the simulated population."""
    with gzip.open(table, "rt") as lines:
        rows = [set(eval_codes(row["scp_codes"])) for row in csv.DictReader(lines)]
    return {
        "records": {"PTB-XL": len(rows), "simulated": len(ours.persons)},
        "states": {
            state: {
                "PTB-XL": sum(bool(codes & set(SCP[state])) for codes in rows) / len(rows),
                "simulated": sum(state in person.labels for person in ours.persons)
                / len(ours.persons),
            }
            for state in STATES
        },
    }


def _histogram(
    real: Population, other: Population, ours: Population, rested: Sequence[int], name: str
) -> Result:
    found = {
        "PTB-XL": values(real, name),
        "LUDB": values(other, name),
        "simulated": values(ours, name, rested),
    }
    low, high = np.quantile(np.concatenate(list(found.values())), (0.005, 0.985))
    edges = np.linspace(low, high, 31)
    shares = {key: (np.histogram(numbers, edges)[0] / len(numbers)).tolist()
              for key, numbers in found.items()}  # fmt: skip
    return {"edges": edges.tolist(), **shares}


def _spread(numbers: NDArray[np.float64]) -> Result:
    if not len(numbers):
        return {"n": 0}
    found = np.quantile(numbers, QUANTILES)
    return {"n": len(numbers)} | {
        f"p{round(100 * share)}": float(value)
        for share, value in zip(QUANTILES, found, strict=True)
    }


def _middle(numbers: NDArray[np.float64]) -> float | None:
    return float(np.median(numbers)) if len(numbers) else None


def _apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    """Return the Kolmogorov-Smirnov statistic."""
    return float(stats.ks_2samp(one, other).statistic) if len(one) and len(other) else None


if __name__ == "__main__":
    main()
