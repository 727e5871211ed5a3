"""Small figures: a point per twin in its place, the lost ones shown too."""

import math
from xml.etree import ElementTree

import pytest

from ecgtwin.plots.figures import loss_curve, rate_scatter


def of_class(svg, name):
    return [node for node in ElementTree.fromstring(svg).iter() if node.get("class") == name]


def test_twins_that_do_as_asked_lie_on_the_line_of_identity():
    rates = [50.0, 80.0, 110.0, 150.0]
    svg = rate_scatter(rates, rates, ["a"] * 4)
    (line,) = of_class(svg, "identity")
    (x0, y0), (x1, y1) = ([float(v) for v in p.split()] for p in line.get("d")[1:].split("L"))
    for dot in of_class(svg, "twin"):
        share = (float(dot.get("cx")) - x0) / (x1 - x0)
        assert float(dot.get("cy")) == pytest.approx(y0 + share * (y1 - y0), abs=0.02)


def test_points_are_coloured_by_state():
    svg = rate_scatter([60, 70, 80], [61, 69, 80], ["sinus", "fibrillation", "sinus"])
    first, second, third = (dot.get("fill") for dot in of_class(svg, "twin"))
    assert first == third != second


def test_more_states_than_colours_share_the_last():
    states = [f"state {i}" for i in range(12) for _ in range(12 - i)]
    rates = [60.0 + i for i in range(len(states))]
    svg = rate_scatter(rates, rates, states)
    colours = [dot.get("fill") for dot in of_class(svg, "twin")]
    assert len(set(colours)) == 8
    assert len({c for c, s in zip(colours, states, strict=True) if s == "state 0"}) == 1
    assert "5 other states" in svg


def test_twins_without_a_rate_are_shown_and_counted():
    svg = rate_scatter([60, 70, 80], [61, None, math.nan], ["a", "a", "b"])
    assert len(of_class(svg, "twin")) == 1
    assert len(of_class(svg, "lost")) == 2
    assert "no rate (2)" in svg


def test_nothing_is_drawn_of_nothing():
    assert rate_scatter([], [], []) == ""
    assert loss_curve([(1, 0.5)], name="x") == ""
    assert loss_curve([(1, 0.5), (1, 0.4)], name="x") == ""


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="zip"):
        rate_scatter([60.0], [60.0, 70.0], ["a"])


def test_a_falling_loss_goes_down_the_page():
    svg = loss_curve([(0, 1.0), (5, 0.5), (10, 0.1)], name="vae")
    (curve,) = of_class(svg, "losses")
    heights = [float(point.split()[1]) for point in curve.get("d")[1:].split("L")]
    assert heights == sorted(heights)
    assert heights[0] < heights[-1]
