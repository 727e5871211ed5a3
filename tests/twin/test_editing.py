"""Edits: where an edit must change nothing, and where it must equal another drawing."""

import numpy as np
import pytest

from ecgtwin.errors import SpecificationError
from ecgtwin.sources.archives.ptbxl import PtbXlSource
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.edit import Add, EditSpec, Replace, Reweight
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.twin.editing import recording_sampling
from ecgtwin.twin.persons import Reference, prepared_samples
from ecgtwin.twin.twin import EcgTwin
from tests.tiny import TINY, TINY_CHAIN, TINY_PUBLISHED, tiny_twin

SINUS, LBBB, AFIB = "sinus rhythm", "left bundle branch block", "atrial fibrillation"
SAME = Replace(statement=SINUS, by=SINUS)
GUIDED = SamplingSpec(num_steps=4, guidance_scale=3.0)
SAME_ECG, ANOTHER_ECG = 1e-4, 1e-3
NUM_RECORDS = 6


def condition(*codes):
    return CardiacCondition(statements=codes, heart_rate_bpm=70, age_years=60, sex="female")


def person(twin, seed=0):
    width = twin.spec.base_extractor.base_width
    return np.random.default_rng(seed).standard_normal(width).astype(np.float32)


def apart(one, other):
    return float(np.abs(one.samples_mv - other.samples_mv).max())


@pytest.fixture(scope="module")
def twin():
    return tiny_twin()


@pytest.mark.parametrize("spec", [TINY, TINY_CHAIN, TINY_PUBLISHED], ids=lambda spec: spec.preset)
@pytest.mark.parametrize("start_time", [1.0, 0.5])
def test_an_edit_that_changes_nothing_returns_the_source(spec, start_time):
    """The published twin adds noise at each step: both branches must get the same."""
    twin = tiny_twin(spec=spec)
    state = condition(SINUS, LBBB)
    found = twin.edit(person(twin), state, EditSpec(edits=(SAME,), start_time=start_time), seed=7)
    assert apart(found.source, twin.generate(person(twin), state, seed=7)) < SAME_ECG
    assert apart(found.edited, found.source) < SAME_ECG
    assert found.maps is None


def test_an_addition_of_no_weight_returns_the_source(twin):
    edits = [Add(statement=AFIB, weight=0)]
    found = twin.edit(person(twin), condition(SINUS, LBBB), edits, sampling=GUIDED)
    assert apart(found.edited, found.source) < SAME_ECG


@pytest.mark.parametrize(
    ("before", "edits", "after"),
    [
        ([SINUS], [Replace(statement=SINUS, by=AFIB)], [AFIB]),
        ([], [Add(statement=AFIB)], [AFIB]),
        ([SINUS, LBBB], [Reweight(statement=LBBB, weight=0)], [SINUS]),
        (
            [SINUS, LBBB],
            [Reweight(statement=LBBB, weight=0), Replace(statement=SINUS, by=AFIB)],
            [AFIB],
        ),
    ],
    ids=["the only statement replaced", "added to none", "weighed out", "both"],
)
def test_where_one_statement_is_left_an_edit_is_a_drawing_in_it(twin, before, edits, after):
    """One statement has all the attention, so controlled and free maps agree."""
    whole = EditSpec(edits=tuple(edits), start_time=1.0)
    found = twin.edit(person(twin), condition(*before), whole, seed=2, sampling=GUIDED)
    drawn = twin.generate(person(twin), condition(*after), seed=2, sampling=GUIDED)
    assert apart(found.edited, drawn) < SAME_ECG
    assert apart(found.edited, found.source) > ANOTHER_ECG


def test_an_edit_among_several_statements_is_not_a_drawing_in_them(twin):
    edits = [Replace(statement=SINUS, by=AFIB)]
    found = twin.edit(person(twin), condition(SINUS, LBBB), edits, sampling=GUIDED)
    drawn = twin.generate(person(twin), condition(AFIB, LBBB), sampling=GUIDED)
    assert apart(found.edited, drawn) > ANOTHER_ECG
    assert apart(found.edited, found.source) > ANOTHER_ECG


