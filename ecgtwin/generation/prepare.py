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

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import (
    CohortMismatchError,
    CommitConflictError,
    DamageError,
    SpecificationError,
)
from ecgtwin.generation.description import (
    DESCRIPTION,
    described,
    encode_description,
    layout_of,
    read_description,
)
from ecgtwin.generation.people import people_of
from ecgtwin.generation.plan import CohortPlan, PatientTable
from ecgtwin.generation.plan_checks import check_rows
from ecgtwin.generation.plan_tables import (
    CONDITIONS,
    PATIENTS,
    REFERENCES,
    condition_columns,
    patient_columns,
    plan_metadata,
    read_reference_table,
    reference_columns,
)
from ecgtwin.generation.references import Reference
from ecgtwin.generation.texts import load_twin
from ecgtwin.generation.vocabulary import in_known_words, known_statements
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.patients import PatientsById
from ecgtwin.spec.storage import MAX_RATE_HZ, MIN_RATE_HZ
from ecgtwin.store.commit import put_new
from ecgtwin.store.layout import FORMAT_VERSION, SignalLayout
from ecgtwin.store.manifest import committed_shards
from ecgtwin.store.objects import join, object_exists
from ecgtwin.store.tables import put_table, read_table
from ecgtwin.store.writer import create_signals
from ecgtwin.twin.twin import EcgTwin

_WHOLE_SAMPLES = 1e-6  # how far from a whole number a strip's samples may be

# What a cohort is made from: name in the tables' metadata -> how a message calls it.
_INPUTS = {
    "specification": "another specification",
    "checkpoint": "another checkpoint",
    "corpus": "another corpus, bank or population",
    "format": "another format",
}


@dataclass(frozen=True)
class ResolvedCohort:
    """A plan with all that making it needs. ``base_vectors`` is (patient, width).

    ``plan.spec`` names persons by pseudonym; ``inputs`` are for ``private/`` only.
    """

    url: str
    plan: CohortPlan
    layout: SignalLayout
    references: Sequence[Reference]
    inputs: Mapping[str, str]

    @cached_property
    def base_vectors(self) -> NDArray[np.float32]:
        """Base vectors in the order of the plan's patients."""
        return np.stack([reference.base_vector for reference in self.references])

    @property
    def public_inputs(self) -> dict[str, str]:
        """What the cohort is made from, without a digest of patient ids."""
        return {**self.inputs, "specification": self.plan.spec.bytes_digest()}


def resolve_cohort(spec: CohortSpec, *, at_url: bool = True) -> ResolvedCohort:
    """Return the cohort that ``spec`` asks for, as it stands at its URL or newly planned.

    Writes nothing. Raises SpecificationError for what corpus or networks cannot give, and
    CohortMismatchError where something else stands at the URL; not ``at_url``: what stands there
    is left aside.
    """
    twin = load_twin(spec.checkpoint, texts_at=spec.corpus)
    spec = in_known_words(spec, known_statements(twin.provenance))
    twin.sampler(spec.sampling or twin.spec.sampling)  # refused here rather than by a worker
    strip = stored_strip(spec, twin)
    people = people_of(spec, twin)
    inputs = {
        "specification": spec.bytes_digest(),
        "checkpoint": twin.digest,
        "corpus": people.digest,
        "format": str(FORMAT_VERSION),
    }
    references: Sequence[Reference] | None = None
    if at_url:
        references = _stored_references(spec.output.url, inputs)
        if references is None:
            _check_vacant(spec.output.url)
    if references is None:
        references = people.references()
    return resolved(spec, references, inputs, *strip)


def write_plan(cohort: ResolvedCohort) -> ResolvedCohort:
    """Put the plan at the cohort's URL; return the cohort as it stands there.

    Where another process was first, its references count.
    """
    url, plan = cohort.url, cohort.plan
    try:
        put_table(join(url, REFERENCES), reference_columns(cohort.references), cohort.inputs)
    except CommitConflictError:
        stored = _stored_references(url, cohort.inputs)
        if stored is None:
            raise
        layout = cohort.layout
        cohort = resolved(
            plan.spec, stored, cohort.inputs, layout.num_samples, layout.sampling_rate_hz
        )
        plan = cohort.plan
    _put_plan_table(cohort, PATIENTS, patient_columns(plan.patients))
    _put_plan_table(cohort, CONDITIONS, condition_columns(plan.states))
    _put_description(cohort)
    create_signals(url, cohort.layout)
    return cohort


