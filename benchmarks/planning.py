"""How long planning an ingest of MIMIC-IV-ECG takes, and the memory: 800,035 made-up studies.

python -m benchmarks.planning [--rows 800035]

The tables have the true columns, with made-up persons, times, measurements and reports drawn by
how often MIMIC says such things. Planning is: open the source, lay out every row, write the plan.
Each run has a process of its own, whose highest resident memory is taken. Seconds are the median of
the runs, memory the highest.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

NUM_ROWS = 800_035
ROWS_A_PERSON = 5
NUM_RUNS = 3
LIMIT_S, LIMIT_GB = 60.0, 1.5
NUM_REPORTS = 18

# Share of the reports that hold a line; blank lines stand between some of them.
WORDINGS = {
    "Sinus rhythm": 0.576, "Sinus bradycardia": 0.124, "Sinus tachycardia": 0.087,
    "Atrial fibrillation": 0.07, "Atrial fibrillation with rapid ventricular response": 0.032,
    "Atrial flutter": 0.017, "Ventricular paced rhythm": 0.038,
    "with PVCs": 0.033, "with PACs": 0.027, "Prolonged PR interval": 0.05,
    "Left axis deviation": 0.1, "Rightward axis": 0.03, "Borderline left axis deviation": 0.04,
    "Right bundle branch block": 0.06, "RBBB with left anterior fascicular block": 0.022,
    "Left bundle branch block": 0.037, "IV conduction defect": 0.03,
    "Left ventricular hypertrophy": 0.05, "Possible left ventricular hypertrophy": 0.042,
    "Low QRS voltages in limb leads": 0.03, "Low QRS voltages in precordial leads": 0.05,
    "Inferior infarct - age undetermined": 0.06, "Anterior infarct - age undetermined": 0.03,
    "Possible inferior infarct - age undetermined": 0.05,
    "Anteroseptal infarct - age undetermined": 0.04,
    "Lateral ST-T changes may be due to myocardial ischemia": 0.03,
    "Inferior/lateral ST-T changes may be due to myocardial ischemia": 0.04,
    "Extensive ST-T changes may be due to myocardial ischemia": 0.031,
    "Nonspecific T wave changes": 0.06, "Lateral T wave changes are nonspecific": 0.05,
    "Inferior/lateral T changes may be due to hypertrophy and/or ischemia": 0.03,
    "Prolonged QT interval": 0.05, "Short PR interval": 0.01,
    "Possible left atrial abnormality": 0.06, "Possible right atrial abnormality": 0.01,
    "Poor R wave progression - probable normal variant": 0.03,
    "Consider right ventricular hypertrophy": 0.01,
    "Normal ECG": 0.196, "Borderline ECG": 0.15, "Abnormal ECG": 0.449,
}  # fmt: skip


def main() -> None:
    """Make the tables, plan them in another process, write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=NUM_ROWS)
    parser.add_argument("--plan", nargs=2, metavar=("SOURCE", "DEST"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plan:
        print(json.dumps(plan(*arguments.plan)))
        return
    from benchmarks.facts import write_result

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "mimic-iv-ecg"
        written = write_tables(source, arguments.rows)
        runs = [_in_another_process(source, Path(folder) / f"run-{n}") for n in range(NUM_RUNS)]
    seconds, peak_gb = median(run["seconds"] for run in runs), max(run["peak_gb"] for run in runs)
    result = {
        "tables": written,
        "runs": runs,
        "ratio_of_seconds_to_limit": round(seconds / LIMIT_S, 3),
        "ratio_of_memory_to_limit": round(peak_gb / LIMIT_GB, 3),
        "bars": {
            "seconds": {"at_most": LIMIT_S, "found": seconds, "met": seconds <= LIMIT_S},
            "highest memory, GB": {
                "at_most": LIMIT_GB,
                "found": peak_gb,
                "met": peak_gb <= LIMIT_GB,
            },
        },
    }
    print(json.dumps(result, indent=1))
    if arguments.rows == NUM_ROWS:
        print(write_result("planning", result))


def plan(source: str, dest: str) -> dict[str, float]:
    """Plan ``source`` into ``dest``; return seconds by stage and the peak of this process."""
    from ecgtwin.sources.archives.mimic_iv_ecg import MimicIvEcgSource
    from ecgtwin.sources.plan_table import encode_plan, put_plan
    from ecgtwin.spec.ingest import IngestSpec

    settings = IngestSpec()
    imports_gb, started = _peak_gb(), time.process_time()
    times = [time.perf_counter()]
    opened = MimicIvEcgSource.open(source, settings=settings)
    times.append(time.perf_counter())
    encoded = encode_plan(opened, settings)
    times.append(time.perf_counter())
    put_plan(dest, encoded)
    times.append(time.perf_counter())
    stages = dict(zip(("open_s", "lay_out_s", "write_s"), np.diff(times).round(2), strict=True))
    return {
        "rows": len(opened),
        "seconds": round(times[-1] - times[0], 2),
        "processor_s": round(time.process_time() - started, 2),
        **{name: float(value) for name, value in stages.items()},
        "peak_gb": round(_peak_gb(), 3),
        "imports_gb": round(imports_gb, 3),
        "plan_mb": round(sum(len(data) for data, _ in encoded.blocks) / 1e6, 1),
    }


def _peak_gb() -> float:
    """Return the highest resident memory so far; getrusage would count the parent's before exec."""
    status = Path("/proc/self/status").read_text()
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kib) * 1024 / 1e9


def _in_another_process(source: Path, dest: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.planning", "--plan", str(source), str(dest)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(answer.splitlines()[-1])
    return found


def write_tables(folder: Path, num_rows: int) -> dict[str, object]:
    """Write ``record_list.csv``, ``machine_measurements.csv`` and ``patients.csv``."""
    rng = np.random.default_rng(20240607)
    folder.mkdir(parents=True)
    subjects, persons = _subjects(rng, num_rows)
    studies = rng.permutation(10 * num_rows)[:num_rows] + 40_000_000
    times = _times(rng, subjects)
    _write(folder / "record_list.csv", _record_lines(subjects, studies, times))
    reports: set[str] = set()
    lines = _measured_lines(rng, subjects, studies, times, reports)
    _write(folder / "machine_measurements.csv", lines)
    _write(folder / "patients.csv", _patient_lines(rng, persons))
    sizes = {path.name: round(path.stat().st_size / 1e6, 1) for path in sorted(folder.iterdir())}
    return {
        "rows": num_rows,
        "persons": len(np.unique(subjects)),
        "different_reports": len(reports),
        "megabytes": sizes,
    }


def _subjects(
    rng: np.random.Generator, num_rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the subject of each row, sorted, some with hundreds; and all subjects."""
    persons = np.sort(rng.permutation(9_000_000)[: max(num_rows // ROWS_A_PERSON, 1)]) + 10_000_000
    weights = rng.lognormal(0.0, 1.0, len(persons))
    more = rng.choice(persons, num_rows - len(persons), p=weights / weights.sum())
    return np.sort(np.concatenate([persons, more])), persons


def _times(rng: np.random.Generator, subjects: NDArray[np.int64]) -> list[str]:
    first = np.datetime64("2110-01-01T00:00:00")
    start = rng.integers(0, 90 * 365, subjects.max() - subjects.min() + 1)[subjects - subjects[0]]
    seconds = start * 86400 + rng.integers(0, 10 * 365 * 86400, len(subjects))
    texts: list[str] = np.datetime_as_string(first + seconds).tolist()
    return [text.replace("T", " ") for text in texts]


def _record_lines(
    subjects: NDArray[np.int64], studies: NDArray[np.int64], times: Sequence[str]
) -> Iterator[str]:
    yield "subject_id,study_id,file_name,ecg_time,path"
    for subject, study, when in zip(subjects.tolist(), studies.tolist(), times, strict=True):
        path = f"files/p{subject // 10_000}/p{subject}/s{study}/{study}"
        yield f"{subject},{study},{study},{when},{path}"


def _measured_lines(
    rng: np.random.Generator,
    subjects: NDArray[np.int64],
    studies: NDArray[np.int64],
    times: Sequence[str],
    reports: set[str],
) -> Iterator[str]:
    """Yield the lines of the table; add to ``reports`` what the machine said."""
    columns = ",".join(f"report_{number}" for number in range(NUM_REPORTS))
    yield (
        f"subject_id,study_id,cart_id,ecg_time,{columns},bandwidth,filtering,rr_interval,p_onset,"
        "p_end,qrs_onset,qrs_end,t_end,p_axis,qrs_axis,t_axis"
    )
    wordings = list(WORDINGS)
    shares = np.array(list(WORDINGS.values()))
    for start in range(0, len(subjects), 10_000):
        part = slice(start, start + 10_000)
        count = len(subjects[part])
        said = rng.random((count, len(wordings))) < shares
        is_blank = rng.random((count, NUM_REPORTS)) < 0.1
        rr_ms = rng.normal(800, 180, count).round().astype(int)
        rr_ms[rng.random(count) < 0.01] = rng.choice([29_999, 0, 65_535])
        numbers = rng.integers(20, 500, (count, 8))
        for row, (subject, study) in enumerate(
            zip(subjects[part].tolist(), studies[part].tolist(), strict=True)
        ):
            lines = [wordings[place] for place in np.flatnonzero(said[row])]
            rest = ",".join(map(str, numbers[row].tolist()))
            cells = _cells(lines, is_blank[row])
            reports.add(cells)
            yield (
                f"{subject},{study},6848296,{times[start + row]},{cells},"
                f"0.005-150 Hz,60 Hz notch Baseline filter,{rr_ms[row]},{rest}"
            )


def _cells(lines: Sequence[str], is_blank: NDArray[np.bool_]) -> str:
    cells = [""] * NUM_REPORTS
    place = 0
    for line in lines:
        place += bool(is_blank[min(place, NUM_REPORTS - 1)])
        if place < NUM_REPORTS:
            cells[place] = line
        place += 1
    return ",".join(cells)


def _patient_lines(rng: np.random.Generator, persons: NDArray[np.int64]) -> Iterator[str]:
    yield "subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod"
    ages, years = rng.integers(18, 92, len(persons)), rng.integers(2110, 2208, len(persons))
    for subject, age, year in zip(persons.tolist(), ages.tolist(), years.tolist(), strict=True):
        yield f"{subject},{'FM'[subject % 2]},{age},{year},2011 - 2013,"


def _write(path: Path, lines: Iterator[str]) -> None:
    with path.open("w") as file:
        file.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
