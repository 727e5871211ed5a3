"""Noise of a recording: what nine electrodes add, so that leads share it as real leads do.

Levels and spectrum follow the first 500 records of PTB-XL between the QRS complexes.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")
_THIRD = 1 / 3
# Independent leads from electrodes; V leads are taken against Wilson's central terminal.
_MONTAGE = np.array(
    [
        [-1, 1, 0, 0, 0, 0, 0, 0, 0],
        [-1, 0, 1, 0, 0, 0, 0, 0, 0],
        *(
            [-_THIRD] * 3 + [float(chest == electrode) for electrode in range(6)]
            for chest in range(6)
        ),
    ],
    dtype=np.float32,
)
# Amplitude density against frequency, relative to that at 40 Hz.
_DENSITY_HZ, _DENSITY = np.array(
    [
        *((0.0, 0.0), (0.5, 5.0), (1.0, 6.0), (4.0, 4.8), (10.0, 3.3), (20.0, 1.95), (31.0, 1.32)),
        *((43.0, 0.90), (66.0, 0.68), (101.0, 0.54), (148.0, 0.45), (172.0, 0.31), (195.0, 0.20)),
        *((219.0, 0.12), (250.0, 0.05)),
    ]
).T
_LEVEL = np.array(
    [0.24, 0.43, 0.19, 0.095, 0.14, 0.20, 0.175, 0.14, 0.13]
)  # uV / sqrt(Hz) at 40 Hz
_WANDER_MV = np.array([0.023, 0.023, 0.037, 0.038, 0.043, 0.050, 0.050, 0.050, 0.045])
_NUM_SLOW = 8
_SLOW_HZ = np.geomspace(0.04, 0.8, _NUM_SLOW)
_BREATH = 5  # which of them is breathing


def electrode_noise(rng: np.random.Generator, *, rate_hz: float, num_samples: int) -> Floats:
    """Return the noise of the eight independent leads (8, num_samples) in mV.

    Baseline wander, muscle noise with bursts in some recordings, residual mains at 50 Hz in some,
    and in few an electrode that moves.
    """
    times = np.arange(num_samples) / rate_hz
    noise = _muscle(rng, rate_hz, num_samples)
    noise += _wander(rng, times)
    chance = rng.random(3)
    if chance[0] < 0.14:
        noise *= _burst(rng, times)
    if chance[1] < 0.15:
        noise += _mains(rng, times)
    if chance[2] < 0.06:
        noise[int(rng.integers(9))] += _movement(rng, times)
    leads: Floats = _MONTAGE @ noise
    return leads


def _muscle(rng: np.random.Generator, rate_hz: float, num_samples: int) -> Floats:
    """Return (9, time) noise whose spectrum falls as that of real recordings."""
    arms = np.where(np.arange(9) < 2, np.exp(0.45 * rng.standard_normal()), 1.0)
    level = _LEVEL * np.exp(0.40 * rng.standard_normal() + 0.30 * rng.standard_normal(9)) * arms
    hz = np.arange(num_samples // 2 + 1) * (rate_hz / num_samples)
    size = (1e-3 * np.sqrt(rate_hz * num_samples) / 2) * np.interp(hz, _DENSITY_HZ, _DENSITY)
    bins = rng.standard_normal((9, len(hz), 2), dtype=np.float32)
    bins *= size.astype(np.float32)[:, None]
    bins *= level.astype(np.float32)[:, None, None]
    made = np.fft.irfft(bins.view(np.complex64)[..., 0], n=num_samples, axis=1)
    return np.asarray(made, dtype=np.float32)


def _wander(rng: np.random.Generator, times_s: Array) -> Floats:
    """Return (9, time) slow movement: breathing, which the electrodes share, and skin and cable."""
    level = np.exp(0.62 * rng.standard_normal()) * (2.6 if rng.random() < 0.08 else 1.0)
    sizes = _WANDER_MV * level * np.exp(0.35 * rng.standard_normal(9))
    hz = _SLOW_HZ * rng.uniform(0.85, 1.18, _NUM_SLOW)
    hz[_BREATH] = rng.uniform(0.18, 0.32)
    share = hz**-0.5
    share /= np.sqrt((share**2).sum())
    own = rng.standard_normal((9, 2 * _NUM_SLOW))
    own[:, [_BREATH, _BREATH + _NUM_SLOW]] += 1.2 * rng.standard_normal(2)
    angle = (2 * np.pi * hz).astype(np.float32)[:, None] * times_s.astype(np.float32)
    waves = np.concatenate([np.sin(angle), np.cos(angle)])
    heights = (own * np.tile(share, 2) * sizes[:, None]).astype(np.float32)
    wander: Floats = heights @ waves
    return wander


def _burst(rng: np.random.Generator, times_s: Array) -> Floats:
    """Return how much stronger the noise of all electrodes is at each time: one tense spell."""
    middle, half = rng.uniform(0, times_s[-1]), rng.uniform(0.4, 2.0)
    shape = np.exp(-0.5 * ((times_s - middle) / half) ** 4)
    own = rng.uniform(0.2, 1.0, (9, 1))
    strength = rng.uniform(1.0, 3.5)
    return np.asarray(1 + strength * own * shape, dtype=np.float32)


def _mains(rng: np.random.Generator, times_s: Array) -> Floats:
    """Return (9, time) what the filter leaves of the mains, in all electrodes at one phase."""
    heights = 1e-3 * rng.uniform(0.6, 5.0) * rng.uniform(0.2, 1.0, (9, 1))
    wave = np.sin(2 * np.pi * (50.0 + rng.normal(0, 0.02)) * times_s + rng.uniform(0, 6.28))
    return np.asarray(heights * wave, dtype=np.float32)


def _movement(rng: np.random.Generator, times_s: Array) -> Floats:
    """Return (time,) the jump of one electrode that slips and settles."""
    after = times_s - rng.uniform(0.5, times_s[-1] - 0.5)
    rise = 1 / (1 + np.exp(-(after / rng.uniform(0.03, 0.10)).clip(-30, 30)))
    height = rng.choice([-1.0, 1.0]) * rng.uniform(0.08, 0.45)
    settle = np.exp(-np.maximum(after, 0) / rng.uniform(0.4, 1.5))
    return np.asarray(height * rise * settle, dtype=np.float32)
