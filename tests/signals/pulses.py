"""Closed-form ECGs: Gaussian waves at known places on known leads."""

import numpy as np

GAINS = np.array([0.6, 1.0, 0.4, -0.8, 0.1, 0.7, -0.5, 0.3, 0.8, 1.2, 1.1, 0.9])


def gaussian(times_s, centre_s, width_s):
    return np.exp(-0.5 * ((times_s - centre_s) / width_s) ** 2)


def pulse_train(
    *,
    rate_bpm=70.0,
    sampling_rate_hz=102.4,
    duration_s=10.0,
    first_s=0.35,
    qrs_width_s=0.012,
    t_height=0.25,
    p_height=0.12,
    rr_s=None,
):
    """Return ((12, time) in mV, beat times in s): P at -160 ms, QRS at 0, T at +280 ms."""
    times_s = np.arange(round(duration_s * sampling_rate_hz)) / sampling_rate_hz
    if rr_s is None:
        beats = np.arange(first_s, duration_s - 0.05, 60 / rate_bpm)
    else:
        beats = first_s + np.concatenate([[0], np.cumsum(rr_s)])
        beats = beats[beats < duration_s - 0.05]
    wave = np.zeros_like(times_s)
    for beat in beats:
        wave += gaussian(times_s, beat, qrs_width_s)
        wave += t_height * gaussian(times_s, beat + min(0.28, 0.4 * 60 / rate_bpm), 0.04)
        wave += p_height * gaussian(times_s, beat - 0.16, 0.02)
    return (GAINS[:, None] * wave).astype(np.float32), beats


def matched(found_s, true_s, *, within_s):
    """Return (true beats found, found beats that are not true)."""
    if not len(found_s):
        return 0, 0
    distance = np.abs(np.asarray(true_s)[:, None] - np.asarray(found_s)[None])
    return int((distance.min(1) < within_s).sum()), int((distance.min(0) >= within_s).sum())
