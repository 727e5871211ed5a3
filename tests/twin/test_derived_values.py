"""Latents and base vectors of a corpus: once, by anybody, and what training makes of them."""

import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from ecgtwin.cli import main
from ecgtwin.errors import DamageError, SpecificationError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.store.derived import DerivedKey, read_derived
from ecgtwin.store.reader import Corpus
from ecgtwin.training.rows import LatentRows, TrainingRows
from ecgtwin.twin import encoding
from ecgtwin.twin.derived_values import EncodeShard, encode_corpus, plan_encoding
from ecgtwin.twin.encoding import base_vectors_digest, latents_digest
from tests.tiny import TINY, TINY_PUBLISHED, tiny_twin
from tests.training.corpora import Row, many_rows, write_corpus

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def checkpoint(tmp_path):
    tiny_twin().save(str(tmp_path / "twin"), provenance={})
    return str(tmp_path / "twin")


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(str(tmp_path / "corpus"), many_rows())


def encode(url, checkpoint):
    return encode_corpus(plan_encoding(url, checkpoint), executor=LocalExecutor())


def objects(url):
    folder = Path(url)
    return {path.relative_to(folder): path.read_bytes() for path in folder.glob("derived/*/*")}


def both(url, split="train"):
    """Return the rows encoded by training itself, and those read from beside the corpus."""
    rows = TrainingRows.read([Corpus(url)], split)
    alone = TrainingRows(rows.samples_BLT, rows.conditions, rows.persons, rows.recordings)
    return LatentRows.of(alone, tiny_twin()), LatentRows.of(rows, tiny_twin())


def test_a_corpus_is_encoded_once(corpus, checkpoint):
    first = encode(corpus, checkpoint)
    assert (first.num_shards, first.num_new, first.failures) == (2, 2, ())
    assert [key.kind for key in first.keys] == ["latents", "base-vectors"]
    before = objects(corpus)
    assert len(before) == 4
    again = encode(corpus, checkpoint)
    assert again.num_new == 0
    assert objects(corpus) == before


