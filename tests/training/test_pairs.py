import numpy as np
import pytest
from pydantic import ValidationError

from ecgtwin.errors import SourceError
from ecgtwin.spec.pairs import PairSpec
from ecgtwin.spec.recipe import load_recipe
from ecgtwin.training.pairs import PairSampler

# person "a" has 6 rows, "b" 2, "c" 3, "d" and "e" 1
PERSONS = list("aabacaabdcace")


def sampler(seed=3, **settings):
    return PairSampler(PERSONS, seed=seed, spec=PairSpec(**settings))


def test_a_pair_is_two_different_recordings_of_one_person():
    reference, target, is_single = sampler().pairs_at(0, 500)
    assert [PERSONS[row] for row in reference] == [PERSONS[row] for row in target]
    assert (reference != target).all()
    assert not is_single.any()


def test_people_are_drawn_alike_however_many_recordings_they_have():
    reference = sampler().pairs_at(1, 30_000).reference_rows
    people, counts = np.unique([PERSONS[row] for row in reference], return_counts=True)
    assert people.tolist() == ["a", "b", "c"]
    assert np.abs(counts / 10_000 - 1).max() < 0.05


@pytest.mark.parametrize(
    ("exponent", "expected"), [(1, (6, 2, 3)), (0.5, (6**0.5, 2**0.5, 3**0.5))]
)
def test_people_are_drawn_by_the_power_of_their_number_of_recordings(exponent, expected):
    reference = sampler(patient_weight_exponent=exponent).pairs_at(1, 30_000).reference_rows
    people, counts = np.unique([PERSONS[row] for row in reference], return_counts=True)
    assert people.tolist() == ["a", "b", "c"]
    shares = np.array(expected) / sum(expected)
    assert np.abs(counts / 30_000 / shares - 1).max() < 0.05


def test_the_pairs_of_a_person_are_equally_likely():
    reference, target, _ = sampler().pairs_at(2, 60_000)
    of_c = [(r, t) for r, t in zip(reference, target, strict=True) if PERSONS[r] == "c"]
    _, counts = np.unique(of_c, axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts / counts.mean() - 1).max() < 0.08


@pytest.mark.parametrize("allow_single", [False, True])
def test_slices_of_ranks_make_up_the_whole_batch(allow_single):
    whole = sampler().pairs_at(5, 24, allow_single=allow_single)
    parts = [
        sampler().pairs_at(5, 24, start, start + 8, allow_single=allow_single)
        for start in (0, 8, 16)
    ]
    for index, expected in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([part[index] for part in parts]), expected)


def test_a_pair_does_not_depend_on_the_size_of_the_batch():
    small, large = sampler().pairs_at(4, 10), sampler().pairs_at(4, 1000)
    np.testing.assert_array_equal(small.target_rows, large.target_rows[:10])


def test_steps_and_seeds_differ():
    one = sampler().pairs_at(0, 100).reference_rows
    assert (one != sampler().pairs_at(1, 100).reference_rows).any()
    assert (one != sampler(seed=4).pairs_at(0, 100).reference_rows).any()


def test_single_recordings_are_marked_and_paired_with_themselves():
    reference, target, is_single = sampler().pairs_at(0, 5000, allow_single=True)
    assert {PERSONS[row] for row in reference[is_single]} == {"d", "e"}
    np.testing.assert_array_equal(reference[is_single], target[is_single])
    assert (reference[~is_single] != target[~is_single]).all()


def test_nobody_to_pair_is_an_error():
    with pytest.raises(SourceError, match="no patient has two recordings"):
        PairSampler(["a", "b"], seed=0).pairs_at(0, 4)
    apart = PairSampler(
        ["a", "a"], seed=0, spec=PairSpec(same_condition="require"), class_of_row=[1, 2]
    )
    with pytest.raises(SourceError, match="another policy"):
        apart.pairs_at(0, 4)
    with pytest.raises(SourceError):
        PairSampler([], seed=0).pairs_at(0, 4, allow_single=True)


def test_golden_pairs():
    """A corpus of single windows is paired the same by every version: trainings go on."""
    for extra in ({}, {"recording_of_row": [f"r{row}" for row in range(len(PERSONS))]}):
        reference, target, _ = PairSampler(PERSONS, seed=3, **extra).pairs_at(0, 12)
        assert reference.tolist() == [0, 7, 7, 7, 7, 4, 7, 0, 7, 5, 10, 7]
        assert target.tolist() == [3, 2, 2, 2, 2, 9, 2, 10, 2, 0, 1, 2]


# Person "p" has recordings x (three windows) and y (one), "q" one recording of two windows; the
# recordings of different persons may bear the same name.
WINDOWED = list("pqppqp")
RECORDINGS = ["x", "x", "y", "x", "x", "x"]


