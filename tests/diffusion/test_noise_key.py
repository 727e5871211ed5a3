"""Noise is a function of what a sample is, and of nothing else; and it is standard normal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ecgtwin.diffusion.noise_key import noise_key, standard_normal

SAMPLE = {
    "cohort_seed": 7,
    "person": "p1",
    "condition_digest": "c",
    "replicate": 0,
    "attempt": 0,
}
KEY = (0x6864D74252FC0C6B, 0x678B8DE7D281BA2C)


def test_golden_key() -> None:
    assert noise_key(**SAMPLE) == KEY
    shared = (0x8F74E7E2949B0F0F, 0xABA23657F6F5D72C)
    assert noise_key(**SAMPLE | {"condition_digest": None}) == shared


def test_golden_noise() -> None:
    expected = [
        [0.38163771, -0.35922527, -0.30275711],
        [0.64408904, -0.64513641, 1.5113753],
    ]
    np.testing.assert_allclose(standard_normal([KEY], (2, 3))[0], expected, atol=1e-8)
    second_step = [0.08003142, -0.90738973, -0.54190866]
    np.testing.assert_allclose(standard_normal([KEY], (3,), step=1)[0], second_step, atol=1e-8)


@pytest.mark.parametrize(
    "change",
    [
        {"cohort_seed": 8},
        {"person": "p2"},
        {"condition_digest": "d"},
        {"condition_digest": None},
        {"replicate": 1},
        {"attempt": 1},
        {"person": "p1c", "condition_digest": ""},  # the same letters, cut elsewhere
        {"cohort_seed": 70, "replicate": 0, "person": "1"},
    ],
)
def test_every_field_changes_the_key(change: dict[str, object]) -> None:
    assert noise_key(**SAMPLE | change) != KEY


words = st.integers(0, 2**64 - 1)


@given(
    others=st.lists(st.tuples(words, words), max_size=8),
    position=st.integers(0, 8),
    num_elements=st.integers(1, 40),
)
def test_a_sample_has_the_same_noise_in_any_company(
    others: list[tuple[int, int]], position: int, num_elements: int
) -> None:
    place = min(position, len(others))
    alone = standard_normal([KEY], (num_elements,))[0]
    among = standard_normal([*others[:place], KEY, *others[place:]], (num_elements,))[place]
    assert np.array_equal(alone, among)
    longer = standard_normal([KEY], (num_elements + 3,))[0]
    assert np.array_equal(alone, longer[:num_elements])


def test_noise_is_standard_normal_and_independent() -> None:
    keys = [
        noise_key(**SAMPLE | {"replicate": replicate, "attempt": attempt})
        for replicate in range(64)
        for attempt in range(2)
    ]
    noise = standard_normal(keys, (32, 64))
    assert noise.shape == (128, 32, 64)
    count = noise.size
    assert abs(noise.mean()) < 5 / np.sqrt(count)
    assert abs(noise.var() - 1) < 5 * np.sqrt(2 / count)
    assert stats.kstest(noise.ravel()[::7], "norm").pvalue > 1e-4
    flat = noise.reshape(128, -1)
    between_samples = np.corrcoef(flat)[np.triu_indices(128, 1)]
    assert np.abs(between_samples).max() < 6 / np.sqrt(flat.shape[1])
    within_pairs = np.corrcoef(flat[:, 0::2].ravel(), flat[:, 1::2].ravel())[0, 1]
    assert abs(within_pairs) < 5 / np.sqrt(count / 2)
    of_steps = standard_normal(keys, (32, 64), step=1)
    assert abs(np.corrcoef(noise.ravel(), of_steps.ravel())[0, 1]) < 5 / np.sqrt(count)
