"""Text encoders and corpora: the statements of a corpus are embedded once, beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ecgtwin.models.text_encoder import (
    HashedEncoder,
    RememberingEncoder,
    TextEncoder,
    make_encoder,
    needed_identity,
    statement_text,
)
from ecgtwin.spec.condition import Statement
from ecgtwin.spec.model import TextSpec
from ecgtwin.store.reader import Corpus
from ecgtwin.store.text_table import Vectors, put_text_vectors, read_text_vectors

TEXTS_PER_BLOCK = 32


@dataclass(frozen=True, slots=True)
class EmbedSummary:
    """What came of embedding a corpus."""

    identity: str
    num_texts: int
    num_new: int

    def line(self) -> str:
        """Return the summary in one line."""
        return f"{self.identity}: {self.num_texts} texts, {self.num_new} embedded now"


def corpus_texts(corpus: Corpus) -> list[str]:
    """Return every text that networks may be told of the corpus: each code, bare and as it stands.

    Networks with certainty flags read the bare code, others ``statement_text``.
    """
    lines = zip(corpus.column("statements"), corpus.column("certainties"), strict=True)
    pairs = {pair for line in lines for pair in zip(*line, strict=True)}
    statements = [Statement(code=code, certainty=certainty) for code, certainty in pairs]
    return sorted({form for one in statements for form in (one.code, statement_text(one))})


def missing_texts(url: str, spec: TextSpec) -> tuple[list[str], int]:
    """Return the texts of the corpus that have no vector yet, and how many texts it has."""
    texts = corpus_texts(Corpus(url))
    known = read_text_vectors(url, needed_identity(spec))
    return [text for text in texts if text not in known], len(texts)


def embed_corpus(
    url: str,
    spec: TextSpec,
    *,
    make: Callable[[TextSpec], TextEncoder] = make_encoder,
    advance: Callable[[int], None] = lambda count: None,
) -> EmbedSummary:
    """Store the vectors of the corpus's statements that are not stored yet.

    ``make`` is called only where there are any; ``advance`` is told how many texts were done.
    """
    missing, num_texts = missing_texts(url, spec)
    if missing:
        encoder = make(spec)
        vectors = []
        for start in range(0, len(missing), TEXTS_PER_BLOCK):
            block = missing[start : start + TEXTS_PER_BLOCK]
            vectors.append(encoder.encode(block))
            advance(len(block))
        put_text_vectors(url, encoder.identity, missing, np.concatenate(vectors))
    return EmbedSummary(needed_identity(spec), num_texts, len(missing))


def corpus_encoder(urls: Sequence[str], spec: TextSpec) -> TextEncoder:
    """Return the encoder of ``spec`` that takes from the corpora what is embedded there.

    Library and weights of the encoder are asked for only at a text that none of them has.
    """
    if spec.kind == "hashed":
        return HashedEncoder(spec.width)
    identity = needed_identity(spec)
    known: dict[str, Vectors] = {}
    for url in urls:
        known.update(read_text_vectors(url, identity))
    return RememberingEncoder(
        identity, width=spec.width, known=known, otherwise=lambda: make_encoder(spec)
    )
