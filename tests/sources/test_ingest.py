"""Ingest: every record has its row; what stands is never changed; a second run does nothing."""

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ecgtwin.errors import CohortMismatchError, DamageError, SpecificationError, StoreError
from ecgtwin.sources.ingest_summary import read_rejects
from ecgtwin.sources.opening import open_source
from ecgtwin.sources.source import Reject
from ecgtwin.sources.splits import split_of
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.reader import Corpus
from ecgtwin.store.verify import verify
from ecgtwin.training.origins import open_origin
from tests.sources.made import SMALL, MadeReader, MadeSource, content, renamed, run, visits

ROWS = tuple(visits())
SOURCE = MadeSource(ROWS)
UNREADABLE = Reject("r", "p", "record r: the header is missing", "header_missing", "r.hea")


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ingest") / "corpus"
    run(SOURCE, folder)
    return folder


def test_every_record_is_a_row_with_its_labels(corpus_folder: Path) -> None:
    corpus = Corpus(str(corpus_folder))
    assert corpus.rows.tolist() == list(range(20))
    assert corpus.column("record_id") == [row.record.record_id for row in ROWS]
    assert corpus.column("patient_id") == [row.record.patient_id for row in ROWS]
    assert corpus.column("person_id") == [f"made:{row.record.patient_id}" for row in ROWS]
    assert corpus.column("visit").tolist() == [0, 1] * 10
    assert corpus.column("sex") == [row.condition.sex for row in ROWS]
    assert corpus.column("statements") == [
        [statement.code for statement in row.condition.statements] for row in ROWS
    ]
    assert corpus.column("age_years") == pytest.approx([row.condition.age_years for row in ROWS])
    assert corpus.column("heart_rate_bpm") == pytest.approx(
        [row.condition.heart_rate_bpm for row in ROWS]
    )
    assert set(corpus.column("source")) == {"made"}
    assert set(corpus.column("source_rate_hz").tolist()) == {100.0}


def test_samples_are_the_recording_at_the_models_rate(corpus_folder: Path) -> None:
    stored = Corpus(str(corpus_folder)).samples_mv(range(20))
    assert stored.shape == (20, 12, 1024)
    time_s = np.arange(1024) / 102.4
    for row, source_row in enumerate(ROWS):
        slow = np.interp(time_s, np.arange(1000) / 100, source_row.record.samples_mv[1])
        assert np.corrcoef(slow[10:-10], stored[row, 1, 10:-10])[0, 1] > 0.97


def test_what_was_measured_is_stored_and_near_the_label(corpus_folder: Path) -> None:
    corpus = Corpus(str(corpus_folder))
    error = corpus.column("measured_heart_rate_bpm") - corpus.column("heart_rate_bpm")
    assert np.median(np.abs(error)) < 1.0
    for name, low, high in (("qrs_ms", 50, 220), ("qt_ms", 220, 560), ("num_beats", 3, 30)):
        values = np.asarray(corpus.column(name), dtype=float)
        known = values[np.isfinite(values)]
        assert len(known) >= 18
        assert low < known.min() <= known.max() < high
    rate, qt = corpus.column("measured_heart_rate_bpm"), corpus.column("qt_ms")
    assert corpus.column("qtc_bazett_ms") == pytest.approx(
        qt / np.sqrt(60 / rate), rel=1e-4, nan_ok=True
    )
    assert corpus.column("qtc_fridericia_ms") == pytest.approx(
        qt / np.cbrt(60 / rate), rel=1e-4, nan_ok=True
    )


def test_the_measurement_stage_can_be_left_out(tmp_path: Path) -> None:
    run(SOURCE, tmp_path, replace_settings(measure=False))
    corpus = Corpus(str(tmp_path))
    assert np.isnan(corpus.column("measured_heart_rate_bpm")).all()
    assert np.isnan(corpus.column("qrs_ms")).all()
    assert np.isfinite(corpus.column("heart_rate_bpm")).all()  # the label stays


def replace_settings(**changes) -> IngestSpec:
    return IngestSpec.parse(SMALL.model_dump() | changes, origin="test")


