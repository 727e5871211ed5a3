import numpy as np
import pytest

from ecgtwin.signals.convolution import convolved, highest_near, ranked, thinned


@pytest.mark.parametrize("num", [1, 20, 31, 32, 33, 200])
@pytest.mark.parametrize("num_taps", [1, 3, 11, 51])
def test_convolved_is_a_convolution_with_the_ends_held(num, num_taps, rng):
    samples = rng.standard_normal((2, 3, num)).astype(np.float32)
    taps = rng.standard_normal(num_taps)
    held = np.pad(samples, ((0, 0), (0, 0), (num_taps // 2,) * 2), mode="edge")
    expected = [[np.convolve(row, taps, "valid") for row in rows] for rows in held]
    np.testing.assert_allclose(convolved(samples, tuple(taps)), expected, atol=1e-4)


@pytest.mark.parametrize("num", range(1, 13))
def test_every_rank_is_that_of_a_sort(num, rng):
    planes = rng.integers(0, 9, (num, 50)).astype(np.float32)
    for rank in range(num):
        before = planes.copy()
        assert (ranked(planes, rank) == np.sort(before, axis=0)[rank]).all()
        assert (planes == before).all()


@pytest.mark.parametrize("width", [1, 2, 5, 8, 13])
def test_highest_near_looks_ahead(width, rng):
    samples = rng.standard_normal((2, 40)).astype(np.float32)
    expected = [[row[at : at + width].max() for at in range(40)] for row in samples]
    assert (highest_near(samples, width) == expected).all()


@pytest.mark.parametrize("every", [1, 3, 4, 8])
def test_a_thinned_line_keeps_its_place_and_a_fast_tone_goes(every):
    times = np.arange(1000, dtype=np.float32)
    low, rate_hz = thinned(times[None], 100.0 * every, 100.0)
    assert rate_hz == 100
    np.testing.assert_allclose(low[0, 1:], times[::every][1 : low.shape[1]], rtol=1e-5)
    if every > 1:
        tone = np.cos(2 * np.pi * times / every).astype(np.float32)
        assert np.abs(thinned(tone[None], 100.0 * every, 100.0)[0][0, 1:]).max() < 1e-4
