"""The demo: what it asks for, what it refuses before it writes, and all of it for real."""

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgtwin.cli import main
from ecgtwin.demo import (
    FINDINGS,
    NUM_CONDITIONS,
    NUM_PATIENTS,
    NUM_TWINS,
    DemoSettings,
    demo_specification,
    run_demo,
)
from ecgtwin.errors import SourceError, SpecificationError
from ecgtwin.signals.leads import LEADS
from ecgtwin.sources.simulated import SINUS_STATES, SimulatedSource
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.patients import PatientsOfCorpus
from ecgtwin.spec.recipe import STAGES
from ecgtwin.store.reader import Cohort, Corpus
from ecgtwin.store.verify import verify
from ecgtwin.twin.twin import EcgTwin
from tests.sources.made import content
from tests.sources.made import run as ingest_source
from tests.sources.records import write_tree

REPOSITORY = Path(__file__).parent.parent


def asked_for(folder: Path) -> CohortSpec:
    path = folder / "cohort.yaml"
    path.write_text(demo_specification(folder, str(folder / "corpus")))
    return CohortSpec.from_yaml(path)


def test_it_asks_for_unseen_persons_at_rates_spread_evenly(tmp_path: Path) -> None:
    spec = asked_for(tmp_path)
    rates = [state.heart_rate_bpm for state in spec.states()]
    assert len(rates) == NUM_CONDITIONS == 32
    np.testing.assert_allclose(rates, np.linspace(45, 150, 32), atol=0.05)
    assert spec.patients == PatientsOfCorpus(split="test", count=NUM_PATIENTS)
    assert NUM_PATIENTS * len(rates) * spec.replicates == NUM_TWINS == 512
    assert spec.sampling is None or spec.sampling.num_steps <= 20


def test_its_states_are_all_findings_and_rhythms_that_fit_their_rates(tmp_path: Path) -> None:
    conditions = asked_for(tmp_path).conditions
    codes = [[line.code for line in entry.statements] for entry in conditions]
    assert {code for entry in codes for code in entry} == {*SINUS_STATES, *FINDINGS}
    for finding in FINDINGS:
        assert sum(finding in entry for entry in codes) >= 3
    for entry, condition in zip(codes, conditions, strict=True):
        rate = condition.heart_rate_bpm
        assert rate is not None
        assert ("sinus bradycardia" in entry) <= (rate < 60)
        assert ("sinus tachycardia" in entry) <= (rate > 100)
        assert ("sinus rhythm" in entry) <= (60 <= rate <= 100)
        assert len([code for code in entry if code.startswith("sinus ")]) == (
            "atrial fibrillation" not in entry
        )


def test_a_folder_of_another_demo_is_refused_and_kept(tmp_path: Path) -> None:
    settings = {"source": "simulated", "from_scratch": True, "minutes": None}
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings))
    before = path.read_bytes()
    for wanted in (
        DemoSettings("simulated", tmp_path),
        DemoSettings("simulated", tmp_path, from_scratch=True, minutes=2.0),
        DemoSettings("elsewhere", tmp_path, from_scratch=True),
    ):
        with pytest.raises(SpecificationError, match=r"holds a demo with settings.*another --out"):
            run_demo(wanted)
    path.write_text("{")
    with pytest.raises(SpecificationError, match=r"settings\.json is damaged"):
        run_demo(DemoSettings("simulated", tmp_path))
    path.write_bytes(before)
    assert [name.name for name in tmp_path.iterdir()] == ["settings.json"]


def test_a_place_that_is_not_free_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SpecificationError, match="is not empty and holds no demo"):
        run_demo(DemoSettings("simulated", tmp_path, from_scratch=True))
    with pytest.raises(SpecificationError, match=r"notes\.txt is a file"):
        run_demo(DemoSettings("simulated", tmp_path / "notes.txt", from_scratch=True))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_wrong_source_or_time_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    with pytest.raises(SourceError, match="'nowhere' does not exist"):
        run_demo(DemoSettings("nowhere", out, from_scratch=True))
    for minutes in (0.0, -1.0, float("nan")):
        with pytest.raises(SpecificationError, match="above 0"):
            run_demo(DemoSettings("simulated", out, from_scratch=True, minutes=minutes))
    assert not out.exists()


