import re
from dataclasses import replace
from pathlib import Path

import pytest

from ecgtwin.errors import CheckpointError, SpecificationError, StoreError
from ecgtwin.spec.recipe import BaseExtractorRecipe, DenoiserRecipe, Recipe, VaeRecipe
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.dry_run import WIDTH, describe_training
from ecgtwin.training.run import TrainingJob, run_training
from tests.training.corpora import Row, many_rows, write_corpus

SPEC = TrainingSpec(num_steps=3, batch_size=4, warmup_steps=1, checkpoint_every=2)


def recipe_of(spec, **denoiser):
    return Recipe(
        preset="tiny",
        vae=VaeRecipe(training=spec),
        base_extractor=BaseExtractorRecipe(training=spec),
        denoiser=DenoiserRecipe(training=spec.model_copy(update=denoiser)),
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    root = tmp_path_factory.mktemp("dry")
    return TrainingJob(
        recipe=recipe_of(SPEC),
        corpora=(write_corpus(str(root / "corpus"), many_rows()),),
        out=str(root / "twin"),
        folder=root / "training",
        engine="torch",
    )


def table_of(text):
    """Return the values of each row by its label."""
    rows = [re.split(r" {2,}", line.strip()) for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_a_description_is_short_aligned_and_writes_nothing(job):
    before = sorted(Path(job.corpora[0]).parent.rglob("*"))
    text = describe_training(job, world_size=1)
    assert sorted(Path(job.corpora[0]).parent.rglob("*")) == before
    lines = text.splitlines()
    assert max(len(line) for line in lines if job.corpora[0] not in line) <= WIDTH
    assert len(lines) < 50
    begin = next(index for index, line in enumerate(lines) if line.endswith("denoiser"))
    end = next(index for index, line in enumerate(lines) if line.startswith("time left"))
    assert {len(line) for line in lines[begin : end + 1]} == {len(lines[begin])}


def test_its_numbers_are_those_of_the_recipe_and_the_corpus(job):
    """Seventeen accepted training rows; three steps of four samples, the extractor's of two."""
    num_rows = sum(row.split == "train" and row.accepted for row in many_rows())
    table = table_of(describe_training(job, world_size=1))
    assert table["steps"] == ["3", "3", "3"]
    assert table["on a rank"] == ["1 x 4", "1 x 4", "1 x 4"]
    assert table["samples"] == ["12", "12", "12"]
    assert table["epochs"] == [f"{12 * each / num_rows:.1f}" for each in (1, 2, 1)]
    assert table["latent frames"] == ["768", "1,536", "768"]
    assert f"{num_rows} training rows" in describe_training(job, world_size=1)
    assert all(re.search(r"[\d.]+ (s|min)$", value) for value in table["time left"])
    assert all("not known" not in values for values in table.values())


def test_ranks_stages_and_what_is_offloaded_are_told(job):
    several = replace(
        job,
        recipe=recipe_of(SPEC, zero_stage=3, offload="optimizer", precision="bf16_weights"),
        engine="deepspeed",
        minutes=5,
    )
    text = describe_training(several, world_size=2)
    table = table_of(text)
    assert "2 ranks, engine deepspeed" in text
    assert table["on a rank"] == ["1 x 2"] * 3
    assert table["offloaded"][:2] == ["-", "-"]
    assert table["offloaded"][2].endswith(" MiB")
    assert "--minutes ends it after about 5 min" in text


def test_what_was_done_before_is_counted_unless_it_was_something_else(job, tmp_path):
    begun = replace(job, folder=tmp_path / "begun")
    run_training(replace(begun, stages=("vae",), out=str(tmp_path / "vae")), rank=0)
    table = table_of(describe_training(begun, world_size=1))
    assert table["done before"] == ["3", "0", "0"]
    assert table["time left"][0] == "0 s"
    longer = recipe_of(SPEC.model_copy(update={"num_steps": 4}))
    with pytest.raises(CheckpointError, match="was made with recipe"):
        describe_training(replace(begun, recipe=longer), world_size=1)


def test_its_errors_are_those_of_the_training(job, tmp_path):
    single = write_corpus(str(tmp_path / "single"), [Row(f"p{n}", f"r{n}") for n in range(4)])
    halved = recipe_of(SPEC, precision="bf16_weights", zero_stage=2)
    for wrong, world_size, error, words in (
        ({"corpora": (str(tmp_path / "none"),)}, 1, StoreError, "holds no cohort or corpus"),
        ({}, 3, SpecificationError, "batch_size 4 does not divide"),
        ({"corpora": (single,)}, 1, SpecificationError, "none with two records"),
        ({"recipe": halved}, 1, SpecificationError, "--engine deepspeed"),
    ):
        with pytest.raises(error, match=words):
            describe_training(replace(job, **wrong), world_size=world_size)
