"""Ingest: every record has its row; what stands is never changed; a second run does nothing."""

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from ecgtwin.errors import CohortMismatchError, DamageError, SpecificationError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.sources.ingest import count_shards, ingest
from ecgtwin.sources.ingest_summary import read_rejects, reason_kind
from ecgtwin.sources.opening import open_source
from ecgtwin.sources.simulated import SimulatedSource
from ecgtwin.sources.source import Reject, Source, SourceRow
from ecgtwin.sources.splits import split_of
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.reader import Corpus

SMALL = IngestSpec(rows_per_shard=8, rows_per_chunk=4, validation_share=0.2, test_share=0.2)
SOURCE = SimulatedSource(seed=3, num_persons=10, visits_per_person=2)


def run(source: Source, url: Path, settings: IngestSpec = SMALL):
    return ingest(source, str(url), settings=settings, executor=LocalExecutor())


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ingest") / "corpus"
    run(SOURCE, folder)
    return folder


def test_every_record_is_a_row_with_its_labels(corpus_folder: Path) -> None:
    corpus = Corpus(str(corpus_folder))
    rows = SOURCE.read(0, len(SOURCE))
    assert corpus.rows.tolist() == list(range(20))
    assert corpus.column("record_id") == [row.record.record_id for row in rows]
    assert corpus.column("patient_id") == [row.record.patient_id for row in rows]
    assert corpus.column("visit").tolist() == [0, 1] * 10
    assert corpus.column("sex") == [row.condition.sex for row in rows]
    assert corpus.column("statements") == [
        [statement.code for statement in row.condition.statements] for row in rows
    ]
    assert corpus.column("age_years") == pytest.approx([row.condition.age_years for row in rows])
    assert corpus.column("heart_rate_bpm") == pytest.approx(
        [row.condition.heart_rate_bpm for row in rows]
    )
    assert set(corpus.column("source")) == {"simulated"}


def test_samples_are_the_recording_at_the_models_rate(corpus_folder: Path) -> None:
    corpus = Corpus(str(corpus_folder))
    stored = corpus.samples_mv(range(20))
    assert stored.shape == (20, 12, 1024)
    time_s = np.arange(1024) / 102.4
    for row, source_row in enumerate(SOURCE.read(0, len(SOURCE))):
        record = source_row.record
        slow = np.interp(time_s, np.arange(5000) / 500, record.samples_mv[1])
        assert np.corrcoef(slow[10:-10], stored[row, 1, 10:-10])[0, 1] > 0.97


def test_patients_are_in_one_split_and_it_is_that_of_the_hash(corpus_folder: Path) -> None:
    corpus = Corpus(str(corpus_folder))
    for patient_id, split in zip(corpus.column("patient_id"), corpus.column("split"), strict=True):
        assert split == split_of(patient_id, salt="ecgtwin", validation_share=0.2, test_share=0.2)


def test_the_summary_counts_what_the_corpus_holds(tmp_path: Path) -> None:
    summary = run(SOURCE, tmp_path / "corpus")
    corpus = Corpus(str(tmp_path / "corpus"))
    assert (summary.num_rows, summary.num_kept, summary.rejected) == (20, 20, {})
    assert (summary.num_patients, summary.num_pair_patients) == (10, 10)
    assert summary.records_by_split == Counter(corpus.column("split"))
    assert sum(summary.patients_by_split.values()) == 10
    assert summary.num_written == count_shards(SOURCE, SMALL) == 3
    assert summary.digest == corpus.description["digest"]
    assert "20 of 20 records kept, 0 rejected; 10 patients" in summary.line()


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    first = run(SOURCE, tmp_path)
    before = content(tmp_path)
    second = run(SOURCE, tmp_path)
    assert second == replace(first, num_written=0)
    assert content(tmp_path) == before


def test_an_interrupted_ingest_is_finished_with_the_same_bytes(
    corpus_folder: Path, tmp_path: Path
) -> None:
    @dataclass(frozen=True)
    class Breaking:
        """The same source, unreadable from row 8 to 15."""

        name: str = "simulated"

        def __len__(self) -> int:
            return len(SOURCE)

        def read(self, start: int, stop: int) -> list[SourceRow | Reject]:
            if start == 8:
                raise OSError("the disk was pulled out")
            return SOURCE.read(start, stop)

        def describe(self) -> dict[str, object]:
            return SOURCE.describe()

    broken = run(Breaking(), tmp_path)
    assert [outcome.shard.index for outcome in broken.failures] == [1]
    assert "the disk was pulled out" in broken.failures[0].error
    assert (broken.num_written, broken.num_rows) == (2, 12)

    mended = run(SOURCE, tmp_path)

    assert (mended.num_written, mended.num_rows, mended.failures) == (1, 20, ())
    names = {name for name in content(tmp_path) if not name.startswith("private/")}
    undisturbed = content(corpus_folder)
    assert names == {name for name in undisturbed if not name.startswith("private/")}
    assert all(content(tmp_path)[name] == undisturbed[name] for name in names)


