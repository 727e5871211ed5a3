"""Bad records among good ones: each a row with its reason, and the good ones as if alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecgtwin.executors.local import LocalExecutor
from ecgtwin.sources.ingest import ingest
from ecgtwin.sources.ingest_summary import IngestSummary, read_rejects
from ecgtwin.sources.opening import open_source
from ecgtwin.sources.wfdb_records import write_wfdb
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.layout import FILL
from ecgtwin.store.reader import Corpus
from ecgtwin.store.zarr_shards import open_samples
from tests.sources.records import edit_header, with_empty_lead, write_tree

SETTINGS = IngestSpec(rows_per_shard=4, rows_per_chunk=4)


def spoil(folder: Path) -> None:
    """Spoil rec1 to rec8 of rec0 to rec9, each in its own way."""
    records = {record.record_id: record for record in write_tree(folder, 10)}
    dat = (folder / "rec1.dat").read_bytes()
    (folder / "rec1.dat").write_bytes(dat[: len(dat) // 3])
    (folder / "rec2.dat").unlink()
    edit_header(folder / "rec3.hea", "rec3 12 500", "rec3.mat 12 500")
    two = (folder / "rec4.hea").read_text().replace("rec4 12", "rec4 2").splitlines()[:3]
    (folder / "rec4.hea").write_text("\n".join(two) + "\n")
    write_wfdb(with_empty_lead(records["rec5"], 8), folder)
    flat = records["rec6"].samples_mv.copy()
    flat[6] = 0.2
    write_wfdb(replace(records["rec6"], samples_mv=flat), folder)
    short = records["rec7"].samples_mv[:, :3000]
    write_wfdb(replace(records["rec7"], samples_mv=short), folder)
    gap = records["rec8"].samples_mv.copy()
    gap[2, 1000:1100] = np.nan
    write_wfdb(replace(records["rec8"], samples_mv=gap), folder)


REASONS = {
    "rec1": "the signal file does not fit the header",
    "rec2": "the signal file is missing (rec2.dat",
    "rec3": "the header is not WFDB (rec3.hea",
    "rec4": "leads III, aVR, aVL, aVF, V1, V2, V3, V4, V5, V6 are missing (found I, II)",
    "rec5": "no sample is a number (all NaN) in lead V3",
    "rec6": "flat for 2.5 s or more in lead V1",
    "rec7": "the recording is too short: 6.00 s, 10.00 s are needed",
    "rec8": "lead III has no finite value (NaN) for 200 ms",
}


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory) -> tuple[Path, IngestSummary]:
    folder = tmp_path_factory.mktemp("bad")
    spoil(folder / "records")
    source = open_source(folder / "records")
    url = folder / "corpus"
    summary = ingest(source, str(url), settings=SETTINGS, executor=LocalExecutor(max_tries=1))
    return url, summary


def test_the_run_goes_on(spoiled) -> None:
    _, summary = spoiled
    assert (summary.num_rows, summary.num_kept, summary.failures) == (10, 2, ())
    assert sum(summary.rejected.values()) == 8


@pytest.mark.parametrize("record_id", REASONS)
def test_each_fault_has_its_reason_in_one_line(spoiled, record_id: str) -> None:
    url, _ = spoiled
    reasons = {reject.record_id: reject.reason for reject in read_rejects(str(url))}
    assert set(reasons) == set(REASONS)
    assert reasons[record_id].startswith(f"record {record_id}: {REASONS[record_id]}")
    assert "\n" not in reasons[record_id]


def test_a_rejected_record_keeps_its_row_without_samples(spoiled) -> None:
    corpus = Corpus(str(spoiled[0]))
    assert corpus.columns["record_id"] == [f"rec{number}" for number in range(10)]
    assert corpus.columns["accepted"] == [True, *[False] * 8, True]
    assert corpus.rows.tolist() == [0, 9]
    steps = np.asarray(open_samples(str(spoiled[0]))[:])
    assert (steps[1:9] == FILL).all()
    assert not (steps[[0, 9]] == FILL).any()


def test_the_good_records_are_as_if_alone(spoiled, tmp_path: Path) -> None:
    write_tree(tmp_path / "records", 10)
    ingest(
        open_source(tmp_path / "records"),
        str(tmp_path / "corpus"),
        settings=SETTINGS,
        executor=LocalExecutor(max_tries=1),
    )
    alone, among = Corpus(str(tmp_path / "corpus")), Corpus(str(spoiled[0]))
    assert (alone.samples_mv([0, 9]) == among.samples_mv([0, 1])).all()
    assert among.column("heart_rate_bpm") == pytest.approx([60, 96], rel=0.03)
    assert alone.column("heart_rate_bpm") == pytest.approx(
        [60 + 4 * number for number in range(10)], rel=0.03
    )
