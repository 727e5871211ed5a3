"""What a sample is -> the key of its noise -> the noise. Pure: no global random state, no torch.

Philox 4x64 with ten rounds (Salmon et al. 2011) as numpy has it; its raw words are stable, which
numpy does not promise of its distributions, so the normal deviates are our own (Box and Muller
1958).
"""

import hashlib
from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

_DOMAIN = b"ecgtwin-noise-1"  # another meaning of the fields gets another name
_STEP_SHIFT = 192  # Philox counts elements in the low words of its 256-bit counter
_LOW_64 = (1 << 64) - 1


def noise_key(
    *, cohort_seed: int, person: str, condition_digest: str | None, replicate: int, attempt: int
) -> tuple[int, int]:
    """Return the Philox key, two 64-bit words, of one sample.

    BLAKE2b-128 over length-prefixed fields. ``condition_digest=None`` leaves the condition out, so
    that all conditions of a person and replicate share their noise.
    """
    fields = [str(cohort_seed), person, condition_digest, str(replicate), str(attempt)]
    hashed = hashlib.blake2b(digest_size=16, person=_DOMAIN)
    for field in fields:
        if field is not None:
            data = field.encode()
            hashed.update(len(data).to_bytes(8, "little") + data)
    whole = int.from_bytes(hashed.digest(), "little")
    return whole & _LOW_64, whole >> 64


def standard_normal(
    keys: Sequence[tuple[int, int]], shape: tuple[int, ...], *, step: int = 0
) -> NDArray[np.float64]:
    """Return standard normal noise ``(len(keys), *shape)``, one keyed sample per row.

    A row depends on its own key and ``step`` only; an element also on its position in C order, but
    not on how many there are.
    """
    num_elements = prod(shape)
    num_words = num_elements + num_elements % 2
    words = np.empty((len(keys), num_words), np.uint64)
    for row, (low, high) in enumerate(keys):
        philox = np.random.Philox(key=low | high << 64, counter=step << _STEP_SHIFT)
        words[row] = philox.random_raw(num_words)
    return _box_muller(words)[:, :num_elements].reshape(len(keys), *shape)


def _box_muller(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Turn each pair of words into a pair of independent normal deviates."""
    mantissas = (words >> np.uint64(11)).astype(np.float64)
    radius = np.sqrt(-2.0 * np.log((mantissas[:, 0::2] + 1.0) * 2.0**-53))  # of (0, 1]: finite
    angle = (2.0 * np.pi * 2.0**-53) * mantissas[:, 1::2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(words.shape)
