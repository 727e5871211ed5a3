import numpy as np
import pytest

from ecgtwin.evaluation.nearest import nearest_similarity, nearest_training
from ecgtwin.evaluation.readings import QRS_POINTS, T_POINTS, Readings


def with_shapes(shapes):
    rates = np.full(len(shapes), 70.0)
    return Readings(rates, rates, rates, rates, shapes)


@pytest.fixture
def shapes(rng):
    return lambda num: rng.normal(size=(num, 12, QRS_POINTS + T_POINTS))


def test_a_copy_is_found_and_counted(shapes):
    training, unseen, made = shapes(50), shapes(200), shapes(20)
    made[3] = 0.5 * training[7]
    found = nearest_training(with_shapes(made), with_shapes(unseen), with_shapes(training))
    assert found["twins_max"] == pytest.approx(1)
    assert found["unseen_median"] < 0.5
    assert 1 <= found["num_too_near"] <= 3
    assert found["num_unseen"] == 200


def test_records_like_the_unseen_ones_are_too_near_one_time_in_a_hundred(shapes):
    found = nearest_training(*(with_shapes(shapes(num)) for num in (1000, 1000, 20)))
    assert found["share_too_near"] == pytest.approx(0.01, abs=0.012)


def test_the_nearest_is_the_largest_over_the_known_training_records(shapes):
    training = shapes(4)
    training[2] = np.nan
    assert nearest_similarity(with_shapes(training[[1]]), with_shapes(training)) == pytest.approx(1)


def test_nothing_to_compare_with_gives_a_reason(shapes):
    some, none = with_shapes(shapes(3)), with_shapes(shapes(0))
    assert "no training record" in nearest_training(some, some, none)["reason"]
    without = nearest_training(some, None, some)
    assert without["twins_median"] == pytest.approx(1)
    assert "no training saw" in without["reason"]
