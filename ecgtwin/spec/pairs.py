"""PairSpec: which two recordings of a person make a training pair."""

from typing import Literal

from pydantic import Field

from ecgtwin.spec.base import Spec


class PairSpec(Spec):
    """How pairs are drawn: the person first, then two of the person's recordings.

    ``patient_weight_exponent``: a person with n recordings is drawn with weight n^exponent; 0
    draws every person alike, 1 every recording alike.

    ``same_condition``: may the two have the same statements, with the same certainties in any
    order? ``allow`` does not look. ``avoid`` draws the second among the recordings with other
    statements, and among all others where there are none. ``require`` draws it among those with
    the same statements; a recording without such a partner is in no pair.

    ``same_recording``: ``avoid`` takes the windows of a recording as one recording, of which one
    window is drawn; ``allow`` takes every window as a recording of its own.
    """

    patient_weight_exponent: float = Field(default=0.0, ge=0, le=1)
    same_condition: Literal["allow", "avoid", "require"] = "allow"
    same_recording: Literal["avoid", "allow"] = "avoid"
