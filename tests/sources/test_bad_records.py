"""Bad records among good ones: each a row with its reason, and the good ones as if alone."""

from collections import Counter
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

SETTINGS = IngestSpec(rows_per_shard=4, rows_per_chunk=4, max_reject_share=1.0)


def ingest_folder(folder: Path, url: Path) -> IngestSummary:
    return ingest(
        open_source(folder, settings=SETTINGS),
        str(url),
        settings=SETTINGS,
        executor=LocalExecutor(max_tries=1),
    )


def spoil(folder: Path) -> None:
    """Spoil rec1 to rec9 of rec0 to rec10, each in its own way; mend nothing of rec3 but a name."""
    records = {record.record_id: record for record in write_tree(folder, 11)}
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
    short = records["rec7"].samples_mv[:, :2000]
    write_wfdb(replace(records["rec7"], samples_mv=short), folder)
    gap = records["rec8"].samples_mv.copy()
    gap[2, 1000:1100] = np.nan
    write_wfdb(replace(records["rec8"], samples_mv=gap), folder)
    other = bytearray((folder / "rec9.dat").read_bytes())
    other[5000] ^= 64
    (folder / "rec9.dat").write_bytes(other)


# Kind, what is said, and what was found.
REASONS = {
    "rec1": ("signal_truncated", "the signal file does not fit the header", "40000 bytes"),
    "rec2": ("signal_missing", "the signal file is missing (rec2.dat", "rec2.dat"),
    "rec4": (
        "lead_missing",
        "leads III, aVR, aVL, aVF, V1, V2, V3, V4, V5, V6 are missing (found I, II)",
        "III, aVR, aVL, aVF, V1, V2, V3, V4, V5, V6",
    ),
    "rec5": ("lead_empty", "no sample is a number (all NaN) in lead V3", "V3"),
    "rec6": ("flat_lead", "flat for 2.5 s or more in lead V1", None),
    "rec7": ("too_short", "the recording is too short: 4.00 s", None),
    "rec8": ("nan_gap", "no finite value (NaN) in lead III for 200 ms", None),
    "rec9": (
        "checksum_mismatch",
        "the samples are not those that the header was written for",
        None,
    ),
}


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory) -> tuple[Path, IngestSummary]:
    folder = tmp_path_factory.mktemp("bad")
    spoil(folder / "records")
    url = folder / "corpus"
    return url, ingest_folder(folder / "records", url)


def test_the_run_goes_on(spoiled) -> None:
    _, summary = spoiled
    assert (summary.num_rows, summary.num_kept, summary.failures) == (11, 3, ())
    assert summary.rejected == dict(Counter(kind for kind, _, _ in REASONS.values()))
    assert summary.flags["header_repaired"] == 1


@pytest.mark.parametrize("record_id", REASONS)
def test_each_fault_has_its_reason_in_one_line(spoiled, record_id: str) -> None:
    url, _ = spoiled
    rejects = {reject.record_id: reject for reject in read_rejects(str(url))}
    assert set(rejects) == set(REASONS)
    kind, reason, value = REASONS[record_id]
    found = rejects[record_id]
    assert found.kind == kind
    assert found.reason.startswith(f"record {record_id}: ")
    assert reason in found.reason
    assert "\n" not in found.reason
    assert found.value == value or value is None


def test_a_rejected_record_keeps_its_row_without_samples(spoiled) -> None:
    corpus = Corpus(str(spoiled[0]))
    names = sorted(f"rec{number}" for number in range(11))
    kept = ["rec0", "rec10", "rec3"]
    assert corpus.columns["record_id"] == names
    assert corpus.columns["accepted"] == [name in kept for name in names]
    assert corpus.rows.tolist() == [names.index(name) for name in kept]
    steps = np.asarray(open_samples(str(spoiled[0]))[:])
    is_empty = (steps == FILL).all(axis=(1, 2))
    assert is_empty.tolist() == [name not in kept for name in names]
    assert not (steps[~is_empty] == FILL).any()


def test_the_good_records_are_as_if_alone(spoiled, tmp_path: Path) -> None:
    write_tree(tmp_path / "records", 11)
    ingest_folder(tmp_path / "records", tmp_path / "corpus")
    alone, among = Corpus(str(tmp_path / "corpus")), Corpus(str(spoiled[0]))
    same = [alone.columns["record_id"].index(name) for name in ("rec0", "rec10", "rec3")]
    assert (alone.samples_mv(same) == among.samples_mv([0, 1, 2])).all()
    rates = [60 + 4 * int(name[3:]) for name in alone.columns["record_id"]]
    assert alone.column("heart_rate_bpm") == pytest.approx(rates, rel=0.03)
    assert among.column("heart_rate_bpm") == pytest.approx([60, 100, 72], rel=0.03)
