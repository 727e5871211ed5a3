"""Rows to train from: the same ones from a corpus and from a pack of it, by whatever machine."""

import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ecgtwin.errors import CheckpointError, SpecificationError, StoreError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.signals.leads import LEADS
from ecgtwin.sources.ingest import ingest
from ecgtwin.sources.opening import open_archive
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.spec.pairs import PairSpec
from ecgtwin.spec.recipe import STAGES, load_recipe
from ecgtwin.store.pack import read_pack
from ecgtwin.store.pack_cutting import cut_pack
from ecgtwin.store.reader import Corpus
from ecgtwin.training.conditions import ConditionRows
from ecgtwin.training.origins import open_origin, rows_of
from ecgtwin.training.rows import TrainingRows
from ecgtwin.training.run import TrainingJob, run_training
from ecgtwin.twin.twin import EcgTwin
from tests.tiny import TINY, TINY_PUBLISHED, tiny_twin
from tests.training.corpora import Row, many_rows, write_corpus

ROOT = Path(__file__).parent.parent.parent
RECIPE = """\
preset: tiny
vae: {training: {num_steps: 2, batch_size: 4}}
base_extractor: {training: {num_steps: 2, batch_size: 4}}
denoiser: {training: {num_steps: 2, batch_size: 4}}
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(str(tmp_path_factory.mktemp("rows") / "corpus"), many_rows())


@pytest.fixture(scope="module")
def pack(corpus):
    out = str(Path(corpus).parent / "pack.npz")
    cut_pack(corpus, out)
    return out


def sorted_rows(rows):
    """Return samples and labels in an order of their own."""
    order = sorted(range(len(rows)), key=lambda row: rows.samples_BLT[row].tobytes())
    return rows.samples_BLT[order], [rows.conditions[row] for row in order], order


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_pack_gives_the_rows_of_its_corpus(corpus, pack, split):
    of_corpus = TrainingRows.read([Corpus(corpus)], split)
    of_pack = TrainingRows.read_pack(read_pack(pack), split)
    samples, conditions, order = sorted_rows(of_corpus)
    packed_samples, packed_conditions, packed_order = sorted_rows(of_pack)
    np.testing.assert_array_equal(samples, packed_samples)
    assert conditions == packed_conditions
    for names, packed in (
        (of_corpus.persons, of_pack.persons),
        (
            list(zip(of_corpus.persons, of_corpus.recordings, strict=True)),
            list(zip(of_pack.persons, of_pack.recordings, strict=True)),
        ),
    ):
        pairs = {(names[one], packed[two]) for one, two in zip(order, packed_order, strict=True)}
        assert len(pairs) == len(set(names)) == len(set(packed))
    assert of_pack.origins == ()
    assert (of_pack.num_paired(PairSpec()), len(of_pack)) == (
        of_corpus.num_paired(PairSpec()),
        len(of_corpus),
    )


def test_only_accepted_rows_of_the_split_are_read_leads_in_order(corpus):
    whole = Corpus(corpus)
    rows = TrainingRows.read([whole], "train", LEADS[::-1])
    positions = [i for i, split in enumerate(whole.column("split")) if split == "train"]
    np.testing.assert_array_equal(rows.samples_BLT, whole.samples_mv(positions)[:, ::-1])
    np.testing.assert_array_equal(rows.origins[0].rows, whole.rows[positions])
    assert len(set(rows.recordings)) < len(rows)  # one recording has two windows
    assert len(TrainingRows.read([whole], "nothing")) == 0


def test_corpora_and_packs_are_joined_and_persons_of_both_stay_apart(corpus, pack, tmp_path):
    other = write_corpus(str(tmp_path / "other"), [Row("p1", "1-0"), Row("p9", "9-9")])
    both = rows_of([open_origin(corpus), open_origin(other)], "train", LEADS)
    single = TrainingRows.read([Corpus(corpus)], "train", LEADS)
    assert len(both) == len(single) + 2
    assert [len(origin.rows) for origin in both.origins] == [len(single), 2]
    assert both.persons.count("test:p1") == single.persons.count("test:p1") + 1  # one source
    mixed = rows_of([open_origin(pack), open_origin(other)], "train", LEADS)
    assert mixed.origins == ()  # nothing is kept beside a pack
    assert len(mixed) == len(both)
    with pytest.raises(StoreError, match="no pack at"):
        open_origin(str(tmp_path / "none.npz"))


def test_windows_and_conditions_reach_the_pairs(corpus):
    rows = TrainingRows.read([Corpus(corpus)], "train")
    recordings = list(zip(rows.persons, rows.recordings, strict=True))
    reference, target, _ = rows.sampler(PairSpec(), seed=0).pairs_at(0, 2000)
    assert all(recordings[a] != recordings[b] for a, b in zip(reference, target, strict=True))
    windowed = [row for row, one in enumerate(recordings) if recordings.count(one) > 1]
    assert set(windowed) <= set(reference)

    def statements(row):
        return {one.code for one in rows.conditions[row].statements}

    spec = PairSpec(same_condition="require", same_recording="allow")
    required = rows.sampler(spec, seed=0)
    reference, target, _ = required.pairs_at(0, 500)
    assert all(statements(a) == statements(b) for a, b in zip(reference, target, strict=True))
    avoided = rows.sampler(PairSpec(same_condition="avoid"), seed=0).pairs_at(0, 500)
    assert all(statements(a) != statements(b) for a, b in zip(*avoided[:2], strict=True))
    assert rows.num_paired(PairSpec()) > rows.num_paired(spec) == 1


@pytest.mark.parametrize("spec", [TINY, TINY_PUBLISHED], ids=["flagged", "published"])
def test_conditions_that_share_vectors_are_what_the_networks_read(spec):
    flutter = {"code": "atrial flutter", "certainty": "negated"}
    maybe = {"code": "sinus rhythm", "certainty": "possible"}
    conditions = [
        CardiacCondition(statements=("sinus rhythm", flutter)),
        CardiacCondition(heart_rate_bpm=71.0),
        CardiacCondition(statements=(maybe,), sex="male"),
        CardiacCondition(statements=("sinus rhythm",), age_years=44.0),
    ]
    twin = tiny_twin(spec=spec)
    whole, rows = twin.condition_batch(conditions), ConditionRows.of(conditions, twin)
    for chosen in (slice(1, 3), torch.tensor([3, 0, 0])):
        found = rows.take(chosen)
        for item in fields(found):
            expected = getattr(whole, item.name)[chosen]
            assert torch.equal(getattr(found, item.name).nan_to_num(-7), expected.nan_to_num(-7)), (
                item.name
            )
            assert getattr(found, item.name).dtype == expected.dtype
    assert len(rows.vectors_SW) == 4
    bare = ConditionRows.of([CardiacCondition()], twin).take(slice(0, 1))
    assert torch.equal(bare.text_BKW, twin.condition_batch([CardiacCondition()]).text_BKW)


def write_recipe(folder):
    (folder / "recipe.yaml").write_text(RECIPE)
    return str(folder / "recipe.yaml")


@pytest.fixture(params=["made up", "PTB-XL"])
def any_pack(request, tmp_path):
    """A pack of a small corpus, and one of real recordings."""
    if request.param == "made up":
        return request.getfixturevalue("pack")
    folder = request.getfixturevalue("real_data") / "ptbxl"
    url, out = str(tmp_path / "ptbxl"), str(tmp_path / "ptbxl.npz")
    settings = IngestSpec(measure=False)
    source = open_archive("ptbxl", str(folder), settings)
    ingest(source, url, settings=settings, executor=LocalExecutor())
    summary = cut_pack(url, out, max_bytes=2**20)
    assert summary.num_bytes <= 2**20
    assert summary.num_rows > 150
    return out


def test_a_machine_without_zarr_or_pyarrow_trains_from_a_pack(any_pack, tmp_path):
    code = f"""
