"""What a whole run leaves for its observers: lines, event files, panels."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ecgtwin.plots.training_panel import drawing_of
from ecgtwin.spec.recipe import STAGES, BaseExtractorRecipe, DenoiserRecipe, Recipe, VaeRecipe
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.run import TrainingJob, run_training
from tests.training.corpora import many_rows, write_corpus

SPEC = TrainingSpec(num_steps=3, batch_size=4, warmup_steps=1, checkpoint_every=2, log_every=1)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    root = tmp_path_factory.mktemp("observed")
    return TrainingJob(
        recipe=Recipe(
            preset="tiny",
            vae=VaeRecipe(training=SPEC),
            base_extractor=BaseExtractorRecipe(
                training=SPEC.model_copy(update={"micro_batch_size": 2})
            ),
            denoiser=DenoiserRecipe(training=SPEC),
        ),
        corpora=(write_corpus(str(root / "corpus"), many_rows()),),
        out=str(root / "twin"),
        folder=root / "training",
        engine="torch",
    )


@pytest.fixture(scope="module")
def lines(job):
    run_training(job, rank=0, draw_panel=drawing_of)
    return [json.loads(line) for line in (job.folder / "log.jsonl").read_text().splitlines()]


def of_stage(lines, stage):
    return [line for line in lines if line["stage"] == stage]


def test_a_stage_begins_with_its_steps_its_cost_and_where_the_peak_comes_from(lines):
    for stage in STAGES:
        first = of_stage(lines, stage)[0]
        assert (first["step"], first["num_steps"], first["minutes"]) == (0, 3, None)
        assert first["flops_per_sample"] > 1e6
        assert first["peak"].startswith(("measured: ", "stated "))
        assert first["peak_flops"] > 0


def test_each_line_says_how_fast_and_at_what_share_of_the_peak(lines):
    for stage in STAGES:
        first, *rest = of_stage(lines, stage)
        measured = [line for line in rest if "loss" in line]
        assert [line["step"] for line in measured] == [1, 2, 3]
        for line in measured:
            flops = line["samples_per_s"] * first["flops_per_sample"]
            assert line["tflop_per_s"] == pytest.approx(flops / 1e12, rel=2e-3)
            assert line["mfu"] == pytest.approx(flops / first["peak_flops"], rel=2e-3)
            assert line["gradient_norm"] > 0
            assert 0 <= line["data_wait_share"] <= 1
            assert line["peak_memory_mib"] > 50


def test_event_files_hold_the_numbers_of_the_lines_and_the_panels(job, lines):
    for stage in STAGES:
        found = EventAccumulator(str(job.folder / "tensorboard" / stage)).Reload()
        for tag in ("loss", "samples_per_s", "mfu", "gradient_norm", "peak_memory_mib"):
            events = [(event.step, event.value) for event in found.Scalars(tag)]
            held = [line for line in of_stage(lines, stage) if tag in line]
            assert events == [(line["step"], pytest.approx(line[tag])) for line in held]
        criteria = [event.step for event in found.Scalars("validation/criterion/ema_0.999")]
        assert criteria == [2, 3]
        images = found.Images("panel") if stage != "base_extractor" else []
        assert [image.step for image in images] == ([] if stage == "base_extractor" else [2, 3])


def test_panels_are_files_by_stage_and_step(job, lines):
    names = sorted(path.name for path in (job.folder / "panels").iterdir())
    steps = ("00000002", "00000003")
    assert names == [f"{stage}-{step}.svg" for stage in ("denoiser", "vae") for step in steps]


def test_the_same_command_again_changes_no_file_but_the_log(job, lines):
    files = {path: path.read_bytes() for path in job.folder.rglob("*") if path.is_file()}
    run_training(job, rank=0, draw_panel=drawing_of)
    log = job.folder / "log.jsonl"
    again = [json.loads(line) for line in log.read_text().splitlines()[len(lines) :]]
    assert [line["stage"] for line in again if "num_steps" in line] == list(STAGES)
    assert {line["step"] for line in again} == {3}
    for path, data in files.items():
        if path not in (log, job.folder / "summary.json"):
            assert path.read_bytes() == data, path


def test_where_vectors_are_made_twice_so_are_their_operations(job, lines):
    """Micro-batches of the contrast: two passes forward, one backward."""
    whole = replace(
        job,
        recipe=job.recipe.model_copy(update={"base_extractor": BaseExtractorRecipe(training=SPEC)}),
        out=f"{job.out}-whole",
        folder=Path(f"{job.folder}-whole"),
        start_from=job.out,
        stages=("base_extractor",),
    )
    firsts = []
    run_training(whole, rank=0, show=lambda line: firsts.append(line) if "peak" in line else None)
    once = firsts[0]["flops_per_sample"]
    twice = of_stage(lines, "base_extractor")[0]["flops_per_sample"]
    assert twice / once == pytest.approx(4 / 3, rel=0.01)
