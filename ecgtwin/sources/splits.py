"""Splits: every patient in exactly one of train, validation and test, by a salted hash."""

import hashlib
from collections.abc import Iterable

from ecgtwin.spec.patients import Split

_STRICTEST_FIRST: tuple[Split, ...] = ("test", "validation", "train")


def split_of(patient_id: str, *, salt: str, validation_share: float, test_share: float) -> Split:
    """Return the split of a patient: a function of the id and the salt alone.

    Shares are probabilities; how far a small population is off them is for reports to say.
    """
    place = _place(salt, patient_id)
    if place < test_share:
        return "test"
    if place < test_share + validation_share:
        return "validation"
    return "train"


def strictest(splits: Iterable[str]) -> Split:
    """Return the split that a patient found in several belongs to: test before validation.

    A patient with one recording in a test fold must not be seen in training. Needs at least one.
    """
    found = set(splits)
    return next(split for split in _STRICTEST_FIRST if split in found)


def _place(salt: str, patient_id: str) -> float:
    """Return a number in [0, 1) that is uniform over patients."""
    digest = hashlib.blake2b(digest_size=8)
    for field in (salt.encode(), patient_id.encode()):
        digest.update(len(field).to_bytes(8, "little") + field)
    return (int.from_bytes(digest.digest(), "little") >> 11) / 2**53
