"""Measure a stored cohort against its corpus, and write the report: gather, evaluate, draw."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import SpecificationError
from ecgtwin.evaluation.evaluate import EvaluationInputs, evaluate
from ecgtwin.generation.prepare import ResolvedCohort, resolve_cohort
from ecgtwin.generation.texts import load_twin
from ecgtwin.plots.report import Drawing, ReportDrawings, write_report
from ecgtwin.signals.preprocess import crop, resample_rows
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.condition import CardiacCondition, condition_from_columns
from ecgtwin.store.reader import Cohort, Corpus, ShardedEcgs
from ecgtwin.twin.twin import EcgTwin

Samples = NDArray[np.float32]
CONDITION_COLUMNS = ("statements", "certainties", "heart_rate_bpm", "age_years", "sex")
MAX_TRAINING_RECORDS = 1500
BLOCK_ROWS = 256
TARGETS: dict[str, dict[str, float]] = {
    "heart_rate.share_measured": {"at_least": 0.9},
    "heart_rate.mean_absolute_error_bpm": {"at_most": 10.0},
    "heart_rate.spearman": {"at_least": 0.9},
    "heart_rate.share_of_shuffled_error": {"at_most": 1 / 3},
    "heart_rate.share_of_reference_error": {"at_most": 1 / 3},
}
SHOWN_STATES = ("atrial fibrillation", "left bundle branch block", "ventricular premature complex")


@dataclass(frozen=True, slots=True)
class MeasuredCohort:
    """A cohort's figures and what is drawn of it."""

    cohort: Cohort
    resolved: ResolvedCohort
    twin: EcgTwin
    inputs: EvaluationInputs
    results: dict[str, object]


def measure_cohort(url: str, *, say: Callable[[str], None]) -> MeasuredCohort:
    """Measure the cohort at ``url`` against the corpus and checkpoint it names.

    Raises SpecificationError when the cohort has no rows yet.
    """
    cohort = Cohort(url)
    if not len(cohort):
        raise SpecificationError(f"{url} has no committed ECGs yet; run `ecgtwin generate` first")
    stored = cohort.description["specification"]
    spec = CohortSpec.parse(
        {**stored, "output": {**stored["output"], "url": url}}, origin=f"{url}/cohort.json"
    )
    resolved, twin = resolve_cohort(spec), load_twin(spec.checkpoint, texts_at=spec.corpus)
    inputs = _gather(cohort, _corpus_of(spec, url), resolved, twin)
    results = evaluate(inputs)
    for line in _summary_lines(results):
        say(line)
    return MeasuredCohort(cohort, resolved, twin, inputs, results)


def _corpus_of(spec: CohortSpec, url: str) -> Corpus:
    if spec.corpus is None:
        raise SpecificationError(
            f"{url} is of persons without recordings (a bank, or a population), and a report "
            "compares with recordings; name a `corpus` in the specification"
        )
    return Corpus(spec.corpus)


def check_report_path(path: Path) -> None:
    """Raise SpecificationError where no report can be written; measuring takes its time."""
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if path.is_dir() or not folder.is_dir():
        what = "a folder" if path.is_dir() else f"inside {folder}, which is a file"
        raise SpecificationError(f"{path} is {what}; give the path of a file, like report.html")


def write_cohort_report(
    measured: MeasuredCohort,
    *,
    path: Path,
    training_log: Path | None = None,
    command: str | None = None,
) -> None:
    """Write the report as HTML at ``path`` and its figures as ``results.json`` beside it."""
    plan = measured.resolved.plan
    source = _corpus_of(plan.spec, measured.resolved.url).description.get("source")
    about = {
        "source": str(source.get("name", "")) if isinstance(source, Mapping) else None,
        "version": version("ecgtwin"),
        "corpus": plan.spec.corpus,
        "checkpoint": plan.spec.checkpoint,
        "cohort": measured.resolved.url,
        "specification_digest": plan.spec.bytes_digest(),
        "plan_digest": plan.digest,
        "checkpoint_digest": measured.twin.digest,
        "command": command,
    }
    results: dict[str, object] = {
        **measured.results,
        "about": {key: value for key, value in about.items() if value is not None},
        "targets": TARGETS,
        "training": _training_rows(measured.twin, training_log),
    }
    from_scratch = _from_scratch_figures()
    if from_scratch is not None and measured.twin.provenance.get("start_from") is not None:
        results["from_scratch"] = from_scratch
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    write_report(results, drawings_of(measured), path)


