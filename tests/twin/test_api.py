"""EcgTwin for one person at a time: references in, synthetic records out."""

import math

import numpy as np
import pytest

from ecgtwin.errors import RecordError, SpecificationError
from ecgtwin.signals.record import EcgRecord
from ecgtwin.sources.simulated import simulate_one
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.twin.persons import Reference
from ecgtwin.twin.records import seeded_noise
from tests.tiny import TINY, TINY_PUBLISHED, tiny_twin

AFIB = CardiacCondition(
    statements=("atrial fibrillation",), heart_rate_bpm=110, age_years=60, sex="male"
)
SINUS = AFIB.model_copy(update={"statements": (), "heart_rate_bpm": 60.0})
SEEDS = [3, 1, 4]


@pytest.fixture(scope="module")
def twin():
    return tiny_twin()


def reference(person=0, visit=0, rate_hz=500.0):
    row = simulate_one(
        seed=5,
        person=person,
        visit=visit,
        state="sinus rhythm",
        heart_rate_bpm=70.0,
        sampling_rate_hz=rate_hz,
    )
    condition = row.condition.model_copy(update={"age_years": 60.0, "sex": "female"})
    return Reference(row.record, condition)


def changed(record, samples_mv):
    return EcgRecord(samples_mv, record.sampling_rate_hz, record.patient_id, "changed")


@pytest.mark.parametrize("spec", [TINY, TINY_PUBLISHED], ids=lambda spec: spec.preset)
def test_a_seed_is_an_ecg_alone_or_in_a_batch(spec):
    """Under a sampler that adds noise at each step, too."""
    twin = tiny_twin(spec=spec)
    persons = [reference(0), reference(1), twin.base_vector(reference(2).record, SINUS)]
    conditions = [AFIB, SINUS.model_copy(update={"statements": AFIB.statements * 2}), AFIB]
    together = twin.generate_many(persons, conditions, SEEDS)
    for person, condition, seed, record in zip(persons, conditions, SEEDS, together, strict=True):
        alone = twin.generate(person, condition, seed=seed)
        assert alone.record_id == record.record_id
        np.testing.assert_allclose(alone.samples_mv, record.samples_mv, atol=1e-4)
    other = twin.generate(persons[0], conditions[0], seed=SEEDS[0] + 1)
    assert np.abs(other.samples_mv - together[0].samples_mv).max() > 1e-3


def test_the_noise_of_every_step_is_of_its_own(twin):
    noise, noise_at = seeded_noise(twin, [7, 8])
    drawn = np.stack([noise, noise_at(0), noise_at(1)])
    assert drawn.shape == (3, 2, *twin.latent_shape)
    related = np.corrcoef(drawn.reshape(6, -1)) - np.eye(6)
    assert np.abs(related).max() < 0.3
    np.testing.assert_array_equal(seeded_noise(twin, [8])[1](1)[0], noise_at(1)[1])


def test_a_record_says_that_it_is_synthetic_and_whose(twin):
    plain = SamplingSpec(num_steps=2)
    first, again, other, others = twin.generate_many(
        [reference(0), reference(0), reference(0), reference(1)],
        [AFIB, AFIB, SINUS, AFIB],
        [0, 0, 0, 0],
        sampling=plain,
    )
    assert first.samples_mv.shape == (12, twin.num_samples)
    assert first.samples_mv.dtype == np.float32
    assert first.sampling_rate_hz == twin.sampling_rate_hz
    assert first.record_id == again.record_id
    names = {first.record_id, other.record_id, others.record_id}
    names.add(twin.generate(reference(0), AFIB, sampling=SamplingSpec(num_steps=3)).record_id)
    assert len(names) == 4
    assert all(name.startswith("synthetic-") for name in names)
    assert first.patient_id == other.patient_id != others.patient_id
    assert reference(0).record.patient_id not in first.patient_id


def test_one_base_vector_is_a_row_of_many(twin):
    person = reference(rate_hz=twin.sampling_rate_hz)
    vector = twin.base_vector(person.record, person.condition)
    samples_mv = person.record.samples_mv[None, :, : twin.num_samples].astype(np.float32)
    np.testing.assert_allclose(
        vector, twin.base_vectors(samples_mv, [person.condition])[0], atol=1e-5
    )