def test_persons_are_edited_together_as_alone(twin):
    persons = [person(twin, seed) for seed in range(3)]
    states = [condition(SINUS), condition(SINUS, LBBB), condition(LBBB, SINUS, "low qrs voltages")]
    edits = [Replace(statement=SINUS, by=AFIB), Add(statement="premature ventricular complexes")]
    together = twin.edit_many(persons, states, edits, [4, 5, 6], sampling=GUIDED, record_maps=True)
    for who, state, seed, found in zip(persons, states, [4, 5, 6], together, strict=True):
        alone = twin.edit(who, state, edits, seed=seed, sampling=GUIDED, record_maps=True)
        assert apart(found.edited, alone.edited) < SAME_ECG
        assert apart(found.source, alone.source) < SAME_ECG
        np.testing.assert_allclose(found.maps.shares, alone.maps.shares, atol=1e-5)
        assert found.edited.record_id == alone.edited.record_id != found.source.record_id


@pytest.mark.parametrize(
    ("spec", "sampling", "start_time", "num_edited"),
    [
        (TINY, SamplingSpec(num_steps=10), 0.5, 5),
        (TINY, SamplingSpec(num_steps=10), 1.0, 10),
        (TINY, SamplingSpec(num_steps=5, sampler="heun"), 0.4, 4),  # two evaluations a step
        (TINY_CHAIN, SamplingSpec(num_steps=5, sampler="ddim"), 0.4, 3),
        (TINY_CHAIN, SamplingSpec(num_steps=5, sampler="ddim"), 0.0, 1),
    ],
    ids=["half of a flow", "all of a flow", "heun", "part of a chain", "the last step"],
)
def test_an_edit_starts_at_its_level(spec, sampling, start_time, num_edited):
    twin = tiny_twin(spec=spec)
    edits = EditSpec(edits=(Replace(statement=SINUS, by=AFIB),), start_time=start_time)
    found = twin.edit(
        person(twin), condition(SINUS, LBBB), edits, sampling=sampling, record_maps=True
    )
    frames = twin.spec.vae.num_frames
    assert found.maps.shares.shape == (num_edited, twin.spec.denoiser.num_layers, frames, 2)
    assert start_time == 0 or apart(found.edited, found.source) > 1e-5


def test_recorded_maps_are_shares_of_the_edited_statements(twin):
    edits = [Replace(statement=SINUS, by=AFIB), Add(statement="low qrs voltages", weight=0)]
    found = twin.edit(person(twin), condition(SINUS, LBBB), edits, record_maps=True)
    assert [one.code for one in found.maps.statements] == [AFIB, LBBB, "low qrs voltages"]
    np.testing.assert_allclose(found.maps.shares.sum(-1), 1, atol=1e-5)
    assert not found.maps.shares[..., 2].any()
    assert found.maps.mean().shape == (twin.spec.vae.num_frames, 3)
    np.testing.assert_allclose(found.maps.mean()[3, 0], found.maps.shares[:, :, 3, 0].mean())


def test_recorded_maps_are_those_of_the_edited_ecg(twin):
    edits = [Reweight(statement=LBBB, weight=0)]
    found = twin.edit(person(twin), condition(SINUS, LBBB, AFIB), edits, record_maps=True)
    assert not found.maps.shares[..., 1].any()
    assert found.maps.shares[..., 2].all()


def test_a_replacement_looks_where_the_source_does_whatever_the_new_statement(twin):
    state = condition(SINUS, LBBB)
    for_another, for_same = (
        twin.edit(person(twin), state, [Replace(statement=SINUS, by=by)], record_maps=True)
        for by in (AFIB, SINUS)
    )
    assert apart(for_another.edited, for_same.edited) > ANOTHER_ECG
    np.testing.assert_allclose(for_another.maps.shares, for_same.maps.shares, atol=1e-5)


