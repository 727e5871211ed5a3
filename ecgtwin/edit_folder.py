"""One edit as a folder: the ECG before and after on paper, where it looked, the numbers."""

import difflib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from ecgtwin.errors import CommitConflictError, SpecificationError
from ecgtwin.generation.references import ReferenceRecords
from ecgtwin.generation.texts import load_twin
from ecgtwin.plots.attention_map import draw_attention
from ecgtwin.plots.ecg_paper import draw_strips, draw_twelve_leads
from ecgtwin.plots.report import SYNTHETIC
from ecgtwin.signals.beats import Measurement, measure
from ecgtwin.signals.leads import LEADS
from ecgtwin.signals.record import EcgRecord
from ecgtwin.spec.condition import CardiacCondition, Statement
from ecgtwin.spec.edit import EditSpec, edited_condition
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.store.commit import put_new
from ecgtwin.store.objects import join, object_exists, read_object
from ecgtwin.store.reader import Corpus
from ecgtwin.twin.editing import Edited, recording_sampling
from ecgtwin.twin.persons import Reference, Samples, prepared_samples
from ecgtwin.twin.twin import EcgTwin

DESCRIPTION = "edit.json"  # written last: with it the folder is whole
NORMAL = "normal ecg"
SINUS_RHYTHMS = ("sinus rhythm", "sinus bradycardia", "sinus tachycardia", "sinus arrhythmia")


@dataclass(frozen=True, slots=True)
class EditJob:
    """What is asked for. ``seed`` None: the recording itself is edited, nothing is drawn anew."""

    checkpoint: str
    corpus: str
    row: int
    edits: EditSpec
    seed: int | None = 0
    heart_rate_bpm: float | None = None
    sampling: dict[str, Any] | None = None  # fields of SamplingSpec that differ from the default


@dataclass(frozen=True, slots=True)
class EditSummary:
    """What stands in the folder."""

    names: tuple[str, ...]
    lines: tuple[str, ...]  # the reports and measurements before and after
    notes: tuple[str, ...]  # what the user may not have meant
    was_there: bool


def row_reference(corpus: Corpus, row: int) -> Reference:
    """Return one row of ``corpus`` and its own condition; SpecificationError for no usable row."""
    records = ReferenceRecords(corpus)
    positions = np.flatnonzero(corpus.rows == row)
    if not len(positions):
        raise SpecificationError(f"row {row}: {_absence(corpus, row)}")
    position = int(positions[0])
    columns = records.row(position)
    record = EcgRecord(
        corpus.samples_mv([position])[0],
        corpus.layout.sampling_rate_hz,
        patient_id=columns["patient_id"],
        record_id=columns["record_id"],
    )
    return Reference(record, records.own_condition(position))


def _absence(corpus: Corpus, row: int) -> str:
    columns = corpus.columns
    if row in columns["row"]:
        reason = columns["reason"][columns["row"].index(row)]
        return f"it was rejected by the ingest ({reason}); take another"
    return f"corpus {corpus.url} has rows 0 to {corpus.layout.num_rows - 1}"


def write_edit(job: EditJob, out: str) -> EditSummary:
    """Draw the edit and write it to the folder or URL ``out``; what stands there is left.

    Raises SpecificationError for an edit that cannot be made and CommitConflictError where ``out``
    holds another one; nothing is written then.
    """
    _check_vacant(out)
    corpus = Corpus(job.corpus)
    reference = row_reference(corpus, job.row)
    condition = _condition(reference.condition, job.heart_rate_bpm)
    after = edited_condition(condition, job.edits).condition
    twin = load_twin(job.checkpoint, texts_at=job.corpus)
    sampling = _sampling(twin, job)
    twin.sampler(sampling)
    asked = {
        "checkpoint": job.checkpoint,
        "checkpoint_digest": twin.digest,
        "corpus": job.corpus,
        "corpus_digest": corpus.description.get("digest"),
        "row": job.row,
        "seed": job.seed,
        "condition": condition.model_dump(mode="json"),
        "edited_condition": after.model_dump(mode="json"),
        "edits": job.edits.model_dump(mode="json"),
        "start_level": job.edits.start_level,
        "sampling": sampling.model_dump(mode="json"),
    }
    notes = (*_unheard(corpus, after), *_contradicted(after))
    stored = _stored(out)
    if stored is not None:
        _check_same(stored["asked"], asked, out)
        return EditSummary(tuple(stored["files"]), tuple(stored["summary"]), notes, was_there=True)

    found = _draw(twin, reference, condition, job, sampling)
    (recording_mv,) = prepared_samples(twin, [reference.record])
    files = _pictures(found, recording_mv, condition, after)
    files["edit.npz"] = _arrays(found, recording_mv)
    lines = _lines(found, condition, after)
    description = {
        "asked": asked,
        "source_record_id": found.source.record_id,
        "edited_record_id": found.edited.record_id,
        "files": [*files, DESCRIPTION],
        "summary": lines,
        "ecgtwin_version": version("ecgtwin"),
    }
    files[DESCRIPTION] = (json.dumps(description, indent=1) + "\n").encode()
    _check_free(out, files)
    for name, data in files.items():
        put_new(join(out, name), data)
    return EditSummary(tuple(files), tuple(lines), notes, was_there=False)


