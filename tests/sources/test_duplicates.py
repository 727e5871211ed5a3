"""The same recording from two sources: found, and its person and split inherited."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecgtwin.errors import SpecificationError
from ecgtwin.signals.fingerprint import differing_bits, fingerprint_words
from ecgtwin.signals.preprocess import resample
from ecgtwin.sources.duplicates import MAX_BITS, copies, joined
from ecgtwin.sources.simulated import SimulatedSource, simulate_one
from ecgtwin.sources.source import SourceRow
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.reader import Corpus
from tests.sources.made import SMALL, MadeSource, renamed, run, visits

ROWS = visits(seed=5, persons=24)


def disguised(row: SourceRow, how: str, name: str) -> SourceRow:
    """Return the recording as another source would have it."""
    record = row.record
    samples, rate = np.asarray(record.samples_mv, np.float64), record.sampling_rate_hz
    if how == "rate":
        samples, rate = resample(samples, from_hz=rate, to_hz=250.0), 250.0
    elif how == "gain":
        samples = samples * 1.04
    elif how == "steps":
        samples = np.round(samples / 0.02) * 0.02
    elif how == "offset":
        samples = samples + np.linspace(-0.3, 0.2, 12)[:, None]
    elif how == "noise":
        samples = samples + 0.01 * np.random.default_rng(0).standard_normal(samples.shape)
    ids = {"record_id": name, "patient_id": f"of {name}", "sampling_rate_hz": rate}
    return renamed(row, samples_mv=samples.astype(np.float32), **ids)


HOWS = ("same", "rate", "gain", "steps", "offset", "noise")


def known(url: Path) -> IngestSpec:
    return IngestSpec.parse(SMALL.model_dump() | {"known": [str(url)]}, origin="test")


@pytest.fixture(scope="module")
def two_sources(tmp_path_factory) -> tuple[Corpus, Corpus]:
    """Return a corpus, and a later one of which 24 of 44 records are in the first."""
    folder = tmp_path_factory.mktemp("sources")
    run(MadeSource(tuple(ROWS)), folder / "first")
    planted = [
        disguised(ROWS[2 * number], HOWS[number % len(HOWS)], f"copy-{number:02d}")
        for number in range(24)
    ]
    strangers = visits(seed=6, persons=10)
    rows = tuple(row for pair in zip(planted, planted, strict=True) for row in pair[:1])
    summary = run(
        MadeSource((*rows, *strangers), name="later"), folder / "later", known(folder / "first")
    )
    assert summary.num_copies == 24
    return Corpus(str(folder / "first")), Corpus(str(folder / "later"))


def test_every_planted_copy_inherits_person_and_split(two_sources) -> None:
    first, later = two_sources
    persons, splits = first.column("person_id"), first.column("split")
    for number in range(24):
        assert later.column("record_id")[number] == f"copy-{number:02d}"
        assert later.column("person_id")[number] == persons[2 * number]
        assert later.column("split")[number] == splits[2 * number]
        assert later.column("recording_id")[number] == first.column("recording_id")[2 * number]


def test_strangers_stay_who_they_are(two_sources) -> None:
    _, later = two_sources
    assert later.column("person_id")[24:] == [
        f"later:{patient}" for patient in later.column("patient_id")[24:]
    ]


def test_a_whole_patient_is_led_back_by_one_recording(tmp_path: Path) -> None:
    run(MadeSource(tuple(ROWS)), tmp_path / "first")
    copy = disguised(ROWS[0], "same", "a")
    other = renamed(visits(seed=9, persons=1)[0], record_id="b", patient_id="of a")
    run(MadeSource((copy, other), name="later"), tmp_path / "later", known(tmp_path / "first"))
    later = Corpus(str(tmp_path / "later"))
    assert set(later.column("person_id")) == {f"made:{ROWS[0].record.patient_id}"}
    assert len(set(later.column("recording_id"))) == 2


def test_copies_inside_one_source_are_one_person(tmp_path: Path) -> None:
    copy = disguised(ROWS[4], "steps", "again")
    summary = run(MadeSource((*ROWS[:8], copy)), tmp_path)
    corpus = Corpus(str(tmp_path))
    assert summary.num_copies == 1
    assert corpus.column("person_id")[8] == corpus.column("person_id")[4]
    assert corpus.column("recording_id")[8] == corpus.column("recording_id")[4]
    assert summary.num_pairs == 4  # the copy makes no pair with itself


def test_a_test_fold_never_trains_though_a_known_corpus_did(tmp_path: Path) -> None:
    run(MadeSource(tuple(replace(row, official_split="train") for row in ROWS)), tmp_path / "first")
    copy = replace(disguised(ROWS[0], "same", "a"), official_split="test")
    settings = known(tmp_path / "first")
    summary = run(MadeSource((copy,), name="later"), tmp_path / "later", settings)
    assert Corpus(str(tmp_path / "later")).column("split") == ["test"]
    assert summary.num_split_conflicts == 1
    assert "do not train on both" in summary.text()


def test_copies_finds_all_near_ones_and_no_far_one() -> None:
    random = np.random.default_rng(1)
    words = random.integers(0, 2**64, (3000, 4), dtype=np.uint64)
    originals = random.choice(2000, 300, replace=False)
    for place, original in enumerate(originals, start=2500):
        words[place] = words[original]
        for bit in random.choice(256, random.integers(0, 16), replace=False):
            words[place, bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    first = copies(words[: 2500 + 300], lambda a, b: a >= 0)
    assert first[2500:].tolist() == originals.tolist()
    assert first[:2500].tolist() == list(range(2500))


def test_known_rows_are_not_compared_with_each_other() -> None:
    words = np.zeros((3, 4), dtype=np.uint64)
    assert copies(words, lambda a, b: a >= 0, num_known=2).tolist() == [0, 1, 0]
    assert copies(words[:0], lambda a, b: a >= 0).tolist() == []


def test_what_is_not_confirmed_is_no_copy() -> None:
    words = np.zeros((4, 4), dtype=np.uint64)
    first = copies(words, lambda a, b: (a == 1) & (b == 3))
    assert first.tolist() == [0, 1, 2, 1]


def test_paced_persons_at_one_rate_stay_apart(tmp_path: Path) -> None:
    """Their fingerprints may be as near as those of copies; the details are not."""
    rows = [
        simulate_one(
            seed=77,
            person=person,
            visit=0,
            state="paced rhythm",
            heart_rate_bpm=70.0,
            sampling_rate_hz=100.0,
        )
        for person in range(240)
    ]
    copy = disguised(rows[7], "noise", "copy")
    summary = run(MadeSource((*rows, copy)), tmp_path)
    corpus = Corpus(str(tmp_path))
    words = fingerprint_words(list(corpus.column("fingerprint")))
    bits = differing_bits(words[:, None], words[None])[np.triu_indices(240, 1)]
    assert bits.min() <= MAX_BITS  # else this tests nothing
    assert summary.num_copies == 1
    assert len(set(corpus.column("person_id"))) == 240


def test_persons_are_joined_through_others() -> None:
    first = joined(7, [(5, 3), (3, 1), (6, 5), (2, 4)])
    assert first.tolist() == [0, 1, 2, 1, 2, 1, 1]


def test_real_copies_are_near_and_strangers_are_far(real_data: Path, tmp_path: Path) -> None:
    """PTB-XL at 500 and 100 Hz: the same recordings, beside all others."""
    from ecgtwin.sources.opening import open_archive

    words = []
    for rate in (500, 100):
        settings = IngestSpec(limit=100, ptbxl_rate_hz=rate, measure=False)
        source = open_archive("ptbxl", str(real_data / "ptbxl"), settings)
        run(source, tmp_path / str(rate), settings)
        corpus = Corpus(str(tmp_path / str(rate)))
        assert len(corpus) >= 95
        marks = dict(zip(corpus.column("record_id"), corpus.column("fingerprint"), strict=True))
        words.append(marks)
    both = sorted(set(words[0]) & set(words[1]))
    fast, slow = (fingerprint_words([marks[name] for name in both]) for marks in words)
    bits = differing_bits(fast[:, None], slow[None])
    same = np.eye(len(both), dtype=bool)
    assert bits[same].max() <= MAX_BITS
    assert bits[~same].min() > 1.5 * MAX_BITS


def test_two_simulated_populations_are_different_people(tmp_path: Path) -> None:
    for seed in (0, 1):
        source = SimulatedSource(seed, num_persons=3, visits_per_person=1, sampling_rate_hz=100.0)
        run(source, tmp_path / str(seed))
    persons = [set(Corpus(str(tmp_path / name)).column("person_id")) for name in "01"]
    assert len(persons[0] | persons[1]) == 6


def named(**changes: object) -> IngestSpec:
    return IngestSpec.parse(SMALL.model_dump() | changes, origin="test")


def test_trees_of_two_hospitals_need_names_for_their_numbers(tmp_path: Path) -> None:
    here, there = MadeSource(tuple(ROWS[:8]), name="wfdb"), MadeSource(
        tuple(renamed(row, patient_id=ROWS[0].record.patient_id) for row in ROWS[20:24]),
        name="wfdb",
        version=2,
    )  # fmt: skip
    first = tmp_path / "here"
    run(here, first)
    with pytest.raises(SpecificationError, match="--set archive=NAME"):
        run(there, tmp_path / "there", known(first))
    run(there, tmp_path / "there", named(known=[str(first)], archive="there"))
    theirs = Corpus(str(tmp_path / "there")).column("person_id")
    assert set(theirs) == {f"there:{ROWS[0].record.patient_id}"}


def test_a_known_person_is_known_by_the_own_number_too(tmp_path: Path) -> None:
    """A copy made patient P of a later archive the person X; the next part of it has no copy."""
    x = replace(renamed(ROWS[0], patient_id="X"), official_split="test")
    run(MadeSource((x,), name="first"), tmp_path / "a")
    copy = renamed(disguised(ROWS[0], "same", "copy"), patient_id="P")
    other = renamed(ROWS[10], patient_id="P", record_id="other")
    run(MadeSource((copy, other), name="second"), tmp_path / "b", known(tmp_path / "a"))
    part = MadeSource((renamed(ROWS[20], patient_id="P", record_id="more"),), name="second")
    both = named(known=[str(tmp_path / "a"), str(tmp_path / "b")])
    run(part, tmp_path / "c", both)
    corpus = Corpus(str(tmp_path / "c"))
    assert (corpus.column("person_id"), corpus.column("split")) == (["first:X"], ["test"])


def test_rows_of_another_length_are_not_compared_in_silence(tmp_path: Path) -> None:
    run(MadeSource(tuple(ROWS[:4])), tmp_path / "first")
    short = named(known=[str(tmp_path / "first")], num_samples=512)
    with pytest.raises(SpecificationError, match="rows of one length"):
        run(MadeSource(tuple(ROWS[:4]), name="later"), tmp_path / "later", short)


def test_copies_are_found_between_corpora_of_unlike_rates(tmp_path: Path) -> None:
    run(MadeSource(tuple(ROWS[:8])), tmp_path / "first")
    slow = named(known=[str(tmp_path / "first")], sampling_rate_hz=50.0, num_samples=500)
    summary = run(MadeSource(tuple(ROWS[:8]), name="later"), tmp_path / "later", slow)
    assert summary.num_copies == 8


def test_a_conflict_made_by_joining_two_known_persons_is_told(tmp_path: Path) -> None:
    x, y = (
        replace(row, official_split=split) for row, split in ((ROWS[0], "train"), (ROWS[4], "test"))
    )
    run(MadeSource((x, y)), tmp_path / "first")
    copies_of_both = tuple(
        renamed(disguised(row, "same", name), patient_id="both")
        for row, name in ((ROWS[0], "a"), (ROWS[4], "b"))
    )
    summary = run(
        MadeSource(copies_of_both, name="later"), tmp_path / "later", known(tmp_path / "first")
    )
    assert summary.records_by_split == {"test": 2}
    assert summary.num_split_conflicts == 1