def test_patients_are_in_one_split_and_it_is_that_of_the_hash(corpus_folder: Path) -> None:
    corpus = Corpus(str(corpus_folder))
    for person, split in zip(corpus.column("person_id"), corpus.column("split"), strict=True):
        assert split == split_of(person, salt="ecgtwin", validation_share=0.2, test_share=0.2)


def test_splits_stay_when_records_are_added(corpus_folder: Path, tmp_path: Path) -> None:
    more = MadeSource((*ROWS, *visits(persons=20)[20:]))
    run(more, tmp_path)
    before, after = Corpus(str(corpus_folder)), Corpus(str(tmp_path))
    split_of_person = dict(zip(after.column("person_id"), after.column("split"), strict=True))
    assert len(after) == 40
    for person, split in zip(before.column("person_id"), before.column("split"), strict=True):
        assert split_of_person[person] == split


def test_official_splits_win_and_the_strictest_holds_for_the_patient(tmp_path: Path) -> None:
    rows = list(ROWS[:6])
    rows[0] = replace(rows[0], official_split="train")
    rows[1] = replace(rows[1], official_split="test")  # the same patient
    rows[2] = replace(rows[2], official_split="validation")
    run(MadeSource(tuple(rows)), tmp_path)
    assert list(Corpus(str(tmp_path)).column("split"))[:4] == [
        "test", "test", "validation", "validation",
    ]  # fmt: skip


def test_the_summary_counts_what_the_corpus_holds(tmp_path: Path) -> None:
    summary = run(SOURCE, tmp_path / "corpus")
    corpus = Corpus(str(tmp_path / "corpus"))
    assert (summary.num_rows, summary.num_kept, summary.rejected) == (20, 20, {})
    assert (summary.num_patients, summary.num_pair_patients, summary.num_pairs) == (10, 10, 10)
    assert summary.records_by_split == Counter(corpus.column("split"))
    assert sum(summary.patients_by_split.values()) == 10
    assert summary.num_written == 3
    assert summary.digest == corpus.description["digest"]
    assert "20 of 20 records kept, 0 rejected; 10 patients" in summary.line()
    assert "wanted 60%" in summary.text()


def test_the_specification_holds_every_parameter_and_the_sources_digests(
    corpus_folder: Path,
) -> None:
    found = json.loads((corpus_folder / "corpus.json").read_text())
    assert found["settings"] == SMALL.row_settings()
    assert found["settings"]["signal"]["max_gap_s"] == 0.04
    assert found["source"] == SOURCE.describe()
    assert str(corpus_folder) not in json.dumps(found)


def test_the_tables_are_plain_parquet(corpus_folder: Path) -> None:
    def table(name: str):
        return pq.read_table(corpus_folder / "tables" / f"{name}-000000.parquet").to_pydict()

    corpus = Corpus(str(corpus_folder))
    assert table("records")["record_id"] == corpus.column("record_id")
    assert table("conditions")["statements"] == corpus.column("statements")
    split = dict(zip(table("split")["person_id"], table("split")["split"], strict=True))
    assert split == dict(zip(corpus.column("person_id"), corpus.column("split"), strict=True))
    said = Counter(code for codes in corpus.column("statements") for code in codes)
    words = table("statements")
    assert dict(zip(words["statement"], words["definite"], strict=True)) == said
    assert table("rejects")["row"] == []


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    first = run(SOURCE, tmp_path)
    before = content(tmp_path)
    second = run(SOURCE, tmp_path)
    assert second == replace(first, num_written=0)
    assert content(tmp_path) == before


def test_progress_counts_every_row_once(tmp_path: Path) -> None:
    told: list[int] = []
    run(SOURCE, tmp_path, on_shard=told.append)
    assert sum(told) == 20
    told.clear()
    run(SOURCE, tmp_path, on_shard=told.append)
    assert sum(told) == 20


