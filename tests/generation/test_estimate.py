"""What a plan takes: counted objects are those that a run makes, times follow measured rates."""

from pathlib import Path
from typing import Any

import pytest

from ecgtwin.errors import SpecificationError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.counts import counts_of, counts_text
from ecgtwin.generation.estimate import estimate, reckon_rate
from ecgtwin.generation.prepare import ResolvedCohort, resolve_cohort
from ecgtwin.generation.run import generate_cohort
from ecgtwin.generation.texts import load_twin
from ecgtwin.generation.trial import draw_spread, measure_rate, stored_share
from ecgtwin.spec.rates import Prices, Rate, RateFile, StoredForm
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.spec.storage import CodecSpec
from ecgtwin.store.reader import Cohort
from tests.generation.corpora import make_spec, objects_under

STORED = StoredForm(sampling_rate_hz=102.4, step_mv=0.005, codec=CodecSpec(), rows_per_chunk=2)
RATE = Rate(
    stored=STORED,
    checkpoint="c0ffee",
    preset="tiny",
    device_kind="cpu",
    sampling=SamplingSpec(num_steps=10, guidance_scale=2.0),
    batch_rows=32,
    ecgs_per_second=5.0,
    bytes_per_ecg=6144.0,
    raw_bytes_per_ecg=24576.0,
    num_ecgs=96,
    measured_on="2026-01-02",
)


@pytest.fixture
def cohort(inputs: Path, tmp_path: Path) -> ResolvedCohort:
    return resolve_cohort(make_spec(inputs, tmp_path / "new"))


def reckoned(rates: list[Rate], **changes: Any) -> Any:
    asked = {
        "checkpoint": "c0ffee",
        "sampling": RATE.sampling,
        "batch_rows": 32,
        "stored": STORED,
        "device_kind": "cpu",
    }
    return reckon_rate(rates, **(asked | changes))


