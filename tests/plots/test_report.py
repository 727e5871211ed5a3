"""The report: well formed, self-contained, honest about what is missing and what was missed."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from ecgtwin.plots.catalogue import GROUPS
from ecgtwin.plots.report import (
    Drawing,
    ReportDrawings,
    measured_details,
    report_html,
    write_report,
)
from ecgtwin.sources.simulated import simulate

VOID = {"meta"}


class Balanced(HTMLParser):
    """Fails on a tag that closes another than the one that is open."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


def read(html):
    """Return the visible words of a page, after checking that its tags match."""
    parser = Balanced()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return " ".join(" ".join(parser.words).split())


def drawings(caption="Twin: asked for atrial fibrillation"):
    slow_wave = np.sin(np.arange(128) / 20) * np.ones((12, 1))
    ecgs = [Drawing(slow_wave * height, caption) for height in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
    return ReportDrawings(102.4, ecgs[0], ecgs[1:4], ecgs[4], ecgs[5])


def results():
    return {
        "about": {"source": "a test", "num_twins": 4096, "command": "ecgtwin demo <here>"},
        "targets": {
            "heart_rate.share_measured": {"at_least": 0.9},
            "heart_rate.mean_absolute_error_bpm": {"at_most": 10},
            "heart_rate.spearman": {"at_least": 0.9},
        },
        "heart_rate": {
            "share_measured": 0.953,
            "mean_absolute_error_bpm": 12.34,
            "requested_bpm": [60.0, 90.0],
            "measured_bpm": [61.0, None],
            "states": ["sinus rhythm", "atrial fibrillation"],
        },
        "states": [{"state": "sinus rhythm", "num_twins": 7, "share_measured": 1.0}],
        "frechet": {"reason": "only 3 real ECGs"},
        "training": [
            {"network": "denoiser", "start": "shipped weights", "steps": 50, "first_loss": 0.2,
             "last_loss": 0.1, "losses": [[0, 0.2], [50, 0.1]]}
        ],
        "from_scratch": {"heart_rate": {"mean_absolute_error_bpm": 41.0}},
    }  # fmt: skip


def row_of(html, name):
    """Return the words of the last table row that begins with ``name``."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, flags=re.S)
    return [re.sub(r"<[^>]+>", " ", row) for row in rows if f">{name}<" in row]


def test_the_page_is_well_formed_and_asks_for_nothing_from_outside():
    html = report_html(results(), drawings())
    read(html)
    assert "<script" not in html
    assert not re.search(r"(?:src|href|url\(|@import)", html)
    assert set(re.findall(r'https?://[^"\s<]+', html)) == {"http://www.w3.org/2000/svg"}
    for svg in re.findall(r"<svg.*?</svg>", html, flags=re.S):
        ElementTree.fromstring(svg)


def test_every_ecg_is_drawn_and_marked():
    html = report_html(results(), drawings())
    assert html.count('class="ecg"') == 7  # reference, three twins, median, worst, the overview
    words = read(html)
    assert words.count("SYNTHETIC - not for clinical use") == 6  # five twins and the front
    assert words.count("REFERENCE - not for clinical use") == 1


def test_every_catalogued_figure_has_its_line_even_without_results():
    html = report_html({}, drawings())
    words = read(html)
    for group in GROUPS:
        assert group.title in words
        for figure in group.figures:
            assert figure.name in words
            assert figure.meaning in words
    num_figures = sum(len(group.figures) for group in GROUPS)
    assert words.count("Not computed: the results hold no such figure.") == num_figures
    assert "Training: nothing to show" in words
    assert "From scratch: not computed" in words


def test_a_missing_figure_says_why():
    html = report_html(results(), drawings())
    (line,) = row_of(html, "Twins to corpus ECGs")
    assert "not computed" in line
    assert "Not computed: only 3 real ECGs." in line


def test_one_reason_at_the_top_explains_every_missing_figure():
    words = read(report_html({"reason": "there are no twins"}, drawings()))
    num_figures = sum(len(group.figures) for group in GROUPS)
    assert words.count("Not computed: there are no twins.") == num_figures


def test_counts_of_the_evaluation_stand_in_the_front():
    html = report_html({"counts": {"twins": 1234, "persons": 56}}, drawings())
    assert "Persons 56 Twins 1,234" in read(html)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_figure_that_is_no_number_is_not_shown_as_one(value):
    found = results()
    found["heart_rate"]["spearman"] = value
    lines = row_of(report_html(found, drawings()), "Rank correlation (Spearman)")
    assert all("not computed" in line for line in lines)


def test_targets_are_judged_in_words():
    html = report_html(results(), drawings())
    assert "Targets: 1 of 3 met" in read(html)
    found, missed, missing = (
        row_of(html, name)[0]
        for name in ("Twins with R peaks", "Mean absolute error", "Rank correlation (Spearman)")
    )
    assert "95.3 %" in found
    assert "target met" in found
    assert "12.3 bpm" in missed
    assert "at most 10.0 bpm" in missed
    assert "target not met" in missed
    assert "target not met" in missing


def test_bounds_belong_to_the_target():
    found = results()
    found["heart_rate"] |= {"mean_absolute_error_bpm": 10, "share_measured": 0.9, "spearman": 0.9}
    assert "Targets: 3 of 3 met" in read(report_html(found, drawings()))


def test_from_scratch_stands_beside_this_run():
    line = row_of(report_html(results(), drawings()), "Mean absolute error")[-1]
    assert " ".join(line.split()) == "Mean absolute error 12.3 bpm 41.0 bpm"


def test_text_from_outside_is_escaped():
    found = results()
    found["about"]["source"] = "<img src=x onerror=alert(1)>"
    found["states"][0]["state"] = "<b>bold</b>"
    html = report_html(found, drawings("<i>Twin</i>: a & b"))
    assert "<img" not in html
    assert "<b>bold" not in html
    assert "<i>Twin" not in html
    words = read(html)
    assert "ecgtwin demo <here>" in words
    assert "<i>Twin</i>" in words


def test_no_median_twin_is_said():
    shown = drawings()
    none = ReportDrawings(102.4, shown.reference, shown.twins, None, None)
    words = read(report_html(results() | {"selection_rule": "By rate error."}, none))
    assert "Median twin: none could be chosen by this rule." in words
    assert "Chosen by a rule and not by eye: By rate error." in words


def test_the_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "demo" / "report.html"
    write_report({}, drawings(), path)
    write_report(results(), drawings(), path)
    assert path.read_text(encoding="utf-8") == report_html(results(), drawings())
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_what_stands_above_a_drawing_was_measured_in_it():
    (visit,) = simulate(seed=1, persons=[0], visits_per_person=1)
    samples_mv = visit.record.samples_mv
    details = dict(measured_details(samples_mv, sampling_rate_hz=500.0))
    rate, unit = details["Vent. rate"].split()
    assert unit == "bpm"
    assert float(rate) == pytest.approx(visit.condition.heart_rate_bpm, abs=3)
    shown = Drawing(samples_mv, "Reference: at rest")
    words = read(report_html({}, ReportDrawings(500.0, shown, [shown], shown, None)))
    assert words.count(details["Vent. rate"]) == 3


def test_nothing_is_measured_in_a_flat_line_or_beside_gaps():
    flat = np.zeros((12, 5000))
    assert {value for _, value in measured_details(flat, sampling_rate_hz=500.0)} == {"-"}
    flat[3, 7] = np.nan
    assert measured_details(flat, sampling_rate_hz=500.0) == []