@dataclass(frozen=True)
class BreakingReader:
    """The same rows, unreadable from row 8 to 15."""

    reader: MadeReader

    def read(self, rows):
        if rows[0].row == 8:
            raise OSError("the disk was pulled out")
        return self.reader.read(rows)


@dataclass(frozen=True)
class BreakingSource(MadeSource):
    def reader(self) -> BreakingReader:
        return BreakingReader(super().reader())


def test_an_interrupted_ingest_is_finished_with_the_same_bytes(
    corpus_folder: Path, tmp_path: Path
) -> None:
    broken = run(BreakingSource(ROWS), tmp_path)
    assert [outcome.shard.index for outcome in broken.failures] == [1]
    assert broken.num_kept == 12
    assert len(Corpus(str(tmp_path))) == 12  # readable as it stands
    assert not (tmp_path / "tables").exists()
    finished = run(SOURCE, tmp_path)
    assert finished.num_written == 1
    ours = {name: data for name, data in content(tmp_path).items() if "private" not in name}
    theirs = {name: data for name, data in content(corpus_folder).items() if "private" not in name}
    assert ours == theirs


@pytest.mark.parametrize(
    ("source", "settings", "said"),
    [
        (MadeSource(ROWS, version=2), SMALL, "version is 1 there, 2 was asked for"),
        (MadeSource(ROWS[:19]), SMALL, "num_rows is 20 there, 19"),
        (SOURCE, replace_settings(split_salt="other"), "split_salt is 'ecgtwin' there, 'other'"),
        (
            SOURCE,
            replace_settings(signal={"highpass_hz": 0.5}),
            "highpass_hz is None there, 0.5 was asked for",
        ),
    ],
)
def test_another_source_or_settings_is_refused_and_nothing_changes(
    corpus_folder: Path, source: MadeSource, settings: IngestSpec, said: str
) -> None:
    before = content(corpus_folder)
    with pytest.raises(CohortMismatchError, match="nothing was changed") as caught:
        run(source, corpus_folder, settings)
    assert said in str(caught.value)
    assert content(corpus_folder) == before


def test_the_share_of_rejects_that_stops_is_no_part_of_what_the_corpus_is(
    corpus_folder: Path,
) -> None:
    assert run(SOURCE, corpus_folder, replace_settings(max_reject_share=0.9)).num_written == 0


def test_rejects_keep_row_reason_kind_and_value(tmp_path: Path) -> None:
    flat = renamed(ROWS[1], samples_mv=ROWS[1].record.samples_mv * 0, record_id="flat")
    summary = run(MadeSource((UNREADABLE, flat, *ROWS[2:])), tmp_path)
    assert summary.rejected == {"header_missing": 1, "flat_lead": 1}
    rejects = read_rejects(str(tmp_path))
    assert rejects[0] == UNREADABLE
    assert rejects[1].record_id == "flat"
    assert rejects[1].kind == "flat_lead"
    assert "I" in rejects[1].value
    assert Corpus(str(tmp_path)).rows.tolist() == list(range(2, 20))
    assert Corpus(str(tmp_path)).columns["reason_value"][0] == "r.hea"
    found = pq.read_table(tmp_path / "tables" / "rejects-000000.parquet").to_pydict()
    assert found["row"] == [0, 1]
    assert found["reason_kind"] == ["header_missing", "flat_lead"]


def test_too_many_rejects_stop_and_a_larger_share_goes_on(tmp_path: Path) -> None:
    bad = tuple(replace(UNREADABLE, record_id=f"r{number}") for number in range(16))
    source = MadeSource((*bad, *ROWS))  # 16 of 36
    stopped = run(source, tmp_path)
    assert stopped.was_stopped
    assert stopped.num_written == 1  # the first shard of eight rejects says enough
    assert stopped.rejected == {"header_missing": 8}
    assert "--max-reject-share" in stopped.text()
    again = run(source, tmp_path)
    assert again.was_stopped
    assert again.num_written == 0
    finished = run(source, tmp_path, replace_settings(max_reject_share=0.5))
    assert not finished.was_stopped
    assert (finished.num_kept, finished.rejected) == (20, {"header_missing": 16})


