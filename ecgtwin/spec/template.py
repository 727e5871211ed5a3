"""Cohort specifications as commented YAML: for people, with examples to start from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.written import minimal, write_yaml

HEAD = (
    "A cohort: patients x conditions x replicates. Check it with `ecgtwin spec check`, see what it",
    "makes and costs with `ecgtwin plan`, make it with `ecgtwin generate`.",
)
COMMENTS: Mapping[str, Sequence[str]] = {
    "labels": ("For people, and for who looks after jobs; change nothing that is made.",),
    "checkpoint": ("The networks: a folder, an s3:// URL, or the name of shipped weights.",),
    "corpus": ("Where the reference ECGs are.",),
    "patients": (
        "Whose twins: of a split, of whom `where` is true, the first `count`; or `ids: [...]`; or",
        "those of a `bank: file.parquet`; or a `population: N` of simulated persons.",
    ),
    "conditions": (
        "In which states: a list, a `grid:` of reports x values, or `strata:` with a `count` each.",
        "Statements may be abbreviations or codes (AF, RBBB), and say how certain they are. Rates",
        "in bpm and ages in years: a number, a list, a range {start, stop, step} or {start, stop,",
        "count}, or draws {distribution, ...}; age_years and sex may be `own`, the patient's.",
    ),
    "constraints": ("What must be true of a patient in a condition; others are left out.",),
    "replicates": ("Different noise, otherwise the same.",),
    "seed": ("Of all noise.",),
    "share_noise": ("true: the same noise in every condition of a person (counterfactuals).",),
    "batch_rows": ("ECGs drawn together; the low bits depend on it.",),
    "sampling": ("How twins are drawn; without this as the checkpoint says.",),
    "gates": ("What a drawn ECG must show; the gates that it fails are told in the manifest.",),
    "output": (
        "Where to (a folder or s3://bucket/path), how it is cut into objects, and how samples are",
        "stored: sampling_rate_hz, step_mv, codec; without these as drawn, in steps of 5 uV.",
    ),
    "run": ("How the work is done; changes nothing that is made.",),
}
EXAMPLES: Mapping[str, str] = {
    "labels": "labels: {study: pilot}",
    "constraints": (
        "constraints:\n  - condition.heart_rate_bpm <= 208 - 0.7 * patient.age_years\n"
        "  - \"'AF' not in condition.statements or patient.age_years >= 40\""
    ),
    "replicates": "replicates: 2",
    "seed": "seed: 1",
    "share_noise": "share_noise: true",
    "sampling": "sampling: {sampler: euler, num_steps: 10, guidance_scale: 2}",
    "gates": "gates: {accept: all, rate_tolerance_bpm: 10, intervals: of_condition}",
    "run": "run: {num_workers: 2, max_tries: 3}",
}


def cohort_yaml(spec: CohortSpec, *, head: Sequence[str] = (), with_examples: bool = False) -> str:
    """Return ``spec`` as YAML: commented, without what is so anyway, the same for the same.

    ``with_examples`` adds what else there is, commented out.
    """
    values = {"version": spec.version, **minimal(spec)}
    examples = {name: one for name, one in EXAMPLES.items() if with_examples and name not in values}
    order = ["version", *CohortSpec.model_fields]
    names = dict.fromkeys(name for name in order if name in values or name in examples)
    return write_yaml(
        {name: values.get(name) for name in names},
        head=[*HEAD, *head],
        comments=COMMENTS,
        examples=examples,
    )


def write_new(path: Path, text: str) -> None:
    """Write a new file; SpecificationError where one is there: nothing is overwritten."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SpecificationError(f"{path} exists; choose another name or delete it") from None
    except OSError as error:
        raise SpecificationError(
            f"{path}: cannot be written ({error.strerror}); its folder must be there"
        ) from None
