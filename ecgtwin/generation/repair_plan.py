"""What repair does about what is not a shard: description, plan tables, Zarr metadata, numerics.

All of it follows from the base vectors under ``private/``, a checkpoint and the specification.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ecgtwin.errors import CohortMismatchError, DamageError
from ecgtwin.executors.torch_threads import one_torch_thread
from ecgtwin.generation.description import (
    DESCRIPTION,
    NUMERICS,
    described,
    described_specification,
    encode_description,
    mended,
    read_description,
)
from ecgtwin.generation.mending import mend_object
from ecgtwin.generation.numerics import (
    device_at_hand,
    encode_fingerprint,
    fingerprint,
    settle_numerics,
)
from ecgtwin.generation.plan_tables import (
    CONDITIONS,
    PATIENTS,
    REFERENCES,
    condition_columns,
    patient_columns,
    plan_metadata,
    read_reference_table,
)
from ecgtwin.generation.prepare import ResolvedCohort, resolved, stored_strip
from ecgtwin.generation.problems import Kind, Problem
from ecgtwin.generation.remake import remake_shard
from ecgtwin.generation.texts import load_twin
from ecgtwin.generation.vocabulary import in_known_words, known_statements
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.store.layout import SIGNALS
from ecgtwin.store.manifest import Manifest, committed_shards, digest_bytes, read_manifest
from ecgtwin.store.objects import join
from ecgtwin.store.tables import encode_columns, read_table
from ecgtwin.store.writer import quantise
from ecgtwin.store.zarr_shards import encode_metadata, encode_shard
from ecgtwin.twin.twin import EcgTwin

_PROOFS = 3  # shards drawn again, at most, to find that this machine has a cohort's numerics
_OF_PLAN: tuple[Kind, ...] = ("description", "plan_table", "metadata")


@dataclass(frozen=True, slots=True)
class Source:
    """What a stored cohort is drawn from; ``checkpoint`` says where the twin was loaded from."""

    twin: EcgTwin
    cohort: ResolvedCohort
    checkpoint: str

    @property
    def spec(self) -> CohortSpec:
        """The specification for a worker."""
        return self.cohort.plan.spec.model_copy(update={"checkpoint": self.checkpoint})


def source_of(url: str, *, checkpoint: str | None, spec: CohortSpec | None) -> Source:
    """Return what the cohort at ``url`` is drawn from.

    ``spec`` stands for the specification in ``cohort.json``, ``checkpoint`` for the place that it
    names. CohortMismatchError where they are not those that the cohort was made from, DamageError
    where the base vectors are lost.
    """
    is_given = spec is not None
    if spec is None:
        spec = _described(url)
    else:
        spec = spec.model_copy(update={"output": spec.output.model_copy(update={"url": url})})
    checkpoint = checkpoint or spec.checkpoint
    twin = load_twin(checkpoint, texts_at=url)
    stored = read_reference_table(url)
    if stored is None:
        raise DamageError(
            f"{join(url, REFERENCES)} is not there: without its base vectors nothing can be made "
            "again; restore it from a copy"
        )
    references, inputs = stored
    if twin.digest != inputs.get("checkpoint"):
        raise CohortMismatchError(
            f"checkpoint {checkpoint} has digest {twin.digest}, the cohort was made with "
            f"{inputs.get('checkpoint')}; say where that is with --checkpoint"
        )
    if is_given:
        spec = in_known_words(spec, known_statements(twin.provenance))
        if spec.bytes_digest() != inputs.get("specification"):
            raise CohortMismatchError(
                f"the specification has digest {spec.bytes_digest()}, the cohort was made from "
                f"{inputs.get('specification')}; give the one that it was made from"
            )
    cohort = resolved(spec, references, inputs, *stored_strip(spec, twin))
    _check_witnesses(cohort)
    return Source(twin, cohort, checkpoint)


def mend_plan(
    cohort: ResolvedCohort, problems: Iterable[Problem], *, whole: bool = False
) -> list[str]:
    """Put what is wrong of description, plan tables and metadata; return the names of those.

    ``whole``: all that is not as it should be, whether a problem names it or not.
    """
    contents = dict(_plan_objects(cohort))
    of_plan = [problem for problem in problems if problem.kind in _OF_PLAN]
    wrong = {problem.name for problem in of_plan}
    if any(problem.kind == "metadata" for problem in of_plan):
        wrong.add(DESCRIPTION)  # which of the two says the wrong shape is known only now
    return [
        name
        for name, data in contents.items()
        if (whole or name in wrong) and mend_object(cohort.url, name, data)
    ]


def mend_numerics(source: Source) -> str | None:
    """Put the fingerprint of this machine where a shard drawn here has the bytes of its manifest.

    Returns why it was not put; None where it was.
    """
    cohort = source.cohort
    batch_rows = cohort.plan.spec.batch_rows
    settle_numerics()
    with one_torch_thread():
        twin = load_twin(source.checkpoint, texts_at=cohort.url, device=device_at_hand())
        mine = encode_fingerprint(fingerprint(twin.device, batch_rows=batch_rows))
        for manifest in _manifests(cohort):
            if _made_again(twin, cohort, manifest) == manifest.object_digest:
                mend_object(cohort.url, NUMERICS, mine)
                return None
    return (
        f"{join(cohort.url, NUMERICS)}: no committed shard drawn here has the bytes of its "
        "manifest, so it was made with other numerics; restore it from a copy"
    )


def _described(url: str) -> CohortSpec:
    try:
        return described_specification(url, read_description(url))
    except (DamageError, CohortMismatchError) as error:
        advice = (
            "`ecgtwin cohort repair --spec F`, where F is the specification that the cohort was "
            "made from, may mend it"
        )
        raise DamageError(f"{str(error).partition('; ')[0]}; {advice}") from error


def _plan_objects(cohort: ResolvedCohort) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of all that stands beside the shards and follows from the plan."""
    plan, inputs = cohort.plan, cohort.public_inputs
    said = plan_metadata(plan, inputs)
    yield PATIENTS, encode_columns(patient_columns(plan.patients), said)
    yield CONDITIONS, encode_columns(condition_columns(plan.states), said)
    content = mended(_readable_description(cohort), described(plan, cohort.layout, inputs))
    yield DESCRIPTION, encode_description(content)
    for name, data in encode_metadata(cohort.layout):
        yield f"{SIGNALS}/{name}", data


