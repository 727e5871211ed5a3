"""What can be wrong with a stored cohort: one Problem each, for people and for programs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "description",  # cohort.json is missing or not what the plan says
    "plan_table",  # a table under plan/ is missing or not of this plan
    "numerics",  # numerics.json is missing, though shards are committed, or cannot be read
    "metadata",  # of signals.zarr: missing, or not what the plan says
    "missing_shard",  # not committed
    "manifest",  # cannot be read, or is not of this shard
    "other_plan",  # a manifest of another plan
    "rows",  # a manifest's rows are not those of the plan
    "missing_object",  # of samples; its shard is committed
    "object",  # of samples; its bytes are not those that were committed
    "missing_ledger",  # part; its shard is committed
    "ledger",  # part; its bytes are not those that were committed, or its lines say other things
    "index",  # is there, but a part of it is missing or not what it was
    "stray",  # an object that belongs to no shard
    "unchecked",  # a shard could not be checked
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: of a shard, or of the cohort as a whole (None).

    ``name`` is the object's, relative to the cohort.
    """

    kind: Kind
    shard: int | None
    name: str
    text: str

    def line(self) -> str:
        """Return it as one line."""
        return f"{self.kind}: {self.text}"


def of_shards(problems: Iterable[Problem]) -> dict[int, list[Problem]]:
    """Return the problems of shards by shard, ascending; those of the cohort are left out."""
    found: dict[int, list[Problem]] = {}
    for problem in problems:
        if problem.shard is not None and problem.kind != "stray":
            found.setdefault(problem.shard, []).append(problem)
    return dict(sorted(found.items()))
