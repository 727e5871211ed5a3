"""Stored text vectors: the same numbers back, parts joined, encoders kept apart."""

import numpy as np
import pytest

from ecgtwin.errors import CommitConflictError, DamageError, StoreError
from ecgtwin.store.objects import join, list_names, read_object, replace_object
from ecgtwin.store.text_table import put_text_vectors, read_text_vectors, text_folder

TEXTS = ["sinus rhythm", "possible st-elevation, déjà vu", "a"]


@pytest.fixture
def vectors(rng):
    return rng.normal(size=(3, 5)).astype(np.float32)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def url(request, tmp_path):
    if request.param == "local":
        return str(tmp_path / "corpus")
    return join(request.getfixturevalue("s3_url"), tmp_path.name)


def test_numbers_come_back_to_the_last_bit(url, vectors):
    put_text_vectors(url, "encoder-5", TEXTS, vectors)
    found = read_text_vectors(url, "encoder-5")
    assert found.keys() == set(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert found[text].dtype == np.float32
        assert np.array_equal(found[text], vector)


def test_the_order_of_the_texts_does_not_matter(url, vectors):
    target = put_text_vectors(url, "encoder-5", TEXTS, vectors)
    first = read_object(target)
    assert put_text_vectors(url, "encoder-5", TEXTS[::-1], vectors[::-1]) == target
    assert read_object(target) == first


def test_new_texts_are_added_beside_the_old(url, vectors):
    put_text_vectors(url, "encoder-5", TEXTS[:2], vectors[:2])
    put_text_vectors(url, "encoder-5", TEXTS[2:], vectors[2:])
    assert len(list_names(join(url, text_folder("encoder-5")))) == 2
    found = read_text_vectors(url, "encoder-5")
    assert np.array_equal(np.stack([found[text] for text in TEXTS]), vectors)


def test_nothing_is_overwritten(url, vectors):
    put_text_vectors(url, "encoder-5", TEXTS, vectors)
    with pytest.raises(CommitConflictError):
        put_text_vectors(url, "encoder-5", TEXTS, vectors + 1)
    assert np.array_equal(read_text_vectors(url, "encoder-5")["sinus rhythm"], vectors[0])


def test_encoders_whose_names_read_alike_are_kept_apart(url, vectors):
    put_text_vectors(url, "encoder@1/5+'a: '", TEXTS, vectors)
    assert read_text_vectors(url, "encoder@1/5+'a:'") == {}
    assert read_text_vectors(url, "encoder@1/5") == {}
    assert len(read_text_vectors(url, "encoder@1/5+'a: '")) == 3


@pytest.mark.parametrize(
    ("texts", "shape"), [(["a", "a"], (2, 5)), (["a", "b"], (3, 5)), ([], (0, 5))]
)
def test_texts_that_make_no_table_are_refused(tmp_path, texts, shape):
    with pytest.raises(StoreError, match="make no table"):
        put_text_vectors(str(tmp_path), "encoder-5", texts, np.zeros(shape, dtype=np.float32))


def test_damage_and_another_encoders_table_are_told(tmp_path, vectors):
    url = str(tmp_path)
    target = put_text_vectors(url, "encoder-5", TEXTS, vectors)
    stranger = put_text_vectors(url, "other-5", TEXTS, vectors)
    replace_object(target, read_object(stranger))
    with pytest.raises(DamageError, match="vectors of other-5, not of encoder-5"):
        read_text_vectors(url, "encoder-5")
    for data in (b"nothing", read_object(stranger)[:-20]):
        replace_object(target, data)
        with pytest.raises(DamageError, match="not a table of text vectors"):
            read_text_vectors(url, "encoder-5")
