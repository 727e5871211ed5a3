"""Report statements to vectors. The default downloads nothing: hashed words and n-grams."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import EncoderError, EncoderMismatchError
from ecgtwin.spec.condition import Certainty, Statement
from ecgtwin.spec.model import TextSpec, TwinSpec
from ecgtwin.spec.presets import NOMIC_REVISION

Vectors = NDArray[np.float32]
EncodeStatements = Callable[[Sequence[Statement]], Vectors]

GRAM_LENGTHS = (3, 4, 5)
CERTAINTY_WORDS: Mapping[Certainty, str] = {
    "definite": "",
    "possible": "possible ",
    "negated": "no ",
}


class TextEncoder(Protocol):
    """Texts to vectors, each text by itself."""

    @property
    def identity(self) -> str:
        """Everything that the vectors depend on, in one line: equal identities, equal vectors."""
        ...

    @property
    def width(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return vectors (len(texts), width)."""
        ...


class HashedEncoder:
    """The default encoder: ``hashed_statement`` of each text."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.identity = f"hashed-{width}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors (len(texts), width)."""
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = hashed_statement(text, self.width)
        return vectors


class RememberingEncoder:
    """Vectors that were made before; a text which has none is left to ``otherwise``, once."""

    def __init__(
        self,
        identity: str,
        *,
        width: int,
        known: Mapping[str, Vectors],
        otherwise: Callable[[], TextEncoder],
    ) -> None:
        self.identity, self.width = identity, width
        self._known = dict(known)
        self._otherwise = cache(otherwise)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return vectors (len(texts), width)."""
        unknown = sorted(set(texts) - self._known.keys())
        if unknown:
            self._known.update(zip(unknown, self._make(unknown), strict=True))
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._known[text]
        return vectors

    def _make(self, texts: Sequence[str]) -> Vectors:
        try:
            return self._otherwise().encode(texts)
        except EncoderError as error:
            raise type(error)(
                f"{len(texts)} statements have no stored vector, such as {texts[0]!r}; {error}"
            ) from error


def make_encoder(spec: TextSpec, *, nomic_folder: str | Path | None = None) -> TextEncoder:
    """Return the encoder that ``spec`` names, checked; it makes each vector once.

    The nomic weights come from ``nomic_folder``, or the folder in ECGTWIN_NOMIC, or the hub.
    """
    if spec.kind == "hashed":
        return HashedEncoder(spec.width)
    from ecgtwin.models.nomic import NomicEncoder

    encoder = NomicEncoder.load(spec, folder=nomic_folder)
    check_encoder(spec, encoder)
    return RememberingEncoder(
        encoder.identity, width=encoder.width, known={}, otherwise=lambda: encoder
    )


def needed_identity(spec: TextSpec) -> str:
    """Return the identity of the one encoder that networks of ``spec`` understand."""
    if spec.kind == "hashed":
        return f"hashed-{spec.width}"
    return nomic_identity(spec.revision or NOMIC_REVISION, width=spec.width, prefix=spec.prefix)


def nomic_identity(revision: str, *, width: int, prefix: str) -> str:
    """Return the identity of nomic-embed-text-v1.5 at ``revision``, cut to ``width``."""
    with_prefix = f"+{prefix!r}" if prefix else ""
    return f"nomic-embed-text-v1.5@{revision}/{width}{with_prefix}"


def check_encoder(spec: TextSpec, encoder: TextEncoder) -> None:
    """Raise EncoderMismatchError unless ``encoder`` is the one that ``spec`` names."""
    needed = needed_identity(spec)
    if (encoder.identity, encoder.width) == (needed, spec.width):
        return
    remedy = (
        "leave the encoder out: this one needs no download"
        if spec.kind == "hashed"
        else "docs/text-encoders.md says how to get exactly that revision"
    )
    raise EncoderMismatchError(
        f"the networks were trained on text vectors of {needed}, and the encoder given is "
        f"{encoder.identity} (width {encoder.width}): its vectors would mean nothing to them; "
        f"{remedy}"
    )


def statement_text(statement: Statement) -> str:
    """Return the statement with its certainty in words, for networks without certainty flags."""
    return CERTAINTY_WORDS[statement.certainty] + statement.code


def statements_encoder(spec: TwinSpec, encoder: TextEncoder) -> EncodeStatements:
    """Return the function from N statements to vectors (N, width) that networks of ``spec`` read.

    Flagged tokens have an input for the certainty. Published ones have none, so it is put in words.
    """
    check_encoder(spec.text, encoder)
    kinds = {spec.base_extractor.tokens.kind, spec.denoiser.tokens.kind}
    in_words = "published" in kinds

    def encode(statements: Sequence[Statement]) -> Vectors:
        return encoder.encode([statement_text(one) if in_words else one.code for one in statements])

    return encode


@lru_cache(maxsize=65_536)
def hashed_statement(code: str, width: int) -> Vectors:
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