import sys
absent = ('zarr pyarrow ray deepspeed wfdb s3fs fsspec botocore aiobotocore pandas xarray tqdm '
          'matplotlib transformers huggingface_hub tensorboard PIL')
sys.modules.update(dict.fromkeys(absent.split()))
from ecgtwin.cli import main
sys.exit(main(['train', 'all', {write_recipe(tmp_path)!r}, '--corpus', {any_pack!r},
               '--engine', 'torch', '--out', 'twin', '--folder', 'training']))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == list(STAGES)
    twin = EcgTwin.load(str(tmp_path / "twin"))
    assert twin.provenance["corpora"] == [read_pack(any_pack).digest]
    assert twin.provenance["training_patients"] > 5


def job_of(tmp_path, corpus, **changes):
    recipe = load_recipe(write_recipe(tmp_path)).model_copy(update=changes)
    return TrainingJob(
        recipe=recipe,
        corpora=(corpus,),
        out=str(tmp_path / "twin"),
        folder=tmp_path / "training",
        engine="torch",
    )


def test_a_training_goes_on_with_the_pairs_that_it_began_with(corpus, tmp_path):
    job = job_of(tmp_path, corpus, pairs=PairSpec(patient_weight_exponent=0.5))
    run_training(job, rank=0)
    digest = EcgTwin.load(job.out).digest
    run_training(job, rank=0)
    assert EcgTwin.load(job.out).digest == digest
    with pytest.raises(CheckpointError, match="made with pairs"):
        run_training(replace(job, recipe=load_recipe(write_recipe(tmp_path))), rank=0)


def test_pairs_that_nobody_has_are_refused(tmp_path):
    rows = [Row("p0", "a"), Row("p0", "b", statements=("atrial fibrillation",)), Row("p1", "c")]
    url = write_corpus(str(tmp_path / "corpus"), rows)
    windows = [Row("p0", "a"), Row("p0", "a", window=1), Row("p1", "b")]
    other = write_corpus(str(tmp_path / "windows"), windows)
    required = job_of(tmp_path, url, pairs=PairSpec(same_condition="require"))
    with pytest.raises(SpecificationError, match=r"none with two records that .*require.* allows"):
        run_training(required, rank=0)
    with pytest.raises(SpecificationError, match="none with two records;"):
        run_training(job_of(tmp_path, other), rank=0)
    assert not (tmp_path / "twin").exists()


def test_a_pack_at_another_length_is_refused(tmp_path):
    url = write_corpus(str(tmp_path / "corpus"), many_rows(), num_samples=512)
    cut_pack(url, str(tmp_path / "pack.npz"))
    with pytest.raises(SpecificationError, match=r"pack\.npz has 512 samples at 102\.4 Hz"):
        run_training(job_of(tmp_path, str(tmp_path / "pack.npz")), rank=0)
