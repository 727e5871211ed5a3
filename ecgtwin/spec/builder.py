"""CohortBuilder: a cohort specification put together in Python, a call for each part."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.base import Spec
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.overrides import with_overrides
from ecgtwin.spec.patients import Patients
from ecgtwin.spec.template import cohort_yaml, write_new

_ORIGIN = "the specification"


class _Whom(Spec):
    patients: Patients


class CohortBuilder:
    """Values take every form that they have in YAML; ``build`` checks them all.

    spec = (
        CohortBuilder(checkpoint="tiny", corpus="corpus", url="cohort")
        .patients(split="test", where="patient.age_years >= 60", count=100)
        .condition("sinus rhythm", heart_rate_bpm={"start": 60, "stop": 100, "step": 10})
        .condition("AF", heart_rate_bpm=[80, 110])
        .constraint("condition.heart_rate_bpm <= 208 - 0.7 * patient.age_years")
        .fields(replicates=2, seed=7, sampling={"num_steps": 10})
        .build()
    )
    """

    def __init__(self, *, checkpoint: str, url: str, corpus: str | None = None) -> None:
        self._values: dict[str, Any] = {"version": 1, "checkpoint": checkpoint}
        if corpus is not None:
            self._values["corpus"] = corpus
        self._values["output"] = {"url": url}

    def patients(self, ids: Sequence[str] | None = None, **fields: Any) -> Self:  # noqa: ANN401
        """Say whose twins: ``ids``, or fields such as ``split``, ``where``, ``count``, ``bank``."""
        given = {**fields, **({} if ids is None else {"ids": list(ids)})}
        self._values["patients"] = {name: one for name, one in given.items() if one is not None}
        return self

    def condition(self, *statements: Any, **values: Any) -> Self:  # noqa: ANN401
        """Add a report in every combination of its ``heart_rate_bpm``, ``age_years``, ``sex``."""
        return self._add(None, {"statements": list(statements), **values})

    def grid(self, reports: Sequence[Sequence[Any]], **values: Any) -> Self:  # noqa: ANN401
        """Ask for each of several reports in every combination of the values."""
        if "conditions" in self._values:
            raise SpecificationError(
                "conditions: a grid stands alone; it was asked for beside more"
            )
        self._values["conditions"] = {
            "grid": {"statements": [list(report) for report in reports], **values}
        }
        return self

    def stratum(self, *statements: Any, count: Any, **values: Any) -> Self:  # noqa: ANN401
        """Add ``count`` ECGs of a report, spread over its values and the patients ``among``."""
        return self._add("strata", {"statements": list(statements), **values, "count": count})

    def constraint(self, text: str) -> Self:
        """Add an expression that must be true of each patient in each state."""
        self._values.setdefault("constraints", []).append(text)
        return self

    def fields(self, **fields: Any) -> Self:  # noqa: ANN401
        """Set other fields: replicates, seed, share_noise, batch_rows, sampling, run, labels."""
        self._values |= fields
        return self

    def output(self, **fields: Any) -> Self:  # noqa: ANN401
        """Set how the cohort is cut and stored."""
        self._values["output"] |= fields
        return self

    def set(self, *overrides: str) -> Self:
        """Set single fields as on the command line: ``output.rows_per_shard=64``."""
        self._values = with_overrides(self._values, overrides)
        return self

    @property
    def corpus(self) -> str | None:
        """Where the reference ECGs are."""
        found: str | None = self._values.get("corpus")
        return found

    def chosen_patients(self) -> Patients:
        """Return whose twins are asked for, checked; the rest need not be there yet."""
        whom = {"patients": self._values.get("patients", {})}
        return _Whom.parse(whom, origin=_ORIGIN).patients

    def build(self) -> CohortSpec:
        """Return the specification; SpecificationError has a line for each mistake."""
        return CohortSpec.parse(self._values, origin=_ORIGIN)

    def yaml(self, *, head: Sequence[str] = (), with_examples: bool = False) -> str:
        """Return it as commented YAML, the same for the same; see ``cohort_yaml``."""
        return cohort_yaml(self.build(), head=head, with_examples=with_examples)

    def write(self, path: str | Path, *, head: Sequence[str] = ()) -> CohortSpec:
        """Write the YAML to a new file; SpecificationError where one is there."""
        spec = self.build()
        write_new(Path(path), cohort_yaml(spec, head=head))
        return spec

    def _add(self, group: str | None, part: dict[str, Any]) -> Self:
        empty: Any = [] if group is None else {group: []}
        conditions = self._values.setdefault("conditions", empty)
        is_list = isinstance(conditions, list)
        if is_list != (group is None) or not (is_list or group in conditions):
            raise SpecificationError(
                "conditions are a list, a grid, or strata: one of these, not two"
            )
        (conditions if group is None else conditions[group]).append(part)
        return self