def test_training_takes_what_is_stored_and_it_is_the_same(corpus, checkpoint):
    made, unstored = both(corpus)
    assert unstored.num_stored == (0, 0)
    encode(corpus, checkpoint)
    _, stored = both(corpus)
    assert stored.num_stored == (len(stored.rows), len(stored.rows))
    torch.testing.assert_close(stored.latents_BCF, made.latents_BCF, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(stored.base_vectors_BW, made.base_vectors_BW, atol=2e-6, rtol=1e-5)


def test_the_same_blocks_give_the_same_bits(tmp_path, checkpoint):
    """One shard, one split, one block."""
    rows = [Row(f"p{number // 2}", f"r{number}") for number in range(12)]
    url = write_corpus(str(tmp_path / "even"), rows)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        made, _ = both(url)
        encode(url, checkpoint)
        _, stored = both(url)
    finally:
        torch.set_num_threads(threads)
    assert stored.num_stored == (12, 12)
    assert torch.equal(stored.latents_BCF, made.latents_BCF)
    assert torch.equal(stored.base_vectors_BW, made.base_vectors_BW)


def test_what_is_not_stored_yet_is_made(corpus, checkpoint, monkeypatch):
    plan = plan_encoding(corpus, checkpoint)
    EncodeShard(corpus, checkpoint, plan.keys)(plan.left[1])
    asked = []
    vae_latents = encoding.latents_of
    monkeypatch.setattr(
        "ecgtwin.training.rows.latents_of",
        lambda twin, samples: asked.append(len(samples)) or vae_latents(twin, samples),
    )
    made, part = both(corpus)
    num_stored = part.num_stored[0]
    assert 0 < num_stored < len(part.rows)
    assert asked == [len(part.rows), len(part.rows) - num_stored]
    torch.testing.assert_close(part.latents_BCF, made.latents_BCF, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(part.base_vectors_BW, made.base_vectors_BW, atol=2e-6, rtol=1e-5)
    assert encode(corpus, checkpoint).num_new == 1


def test_other_weights_or_settings_have_another_digest():
    twin = tiny_twin()
    latents, vectors = latents_digest(twin), base_vectors_digest(twin)
    assert (latents_digest(tiny_twin()), base_vectors_digest(tiny_twin())) == (latents, vectors)
    twin.denoiser.requires_grad_(False)
    next(iter(twin.denoiser.parameters())).add_(1)
    assert (latents_digest(twin), base_vectors_digest(twin)) == (latents, vectors)
    next(iter(twin.base_extractor.parameters())).view(-1)[0].add_(1e-6)
    assert latents_digest(twin) == latents
    assert base_vectors_digest(twin) != vectors
    twin.vae.latent_scale_C1[0] *= 1.001
    assert latents_digest(twin) != latents
    text = TINY.model_copy(update={"text": TINY.text.model_copy(update={"width": 16})})
    assert base_vectors_digest(tiny_twin(spec=text)) != vectors


def test_base_vectors_that_depend_on_their_batch_are_not_kept(corpus, tmp_path):
    extractor = TINY_PUBLISHED.base_extractor.model_copy(update={"reference_mask": True})
    twin = tiny_twin(spec=TINY_PUBLISHED.model_copy(update={"base_extractor": extractor}))
    assert base_vectors_digest(twin) is None
    twin.save(str(tmp_path / "published"), provenance={})
    summary = encode(corpus, str(tmp_path / "published"))
    assert [key.kind for key in summary.keys] == ["latents"]


def test_published_networks_keep_base_vectors_of_whole_conditions(corpus, tmp_path):
    twin = tiny_twin(spec=TINY_PUBLISHED)
    twin.save(str(tmp_path / "published"), provenance={})
    assert not encode(corpus, str(tmp_path / "published")).failures
    rows = TrainingRows.read([Corpus(corpus)], "train")
    assert "test:p0" in rows.persons  # of unknown age
    key = DerivedKey("base-vectors", base_vectors_digest(twin), "c0ffee")
    has_value, vectors = read_derived(corpus, key, rows.origins[0].rows, rows_per_shard=16)
    assert [name != "test:p0" for name in rows.persons] == has_value.tolist()
    assert np.isfinite(vectors[has_value]).all()


def test_work_travels_and_notices_another_checkpoint(corpus, checkpoint, tmp_path):
    plan = plan_encoding(corpus, checkpoint)
    work = pickle.loads(pickle.dumps(EncodeShard(corpus, checkpoint, plan.keys)))
    assert work(plan.left[0]) > 0
    (tmp_path / "twin").rename(tmp_path / "first")
    tiny_twin(1).save(checkpoint, provenance={})
    with pytest.raises(SpecificationError, match="another one here"):
        EncodeShard(corpus, checkpoint, plan.keys)(plan.left[1])


def test_a_damaged_object_of_the_corpus_is_told_and_the_rest_encoded(corpus, checkpoint):
    (Path(corpus) / "signals.zarr/samples_mv/c/0/0/0").unlink()
    summary = encode(corpus, checkpoint)
    assert (summary.num_new, len(summary.failures)) == (1, 1)
    assert isinstance(summary.failures[0].mistake, DamageError)


def test_a_shard_without_usable_rows_is_done_too(tmp_path, checkpoint):
    rows = [Row("p0", f"r{number}", accepted=number >= 16) for number in range(20)]
    url = write_corpus(str(tmp_path / "holes"), rows)
    assert encode(url, checkpoint).num_new == 2
    assert encode(url, checkpoint).num_new == 0
    assert both(url)[1].num_stored == (4, 4)


def test_an_encoding_that_was_killed_goes_on_to_the_same_bytes(tmp_path, checkpoint):
    """Killed between the temporary file and its name: nothing half-written bears a name."""
    rows = many_rows()
    whole = write_corpus(str(tmp_path / "whole"), rows)
    encode(whole, checkpoint)
    url = write_corpus(str(tmp_path / "killed"), rows)
    (tmp_path / "kills").mkdir()
    environment = os.environ | {
        "ECGTWIN_COMMIT_HOOK": "tests.faults.kill_hook:on_stage",
        "ECGTWIN_KILL": "put:3",
        "ECGTWIN_KILL_FOLDER": str(tmp_path / "kills"),
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, "-m", "ecgtwin", "corpus", "encode", url, "--checkpoint", checkpoint]
    killed = subprocess.run(words, env=environment, cwd=ROOT, check=False, capture_output=True)
    assert killed.returncode == -9
    visible = [path for path in Path(url).glob("derived/*/*") if path.name[0] != "."]
    assert len(visible) == 2
    assert encode(url, checkpoint).num_new == 1
    names = {name: data for name, data in objects(url).items() if name.name[0] != "."}
    assert names == objects(whole)


def test_the_command_says_what_it_did_and_what_is_wrong(corpus, checkpoint, tmp_path, capsys):
    words = ["corpus", "encode", corpus, "--checkpoint", checkpoint]
    assert main(words) == 0
    assert "2 shards, 2 encoded now" in capsys.readouterr().out
    assert main(words) == 0
    assert "2 shards, 0 encoded now" in capsys.readouterr().out
    short = write_corpus(str(tmp_path / "short"), many_rows(), num_samples=512)
    wrong = partial(main, ["corpus", "encode", short, "--checkpoint", checkpoint])
    for run, told in (
        (wrong, "512 samples at 102.4 Hz"),
        (partial(main, [*words[:2], str(tmp_path / "none"), *words[3:]]), "no cohort or corpus"),
        (partial(main, [*words[:4], str(tmp_path / "none")]), "twin.json"),
    ):
        assert run() == 2
        error = capsys.readouterr().err
        assert told in error
        assert len(error.splitlines()) == 1
    assert not list(Path(short).glob("derived/*"))


def test_a_corpus_that_is_not_finished_is_encoded_as_far_as_it_is(tmp_path, checkpoint):
    url = write_corpus(str(tmp_path / "half"), many_rows(), shards=(1,))
    summary = encode(url, checkpoint)
    assert (summary.num_shards, summary.num_new, summary.num_uncommitted) == (1, 1, 1)
    assert "1 not ingested yet" in summary.line()
    assert np.isfinite(both(url)[1].latents_BCF.numpy()).all()


@pytest.mark.ray
def test_actors_encode_the_same_bytes(tmp_path, checkpoint, ray_cluster):
    from ecgtwin.executors.ray_executor import RayExecutor

    one, other = (write_corpus(str(tmp_path / name), many_rows()) for name in ("one", "other"))
    encode(one, checkpoint)
    summary = encode_corpus(plan_encoding(other, checkpoint), executor=RayExecutor(2))
    assert summary.num_new == 2
    assert objects(one) == objects(other)


@pytest.mark.s3
def test_a_corpus_on_s3_is_encoded_and_used(tmp_path, checkpoint, s3_url):
    url = write_corpus(f"{s3_url}/encoded", many_rows())
    assert encode(url, checkpoint).num_new == 2
    assert encode(url, checkpoint).num_new == 0
    made, stored = both(url)
    assert stored.num_stored == (len(stored.rows), len(stored.rows))
    torch.testing.assert_close(stored.latents_BCF, made.latents_BCF, atol=2e-6, rtol=1e-5)
