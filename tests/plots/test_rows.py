"""Rows on the paper: labels clear of the trace, rows clear of each other, all on the grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgtwin.plots.rows import LETTER_MM, MM_PER_MV, MM_PER_S, Strip, zero_lines_mm

heights = st.lists(st.floats(-6, 6), min_size=50, max_size=250)


def strip(samples_mv, *, lead="aVR", row=0, column=0):
    samples = np.array(samples_mv, dtype=float)
    return Strip(lead, row, column, column * 2.5 + np.arange(len(samples)) / 100, samples)


@settings(deadline=None, max_examples=100)
@given(heights, st.integers(0, 3))
def test_a_label_never_stands_on_its_own_trace(samples_mv, column):
    drawn = strip(samples_mv, column=column)
    right, foot = drawn.label_mm
    place = (drawn.time_s - 2.5 * column) * MM_PER_S
    under = drawn.samples_mv[(place > right) & (place < right + 7)] * MM_PER_MV
    assert not len(under) or under.max() < foot or under.min() > foot + LETTER_MM


@settings(deadline=None, max_examples=50)
@given(st.lists(heights, min_size=2, max_size=4))
def test_rows_of_one_column_never_meet(rows):
    strips = [strip(samples, row=row) for row, samples in enumerate(rows)]
    zeros, bottom = zero_lines_mm(strips, 20.0)
    spans = [
        (zero - min(50, 10 * max(samples)), zero - max(-50, 10 * min(samples)))
        for zero, samples in zip(zeros, rows, strict=True)
    ]
    edges = [20.0, *(edge for span in spans for edge in span), bottom]
    assert edges == sorted(edges)


def test_zero_lines_stand_on_the_5_mm_grid_and_no_nearer_than_25_mm():
    zeros, bottom = zero_lines_mm([strip(np.zeros(250), row=row) for row in range(4)], 13.0)
    assert set(np.diff(zeros)) == {25.0}
    assert [(zero - 13.0) % 5 for zero in [*zeros, bottom]] == pytest.approx([0.0] * 5)


def test_only_strips_of_the_same_column_push_rows_apart():
    deep, tall = np.full(250, -3.0), np.full(250, 3.0)
    apart, _ = zero_lines_mm([strip(deep, column=0), strip(tall, row=1, column=2)], 0.0)
    together, _ = zero_lines_mm([strip(deep, column=0), strip(tall, row=1, column=0)], 0.0)
    assert apart[1] - apart[0] < 60 <= together[1] - together[0]


@pytest.mark.parametrize(
    ("samples_mv", "fault"),
    [
        (np.zeros(250), ""),
        (np.full(250, np.nan), "V2: no samples"),
        (np.r_[np.zeros(200), [np.nan] * 50], "V2 has gaps"),
        (np.r_[np.zeros(200), [-5.2] * 50], "V2 leaves the paper (-5.2 mV)"),
    ],
)
def test_what_cannot_be_seen_is_named(samples_mv, fault):
    assert strip(samples_mv, lead="V2").fault == fault
