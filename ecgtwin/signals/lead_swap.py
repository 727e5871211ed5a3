"""Whether limb electrodes were exchanged, from the median beats of many recordings at once.

The chest leads do not care: what they say of leads I and II is compared with what was recorded, as
it stands and as each exchange would have made it (after Kors and van Herpen 2001, Am J Cardiol
88:396; the signs they and Heden, Ohlsson and Edenbrandt 1995, Am J Cardiol 75:929, read, such as
lead I upside down beside an upright V6, are all in that comparison). An exchange of left arm and
left leg changes too little to be told from a turned axis; it is not looked for.
"""

import numpy as np

from ecgtwin.signals.convolution import Floats, Ints

# Leads I and II from V1..V6: least squares over P to T of 500 median beats of PTB-XL, each of one
# size, made by benchmarks/measurement.py.
LIMB_FROM_CHEST = np.array(
    [
        [-0.608, 0.257, 0.100, -0.148, 0.029, 0.438],
        [0.000, -0.054, 0.107, 0.152, -0.117, 0.657],
    ],
    dtype=np.float32,
)
# What (I, II) were before the exchange, as sums of what was recorded.
UNDONE = {
    None: ((1, 0), (0, 1)),
    "LA/RA": ((-1, 0), (-1, 1)),
    "RA/LL": ((1, -1), (0, -1)),
    "LA/LL": ((0, 1), (1, 0)),
}
FLAGGED = ("LA/RA", "RA/LL")
MIN_MATCH = 0.3  # the correlation once the exchange is undone ...
MIN_GAIN = 0.3  # ... and by how much it must be higher than without


def swapped(beats_mv: Floats, start: Ints, stop: Ints) -> list[str | None]:
    """Return which limb electrodes were exchanged in each of (lead, recording, n), or None.

    ``beats_mv`` are the leads I, II, V1..V6 above their level before QRS, of which the samples from
    ``start`` to ``stop`` (recording,) are looked at.
    """
    place = np.arange(beats_mv.shape[2])
    inside = (place >= start[:, None]) & (place < stop[:, None])
    beats = np.where(inside, beats_mv, 0)
    chest = np.einsum("lc,crn->lrn", LIMB_FROM_CHEST, beats[2:])
    match = {
        name: _match(np.tensordot(np.array(how, dtype=np.float32), beats[:2], 1), chest)
        for name, how in UNDONE.items()
    }
    as_it_is = np.maximum(match[None], match["LA/LL"])
    undone = np.stack([match[name] for name in FLAGGED])
    best = undone.argmax(axis=0)
    most = undone.max(axis=0)
    found = (most >= MIN_MATCH) & (most - as_it_is >= MIN_GAIN)
    return [FLAGGED[which] if there else None for which, there in zip(best, found, strict=True)]


def _match(limb: Floats, chest: Floats) -> Floats:
    """Return the correlation (recording,) of I and II together with what the chest leads say."""
    product = (limb * chest).sum(axis=(0, 2))
    match: Floats = product / np.sqrt(
        (limb**2).sum(axis=(0, 2)) * (chest**2).sum(axis=(0, 2)) + 1e-12
    )
    return match
