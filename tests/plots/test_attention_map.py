"""The picture of attention: every share stands under the moment it belongs to, on its own scale."""

from xml.etree import ElementTree

import numpy as np
import pytest

from ecgtwin.plots.attention_map import draw_attention

RATE_HZ = 102.4
SVG = "{http://www.w3.org/2000/svg}"


def drawn(shares, statements, **settings):
    samples_mv = np.zeros((12, 1024))
    samples_mv[1, 512] = 1.0
    svg = draw_attention(samples_mv, shares, statements, sampling_rate_hz=RATE_HZ, **settings)
    return ElementTree.fromstring(svg)


def of_class(root, name):
    return [node for node in root.iter() if node.get("class") == name]


def words(root):
    return [node.text for node in root.iter(f"{SVG}text")]


def darkness(cell):
    return 255 * 3 - sum(int(cell.get("fill")[place : place + 2], 16) for place in (1, 3, 5))


def strips(root):
    """Return the cells of each strip, from the top one down, from left to right."""
    rows = {}
    for cell in of_class(root, "cell"):
        rows.setdefault(float(cell.get("y")), []).append(cell)
    return [sorted(rows[y], key=lambda cell: float(cell.get("x"))) for y in sorted(rows)]


def test_a_frame_lies_under_its_part_of_the_trace():
    shares = np.full((64, 2), 0.5)
    shares[32] = 0.9, 0.1  # the middle: the spike of the trace is at second 5
    root = drawn(shares, ["first", "second"])
    first, second = strips(root)
    darkest = max(first, key=darkness)
    lightest = min(second, key=darkness)
    (trace,) = of_class(root, "trace")
    points = [point.split() for point in trace.get("d")[1:].split("L")]
    peak_mm = float(min(points, key=lambda point: float(point[1]))[0])
    for cell in (darkest, lightest):
        left = float(cell.get("x"))
        assert left - 0.5 <= peak_mm <= left + float(cell.get("width")) + 0.5
    assert sum(float(cell.get("width")) for cell in first) == pytest.approx(250, abs=0.7)


def test_strips_are_in_the_order_of_the_statements_each_with_its_range():
    shares = np.stack([np.linspace(0.2, 0.7, 8), np.linspace(0.8, 0.3, 8)], axis=1)
    root = drawn(shares, ["sinus <rhythm>", "atrial fibrillation"], title="Looked")
    names = [node.text for node in of_class(root, "statement")]
    assert names == ["sinus <rhythm>", "atrial fibrillation"]
    ranges = [node.text for node in of_class(root, "range")]
    assert ranges[0].startswith("20.0 % to 70.0 %")
    assert ranges[1].startswith("30.0 % to 80.0 %")
    rising, falling = ([darkness(cell) for cell in strip] for strip in strips(root))
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert rising == falling[::-1]  # each on a scale of its own
    assert "Looked" in words(root)


def test_an_even_share_is_not_blown_up():
    rough = 0.5 + 1e-4 * np.random.default_rng(0).standard_normal((16, 1))
    (strip,) = strips(drawn(rough, ["alone"]))
    found = [darkness(cell) for cell in strip]
    assert max(found) - min(found) < 20
    assert "100.0 % everywhere" in words(drawn(np.ones((16, 1)), ["alone"]))


def test_a_silenced_statement_is_drawn_in_the_lightest_shade():
    silenced = np.stack([np.zeros(16), np.linspace(0.0, 1.0, 16)], axis=1)
    nothing, rising = strips(drawn(silenced, ["silenced", "rising"]))
    assert {darkness(cell) for cell in nothing} == {darkness(rising[0])}


def test_the_marker_stands_beside_the_title():
    plain, marked = (drawn(np.ones((4, 1)), ["a"], marker=marker) for marker in ("", "SYNTHETIC"))
    assert "SYNTHETIC" in words(marked)
    assert "SYNTHETIC" not in words(plain)


def test_shapes_that_do_not_fit_are_refused():
    samples_mv = np.zeros((12, 1024))
    with pytest.raises(ValueError, match=r"2 statements need shares \(frame, 2\), not \(64, 3\)"):
        draw_attention(samples_mv, np.ones((64, 3)), ["a", "b"], sampling_rate_hz=RATE_HZ)
    with pytest.raises(ValueError, match=r"samples \(12, time\)"):
        draw_attention(samples_mv[0], np.ones((64, 1)), ["a"], sampling_rate_hz=RATE_HZ)
