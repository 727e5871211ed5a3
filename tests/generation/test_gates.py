"""Gates: what passes them, what each one finds, and that the manifest says so."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.gates import OF_STATEMENT, baseline_mv, failed_gates_of, limits_of
from ecgtwin.generation.run import generate_cohort
from ecgtwin.signals.leads import limb_residual_mv
from ecgtwin.signals.measurement import ERRORS, Measurement, measure, measure_all
from ecgtwin.sources.simulated import simulate, simulate_one
from ecgtwin.sources.statements import canonical_codes
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.gates import GatesSpec
from ecgtwin.store.reader import Cohort
from tests.generation.corpora import make_spec

RATE_HZ = 500.0
USUAL = GatesSpec()


@pytest.fixture(scope="module")
def sinus_mv() -> np.ndarray:
    row = simulate_one(seed=3, person=6, visit=0, state="sinus rhythm", heart_rate_bpm=70)
    return row.record.samples_mv


def failed(samples_mv: np.ndarray, gates: GatesSpec = USUAL, **condition: Any) -> list[str]:
    (found,) = failed_gates_of(
        samples_mv[None],
        measured=[measure(samples_mv, sampling_rate_hz=RATE_HZ)],
        limb_residuals_mv=limb_residual_mv(samples_mv[None]).tolist(),
        conditions=[CardiacCondition(**condition)],
        gates=gates,
        sampling_rate_hz=RATE_HZ,
    )
    return found


def test_an_ecg_as_it_should_be_passes(sinus_mv: np.ndarray) -> None:
    assert failed(sinus_mv, heart_rate_bpm=70, statements=("sinus rhythm",)) == []


def test_each_gate_finds_its_fault_and_no_other(sinus_mv: np.ndarray) -> None:
    time_s = np.arange(sinus_mv.shape[1]) / RATE_HZ
    wander = 1.5 * np.sin(2 * np.pi * 0.15 * time_s)
    assert failed(sinus_mv, heart_rate_bpm=90) == ["rate"]
    assert failed(sinus_mv + wander * np.eye(12)[:, 8:9]) == ["baseline"]
    broken = sinus_mv.copy()
    broken[2] += 0.1
    assert failed(broken) == ["limb leads"]
    dead = sinus_mv.copy()
    dead[7] = 0
    assert failed(dead) == ["flat_lead"]
    assert "clipped" in failed(np.clip(4 * sinus_mv, -1, 1))
    assert "amplitude_high" in failed(30 * sinus_mv)
    assert "amplitude_low" in failed(0.02 * sinus_mv)
    silent = failed(0 * sinus_mv, heart_rate_bpm=70)
    assert {"beats", "rate", "flat_lead"} <= set(silent)


def test_every_gate_can_be_taken_out(sinus_mv: np.ndarray) -> None:
    none = GatesSpec.parse(
        {name: None for name in GatesSpec.model_fields if name != "accept"}, origin="a test"
    )
    assert failed(0 * sinus_mv, none, heart_rate_bpm=70) == []


@pytest.mark.parametrize(
    ("state", "statement"),
    [
        ("left bundle branch block", "left bundle branch block"),
        ("right bundle branch block", "right bundle branch block"),
        ("first degree av block", "first degree av block"),
        ("prolonged qt interval", "prolonged qt interval"),
    ],
)
def test_what_a_condition_asks_of_intervals_is_shown_by_it_and_not_by_a_plain_ecg(
    sinus_mv: np.ndarray, state: str, statement: str
) -> None:
    row = simulate_one(seed=3, person=6, visit=0, state=state, heart_rate_bpm=70)
    assert failed(row.record.samples_mv, statements=(statement,)) == []
    (interval,) = failed(sinus_mv, statements=(statement,))
    assert f"{interval}_ms" in OF_STATEMENT[statement]
    possible = ({"code": statement, "certainty": "possible"},)
    assert failed(sinus_mv, statements=possible) == []


def test_limits_are_of_known_statements_and_measured_values() -> None:
    assert set(OF_STATEMENT) <= canonical_codes()
    for limits in OF_STATEMENT.values():
        assert set(limits) <= set(ERRORS)
        assert all(one.least < one.most for one in limits.values())
    both = limits_of(
        CardiacCondition(statements=("left bundle branch block", "normal ecg"))
    )  # of two that exclude each other the second
    assert both["qrs_ms"].most == 120 + ERRORS["qrs_ms"][1]
    unknown = replace(Measurement(num_beats=9), heart_rate_bpm=70.0)
    found = failed_gates_of(
        np.random.default_rng(0).normal(0, 0.3, (1, 12, 5000)),
        measured=[unknown],
        limb_residuals_mv=[0.0],
        conditions=[CardiacCondition(statements=("left bundle branch block",))],
        gates=USUAL,
        sampling_rate_hz=RATE_HZ,
    )
    assert found == [[]]  # what could not be measured fails no interval


def test_the_baseline_is_that_of_seconds() -> None:
    samples = np.zeros((12, 1000))
    samples[3, 400:500] = 0.7
    assert baseline_mv(samples, sampling_rate_hz=100) == pytest.approx(0.7)
    samples[3, 400:500:3] = 5  # spikes do not move a median
    assert baseline_mv(samples, sampling_rate_hz=100) == pytest.approx(0.7)


@pytest.mark.parametrize("offset_mv", [0.0, -3.0, 4000.0])
@pytest.mark.parametrize("num_samples", [70, 100, 199, 1024])
def test_a_baseline_just_too_far_is_found_in_whichever_row_and_lead(
    rng: np.random.Generator, num_samples: int, offset_mv: float
) -> None:
    """Around the limit, where no bound decides: rows together as the definition has each."""
    limit_mv, width = 0.8, 100
    samples = rng.normal(0, 0.05, (60, 12, num_samples)).astype(np.float32)
    start = rng.integers(0, num_samples, 60)
    for row in range(60):
        shift = limit_mv * rng.uniform(0.9, 1.1) * rng.choice([-1, 1])
        samples[row, row % 12, start[row] : start[row] + rng.integers(20, num_samples)] += shift
    samples += np.float32(offset_mv)
    gates = GatesSpec(max_baseline_mv=limit_mv, intervals=None, quality=None, min_beats=None)
    found = failed_gates_of(
        samples,
        measured=[Measurement(0)] * 60,
        limb_residuals_mv=[0.0] * 60,
        conditions=[CardiacCondition()] * 60,
        gates=gates,
        sampling_rate_hz=width,
    )
    strays = []
    for leads in samples:
        seconds = [
            leads[:, at : at + width] for at in range(0, max(1, num_samples - width + 1), width)
        ]
        apart = [np.median(one, axis=1) - np.median(leads, axis=1) for one in seconds]
        strays.append(float(np.abs(apart).max()))
    assert found == [["baseline"] if far > limit_mv else [] for far in strays]
    if num_samples > 2 * width:
        assert 0 < sum(map(bool, found)) < 60


def test_rows_together_fail_what_each_fails_alone() -> None:
    rows = simulate(seed=5, persons=range(36), visits_per_person=1)
    samples = np.stack([row.record.samples_mv for row in rows])
    samples[::7, 4, 1000:3000] = 0.2
    samples[1::7] *= 20
    conditions = [
        CardiacCondition(heart_rate_bpm=60 + row, statements=(list(OF_STATEMENT)[row % 9],))
        for row in range(len(samples))
    ]
    together = failed_gates_of(
        samples,
        measured=measure_all(list(samples), [RATE_HZ] * len(samples)),
        limb_residuals_mv=limb_residual_mv(samples).tolist(),
        conditions=conditions,
        gates=USUAL,
        sampling_rate_hz=RATE_HZ,
    )
    alone = [
        failed(row, heart_rate_bpm=one.heart_rate_bpm, statements=one.statements)
        for row, one in zip(samples, conditions, strict=True)
    ]
    assert together == alone
    assert {"flat_lead", "amplitude_high", "rate", "qrs"} <= set().union(*together)


def test_no_rows_fail_nothing() -> None:
    none = np.zeros((0, 12, 1024), dtype=np.float32)
    assert (
        failed_gates_of(
            none,
            measured=[],
            limb_residuals_mv=[],
            conditions=[],
            gates=USUAL,
            sampling_rate_hz=RATE_HZ,
        )
        == []
    )


def test_the_manifest_tells_the_gates_that_failed_and_every_ecg_is_kept(
    inputs: Path, tmp_path: Path
) -> None:
    """The untrained twin draws noise, which passes hardly any."""
    spec = make_spec(inputs, tmp_path / "cohort", gates={"rate_tolerance_bpm": 0.001})
    generate_cohort(spec, executor=LocalExecutor())
    cohort = Cohort(spec.output.url)
    assert len(cohort) == 12
    requested = cohort.column("heart_rate_bpm")
    for row, failures in enumerate(cohort.column("gate_failures")):
        condition = CardiacCondition(
            heart_rate_bpm=None if np.isnan(requested[row]) else float(requested[row]),
            statements=tuple(cohort.column("statements")[row]),
        )
        (samples_mv,) = cohort.samples_mv([row])
        assert [list(failures)] == failed_gates_of(
            samples_mv[None],
            measured=[measure(samples_mv, sampling_rate_hz=102.4)],
            limb_residuals_mv=[float(cohort.column("limb_residual_mv")[row])],
            conditions=[condition],
            gates=GatesSpec(rate_tolerance_bpm=0.001),
            sampling_rate_hz=102.4,
        )
    for failures, rate in zip(cohort.column("gate_failures"), requested, strict=True):
        assert np.isnan(rate) or "rate" in failures
