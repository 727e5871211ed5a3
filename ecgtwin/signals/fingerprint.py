"""A 256-bit fingerprint of a recording that survives other rates, gains, steps and lead orders.

The Fourier coefficients of 1 to 18 Hz of the eight independent leads, each lead at unit size, are
projected onto 256 fixed random directions; the fingerprint is their signs. Two fingerprints differ
in a share of bits that is the angle between the signals over pi (Charikar 2002, Similarity
estimation techniques from rounding algorithms), so copies differ in few bits and strangers in half.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ecgtwin.signals.leads import INDEPENDENT_LEADS, independent_leads

NUM_BITS = 256
SPAN_S = 9.5  # of the window; what follows may be cut off in a copy
LOWEST_HZ, HIGHEST_HZ = 1.0, 18.0  # below: baseline filters differ; above: noise and resampling
DETAIL_HZ = (5.0, 40.0)  # of the check: edges of QRS complexes and noise, which nobody shares
_SEED = 20250802


def fingerprint(samples_mv: NDArray[np.floating], *, sampling_rate_hz: float) -> str:
    """Return the fingerprint of (12, time) as 64 hex digits."""
    count = min(samples_mv.shape[1], round(SPAN_S * sampling_rate_hz))
    leads = independent_leads(np.asarray(samples_mv[:, :count], dtype=np.float32))
    waves = _waves(count, sampling_rate_hz, LOWEST_HZ, HIGHEST_HZ)
    parts = (leads - leads.mean(axis=1, keepdims=True)) @ waves
    parts /= np.linalg.norm(parts, axis=1, keepdims=True) + 1e-9
    signs = parts.reshape(-1) @ _directions(parts.size) > 0
    return np.packbits(signs).tobytes().hex()


def shared_energy(
    a_mv: NDArray[np.floating], b_mv: NDArray[np.floating], *, a_rate_hz: float, b_rate_hz: float
) -> float:
    """Return the share of the 5 to 40 Hz energy of ``b_mv`` that ``a_mv`` explains, lead by lead.

    Both are (12, time) and begin at the same moment; a gain per lead is free. Copies share nearly
    all, whatever rate or step they are stored at; two recordings of paced hearts up to nine tenths.
    """
    span_s = min(a_mv.shape[1] / a_rate_hz, b_mv.shape[1] / b_rate_hz, SPAN_S)
    highest_hz = min(DETAIL_HZ[1], 0.4 * min(a_rate_hz, b_rate_hz))
    a = _details(a_mv, a_rate_hz, span_s, highest_hz)
    b = _details(b_mv, b_rate_hz, span_s, highest_hz)
    gain = (a * b).sum(axis=1, keepdims=True) / ((a**2).sum(axis=1, keepdims=True) + 1e-12)
    left = ((b - gain * a) ** 2).sum()
    return float(1 - left / ((b**2).sum() + 1e-12))


def _details(
    samples_mv: NDArray[np.floating], rate_hz: float, span_s: float, highest_hz: float
) -> NDArray[np.float64]:
    count = round(span_s * rate_hz)
    leads = independent_leads(np.asarray(samples_mv[:, :count], dtype=np.float64))
    waves = _waves(count, rate_hz, DETAIL_HZ[0], highest_hz)
    parts: NDArray[np.float64] = (leads - leads.mean(axis=1, keepdims=True)) @ waves / rate_hz
    return parts


def fingerprint_words(fingerprints: list[str]) -> NDArray[np.uint64]:
    """Return fingerprints as (n, 4) words, to be compared by ``differing_bits``."""
    joined = bytes.fromhex("".join(fingerprints))
    return np.frombuffer(joined, dtype="<u8").reshape(-1, NUM_BITS // 64).astype(np.uint64)


def differing_bits(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the number of differing bits of (..., 4) and (..., 4) words."""
    count: NDArray[np.int64] = np.bitwise_count(a ^ b).sum(axis=-1, dtype=np.int64)
    return count


@lru_cache(maxsize=8)
def _waves(
    count: int, sampling_rate_hz: float, lowest_hz: float, highest_hz: float
) -> NDArray[np.float32]:
    """Return tapered cosines and sines (time, 2 x frequency), frequencies at 1 / SPAN_S apart."""
    numbers = np.arange(math.ceil(lowest_hz * SPAN_S), math.ceil(highest_hz * SPAN_S))
    time_s = np.arange(count) / sampling_rate_hz
    angle = 2 * np.pi * time_s[:, None] * (numbers / SPAN_S)
    taper = np.sin(np.pi * (np.arange(count) + 0.5) / count)[:, None]
    waves = np.concatenate([np.cos(angle), np.sin(angle)], axis=1) * taper
    return waves.astype(np.float32)


@lru_cache(maxsize=4)
def _directions(size: int) -> NDArray[np.float32]:
    """Return (size, 256) normal numbers, the same on every machine and at every rate."""
    per_lead = size // len(INDEPENDENT_LEADS)
    drawn = np.random.Generator(np.random.Philox(key=_SEED)).standard_normal(
        (len(INDEPENDENT_LEADS), per_lead, NUM_BITS)
    )
    return drawn.reshape(size, NUM_BITS).astype(np.float32)
