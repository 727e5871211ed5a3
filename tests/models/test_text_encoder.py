"""The embedded text encoder: stable, unit length, close where words are shared, and refused."""

import numpy as np
import pytest

from ecgtwin.errors import EncoderError, EncoderMismatchError, SpecificationError
from ecgtwin.models.text_encoder import (
    HashedEncoder,
    RememberingEncoder,
    check_encoder,
    hashed_statement,
    make_encoder,
    statement_text,
    statements_encoder,
)
from ecgtwin.spec.condition import Statement
from ecgtwin.spec.model import TextSpec
from ecgtwin.spec.presets import TINY
from tests.models.vocabulary import every_statement

GOLDEN_PLACES = [74, 139]  # of the two words of "atrial fibrillation"


def test_vectors_have_unit_length_and_do_not_change_between_processes():
    vector = hashed_statement("atrial fibrillation", 192)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    largest = np.argsort(-np.abs(vector), kind="stable")[:2]
    assert sorted(int(place) for place in largest) == GOLDEN_PLACES


def test_shared_words_bring_statements_closer():
    incomplete = hashed_statement("incomplete right bundle branch block", 192)
    complete = hashed_statement("right bundle branch block", 192)
    other = hashed_statement("sinus rhythm", 192)
    assert incomplete @ complete > 0.6 > 0.3 > abs(float(incomplete @ other))


def test_case_and_spacing_do_not_matter():
    assert np.array_equal(
        hashed_statement(" Sinus  Rhythm", 64), hashed_statement("sinus rhythm", 64)
    )


@pytest.mark.parametrize("width", [TINY.text.width, 384])
def test_every_statement_of_the_vocabularies_has_a_vector_of_its_own(real_data, width):
    """Measured: the closest pair (complete and incomplete right bundle branch block) is at 0.90."""
    statements = every_statement(real_data)
    assert len(statements) > 150
    vectors = HashedEncoder(width).encode(statements).astype(np.float64)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    cosines = vectors @ vectors.T - 2 * np.eye(len(vectors))
    assert cosines.max() < 0.91


@pytest.mark.parametrize("certainty", ["possible", "negated"])
def test_certainty_in_words_leads_away_from_the_statement(real_data, certainty):
    """Measured: at most 0.97; no form in words is another statement of the vocabulary either."""
    statements = every_statement(real_data)
    encoder = HashedEncoder(TINY.text.width)
    plain = encoder.encode(statements)
    told = [statement_text(Statement(code=one, certainty=certainty)) for one in statements]
    assert (encoder.encode(told) @ plain.T).max() < 0.97


def test_flagged_tokens_read_the_bare_code():
    statements = [
        Statement(code="sinus rhythm", certainty=word) for word in ("negated", "definite")
    ]
    vectors = statements_encoder(TINY, make_encoder(TINY.text))(statements)
    bare = hashed_statement("sinus rhythm", TINY.text.width)
    assert np.array_equal(vectors, np.stack([bare, bare]))


def test_no_texts_make_no_vectors():
    assert HashedEncoder(7).encode([]).shape == (0, 7)


def test_an_encoder_of_another_kind_or_width_is_refused_with_both_names():
    check_encoder(TextSpec(width=192), HashedEncoder(192))
    with pytest.raises(EncoderMismatchError, match=r"hashed-192.*hashed-64 \(width 64\).*leave"):
        check_encoder(TextSpec(width=192), HashedEncoder(64))
    with pytest.raises(EncoderMismatchError, match=r"nomic-embed-text-v1.5@.*hashed-768"):
        check_encoder(TextSpec(kind="nomic", width=768), HashedEncoder(768))


def test_the_hashed_encoder_takes_no_prefix_and_no_revision():
    for changes in ({"prefix": "search_query: "}, {"revision": "1"}):
        with pytest.raises(SpecificationError, match="nomic"):
            TextSpec.parse(changes, origin="text")


def test_what_is_known_is_not_made_again_and_the_rest_is_made_once():
    known = {"a": np.array([1, 0], dtype=np.float32)}
    made = []

    class Counting(HashedEncoder):
        def encode(self, texts):
            made.append(list(texts))
            return super().encode(texts)

    encoder = RememberingEncoder("hashed-2", width=2, known=known, otherwise=lambda: Counting(2))
    assert encoder.encode(["a", "a"]).tolist() == [[1, 0], [1, 0]]
    assert not made
    vectors = encoder.encode(["c", "a", "b", "c"])
    assert np.array_equal(vectors[[0, 2, 3]], HashedEncoder(2).encode(["c", "b", "c"]))
    assert np.array_equal(vectors[1], known["a"])
    encoder.encode(["b", "c", "d"])
    assert made == [["b", "c"], ["d"]]
    assert encoder.encode([]).shape == (0, 2)


def test_a_text_without_vector_and_encoder_is_named():
    def missing():
        raise EncoderError("there is no encoder")

    encoder = RememberingEncoder("x", width=2, known={}, otherwise=missing)
    with pytest.raises(EncoderError, match=r"1 statements .* 'sinus rhythm'; there is no encoder"):
        encoder.encode(["sinus rhythm"])
