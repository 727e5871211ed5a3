"""From a specification to the plan at the cohort's URL, written once and then only read.

    private/references.parquet   patient and record ids, base vectors: claims the URL, comes first
    plan/patients.parquet        follows from it, without what is private
    plan/conditions.parquet
    cohort.json                  what the cohort is
    signals.zarr                 metadata; from here on shards can be committed

The first table holds all that might come out otherwise another time (base vectors); whoever finds
it goes on with it, so a run killed anywhere in between leaves no other cohort than another run.

Outside ``private/`` persons go by their pseudonyms only: in a specification that lists patients by
id, and in its digest (from which short ids could be guessed), pseudonyms stand for the ids.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import CohortMismatchError, CommitConflictError, DamageError
from ecgtwin.generation.people import people_of
from ecgtwin.generation.plan import CohortPlan, PatientRow, PatientTable, check_rows
from ecgtwin.generation.references import Reference, base_vector_digest
from ecgtwin.generation.texts import load_twin
from ecgtwin.generation.vocabulary import in_known_words, known_statements
from ecgtwin.spec.base import digest_of
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.patients import PatientsById
from ecgtwin.spec.states import WantedState
from ecgtwin.store.commit import put_new
from ecgtwin.store.layout import FORMAT_VERSION, SignalLayout
from ecgtwin.store.manifest import committed_shards
from ecgtwin.store.objects import join, object_exists, read_object
from ecgtwin.store.tables import put_table, read_table
from ecgtwin.store.writer import create_signals

_REFERENCES = "private/references.parquet"
_PATIENTS = "plan/patients.parquet"
_CONDITIONS = "plan/conditions.parquet"
_DESCRIPTION = "cohort.json"

# What a cohort is made from: name in the tables' metadata -> how a message calls it.
_INPUTS = {
    "specification": "another specification",
    "checkpoint": "another checkpoint",
    "corpus": "another corpus, bank or population",
    "format": "another format",
}


@dataclass(frozen=True, slots=True)
class ResolvedCohort:
    """A plan with all that making it needs. ``base_vectors`` is (patient, width).

    ``plan.spec`` names persons by pseudonym; ``inputs`` are for ``private/`` only.
    """

    url: str
    plan: CohortPlan
    layout: SignalLayout
    references: Sequence[Reference]
    inputs: Mapping[str, str]

    @property
    def base_vectors(self) -> NDArray[np.float32]:
        """Base vectors in the order of the plan's patients."""
        return np.stack([reference.base_vector for reference in self.references])

    @property
    def public_inputs(self) -> dict[str, str]:
        """What the cohort is made from, without a digest of patient ids."""
        return {**self.inputs, "specification": self.plan.spec.bytes_digest()}


def resolve_cohort(spec: CohortSpec) -> ResolvedCohort:
    """Return the cohort that ``spec`` asks for, as it stands at its URL or newly planned.

    Writes nothing. Raises SpecificationError for what corpus or networks cannot give, and
    CohortMismatchError where something else stands at the URL.
    """
    twin = load_twin(spec.checkpoint, texts_at=spec.corpus)
    spec = in_known_words(spec, known_statements(twin.provenance))
    twin.sampler(spec.sampling or twin.spec.sampling)  # refused here rather than by a worker
    people = people_of(spec, twin)
    inputs = {
        "specification": spec.bytes_digest(),
        "checkpoint": twin.digest,
        "corpus": people.digest,
        "format": str(FORMAT_VERSION),
    }
    references: Sequence[Reference] | None = _stored_references(spec.output.url, inputs)
    if references is None:
        _check_vacant(spec.output.url)
        references = people.references()
    return _resolved(spec, references, inputs, twin.num_samples, twin.sampling_rate_hz)


def write_plan(cohort: ResolvedCohort) -> ResolvedCohort:
    """Put the plan at the cohort's URL; return the cohort as it stands there.

    Where another process was first, its references count.
    """
    url, plan = cohort.url, cohort.plan
    try:
        put_table(join(url, _REFERENCES), _reference_columns(cohort.references), cohort.inputs)
    except CommitConflictError:
        stored = _stored_references(url, cohort.inputs)
        if stored is None:
            raise
        layout = cohort.layout
        cohort = _resolved(
            plan.spec, stored, cohort.inputs, layout.num_samples, layout.sampling_rate_hz
        )
        plan = cohort.plan
    _put_plan_table(cohort, _PATIENTS, _patient_columns(plan.patients))
    _put_plan_table(cohort, _CONDITIONS, _condition_columns(plan.states))
    _put_description(cohort)
    create_signals(url, cohort.layout)
    return cohort


