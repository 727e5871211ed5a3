"""A stored cohort mended: only what a verification found wrong is made again, to the same bytes."""

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field

from ecgtwin.errors import StoreError
from ecgtwin.executors.protocol import Executor, Outcome
from ecgtwin.executors.reasons import last_line
from ecgtwin.generation.mending import mend_object
from ecgtwin.generation.merge_cohort import Merging, complete_plan
from ecgtwin.generation.problems import Kind, Problem, of_shards
from ecgtwin.generation.repair_plan import Source, mend_numerics, mend_plan
from ecgtwin.generation.repair_shard import RepairShard, ShardRepair
from ecgtwin.generation.stored_plan import read_stored
from ecgtwin.generation.verify_cohort import Verification, verify_cohort
from ecgtwin.spec.shard import Shard
from ecgtwin.store.objects import delete_object, join

_DONE: dict[Kind, str] = {
    "description": "is written again from the base vectors and the specification",
    "plan_table": "is written again from the base vectors and the specification",
    "numerics": "is written again where a shard drawn here has the bytes of its manifest",
    "metadata": "is written again from the plan",
    "missing_shard": "is generated",
    "manifest": "is generated again",
    "other_plan": "is generated again",
    "rows": "is generated again",
    "missing_object": "is drawn again by the recorded attempts",
    "object": "is drawn again by the recorded attempts",
    "missing_ledger": "is generated again",
    "ledger": "is generated again",
    "index": "is merged again",
}


@dataclass(slots=True)
class Repair:
    """What was put or removed, by name, and what was left as it is, in words."""

    mended: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return it in lines for a person."""
        return [f"mended: {name}" for name in self.mended] + [f"left: {one}" for one in self.left]


def intentions(problems: Iterable[Problem], *, remove_strays: bool) -> list[str]:
    """Return what a repair would do about each problem, a line each."""
    done = {**_DONE, "stray": "is removed"} if remove_strays else _DONE
    return [
        f"{problem.name} {done.get(problem.kind, 'is left as it is')} ({problem.line()})"
        for problem in problems
    ]


def repair_cohort(
    found: Verification,
    source: Source,
    *,
    executor: Executor,
    mixed_numerics: bool = False,
    remove_strays: bool = False,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> Repair:
    """Mend what ``found`` says is wrong; every replacement is noted under ``runs/``.

    Shards that would come out otherwise than their manifests say are left. Raises
    CohortMismatchError where this machine has other numerics, unless ``mixed_numerics``.
    """
    repair = Repair()
    is_of_plan = found.plan_digest == source.cohort.plan.digest
    repair.mended += mend_plan(source.cohort, found.problems, whole=not is_of_plan)
    if not is_of_plan:
        stored = read_stored(source.cohort.url)
        found = verify_cohort(stored, executor=executor, complete=found.counts_missing)
        repair.mended += mend_plan(source.cohort, found.problems)
    for problem in found.problems:
        if problem.kind == "stray" and remove_strays:
            delete_object(join(found.url, problem.name))
            repair.mended.append(f"{problem.name} (removed)")
        elif problem.kind == "stray":
            repair.left.append(f"{problem.line()}; --remove-strays removes it")
        elif problem.kind == "unchecked":
            repair.left.append(problem.line())
    wrong = {
        index
        for index, problems in of_shards(found.problems).items()
        if any(problem.kind in _DONE for problem in problems)
    }
    if _numerics_are_known(found, source, repair) or mixed_numerics:
        shards = [shard for shard in source.cohort.plan.shards() if shard.index in wrong]
        _mend_shards(shards, source, executor, mixed_numerics, repair, on_outcome)
    elif wrong:
        repair.left.append(f"{len(wrong)} shards, as long as the numerics are not known")
    if any(problem.kind == "index" for problem in found.problems):
        _mend_index(found.url, repair)
    return repair


def _mend_index(url: str, repair: Repair) -> None:
    """Make the index again from the manifests as they are now."""
    try:
        objects = Merging(url, complete_plan(url)).objects()
        repair.mended += [one.name for one in objects if mend_object(url, one.name, one.data)]
    except StoreError as error:
        repair.left.append(str(error))


def _numerics_are_known(found: Verification, source: Source, repair: Repair) -> bool:
    named = [problem.name for problem in found.problems if problem.kind == "numerics"]
    if not named:
        return True
    refusal = mend_numerics(source)
    if refusal is None:
        repair.mended += named
    else:
        repair.left.append(refusal)
    return refusal is None


def _mend_shards(
    shards: list[Shard],
    source: Source,
    executor: Executor,
    mixed_numerics: bool,
    repair: Repair,
    on_outcome: Callable[[Outcome], None] | None,
) -> None:
    if not shards:
        return
    work = RepairShard(source.spec, mixed_numerics=mixed_numerics)
    with closing(executor.run(work, shards)) as outcomes:
        for outcome in outcomes:
            if outcome.mistake is not None:
                raise outcome.mistake
            if isinstance(outcome.result, ShardRepair):
                repair.mended += outcome.result.names
                if outcome.result.refusal is not None:
                    repair.left.append(outcome.result.refusal)
            else:
                why = last_line(outcome.error)
                repair.left.append(f"shard {outcome.shard.index} failed: {why}")
            if on_outcome is not None:
                on_outcome(outcome)