def test_a_recording_of_another_rate_or_length_is_the_same_person(twin):
    fast = reference(rate_hz=500.0)
    longer = np.concatenate([fast.record.samples_mv, fast.record.samples_mv], axis=1)
    vectors = [
        twin.base_vector(record, fast.condition)
        for record in (
            fast.record,
            changed(fast.record, longer),
            reference(rate_hz=twin.sampling_rate_hz).record,
        )
    ]
    length = math.sqrt(twin.spec.base_extractor.base_width)
    np.testing.assert_allclose(vectors[1], vectors[0], atol=0.02 * length)
    np.testing.assert_allclose(vectors[2], vectors[0], atol=0.1 * length)


def test_references_of_one_person_are_averaged_at_the_fixed_length(twin):
    references = [reference(0, visit) for visit in range(3)]
    vectors = np.stack([twin.base_vector(one.record, one.condition) for one in references])
    width = twin.spec.base_extractor.base_width
    mean = vectors.mean(axis=0)
    expected = mean * math.sqrt(width) / np.linalg.norm(mean)
    assert np.abs(expected - mean).max() > 1e-4
    plain = SamplingSpec(num_steps=2)
    by_vector = twin.generate(expected, AFIB, sampling=plain)
    for order in (references, references[::-1]):
        found = twin.generate(order, AFIB, sampling=plain)
        np.testing.assert_allclose(found.samples_mv, by_vector.samples_mv, atol=1e-4)


def test_references_of_the_published_networks_are_plainly_averaged():
    twin = tiny_twin(spec=TINY_PUBLISHED)
    references = [reference(0, visit) for visit in range(2)]
    vectors = np.stack([twin.base_vector(one.record, one.condition) for one in references])
    plain = SamplingSpec(sampler="ddim", num_steps=2)
    np.testing.assert_allclose(
        twin.generate(references, AFIB, sampling=plain).samples_mv,
        twin.generate(vectors.mean(axis=0), AFIB, sampling=plain).samples_mv,
        atol=1e-4,
    )


def test_a_recording_that_cannot_be_used_is_named_with_its_reason(twin):
    record = reference().record
    flat = record.samples_mv.copy()
    flat[7] = 0.0
    holed = record.samples_mv.copy()
    holed[1, 100:400] = np.nan
    for samples_mv, reason in (
        (record.samples_mv[:, :4000], "too short: 8.00 s, 10.00 s are needed"),
        (record.samples_mv[:11], r"shape \(11, 5000\); 12 leads"),
        (record.samples_mv[0], "12 leads by time"),
        (flat, "flat for 2.5 s or more in lead V2"),
        (holed, r"no finite value \(NaN\) in lead II"),
    ):
        with pytest.raises(RecordError, match=f"record 'changed': .*{reason}"):
            twin.base_vector(changed(record, samples_mv), SINUS)


def test_who_a_person_is_and_how_many_are_checked(twin):
    one = reference()
    for person, said in (
        (np.zeros((1, 8), np.float32), r"shape \(1, 8\); \(8,\) is needed"),
        ([], "without any reference"),
        (one.record, "a person is EcgRecord"),
        ([one, one.record], "give a Reference"),
        (np.full(8, np.nan, np.float32), "no finite numbers"),
    ):
        with pytest.raises(SpecificationError, match=said):
            twin.generate(person, AFIB)
    with pytest.raises(SpecificationError, match="condition 0 is str; give a CardiacCondition"):
        twin.generate(one, "atrial fibrillation")
    with pytest.raises(RecordError, match="a recording is Reference; give an EcgRecord"):
        twin.base_vector(one, AFIB)
    with pytest.raises(SpecificationError, match="2 persons, 1 conditions and 1 seeds"):
        twin.generate_many([one, one], [AFIB], [0])
    with pytest.raises(SpecificationError, match="at least one"):
        twin.generate_many([], [], [])
    for seed in (-1, 1.5):
        with pytest.raises(SpecificationError, match="a seed is a whole number"):
            twin.generate(one, AFIB, seed=seed)
    with pytest.raises(SpecificationError, match="sampling is dict; give a SamplingSpec"):
        twin.generate(one, AFIB, sampling={"num_steps": 2})
