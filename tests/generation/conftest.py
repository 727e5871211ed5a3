"""A folder with a tiny corpus and a tiny twin, made once a session, read only."""

from pathlib import Path

import pytest

from tests.generation.corpora import make_checkpoint, make_corpus


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_corpus(str(folder / "corpus"), key="0" * 64)  # decisions that hang on low bits stay
    make_checkpoint(folder / "twin")
    return folder
