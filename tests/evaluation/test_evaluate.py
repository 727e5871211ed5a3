import json
from dataclasses import replace

import numpy as np
import pytest

from ecgtwin.evaluation.evaluate import EvaluationInputs, choose, evaluate
from ecgtwin.signals.leads import derive_limb_leads, independent_leads
from tests.signals.pulses import pulse_train

HZ = 102.4
NUM_PERSONS = 8


def person_ecg(person, rate_bpm, rng):
    """An ECG of a person: gains of the eight independent leads are who it is."""
    gains = np.random.default_rng(person).normal(0.8, 0.5, (8, 1))
    wave = independent_leads(pulse_train(rate_bpm=rate_bpm, first_s=rng.uniform(0.2, 0.5))[0])[1]
    noisy = gains * wave + 0.01 * rng.standard_normal((8, len(wave)))
    return derive_limb_leads(noisy).astype(np.float32)


@pytest.fixture
def inputs(rng):
    persons = np.arange(NUM_PERSONS)
    twin_patient = np.repeat(persons, 3)
    requested = rng.uniform(50, 140, len(twin_patient))
    return EvaluationInputs(
        sampling_rate_hz=HZ,
        twin_samples_mv=np.stack(
            [person_ecg(p, rate, rng) for p, rate in zip(twin_patient, requested, strict=True)]
        ),
        twin_requested_bpm=requested,
        twin_patient=twin_patient,
        twin_state=["sinus rhythm", "atrial fibrillation", "sinus rhythm"] * NUM_PERSONS,
        reference_samples_mv=np.stack([person_ecg(p, 70, rng) for p in persons]),
        visit_samples_mv=np.stack([person_ecg(p, 90, rng) for p in persons]),
        visit_patient=persons,
        training_samples_mv=np.stack([person_ecg(p, 75, rng) for p in range(100, 130)]),
        training_patient=np.arange(30),
        twin_base_vectors=np.eye(NUM_PERSONS)[twin_patient],
        reference_base_vectors=np.eye(NUM_PERSONS),
        visit_base_vectors=np.eye(NUM_PERSONS)[::-1],
    )


def test_perfect_twins_have_perfect_figures_and_the_whole_is_json(inputs):
    found = json.loads(json.dumps(evaluate(inputs), allow_nan=False))
    assert found["heart_rate"]["share_measured"] == 1
    assert found["heart_rate"]["mean_absolute_error_bpm"] < 1
    assert found["heart_rate"]["spearman"] > 0.99
    assert found["heart_rate"]["share_of_shuffled_error"] < 0.05
    assert found["limb_leads"]["max_residual_mv"] < 1e-5
    assert found["identity"]["base_extractor"]["auroc"] == 1
    assert found["identity"]["base_extractor"]["real_recall_at_1"] == 0
    assert found["identity"]["median_beat"]["recall_at_1"] == 1
    assert found["identity"]["median_beat"]["real_recall_at_1"] == 1
    assert "needed in each group" in found["frechet"]["reason"]
    assert found["nearest"]["num_unseen"] == 2 * NUM_PERSONS
    assert [row["state"] for row in found["states"]] == ["sinus rhythm", "atrial fibrillation"]
    assert [row["num_twins"] for row in found["states"]] == [16, 8]
    assert len(found["heart_rate"]["measured_bpm"]) == len(inputs.twin_state)


def test_bad_twins_are_reported_and_not_left_out(inputs, rng):
    noise = rng.standard_normal(inputs.twin_samples_mv.shape).astype(np.float32)
    found = evaluate(replace(inputs, twin_samples_mv=noise, twin_base_vectors=None))
    json.dumps(found, allow_nan=False)
    assert found["heart_rate"]["share_measured"] == 0
    assert found["heart_rate"]["mean_absolute_error_bpm"] is None
    assert found["heart_rate"]["measured_bpm"] == [None] * len(noise)
    assert found["limb_leads"]["mean_residual_mv"] > 1
    assert found["identity"]["base_extractor"]["reason"] == "no base vectors were given"
    assert "reason" in found["identity"]["median_beat"]
    assert found["identity"]["median_beat"]["real_auroc"] == 1
    assert found["states"][0]["mean_absolute_error_bpm"] is None


def test_without_other_visits_and_training_the_rest_is_still_there(inputs):
    none = np.zeros((0, 12, 1024), dtype=np.float32)
    found = evaluate(
        replace(
            inputs,
            visit_samples_mv=none,
            visit_patient=np.zeros(0, dtype=int),
            visit_base_vectors=None,
            training_samples_mv=none,
            training_patient=np.zeros(0, dtype=int),
        )
    )
    assert found["identity"]["median_beat"]["auroc"] == 1
    assert "no patient has another one" in found["identity"]["median_beat"]["reason"]
    assert {"reason"} == set(found["nearest"])
    assert {"reason"} == set(found["frechet"])


def test_no_twins_is_a_reason(inputs):
    found = evaluate(replace(inputs, twin_samples_mv=np.zeros((0, 12, 1024))))
    assert found == {"reason": "there are no twins"}


def test_the_rule_orders_by_rate_error_then_residual_with_no_peaks_last():
    requested = np.array([60.0, 60, 60, 60, 60])
    measured = np.array([61.0, 70, np.nan, 61, 65])
    residual = np.array([0.2, 0.0, 0.0, 0.1, 0.0])
    # In order: 3, 0 (equal errors), 4, 1, 2.
    assert choose(requested, measured, residual) == {"median": 4, "worst": 2}
    assert choose(requested[:2], measured[:2], residual[:2]) == {"median": 0, "worst": 1}
