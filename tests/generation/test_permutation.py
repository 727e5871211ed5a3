"""Keyed permutations: each number once, the way back, and another order for another key."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgtwin.generation.permutation import KeyedPermutation


@given(st.binary(max_size=32), st.integers(1, 200))
def test_every_number_stands_at_one_place(key: bytes, size: int) -> None:
    permutation = KeyedPermutation(key, size)
    numbers = [permutation[place] for place in range(size)]
    assert sorted(numbers) == list(range(size))
    assert [permutation.place_of(number) for number in numbers] == list(range(size))
    assert permutation.first(size // 2).tolist() == numbers[: size // 2]


@given(st.integers(3, 2**61), st.data())
def test_the_way_back_leads_back_at_any_size(size: int, data: st.DataObject) -> None:
    permutation = KeyedPermutation(b"key", size)
    place = data.draw(st.integers(0, size - 1))
    number = permutation[place]
    assert 0 <= number < size
    assert permutation.place_of(number) == place
    assert permutation.first(3).tolist() == [permutation[one] for one in range(min(size, 3))]


def test_places_are_spread_evenly_and_by_the_key() -> None:
    firsts = np.array([KeyedPermutation(bytes([key]), 10)[0] for key in range(250)])
    assert np.bincount(firsts, minlength=10).min() > 10  # 25 each are expected
    long = KeyedPermutation(b"a", 10_000)
    taken = np.array([long[place] for place in range(1000)])
    assert abs(taken.mean() - 5000) < 300
    assert abs(np.corrcoef(taken[:-1], taken[1:])[0, 1]) < 0.1


def test_the_order_of_a_key_stays_what_it_was() -> None:
    assert KeyedPermutation(b"ecgtwin", 7).first(7).tolist() == [4, 3, 0, 1, 2, 6, 5]
    large = KeyedPermutation(b"ecgtwin", 10**9)
    assert [large[place] for place in (0, 1, 10**9 - 1)] == [251465133, 469986182, 145467027]


@pytest.mark.parametrize("index", [-1, 5])
def test_a_place_that_there_is_not(index: int) -> None:
    with pytest.raises(IndexError, match="first 5 numbers"):
        KeyedPermutation(b"", 5)[index]
