"""A cohort stored at a rate, a step and under a codec of its own; the ECGs stay what they are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgtwin.errors import CohortMismatchError, SpecificationError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.prepare import load_cohort, resolve_cohort, write_plan
from ecgtwin.generation.run import describe_plan, generate_cohort
from ecgtwin.signals.beats import measure
from ecgtwin.signals.leads import LEADS
from ecgtwin.signals.preprocess import resample
from ecgtwin.sources.ingest import ingest
from ecgtwin.sources.simulated import SimulatedSource
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.spec.storage import CodecSpec
from ecgtwin.store.reader import Cohort
from ecgtwin.store.verify import verify
from tests.generation.corpora import make_spec, objects_under
from tests.generation.drawn import draw_rows
from tests.tiny import tiny_twin

DIRECT = [LEADS.index(lead) for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]
FORM: dict[str, Any] = {
    "sampling_rate_hz": 500,
    "step_mv": 0.0025,
    "codec": {"name": "lz4", "level": 5, "shuffle": "shuffle"},
}


def formed(inputs: Path, url: Path, **form: Any) -> CohortSpec:
    output = {"url": str(url), "rows_per_shard": 4, "rows_per_chunk": 2, **form}
    return make_spec(inputs, url, output=output)


def test_what_is_stored_is_what_was_drawn_at_the_rate_that_was_asked_for(
    inputs: Path, tmp_path: Path
) -> None:
    spec = formed(inputs, tmp_path / "cohort", **FORM)
    summary = generate_cohort(spec, executor=LocalExecutor())
    assert (summary.num_accepted, summary.is_complete) == (12, True)
    assert verify(spec.output.url) == []
    cohort = Cohort(spec.output.url)
    layout = cohort.layout
    assert (layout.num_samples, layout.sampling_rate_hz, layout.step_mv) == (5000, 500, 0.0025)
    assert layout.codec == CodecSpec(name="lz4", level=5, shuffle="shuffle")

    resolved = resolve_cohort(spec)
    requests = [resolved.plan.request_at(row) for row in range(12)]
    drawn = draw_rows(tiny_twin(), resolved.plan, resolved.base_vectors, requests)
    wanted = resample(drawn.astype(np.float64), from_hz=102.4, to_hz=500)
    found = cohort.samples_mv(range(12)).astype(np.float64)
    error = np.abs(found - wanted)[:, DIRECT]
    assert 0.4 * layout.step_mv < error.max() <= layout.step_mv / 2 + 1e-5
    steps = cohort.read_steps(np.arange(12)).astype(np.int64)
    np.testing.assert_array_equal(steps[:, 2], steps[:, 1] - steps[:, 0])
    assert max(cohort.columns["limb_residual_mv"]) <= layout.step_mv / 2 + 1e-6
    for position in range(12):
        measured = measure(found[position].astype(np.float32), sampling_rate_hz=500)
        stored = cohort.columns["measured_heart_rate_bpm"][position]
        assert stored == pytest.approx(measured.heart_rate_bpm)


def test_the_description_and_the_workers_follow_the_stored_rate(
    inputs: Path, tmp_path: Path
) -> None:
    spec = formed(inputs, tmp_path / "cohort", **FORM)
    written = write_plan(resolve_cohort(spec))
    description = json.loads((tmp_path / "cohort" / "cohort.json").read_text())
    assert description["signals"] == {
        "num_rows": 12,
        "num_samples": 5000,
        "sampling_rate_hz": 500.0,
    }
    asked = description["specification"]["output"]
    assert {name: asked[name] for name in FORM} == FORM
    read = load_cohort(spec, checkpoint_digest=written.plan.checkpoint_digest)
    assert (read.plan.digest, read.layout) == (written.plan.digest, written.layout)
    assert resolve_cohort(spec).layout == written.layout
    raw_mib = 12 * 12 * 5000 * 2 / 2**20
    assert f"{raw_mib:.1f} MiB before compression" in describe_plan(spec).text


def test_what_a_cohort_does_not_ask_for_is_not_in_its_description(
    inputs: Path, tmp_path: Path
) -> None:
    write_plan(resolve_cohort(formed(inputs, tmp_path / "cohort", step_mv=0.005)))
    description = json.loads((tmp_path / "cohort" / "cohort.json").read_text())
    assert set(description["specification"]["output"]) == {"rows_per_shard", "rows_per_chunk"}
    assert description["signals"]["num_samples"] == 1024


@pytest.mark.parametrize(
    "form", [{"sampling_rate_hz": 250}, {"step_mv": 0.01}, {"codec": {"level": 1}}]
)
def test_another_form_is_another_cohort(inputs: Path, tmp_path: Path, form: dict[str, Any]) -> None:
    write_plan(resolve_cohort(formed(inputs, tmp_path / "cohort")))
    before = objects_under(str(tmp_path / "cohort"))
    with pytest.raises(CohortMismatchError, match="another specification"):
        resolve_cohort(formed(inputs, tmp_path / "cohort", **form))
    assert objects_under(str(tmp_path / "cohort")) == before


@pytest.mark.parametrize(
    ("rate_hz", "message"),
    [
        (250.04, r"sampling_rate_hz is 250\.04: the 10 s .* 2500\.4 samples.* take 250 or 250\.1$"),
        (50.03, r"500\.3 samples.* take 50 or 50\.1$"),
        (999.999, r"9999\.99 samples.* take 999\.9 or 1000$"),
    ],
)
def test_a_rate_that_gives_no_whole_number_of_samples_is_refused(
    inputs: Path, tmp_path: Path, rate_hz: float, message: str
) -> None:
    with pytest.raises(SpecificationError, match=message):
        resolve_cohort(formed(inputs, tmp_path / "cohort", sampling_rate_hz=rate_hz))
    assert not (tmp_path / "cohort").exists()


@pytest.mark.parametrize(("rate_hz", "num_samples"), [(50, 500), (102.4, 1024), (333.3, 3333)])
def test_rates_that_do_are_taken(
    inputs: Path, tmp_path: Path, rate_hz: float, num_samples: int
) -> None:
    layout = resolve_cohort(formed(inputs, tmp_path, sampling_rate_hz=rate_hz)).layout
    assert (layout.sampling_rate_hz, layout.num_samples) == (rate_hz, num_samples)


def test_more_samples_leave_room_for_fewer_rows(inputs: Path, tmp_path: Path) -> None:
    form = {"sampling_rate_hz": 1000, "rows_per_shard": 512, "rows_per_chunk": 16}
    with pytest.raises(SpecificationError, match=r"10000 samples .* use at most 272 rows"):
        resolve_cohort(formed(inputs, tmp_path / "cohort", **form))


def test_beats_and_their_height_do_not_depend_on_the_rate(tmp_path: Path) -> None:
    """The same twins of the shipped weights, whose ECGs have beats, at three rates."""
    source = SimulatedSource(5, 6, 1, sampling_rate_hz=102.4)
    settings = IngestSpec(rows_per_shard=32, validation_share=0.0, test_share=0.0)
    ingest(source, str(tmp_path / "corpus"), settings=settings, executor=LocalExecutor())
    cohorts = []
    for rate_hz in (None, 250, 500):
        url = str(tmp_path / f"cohort-{rate_hz}")
        fields = {
            "checkpoint": "tiny",
            "corpus": str(tmp_path / "corpus"),
            "patients": {"split": "train", "count": 4},
            "conditions": [{"statements": ["sinus rhythm"], "heart_rate_bpm": [60, 95]}],
            "batch_rows": 8,
            "output": {
                "url": url,
                "rows_per_shard": 8,
                "rows_per_chunk": 8,
                "sampling_rate_hz": rate_hz,
            },
        }
        generate_cohort(CohortSpec.parse(fields, origin="a test"), executor=LocalExecutor())
        cohorts.append(Cohort(url))
    as_drawn, *others = cohorts
    rates, drawn_mv = as_drawn.column("measured_heart_rate_bpm"), as_drawn.samples_mv(range(8))
    asked = np.asarray(as_drawn.column("heart_rate_bpm"))
    assert np.abs(rates - asked).mean() < 10  # there are beats, as asked
    for cohort in others:
        assert len(cohort) == 8
        np.testing.assert_allclose(cohort.column("measured_heart_rate_bpm"), rates, atol=0.1)
        samples_mv = cohort.samples_mv(range(8))
        back = resample(samples_mv, from_hz=cohort.layout.sampling_rate_hz, to_hz=102.4)
        assert np.sqrt(np.mean((back - drawn_mv) ** 2)) < 0.004
        height_mv, drawn_height_mv = (np.abs(one).max(axis=2) for one in (samples_mv, drawn_mv))
        assert np.median(height_mv / drawn_height_mv) == pytest.approx(1, abs=0.03)
        # Tops lie between the samples drawn; each height is rounded to a step.
        assert (height_mv > 0.97 * drawn_height_mv - cohort.layout.step_mv).all()
        assert (height_mv < 1.2 * drawn_height_mv + cohort.layout.step_mv).all()