def test_a_source_with_too_few_patients_is_refused_before_training(tmp_path: Path) -> None:
    write_tree(tmp_path / "records", 3)
    out = tmp_path / "demo"
    with pytest.raises(SpecificationError, match=r"patients are in the test split.* needs 16"):
        run_demo(DemoSettings(str(tmp_path / "records"), out, from_scratch=True))
    assert not (out / "training").exists()


def test_a_corpus_may_be_the_source_and_is_left_as_it_is(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    ingest_source(SimulatedSource(1, 3, 1, sampling_rate_hz=102.4), corpus)
    before = content(corpus)
    settings = DemoSettings(str(corpus), tmp_path / "demo", from_scratch=True)
    assert settings.corpus_url == str(corpus)
    with pytest.raises(SpecificationError, match=r"patients are in the test split.* needs 16"):
        run_demo(settings)
    assert content(corpus) == before
    assert not (tmp_path / "demo" / "corpus").exists()


class WellFormed(HTMLParser):
    """Checks that elements nest; collects ids, links and text."""

    VOID = frozenset({"meta", "link", "br", "hr", "img", "input", "col"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.links: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.deepspeed
@pytest.mark.timeout(1800)
def test_the_whole_demo_from_scratch_and_again(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    words = ["demo", "--from-scratch", "--minutes", "0.3", "--out", str(out)]
    first = run(words)
    for step in range(1, 9):
        assert f"[{step}/8] " in first.stdout
    check_corpus_and_training(out)
    check_cohort(out)
    check_report(out)

    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = run(words)
    assert "already trained" in again.stdout
    assert "0 ECGs in 0.0 s" in again.stdout
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert main(["demo", "--from-scratch", "--out", str(out)]) == 2


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "ecgtwin", *words],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def check_corpus_and_training(out: Path) -> None:
    corpus = Corpus(str(out / "corpus"))
    patients: dict[str, set[str]] = {}
    for name, split in zip(corpus.column("patient_id"), corpus.column("split"), strict=True):
        patients.setdefault(split, set()).add(name)
    assert not patients["train"] & patients["test"]
    assert len(patients["test"]) >= NUM_PATIENTS
    twin = EcgTwin.load(str(out / "twin"))
    stages: Any = twin.provenance["stages"]
    assert set(stages) == set(STAGES)
    lines = [json.loads(line) for line in (out / "training" / "log.jsonl").read_text().splitlines()]
    for stage in STAGES:
        assert any(line.get("stage") == stage and line.get("loss") for line in lines)


def check_cohort(out: Path) -> None:
    cohort = Cohort(str(out / "cohort"))
    assert verify(cohort.url) == []
    assert len(cohort) == NUM_TWINS
    samples_mv = cohort.samples_mv(range(0, NUM_TWINS, 32))
    assert samples_mv.shape == (16, len(LEADS), cohort.layout.num_samples)
    assert np.isfinite(samples_mv).all()
    lead = {name: samples_mv[:, place] for place, name in enumerate(LEADS)}
    np.testing.assert_allclose(lead["III"], lead["II"] - lead["I"], atol=1e-5)


def check_report(out: Path) -> None:
    results = json.loads((out / "results.json").read_text())
    rate = results["heart_rate"]
    for name in (
        "share_measured",
        "mean_absolute_error_bpm",
        "spearman",
        "shuffled_error_bpm",
        "reference_error_bpm",
    ):
        assert name in rate
    assert len(rate["measured_bpm"]) == NUM_TWINS
    assert results["about"]["command"] == "ecgtwin demo --from-scratch --minutes 0.3"
    assert [row["network"] for row in results["training"]] == list(STAGES)
    assert {row["start"] for row in results["training"]} == {"nothing"}

    page = WellFormed((out / "report.html").read_text(encoding="utf-8"))
    assert not page.open
    assert page.count["svg"] >= 6  # a reference, three twins, the median and the worst
    assert all(link.startswith(("#", "data:", "https://")) for link in page.links), page.links
