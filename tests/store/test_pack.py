"""A pack: whole persons of a corpus in one file that numpy alone can read."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ecgtwin.cli import main
from ecgtwin.errors import DamageError, SpecificationError, StoreError
from ecgtwin.signals.leads import INDEPENDENT_LEADS, take_leads
from ecgtwin.signals.preprocess import resample
from ecgtwin.store.objects import read_object
from ecgtwin.store.pack import encode_pack, read_pack
from ecgtwin.store.pack_choice import PersonRows, fair_order
from ecgtwin.store.pack_cutting import cut_pack
from ecgtwin.store.reader import Corpus
from tests.training.corpora import Row, many_rows, write_corpus

KIB = 1024


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(str(tmp_path_factory.mktemp("pack") / "corpus"), many_rows(40))


def columns_of(pack, name):
    return [pack.columns[name][row] for row in range(len(pack))]


def test_everything_fits_and_comes_back_as_it_was(corpus, tmp_path):
    out = str(tmp_path / "all.npz")
    summary = cut_pack(corpus, out)
    pack, whole = read_pack(out), Corpus(corpus)
    assert summary.num_rows == len(pack) == len(whole)
    assert (pack.sampling_rate_hz, pack.num_samples, pack.corpus_digest) == (102.4, 1024, "c0ffee")
    by_samples = {
        take_leads(one, INDEPENDENT_LEADS).tobytes(): row
        for row, one in enumerate(whole.samples_mv(np.arange(len(whole))))
    }
    samples_mv = pack.samples_mv(np.arange(len(pack)))
    rows = [by_samples[take_leads(one, INDEPENDENT_LEADS).tobytes()] for one in samples_mv]
    assert sorted(rows) == list(range(len(whole)))
    np.testing.assert_allclose(samples_mv, whole.samples_mv(rows), atol=0.0026)
    for name in ("split", "statements", "certainties", "sex", "window"):
        assert columns_of(pack, name) == [whole.column(name)[row] for row in rows]
    for name in ("age_years", "heart_rate_bpm"):
        known = np.array(columns_of(pack, name), dtype=float)
        np.testing.assert_array_equal(known, whole.column(name)[rows])
    names = [whole.column("person_id")[row] for row in rows]
    pairs = set(zip(columns_of(pack, "person"), names, strict=True))
    assert len(pairs) == len(set(names)) == len({person for person, _ in pairs})
    recordings = [(whole.column("recording_id")[row]) for row in rows]
    own = zip(columns_of(pack, "person"), columns_of(pack, "recording"), strict=True)
    assert len(set(zip(own, recordings, strict=True))) == len(set(recordings))


def test_steps_survive_whatever_they_are(rng, tmp_path):
    steps = rng.integers(-32767, 32768, (3, 8, 50)).astype(np.int16)
    steps[0, 0, :4] = [32767, -32767, -32768, 32767]
    columns = {
        "person": ["a"] * 3, "recording": ["0"] * 3, "window": [0] * 3, "visit": [0] * 3,
        "split": ["train"] * 3, "age_years": [None] * 3, "sex": ["male"] * 3,
        "heart_rate_bpm": [None] * 3, "statements": [["ä"]] * 3, "certainties": [["definite"]] * 3,
    }  # fmt: skip
    about = {"step_mv": 0.005, "sampling_rate_hz": 102.4, "corpus_digest": "x"}
    data = encode_pack(steps, columns, **about)
    assert data == encode_pack(steps, columns, **about)
    path = tmp_path / "it.npz"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_pack(str(path)).steps, steps)
    with pytest.raises(ValueError, match="are needed"):
        encode_pack(steps[:2], columns, **about)


@pytest.mark.parametrize("kibibytes", [40, 120, 300])
def test_the_limit_holds_and_is_used(corpus, tmp_path, kibibytes):
    out = tmp_path / "some.npz"
    summary = cut_pack(corpus, str(out), max_bytes=kibibytes * KIB)
    size = out.stat().st_size
    assert summary.num_bytes == size <= kibibytes * KIB
    assert size > 0.7 * kibibytes * KIB  # a person more would be too much
    pack, whole = read_pack(str(out)), Corpus(corpus)
    assert 0 < len(pack) < len(whole)
    counts = np.unique(columns_of(pack, "person"), return_counts=True)[1]
    assert sum(counts) == len(pack)


def test_persons_are_whole_the_same_each_time_and_others_with_another_seed(corpus, tmp_path):
    first, again, other = (str(tmp_path / f"{name}.npz") for name in ("one", "two", "three"))
    cut_pack(corpus, first, max_bytes=100 * KIB)
    cut_pack(corpus, again, max_bytes=100 * KIB)
    cut_pack(corpus, other, max_bytes=100 * KIB, seed=1)
    assert Path(first).read_bytes() == Path(again).read_bytes()
    all_out = str(tmp_path / "all.npz")
    cut_pack(corpus, all_out)
    rows_of = {
        name: dict(
            zip(*np.unique(columns_of(read_pack(url), "person"), return_counts=True), strict=True)
        )
        for name, url in (("first", first), ("other", other), ("all", all_out))
    }
    assert set(rows_of["first"]) != set(rows_of["other"])
    for person, count in rows_of["first"].items():
        assert rows_of["all"][person] == count


def test_nothing_in_it_names_a_patient(tmp_path):
    rows = [Row(f"patient-jane-{number}", f"study-doe-{number}") for number in range(6)]
    url = write_corpus(str(tmp_path / "corpus"), rows)
    cut_pack(url, str(tmp_path / "pack.npz"))
    with np.load(tmp_path / "pack.npz", allow_pickle=False) as file:
        text = b"".join(file[name].tobytes() for name in file.files)
    assert b"jane" not in text
    assert b"doe" not in text
    assert b"person" in text
    same = write_corpus(str(tmp_path / "twin"), rows)  # another key
    cut_pack(same, str(tmp_path / "other.npz"))
    persons = [
        set(read_pack(str(tmp_path / f"{name}.npz")).columns["person"])
        for name in ("pack", "other")
    ]
    assert not persons[0] & persons[1]


def test_a_split_alone_can_be_packed(corpus, tmp_path):
    out = str(tmp_path / "held.npz")
    summary = cut_pack(corpus, out, splits=["validation", "test"])
    assert (
        set(read_pack(out).columns["split"]) == {"validation", "test"} == set(summary.rows_of_split)
    )
    url = write_corpus(str(tmp_path / "few"), [Row("p", "r", "validation")])
    with pytest.raises(SpecificationError, match="has no split train; it has validation"):
        cut_pack(url, str(tmp_path / "none.npz"), splits=["train"])


def persons(split, count, *, recordings=1, statements=("sinus rhythm",), start=0):
    return [
        PersonRows(f"{split}{number}", split, list(range(recordings)),
                   {str(one) for one in range(recordings)}, set(statements))
        for number in range(start, start + count)
    ]  # fmt: skip


def test_any_beginning_keeps_the_splits_and_prefers_pairs_and_rare_statements():
    population = [
        *persons("train", 6000),
        *persons("train", 2000, recordings=2, start=6000),
        *persons("train", 20, statements=("brugada",), start=8000),
        *persons("test", 2000),
    ]
    order = fair_order(population, seed=0)
    assert sorted(map(id, order)) == sorted(map(id, population))
    total = sum(len(person.rows) for person in population)
    of_test = 2000 / total
    taken, tested = 0, 0
    for person in order:
        taken += len(person.rows)
        tested += len(person.rows) * (person.split == "test")
        assert abs(tested - of_test * taken) < 5
    tenth = order[: len(order) // 10]
    singles = sum(len(person.rows) == 1 and person.split == "train" for person in tenth)
    paired = sum(len(person.rows) == 2 for person in tenth)
    assert paired / 2000 > 2 * singles / 6000
    assert sum("brugada" in person.statements for person in tenth) > 12  # of 20


def test_an_order_does_not_depend_on_that_of_the_corpus():
    population = persons("train", 50)
    names = [person.person_id for person in fair_order(population, seed=3)]
    assert names == [person.person_id for person in fair_order(population[::-1], seed=3)]
    assert names != [person.person_id for person in fair_order(population, seed=4)]


def test_a_corpus_at_another_rate_is_resampled(tmp_path):
    rows = many_rows(6)
    url = write_corpus(str(tmp_path / "fast"), rows, rate_hz=500.0, num_samples=5000)
    out = str(tmp_path / "pack.npz")
    summary = cut_pack(url, out)
    pack = read_pack(out)
    assert (pack.sampling_rate_hz, pack.num_samples) == (102.4, 1024)
    assert "resampled from 500 to 102.4 Hz" in summary.lines()
    row = pack.columns["window"].index(1)  # one row has a second window
    whole = Corpus(url)
    position = list(whole.column("window")).index(1)
    moved = resample(whole.samples_mv([position])[0], from_hz=500.0, to_hz=102.4)
    known = take_leads(pack.samples_mv(np.array([row]))[0], INDEPENDENT_LEADS)
    np.testing.assert_allclose(known, take_leads(moved, INDEPENDENT_LEADS), atol=0.0026)


def test_a_corpus_of_another_step_keeps_its_millivolts(tmp_path):
    url = write_corpus(str(tmp_path / "coarse"), many_rows(6), step_mv=0.01)
    out = str(tmp_path / "pack.npz")
    summary = cut_pack(url, out)
    pack, whole = read_pack(out), Corpus(url)
    assert (pack.step_mv, summary.resampled_from_hz) == (0.005, None)
    found, stored = (
        np.sort(take_leads(ecgs.samples_mv(np.arange(len(ecgs))), INDEPENDENT_LEADS).max(axis=2), 0)
        for ecgs in (pack, whole)
    )
    np.testing.assert_allclose(found, stored, atol=1e-6)


def test_mistakes_are_told(corpus, tmp_path, capsys):
    taken = tmp_path / "taken.npz"
    taken.write_bytes(b"mine")
    half = write_corpus(str(tmp_path / "half"), many_rows(), shards=(0,))
    for words, told in (
        ([corpus, str(taken)], "exists and was left as it is"),
        ([corpus, str(tmp_path / "pack.zip")], "ends with .npz"),
        ([str(tmp_path / "nowhere"), str(tmp_path / "a.npz")], "no cohort or corpus"),
        ([corpus, str(tmp_path / "a.npz"), "--max-mib", "0.001"], "raise the limit"),
        ([half, str(tmp_path / "a.npz")], "is not finished"),
    ):
        assert main(["corpus", "pack", *words]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert len(error.splitlines()) == 1
    with pytest.raises(SystemExit):
        main(["corpus", "pack", corpus, str(tmp_path / "a.npz"), "--max-mib", "-3"])
    assert taken.read_bytes() == b"mine"
    assert not (tmp_path / "a.npz").exists()


def test_the_command_says_what_went_in(corpus, tmp_path, capsys):
    out = str(tmp_path / "pack.npz")
    assert main(["corpus", "pack", corpus, out, "--max-mib", "0.2", "--split", "train"]) == 0
    lines = capsys.readouterr().out.splitlines()
    pack = read_pack(out)
    assert lines[0].startswith(f"{out}: 0.")
    assert lines[1].startswith(f"{len(pack)} of {len(Corpus(corpus))} records; train {len(pack)}")
    assert "with two recordings or more" in lines[2]
    assert lines[3] == "3 of 3 statements"


def test_damage_is_noticed(corpus, tmp_path):
    path = tmp_path / "pack.npz"
    cut_pack(corpus, str(path), max_bytes=40 * KIB)
    data = path.read_bytes()
    before = read_pack(str(path)).steps
    for place in range(0, len(data), len(data) // 60):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            steps = read_pack(str(path)).steps
        except StoreError:
            continue
        np.testing.assert_array_equal(steps, before)
    path.write_bytes(data[:-100])
    with pytest.raises(DamageError, match=r"pack\.npz is damaged"):
        read_pack(str(path))
    np.savez(path, a=np.arange(3))
    with pytest.raises(DamageError):
        read_pack(str(path))
    with pytest.raises(StoreError, match="corpus pack"):
        read_pack(str(tmp_path / "none.npz"))


def test_a_pack_is_read_with_numpy_alone(corpus, tmp_path):
    out = str(tmp_path / "pack.npz")
    cut_pack(corpus, out, max_bytes=60 * KIB)
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {{'zarr', 'pyarrow', 'torch', 'pydantic', 's3fs', 'fsspec'}}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from ecgtwin.store.pack import read_pack
print(len(read_pack({out!r})))
"""
    root = Path(__file__).parent.parent.parent
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert found.stdout.strip() == str(len(read_pack(out))), found.stderr


@pytest.mark.s3
def test_a_pack_may_lie_on_s3(s3_url, tmp_path):
    url = write_corpus(f"{s3_url}/packed", many_rows())
    summary = cut_pack(url, f"{s3_url}/packs/one.npz", max_bytes=60 * KIB)
    assert len(read_object(f"{s3_url}/packs/one.npz")) == summary.num_bytes
    assert len(read_pack(f"{s3_url}/packs/one.npz")) == summary.num_rows
