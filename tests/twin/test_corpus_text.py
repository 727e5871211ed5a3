"""Statements of a corpus are embedded once, beside it, and serve where the encoder is missing."""

import dataclasses

import numpy as np
import pytest

from ecgtwin.cli import main
from ecgtwin.errors import EncoderError
from ecgtwin.models.nomic import FOLDER_VARIABLE, NomicEncoder, revision_of
from ecgtwin.models.text_encoder import HashedEncoder, make_encoder, needed_identity
from ecgtwin.spec.model import TextSpec
from ecgtwin.spec.presets import NOMIC_REVISION, PAPER
from ecgtwin.store.reader import Corpus
from ecgtwin.store.text_table import read_text_vectors
from ecgtwin.twin.corpus_text import corpus_encoder, corpus_texts, embed_corpus
from tests.generation.corpora import Row, make_corpus
from tests.models.nomic_folders import HIDDEN, note_download, write_nomic

pytest.importorskip("transformers")


ROWS = (
    Row("p1", 0, statements=(("sinus rhythm", "definite"), ("normal ecg", "possible"))),
    Row("p1", 1, statements=()),
    Row("p2", 0, statements=(("sinus rhythm", "negated"), ("normal ecg", "possible"))),
    Row("p3", 0, accepted=False, statements=(("atrial fibrillation", "definite"),)),
)
TEXTS = ["no sinus rhythm", "normal ecg", "possible normal ecg", "sinus rhythm"]


@pytest.fixture
def corpus(tmp_path):
    return make_corpus(str(tmp_path / "corpus"), ROWS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_nomic(tmp_path_factory.mktemp("nomic"))


@pytest.fixture
def spec(folder):
    return TextSpec(kind="nomic", width=HIDDEN, revision=revision_of(folder))


def test_texts_are_each_code_of_a_usable_record_bare_and_with_its_certainty(corpus):
    assert corpus_texts(Corpus(corpus)) == TEXTS


def test_a_corpus_is_embedded_once(corpus, folder, spec):
    asked = []

    def make(wanted):
        asked.append(wanted)
        return make_encoder(wanted, nomic_folder=folder)

    done = []
    first = embed_corpus(corpus, spec, make=make, advance=done.append)
    again = embed_corpus(corpus, spec, make=make)
    assert asked == [spec]
    assert first.num_new == first.num_texts == sum(done) == len(TEXTS)
    assert dataclasses.replace(first, num_new=0) == again


def test_what_is_embedded_needs_no_encoder_and_the_rest_says_which(
    corpus, folder, spec, monkeypatch, tmp_path
):
    embed_corpus(corpus, spec, make=lambda wanted: make_encoder(wanted, nomic_folder=folder))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "nowhere"))
    encoder = corpus_encoder([corpus], spec)
    direct = NomicEncoder.load(spec, folder=folder)
    assert encoder.identity == needed_identity(spec)
    assert np.array_equal(encoder.encode(TEXTS), direct.encode(TEXTS))
    with pytest.raises(EncoderError, match=r"'unheard of'.*nowhere does not exist"):
        encoder.encode(["unheard of"])
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    assert np.array_equal(encoder.encode(["unheard of"]), direct.encode(["unheard of"]))


def test_vectors_of_another_revision_are_not_used(corpus, folder, spec, monkeypatch, tmp_path):
    embed_corpus(corpus, spec, make=lambda wanted: make_encoder(wanted, nomic_folder=folder))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "nowhere"))
    other = spec.model_copy(update={"revision": NOMIC_REVISION})
    with pytest.raises(EncoderError):
        corpus_encoder([corpus], other).encode(TEXTS[:1])


def test_the_hashed_encoder_reads_no_corpus():
    encoder = corpus_encoder(["s3://nowhere/at-all"], TextSpec(width=16))
    assert isinstance(encoder, HashedEncoder)
    assert encoder.width == 16


def test_the_command_embeds_for_a_preset(corpus, tmp_path, capsys):
    folder = note_download(write_nomic(tmp_path / "nomic", hidden=768), NOMIC_REVISION)
    words = ["corpus", "embed", corpus, "--preset", "paper", "--nomic", str(folder)]
    assert main(words) == 0
    identity = needed_identity(PAPER.text)
    assert f"{identity}: 4 texts, 4 embedded now" in capsys.readouterr().out
    assert len(read_text_vectors(corpus, identity)) == 4
    assert main(["corpus", "embed", corpus, "--nomic", str(tmp_path / "nowhere")]) == 0
    assert "4 texts, 0 embedded now" in capsys.readouterr().out


def test_the_command_tells_a_mistake_in_one_line(corpus, folder, tmp_path, capsys):
    for wrong, told in ((folder, "needed is"), (tmp_path / "nowhere", "nowhere does not exist")):
        assert main(["corpus", "embed", corpus, "--nomic", str(wrong)]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert len(error.splitlines()) == 1