def test_the_key_is_secret_to_each_corpus(corpus_folder: Path, tmp_path: Path) -> None:
    run(SOURCE, tmp_path)
    keys = {(folder / "private/pseudonym.key").read_text() for folder in (corpus_folder, tmp_path)}
    assert len(keys) == 2
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys)


@pytest.mark.parametrize(
    ("source", "settings", "difference"),
    [
        (replace(SOURCE, seed=4), SMALL, "seed is 3 there, 4 was asked for"),
        (SOURCE, SMALL.model_copy(update={"split_salt": "b"}), "split_salt is 'ecgtwin' there"),
        (replace(SOURCE, num_persons=11), SMALL, "num_rows is 20 there, 22 was asked for"),
    ],
)
def test_another_corpus_at_the_url_is_refused_and_left_alone(
    corpus_folder: Path, source: Source, settings: IngestSpec, difference: str
) -> None:
    before = content(corpus_folder)
    with pytest.raises(CohortMismatchError) as caught:
        run(source, corpus_folder, settings)
    assert difference in str(caught.value)
    assert "\n" not in str(caught.value)
    assert content(corpus_folder) == before


def test_a_url_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cohort.json").write_text("{}")
    with pytest.raises(CohortMismatchError, match="holds a cohort"):
        run(SOURCE, tmp_path)
    (tmp_path / "cohort.json").rename(tmp_path / "corpus.json")
    with pytest.raises(DamageError, match=r"corpus\.json is damaged"):
        run(SOURCE, tmp_path)
    assert set(content(tmp_path)) == {"corpus.json"}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"rows_per_shard": 100, "rows_per_chunk": 32}, "must be a multiple"),
        ({"validation_share": 0.5, "test_share": 0.5}, "patients are left to train on"),
        ({"num_sample": 5}, "unknown key"),
    ],
)
def test_impossible_settings_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(SpecificationError, match=message):
        IngestSpec.parse(setting, origin="here")


def test_shards_too_large_for_one_object_write_nothing(tmp_path: Path) -> None:
    settings = IngestSpec(rows_per_shard=4096)
    with pytest.raises(SpecificationError, match="64 MiB"):
        run(SOURCE, tmp_path / "corpus", settings)
    assert not (tmp_path / "corpus").exists()


def test_reasons_of_one_kind_count_together() -> None:
    reasons = {
        "record 7: clipped in lead V5, V6": "clipped",
        "record 7: amplitude of 11.5 mV (above 10 mV) in lead V4": "amplitude of N mV",
        "record 7: the signal file is missing (7.dat in /data)": "the signal file is missing",
        "record 7: the recording is too short: 5.00 s, 10.00 s are needed": (
            "the recording is too short"
        ),
    }
    for reason, kind in reasons.items():
        assert reason_kind(Reject("7", "p", reason)) == kind


def check_real_corpus(folder: Path) -> Corpus:
    corpus = Corpus(str(folder))
    rates = corpus.column("heart_rate_bpm")
    assert np.isfinite(rates).mean() > 0.98
    assert 60 < np.nanmedian(rates) < 80
    for code, low, high in [("sinus tachycardia", 90, 200), ("sinus bradycardia", 30, 65)]:
        stated = [code in statements for statements in corpus.column("statements")]
        assert np.all((rates[stated] > low) & (rates[stated] < high))
    splits = dict(zip(corpus.column("patient_id"), corpus.column("split"), strict=True))
    for patient_id, split in zip(corpus.column("patient_id"), corpus.column("split"), strict=True):
        assert splits[patient_id] == split
    assert all(reject.reason.count("\n") == 0 for reject in read_rejects(str(folder)))
    return corpus


def test_real_records_are_kept_and_their_rates_plausible(real_data: Path, tmp_path: Path) -> None:
    source = open_source(real_data / "ptbxl", limit=60)
    summary = run(source, tmp_path, IngestSpec())
    assert summary.num_kept >= 57
    check_real_corpus(tmp_path)


@pytest.mark.slow
def test_all_real_records_are_ingested(real_data: Path, tmp_path: Path) -> None:
    summary = run(open_source(real_data / "ptbxl"), tmp_path, IngestSpec())
    corpus = check_real_corpus(tmp_path)
    assert summary.num_rows == 500
    assert summary.num_kept >= 490
    assert summary.num_pair_patients == 25
    codes = {code for statements in corpus.column("statements") for code in statements}
    assert {"sinus tachycardia", "sinus bradycardia"} <= codes
    assert Counter(corpus.column("patient_id")).most_common(1)[0][0] == "13619"
    assert json.loads((tmp_path / "corpus.json").read_text())["source"]["num_records"] == 500


@pytest.mark.slow
def test_the_challenge_records_are_ingested_but_for_the_bad_ones(
    real_data: Path, tmp_path: Path
) -> None:
    summary = run(open_source(real_data / "challenge2020"), tmp_path, IngestSpec())
    assert summary.num_rows == 122
    assert summary.rejected["the header is not WFDB"] == 22
    assert summary.rejected["flat for N s or more"] >= 3
    assert summary.num_kept >= 90
