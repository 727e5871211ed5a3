"""Training on Ray: workers and machines are lost, and not a bit of what comes of it changes."""

from pathlib import Path

import pytest
import yaml

from ecgtwin.cli import main
from ecgtwin.spec.recipe import load_recipe
from tests.ray_jobs.clusters import COMMAND_S, started_cluster, stop
from tests.training.launches import check_same, job_words, log_lines, wait_until

START_LINES = 3  # the first of the two checkpoints of the first stage is there


@pytest.mark.ray
@pytest.mark.deepspeed
@pytest.mark.timeout(900)
def test_a_submitted_training_goes_on_after_a_worker_is_killed(
    undisturbed_training: Path, corpus_to_train: str, tmp_path: Path
) -> None:
    recipe, log = tmp_path / "a recipe.yaml", tmp_path / "said.txt"
    recipe.write_text(yaml.safe_dump(load_recipe("tiny").model_dump(mode="json")))
    stage, _, *words = job_words(corpus_to_train, tmp_path)
    with started_cluster() as cluster:
        where = ["--workers=2", f"--address={cluster.dashboard}"]
        job = ["-m", "ecgtwin", "submit", "train", stage, str(recipe), *words, *where]
        process = cluster.start(job, log)
        try:
            wait_until(lambda: len(log_lines(tmp_path)) >= START_LINES, process, log)
            (workers,) = cluster.train_workers()
            assert len(workers) == 2
            workers[-1].kill()
            assert process.wait(COMMAND_S) == 0, log.read_text()
        finally:
            stop(process)
    said = log.read_text()
    assert "denoiser: 6 steps" in said
    assert '"stage": "denoiser", "step": 6, "loss"' in said
    check_same(tmp_path, undisturbed_training)


@pytest.mark.ray
@pytest.mark.deepspeed
@pytest.mark.timeout(900)
def test_a_lost_machine_is_replaced_by_another(
    undisturbed_training: Path, corpus_to_train: str, tmp_path: Path
) -> None:
    """Of three machines with room for one worker each, one that trains is gone at once."""
    log = tmp_path / "said.txt"
    with started_cluster("127.0.0.4", cpus=1) as cluster:
        for ip in ("127.0.0.5", "127.0.0.6"):
            cluster.join(ip, cpus=1)
        words = job_words(corpus_to_train, tmp_path, stage="vae")
        process = cluster.start(["-m", "ray_jobs.train", *words, "--workers=2"], log)
        try:
            wait_until(lambda: len(log_lines(tmp_path)) >= START_LINES, process, log)
            training = cluster.train_workers()
            assert sum(map(len, training)) == 2
            with_workers = [node for node, there in enumerate(training) if there]
            stop(cluster.nodes[with_workers[-1]])  # the head, where the driver is, is the first
            assert process.wait(COMMAND_S) == 0, log.read_text()
        finally:
            stop(process)
    check_same(tmp_path, undisturbed_training, stages=["vae"])


@pytest.mark.parametrize("name", ["--corpus", "--out", "--folder", "--checkpoints", "--start-from"])
def test_a_relative_path_is_refused_by_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    places = {"--corpus": "/c", "--out": "/o", "--folder": "/f"} | {name: "here/there"}
    words = [f"{flag}={place}" for flag, place in places.items()]
    assert main(["submit", "train", "all", "tiny", *words, "--address=http://127.0.0.1:1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{name} 'here/there' is relative, and a job runs in a folder of its own" in line


ELSEWHERE = ["--corpus=s3://b/c", "--out=s3://b/o", "--folder=/f", "--address=http://127.0.0.1:1"]


def test_what_may_stand_on_another_machine_is_asked_of_the_cluster(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["submit", "train", "all", "tiny", *ELSEWHERE, "--start-from=tiny"]) == 2
    assert "--address http://127.0.0.1:1: no Ray cluster" in capsys.readouterr().err


def test_a_recipe_that_is_none_is_told_before_the_cluster_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["submit", "train", "all", "nothing", *ELSEWHERE]) == 2
    assert "recipe 'nothing' cannot be read" in capsys.readouterr().err
