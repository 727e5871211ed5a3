"""From a stored cohort to its figures and its page, with a twin that has learnt nothing."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ecgtwin.cohort_report import (
    TARGETS,
    conditions_of,
    drawings_of,
    measure_cohort,
    write_cohort_report,
)
from ecgtwin.errors import SpecificationError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.run import generate_cohort
from ecgtwin.plots.catalogue import GROUPS, lookup
from ecgtwin.signals.preprocess import resample
from ecgtwin.sources.ingest import ingest
from ecgtwin.sources.simulated import SimulatedSource
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.reader import Cohort, Corpus
from tests.tiny import tiny_twin


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    tiny_twin().save(str(root / "twin"), provenance={"stages": {"vae": {"steps": 1}}})
    source = SimulatedSource(3, 16, 2, sampling_rate_hz=102.4)
    settings = IngestSpec(rows_per_shard=32, test_share=0.3, validation_share=0.1)
    ingest(source, str(root / "corpus"), settings=settings, executor=LocalExecutor())
    return root


def make_cohort(root, name, **output):
    """Draw three states of two persons; return the cohort's URL."""
    spec = {
        "checkpoint": str(root / "twin"),
        "corpus": str(root / "corpus"),
        "patients": {"split": "test", "count": 2},
        "conditions": [
            {"statements": ["sinus rhythm"], "heart_rate_bpm": [60, 90]},
            {"statements": ["sinus tachycardia", "left bundle branch block"]},
        ],
        "sampling": {"num_steps": 2},
        "batch_rows": 4,
        "output": {"url": str(root / name), "rows_per_shard": 4, "rows_per_chunk": 4, **output},
    }
    generate_cohort(CohortSpec.parse(spec, origin="test"), executor=LocalExecutor())
    return str(root / name)


@pytest.fixture(scope="module")
def cohort_url(root):
    return make_cohort(root, "cohort")


@pytest.fixture(scope="module")
def measured(cohort_url):
    return measure_cohort(cohort_url, say=lambda line: None)


def test_every_figure_is_there_or_says_why(measured):
    for group in GROUPS:
        for figure in group.figures:
            value = lookup(measured.results, figure.path)
            parts = figure.path.split(".")[:-1]
            reasons = [
                lookup(measured.results, ".".join([*parts[: length + 1], "reason"]))
                for length in range(len(parts))
            ]
            assert value is not None or any(reasons), figure.path
    assert set(TARGETS) <= {figure.path for group in GROUPS for figure in group.figures}


def test_what_is_measured_is_what_is_stored(measured, cohort_url):
    cohort, corpus = Cohort(cohort_url), Corpus(str(Path(cohort_url).parent / "corpus"))
    inputs = measured.inputs
    np.testing.assert_array_equal(inputs.twin_samples_mv, cohort.samples_mv(range(6)))
    np.testing.assert_array_equal(inputs.twin_requested_bpm, [60, 90, np.nan, 60, 90, np.nan])
    assert list(inputs.twin_patient) == [0, 0, 0, 1, 1, 1]
    assert inputs.twin_state[2] == "left bundle branch block"
    names, records = corpus.column("patient_id"), list(corpus.column("record_id"))
    for place, reference in enumerate(measured.resolved.references):
        position = records.index(reference.record_id)
        np.testing.assert_array_equal(
            inputs.reference_samples_mv[place], corpus.samples_mv([position])[0]
        )
    assert len(inputs.visit_samples_mv) == 2
    people = {reference.patient_id for reference in measured.resolved.references}
    trained = set(inputs.training_patient)
    assert not people & trained
    assert trained <= set(names)


def test_a_cohort_at_another_rate_is_judged_at_that_rate_beside_the_same_real_ecgs(
    measured, root, tmp_path
):
    url = make_cohort(root, "fast", sampling_rate_hz=500, step_mv=0.001)
    fast = measure_cohort(url, say=lambda line: None)
    inputs, usual = fast.inputs, measured.inputs
    assert inputs.sampling_rate_hz == 500
    np.testing.assert_array_equal(inputs.twin_samples_mv, Cohort(url).samples_mv(range(6)))
    for name in ("twin", "reference", "visit", "training"):
        at_500, at_102 = (getattr(one, f"{name}_samples_mv") for one in (inputs, usual))
        assert at_500.shape == (len(at_102), 12, 5000)
        if name != "twin":  # untrained networks draw noise up to the last frequency
            back = resample(at_500, from_hz=500, to_hz=102.4)
            assert np.sqrt(np.mean((back - at_102) ** 2)) < 0.01
    for name in ("reference", "visit"):
        vectors = (getattr(one, f"{name}_base_vectors") for one in (inputs, usual))
        np.testing.assert_array_equal(*vectors)
    back = resample(inputs.twin_samples_mv, from_hz=500, to_hz=102.4).astype(np.float32)
    wanted = fast.twin.base_vectors(back, conditions_of(fast.cohort))
    np.testing.assert_allclose(inputs.twin_base_vectors, wanted, atol=1e-5)
    assert np.abs(np.diff(wanted, axis=0)).max() > 1e-3
    drawn = drawings_of(fast)
    assert (drawn.sampling_rate_hz, drawn.reference.samples_mv.shape) == (500, (12, 5000))
    write_cohort_report(fast, path=tmp_path / "report.html")
    assert "500 samples/s" in (tmp_path / "report.html").read_text()


class Balanced(HTMLParser):
    """Checks that every element that opens is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.drawings = [], 0

    def handle_starttag(self, tag, attrs):
        if tag not in {"meta", "br", "hr", "link"}:
            self.open.append(tag)
        self.drawings += tag == "svg"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_the_figures_stand_beside_it(measured, tmp_path):
    write_cohort_report(measured, path=tmp_path / "report.html", command="ecgtwin demo")
    page = Balanced()
    text = (tmp_path / "report.html").read_text()
    page.feed(text)
    assert page.open == []
    assert page.drawings >= 5
    assert "target not met" in text
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["counts"]["twins"] == 6
    assert results["about"]["source"] == "simulated"


def test_a_cohort_without_rows_is_said_to_be_empty(tmp_path):
    with pytest.raises((SpecificationError, ValueError)) as caught:
        measure_cohort(str(tmp_path / "nothing"), say=lambda line: None)
    assert "nothing" in str(caught.value)
