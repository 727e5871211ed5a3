"""ECG paper: true scale, clinical positions, one time axis, nothing lost in silence."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from ecgtwin.plots.ecg_paper import draw_side_by_side, draw_strips, draw_twelve_leads
from ecgtwin.signals.leads import LEADS

RATE = 500.0
SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg):
    return ElementTree.fromstring(svg)


def of_class(root, name):
    return [node for node in root.iter() if node.get("class") == name]


def traces(root):
    """Return (lead, points (n, 2)) of each drawn trace, in order."""
    return [(node.get("data-lead"), points(node.get("d"))) for node in of_class(root, "trace")]


def points(path):
    return np.array(
        [[float(part) for part in point.split()] for point in re.split("[ML]", path[1:])]
    )


def quiet():
    return np.zeros((12, 5000))


def test_one_millivolt_for_one_second_is_10_mm_by_25_mm():
    samples = quiet()
    samples[LEADS.index("II"), 500:1000] = 1.0
    root = parsed(draw_twelve_leads(samples, sampling_rate_hz=RATE))
    lead, line = traces(root)[-1]
    assert lead == "II"
    zero = line[0, 1]
    assert zero - line[:, 1].min() == pytest.approx(10.0, abs=0.02)
    high = line[line[:, 1] < zero - 9.9]
    assert high[:, 0].max() - high[:, 0].min() == pytest.approx(25.0, abs=0.06)


def test_user_units_are_millimetres():
    root = parsed(draw_twelve_leads(quiet(), sampling_rate_hz=RATE))
    width, height = root.get("viewBox").split()[2:]
    assert root.get("width") == f"{width}mm"
    assert root.get("height") == f"{height}mm"


def test_grid_lines_lie_1_mm_and_5_mm_apart():
    root = parsed(draw_twelve_leads(quiet(), sampling_rate_hz=RATE))
    (coarse,), (fine,) = of_class(root, "mm-5"), of_class(root, "mm-1")
    upright = r"M(\d+) [\d.]+v"
    heavy = [int(x) for x in re.findall(upright, coarse.get("d"))]
    light = [int(x) for x in re.findall(upright, fine.get("d"))]
    assert set(np.diff(heavy)) == {5}
    assert sorted(heavy + light) == list(range(heavy[-1] + 1))
    assert float(coarse.get("stroke-width")) > float(fine.get("stroke-width"))


def test_the_calibration_pulse_is_1_mv_and_200_ms_on_every_row():
    root = parsed(draw_twelve_leads(quiet(), sampling_rate_hz=RATE))
    pulses = [node.get("d") for node in of_class(root, "calibration")]
    zeros = {line[0, 1] for _, line in traces(root)}
    assert len(pulses) == 4
    assert all(pulse.endswith("h2.5v-10h5v10h2.5") for pulse in pulses)
    assert {float(pulse.split("h")[0].split()[1]) for pulse in pulses} == zeros


def test_leads_stand_in_their_clinical_places():
    root = parsed(draw_twelve_leads(quiet(), sampling_rate_hz=RATE))
    labels = [(n.text, float(n.get("x")), float(n.get("y"))) for n in of_class(root, "lead")]
    rows = sorted({y for _, _, y in labels})
    table = [
        [name for name, _, y in sorted(labels, key=lambda at: at[1]) if y == row] for row in rows
    ]
    assert table == [
        ["I", "aVR", "V1", "V4"],
        ["II", "aVL", "V2", "V5"],
        ["III", "aVF", "V3", "V6"],
        ["II"],
    ]


def test_all_columns_share_one_time_axis():
    """A spike at second 6 stands at one x in the third column and in the rhythm strip."""
    samples = quiet()
    samples[:, 3000] = 1.0
    root = parsed(draw_twelve_leads(samples, sampling_rate_hz=RATE))
    spiked = {
        (lead, round(float(line[0, 0]), 1)): line[line[:, 1].argmin(), 0]
        for lead, line in traces(root)
        if np.ptp(line[:, 1]) > 5
    }
    assert {lead for lead, _ in spiked} == {"V1", "V2", "V3", "II"}
    assert set(spiked.values()) == {20.0 + 6 * 25}


def test_tall_rows_move_apart_instead_of_meeting():
    samples = quiet()
    samples[LEADS.index("V1"), ::400] = -3.0
    samples[LEADS.index("V2"), 100::400] = 3.0
    root = parsed(draw_twelve_leads(samples, sampling_rate_hz=RATE))
    lines = dict(traces(root))
    assert lines["V1"][:, 1].max() < lines["V2"][:, 1].min()
    assert not of_class(root, "fault")
    (paper,) = of_class(root, "paper")
    foot = float(paper.get("y")) + float(paper.get("height"))
    assert all(line[:, 1].max() < foot for line in lines.values())


def test_what_leaves_the_paper_is_said_and_not_drawn_flat():
    samples = quiet()
    samples[LEADS.index("V3"), 2600:2700] = 7.5
    root = parsed(draw_twelve_leads(samples, sampling_rate_hz=RATE))
    (fault,) = of_class(root, "fault")
    assert "V3 leaves the paper (+7.5 mV)" in fault.text
    (third,) = [node.get("d") for node in of_class(root, "trace") if node.get("data-lead") == "V3"]
    assert third.count("M") == 2


def test_missing_leads_are_said():
    samples = quiet()
    samples[LEADS.index("aVL")] = np.nan
    samples[LEADS.index("V6"), 4000:4100] = np.nan
    root = parsed(draw_twelve_leads(samples, sampling_rate_hz=102.4 * 4))
    (fault,) = of_class(root, "fault")
    assert "aVL: no samples" in fault.text
    assert "aVL" in [node.text for node in of_class(root, "lead")]


def test_the_foot_states_scale_and_sampling():
    root = parsed(draw_twelve_leads(np.zeros((12, 1024)), sampling_rate_hz=102.4))
    (foot,) = of_class(root, "scale")
    assert foot.text == "25 mm/s   10 mm/mV   102.4 samples/s, no filter"


def test_a_longer_recording_says_what_is_shown():
    root = parsed(draw_twelve_leads(np.zeros((12, 6000)), sampling_rate_hz=200.0))
    (foot,) = of_class(root, "scale")
    assert "first 10 s of 30.0 s" in foot.text
    assert max(line[:, 0].max() for _, line in traces(root)) == pytest.approx(270.0)


def test_a_short_recording_is_drawn_as_far_as_it_goes():
    root = parsed(draw_twelve_leads(np.zeros((12, 300)), sampling_rate_hz=100.0))
    assert max(line[:, 0].max() for _, line in traces(root)) == pytest.approx(20 + 2.99 * 25)
    assert len(of_class(root, "lead")) == 13


@pytest.mark.parametrize("shape", [(11, 100), (5000,), (1, 12, 100)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="12, time"):
        draw_twelve_leads(np.zeros(shape), sampling_rate_hz=RATE)


def test_text_is_escaped():
    svg = draw_twelve_leads(
        quiet(),
        sampling_rate_hz=RATE,
        title="<script>alert(1)</script> & \x00 co",
        subtitle='"age" < 90',
        details=[("QRS <ms>", "96 & more")],
        marker="<b>",
    )
    texts = [node.text for node in parsed(svg).iter(f"{SVG}text")]
    assert "<script>" not in svg
    assert "<script>alert(1)</script> &  co" in texts or any("<script>" in t for t in texts)
    assert {'"age" < 90', "QRS <ms>", "96 & more", "<b>"} <= set(texts)


def test_long_titles_wrap_inside_the_drawing():
    svg = draw_twelve_leads(quiet(), sampling_rate_hz=RATE, title="word " * 60, marker="SYNTHETIC")
    sizes = [(n.text, float(n.get("font-size"))) for n in parsed(svg).iter(f"{SVG}text")]
    assert all(len(said) * size * 0.6 <= 275.1 for said, size in sizes)


def test_side_by_side_puts_each_recording_in_its_column():
    panels = []
    for column in range(4):
        samples = quiet()
        samples[LEADS.index("V1"), 250] = 0.5 + 0.5 * column
        panels.append((samples, f"State {column}"))
    root = parsed(draw_side_by_side(panels, sampling_rate_hz=RATE))
    spikes = [line for lead, line in traces(root) if lead == "V1"]
    assert [line[line[:, 1].argmin(), 0] for line in spikes] == [32.5, 95.0, 157.5, 220.0]
    heights = [line[0, 1] - line[:, 1].min() for line in spikes]
    assert heights == pytest.approx([5.0, 10.0, 15.0, 20.0])
    assert {f"State {column}" for column in range(4)} <= {n.text for n in root.iter(f"{SVG}text")}


def test_strips_stand_below_each_other_on_one_time_axis():
    panels = []
    for place in range(3):
        samples = quiet()
        samples[LEADS.index("V1"), 4000] = 0.5 + 0.5 * place  # at 8 s, beyond a short panel
        panels.append((samples, f"recording {place}"))
    root = parsed(draw_strips(panels, sampling_rate_hz=RATE, leads=("II", "V1")))
    drawn = traces(root)
    assert [lead for lead, _ in drawn] == [
        f"{lead}, recording {place}" for lead in ("II", "V1") for place in range(3)
    ]
    spikes = [line for lead, line in drawn if lead.startswith("V1")]
    assert len({line[line[:, 1].argmin(), 0] for line in spikes}) == 1
    heights = [line[0, 1] - line[:, 1].min() for line in spikes]
    assert heights == pytest.approx([5.0, 10.0, 15.0])
    zeros = [line[0, 1] for _, line in drawn]
    assert zeros == sorted(zeros)
