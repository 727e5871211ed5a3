"""The figure of edits shows every person that was measured, and thresholds at their height."""

import re
from xml.etree import ElementTree

import numpy as np

from ecgtwin.plots.edit_effects import EffectGroup, EffectPanel, draw_edit_effects

SVG = "{http://www.w3.org/2000/svg}"


def panel(**changes):
    values = np.array([0.02, 0.05, np.nan, 0.2, 9.0])
    fields = {
        "title": "A <b> & c",
        "unit": "share",
        "groups": (
            EffectGroup("before", values, 0.05, 0.02, 0.2),
            EffectGroup("after\nedit", values, 0.2, 0.1, 0.3),
        ),
        "lines": (0.1,),
        "top": 0.4,
    }
    return EffectPanel(**{**fields, **changes})


def test_every_measured_person_is_a_point_inside_the_panel():
    drawn = draw_edit_effects([panel(), panel()])
    root = ElementTree.fromstring(drawn)
    circles = list(root.iter(f"{SVG}circle"))
    assert len(circles) == 2 * 2 * 4
    heights = {float(circle.get("cy")) for circle in circles}
    assert min(heights) >= 58
    assert max(heights) <= 58 + 250


def test_a_threshold_stands_where_its_value_would():
    root = ElementTree.fromstring(draw_edit_effects([panel(lines=(0.2,))]))
    dashed = [
        float(line.get("y1"))
        for line in root.iter(f"{SVG}line")
        if line.get("stroke-dasharray") == "4 3"
    ]
    at_threshold = [
        float(circle.get("cy"))
        for circle in root.iter(f"{SVG}circle")
        if abs(float(circle.get("cy")) - dashed[0]) < 0.01
    ]
    assert len(at_threshold) == 2  # the person at 0.2, once in each group


def test_labels_are_escaped():
    assert re.search(r"A &lt;b&gt; &amp; c", draw_edit_effects([panel()]))