def _gather(
    cohort: Cohort, corpus: Corpus, resolved: ResolvedCohort, twin: EcgTwin
) -> EvaluationInputs:
    patients = np.asarray(cohort.column("patient_index"), dtype=np.int64)
    order = {reference.patient_id: place for place, reference in enumerate(resolved.references)}
    references = {reference.record_id for reference in resolved.references}
    names, records = corpus.column("patient_id"), corpus.column("record_id")
    position_of = {record: position for position, record in enumerate(records)}
    reference_at = [position_of[reference.record_id] for reference in resolved.references]
    visit_at = [
        position
        for position, (name, record) in enumerate(zip(names, records, strict=True))
        if name in order and record not in references
    ]
    train_at = np.flatnonzero([split == "train" for split in corpus.column("split")])
    train_at = train_at[:: max(1, len(train_at) // MAX_TRAINING_RECORDS)][:MAX_TRAINING_RECORDS]
    samples = _read(cohort, np.arange(len(cohort)))
    visits = _read(corpus, np.array(visit_at, dtype=np.int64))
    own_conditions = conditions_of(corpus)
    stored, real_hz = cohort.layout, corpus.layout.sampling_rate_hz

    def as_stored(real_mv: Samples) -> Samples:
        """Return real ECGs as the twins are stored: what is compared is of one rate and length."""
        return _moved(real_mv, real_hz, stored.sampling_rate_hz, stored.num_samples)

    return EvaluationInputs(
        sampling_rate_hz=stored.sampling_rate_hz,
        twin_samples_mv=samples,
        twin_requested_bpm=np.asarray(cohort.column("heart_rate_bpm"), dtype=np.float64),
        twin_patient=patients,
        twin_state=[" + ".join(codes) for codes in _finding_of(cohort)],
        reference_samples_mv=as_stored(_read(corpus, np.array(reference_at))),
        visit_samples_mv=as_stored(visits),
        visit_patient=np.array([order[names[position]] for position in visit_at], dtype=np.int64),
        training_samples_mv=as_stored(_read(corpus, train_at)),
        training_patient=np.array([names[position] for position in train_at]),
        twin_base_vectors=_base_vectors(
            twin, samples, stored.sampling_rate_hz, conditions_of(cohort)
        ),
        reference_base_vectors=resolved.base_vectors,
        visit_base_vectors=_base_vectors(
            twin, visits, real_hz, [own_conditions[position] for position in visit_at]
        ),
        references_are_unseen=all(
            reference.patient.split == "test" for reference in resolved.references
        ),
    )


def conditions_of(ecgs: ShardedEcgs) -> list[CardiacCondition]:
    """Return the condition of every accepted row."""
    columns = {name: ecgs.column(name) for name in CONDITION_COLUMNS}
    return [condition_from_columns(columns, position) for position in range(len(ecgs))]


def _finding_of(cohort: Cohort) -> list[list[str]]:
    """Return the statements of each row without the rhythm that goes with a finding."""
    return [
        [code for code in codes if len(codes) == 1 or not code.startswith("sinus ")]
        for codes in cohort.column("statements")
    ]


def _read(ecgs: ShardedEcgs, positions: NDArray[np.int64]) -> Samples:
    blocks = [
        ecgs.samples_mv(positions[start : start + BLOCK_ROWS])
        for start in range(0, len(positions), BLOCK_ROWS)
    ]
    return np.concatenate(blocks or [np.zeros((0, 12, ecgs.layout.num_samples), np.float32)])


def _moved(samples_mv: Samples, from_hz: float, to_hz: float, num_samples: int) -> Samples:
    """Return the first ``num_samples`` at ``to_hz``; where they are such already, as they are."""
    return crop(resample_rows(samples_mv, from_hz=from_hz, to_hz=to_hz), num_samples=num_samples)


def _base_vectors(
    twin: EcgTwin, samples: Samples, rate_hz: float, conditions: list[CardiacCondition]
) -> Samples:
    """Return base vectors (n, width); the networks get the ECGs at their own rate."""
    blocks = []
    for start in range(0, len(samples), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        moved = _moved(samples[block], rate_hz, twin.sampling_rate_hz, twin.num_samples)
        blocks.append(twin.base_vectors(moved, conditions[block]))
    return np.concatenate(blocks or [np.zeros((0, 1), np.float32)])


def drawings_of(measured: MeasuredCohort) -> ReportDrawings:
    """Return the first person's reference and three twins, and the median and the worst twin."""
    inputs, cohort = measured.inputs, measured.cohort
    requested, measured_bpm = _rates(measured)
    error = np.nan_to_num(np.abs(requested - measured_bpm), nan=np.inf)
    captions = [
        f"Twin, {state}, "
        + ("rate left open" if np.isnan(rate) else f"{rate:.0f} bpm")
        + ": as asked"
        for state, rate in zip(inputs.twin_state, requested, strict=True)
    ]
    person = 0
    shown = []
    for wanted in SHOWN_STATES:
        fits = [
            row
            for row, state in enumerate(inputs.twin_state)
            if state == wanted and inputs.twin_patient[row] == person
        ]
        # Of this person's twins in the state, the one whose rate error is the median.
        ranked = sorted(fits, key=lambda row: (error[row], row))
        shown += ranked[(len(ranked) - 1) // 2 : (len(ranked) - 1) // 2 + 1]
    for row in np.flatnonzero(inputs.twin_patient == person):
        if len(shown) < len(SHOWN_STATES) and int(row) not in shown:
            shown.append(int(row))
    chosen = measured.results.get("chosen")
    picks = chosen if isinstance(chosen, Mapping) else {}

    def drawing(row: int) -> Drawing:
        return Drawing(inputs.twin_samples_mv[row], captions[row])

    name = str(cohort.column("person")[shown[0]])[:12] if shown else ""
    return ReportDrawings(
        sampling_rate_hz=inputs.sampling_rate_hz,
        reference=Drawing(inputs.reference_samples_mv[person], f"Reference ECG: person {name}"),
        twins=[drawing(row) for row in shown],
        median=drawing(int(picks["median"])) if "median" in picks else None,
        worst=drawing(int(picks["worst"])) if "worst" in picks else None,
    )


def _rates(measured: MeasuredCohort) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    heart_rate = measured.results.get("heart_rate")
    found = heart_rate.get("measured_bpm", []) if isinstance(heart_rate, Mapping) else []
    values = np.array([np.nan if value is None else value for value in found], dtype=np.float64)
    return np.asarray(measured.inputs.twin_requested_bpm, dtype=np.float64), values


def _training_rows(twin: EcgTwin, log: Path | None) -> list[dict[str, object]]:
    stages = twin.provenance.get("stages")
    if not isinstance(stages, Mapping):
        return []
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log else []
    rows = []
    for name, stage in stages.items():
        losses = [
            (line["step"], line["loss"])
            for line in lines
            if line.get("stage") == name and line.get("loss") is not None
        ]
        rows.append(
            {
                "network": name,
                "start": twin.provenance.get("start_from") or "nothing",
                "steps": stage["steps"],
                "first_loss": losses[0][1] if losses else None,
                "last_loss": losses[-1][1] if losses else None,
                "losses": losses,
            }
        )
    return rows


def _from_scratch_figures() -> dict[str, object] | None:
    """Return the recorded figures of ``ecgtwin demo --from-scratch``; None where there are none."""
    file = resources.files("ecgtwin") / "weights" / "tiny" / "from_scratch.json"
    if not file.is_file():
        return None
    figures: dict[str, object] = json.loads(file.read_text())
    return figures


def _summary_lines(results: Mapping[str, object]) -> list[str]:
    heart_rate = results.get("heart_rate")
    if not isinstance(heart_rate, Mapping):
        return [f"nothing could be measured: {results.get('reason')}"]

    def figure(name: str, decimals: int = 1) -> str:
        value = heart_rate.get(name)
        return "not computed" if value is None else f"{value:.{decimals}f}"

    return [
        f"R peaks in {100 * float(heart_rate.get('share_measured') or 0):.1f} % of twins; "
        f"mean absolute rate error {figure('mean_absolute_error_bpm')} bpm, "
        f"Spearman {figure('spearman', 3)}",
        f"controls: requests shuffled {figure('shuffled_error_bpm')} bpm, "
        f"references unchanged {figure('reference_error_bpm')} bpm",
    ]
