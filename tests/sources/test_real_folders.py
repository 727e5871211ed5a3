"""Every folder of real ECGs becomes a corpus, with exactly these counts."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from ecgtwin.errors import SourceError
from ecgtwin.signals.leads import LEADS
from ecgtwin.sources.ingest_summary import IngestSummary, read_rejects
from ecgtwin.sources.opening import open_archive
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.reader import Corpus
from ecgtwin.store.verify import verify
from tests.sources.made import run


@dataclass(frozen=True)
class Counts:
    """What an ingest of a folder gives. ``copies``: rows whose recording came before."""

    kind: str
    rows: int
    patients: int
    rejected: dict[str, int] = field(default_factory=dict)
    copies: int = 0
    repaired: int = 0
    pairs: int = 0


FOLDERS = {
    # PTB-XL holds 137, 143, 456 and 459 twice, and 145 again as 463, of another patient id
    "ptbxl": Counts("ptbxl", 500, 464, {"amplitude_high": 1}, copies=5, pairs=55),
    "challenge2020": Counts(
        "challenge", 148, 122, {"flat_lead": 4, "amplitude_high": 2}, repaired=22
    ),
    "challenge2020/georgia": Counts("challenge", 37, 37, repaired=22),
    "challenge2020/chapman_ningbo": Counts("challenge", 43, 40, {"flat_lead": 3}),
    "challenge2020/cpsc2018": Counts("challenge", 8, 7),
    "challenge2020/cpsc2018_native_mat": Counts("challenge", 12, 5, {"flat_lead": 1}),
    "challenge2020/cpsc_extra": Counts("challenge", 28, 15),
    # two records whose headers say a gain of 200 and 10 to 13 mV
    "challenge2020/ptbxl_hr": Counts("challenge", 20, 18, {"amplitude_high": 2}),
    # s0010_re is S0001 in its original form: three windows twice
    "ptb_diagnostic": Counts("ptb", 50, 5, copies=3),
    "ludb": Counts("wfdb", 200, 200),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_gives_these_counts(name: str, real_data: Path, tmp_path: Path) -> None:
    wanted = FOLDERS[name]
    summary = ingest_folder(real_data / name, wanted.kind, tmp_path)
    found = Counts(
        wanted.kind,
        rows=summary.num_rows,
        patients=summary.num_patients,
        rejected=summary.rejected,
        copies=summary.num_copies,
        repaired=summary.flags.get("header_repaired", 0),
        pairs=summary.num_pairs,
    )
    assert found == wanted
    assert summary.num_kept == wanted.rows - sum(wanted.rejected.values())
    assert summary.num_without_rate == 0
    corpus = Corpus(str(tmp_path))
    assert len(corpus) == summary.num_kept
    assert {"train"} < set(corpus.column("split")) <= {"train", "validation", "test"}
    for reject in read_rejects(str(tmp_path)):
        assert reject.kind in wanted.rejected
        assert reject.record_id in reject.reason
        assert reject.value
    assert verify(str(tmp_path)) == []


def _checksum(samples: np.ndarray) -> int:
    return int(samples.sum(dtype=np.int64).astype(np.int16))


def ingest_folder(folder: Path, kind: str, url: Path, **more: object) -> IngestSummary:
    settings = IngestSpec.parse(more, origin="test")
    summary = run(open_archive(kind, str(folder), settings), url, settings)
    assert not summary.failures, summary.failures[0].error
    assert not summary.was_stopped
    return summary


def test_the_challenges_ptbxl_records_are_ptbxls_own_people(
    real_data: Path, tmp_path: Path
) -> None:
    """Five of them are among the first 500 of PTB-XL: all are found, whatever they are called."""
    ingest_folder(real_data / "ptbxl", "ptbxl", tmp_path / "ptbxl", measure=False)
    summary = ingest_folder(
        real_data / "challenge2020",
        "challenge",
        tmp_path / "challenge",
        known=[str(tmp_path / "ptbxl")],
        measure=False,
    )
    first, later = Corpus(str(tmp_path / "ptbxl")), Corpus(str(tmp_path / "challenge"))
    person = dict(zip(first.column("record_id"), first.column("person_id"), strict=True))
    split = dict(zip(first.column("record_id"), first.column("split"), strict=True))
    shared = {
        record: (owner, kept)
        for record, owner, kept, recording in zip(
            *(later.column(name) for name in ("record_id", "person_id", "split", "recording_id")),
            strict=True,
        )
        if recording.startswith("ptbxl:")
    }
    assert summary.num_copies == 5
    assert sorted(Path(name).name for name in shared) == [
        "HR00001", "HR00003", "HR00005", "HR00007", "HR00009",
    ]  # fmt: skip
    for record, (owner, kept) in shared.items():
        ecg_id = str(int(Path(record).name.removeprefix("HR")))
        assert owner == person[ecg_id]
        assert kept == split[ecg_id]


def test_ptbxls_folds_never_train_even_where_only_the_challenge_is_there(
    real_data: Path, tmp_path: Path
) -> None:
    folder = real_data / "challenge2020" / "ptbxl_hr"
    ingest_folder(folder, "challenge", tmp_path, measure=False)
    corpus = Corpus(str(tmp_path))
    official = corpus.column("official_split")
    assert None not in official
    assert corpus.column("split") == official
    assert Counter(official)["test"] + Counter(official)["validation"] >= 1


def test_long_records_are_cut_into_windows_that_are_told_apart(
    real_data: Path, tmp_path: Path
) -> None:
    ingest_folder(real_data / "ptb_diagnostic", "ptb", tmp_path, measure=False)
    corpus = Corpus(str(tmp_path))
    starts = starts_by_record(corpus)
    assert starts["S0002"] == [10.0 * window for window in range(len(starts["S0002"]))]
    assert len(starts["S0002"]) == 11  # of 115.2 s
    assert len(starts["S0001"]) == 3  # of 38.4 s


def starts_by_record(corpus: Corpus) -> dict[str, list[float]]:
    starts: dict[str, list[float]] = {}
    rows = zip(corpus.column("record_id"), corpus.column("window_start_s"), strict=True)
    for record, start in rows:
        starts.setdefault(Path(record).name, []).append(float(start))
    return starts


def test_ptbxls_folds_never_train_as_a_plain_tree_either(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "challenge2020" / "ptbxl_hr"
    ingest_folder(folder, "challenge", tmp_path / "challenge", measure=False)
    ingest_folder(folder, "wfdb", tmp_path / "wfdb", measure=False)
    splits = [Corpus(str(tmp_path / kind)).column("split") for kind in ("challenge", "wfdb")]
    assert splits[0] == splits[1]
    assert "test" in splits[0]


@pytest.mark.parametrize("kind", ["challenge", "ptb", "wfdb", "mimic-iv-ecg"])
def test_ptbxl_is_read_with_its_table_or_not_at_all(real_data: Path, kind: str) -> None:
    with pytest.raises(SourceError, match="`ecgtwin ingest ptbxl SRC DEST`"):
        open_archive(kind, str(real_data / "ptbxl"), IngestSpec())


def test_cinc_2011_as_the_wfdb_tree_that_it_is_packed_from(real_data: Path, tmp_path: Path) -> None:
    """773 recordings without labels; the file holds their differences, 5 uV a step, 500 Hz."""
    packed = np.load(real_data / "cinc2011" / "cinc2011_groupI_500hz_delta_int16.npz")
    steps = np.cumsum(packed["dx_adc"], axis=1, dtype=np.int16)
    assert packed["leads"].tolist() == list(LEADS)
    folder = tmp_path / "cinc2011"
    folder.mkdir()
    for number, one in enumerate(steps):
        lines = [f"r{number:04d} {len(LEADS)} 500 {len(one)}"]
        lines += [
            f"r{number:04d}.dat 16 200/mV 16 0 {lead[0]} {_checksum(lead)} 0 {name}"
            for name, lead in zip(packed["leads"].tolist(), one.T, strict=True)
        ]
        (folder / f"r{number:04d}.hea").write_text("\n".join(lines) + "\n")
        (folder / f"r{number:04d}.dat").write_bytes(one.astype("<i2").tobytes())
    summary = ingest_folder(folder, "wfdb", tmp_path / "corpus", max_reject_share=1.0)
    assert (summary.num_rows, summary.num_kept, summary.num_copies) == (773, 705, 0)
    assert summary.rejected == {"amplitude_high": 58, "flat_lead": 10}  # jumps of the baseline


def test_a_folder_of_another_kind_is_refused(real_data: Path) -> None:
    with pytest.raises(SourceError, match=r"ptbxl_database\.csv"):
        open_archive("ptbxl", str(real_data / "ludb"), IngestSpec())
