"""``cohort.json``: what a cohort is, written once, and the layout that follows from it."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from ecgtwin.errors import CohortMismatchError, DamageError, SpecificationError
from ecgtwin.generation.plan import CohortPlan
from ecgtwin.spec.base import digest_of
from ecgtwin.spec.cohort import CohortSpec, OutputSpec
from ecgtwin.spec.storage import STEP_MV, USUAL_CODEC
from ecgtwin.store.layout import FORMAT_VERSION, SignalLayout
from ecgtwin.store.objects import join, read_object

DESCRIPTION = "cohort.json"
NUMERICS = "numerics.json"
_OF_WRITER = ("ecgtwin", "specification")  # another version, or other places, are no other cohort


def described(plan: CohortPlan, layout: SignalLayout, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of the description; ``inputs`` are those that may be public."""
    unused = {name for name, value in plan.spec.output if value is None}
    return {
        "kind": "cohort",
        "synthetic": True,
        "format_version": FORMAT_VERSION,
        "ecgtwin": version("ecgtwin"),
        "plan_digest": plan.digest,
        "inputs": dict(inputs),
        "inputs_digest": digest_of(dict(inputs)),
        "num_patients": len(plan.patients),
        "num_conditions": len(plan.states),
        "signals": {
            "num_rows": layout.num_rows,
            "num_samples": layout.num_samples,
            "sampling_rate_hz": layout.sampling_rate_hz,
        },
        "specification": plan.spec.model_dump(
            mode="json", exclude={"run": True, "output": {"url", *unused}}
        ),
    }


def mended(found: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must stand there where ``found`` does: what it says of its writer is kept."""
    kept = {} if found is None else {name: found[name] for name in _OF_WRITER if name in found}
    return {**wanted, **kept}


def encode_description(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of the description."""
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def read_description(url: str) -> dict[str, Any]:
    """Return what stands at ``url``; CohortMismatchError where nothing does."""
    name = join(url, DESCRIPTION)
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


def described_specification(url: str, description: Mapping[str, Any]) -> CohortSpec:
    """Return the specification that a description holds, of a cohort at ``url``.

    DamageError where it is not the one whose digest stands beside it.
    """
    name = join(url, DESCRIPTION)
    try:
        fields = dict(description["specification"])
        fields["output"] = {**fields["output"], "url": url}
        inputs = dict(description["inputs"])
        wanted = inputs["specification"]
        spec = CohortSpec.parse(fields, origin=name)
    except (KeyError, TypeError, ValueError, SpecificationError) as error:
        said = str(error).partition("\n")[0]
        raise DamageError(f"{name} is damaged: it holds no specification ({said})") from error
    if digest_of(inputs) != description.get("inputs_digest"):
        raise DamageError(f"{name} is damaged: its inputs are not those of their digest")
    if spec.bytes_digest() != wanted:
        raise DamageError(
            f"{name} is damaged: its specification has digest {spec.bytes_digest()}, beside it "
            f"stands {wanted}"
        )
    return spec


def described_layout(url: str, description: Mapping[str, Any], output: OutputSpec) -> SignalLayout:
    """Return the layout that a description and its specification say; DamageError: none."""
    signals = description["signals"]
    try:
        return layout_of(
            output,
            num_rows=int(signals["num_rows"]),
            num_samples=int(signals["num_samples"]),
            sampling_rate_hz=float(signals["sampling_rate_hz"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        name = join(url, DESCRIPTION)
        raise DamageError(f"{name} is damaged: its signals are {signals!r}") from error


def layout_of(
    output: OutputSpec, *, num_rows: int, num_samples: int, sampling_rate_hz: float
) -> SignalLayout:
    """Return the layout of a cohort."""
    return SignalLayout(
        num_rows=num_rows,
        num_samples=num_samples,
        sampling_rate_hz=sampling_rate_hz,
        rows_per_shard=output.rows_per_shard,
        rows_per_chunk=output.rows_per_chunk,
        step_mv=output.step_mv or STEP_MV,
        codec=output.codec or USUAL_CODEC,
    )


def differing_fields(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return what a description says otherwise than its plan, in words, a field each."""
    return [
        f"{name} is {found.get(name)!r}, the plan says {wanted.get(name)!r}"
        for name in sorted(found.keys() | wanted.keys())
        if name not in _OF_WRITER and found.get(name) != wanted.get(name)
    ]
