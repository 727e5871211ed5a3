"""The fingerprint: stable under what sources do to a recording, far for another recording."""

import numpy as np
import pytest

from ecgtwin.signals.fingerprint import (
    NUM_BITS,
    differing_bits,
    fingerprint,
    fingerprint_words,
)
from ecgtwin.sources.simulated import simulate


@pytest.fixture(scope="module")
def strips() -> list[np.ndarray]:
    rows = simulate(seed=2, persons=range(12), visits_per_person=2, sampling_rate_hz=100.0)
    return [row.record.samples_mv for row in rows]


def bits(a: np.ndarray, b: np.ndarray, b_rate_hz: float = 100.0) -> int:
    words = fingerprint_words(
        [fingerprint(a, sampling_rate_hz=100.0), fingerprint(b, sampling_rate_hz=b_rate_hz)]
    )
    return int(differing_bits(words[0], words[1]))


def test_it_is_64_hex_digits_and_the_same_every_time(strips) -> None:
    mark = fingerprint(strips[0], sampling_rate_hz=100.0)
    assert len(bytes.fromhex(mark)) * 8 == NUM_BITS
    assert mark == fingerprint(strips[0].copy(), sampling_rate_hz=100.0)


def test_it_survives_gain_offset_wander_steps_and_a_cut_end(strips) -> None:
    time_s = np.arange(1000) / 100
    for strip in strips:
        assert bits(strip, 1.7 * strip) == 0
        assert bits(strip, strip + 0.4 + 0.3 * np.sin(2 * np.pi * 0.2 * time_s)) <= 8
        assert bits(strip, np.round(strip / 0.02) * 0.02) <= 12
        assert bits(strip, strip[:, :960]) == 0


def test_it_survives_another_rate(strips) -> None:
    time_s, fine_s = np.arange(1000) / 100, np.arange(2500) / 250
    for strip in strips:
        fine = np.stack([np.interp(fine_s, time_s, lead) for lead in strip])
        assert bits(strip, fine, 250.0) <= 12


def test_visits_and_persons_are_far_apart(strips) -> None:
    words = fingerprint_words([fingerprint(strip, sampling_rate_hz=100.0) for strip in strips])
    apart = differing_bits(words[:, None], words[None])[np.triu_indices(len(strips), 1)]
    assert apart.min() > 50


def test_a_shift_by_a_second_is_another_recording(strips) -> None:
    assert bits(strips[0], np.roll(strips[0], 100, axis=1)) > 40