def test_what_cannot_be_edited_is_refused(twin):
    state = condition(SINUS)
    with pytest.raises(SpecificationError, match=f"no statement '{LBBB}'; it has '{SINUS}'"):
        twin.edit(person(twin), state, [Replace(statement=LBBB, by=AFIB)])
    for edits, said in (([], "at least 1"), (SAME, "give a list of edits"), (["x"], "edits.0")):
        with pytest.raises(SpecificationError, match=said):
            twin.edit(person(twin), state, edits)
    with pytest.raises(SpecificationError, match="a recording to edit is ndarray"):
        twin.edit_recording(person(twin), [SAME])
    late = EditSpec(edits=(SAME,), start_time=0.05)
    with pytest.raises(SpecificationError, match=r"below 0\.25, where the last of 4 steps starts"):
        twin.edit(person(twin), state, late, sampling=GUIDED)
    deaf = TINY.model_copy(
        update={
            "denoiser": TINY.denoiser.model_copy(
                update={
                    "adax": TINY.denoiser.adax.model_copy(update={"cross_attention": False})
                }
            )
        }
    )  # fmt: skip
    with pytest.raises(SpecificationError, match="no cross-attention"):
        tiny_twin(spec=deaf).edit(person(twin), state, [SAME])


@pytest.fixture(scope="module")
def recordings(real_data):
    source = PtbXlSource.open(str(real_data / "ptbxl"), settings=IngestSpec(limit=NUM_RECORDS))
    return [Reference(row.record, row.condition) for row in source.read(0, NUM_RECORDS)]


@pytest.fixture(scope="module")
def shipped():
    return EcgTwin.load("tiny")


def error_mv(twin, recording, found):
    (samples_mv,) = prepared_samples(twin, [recording.record])
    return float(np.sqrt(np.mean((found.samples_mv - samples_mv) ** 2)))


def test_a_recording_comes_back_unedited_as_the_autoencoder_keeps_it(shipped, recordings):
    """The edited branch is not held on the inverted trajectory; it has to find its way back."""
    worst = 0.0
    for recording in recordings:
        code = recording.condition.statements[0].code
        found = shipped.edit_recording(recording, [Replace(statement=code, by=code)])
        by_vae = error_mv(shipped, recording, found.source)
        worst = max(worst, error_mv(shipped, recording, found.edited) / by_vae - 1)
    assert worst <= 0.05


def test_a_recording_is_edited_beside_what_the_autoencoder_keeps(shipped, recordings):
    recording = recordings[0]
    edits = [Add(statement=LBBB)]
    sampling = recording_sampling(shipped).model_copy(update={"num_steps": 6})
    found = shipped.edit_recording(recording, edits, sampling=sampling, record_maps=True)
    samples_mv = prepared_samples(shipped, [recording.record])
    kept = shipped.samples_of(shipped.latents(samples_mv), leads="consistent")[0]
    np.testing.assert_allclose(found.source.samples_mv, kept, atol=SAME_ECG)
    assert apart(found.edited, found.source) > 0.05
    assert found.maps.statements[-1].code == LBBB
    assert found.edited.record_id.startswith("synthetic-")
    assert found.source.record_id.startswith("synthetic-")


def test_the_source_of_an_edited_recording_is_held_on_its_trajectory(twin, recordings):
    """What the edited branch is shown of the source must not follow the edit."""
    recording = Reference(recordings[0].record, condition(SINUS, LBBB))
    sampling = SamplingSpec(num_steps=6)
    for_another, for_same = (
        twin.edit_recording(
            recording, [Replace(statement=SINUS, by=by)], sampling=sampling, record_maps=True
        )
        for by in (AFIB, SINUS)
    )
    assert apart(for_another.edited, for_same.edited) > ANOTHER_ECG
    np.testing.assert_allclose(for_another.maps.shares, for_same.maps.shares, atol=1e-6)


def test_a_recording_is_not_edited_by_a_sampler_that_adds_noise(recordings):
    twin = tiny_twin(spec=TINY_CHAIN)
    with pytest.raises(SpecificationError, match="'ddim'"):
        twin.edit_recording(
            recordings[0],
            [Add(statement=LBBB)],
            sampling=SamplingSpec(sampler="ddpm", num_steps=4),
        )
    assert recording_sampling(twin).sampler == "ddim"
    assert not recording_sampling(tiny_twin(spec=TINY_PUBLISHED)).clip_sample
