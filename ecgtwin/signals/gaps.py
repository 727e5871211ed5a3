"""Runs of missing samples (NaN or infinity): which are short enough to fill, and filling them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecgtwin.signals.quality import Fault, listed
from ecgtwin.spec.ingest import SignalSpec


def gap_faults(
    missing: NDArray[np.bool_], names: Sequence[str], *, sampling_rate_hz: float, signal: SignalSpec
) -> tuple[Fault, ...]:
    """Return what forbids filling the (lead, time) samples that are ``missing``.

    Kinds: lead_empty (nothing is known), nan_gap (too long a run, or too large a share).
    """
    share = missing.mean(axis=1)
    longest_s = np.array([longest_run(lead) for lead in missing]) / sampling_rate_hz
    empty = [name for name, part in zip(names, share, strict=True) if part == 1]
    found = []
    if empty:
        said = f"no sample is a number (all NaN) in lead {', '.join(empty)}"
        found.append(Fault("lead_empty", ", ".join(empty), said))
    long = [
        f"{name} for {1000 * length:.0f} ms"
        for name, length, part in zip(names, longest_s, share, strict=True)
        if length > signal.max_gap_s and part < 1
    ]
    many = [
        f"{name} in {part:.1%} of its samples"
        for name, length, part in zip(names, longest_s, share, strict=True)
        if length <= signal.max_gap_s and part > signal.max_gap_share
    ]
    if long or many:
        said = (
            f"no finite value (NaN) in lead {listed([*long, *many])}; gaps of at most "
            f"{1000 * signal.max_gap_s:g} ms and {signal.max_gap_share:.0%} of a lead are filled"
        )
        found.append(Fault("nan_gap", listed([*long, *many]), said))
    return tuple(found)


def filled(samples_mv: NDArray[np.floating], missing: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return (lead, time) with ``missing`` samples interpolated linearly, in the same precision.

    A gap at either end takes the nearest value. A lead without any value stays as it is.
    """
    whole = samples_mv.copy()
    for lead in np.flatnonzero(missing.any(axis=1) & ~missing.all(axis=1)):
        known = np.flatnonzero(~missing[lead])
        gap = np.flatnonzero(missing[lead])
        whole[lead, gap] = np.interp(gap, known, samples_mv[lead, known])
    return whole


def longest_run(mask: NDArray[np.bool_]) -> int:
    """Return the length of the longest run of True in a one-dimensional mask."""
    starts, stops = runs(mask)
    return int((stops - starts).max(initial=0))


def runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the runs of True in a one-dimensional mask start, and where they have ended."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return edges[::2], edges[1::2]