def test_windows_of_one_recording_are_no_pair_and_do_not_outweigh_another_recording():
    windowed = PairSampler(WINDOWED, seed=0, recording_of_row=RECORDINGS)
    reference, target, _ = windowed.pairs_at(0, 6000)
    pairs, counts = np.unique(np.stack([reference, target], 1), axis=0, return_counts=True)
    assert pairs.tolist() == [[0, 2], [2, 0], [2, 3], [2, 5], [3, 2], [5, 2]]
    assert np.abs(counts / 1000 - 1).max() < 0.12  # half of them begin with recording y
    reference, target, is_single = windowed.pairs_at(0, 1000, allow_single=True)
    assert {WINDOWED[row] for row in reference[is_single]} == {"q"}
    assert set(reference[is_single]) == {1, 4}
    np.testing.assert_array_equal(reference[is_single], target[is_single])


def test_windows_of_one_recording_may_be_allowed():
    allowed = PairSampler(
        WINDOWED, seed=0, recording_of_row=RECORDINGS, spec=PairSpec(same_recording="allow")
    )
    reference, target, _ = allowed.pairs_at(0, 3000)
    assert (reference != target).all()
    found = set(zip(reference.tolist(), target.tolist(), strict=True))
    assert {(1, 4), (4, 1), (0, 3)} <= found
    assert len(found) == 4 * 3 + 2


# Person "p": states s s t u; "q": s s; "r": s t
STATED = list("pqprpqpr")


def stated(policy):
    states = ["s", "s", "s", "s", "t", "s", "u", "t"]
    return states, PairSampler(
        STATED, seed=1, spec=PairSpec(same_condition=policy), class_of_row=states
    )


def drawn(sampler, **how):
    reference, target, single = sampler.pairs_at(0, 6000, **how)
    return set(zip(reference.tolist(), target.tolist(), single.tolist(), strict=True))


def every_pair(states, agree):
    rows = range(len(STATED))
    return {
        (one, other, False)
        for one in rows
        for other in rows
        if one != other and STATED[one] == STATED[other] and agree(states[one], states[other])
    }


def test_pairs_in_the_same_condition_can_be_required():
    states, required = stated("require")
    expected = every_pair(states, lambda one, other: one == other)
    assert (
        drawn(required) == expected == {(0, 2, False), (2, 0, False), (1, 5, False), (5, 1, False)}
    )
    alone = {(row, row, True) for row in (3, 4, 6, 7)}
    assert drawn(required, allow_single=True) == expected | alone


def test_pairs_in_the_same_condition_are_avoided_where_the_person_has_another():
    states, avoided = stated("avoid")
    of_q = {(1, 5, False), (5, 1, False)}
    expected = every_pair(states, lambda one, other: one != other) | of_q
    assert drawn(avoided) == expected == drawn(avoided, allow_single=True)


def test_partners_are_equally_likely_under_every_policy():
    for policy, partners in (("allow", [2, 4, 6]), ("avoid", [4, 6]), ("require", [2])):
        _, chosen = stated(policy)
        reference, target, _ = chosen.pairs_at(3, 40_000)
        rows, counts = np.unique(target[reference == 0], return_counts=True)
        assert rows.tolist() == partners
        assert np.abs(counts / counts.mean() - 1).max() < 0.08


@pytest.mark.parametrize("policy", ["allow", "avoid", "require"])
@pytest.mark.parametrize("allow_single", [False, True])
def test_a_large_population_obeys_every_rule(policy, allow_single, rng):
    persons = [f"p{number}" for number in rng.integers(0, 300, 2000)]
    recordings = [f"r{number}" for number in rng.integers(0, 4, 2000)]
    first_state: dict = {}
    states = [
        first_state.setdefault(key, int(rng.integers(0, 3)))
        for key in zip(persons, recordings, strict=True)
    ]
    sampler = PairSampler(
        persons,
        seed=9,
        spec=PairSpec(same_condition=policy, patient_weight_exponent=0.7),
        recording_of_row=recordings,
        class_of_row=states,
    )
    reference, target, single = sampler.pairs_at(0, 4000, allow_single=allow_single)
    assert allow_single or not single.any()
    states_of: dict = {}
    for (person, _), state in first_state.items():
        states_of.setdefault(person, []).append(state)
    for one, other, alone in zip(reference, target, single, strict=True):
        assert persons[one] == persons[other]
        has = states_of[persons[one]]
        if alone:
            assert one == other
            assert len(has) == 1 or (policy == "require" and has.count(states[one]) == 1)
            continue
        assert recordings[one] != recordings[other]
        if policy == "require":
            assert states[one] == states[other]
        if policy == "avoid" and len(set(has)) > 1:
            assert states[one] != states[other]


def test_a_policy_of_conditions_needs_them():
    with pytest.raises(ValueError, match="class_of_row"):
        sampler(same_condition="avoid")


def test_a_recipe_says_how_pairs_are_drawn():
    recipe = load_recipe("tiny")
    assert recipe.pairs == PairSpec()
    with pytest.raises(ValidationError):
        PairSpec(patient_weight_exponent=1.5)
    with pytest.raises(ValidationError):
        PairSpec(same_condition="never")
