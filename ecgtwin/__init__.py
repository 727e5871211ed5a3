"""ecgtwin: personal ECG digital twins, mass-produced. Names load on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecgtwin.errors import EcgTwinError
    from ecgtwin.signals.record import EcgRecord
    from ecgtwin.spec.cohort import CohortSpec
    from ecgtwin.spec.condition import CardiacCondition
    from ecgtwin.spec.edit import EditSpec
    from ecgtwin.spec.sampling import SamplingSpec
    from ecgtwin.store.reader import Cohort, Corpus
    from ecgtwin.store.torch_dataset import EcgDataset
    from ecgtwin.twin.persons import Reference
    from ecgtwin.twin.twin import EcgTwin

_HOMES = {
    "CardiacCondition": "ecgtwin.spec.condition",
    "Cohort": "ecgtwin.store.reader",
    "CohortSpec": "ecgtwin.spec.cohort",
    "Corpus": "ecgtwin.store.reader",
    "EcgDataset": "ecgtwin.store.torch_dataset",
    "EcgRecord": "ecgtwin.signals.record",
    "EcgTwin": "ecgtwin.twin.twin",
    "EcgTwinError": "ecgtwin.errors",
    "EditSpec": "ecgtwin.spec.edit",
    "Reference": "ecgtwin.twin.persons",
    "SamplingSpec": "ecgtwin.spec.sampling",
}

__all__ = [
    "CardiacCondition",
    "Cohort",
    "CohortSpec",
    "Corpus",
    "EcgDataset",
    "EcgRecord",
    "EcgTwin",
    "EcgTwinError",
    "EditSpec",
    "Reference",
    "SamplingSpec",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  (any public name)
    if name not in _HOMES:
        raise AttributeError(f"module 'ecgtwin' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
