"""A cohort of networks with a downloaded text encoder is drawn where that encoder is not."""

import numpy as np
import pytest

from ecgtwin.edit_folder import EditJob, write_edit
from ecgtwin.errors import EcgTwinError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.run import generate_cohort
from ecgtwin.models.text_encoder import needed_identity
from ecgtwin.spec.condition import Statement
from ecgtwin.spec.edit import Add, EditSpec
from ecgtwin.spec.model import TextSpec
from ecgtwin.store.reader import Cohort
from ecgtwin.store.text_table import put_text_vectors, read_text_vectors
from tests.generation.corpora import make_corpus, make_spec
from tests.tiny import TINY, tiny_twin

NOMIC = TextSpec(kind="nomic", width=32)
IDENTITY = needed_identity(NOMIC)
TEXTS = ["atrial fibrillation", "possible atrial fibrillation", "sinus rhythm"]


@pytest.fixture
def urls(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGTWIN_NOMIC", str(tmp_path / "no-such-folder"))
    corpus = make_corpus(str(tmp_path / "corpus"))
    vectors = np.random.default_rng(0).standard_normal((len(TEXTS), NOMIC.width))
    put_text_vectors(corpus, IDENTITY, TEXTS, vectors.astype(np.float32))
    twin = tiny_twin(spec=TINY.model_copy(update={"text": NOMIC}))
    twin.save(str(tmp_path / "twin"), provenance={})
    return tmp_path, str(tmp_path / "cohort")


def spec_of(urls, *statements):
    conditions = [{"statements": [one], "heart_rate_bpm": 70} for one in statements]
    return make_spec(*urls, conditions=conditions)


def test_workers_take_the_vectors_that_the_driver_put_beside_the_plan(urls):
    possible = {"code": "atrial fibrillation", "certainty": "possible"}
    summary = generate_cohort(
        spec_of(urls, "sinus rhythm", possible), executor=LocalExecutor(max_tries=1)
    )
    assert not summary.failures
    assert len(Cohort(urls[1])) == summary.num_rows > 0
    assert read_text_vectors(urls[1], IDENTITY).keys() >= set(TEXTS)


def test_an_edit_takes_the_vectors_that_lie_beside_the_corpus(urls):
    folder, _ = urls
    edits = EditSpec(edits=(Add(statement=Statement(code="atrial fibrillation")),))
    job = EditJob(str(folder / "twin"), str(folder / "corpus"), 0, edits)
    summary = write_edit(job, str(folder / "edit"))
    assert "edit.json" in summary.names


def test_a_statement_that_nobody_embedded_is_refused_before_any_worker(urls):
    with pytest.raises(EcgTwinError, match="paced rhythm"):
        generate_cohort(spec_of(urls, "paced rhythm"), executor=LocalExecutor(max_tries=1))
