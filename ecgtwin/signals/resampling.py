"""Polyphase resampling as a few small matrix products: a Kaiser-windowed low-pass, edge to edge.

The low-pass lies around the lower of the two Nyquist frequencies, here called 1: it passes up to
0.83 and stops from 1.17 on, with 70 dB. For 102.4 Hz that is 42.5 Hz and 59.9 Hz. What lies between
1 and 1.17 folds back to above 0.83 only. Design: Kaiser 1974; Oppenheim and Schafer, Discrete-Time
Signal Processing, section 7.6 (equations of beta and length).
"""

from fractions import Fraction
from functools import lru_cache
from math import ceil, gcd, pi

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

STOP_BAND_DB = 70.0  # ripple of the pass band: 10 ** (-70 / 20) = 0.03 %
TRANSITION_SHARE = 0.17  # of the lower Nyquist frequency, to either side of it

_BLOCK = 16  # outputs of one matrix product: wide enough for BLAS, narrow enough to waste little


def polyphase(
    samples: NDArray[np.floating], *, ratio: Fraction, num_samples: int
) -> NDArray[np.floating]:
    """Return the first ``num_samples`` of (..., time) at ``ratio`` times the rate.

    Zero phase: output k stands at input k / ratio. Either end is continued by odd reflection. Each
    output's weights sum to 1, so a constant stays what it is. float32 in, float32 out; else
    float64. A record's samples do not depend on what else is resampled with it, but for rounding.
    """
    kind = np.float32 if samples.dtype == np.float32 else np.float64
    rows: NDArray[np.floating] = samples.reshape(-1, samples.shape[-1]).astype(kind, copy=False)
    num_blocks = -(-num_samples // _BLOCK)
    bank = _bank(ratio, min(_period(ratio), 1 << (num_blocks - 1).bit_length()), kind)
    reach = _reach(ratio)
    last = _first_input(ratio, num_blocks - 1) + bank.shape[1]
    padded = _reflected(rows, reach, max(0, last - reach - rows.shape[1]))
    resampled = np.empty((len(rows), num_blocks, _BLOCK), dtype=kind)
    for place in range(min(len(bank), num_blocks)):
        first = _first_input(ratio, place)
        step = _first_input(ratio, place + len(bank)) - first  # exact over a whole period
        count = len(range(place, num_blocks, len(bank)))
        row_bytes, sample_bytes = padded.strides
        inputs = as_strided(
            padded[:, first:],
            (len(rows), count, bank.shape[1]),
            (row_bytes, step * sample_bytes, sample_bytes),
            writeable=False,
        )
        products = inputs.reshape(-1, bank.shape[1]) @ bank[place]
        resampled[:, place :: len(bank)] = products.reshape(len(rows), count, _BLOCK)
    cut: NDArray[np.floating] = resampled.reshape(len(rows), -1)[:, :num_samples]
    return cut.reshape(*samples.shape[:-1], num_samples)


def _period(ratio: Fraction) -> int:
    """Return after how many blocks the weights repeat."""
    return ratio.numerator // gcd(ratio.numerator, _BLOCK)


def _half_width(ratio: Fraction) -> float:
    """Return half the length of the low-pass, in input samples."""
    nyquist = 0.5 * min(1.0, float(ratio))  # the lower one, in cycles per input sample
    width = 2 * TRANSITION_SHARE * nyquist
    return 0.5 * (STOP_BAND_DB - 7.95) / (2.285 * 2 * pi * width)


def _reach(ratio: Fraction) -> int:
    return ceil(_half_width(ratio))


def _first_input(ratio: Fraction, block: int) -> int:
    """Return the first padded input that ``block`` needs."""
    return block * _BLOCK * ratio.denominator // ratio.numerator


@lru_cache(maxsize=16)
def _bank(ratio: Fraction, num_blocks: int, kind: type[np.floating]) -> NDArray[np.floating]:
    """Return the weights (block, input, output) of the first ``num_blocks`` blocks.

    ``num_blocks`` is a whole period, or more than will be needed.
    """
    half, reach = _half_width(ratio), _reach(ratio)
    up, down = ratio.numerator, ratio.denominator
    span = 2 * reach + 2 + (_BLOCK - 1) * down // up
    starts = [block * _BLOCK * down % up / up for block in range(num_blocks)]
    outputs = np.array(starts)[:, None] + np.arange(_BLOCK) * (down / up)
    away = (np.arange(span) - reach)[None, :, None] - outputs[:, None, :]
    weights = np.zeros(away.shape)
    inside = np.abs(away) < half
    beta = 0.1102 * (STOP_BAND_DB - 8.7)
    window = np.i0(beta * np.sqrt(1 - (away[inside] / half) ** 2))
    weights[inside] = np.sinc(min(1.0, up / down) * away[inside]) * window
    weights /= weights.sum(axis=1, keepdims=True)
    weights.flags.writeable = False
    bank = weights.astype(kind)
    bank.flags.writeable = False
    return bank


def _reflected(rows: NDArray[np.floating], before: int, after: int) -> NDArray[np.floating]:
    """Return (row, time) continued by odd reflection: neither an offset nor a slope breaks off."""
    num = rows.shape[1]
    if max(before, after) >= num:
        return np.pad(rows, ((0, 0), (before, after)), "reflect", reflect_type="odd")
    padded = np.empty((len(rows), before + num + after), dtype=rows.dtype)
    padded[:, before : before + num] = rows
    padded[:, :before] = 2 * rows[:, :1] - rows[:, before:0:-1]
    padded[:, before + num :] = 2 * rows[:, -1:] - rows[:, -2 : -2 - after : -1]
    return padded
