"""Named checks of one recording: the faults for which it cannot be used (none: usable).

Each check has an exact definition, and a bound that decides nearly every recording in a fraction of
the time: extremes and thinned samples say that a lead surely has no fault. Where the bound cannot
say, the definition is computed for that lead. So the answer is always the definition's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ecgtwin.signals.convolution import highest_near
from ecgtwin.signals.leads import LEADS
from ecgtwin.spec.ingest import QualitySpec

REST_MV = 1e-3  # nearer than this to a lead's extreme is at it

_USUAL = QualitySpec()
_THINNED = 32  # samples of a window of flat_s that the bound looks at


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a recording cannot be used: one word, what was found, and a sentence with both."""

    kind: str
    value: str
    message: str


def faults(
    samples_mv: NDArray[np.floating],
    *,
    sampling_rate_hz: float,
    quality: QualitySpec = _USUAL,
    names: Sequence[str] = LEADS,
) -> tuple[Fault, ...]:
    """Return the faults of (lead, time) samples in mV, all finite; ``names`` of the leads.

    Kinds, in this order: flat_lead, clipped, amplitude_high, amplitude_low.

    - flat: less than ``flat_mv`` between the extremes of some window of ``flat_s``
    - clipped: ``clipped_runs`` runs of ``clipped_run_s`` (and three samples) at the lead's own
      extreme, which is further than ``clipped_mv`` from its median
    - amplitude: the largest distance from the median, of a lead (high), of all leads (low)
    """
    extremes = _extremes(samples_mv)
    found = [
        *_flat(samples_mv, sampling_rate_hz, quality, names),
        *_clipped(samples_mv, extremes, sampling_rate_hz, quality, names),
        *_amplitude(samples_mv, extremes[1] - extremes[0], quality, names),
    ]
    return tuple(found)


def may_have_faults(
    samples_mv: NDArray[np.floating], *, sampling_rate_hz: float, quality: QualitySpec = _USUAL
) -> NDArray[np.bool_]:
    """Say in which recordings of (row, lead, time), all finite, there may be ``faults``.

    In the others there is surely none.
    """
    num_rows, num_leads, num_samples = samples_mv.shape
    leads = samples_mv.reshape(-1, num_samples)
    extremes = _extremes(leads)
    spans = extremes[1] - extremes[0]
    doubtful = spans > quality.max_amplitude_mv
    doubtful |= _may_be_flat(leads, _flat_width(num_samples, sampling_rate_hz, quality), quality)
    doubtful |= _may_be_clipped(leads, extremes, _run_width(sampling_rate_hz, quality), quality)
    widest = spans.reshape(num_rows, num_leads).max(axis=1)
    is_low = widest / 2 < quality.min_amplitude_mv
    found: NDArray[np.bool_] = doubtful.reshape(num_rows, num_leads).any(axis=1) | is_low
    return found


def flat_leads(
    samples_mv: NDArray[np.floating], *, sampling_rate_hz: float, quality: QualitySpec = _USUAL
) -> dict[int, float]:
    """Return the leads of (lead, time) that are flat, and for how many seconds at the longest.

    A recording shorter than ``flat_s`` is one window. Windows that touch count as one stretch.
    """
    width = _flat_width(samples_mv.shape[1], sampling_rate_hz, quality)
    doubtful = np.flatnonzero(_may_be_flat(samples_mv, width, quality))
    found = {}
    for lead in doubtful.tolist():
        stretch = _longest_flat(samples_mv[lead].astype(np.float64), width, quality.flat_mv)
        if stretch:
            found[lead] = stretch / sampling_rate_hz
    return found


def listed(words: Sequence[str]) -> str:
    """Return the words with commas between them."""
    return ", ".join(words)