def _condition(own: CardiacCondition, heart_rate_bpm: float | None) -> CardiacCondition:
    if heart_rate_bpm is None:
        return own
    fields = {**own.model_dump(), "heart_rate_bpm": heart_rate_bpm}
    return CardiacCondition.parse(fields, origin="the condition to draw in")


def _sampling(twin: EcgTwin, job: EditJob) -> SamplingSpec:
    default = twin.spec.sampling if job.seed is not None else recording_sampling(twin)
    fields = {**default.model_dump(), **(job.sampling or {})}
    return SamplingSpec.parse(fields, origin="sampling")


def _draw(
    twin: EcgTwin,
    reference: Reference,
    condition: CardiacCondition,
    job: EditJob,
    sampling: SamplingSpec,
) -> Edited:
    if job.seed is None:
        return twin.edit_recording(reference, job.edits, sampling=sampling, record_maps=True)
    return twin.edit(
        reference, condition, job.edits, seed=job.seed, sampling=sampling, record_maps=True
    )


def _stored(out: str) -> dict[str, Any] | None:
    """Return what the description in ``out`` says; None where there is none."""
    name = join(out, DESCRIPTION)
    try:
        data = read_object(name)
    except FileNotFoundError:
        return None
    try:
        found = json.loads(data)
        return {key: found[key] for key in ("asked", "files", "summary")}
    except (ValueError, KeyError, TypeError):
        raise CommitConflictError(
            f"{name} is not the description of an edit; choose another folder"
        ) from None


def _check_vacant(out: str) -> None:
    """Raise CommitConflictError where the pictures would lie inside something else."""
    for kind, name in (("corpus", "corpus"), ("cohort", "cohort"), ("checkpoint", "twin")):
        if object_exists(join(out, f"{name}.json")):
            raise CommitConflictError(f"{out} holds a {kind}; choose another folder")


def _check_same(found: dict[str, Any], asked: dict[str, Any], out: str) -> None:
    named_by_digest = {"checkpoint", "corpus"}  # one place may be written in several ways
    differing = [
        key
        for key, value in asked.items()
        if key not in named_by_digest and found.get(key) != value
    ]
    if differing:
        raise CommitConflictError(
            f"{out} holds another edit (other {', '.join(differing)}); choose another folder, or "
            "delete it"
        )


def _unheard(corpus: Corpus, condition: CardiacCondition) -> Iterator[str]:
    """Yield a note for each statement that no record of the corpus has: a slip, perhaps."""
    known = sorted({code for codes in corpus.columns["statements"] for code in codes})
    for statement in condition.statements:
        if statement.code not in known:
            near = difflib.get_close_matches(statement.code, known, n=3, cutoff=0.0)
            yield (
                f"no record of {corpus.url} has {statement.code!r}, so the networks may never have "
                f"seen it; the nearest it has are {', '.join(map(repr, near))}"
            )


def _contradicted(condition: CardiacCondition) -> Iterator[str]:
    """Yield a note where a report calls the ECG normal and names a finding beside."""
    codes = [line.code for line in condition.statements if line.certainty != "negated"]
    findings = [code for code in codes if code not in (NORMAL, *SINUS_RHYTHMS)]
    if NORMAL in codes and findings:
        yield (
            f"the report says {NORMAL!r} beside {findings[0]!r} and the networks are told both, so "
            f"the finding may be slight; --replace {NORMAL!r} to have it plain"
        )