def test_objects_and_requests_are_those_that_a_run_makes(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    before = resolve_cohort(spec)
    found = estimate(before.plan, before.layout, rate=None)
    generate_cohort(spec, executor=LocalExecutor())
    made = objects_under(spec.output.url)
    assert found.num_objects == len(made)
    runs = [path for path in (tmp_path / "cohort" / "runs").rglob("*") if path.is_file()]
    assert found.num_puts == len(made) + len(runs)
    assert (found.num_ecgs, found.num_shards, found.raw_bytes) == (12, 3, 12 * 12 * 1024 * 2)
    assert found.stored_bytes is found.device_hours is found.wall_hours is None
    assert found.costs == {}


def test_a_measured_rate_gives_time_bytes_and_cost(cohort: ResolvedCohort) -> None:
    prices = Prices(device_hour={"cpu": 3600.0}, put_per_1000=2.0, storage_gb_month=1e6)
    known = reckoned([RATE])
    assert known.is_measured
    found = estimate(
        cohort.plan,
        cohort.layout,
        rate=known,
        num_devices=2,
        device_kind="cpu",
        stored_share=RATE.compression,
        prices=prices,
    )
    assert found.device_hours == pytest.approx(12 / 5 / 3600)
    assert found.wall_hours == pytest.approx(8 / 5 / 3600)  # two of three shards, one after another
    assert found.stored_bytes == found.raw_bytes / 4
    assert found.costs == {
        "devices": pytest.approx(12 / 5),
        "requests": pytest.approx(found.num_puts / 500),
        "storage, a month": pytest.approx(found.raw_bytes / 4 / 1000),
    }
    other = estimate(cohort.plan, cohort.layout, rate=known, device_kind="H100", prices=prices)
    assert "devices" not in other.costs
    seen = estimate(cohort.plan, cohort.layout, rate=known, stored_share=0.5)
    assert seen.stored_bytes == found.raw_bytes / 2


def test_what_was_not_measured_is_an_extrapolation_and_says_so() -> None:
    heun = SamplingSpec(sampler="heun", num_steps=20)
    known = reckoned([RATE], sampling=heun, batch_rows=16)
    assert known.ecgs_per_second == pytest.approx(5.0 * 20 / 40)
    assert known.taken_from == (
        "measured with 20 passes an ECG, asked for are 40",
        "measured 32 at a time, drawn are 16",
    )
    assert reckoned([RATE], device_kind="H100") is None
    assert reckoned([RATE], checkpoint="other") is None
    coarse = STORED.model_copy(update={"step_mv": 0.01})
    assert reckoned([RATE], stored=coarse).taken_from == (
        "measured with another rate, step, codec or chunk of the stored samples",
    )
    nearer = RATE.model_copy(update={"batch_rows": 16, "ecgs_per_second": 4.0})
    assert reckoned([RATE, nearer], batch_rows=16).rate == nearer
    assert reckoned([nearer, RATE], batch_rows=64).rate == RATE


def test_passes_follow_steps_order_and_guidance() -> None:
    assert SamplingSpec(num_steps=10).passes == 10
    assert SamplingSpec(num_steps=10, guidance_scale=2).passes == 20
    assert SamplingSpec(num_steps=10, guidance_scale=2, guided_until_time=0.5).passes == 15
    assert SamplingSpec(num_steps=10, guidance_scale=0).passes == 10
    assert SamplingSpec(sampler="heun", num_steps=10).passes == 20


def test_a_rate_is_measured_in_the_batches_of_the_plan(
    inputs: Path, cohort: ResolvedCohort, tmp_path: Path
) -> None:
    twin = load_twin(str(inputs / "twin"), texts_at=None)
    rate = measure_rate(twin, cohort)
    assert (rate.checkpoint, rate.device_kind, rate.batch_rows) == (twin.digest, "cpu", 3)
    assert rate.sampling == cohort.plan.spec.sampling
    assert rate.num_ecgs % 3 == 0
    assert rate.stored == STORED
    assert 0 < rate.compression < 1.2  # of noise
    path = tmp_path / "rates.json"
    RateFile().with_rate(rate).with_rate(RATE).with_rate(rate).write(path)
    assert RateFile.read(path).rates == (RATE, rate)
    with pytest.raises(SpecificationError, match="its folder must be there"):
        RateFile().write(tmp_path / "no" / "rates.json")


def test_a_plan_of_fewer_rows_than_a_batch_is_measured_with_whole_ones(
    inputs: Path, tmp_path: Path
) -> None:
    one = {"patients": {"ids": ["p1"]}, "conditions": [{"heart_rate_bpm": 70}], "batch_rows": 8}
    cohort = resolve_cohort(make_spec(inputs, tmp_path / "new", **one))
    rate = measure_rate(load_twin(str(inputs / "twin"), texts_at=None), cohort)
    assert rate.num_ecgs % 8 == 0


def test_a_preview_is_rows_of_the_cohort(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    before = resolve_cohort(spec)
    trial = draw_spread(load_twin(spec.checkpoint, texts_at=None), before, 4)
    rows = [one.row for one in trial.requests]
    assert rows == [0, 4, 7, 11]
    generate_cohort(spec, executor=LocalExecutor())
    stored_mv = Cohort(spec.output.url).samples_mv(rows)
    assert abs(stored_mv - trial.samples_mv).max() < 0.0076  # half a step, and one of aVL's
    objects = (tmp_path / "cohort/signals.zarr/samples_mv/c").rglob("*")
    size = sum(path.stat().st_size for path in objects if path.is_file())
    assert stored_share(before, trial) == pytest.approx(size / (12 * 12 * 1024 * 2), rel=0.25)
    assert (
        stored_share(before, draw_spread(load_twin(spec.checkpoint, texts_at=None), before, 1))
        is None
    )
    assert len(draw_spread(load_twin(spec.checkpoint, texts_at=None), before, 99).requests) == 12


def test_counts_are_by_split_patient_and_condition(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(
        inputs,
        tmp_path / "new",
        patients={"count": 4},
        constraints=["condition.heart_rate_bpm < 100 or patient.sex == 'female'"],
    )
    plan = resolve_cohort(spec).plan
    counts = counts_of(plan)
    requests = [plan.request_at(row) for row in range(plan.num_rows)]
    by_state = [sum(one.condition_index == place for one in requests) for place in range(4)]
    assert counts.of_states.tolist() == by_state
    by_patient = [sum(one.patient_index == place for one in requests) for place in range(4)]
    assert counts.of_patients.tolist() == by_patient
    assert counts.of_splits == {
        "test": (1, by_patient[3]),
        "train": (3, sum(by_patient[:3])),
    }
    lines = counts_text(plan, counts)
    assert lines[0] == f"  test: {by_patient[3]} ECGs of 1 patient"
    assert lines[-1].endswith("atrial fibrillation, unknown rate, 80 years, male")
