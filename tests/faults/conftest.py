"""A tiny corpus and twin, and the cohort that is made of them when nobody disturbs it."""

import uuid
from pathlib import Path

import pytest

from tests.faults.cohorts import make_undisturbed
from tests.faults.scenarios import Lab
from tests.generation.corpora import make_checkpoint, make_corpus


@pytest.fixture(scope="session")
def cohort_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_corpus(str(folder / "corpus"))
    make_checkpoint(folder / "twin")
    return folder


@pytest.fixture(scope="session")
def undisturbed_cohort(
    cohort_inputs: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    return make_undisturbed(cohort_inputs, tmp_path_factory.mktemp("undisturbed") / "cohort")


@pytest.fixture
def lab(cohort_inputs: Path, tmp_path: Path, undisturbed_cohort: dict[str, bytes]) -> Lab:
    """A place of its own for each test."""
    return Lab.at(cohort_inputs, tmp_path, undisturbed_cohort)


@pytest.fixture(scope="session")
def small_cohort(cohort_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The objects of three shards."""
    folder = tmp_path_factory.mktemp("undisturbed") / "cohort"
    return make_undisturbed(cohort_inputs, folder, replicates=1)


@pytest.fixture
def s3_lab(cohort_inputs: Path, tmp_path: Path, small_cohort: dict[str, bytes], s3_url: str) -> Lab:
    """A place of its own on S3, for three shards."""
    return Lab(cohort_inputs, tmp_path, small_cohort, f"{s3_url}/{uuid.uuid4().hex}", replicates=1)
