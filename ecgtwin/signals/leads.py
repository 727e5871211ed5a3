"""The twelve leads: standard order, aliases, and the identities between the limb leads."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import RecordError

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
INDEPENDENT_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")

_BY_ALIAS = {name.lower(): name for name in LEADS}


def canonical_lead(name: str) -> str | None:
    """Return the standard name of a lead written in any case ("AVR", "lead-ii"), or None.

    "-aVR" is another lead: Cabrera's, of the opposite sign.
    """
    cleaned = name.strip().lower()
    if cleaned.startswith("lead"):
        cleaned = cleaned.removeprefix("lead").lstrip(" _-:")
    return _BY_ALIAS.get(cleaned.strip(" _:"))


def lead_positions(names: Sequence[str]) -> list[int]:
    """Return where each of the twelve standard leads stands in ``names``.

    Raises RecordError naming the leads that are missing.
    """
    found: dict[str, int] = {}
    for position, name in enumerate(names):
        lead = canonical_lead(name)
        if lead is not None:
            found.setdefault(lead, position)
    missing = [lead for lead in LEADS if lead not in found]
    if missing:
        raise RecordError(
            f"leads {', '.join(missing)} are missing (found {', '.join(names) or 'none'}); "
            "a twelve-lead record is needed"
        )
    return [found[lead] for lead in LEADS]


def derive_limb_leads(independent: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return all twelve leads (..., 12, time) from the eight independent ones (..., 8, time).

    III = II - I (Einthoven 1913); aVR, aVL, aVF as Goldberger 1942 defined them.
    """
    derived = np.stack(_derived(independent[..., 0, :], independent[..., 1, :]), axis=-2)
    twelve: NDArray[np.floating] = np.concatenate(
        [independent[..., :2, :], derived, independent[..., 2:, :]], axis=-2
    )
    return twelve


def _derived(
    one: NDArray[np.floating], two: NDArray[np.floating]
) -> tuple[NDArray[np.floating], ...]:
    """Return leads III, aVR, aVL and aVF from I and II."""
    return two - one, -(one + two) / 2, one - two / 2, two - one / 2


def take_leads(samples: NDArray[np.floating], order: Sequence[str]) -> NDArray[np.floating]:
    """Return the leads named in ``order`` (..., lead, time) of ``samples`` (..., 12, time)."""
    picked: NDArray[np.floating] = samples[..., [LEADS.index(lead) for lead in order], :]
    return picked


def independent_leads(samples: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return leads I, II, V1..V6 (..., 8, time) of twelve-lead ``samples`` (..., 12, time)."""
    return take_leads(samples, INDEPENDENT_LEADS)


def twelve_leads(samples: NDArray[np.floating], order: Sequence[str]) -> NDArray[np.floating]:
    """Return the twelve leads (..., 12, time) of ``samples`` whose leads stand in ``order``.

    Where not all twelve are there, those that the independent ones determine are derived.
    """
    wanted = LEADS if set(order) >= set(LEADS) else INDEPENDENT_LEADS
    placed: NDArray[np.floating] = samples[..., [order.index(lead) for lead in wanted], :]
    return placed if wanted == LEADS else derive_limb_leads(placed)


def limb_residual_mv(samples_mv: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the largest departure from the limb-lead identities, in mV, per record (...,)."""
    derived = _derived(samples_mv[..., 0, :], samples_mv[..., 1, :])
    apart = [np.abs(lead - samples_mv[..., 2 + at, :]) for at, lead in enumerate(derived)]
    residual: NDArray[np.floating] = np.max([lead.max(axis=-1) for lead in apart], axis=0)
    return residual
