"""The nomic encoder: its pipeline, what it says it is, and what it refuses."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from ecgtwin.errors import EncoderError, EncoderMismatchError
from ecgtwin.models.nomic import FOLDER_VARIABLE, MODEL, NomicEncoder, revision_of
from ecgtwin.models.text_encoder import (
    check_encoder,
    make_encoder,
    needed_identity,
    statement_text,
    statements_encoder,
)
from ecgtwin.spec.condition import Statement
from ecgtwin.spec.model import TextSpec, TokenSpec
from ecgtwin.spec.presets import NOMIC_REVISION, PAPER
from tests.models.nomic_folders import (
    HIDDEN,
    VOCABULARY,
    as_hub_cache,
    note_download,
    random_model,
    write_nomic,
)
from tests.models.vocabulary import every_statement

pytest.importorskip("transformers")

TEXTS = {
    "sinus rhythm": "sinus rhythm",
    "Normal ECG": "normal ecg",
    "left bundle branch block": "left bundle branch block",
    "possible atrial fibrillation": "possible atrial fibrill ##ation",
    "st elev of unheard leads": "st elev [UNK] [UNK] [UNK]",
}
REAL_FOLDER = os.environ.get(FOLDER_VARIABLE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_nomic(tmp_path_factory.mktemp("nomic"))


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def spec_of(width=HIDDEN, **changes):
    return TextSpec(kind="nomic", width=width, **changes)


def expected(pieces, width):
    """Padded batch, masked mean, LayerNorm, cut, unit length; in numpy after the transformer."""
    lines = [["[CLS]", *line.split(), "[SEP]"] for line in pieces]
    longest = max(map(len, lines))
    numbers = [[VOCABULARY[word] for word in line] + [0] * (longest - len(line)) for line in lines]
    mask = np.array([[1] * len(line) + [0] * (longest - len(line)) for line in lines])
    with torch.no_grad():
        hidden = random_model()(torch.tensor(numbers), attention_mask=torch.from_numpy(mask))[0]
    weights = mask[..., None].astype(np.float64)
    mean = (hidden.numpy() * weights).sum(1) / weights.sum(1)
    even = (mean - mean.mean(1, keepdims=True)) / np.sqrt(mean.var(1, keepdims=True) + 1e-5)
    cut = even[:, :width]
    return cut / np.linalg.norm(cut, axis=1, keepdims=True)


@pytest.mark.parametrize("width", [HIDDEN, 10])
def test_pipeline_against_an_independent_calculation(folder, width):
    """The folder has the published names of tensors, and code that ends the process if run."""
    found = NomicEncoder.load(spec_of(width), folder=folder).encode(list(TEXTS))
    assert found.dtype == np.float32
    assert found.shape == (len(TEXTS), width)
    assert np.abs(found - expected(TEXTS.values(), width)).max() < 1e-5


def test_a_vector_depends_on_its_text_alone(folder):
    encoder = NomicEncoder.load(spec_of(), folder=folder)
    together = encoder.encode(list(TEXTS))
    for text, vector in zip(TEXTS, together, strict=True):
        assert np.array_equal(encoder.encode([text])[0], vector)
    assert encoder.encode([]).shape == (0, HIDDEN)


def test_the_prefix_stands_before_the_text_and_in_the_identity(folder):
    plain = NomicEncoder.load(spec_of(), folder=folder)
    prefixed = NomicEncoder.load(spec_of(prefix="search_query: "), folder=folder)
    told = prefixed.encode(["sinus rhythm"])
    assert np.array_equal(told, plain.encode(["search_query: sinus rhythm"]))
    assert not np.allclose(told, plain.encode(["sinus rhythm"]), atol=1e-2)
    assert prefixed.identity != plain.identity


def test_a_download_that_nobody_touched_is_of_its_revision(copy, tmp_path):
    snapshot = as_hub_cache(copy, tmp_path / "cache", NOMIC_REVISION)
    assert revision_of(snapshot) == NOMIC_REVISION
    assert revision_of(note_download(copy, NOMIC_REVISION)) == NOMIC_REVISION


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_download_that_was_changed_is_known_by_its_digest(copy, name):
    note_download(copy, NOMIC_REVISION)
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    changed = revision_of(copy)
    assert changed.startswith("digest-")
    (copy / name).write_bytes(data)
    assert revision_of(copy) == NOMIC_REVISION
    (copy / ".cache/huggingface/download" / f"{name}.metadata").unlink()
    assert revision_of(copy) not in (NOMIC_REVISION, changed)


def test_files_of_two_revisions_are_of_none(copy):
    note_download(copy, NOMIC_REVISION)
    note = copy / ".cache/huggingface/download/config.json.metadata"
    note.write_text(note.read_text().replace(NOMIC_REVISION, "0" * 40))
    assert revision_of(copy).startswith("digest-")


def test_only_the_encoder_that_the_specification_names_is_taken(copy):
    with pytest.raises(EncoderMismatchError) as caught:
        make_encoder(spec_of(), nomic_folder=copy)
    for part in (NOMIC_REVISION, revision_of(copy), "docs/text-encoders.md"):
        assert part in str(caught.value)
    own = spec_of(revision=revision_of(copy))
    encoder = make_encoder(own, nomic_folder=copy)
    assert encoder.identity == needed_identity(own)
    for other in (
        own.model_copy(update={"width": 10}),
        own.model_copy(update={"prefix": "search_query: "}),
        TextSpec(width=HIDDEN),
    ):
        with pytest.raises(EncoderMismatchError):
            check_encoder(other, encoder)


def test_the_folder_may_be_named_in_the_environment(copy, monkeypatch):
    note_download(copy, NOMIC_REVISION)
    monkeypatch.setenv(FOLDER_VARIABLE, str(copy))
    encoder = make_encoder(spec_of())
    assert encoder.identity == f"nomic-embed-text-v1.5@{NOMIC_REVISION}/{HIDDEN}"
    twice = encoder.encode(["normal ecg", "sinus rhythm", "normal ecg"])
    assert np.array_equal(twice[0], twice[2])
    assert not np.allclose(twice[0], twice[1])


def test_certainty_reaches_published_tokens_as_words_and_flagged_ones_as_flags(copy):
    text = spec_of(revision=revision_of(copy))
    encoder = make_encoder(text, nomic_folder=copy)
    statements = [
        Statement(code="sinus rhythm", certainty=word)
        for word in ("definite", "possible", "negated")
    ]
    published = PAPER.model_copy(update={"text": text})
    in_words = statements_encoder(published, encoder)(statements)
    assert np.array_equal(
        in_words, encoder.encode(["sinus rhythm", "possible sinus rhythm", "no sinus rhythm"])
    )
    flagged = TokenSpec()
    networks = {
        name: getattr(published, name).model_copy(update={"tokens": flagged})
        for name in ("base_extractor", "denoiser")
    }
    alike = statements_encoder(published.model_copy(update=networks), encoder)(statements)
    assert np.array_equal(alike, np.repeat(encoder.encode(["sinus rhythm"]), 3, axis=0))


def test_folders_that_hold_something_else_are_refused(copy, tmp_path):
    with pytest.raises(EncoderError, match="nowhere does not exist"):
        NomicEncoder.load(spec_of(), folder=tmp_path / "nowhere")
    with pytest.raises(EncoderError, match=r"lacks config.json, model.safetensors"):
        NomicEncoder.load(spec_of(), folder=tmp_path)
    with pytest.raises(EncoderError, match=f"{HIDDEN} numbers a text; needed .* at least 25"):
        NomicEncoder.load(spec_of(HIDDEN + 1), folder=copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(EncoderError, match=f"'bert'.*{MODEL}"):
        NomicEncoder.load(spec_of(), folder=copy)
    (copy / "config.json").write_text("[")
    with pytest.raises(EncoderError, match=r"config.json is damaged"):
        NomicEncoder.load(spec_of(), folder=copy)


def test_weights_that_do_not_fill_the_model_are_refused(copy):
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    del weights["encoder.layers.1.mlp.fc11.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"unknown: layers\.1\.mlp\.up_proj\.weight \(1"):
        NomicEncoder.load(spec_of(), folder=copy)
    (copy / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(EncoderError, match="cannot be read"):
        NomicEncoder.load(spec_of(), folder=copy)


def run_python(code, **environment):
    clean = {key: value for key, value in os.environ.items() if key != FOLDER_VARIABLE}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**clean, **environment},
        check=True,
    ).stdout


def test_without_the_library_the_message_says_what_to_install():
    code = """
