"""``ecgtwin submit generate`` against a Ray head of its own, with a token, by real commands."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ecgtwin.errors import SpecificationError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.run import generate_cohort
from ecgtwin.spec.cohort import CohortSpec
from ray_jobs.submit import submit_generate
from tests.generation.corpora import make_checkpoint, make_corpus, make_spec, objects_under
from tests.ray_jobs.clusters import COMMAND_S, REPOSITORY, Cluster, started_cluster


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_corpus(str(folder / "corpus"))
    make_checkpoint(folder / "twin")
    return folder


def write(spec: CohortSpec, folder: Path) -> Path:
    path = folder / "a cohort.yaml"
    path.write_text(yaml.safe_dump(spec.model_dump(mode="json")))
    return path


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with started_cluster() as made:
        yield made


def submit(cluster: Cluster, path: Path) -> subprocess.CompletedProcess[str]:
    words = ["submit", "generate", str(path), f"--address={cluster.dashboard}"]
    return subprocess.run(
        [sys.executable, "-m", "ecgtwin", *words],
        cwd=REPOSITORY,
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
    )


@pytest.mark.ray
def test_a_submitted_cohort_equals_one_made_here(
    inputs: Path, cluster: Cluster, tmp_path: Path
) -> None:
    here, there = (make_spec(inputs, tmp_path / name) for name in ("here", "there"))
    generate_cohort(here, executor=LocalExecutor())
    path = write(there, tmp_path)
    done = submit(cluster, path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 ECGs = 3 patients x 4 conditions x 1 replicate" in done.stdout
    assert "3 of 3 shards committed" in done.stdout
    assert objects_under(there.output.url) == objects_under(here.output.url)


@pytest.mark.ray
def test_a_mistake_found_on_the_cluster_has_exit_code_two(
    inputs: Path, cluster: Cluster, tmp_path: Path
) -> None:
    spec = make_spec(inputs, tmp_path / "cohort", patients={"ids": ["nobody"]})
    done = submit(cluster, write(spec, tmp_path))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "patients.ids.0: patient 'nobody' is not among" in done.stdout
    assert not (tmp_path / "cohort").exists()


def test_a_relative_path_is_refused_by_name(inputs: Path, tmp_path: Path) -> None:
    path = write(make_spec(inputs, "demo/cohort"), tmp_path)
    with pytest.raises(SpecificationError, match=r"output\.url: 'demo/cohort' is relative"):
        submit_generate(path, address="http://127.0.0.1:1")


def test_an_address_where_nobody_answers_is_named(inputs: Path, tmp_path: Path) -> None:
    path = write(make_spec(inputs, tmp_path / "cohort"), tmp_path)
    with pytest.raises(
        SpecificationError, match=r"--address http://127\.0\.0\.1:1: no Ray cluster"
    ):
        submit_generate(path, address="http://127.0.0.1:1")