def _check_free(out: str, files: dict[str, bytes]) -> None:
    """Raise CommitConflictError before anything is written where a file would be in the way."""
    for name, data in files.items():
        try:
            found = read_object(join(out, name))
        except FileNotFoundError:
            continue
        if found != data:
            raise CommitConflictError(
                f"{join(out, name)} is in the way, it holds something else; choose another folder, "
                "or delete it"
            )


def _pictures(
    found: Edited, recording_mv: Samples, condition: CardiacCondition, after: CardiacCondition
) -> dict[str, bytes]:
    rate_hz = found.source.sampling_rate_hz
    before_report, after_report = _report(condition), _report(after)
    drawn = {
        "source.svg": _twelve(found.source, "Before the edit", condition),
        "edited.svg": _twelve(found.edited, "After the edit", after),
        "before-after.svg": draw_strips(
            [
                (recording_mv, "recording in the corpus"),
                (found.source.samples_mv, "before (synthetic)"),
                (found.edited.samples_mv, "after (synthetic)"),
            ],
            sampling_rate_hz=rate_hz,
            title="One ECG before and after an edit of its report",
            subtitle=f"Before: {before_report}. After: {after_report}.",
            marker=SYNTHETIC,
        ),
    }
    if found.maps is not None:
        drawn["maps.svg"] = draw_attention(
            found.edited.samples_mv,
            found.maps.mean(),
            [_said(statement) for statement in found.maps.statements],
            sampling_rate_hz=rate_hz,
            title="Where the edited ECG looked",
            subtitle="Share of the attention, averaged over layers, heads and edited steps",
            marker=SYNTHETIC,
        )
    return {name: svg.encode() for name, svg in drawn.items()}


def _twelve(record: EcgRecord, title: str, condition: CardiacCondition) -> str:
    return draw_twelve_leads(
        record.samples_mv,
        sampling_rate_hz=record.sampling_rate_hz,
        title=title,
        subtitle=_report(condition),
        details=_details(record, condition),
        marker=SYNTHETIC,
    )


def _details(record: EcgRecord, condition: CardiacCondition) -> list[tuple[str, str]]:
    found = _measured(record)
    asked, age = condition.heart_rate_bpm, condition.age_years
    return [
        ("Asked rate", "unknown" if asked is None else f"{asked:.0f} bpm"),
        ("Measured rate", _number(found.heart_rate_bpm, "bpm")),
        ("Measured QRS", _number(found.qrs_ms, "ms")),
        ("Age", "unknown" if age is None else f"{age:.0f}"),
        ("Sex", condition.sex),
    ]


def _lines(found: Edited, condition: CardiacCondition, after: CardiacCondition) -> list[str]:
    lines = []
    for name, record, state in (
        ("before", found.source, condition),
        ("after", found.edited, after),
    ):
        seen = _measured(record)
        rate, qrs = _number(seen.heart_rate_bpm, "bpm"), _number(seen.qrs_ms, "ms")
        spread = _number(seen.rr_sd_ms, "ms")
        lines.append(f"{name}: {_report(state)}; {rate}, R-R spread {spread}, QRS {qrs}")
    difference_mv = float(np.abs(found.edited.samples_mv - found.source.samples_mv).max())
    return [*lines, f"largest difference: {difference_mv:.2f} mV"]


def _measured(record: EcgRecord) -> Measurement:
    return measure(record.samples_mv, sampling_rate_hz=record.sampling_rate_hz)


def _number(value: float | None, unit: str) -> str:
    return "not measurable" if value is None else f"{value:.0f} {unit}"


def _report(condition: CardiacCondition) -> str:
    return ", ".join(_said(statement) for statement in condition.statements) or "no statement"


def _said(statement: Statement) -> str:
    certainty = "" if statement.certainty == "definite" else f" ({statement.certainty})"
    return statement.code + certainty


def _arrays(found: Edited, recording_mv: Samples) -> bytes:
    arrays: dict[str, Any] = {
        "recording_mv": recording_mv,
        "source_mv": found.source.samples_mv,
        "edited_mv": found.edited.samples_mv,
        "leads": np.array(LEADS),
        "sampling_rate_hz": np.float64(found.source.sampling_rate_hz),
    }
    if found.maps is not None:
        arrays["attention"] = found.maps.shares
        arrays["statements"] = np.array([_said(one) for one in found.maps.statements])
    written = io.BytesIO()
    np.savez(written, allow_pickle=False, **arrays)
    return written.getvalue()