def _extremes(samples: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and the highest sample of each lead."""
    return samples.min(axis=1).astype(np.float64), samples.max(axis=1).astype(np.float64)


def _flat_width(num_samples: int, rate_hz: float, quality: QualitySpec) -> int:
    return min(max(1, int(quality.flat_s * rate_hz)), num_samples)


def _run_width(rate_hz: float, quality: QualitySpec) -> int:
    return max(3, int(quality.clipped_run_s * rate_hz))


def _flat(
    samples: NDArray[np.floating], rate_hz: float, quality: QualitySpec, names: Sequence[str]
) -> list[Fault]:
    flat = flat_leads(samples, sampling_rate_hz=rate_hz, quality=quality)
    if not flat:
        return []
    value = listed([f"{names[lead]} for {seconds:.1f} s" for lead, seconds in flat.items()])
    leads = listed([names[lead] for lead in flat])
    return [Fault("flat_lead", value, f"flat for {quality.flat_s:g} s or more in lead {leads}")]


def _may_be_flat(
    samples: NDArray[np.floating], width: int, quality: QualitySpec
) -> NDArray[np.bool_]:
    """Say which leads are not surely moving in every window of ``width`` samples.

    Any window holds ``width // stride`` neighbouring samples of the thinned ones; what those span,
    it spans at least.
    """
    stride = max(1, width // _THINNED)
    within = width // stride
    thinned = np.ascontiguousarray(samples[:, ::stride])
    if thinned.shape[1] < within:
        return np.ones(len(samples), dtype=bool)
    num_windows = thinned.shape[1] - within + 1
    highest = highest_near(thinned, within)[:, :num_windows]
    lowest = -highest_near(-thinned, within)[:, :num_windows]
    spans = highest.astype(np.float64) - lowest
    may_be: NDArray[np.bool_] = spans.min(axis=1) < quality.flat_mv
    return may_be


def _longest_flat(lead: NDArray[np.float64], width: int, flat_mv: float) -> int:
    """Return the length of the longest stretch whose windows of ``width`` are all flat; 0: none."""
    start = -(width // 2)  # position k then is the window that starts there
    highest = ndimage.maximum_filter1d(lead, width, origin=start)
    lowest = ndimage.minimum_filter1d(lead, width, origin=start)
    is_flat = (highest - lowest)[: len(lead) - width + 1] < flat_mv
    labels, _ = ndimage.label(is_flat)
    longest = int(np.bincount(labels)[1:].max(initial=0))
    return longest + width - 1 if longest else 0


def _clipped(
    samples: NDArray[np.floating],
    extremes: tuple[NDArray[np.float64], NDArray[np.float64]],
    rate_hz: float,
    quality: QualitySpec,
    names: Sequence[str],
) -> list[Fault]:
    lowest, highest = extremes
    width = _run_width(rate_hz, quality)
    found = []
    for lead in np.flatnonzero(_may_be_clipped(samples, extremes, width, quality)).tolist():
        one = samples[lead].astype(np.float64)
        for extreme in (highest[lead], lowest[lead]):
            num_runs = _num_runs(np.abs(one - extreme) < REST_MV, width)
            if num_runs >= quality.clipped_runs:
                level = extreme - float(np.median(one))
                if abs(level) > quality.clipped_mv:
                    found.append((names[lead], f"{names[lead]} at {level:.2f} mV"))
    if not found:
        return []
    leads = listed(list(dict.fromkeys(name for name, _ in found)))
    return [Fault("clipped", listed([said for _, said in found]), f"clipped in lead {leads}")]


def _may_be_clipped(
    samples: NDArray[np.floating],
    extremes: tuple[NDArray[np.float64], NDArray[np.float64]],
    width: int,
    quality: QualitySpec,
) -> NDArray[np.bool_]:
    """Say which leads are not surely free of runs: one of ``width`` holds a thinned sample."""
    lowest, highest = extremes
    may_be: NDArray[np.bool_] = highest - lowest > quality.clipped_mv
    wide = np.flatnonzero(may_be)
    lowest, highest = lowest[wide], highest[wide]
    thinned = samples[:, ::width][wide]
    top = (highest - _margin(highest)).astype(samples.dtype)[:, None]
    bottom = (lowest + _margin(lowest)).astype(samples.dtype)[:, None]
    at_top = (thinned > top).sum(axis=1, dtype=np.uint32)
    at_bottom = (thinned < bottom).sum(axis=1, dtype=np.uint32)
    may_be[wide] = np.maximum(at_top, at_bottom) >= quality.clipped_runs
    return may_be


def _margin(extreme: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far from its extreme a lead may be at it, rounded to single precision or not."""
    margin: NDArray[np.float64] = REST_MV + 1e-6 * np.abs(extreme) + 1e-6
    return margin


def _num_runs(mask: NDArray[np.bool_], width: int) -> int:
    """Return how many runs of True are ``width`` long or longer."""
    lengths = np.bincount(ndimage.label(mask)[0])[1:]
    return int((lengths >= width).sum())


def _amplitude(
    samples: NDArray[np.floating],
    spans: NDArray[np.float64],
    quality: QualitySpec,
    names: Sequence[str],
) -> list[Fault]:
    """Judge the largest distance from the median: between half the span and the span."""
    found = []
    high = {
        names[lead]: size
        for lead in np.flatnonzero(spans > quality.max_amplitude_mv).tolist()
        if (size := _largest(samples[lead])) > quality.max_amplitude_mv
    }
    if high:
        value = listed([f"{name} {size:.1f} mV" for name, size in high.items()])
        said = (
            f"amplitude of {max(high.values()):.1f} mV (above {quality.max_amplitude_mv:g} mV) "
            f"in lead {listed(list(high))}"
        )
        found.append(Fault("amplitude_high", value, said))
    if spans.max() / 2 < quality.min_amplitude_mv:
        largest = max(_largest(lead) for lead in samples)
        if largest < quality.min_amplitude_mv:
            said = (
                f"amplitude of at most {largest:.3f} mV in every lead "
                f"(below {quality.min_amplitude_mv:g} mV)"
            )
            found.append(Fault("amplitude_low", f"{largest:.3f} mV", said))
    return found


def _largest(lead: NDArray[np.floating]) -> float:
    one = lead.astype(np.float64)
    return float(np.abs(one - np.median(one)).max())
