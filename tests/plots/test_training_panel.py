import subprocess
import sys
from collections import Counter
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np

from ecgtwin.plots.training_panel import draw_training_panel, drawing_of
from ecgtwin.signals.beats import heart_rate_bpm, r_peaks
from ecgtwin.signals.leads import LEADS
from ecgtwin.sources.simulated import simulate
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.training.panels import Likeness, Panel

RATE_HZ = 102.4
SVG = "{http://www.w3.org/2000/svg}"


def recordings(count):
    rows = simulate(
        seed=4, persons=range(count), visits_per_person=1, sampling_rate_hz=RATE_HZ, duration_s=10
    )
    return [row.record.samples_mv[:, :1024] for row in rows]


def panel_of(reals, mades, *, way="generated"):
    condition = CardiacCondition(
        statements=("sinus rhythm", {"code": "atrial fibrillation", "certainty": "possible"}),
        heart_rate_bpm=71,
        sex="female",
    )
    likenesses = tuple(
        Likeness(real, made, condition) for real, made in zip(reals, mades, strict=True)
    )
    return Panel("denoiser", 1500, "ema_0.999", way, "somehow", RATE_HZ, likenesses)


def sheets_of(svg):
    return ElementTree.fromstring(svg).findall(f"{SVG}svg")


def words_of(sheet):
    return " | ".join(text.text or "" for text in sheet.iter(f"{SVG}text"))


def test_each_person_has_a_recording_on_the_left_and_a_made_one_on_the_right():
    reals, mades = recordings(4)[:2], recordings(4)[2:]
    sheets = sheets_of(draw_training_panel(panel_of(reals, mades)))
    assert len(sheets) == 4
    for sheet in sheets:
        drawn = Counter(node.get("data-lead") for node in sheet.iter() if node.get("data-lead"))
        assert drawn == Counter({**dict.fromkeys(LEADS, 1), "II": 2})
        assert "25 mm/s   10 mm/mV" in words_of(sheet)
        assert "sinus rhythm, atrial fibrillation (possible)" in words_of(sheet)
    for person, (real, made) in enumerate((sheets[:2], sheets[2:]), 1):
        assert f"Person {person}: the recording" in words_of(real)
        assert f"Person {person}: generated | " in words_of(made)
        assert ["GENERATED" in words_of(sheet) for sheet in (real, made)] == [False, True]
        assert "rate asked for | 71 bpm | age asked for | unknown | sex asked for" in words_of(made)
        assert float(real.get("x")) + float(real.get("width")) < float(made.get("x"))
        assert real.get("y") == made.get("y")
    assert float(sheets[0].get("y")) + float(sheets[0].get("height")) < float(sheets[2].get("y"))


def test_the_rates_are_measured_on_what_is_drawn():
    (real,) = recordings(1)
    sheets = sheets_of(draw_training_panel(panel_of([real], [np.zeros_like(real)])))
    rate = heart_rate_bpm(r_peaks(real, sampling_rate_hz=RATE_HZ), sampling_rate_hz=RATE_HZ)
    assert f"measured rate | {rate:.0f} bpm" in words_of(sheets[0])
    assert "measured rate | no beats found" in words_of(sheets[1])


def test_networks_that_make_no_numbers_are_drawn_as_that():
    (real,) = recordings(1)
    sheets = sheets_of(draw_training_panel(panel_of([real], [np.full_like(real, np.nan)])))
    assert "measured rate | no number" in words_of(sheets[1])
    assert "V6: no samples" in words_of(sheets[1])


def test_a_rebuilt_recording_was_asked_for_nothing():
    (real,) = recordings(1)
    svg = draw_training_panel(panel_of([real], [real], way="rebuilt"))
    assert "REBUILT" in words_of(sheets_of(svg)[1])
    assert "asked for" not in svg


def test_a_panel_is_the_same_text_each_time_and_has_a_picture_where_pillow_is():
    panel = replace(panel_of(recordings(1), recordings(1)), step=7)
    drawing = drawing_of(panel)
    assert drawing.svg == drawing_of(panel).svg
    assert drawing.png.startswith(b"\x89PNG")
    assert "Denoiser after 7 steps" in drawing.svg


def test_without_pillow_there_is_no_picture():
    code = """
import sys
sys.modules["PIL"] = None
import numpy as np
from ecgtwin.plots.training_panel import drawing_of
from ecgtwin.training.panels import Panel
assert drawing_of(Panel("vae", 1, "weights", "rebuilt", "somehow", 102.4, ())).png is None
"""
    subprocess.run([sys.executable, "-c", code], check=True)
