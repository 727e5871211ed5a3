"""How long planning a cohort takes, and the memory: of a billion rows, and of a million.

python -m benchmarks.cohort_planning [--patients 1000000] [--conditions 1000]

Patients are made up. Constraints over age, sex and split divide them into classes and remove about
a third of the rows. A summary is: parse the specification, plan, check, count rows and shards, rows
per state, patient and split, and the digest. Of strata the rows per patient and split take a draw
for each row beyond whole turns of all patients: they are a case of their own.

Each run has a process of its own, whose highest resident memory is taken, interpreter and patients
included. Seconds begin when the patients are in memory; they are the median of the runs, memory the
highest.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray

from ecgtwin.generation.admission import texts
from ecgtwin.generation.plan import CohortPlan, PatientTable
from ecgtwin.generation.plan_checks import check_rows
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.yaml_text import YamlText

NUM_PATIENTS, NUM_CONDITIONS = 1_000_000, 1_000
NUM_RUNS = 5
NUM_LOOKED_UP = 20_000
SMALL = 1_000  # patients, and conditions, of the small plan
LIMIT_S, LIMIT_MB, LIMIT_LOOKUP_US, LIMIT_SMALL_MS = 1.0, 500.0, 50.0, 200.0

REPORTS = (
    "sinus rhythm",
    "atrial fibrillation",
    "left bundle branch block",
    "paced rhythm",
    "premature ventricular complex",
)
SEXES, SPLITS = ("female", "male"), ("train", "validation", "test")
CONSTRAINTS = (
    "condition.heart_rate_bpm <= 190 - 1.1 * patient.age_years",
    "patient.sex == 'female' or condition.heart_rate_bpm > 45",
    "patient.split != 'test' or condition.heart_rate_bpm >= 42",
)
Figures = dict[str, Any]
One, Found = TypeVar("One"), TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Case:
    """``num_classes`` is the most that there can be: of ages, sexes and splits."""

    num_classes: int
    is_strata: bool = False
    by_patient: bool = True  # rows per patient and split are of the summary


CASES = {
    "product": Case(10_000),
    "strata": Case(10_000, is_strata=True, by_patient=False),
    "product of 20,000 classes": Case(20_000),
    "product of 50,000 classes": Case(50_000),
}
BARRED = ("product", "strata")  # the others say what more comes to
BY_PATIENT = "strata, by patient"  # takes half a minute: one run
CASES[BY_PATIENT] = Case(10_000, is_strata=True)
SMALL_CASES = ("grid", "list", "list with constraints")


def main() -> None:
    """Plan every case in processes of their own, write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--patients", type=int, default=NUM_PATIENTS)
    parser.add_argument("--conditions", type=int, default=NUM_CONDITIONS)
    parser.add_argument("--runs", type=int, default=NUM_RUNS)
    parser.add_argument("--case", choices=[*CASES, *SMALL_CASES], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = arguments.patients, arguments.conditions
    if arguments.case in CASES:
        print(json.dumps(plan_large(CASES[arguments.case], *sizes)))
    elif arguments.case:
        print(json.dumps(plan_small(arguments.case, *sizes)))
    else:
        result = compared(*sizes, num_runs=arguments.runs)
        print(json.dumps(result, indent=1))
        if (*sizes, arguments.runs) == (NUM_PATIENTS, NUM_CONDITIONS, NUM_RUNS):
            from benchmarks.facts import write_result  # needs torch, which no plan does

            print(write_result("cohort-planning", result))


def compared(num_patients: int, num_conditions: int, *, num_runs: int) -> Figures:
    """Return the figures of every case, and the bars."""
    large = {
        name: _runs(name, num_patients, num_conditions, 1 if name == BY_PATIENT else num_runs)
        for name in CASES
    }
    num = min(SMALL, num_patients), min(SMALL, num_conditions)
    small = {name: _runs(name, *num, num_runs) for name in SMALL_CASES}
    bars = {}
    for name in BARRED:
        found = large[name]
        bars[f"{name}: summary, s"] = _bar(found["seconds"], LIMIT_S)
        bars[f"{name}: highest memory, MB"] = _bar(found["peak_mb"], LIMIT_MB)
        bars[f"{name}: a row and back, us"] = _bar(found["there_and_back_us"], LIMIT_LOOKUP_US)
        bars[f"{name}: request of a row, us"] = _bar(found["request_us"], LIMIT_LOOKUP_US)
    for name, found in small.items():
        bars[f"small {name}: checked, ms"] = _bar(found["seconds"] * 1e3, LIMIT_SMALL_MS)
    return {
        "patients": num_patients,
        "conditions": num_conditions,
        "large": large,
        "small": small,
        "bars": bars,
    }


def _bar(found: float, at_most: float) -> Figures:
    ratio, met = round(found / at_most, 3), found <= at_most
    return {"at_most": at_most, "found": round(found, 3), "ratio_to_limit": ratio, "met": met}


def _runs(case: str, num_patients: int, num_conditions: int, num_runs: int) -> Figures:
    """Return the median of each figure, but the highest peak; and the runs."""
    command = [sys.executable, "-m", "benchmarks.cohort_planning", "--case", case]
    command += ["--patients", str(num_patients), "--conditions", str(num_conditions)]
    runs: list[Figures] = []
    for _ in range(num_runs):
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        runs.append(json.loads(answer.splitlines()[-1]))
    figures = {name: median(run[name] for run in runs) for name in runs[0] if name != "stages"}
    peak = max(run["peak_mb"] for run in runs)
    return {**figures, "peak_mb": peak, "runs": [_of_run(run) for run in runs]}


def _of_run(run: Figures) -> Figures:
    """Return what differs from run to run."""
    return {
        name: run[name] for name in run if name in ("seconds", "processor_s", "stages", "peak_mb")
    }


def plan_large(case: Case, num_patients: int, num_conditions: int) -> Figures:
    """Return what the summary of a plan took, by stage, and what looking up its rows did."""
    imports_mb = peak_mb()
    patients = make_patients(num_patients, case.num_classes)
    patients_mb = peak_mb()
    clock = _Clock()
    spec = CohortSpec.parse(specification(case, num_patients, num_conditions), origin="a benchmark")
    plan = CohortPlan(spec, patients, tuple(spec.states()), "checkpoint")
    clock.mark("specification")
    check_rows(plan)
    clock.mark("rows")
    found: Figures = {
        "rows": plan.num_rows,
        "shards": plan.num_shards,
        "most_rows_of_a_state": int(plan.rows.rows_of_states().max()),
    }
    clock.mark("states")
    if case.by_patient:
        found |= _of_patients(plan)
        clock.mark("patients")
    assert plan.digest
    clock.mark("digest")
    found |= {
        "classes": plan.admission.num_classes,
        **clock.seconds(),
        "summary_mb": round(peak_mb(), 1),
        **_looked_up(plan),
        "peak_mb": round(peak_mb(), 1),
        "patients_mb": round(patients_mb, 1),
        "imports_mb": round(imports_mb, 1),
    }
    return found


def _of_patients(plan: CohortPlan) -> Figures:
    rows_N, split_N = plan.rows.rows_of_patients(), plan.patients.split
    return {
        "most_rows_of_a_patient": int(rows_N.max()),
        **{f"rows_of_{name}": int(rows_N[split_N == name].sum()) for name in SPLITS},
    }


def _looked_up(plan: CohortPlan) -> Figures:
    """Return microseconds of a row, of rows anywhere."""
    num = min(NUM_LOOKED_UP, plan.num_rows)
    rows = np.random.default_rng(1).integers(0, plan.num_rows, num).tolist()
    samples, there_us = _timed(plan.rows.sample_at, rows)
    back, back_us = _timed(plan.rows.row_of, samples)
    assert back == rows
    started = time.perf_counter()
    for row in rows:
        plan.request_at(row)
    request_us = round((time.perf_counter() - started) / len(rows) * 1e6, 2)
    return {
        "there_us": there_us,
        "back_us": back_us,
        "there_and_back_us": round(there_us + back_us, 2),
        "request_us": request_us,
    }


def _timed(function: Callable[[One], Found], values: Sequence[One]) -> tuple[list[Found], float]:
    """Return what it gives of each value, and microseconds for one of them."""
    started = time.perf_counter()
    found = [function(value) for value in values]
    return found, round((time.perf_counter() - started) / len(values) * 1e6, 2)


def plan_small(form: str, num_patients: int, num_conditions: int) -> Figures:
    """Return what checking the plan of a text took."""
    patients = make_patients(num_patients, 10_000)
    content = small_text(form, patients.person.tolist(), num_conditions).encode()
    clock = _Clock()
    spec = CohortSpec.parse_text(YamlText.of(content, origin="a benchmark"))
    clock.mark("specification")
    plan = CohortPlan(spec, patients, tuple(spec.states()), "checkpoint")
    check_rows(plan)
    clock.mark("rows")
    return {
        "rows": plan.num_rows,
        "classes": plan.admission.num_classes,
        "lines": len(content.splitlines()),
        **clock.seconds(),
        "peak_mb": round(peak_mb(), 1),
    }


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._at, self._processor_at = time.perf_counter(), time.process_time()

    def mark(self, stage: str) -> None:
        """End a stage; the next begins now."""
        now = time.perf_counter()
        self.stages[stage], self._at = round(now - self._at, 4), now

    def seconds(self) -> Figures:
        """Return seconds of all stages, in all and of the processor, and of each."""
        return {
            "seconds": round(sum(self.stages.values()), 4),
            "processor_s": round(time.process_time() - self._processor_at, 4),
            "stages": self.stages,
        }


def make_patients(num: int, num_classes: int) -> PatientTable:
    """Return patients of as many ages as make that many classes; one of the ages is unknown."""
    rng = np.random.default_rng(0)
    num_ages = num_classes // (len(SEXES) * len(SPLITS))
    ages = np.append(np.linspace(18, 89, num_ages - 1), np.nan)
    return PatientTable(
        _digests(rng, num),
        texts([SPLITS[place] for place in rng.choice(3, num, p=(0.8, 0.1, 0.1))]),
        ages[rng.integers(0, num_ages, num)],
        texts([SEXES[place] for place in rng.integers(0, 2, num)]),
        _digests(rng, num),
    )


def _digests(rng: np.random.Generator, num: int) -> NDArray[np.object_]:
    text = rng.bytes(16 * num).hex()
    return texts([text[32 * place : 32 * place + 32] for place in range(num)])


def specification(case: Case, num_patients: int, num_conditions: int) -> Figures:
    """Return the specification of a large case: a grid, or strata of ten states."""
    rates = _rates(num_conditions)
    if not case.is_strata:
        grid = {"statements": [[report] for report in REPORTS], "heart_rate_bpm": rates}
        return _of_conditions({"grid": grid}, {"split": "test"})
    num_strata = len(REPORTS) * -(-len(rates) // 10)
    strata = [
        {
            "statements": [report],
            "heart_rate_bpm": rates[start : start + 10],
            "count": num_patients * num_conditions // num_strata,
            **({"among": "patient.age_years < 60"} if report == REPORTS[1] else {}),
        }
        for report in REPORTS
        for start in range(0, len(rates), 10)
    ]
    return _of_conditions({"strata": strata}, {"split": "test"})


def small_text(form: str, persons: list[str], num_conditions: int) -> str:
    """Return the YAML of a small case: a grid of a few lines, or patients and states listed."""
    rates = _rates(num_conditions)
    if form == "grid":
        spaced = {"start": rates[0], "stop": rates[-1], "count": len(rates)}
        grid = {"statements": [[report] for report in REPORTS], "heart_rate_bpm": spaced}
        written = _of_conditions({"grid": grid}, {"split": "test"})
    else:
        states = [
            {"statements": [report], "heart_rate_bpm": rate} for report in REPORTS for rate in rates
        ]
        written = _of_conditions(states, {"ids": persons})
    if not form.endswith("with constraints"):
        del written["constraints"]
    return yaml.safe_dump(written)


def _rates(num_conditions: int) -> list[float]:
    rates: list[float] = np.linspace(40, 170, num_conditions // len(REPORTS)).round(3).tolist()
    return rates


def _of_conditions(conditions: object, patients: Figures) -> Figures:
    return {
        "checkpoint": "tiny",
        "corpus": "corpus",
        "patients": patients,
        "conditions": conditions,
        "constraints": list(CONSTRAINTS),
        "output": {"url": "cohort"},
    }


def peak_mb() -> float:
    """Return the highest resident memory so far; getrusage would count the parent's before exec."""
    status = Path("/proc/self/status").read_text()
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kib) * 1024 / 1e6


if __name__ == "__main__":
    main()
