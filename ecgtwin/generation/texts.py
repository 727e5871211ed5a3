"""The statements of a cohort, embedded once by the driver: workers need no text encoder."""

from collections.abc import Iterable

import numpy as np

from ecgtwin.errors import CommitConflictError
from ecgtwin.models.text_encoder import statement_text
from ecgtwin.spec.condition import Statement
from ecgtwin.store.text_table import put_text_vectors, read_text_vectors
from ecgtwin.twin.checkpoint import check_trained, read_twin_spec
from ecgtwin.twin.corpus_text import corpus_encoder
from ecgtwin.twin.twin import EcgTwin


def load_twin(checkpoint: str, *, texts_at: str | None, device: str = "cpu") -> EcgTwin:
    """Load a twin that takes the vectors of statements from those stored at ``texts_at``, if any.

    Raises CheckpointError where some of its networks are not trained yet.
    """
    twin = EcgTwin.load(checkpoint, device=device)
    check_trained(checkpoint, twin.provenance)
    twin.text_encoder = corpus_encoder(_urls(texts_at), twin.spec.text)
    return twin


def put_plan_texts(
    cohort_url: str, statements: Iterable[Statement], *, checkpoint: str, corpus_url: str | None
) -> None:
    """Store the vectors of every statement of a plan beside it, under ``text/``.

    Those of the corpus are used where they are; nothing is stored for the embedded encoder, which
    every worker has.
    """
    text = read_twin_spec(checkpoint).text
    if text.kind == "hashed":
        return
    encoder = corpus_encoder(_urls(corpus_url), text)
    known = read_text_vectors(cohort_url, encoder.identity)
    texts = {form for one in statements for form in (one.code, statement_text(one))}
    missing = sorted(texts - known.keys())
    if not missing:
        return
    vectors = encoder.encode(missing)
    try:
        put_text_vectors(cohort_url, encoder.identity, missing, vectors)
    except CommitConflictError:  # another driver was first, perhaps on another kind of processor
        stored = read_text_vectors(cohort_url, encoder.identity)
        if not np.allclose([stored[text] for text in missing], vectors, atol=1e-5):
            raise


def _urls(url: str | None) -> list[str]:
    return [] if url is None else [url]
