"""What the annotators of LUDB marked, lead by lead, made one value per beat or record."""

import numpy as np

HZ = 500
SYMBOLS = {1: "N", 24: "p", 27: "t", 39: "(", 40: ")"}
SKIP = 59


def read_marks(path):
    """Return (samples, symbols) of one MIT annotation file; wfdb takes 30 ms for each."""
    words = np.frombuffer(path.read_bytes(), dtype="<u2").astype(int)
    samples, symbols, at, time = [], [], 0, 0
    while words[at]:
        kind, step = words[at] >> 10, words[at] & 0x3FF
        if kind == SKIP:
            time += (words[at + 1] << 16) + words[at + 2]
            at += 2
        elif kind < SKIP:
            time += step
            samples.append(time)
            symbols.append(SYMBOLS[kind])
        at += 1
    return np.array(samples), symbols


def beat_times_s(annotations):
    """Return the median over the leads of each QRS mark; beats marked in five leads or more."""
    marks = [s for samples, symbols in annotations.values() for s in samples[_is(symbols, "N")]]
    marks = np.sort(marks)
    groups = np.split(marks, np.flatnonzero(np.diff(marks) > 0.12 * HZ) + 1)
    return np.array([np.median(group) for group in groups if len(group) >= 5]) / HZ


def intervals_ms(annotations):
    """Return the median QRS, PR and QT of a record, None where fewer than two beats have one.

    Over the leads a beat's onsets count at their 15th percentile, the QRS offset at its 85th and
    the T offset at its median: one odd lead moves nothing.
    """
    qrs, p_waves, t_waves = (_waves(annotations, symbol) for symbol in "Npt")
    found = {"qrs_ms": [], "pr_ms": [], "qt_ms": []}
    for beat in beat_times_s(annotations) * HZ:
        here = qrs[np.abs(qrs[:, 1] - beat) < 0.12 * HZ]
        before = p_waves[(p_waves[:, 1] < beat) & (p_waves[:, 1] > beat - 0.35 * HZ)]
        after = t_waves[(t_waves[:, 1] > beat) & (t_waves[:, 1] < beat + 0.55 * HZ)]
        if len(here) < 6:
            continue
        onset = np.percentile(here[:, 0], 15)
        found["qrs_ms"].append(np.percentile(here[:, 2], 85) - onset)
        if len(before) >= 6:
            found["pr_ms"].append(onset - np.percentile(before[:, 0], 15))
        if len(after) >= 6:
            found["qt_ms"].append(np.median(after[:, 2]) - onset)
    return {
        name: 1000 / HZ * float(np.median(values)) if len(values) > 1 else None
        for name, values in found.items()
    }


def _is(symbols, wanted):
    return np.array(symbols) == wanted


def _waves(annotations, symbol):
    """Return (onset, peak, offset) of the wholly marked waves of a kind, over all leads."""
    rows = [
        samples[at - 1 : at + 2]
        for samples, symbols in annotations.values()
        for at in np.flatnonzero(_is(symbols, symbol))
        if list(symbols[at - 1 : at + 2 : 2]) == ["(", ")"]
    ]
    return np.array(rows).reshape(-1, 3)


def axis_deg(samples_mv, sampling_rate_hz, annotations):
    """Return the median frontal axis of the beats (12, time), by the marked QRS of I and II.

    Areas above the level at QRS onset; None when fewer than two beats are marked in both leads.
    """
    area = {"I": {}, "II": {}}
    for position, lead in enumerate(area):
        for onset, _, offset in _waves({lead: annotations[lead]}, "N"):
            start, stop = (round(at * sampling_rate_hz / HZ) for at in (onset, offset))
            wave = samples_mv[position, start:stop] - samples_mv[position, start]
            area[lead][onset] = float(wave.sum())
    axes = []
    for onset, one in area["I"].items():
        near = [at for at in area["II"] if abs(at - onset) < 0.12 * HZ]
        if near:
            two = area["II"][near[0]]
            axes.append(np.arctan2((2 * two - one) / np.sqrt(3), one))
    if len(axes) < 2:
        return None
    middle = np.angle(np.exp(1j * np.array(axes)).mean())
    return float(np.degrees(middle + np.median(np.angle(np.exp(1j * (np.array(axes) - middle))))))
