"""A whole training run, tiny: from a corpus to a checkpoint, twice, and going on from it."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ecgtwin.errors import CheckpointError, SpecificationError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.texts import load_twin
from ecgtwin.sources.ingest import ingest
from ecgtwin.sources.simulated import SimulatedSource
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.spec.recipe import STAGES, load_recipe
from ecgtwin.store.objects import delete_object
from ecgtwin.store.reader import Corpus
from ecgtwin.training.rows import TrainingRows
from ecgtwin.training.run import TrainingJob, run_training
from ecgtwin.training.state import latest_checkpoint, read_checkpoint
from ecgtwin.twin.checkpoint import untrained_networks
from ecgtwin.twin.derived_values import encode_corpus, plan_encoding
from ecgtwin.twin.twin import EcgTwin
from tests.training.corpora import Row, write_corpus


def make_corpus(url, *, num_persons=12, visits=2, num_samples=1024):
    settings = IngestSpec(
        rows_per_shard=32, test_share=0.1, validation_share=0.3, num_samples=num_samples
    )
    source = SimulatedSource(1, num_persons, visits, sampling_rate_hz=102.4)
    ingest(source, url, settings=settings, executor=LocalExecutor())
    return url


def short(recipe, num_steps):
    stages = {
        name: getattr(recipe, name).model_copy(
            update={
                "training": getattr(recipe, name).training.model_copy(
                    update={"num_steps": num_steps, "batch_size": 4, "checkpoint_every": 2}
                )
            }
        )
        for name in STAGES
    }
    return recipe.model_copy(update=stages)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(str(tmp_path_factory.mktemp("run") / "corpus"))


@pytest.fixture(scope="module")
def job(corpus):
    root = Path(corpus).parent
    return TrainingJob(
        recipe=short(load_recipe("tiny"), 3),
        corpora=(corpus,),
        out=str(root / "twin"),
        folder=root / "training",
        engine="torch",
    )


@pytest.fixture(scope="module")
def results(job):
    return run_training(job, rank=0)


def test_every_network_moved_and_is_there(job, results):
    assert [(result.stage, result.summary.step) for result in results] == [
        (stage, 3) for stage in STAGES
    ]
    trained, fresh = EcgTwin.load(job.out), EcgTwin.untrained("tiny", seed=0)
    for stage in STAGES:
        pairs = zip(
            trained.get_submodule(stage).parameters(),
            fresh.get_submodule(stage).parameters(),
            strict=True,
        )
        assert any((one - other).abs().max() > 1e-5 for one, other in pairs), stage
    assert all(np.isfinite(list(result.validation.values())).all() for result in results)
    lines = [json.loads(line) for line in (job.folder / "log.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines} == set(STAGES)


def test_one_validation_person_alone_cannot_judge_the_base_extractor(job, results, tmp_path):
    """Without another person there are no negatives, and every loss is 0: the first would win."""
    persons = {"p0": "train", "p1": "train", "p2": "train", "p3": "validation"}
    rows = [Row(name, f"{name}-{v}", split) for name, split in persons.items() for v in range(2)]
    only = replace(
        job,
        corpora=(write_corpus(str(tmp_path / "corpus"), rows),),
        out=str(tmp_path / "twin"),
        folder=tmp_path / "training",
        start_from=job.out,
        stages=("base_extractor",),
    )
    (extractor,) = run_training(only, rank=0)
    assert (extractor.validation, extractor.selected_step) == ({}, 3)


def test_the_checkpoint_says_what_statements_the_denoiser_has_learnt(
    job, results, corpus, tmp_path
):
    rows = TrainingRows.read([Corpus(corpus)], "train")
    counts = {}
    for condition in rows.conditions:
        for code in {statement.code for statement in condition.statements}:
            counts[code] = counts.get(code, 0) + 1
    learnt = EcgTwin.load(job.out).provenance["statements"]
    assert learnt == counts
    assert list(learnt) == sorted(counts)
    run_training(with_crop(job, 16, tmp_path), rank=0)  # the extractor alone goes on
    assert EcgTwin.load(str(tmp_path / "twin")).provenance["statements"] == counts


@pytest.mark.parametrize("crop_frames", [16, 64])
def test_the_base_extractor_trains_on_windows(job, results, tmp_path, crop_frames):
    (extractor,) = run_training(with_crop(job, crop_frames, tmp_path), rank=0)
    assert extractor.summary.step == 3
    assert 0 < extractor.validation["auroc"] <= 1


def test_a_window_longer_than_a_latent_is_refused(job, results, tmp_path):
    with pytest.raises(SpecificationError, match="65 is more than the 64 frames"):
        run_training(with_crop(job, 65, tmp_path), rank=0)
    local = with_crop(job, 24, tmp_path)
    recipe = local.recipe.model_copy(update={"preset": "tiny-local", "anew": ("base_extractor",)})
    with pytest.raises(SpecificationError, match="24 is not a multiple of the 16 frames"):
        run_training(replace(local, recipe=recipe), rank=0)


def with_crop(job, crop_frames, folder):
    extractor = job.recipe.base_extractor.model_copy(update={"crop_frames": crop_frames})
    return replace(
        job,
        recipe=job.recipe.model_copy(update={"base_extractor": extractor}),
        out=str(folder / "twin"),
        folder=folder / "training",
        start_from=job.out,
        stages=("base_extractor",),
    )


def test_latents_of_the_training_rows_have_unit_variance(job, results, corpus):
    rows = TrainingRows.read([Corpus(corpus)], "train")
    latents = EcgTwin.load(job.out).vae.encode(torch.from_numpy(rows.samples_BLT))
    torch.testing.assert_close(latents.mean(dim=(0, 2)), torch.zeros(16), atol=0.01, rtol=0)
    torch.testing.assert_close(latents.std(dim=(0, 2)), torch.ones(16), atol=0.01, rtol=0)


def test_the_same_command_again_changes_nothing(job, results):
    digest = EcgTwin.load(job.out).digest
    again = run_training(job, rank=0)
    assert EcgTwin.load(job.out).digest == digest
    assert [result.validation for result in again] == [result.validation for result in results]


def test_a_run_ended_by_sigterm_begins_no_other_stage_and_goes_on_to_the_same_twin(
    job, results, tmp_path
):
    """Else the others learn from half a network, and the first one changes when it goes on."""
    again = replace(job, out=str(tmp_path / "twin"), folder=tmp_path / "training")

    def end(line):
        if line["stage"] == "vae" and line["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    (ended,) = run_training(again, rank=0, show=end)
    assert (ended.stage, ended.summary.stopped) == ("vae", "sigterm")
    assert not Path(again.out).exists()
    run_training(again, rank=0)
    assert EcgTwin.load(again.out).digest == EcgTwin.load(job.out).digest


@pytest.mark.s3
def test_checkpoints_on_s3_are_gone_on_from(job, results, s3_url, tmp_path):
    """The log is of this machine; what a run goes on from, and what it selected, is not."""
    there = replace(
        job,
        out=str(tmp_path / "twin"),
        folder=tmp_path / "first machine",
        checkpoints=f"{s3_url}/training",
        minutes=1e-9,  # a step of each stage
    )
    assert [one.summary.step for one in run_training(there, rank=0)] == [1, 1, 1]
    assert not list((tmp_path / "first machine").rglob("step-*"))
    for stage in STAGES:  # as if the deadline had not been its end
        delete_object(f"{s3_url}/training/{stage}/deadline.json")
    again = replace(
        there, out=str(tmp_path / "again"), folder=tmp_path / "second machine", minutes=None
    )
    run_training(again, rank=0)
    for stage in STAGES:
        url, straight = (
            latest_checkpoint(place) for place in (f"{s3_url}/training/{stage}", job.folder / stage)
        )
        assert url.startswith("s3://")
        ours, theirs = read_checkpoint(url)[0].files(), read_checkpoint(straight)[0].files()
        if stage == "vae":  # the others learn from what was selected, and had other choices
            assert ours.keys() == theirs.keys()
            assert all(
                torch.equal(ours[kind][name], theirs[kind][name])
                for kind in ours
                for name in ours[kind]
            )


def test_another_weight_in_the_loss_is_another_recipe(job, results, tmp_path):
    heavier = job.recipe.vae.model_copy(update={"kl_weight": 0.5})
    other = replace(
        job,
        recipe=job.recipe.model_copy(update={"vae": heavier}),
        out=str(tmp_path / "twin"),
        folder=job.folder,
    )
    with pytest.raises(CheckpointError, match="was made with objective"):
        run_training(other, rank=0)


def test_another_recipe_does_not_go_on_from_this_folder(job, results):
    other = TrainingJob(
        recipe=short(load_recipe("tiny"), 4),
        corpora=job.corpora,
        out=job.out,
        folder=job.folder,
        engine="torch",
    )
    with pytest.raises(CheckpointError, match="recipe"):
        run_training(other, rank=0)


def test_going_on_keeps_the_latents_scale(job, results, tmp_path):
    run_training(
        TrainingJob(
            recipe=short(load_recipe("tiny-continue"), 2),
            corpora=job.corpora,
            out=str(tmp_path / "twin"),
            folder=tmp_path / "training",
            start_from=job.out,
            engine="torch",
            half_precision_file=True,
        ),
        rank=0,
    )
    start, then = EcgTwin.load(job.out), EcgTwin.load(str(tmp_path / "twin"))
    torch.testing.assert_close(
        start.vae.latent_scale_C1, then.vae.latent_scale_C1, atol=1e-3, rtol=1e-3
    )
    assert then.provenance["start_from"] == job.out


def test_what_does_not_fit_is_refused(job, tmp_path):
    wrong_length = make_corpus(str(tmp_path / "short"), num_samples=512)
    single = make_corpus(str(tmp_path / "single"), visits=1)
    for url, words in ((wrong_length, "512 samples"), (single, "none with two records")):
        with pytest.raises(SpecificationError, match=words):
            run_training(
                TrainingJob(
                    recipe=job.recipe,
                    corpora=(url,),
                    out=str(tmp_path / "out"),
                    folder=tmp_path / "folder",
                    engine="torch",
                ),
                rank=0,
            )
    assert not (tmp_path / "out").exists()
    vae_alone = replace(
        job,
        corpora=(single,),
        out=str(tmp_path / "vae"),
        folder=tmp_path / "training",
        stages=("vae",),
    )
    (vae,) = run_training(vae_alone, rank=0)
    assert vae.summary.step == 3


def test_going_on_with_one_stage_leaves_the_other_networks(job, results, tmp_path):
    only = replace(
        job,
        out=str(tmp_path / "on"),
        folder=tmp_path / "training",
        start_from=job.out,
        stages=("base_extractor",),
    )
    run_training(only, rank=0)
    before, after = EcgTwin.load(job.out), EcgTwin.load(only.out)
    for name in STAGES:
        pairs = zip(
            before.get_submodule(name).parameters(),
            after.get_submodule(name).parameters(),
            strict=True,
        )
        moved = any(not torch.equal(old, new) for old, new in pairs)
        assert moved == (name == "base_extractor")
    log = (only.folder / "log.jsonl").read_bytes()
    with pytest.raises(SpecificationError, match=r"finished training .* with other stages;"):
        run_training(replace(only, stages=("vae",)), rank=0)
    assert (only.folder / "log.jsonl").read_bytes() == log
    with pytest.raises(SpecificationError, match="--start-from"):
        run_training(replace(only, start_from=None, out=str(tmp_path / "no")), rank=0)


def test_a_vae_alone_may_start_from_nothing_and_its_checkpoint_says_what_is_missing(job, tmp_path):
    only = replace(job, out=str(tmp_path / "vae"), folder=tmp_path / "training", stages=("vae",))
    run_training(only, rank=0)
    first = EcgTwin.load(only.out)
    assert first.provenance["statements"] == {}
    assert set(first.provenance["stages"]) == {"vae"}
    assert untrained_networks(first.provenance) == ("base_extractor", "denoiser")
    with pytest.raises(CheckpointError, match="not trained yet: base_extractor, denoiser; go on"):
        load_twin(only.out, texts_at=job.corpora[0])

    def on(stage, start_from):
        return replace(
            job,
            out=str(tmp_path / stage),
            folder=tmp_path / f"training-{stage}",
            start_from=start_from,
            stages=(stage,),
        )

    with pytest.raises(
        SpecificationError, match=r"learns from base_extractor, untrained in '.*vae"
    ):
        run_training(on("denoiser", only.out), rank=0)
    run_training(on("base_extractor", only.out), rank=0)
    run_training(on("denoiser", str(tmp_path / "base_extractor")), rank=0)
    last = EcgTwin.load(str(tmp_path / "denoiser"))
    assert untrained_networks(last.provenance) == ()
    load_twin(str(tmp_path / "denoiser"), texts_at=job.corpora[0])


def test_a_denoiser_of_another_kind_begins_anew_on_the_networks_that_are_there(
    job, results, tmp_path
):
    recipe = short(load_recipe("pathways-cross-attention"), 2)
    other = replace(
        job,
        recipe=recipe,
        out=str(tmp_path / "twin"),
        folder=tmp_path / "training",
        start_from=job.out,
        stages=("denoiser",),
    )
    run_training(other, rank=0)
    before, after = EcgTwin.load(job.out), EcgTwin.load(other.out)
    assert after.spec.preset == "tiny-cross-attention"
    assert after.provenance["untrained"] == []
    for name in ("vae", "base_extractor"):
        old, new = (twin.get_submodule(name).state_dict() for twin in (before, after))
        assert all(torch.equal(value, new[key]) for key, value in old.items())
    for anew, words in (
        ((), "name under `anew`"),
        (("base_extractor",), "denoiser of preset 'tiny'"),
        (("base_extractor", "denoiser"), "denoiser learns from base_extractor, untrained"),
    ):
        wrong = recipe.model_copy(update={"anew": anew})
        with pytest.raises(SpecificationError, match=words):
            run_training(replace(other, recipe=wrong, out=str(tmp_path / "no")), rank=0)


def test_a_run_takes_what_is_stored_beside_the_corpus_and_says_so(job, results, tmp_path):
    url = write_corpus(str(tmp_path / "corpus"), [Row(f"p{n // 2}", f"r{n}") for n in range(10)])
    encode_corpus(plan_encoding(url, job.out), executor=LocalExecutor())
    before = {path: path.stat().st_mtime_ns for path in Path(url).rglob("*")}
    only = replace(
        job,
        corpora=(url,),
        out=str(tmp_path / "twin"),
        folder=tmp_path / "training",
        start_from=job.out,
        stages=("base_extractor",),
    )
    run_training(only, rank=0)
    lines = [json.loads(line) for line in (only.folder / "log.jsonl").read_text().splitlines()]
    found = {"rows": 10, "stored_latents": 10, "stored_base_vectors": 10}
    assert lines[0] == {"stage": "base_extractor", **found}
    assert {path: path.stat().st_mtime_ns for path in Path(url).rglob("*")} == before


def test_a_run_that_its_minutes_ended_is_finished(job, tmp_path):
    brief = replace(
        job,
        recipe=short(load_recipe("tiny"), 100_000),
        out=str(tmp_path / "brief"),
        folder=tmp_path / "training",
        minutes=0.02,
    )
    steps = [result.summary.step for result in run_training(brief, rank=0)]
    digest = EcgTwin.load(brief.out).digest
    assert max(steps) < 100_000
    assert [result.summary.step for result in run_training(brief, rank=0)] == steps
    assert EcgTwin.load(brief.out).digest == digest