def _readable_description(cohort: ResolvedCohort) -> Mapping[str, Any] | None:
    """Return what stands there, None where its specification is not that of the cohort."""
    try:
        found = read_description(cohort.url)
        spec = described_specification(cohort.url, found)
    except (DamageError, CohortMismatchError):
        return None
    return found if spec.bytes_digest() == cohort.plan.spec.bytes_digest() else None


def _check_witnesses(cohort: ResolvedCohort) -> None:
    """Raise CohortMismatchError where more of what can be read at the URL is of another plan."""
    found = dict(_witnesses(cohort))
    digest = cohort.plan.digest
    said = Counter(found.values())
    others = [(num, other) for other, num in said.items() if other != digest]
    num, other = max(others, default=(0, ""))
    if num > said[digest]:
        names = ", ".join(name for name, plan in found.items() if plan == other)
        raise CohortMismatchError(
            f"{join(cohort.url, REFERENCES)} and the specification give plan {digest}, but "
            f"{names} say plan {other}; restore the first from a copy"
        )


def _witnesses(cohort: ResolvedCohort) -> Iterator[tuple[str, str]]:
    for name in (PATIENTS, CONDITIONS):
        with suppress(DamageError, FileNotFoundError):
            yield name, read_table(join(cohort.url, name))[1].get("plan", "none")
    with suppress(DamageError, CohortMismatchError):
        yield DESCRIPTION, str(read_description(cohort.url)["plan_digest"])
    for index in committed_shards(cohort.url)[:_PROOFS]:
        with suppress(DamageError, FileNotFoundError):
            yield f"the manifest of shard {index}", read_manifest(cohort.url, index).plan_digest


def _manifests(cohort: ResolvedCohort) -> Iterator[Manifest]:
    """Yield a few manifests that are of this plan."""
    num = 0
    shards = {shard.index: shard for shard in cohort.plan.shards()}
    for index in committed_shards(cohort.url):
        if num == _PROOFS:
            return
        with suppress(DamageError, FileNotFoundError):
            manifest = read_manifest(cohort.url, index)
            if manifest.plan_digest == cohort.plan.digest and manifest.shard == shards.get(index):
                yield manifest
                num += 1


def _made_again(twin: EcgTwin, cohort: ResolvedCohort, manifest: Manifest) -> str:
    samples_mv = remake_shard(twin, cohort, manifest.shard, manifest.columns["attempt"])
    steps, _ = quantise(samples_mv, step_mv=cohort.layout.step_mv)
    return digest_bytes(encode_shard(cohort.layout, steps))
