"""Report statements to vectors. The default downloads nothing: hashed words and n-grams."""

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

GRAM_LENGTHS = (3, 4, 5)


@lru_cache(maxsize=65_536)
def hashed_statement(code: str, width: int) -> NDArray[np.float32]:
    """Return the unit vector (width,) of a canonical statement.

    Every word and every character n-gram adds +-1 at a place given by its BLAKE2b digest (feature
    hashing, Weinberger et al. 2009); words weigh three times an n-gram.
    """
    vector = np.zeros(width, dtype=np.float64)
    for weight, feature in _features(code):
        digest = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "big")
        vector[(digest >> 1) % width] += weight if digest & 1 else -weight
    norm = float(np.linalg.norm(vector))
    unit = (vector / norm if norm else vector).astype(np.float32)
    unit.setflags(write=False)
    return unit


def _features(code: str) -> list[tuple[float, str]]:
    text = " ".join(code.lower().split())
    words = [(3.0, f"word:{word}") for word in text.split()]
    padded = f" {text} "
    grams = [
        (1.0, f"gram:{padded[start : start + length]}")
        for length in GRAM_LENGTHS
        for start in range(len(padded) - length + 1)
    ]
    return words + grams