def load_cohort(spec: CohortSpec, *, checkpoint_digest: str) -> ResolvedCohort:
    """Return the cohort as ``write_plan`` left it at its URL: what a worker needs.

    Raises CohortMismatchError where the plan there is not of ``spec`` and this checkpoint.
    """
    url = spec.output.url
    description = _read_description(url)
    found = {name: str(description["inputs"][name]) for name in _INPUTS}
    _check_inputs(url, found, {**found, "checkpoint": checkpoint_digest})
    stored = _read_references(url)
    if stored is None:
        raise DamageError(f"{join(url, _REFERENCES)} is not there; restore it from a copy")
    references, inputs = stored
    signals = description["signals"]
    cohort = _resolved(
        spec, references, inputs, signals["num_samples"], signals["sampling_rate_hz"]
    )
    _check_inputs(url, found, cohort.public_inputs)
    if cohort.plan.digest != description["plan_digest"]:
        raise DamageError(
            f"{join(url, _REFERENCES)} gives plan {cohort.plan.digest}, but {_DESCRIPTION} says "
            f"{description['plan_digest']}; restore it from a copy"
        )
    return cohort


def check_still_planned(cohort: ResolvedCohort) -> None:
    """Raise CohortMismatchError where the cohort was deleted, or planned anew, meanwhile.

    For a worker that has lived on, before it commits.
    """
    _check_plan(cohort, str(_read_description(cohort.url)["plan_digest"]))


def _resolved(
    spec: CohortSpec,
    references: Sequence[Reference],
    inputs: Mapping[str, str],
    num_samples: int,
    sampling_rate_hz: float,
) -> ResolvedCohort:
    plan = CohortPlan(
        _with_pseudonyms(spec, references),
        PatientTable.of(reference.patient for reference in references),
        tuple(spec.states()),
        inputs["checkpoint"],
    )
    check_rows(plan)
    layout = SignalLayout(
        num_rows=plan.num_rows,
        num_samples=num_samples,
        sampling_rate_hz=sampling_rate_hz,
        rows_per_shard=spec.output.rows_per_shard,
        rows_per_chunk=spec.output.rows_per_chunk,
    )
    return ResolvedCohort(spec.output.url, plan, layout, references, inputs)


def _with_pseudonyms(spec: CohortSpec, references: Sequence[Reference]) -> CohortSpec:
    """Return ``spec`` with a list of these patients' ids replaced by their pseudonyms."""
    ids = tuple(reference.patient_id for reference in references)
    if not isinstance(spec.patients, PatientsById) or spec.patients.ids != ids:
        return spec
    persons = tuple(reference.patient.person for reference in references)
    return spec.model_copy(update={"patients": PatientsById(ids=persons)})


def _check_vacant(url: str) -> None:
    """Raise CohortMismatchError where something without references of its own is at ``url``."""
    if object_exists(join(url, "corpus.json")):
        raise CohortMismatchError(f"{url} holds a corpus; choose another URL for the cohort")
    if object_exists(join(url, "twin.json")):
        raise CohortMismatchError(f"{url} holds a checkpoint; choose another URL for the cohort")
    if object_exists(join(url, _DESCRIPTION)) or committed_shards(url):
        raise CohortMismatchError(
            f"{url} holds a cohort without {_REFERENCES}, perhaps a released one, which cannot be "
            "gone on with; choose another URL"
        )


