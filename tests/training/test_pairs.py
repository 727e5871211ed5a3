import numpy as np
import pytest

from ecgtwin.errors import SourceError
from ecgtwin.training.pairs import PairSampler

# patient "a" has 6 rows, "b" 2, "c" 3, "d" and "e" 1
PATIENTS = list("aabacaabdcace")


def sampler(seed=3, **settings):
    return PairSampler(PATIENTS, seed=seed, **settings)


def test_a_pair_is_two_different_recordings_of_one_person():
    reference, target, is_single = sampler().pairs_at(0, 500)
    assert [PATIENTS[row] for row in reference] == [PATIENTS[row] for row in target]
    assert (reference != target).all()
    assert not is_single.any()


def test_people_are_drawn_alike_however_many_recordings_they_have():
    reference = sampler().pairs_at(1, 30_000).reference_rows
    people, counts = np.unique([PATIENTS[row] for row in reference], return_counts=True)
    assert people.tolist() == ["a", "b", "c"]
    assert np.abs(counts / 10_000 - 1).max() < 0.05


def test_every_ordered_pair_of_a_person_is_equally_likely():
    reference, target, _ = sampler().pairs_at(2, 60_000)
    of_c = [(r, t) for r, t in zip(reference, target, strict=True) if PATIENTS[r] == "c"]
    _, counts = np.unique(of_c, axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts / counts.mean() - 1).max() < 0.08


def test_weights_replace_the_uniform_choice():
    weighted = sampler(weights={"a": 0.0, "b": 3.0, "c": 1.0, "d": 9.0, "e": 9.0})
    rows = weighted.pairs_at(0, 20_000).reference_rows
    shares = {name: np.mean([PATIENTS[row] == name for row in rows]) for name in "abc"}
    assert shares == {
        "a": 0.0,
        "b": pytest.approx(0.75, abs=0.02),
        "c": pytest.approx(0.25, abs=0.02),
    }


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
    assert {PATIENTS[row] for row in reference[is_single]} == {"d", "e"}
    np.testing.assert_array_equal(reference[is_single], target[is_single])
    assert (reference[~is_single] != target[~is_single]).all()


def test_nobody_to_pair_is_an_error():
    with pytest.raises(SourceError, match="no patient has two recordings"):
        PairSampler(["a", "b"], seed=0).pairs_at(0, 4)


def test_golden_pairs():
    reference, target, _ = sampler().pairs_at(0, 12)
    assert reference.tolist() == [0, 7, 7, 7, 7, 4, 7, 0, 7, 5, 10, 7]
    assert target.tolist() == [3, 2, 2, 2, 2, 9, 2, 10, 2, 0, 1, 2]
