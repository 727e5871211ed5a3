"""The plan of a stored cohort, rebuilt from what is public there: tables and description.

Never from ``private/``, a corpus or a checkpoint, so also for a cohort that was given away.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ecgtwin.errors import CohortMismatchError, DamageError, SpecificationError, StoreError
from ecgtwin.generation.description import (
    DESCRIPTION,
    NUMERICS,
    described,
    described_layout,
    described_specification,
    differing_fields,
    read_description,
)
from ecgtwin.generation.plan import CohortPlan, PatientTable
from ecgtwin.generation.plan_tables import (
    CONDITIONS,
    PATIENTS,
    REFERENCES,
    condition_columns,
    plan_metadata,
    read_patient_table,
)
from ecgtwin.generation.problems import Problem
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.shard import Shard
from ecgtwin.store.layout import SIGNALS, SignalLayout
from ecgtwin.store.manifest import committed_shards
from ecgtwin.store.metadata import metadata_faults
from ecgtwin.store.objects import join, object_exists, read_if_there
from ecgtwin.store.tables import read_table, read_whole_table
from ecgtwin.store.zarr_shards import read_layout


@dataclass(frozen=True, slots=True)
class StoredCohort:
    """What is known of a cohort before its shards are looked at, and what is wrong with that.

    ``plan`` is None where it cannot be rebuilt, ``layout`` where nothing says it.
    """

    url: str
    plan: CohortPlan | None
    layout: SignalLayout | None
    problems: tuple[Problem, ...]

    @property
    def plan_digest(self) -> str | None:
        """The digest that every manifest must bear; None where the plan is not known."""
        return None if self.plan is None else self.plan.digest

    def shards(self) -> Sequence[Shard]:
        """Return the shards; without a layout the committed ones, whose rows are not known."""
        if self.layout is None:
            return [Shard(index, 0, 0) for index in committed_shards(self.url)]
        return self.layout.shards()


def is_cohort(url: str) -> bool:
    """Say whether a cohort, or what is left of one, is at ``url``: a description or a plan."""
    return any(
        object_exists(join(url, name)) for name in (DESCRIPTION, PATIENTS, CONDITIONS, REFERENCES)
    )


def check_is_cohort(url: str) -> None:
    """Raise StoreError where neither a cohort nor what is left of one is at ``url``."""
    for name, words in (("corpus.json", "corpus"), ("twin.json", "checkpoint")):
        if object_exists(join(url, name)):
            raise StoreError(f"{url} holds a {words}, not a cohort; check the URL")
    if not is_cohort(url):
        raise StoreError(
            f"{url} holds no cohort (neither {DESCRIPTION} nor a plan is there); check the URL"
        )


def check_is_ours(url: str) -> None:
    """Raise StoreError unless what is at ``url`` says itself that it is a cohort.

    More than names: a folder of somebody else may hold a ``cohort.json`` too.
    """
    check_is_cohort(url)
    with suppress(CohortMismatchError, DamageError):
        if read_description(url).get("kind") == "cohort":
            return
    for name, word in ((PATIENTS, "plan"), (CONDITIONS, "plan"), (REFERENCES, "checkpoint")):
        with suppress(FileNotFoundError, DamageError):
            if word in read_table(join(url, name))[1]:
                return
    raise StoreError(
        f"{url} does not say that it is a cohort: neither {DESCRIPTION} nor a table of a plan can "
        "be read; nothing was removed: repair it first, or remove it by other means"
    )


def load_plan(url: str) -> CohortPlan:
    """Return the plan of the cohort at ``url`` from its public tables.

    CohortMismatchError where no plan is there, DamageError where it is not the one whose digest
    ``cohort.json`` holds.
    """
    description = read_description(url)
    spec = described_specification(url, description)
    try:
        patients, _ = read_patient_table(url)
    except FileNotFoundError:
        raise DamageError(f"{join(url, PATIENTS)} is not there; restore it from a copy") from None
    plan = _plan(spec, patients, description)
    if plan.digest != description["plan_digest"]:
        raise DamageError(
            f"{join(url, PATIENTS)} gives plan {plan.digest}, but {DESCRIPTION} says "
            f"{description['plan_digest']}; `ecgtwin cohort repair` may mend it"
        )
    return plan


def read_stored(url: str) -> StoredCohort:
    """Return what is known of the cohort at ``url``, with every problem of what is not a shard.

    StoreError where the store cannot be reached.
    """
    try:
        description = read_description(url)
        spec = described_specification(url, description)
        layout = described_layout(url, description, spec.output)
    except (CohortMismatchError, DamageError, SpecificationError) as error:
        problem = Problem("description", None, DESCRIPTION, str(error))
        return StoredCohort(url, None, _layout_of_signals(url), (problem, *_numerics(url)))
    plan, problems = _checked_plan(url, spec, description)
    if plan is not None:
        layout = replace(layout, num_rows=plan.num_rows)  # which shards there are, the plan says
        wanted = described(plan, layout, description["inputs"])
        problems += [
            _description_problem(url, text) for text in differing_fields(description, wanted)
        ]
    digest = description["plan_digest"] if plan is None else plan.digest
    problems += _condition_problems(url, spec, {**description["inputs"], "plan": digest})
    problems += [
        Problem("metadata", None, f"{SIGNALS}/{name}", f"{join(url, SIGNALS, name)} {why}")
        for name, why in metadata_faults(url, layout)
    ]
    return StoredCohort(url, plan, layout, (*problems, *_numerics(url, spec)))


def _plan(spec: CohortSpec, patients: PatientTable, description: Mapping[str, Any]) -> CohortPlan:
    checkpoint = str(description["inputs"].get("checkpoint"))
    return CohortPlan(spec, patients, tuple(spec.states()), checkpoint)


def _checked_plan(
    url: str, spec: CohortSpec, description: Mapping[str, Any]
) -> tuple[CohortPlan | None, list[Problem]]:
    """Return the plan, None where the patients are not those of it."""
    name = join(url, PATIENTS)
    try:
        patients, said = read_patient_table(url)
    except FileNotFoundError:
        return None, [_table_problem(PATIENTS, f"{name} is missing")]
    except DamageError as error:
        return None, [_table_problem(PATIENTS, str(error))]
    plan = _plan(spec, patients, description)
    if said == plan_metadata(plan, description["inputs"]):
        return plan, []  # where the description says another digest, that is its fault
    found = f"{name} is damaged: its rows and what stands beside them are of plan {plan.digest}"
    problem = _table_problem(PATIENTS, f"{found}, not of plan {description['plan_digest']}")
    return (plan if plan.digest == description["plan_digest"] else None), [problem]


def _condition_problems(url: str, spec: CohortSpec, wanted: Mapping[str, str]) -> list[Problem]:
    """Return what is wrong with the table of conditions; they follow from the specification."""
    name = join(url, CONDITIONS)
    try:
        columns, said = read_whole_table(name)
    except FileNotFoundError:
        return [_table_problem(CONDITIONS, f"{name} is missing")]
    except DamageError as error:
        return [_table_problem(CONDITIONS, str(error))]
    if columns == condition_columns(tuple(spec.states())) and said == wanted:
        return []
    text = f"{name} is damaged: it does not hold the conditions of {DESCRIPTION}"
    return [_table_problem(CONDITIONS, text)]


def _numerics(url: str, spec: CohortSpec | None = None) -> list[Problem]:
    """Return what is wrong with the fingerprint, which stands before any shard is committed.

    Of its content only the rows of a batch follow from the specification.
    """
    name = join(url, NUMERICS)
    data = read_if_there(name)
    if data is None:
        if not committed_shards(url):
            return []
        text = f"{name} is missing, though shards are committed"
        return [Problem("numerics", None, NUMERICS, text)]
    try:
        found = json.loads(data)
    except ValueError as error:
        return [Problem("numerics", None, NUMERICS, f"{name} is damaged: {error}")]
    if not isinstance(found, dict) or not {"device", "batch_rows", "torch"} <= set(found):
        return [Problem("numerics", None, NUMERICS, f"{name} is damaged: it is no fingerprint")]
    if spec is not None and found["batch_rows"] != spec.batch_rows:
        text = f"{name} is damaged: batch_rows {found['batch_rows']!r}, not {spec.batch_rows}"
        return [Problem("numerics", None, NUMERICS, text)]
    return []


def _layout_of_signals(url: str) -> SignalLayout | None:
    try:
        return read_layout(url)
    except DamageError:
        return None
    except StoreError:
        return None  # no metadata; an unreachable store was said before


def _table_problem(name: str, text: str) -> Problem:
    return Problem("plan_table", None, name, text)


def _description_problem(url: str, text: str) -> Problem:
    return Problem("description", None, DESCRIPTION, f"{join(url, DESCRIPTION)}: {text}")