def test_a_damaged_description_is_no_corpus(tmp_path: Path) -> None:
    run(SOURCE, tmp_path)
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(DamageError, match="is damaged"):
        run(SOURCE, tmp_path)


@pytest.mark.parametrize("name", ["tables/records-000000.parquet", "plan/records-000000.parquet"])
def test_verify_finds_a_damaged_or_missing_table(tmp_path: Path, name: str) -> None:
    run(SOURCE, tmp_path)
    assert verify(str(tmp_path)) == []
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:-40])
    assert [name in line for line in verify(str(tmp_path))] == [True]
    (tmp_path / name).unlink()
    assert [name in line for line in verify(str(tmp_path))] == [True]


def test_a_damaged_table_is_never_read_as_data(tmp_path: Path) -> None:
    run(SOURCE, tmp_path)
    target = tmp_path / "tables" / "records-000000.parquet"
    target.write_bytes(target.read_bytes()[:-40])
    with pytest.raises(DamageError):
        Corpus(str(tmp_path))


def test_the_tables_of_another_content_are_refused(corpus_folder: Path, tmp_path: Path) -> None:
    run(SOURCE, tmp_path / "mine")
    run(MadeSource(ROWS[:12]), tmp_path / "other")
    name = "tables/records-000000.parquet"
    (tmp_path / "mine" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(DamageError, match="not those that were written"):
        Corpus(str(tmp_path / "mine"))


def test_a_known_corpus_must_be_finished(tmp_path: Path) -> None:
    run(BreakingSource(ROWS), tmp_path / "half")
    settings = replace_settings(known=[str(tmp_path / "half")])
    with pytest.raises(StoreError, match="is not finished"):
        run(SOURCE, tmp_path / "corpus", settings)
    assert not (tmp_path / "corpus").exists()


def test_real_records_keep_their_official_folds(real_data: Path, tmp_path: Path) -> None:
    source = open_source(real_data / "ptbxl", settings=replace_settings(limit=60))
    run(source, tmp_path, replace_settings(limit=60))
    corpus = Corpus(str(tmp_path))
    assert len(corpus) >= 58
    official = corpus.column("official_split")
    assert {*official} == {"train", "validation", "test"}
    assert all(
        found == wanted
        for found, wanted in zip(corpus.column("split"), official, strict=True)
        if wanted != "train"
    )


def test_an_ingest_that_is_not_finished_neither_trains_nor_packs(tmp_path: Path) -> None:
    """Its persons and splits are not settled yet."""
    run(BreakingSource(ROWS), tmp_path)
    assert not Corpus(str(tmp_path)).is_settled
    with pytest.raises(StoreError, match="not finished"):
        open_origin(str(tmp_path))
    run(SOURCE, tmp_path)
    assert Corpus(str(tmp_path)).is_settled
    open_origin(str(tmp_path))


def test_verify_misses_a_shard_of_a_finished_corpus(tmp_path: Path) -> None:
    run(SOURCE, tmp_path)
    (tmp_path / "manifest" / "shard-000000001.parquet").unlink()
    assert ["shard-000000001" in line for line in verify(str(tmp_path))] == [True]


def test_a_filled_gap_does_not_lose_the_measurements(tmp_path: Path) -> None:
    holed = ROWS[0].record.samples_mv.copy()
    holed[7, 300] = np.nan
    run(MadeSource((ROWS[0], renamed(ROWS[0], samples_mv=holed, record_id="holed"))), tmp_path)
    corpus = Corpus(str(tmp_path))
    assert corpus.column("flags")[1] == ["gap_filled:V2"]
    for name in ("num_beats", "measured_heart_rate_bpm", "qrs_ms"):
        whole, filled = corpus.column(name)
        assert filled == pytest.approx(whole, rel=0.03)


def test_swapped_leads_cannot_be_refused_unmeasured() -> None:
    with pytest.raises(SpecificationError, match="needs measure: true"):
        replace_settings(measure=False, quality={"swapped_limb_leads": "reject"})
