"""The figures of a report: where each stands in the results, its unit, and what it says."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Results = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the results, at the dotted ``path``. Unit "%" shows a share in percent."""

    path: str
    name: str
    unit: str
    decimals: int
    meaning: str


@dataclass(frozen=True, slots=True)
class Group:
    """Figures that belong in one table; ``key`` is the part of the results they stand in."""

    key: str
    title: str
    question: str
    figures: tuple[Figure, ...]


HEART_RATE = Group(
    "heart_rate",
    "Requested and measured heart rate",
    "Does a twin beat at the rate it was asked for?",
    (
        Figure(
            "heart_rate.share_measured", "Twins with R peaks", "%", 1,
            "Twins in which beats were found, so that a rate could be measured.",
        ),
        Figure(
            "heart_rate.mean_absolute_error_bpm", "Mean absolute error", "bpm", 1,
            "How far the measured rate lies from the requested one, over the twins with R peaks.",
        ),
        Figure(
            "heart_rate.spearman", "Rank correlation (Spearman)", "", 3,
            "1 when a faster request always gave a faster ECG, 0 when the request did nothing.",
        ),
        Figure(
            "heart_rate.shuffled_error_bpm", "Control: requests shuffled", "bpm", 1,
            "The error of the same twins had the requests been dealt out among them at random.",
        ),
        Figure(
            "heart_rate.share_of_shuffled_error", "Error / control with shuffled requests", "%", 1,
            "Small when the request decides the rate.",
        ),
        Figure(
            "heart_rate.reference_error_bpm", "Control: references unchanged", "bpm", 1,
            "The error had every twin been the person's reference ECG itself.",
        ),
        Figure(
            "heart_rate.share_of_reference_error", "Error / control with references", "%", 1,
            "Small when a twin does what its reference would not.",
        ),
    ),
)  # fmt: skip

LIMB_LEADS = Group(
    "limb_leads",
    "Limb leads",
    "Do the six limb leads agree with each other, as they must in any real ECG?",
    (
        Figure(
            "limb_leads.mean_residual_mv", "Mean residual", "mV", 4,
            "Departure from III = II - I and the augmented leads: each twin's largest, averaged.",
        ),
        Figure(
            "limb_leads.max_residual_mv", "Largest residual", "mV", 4,
            "The same in the worst twin; half a stored step is 0.0025 mV.",
        ),
    ),
)  # fmt: skip

IDENTITY = Group(
    "identity",
    "Identity",
    "Does a twin look like its own person rather than like another?",
    (
        Figure(
            "identity.base_extractor.auroc", "By the base extractor", "", 3,
            "Chance that a twin is nearer to its own person than to another; 0.5 is guessing.",
        ),
        Figure(
            "identity.base_extractor.real_auroc", "The same for the corpus", "", 3,
            "What two visits of one person in the corpus reach, in different states.",
        ),
        Figure(
            "identity.base_extractor.recall_at_1", "Own person ranked first", "%", 1,
            "How often no other person is as near as the own one.",
        ),
        Figure(
            "identity.base_extractor.real_recall_at_1", "The same for the corpus", "%", 1,
            "How often a visit's own person is ranked first.",
        ),
        Figure(
            "identity.median_beat.auroc", "By median-beat correlation", "", 3,
            "The same question put to the shape of the beat, which took no part in training.",
        ),
        Figure(
            "identity.median_beat.real_auroc", "The same for the corpus", "", 3,
            "What two visits of one person in the corpus reach by the shape of the beat.",
        ),
        Figure(
            "identity.median_beat.recall_at_1", "Own person ranked first", "%", 1,
            "How often no other person's beat is as alike as the own one's.",
        ),
        Figure(
            "identity.median_beat.real_recall_at_1", "The same for the corpus", "%", 1,
            "How often a visit's own person is ranked first by the shape of the beat.",
        ),
    ),
)  # fmt: skip

FRECHET = Group(
    "frechet",
    "Frechet distance",
    "Are the twins, taken together, distributed like the ECGs of the corpus?",
    (
        Figure(
            "frechet.twins_to_real", "Twins to corpus ECGs", "", 2,
            "Distance between the two distributions of ECG features; 0 is equality.",
        ),
        Figure(
            "frechet.real_to_real", "Corpus ECGs to other corpus ECGs", "", 2,
            "What two groups of persons in the corpus give: the least that can be hoped for.",
        ),
    ),
)  # fmt: skip

NEAREST = Group(
    "nearest",
    "Nearest training record",
    "Are twins new ECGs, or copies of records the model was trained on?",
    (
        Figure(
            "nearest.twins_median", "Twins", "", 3,
            "Median correlation of a twin's beat with its nearest training record; 1 is a copy.",
        ),
        Figure(
            "nearest.unseen_median", "Corpus records that no training saw", "", 3,
            "The same for held-out records: twins should not be nearer than these.",
        ),
        Figure(
            "nearest.share_too_near", "Twins nearer than 99 % of those", "%", 1,
            "Far above 1 % would mean that training records are copied.",
        ),
    ),
)  # fmt: skip

GROUPS = (HEART_RATE, LIMB_LEADS, IDENTITY, FRECHET, NEAREST)


def lookup(results: object, path: str) -> object:
    """Return what stands at the dotted ``path``, or None."""
    found = results
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def mappings_at(results: object, path: str) -> list[Mapping[str, object]]:
    """Return the mappings listed at ``path``; an empty list when there are none."""
    return [row for row in list_at(results, path) if isinstance(row, Mapping)]


def list_at(results: object, path: str) -> Sequence[object]:
    """Return the list at ``path``; empty when there is none."""
    found = lookup(results, path)
    return found if isinstance(found, Sequence) and not isinstance(found, str) else ()


def is_known(value: object) -> bool:
    """Return whether ``value`` can be shown: there, and not a NaN or infinite."""
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def reason_at(results: object, path: str) -> str:
    """Return why the figure at ``path`` is missing: the nearest ``reason`` on the way to it."""
    parts = path.split(".")
    for length in range(len(parts), -1, -1):
        reason = lookup(results, ".".join([*parts[:length], "reason"]))
        if reason:
            return str(reason).rstrip(".")
    return "the results hold no such figure"


def written(value: object, *, unit: str, decimals: int) -> str:
    """Return a number with its unit."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    if unit == "%":
        return f"{100 * value:.{decimals}f} %"
    return f"{value:,.{decimals}f} {unit}".rstrip()


def target_of(results: object, figure: Figure) -> tuple[str, bool] | None:
    """Return (the target in words, whether it is met), or None where there is no target.

    ``results["targets"]`` maps a figure's path to ``{"at_least": x}`` or ``{"at_most": x}``. A
    figure that could not be computed does not meet its target.
    """
    targets = lookup(results, "targets")
    target = targets.get(figure.path) if isinstance(targets, Mapping) else None
    if not isinstance(target, Mapping):
        return None
    value = lookup(results, figure.path)
    is_number = isinstance(value, int | float) and is_known(value)
    for key, words, sign in (("at_least", "at least", 1), ("at_most", "at most", -1)):
        bound = target.get(key)
        if isinstance(bound, int | float):
            said = f"{words} {written(bound, unit=figure.unit, decimals=figure.decimals)}"
            return said, is_number and sign * (float(str(value)) - bound) >= 0
    return None