def _check_inputs(url: str, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    differing = [
        f"{words} ({found.get(name, 'none')} there, {wanted[name]} asked for)"
        for name, words in _INPUTS.items()
        if found.get(name) != wanted[name]
    ]
    if differing:
        raise CohortMismatchError(
            f"{url} holds a cohort of {' and '.join(differing)}; nothing was changed: "
            "choose another URL, or delete the cohort to start again"
        )


def _stored_references(url: str, inputs: Mapping[str, str]) -> list[Reference] | None:
    """Return the references at ``url``, None where there are none; check what they are of."""
    stored = _read_references(url)
    if stored is None:
        return None
    references, found = stored
    _check_inputs(url, found, inputs)
    return references


def _read_references(url: str) -> tuple[list[Reference], dict[str, str]] | None:
    """Return the references at ``url`` and what they were made from, None where there are none."""
    name = join(url, _REFERENCES)
    try:
        columns, metadata = read_table(name)
    except FileNotFoundError:
        return None
    try:
        rows = zip(*columns.values(), strict=True)
        return [_stored_reference(dict(zip(columns, row, strict=True))) for row in rows], metadata
    except (KeyError, TypeError, ValueError) as error:
        raise DamageError(f"{name} is damaged: {error!r}; restore it from a copy") from error


def _stored_reference(row: Mapping[str, Any]) -> Reference:
    vector = np.asarray(row["base_vector"], np.float32)
    patient = PatientRow(
        person=row["person"],
        split=row["split"],
        age_years=row["age_years"],
        sex=row["sex"],
        base_vector_digest=base_vector_digest(vector),
    )
    return Reference(patient, row["patient_id"], row["record_id"], vector)


def _reference_columns(references: Sequence[Reference]) -> dict[str, list[Any]]:
    columns = _patient_columns([reference.patient for reference in references])
    del columns["base_vector_digest"]
    return {
        **columns,
        "patient_id": [reference.patient_id for reference in references],
        "record_id": [reference.record_id for reference in references],
        "base_vector": [reference.base_vector for reference in references],
    }


def _patient_columns(patients: Iterable[PatientRow]) -> dict[str, list[Any]]:
    names = ("person", "split", "age_years", "sex", "base_vector_digest")
    rows = list(patients)
    return {name: [getattr(patient, name) for patient in rows] for name in names}


def _condition_columns(states: Sequence[WantedState]) -> dict[str, list[Any]]:
    """Return rate and statements to read, and the whole as JSON: ``own`` has no column type."""
    return {
        "heart_rate_bpm": [one.heart_rate_bpm for one in states],
        "statements": ["; ".join(line.code for line in one.statements) for one in states],
        "condition": [json.dumps(one.model_dump(mode="json"), sort_keys=True) for one in states],
    }


def _put_plan_table(cohort: ResolvedCohort, name: str, columns: Mapping[str, list[Any]]) -> None:
    """Write a table of the plan, or leave the one of this plan that is there."""
    target = join(cohort.url, name)
    try:
        put_table(target, columns, {**cohort.public_inputs, "plan": cohort.plan.digest})
    except CommitConflictError:  # another version of the Parquet library writes other bytes
        _check_plan(cohort, read_table(target)[1].get("plan", "none"))


def _check_plan(cohort: ResolvedCohort, found: str) -> None:
    if found != cohort.plan.digest:
        raise CohortMismatchError(
            f"{cohort.url} holds plan {found}, but this is plan {cohort.plan.digest}; nothing was "
            "changed: choose another URL, or delete the cohort to start again"
        )


def _put_description(cohort: ResolvedCohort) -> None:
    """Write ``cohort.json``, or leave the one of this plan that is there."""
    plan, layout = cohort.plan, cohort.layout
    content = {
        "kind": "cohort",
        "synthetic": True,
        "format_version": FORMAT_VERSION,
        "ecgtwin": version("ecgtwin"),
        "plan_digest": plan.digest,
        "inputs": cohort.public_inputs,
        "inputs_digest": digest_of(cohort.public_inputs),
        "num_patients": len(plan.patients),
        "num_conditions": len(plan.states),
        "signals": {
            "num_rows": layout.num_rows,
            "num_samples": layout.num_samples,
            "sampling_rate_hz": layout.sampling_rate_hz,
        },
        "specification": plan.spec.model_dump(
            mode="json", exclude={"run": True, "output": {"url"}}
        ),
    }
    data = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    try:
        put_new(join(cohort.url, _DESCRIPTION), data.encode())
    except CommitConflictError:  # another version of ours, or the inputs under other names
        _check_plan(cohort, _read_description(cohort.url)["plan_digest"])


def _read_description(url: str) -> dict[str, Any]:
    name = join(url, _DESCRIPTION)
    try:
        data = read_object(name)
    except FileNotFoundError:
        raise CohortMismatchError(f"{url} holds no plan; {name} is not there") from None
    try:
        found = json.loads(data)
        missing = {"plan_digest", "inputs", "signals"} - set(found)
    except (ValueError, TypeError) as error:
        raise DamageError(f"{name} is damaged: {error}; restore it from a copy") from error
    if missing:
        raise DamageError(f"{name} is damaged: {', '.join(sorted(missing))} missing in it")
    return dict(found)