import sys
sys.modules["transformers"] = None
from ecgtwin.errors import EncoderError
from ecgtwin.models.text_encoder import make_encoder
from ecgtwin.spec.presets import PAPER
try:
    make_encoder(PAPER.text)
except EncoderError as error:
    print(error)
"""
    assert "pip install 'ecgtwin[nomic]'" in run_python(code)


def test_without_folder_and_hub_the_message_names_both(tmp_path):
    code = """
from ecgtwin.errors import EncoderError
from ecgtwin.models.text_encoder import make_encoder
from ecgtwin.spec.model import TextSpec
for revision in (None, "digest-0123"):
    try:
        make_encoder(TextSpec(kind="nomic", width=768, revision=revision))
    except EncoderError as error:
        print(error)
"""
    found = run_python(code, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path)).splitlines()
    assert len(found) == 2
    assert MODEL in found[0]
    assert NOMIC_REVISION in found[0]
    assert "digest-0123 is not on the hub" in found[1]
    assert all(FOLDER_VARIABLE in line for line in found)


@pytest.mark.skipif(REAL_FOLDER is None, reason=f"no nomic weights; set {FOLDER_VARIABLE}")
def test_published_weights_tell_the_vocabulary_apart(real_data):
    encoder = NomicEncoder.load(PAPER.text)
    check_encoder(PAPER.text, encoder)
    statements = every_statement(real_data)
    vectors = encoder.encode(statements).astype(np.float64)
    cosines = vectors @ vectors.T - 2 * np.eye(len(vectors))
    assert cosines.max() < 1 - 1e-4
    for word in ("possible", "negated"):
        told = [statement_text(Statement(code=one, certainty=word)) for one in statements]
        assert (np.einsum("nd,nd->n", encoder.encode(told), vectors) < 1 - 1e-4).all()