def load_cohort(spec: CohortSpec, *, checkpoint_digest: str) -> ResolvedCohort:
    """Return the cohort as ``write_plan`` left it at its URL: what a worker needs.

    Raises CohortMismatchError where the plan there is not of ``spec`` and this checkpoint.
    """
    url = spec.output.url
    description = read_description(url)
    found = {name: str(description["inputs"][name]) for name in _INPUTS}
    _check_inputs(url, found, {**found, "checkpoint": checkpoint_digest})
    stored = read_reference_table(url)
    if stored is None:
        raise DamageError(f"{join(url, REFERENCES)} is not there; restore it from a copy")
    references, inputs = stored
    signals = description["signals"]
    cohort = resolved(spec, references, inputs, signals["num_samples"], signals["sampling_rate_hz"])
    _check_inputs(url, found, cohort.public_inputs)
    if cohort.plan.digest != description["plan_digest"]:
        raise DamageError(
            f"{join(url, REFERENCES)} gives plan {cohort.plan.digest}, but {DESCRIPTION} says "
            f"{description['plan_digest']}; restore it from a copy"
        )
    return cohort


def check_still_planned(cohort: ResolvedCohort) -> None:
    """Raise CohortMismatchError where the cohort was deleted, or planned anew, meanwhile.

    For a worker that has lived on, before it commits.
    """
    _check_plan(cohort, str(read_description(cohort.url)["plan_digest"]))


def resolved(
    spec: CohortSpec,
    references: Sequence[Reference],
    inputs: Mapping[str, str],
    num_samples: int,
    sampling_rate_hz: float,
) -> ResolvedCohort:
    """Return the cohort of ``spec`` and these references, stored at that rate."""
    plan = CohortPlan(
        _with_pseudonyms(spec, references),
        PatientTable.of(reference.patient for reference in references),
        tuple(spec.states()),
        inputs["checkpoint"],
    )
    check_rows(plan)
    layout = layout_of(
        spec.output,
        num_rows=plan.num_rows,
        num_samples=num_samples,
        sampling_rate_hz=sampling_rate_hz,
    )
    return ResolvedCohort(spec.output.url, plan, layout, references, inputs)


def stored_strip(spec: CohortSpec, twin: EcgTwin) -> tuple[int, float]:
    """Return samples per lead and rate in Hz of what is stored of each ECG that ``twin`` draws.

    Raises SpecificationError where the wanted rate gives no whole number of samples.
    """
    rate_hz = spec.output.sampling_rate_hz
    if rate_hz is None:
        return twin.num_samples, twin.sampling_rate_hz
    strip_s = twin.num_samples / twin.sampling_rate_hz
    wanted = strip_s * rate_hz
    if abs(wanted - round(wanted)) > _WHOLE_SAMPLES:
        near = [count / strip_s for count in (math.floor(wanted), math.ceil(wanted))]
        near = [one for one in near if MIN_RATE_HZ <= one <= MAX_RATE_HZ]
        raise SpecificationError(
            f"output.sampling_rate_hz is {rate_hz:.10g}: the {strip_s:.10g} s that the checkpoint "
            f"draws would be {wanted:.10g} samples, and a whole number is needed; take "
            f"{' or '.join(f'{one:.10g}' for one in near)}"
        )
    return round(wanted), rate_hz


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
    if object_exists(join(url, DESCRIPTION)) or committed_shards(url):
        raise CohortMismatchError(
            f"{url} holds a cohort without {REFERENCES}, perhaps a released one, which cannot be "
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
    stored = read_reference_table(url)
    if stored is None:
        return None
    references, found = stored
    _check_inputs(url, found, inputs)
    return references


def _put_plan_table(cohort: ResolvedCohort, name: str, columns: Mapping[str, list[Any]]) -> None:
    """Write a table of the plan, or leave the one of this plan that is there."""
    target = join(cohort.url, name)
    try:
        put_table(target, columns, plan_metadata(cohort.plan, cohort.public_inputs))
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
    content = described(cohort.plan, cohort.layout, cohort.public_inputs)
    try:
        put_new(join(cohort.url, DESCRIPTION), encode_description(content))
    except CommitConflictError:  # another version of ours, or the inputs under other names
        _check_plan(cohort, read_description(cohort.url)["plan_digest"])
