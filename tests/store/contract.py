"""The laws of the on-disk layer, the same on files and on every S3 server."""

import json
import threading
import uuid

import numpy as np
import pytest
import xarray

from ecgtwin.errors import CohortMismatchError, CommitConflictError, DamageError, StoreError
from ecgtwin.store import manifest
from ecgtwin.store.commit import put_new
from ecgtwin.store.layout import manifest_name, object_name
from ecgtwin.store.manifest import (
    committed_shards,
    digest_bytes,
    read_manifest,
    resumable_shards,
)
from ecgtwin.store.objects import (
    delete_object,
    is_s3,
    join,
    list_names,
    object_exists,
    read_object,
    replace_object,
)
from ecgtwin.store.reader import Cohort, Corpus
from ecgtwin.store.s3 import storage_options
from ecgtwin.store.tables import put_table, read_table
from ecgtwin.store.verify import verify
from ecgtwin.store.writer import create_signals, quantise
from tests.store import shards
from tests.store.shards import LAYOUT, REJECTED, samples_of, write_corpus, write_one


class StoreContract:
    """Subclasses give ``root``; each test gets a fresh ``url`` below it."""

    @pytest.fixture
    def url(self, root: str) -> str:
        return f"{root}/{uuid.uuid4().hex}"

    def test_what_is_absent_is_absent(self, url):
        with pytest.raises(FileNotFoundError):
            read_object(join(url, "a"))
        assert not object_exists(join(url, "a"))
        assert list_names(url) == []
        delete_object(join(url, "a"))

    def test_put_new_creates_once_and_never_changes(self, url):
        target = join(url, "folder", "a")
        assert put_new(target, b"first") is True
        assert put_new(target, b"first") is False
        with pytest.raises(CommitConflictError, match="already holds other bytes"):
            put_new(target, b"second")
        assert read_object(target) == b"first"

    def test_an_empty_object_is_an_object(self, url):
        assert put_new(join(url, "empty"), b"")
        assert object_exists(join(url, "empty"))
        assert read_object(join(url, "empty")) == b""
        with pytest.raises(CommitConflictError):
            put_new(join(url, "empty"), b"x")

    def test_lists_what_lies_directly_inside(self, url):
        for name in ("b", "a", "folder/c", "folder2/d"):
            put_new(join(url, name), b"x")
        assert list_names(url) == ["a", "b"]
        assert list_names(join(url, "folder")) == ["c"]

    def test_replace_and_delete(self, url):
        replace_object(join(url, "a"), b"one")
        replace_object(join(url, "a"), b"two")
        assert read_object(join(url, "a")) == b"two"
        delete_object(join(url, "a"))
        assert not object_exists(join(url, "a"))

    @pytest.mark.parametrize("attempt", range(3))
    def test_of_sixteen_creators_exactly_one_wins(self, url, attempt):
        target = join(url, f"contested-{attempt}")
        barrier = threading.Barrier(16)
        outcomes: list[object] = [None] * 16

        def create(number: int) -> None:
            barrier.wait()
            try:
                outcomes[number] = put_new(target, f"writer {number:2d}".encode())
            except CommitConflictError as error:
                outcomes[number] = error

        threads = [threading.Thread(target=create, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [number for number, outcome in enumerate(outcomes) if outcome is True]
        assert len(winners) == 1
        assert sum(isinstance(outcome, CommitConflictError) for outcome in outcomes) == 15
        assert read_object(target) == f"writer {winners[0]:2d}".encode()

    def test_a_table_comes_back_and_is_never_overwritten(self, url):
        columns = {"person": ["p1", "p2"], "age": [4.5, None], "codes": [["a"], []]}
        assert put_table(join(url, "t.parquet"), columns, {"plan": "x"})
        assert not put_table(join(url, "t.parquet"), columns, {"plan": "x"})
        assert read_table(join(url, "t.parquet")) == (columns, {"plan": "x"})
        with pytest.raises(CommitConflictError):
            put_table(join(url, "t.parquet"), columns, {"plan": "y"})

    def test_rows_come_back_as_they_were_written(self, url):
        write_corpus(url)
        corpus = Corpus(url)
        samples = samples_of(LAYOUT)
        assert len(corpus) == LAYOUT.num_rows - 1
        assert corpus.columns["row"] == list(range(LAYOUT.num_rows))
        assert REJECTED not in corpus.rows
        positions = [42, 0, 7, 7, 20]
        read = corpus.samples_mv(positions)
        expected, _ = quantise(samples[corpus.rows[positions]])
        assert read.dtype == np.float32
        np.testing.assert_allclose(read, expected * 0.005, atol=1e-6)
        assert corpus.column("heart_rate_bpm")[3] == 63.0
        assert np.isnan(corpus.column("heart_rate_bpm")[2])
        assert corpus.column("statements")[0] == ["sinus rhythm", "code 0"]
        assert corpus.columns["reason"][REJECTED] == "flat lead V1"
        assert verify(url) == []

    def test_xarray_shows_millivolts_and_uncommitted_rows_as_nan(self, url):
        write_corpus(url, shards=(0, 2))
        options = storage_options() if is_s3(url) else None
        if options is not None:
            del options["skip_instance_cache"]
        data = xarray.open_zarr(
            join(url, "signals.zarr"), consolidated=False, chunks=None, storage_options=options
        )
        samples = data["samples_mv"]
        assert samples.dims == ("sample", "lead", "time")
        assert list(data["lead"].values) == [
            "I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6",
        ]  # fmt: skip
        np.testing.assert_allclose(data["time"], np.arange(64) / 102.4)
        assert samples.attrs["units"] == "mV"
        values = samples.values
        assert np.isnan(values[16:32]).all()
        assert np.isnan(values[REJECTED]).all()
        wanted = samples_of(LAYOUT)[:, [0, 1, *range(6, 12)]]
        shown = values[:, [0, 1, *range(6, 12)]]
        kept = [row for row in (*range(16), *range(32, 44)) if row != REJECTED]
        np.testing.assert_allclose(shown[kept], wanted[kept], atol=0.0025001)
        assert float(samples.sel(lead="V2").isel(sample=0, time=3)) == values[0, 7, 3]

    def test_an_uncommitted_shard_does_not_exist(self, url):
        write_corpus(url, shards=(1,))
        corpus = Corpus(url)
        assert committed_shards(url) == [1]
        assert corpus.rows.tolist() == list(range(16, 32))
        delete_object(join(url, manifest_name(1)))
        assert len(Corpus(url)) == 0

    def test_a_second_writer_of_the_same_bytes_returns_quietly(self, url):
        create_signals(url, LAYOUT)
        first, second = write_one(url, 0), write_one(url, 0)
        assert first.was_ours
        assert not second.was_ours
        assert first.object_digest == second.object_digest
        assert list_names(join(url, "runs/replaced")) == []

    def test_nothing_replaces_a_committed_shard(self, url):
        write_corpus(url, shards=(0,))
        names = (object_name(0), manifest_name(0), "ledger/shard-000000000.jsonl")
        before = [read_object(join(url, name)) for name in names]
        with pytest.raises(CommitConflictError):
            write_one(url, 0, seed=1)
        assert [read_object(join(url, name)) for name in names] == before

    def test_an_uncommitted_object_of_other_bytes_is_replaced_and_recorded(self, url):
        write_corpus(url, shards=(0,), seed=1)
        stale = read_object(join(url, object_name(0)))
        delete_object(join(url, manifest_name(0)))
        committed = write_one(url, 0)
        assert committed.was_ours
        assert committed.replaced_digest == digest_bytes(stale)
        [note] = list_names(join(url, "runs/replaced"))
        record = json.loads(read_object(join(url, "runs/replaced", note)))
        assert record["object"] == object_name(0)
        assert record["found_blake2b"] == digest_bytes(stale)
        assert record["put_blake2b"] == committed.object_digest
        assert verify(url) == []

    def test_a_slow_writer_that_replaced_the_object_is_undone(self, url, monkeypatch):
        other = join(url, "other")
        write_corpus(other, shards=(0,), seed=1)
        create_signals(url, LAYOUT)

        def replace_behind_the_manifest(name: str, index: int) -> None:
            if name == "manifest":
                replace_object(join(url, object_name(0)), read_object(join(other, object_name(0))))
                replace_object(join(url, "ledger/shard-000000000.jsonl"), b"of the slow one")

        monkeypatch.setenv("ECGTWIN_COMMIT_HOOK", "tests.store.shards:call_hook")
        monkeypatch.setattr(shards, "hook", replace_behind_the_manifest)
        write_one(url, 0)
        assert verify(url) == []

    def test_a_writer_leaves_what_was_begun_anew_behind_its_commit(self, url, monkeypatch):
        create_signals(url, LAYOUT)
        names = (object_name(0), "ledger/shard-000000000.jsonl", manifest_name(0))

        def begin_anew(name: str, index: int) -> None:
            if name == "manifest":
                monkeypatch.setattr(shards, "hook", None)
                for part in names:
                    delete_object(join(url, part))
                write_one(url, 0, seed=1, plan_digest="another plan")

        monkeypatch.setenv("ECGTWIN_COMMIT_HOOK", "tests.store.shards:call_hook")
        monkeypatch.setattr(shards, "hook", begin_anew)
        with pytest.raises(CommitConflictError, match="deleted behind its commit"):
            write_one(url, 0)
        assert verify(url) == []
        assert read_manifest(url, 0).plan_digest == "another plan"

    def test_a_writer_that_loses_the_commit_gives_the_object_back(self, url, monkeypatch):
        other = join(url, "other")
        write_corpus(other, shards=(0,))
        create_signals(url, LAYOUT)
        for name in (object_name(0), "ledger/shard-000000000.jsonl"):
            put_new(join(url, name), read_object(join(other, name)))

        def commit_the_other(name: str, index: int) -> None:
            if name == "object":
                put_new(join(url, manifest_name(0)), read_object(join(other, manifest_name(0))))

        monkeypatch.setenv("ECGTWIN_COMMIT_HOOK", "tests.store.shards:call_hook")
        monkeypatch.setattr(shards, "hook", commit_the_other)
        with pytest.raises(CommitConflictError):
            write_one(url, 0, seed=1)
        assert verify(url) == []
        assert read_manifest(url, 0) == read_manifest(other, 0)

    def test_two_workers_in_step_leave_one_of_them_whole(self, url, monkeypatch):
        create_signals(url, LAYOUT)
        entered = []

        def let_the_other_through(name: str, index: int) -> None:
            if name == "object" and not entered:
                entered.append(name)
                write_one(url, 0, seed=1)

        monkeypatch.setenv("ECGTWIN_COMMIT_HOOK", "tests.store.shards:call_hook")
        monkeypatch.setattr(shards, "hook", let_the_other_through)
        with pytest.raises(CommitConflictError):
            write_one(url, 0)
        assert verify(url) == []

    def test_a_damaged_manifest_is_damage_and_never_a_commit(self, url):
        write_corpus(url)
        whole = read_object(join(url, manifest_name(1)))
        for damaged in (
            b"",
            b"PAR1 nonsense",
            whole[:-20],
            read_object(join(url, manifest_name(2))),
        ):
            replace_object(join(url, manifest_name(1)), damaged)
            with pytest.raises(DamageError, match="shard-000000001"):
                Corpus(url)
            assert any("shard-000000001" in line for line in verify(url))

    def test_what_need_not_be_made_again_is_what_this_plan_committed(self, url):
        write_corpus(url, shards=(0, 2))
        assert resumable_shards(url, LAYOUT, plan_digest="a plan") == {0, 2}
        with pytest.raises(CohortMismatchError, match="is of plan a plan, not of plan another"):
            resumable_shards(url, LAYOUT, plan_digest="another")
        replace_object(join(url, manifest_name(2)), b"")
        with pytest.raises(DamageError, match="shard-000000002"):
            resumable_shards(url, LAYOUT, plan_digest="a plan")

    def test_of_many_manifests_the_first_the_last_and_some_between_are_read(self, url, monkeypatch):
        monkeypatch.setattr(manifest, "READ_ALL", 2)
        monkeypatch.setattr(manifest, "SAMPLED", 2)
        write_corpus(url)
        replace_object(join(url, manifest_name(1)), b"")
        assert resumable_shards(url, LAYOUT, plan_digest="a plan") == {0, 1, 2}
        assert any("shard-000000001" in line for line in verify(url))
        with pytest.raises(CohortMismatchError):
            resumable_shards(url, LAYOUT, plan_digest="another")
        replace_object(join(url, manifest_name(2)), b"")
        with pytest.raises(DamageError, match="shard-000000002"):
            resumable_shards(url, LAYOUT, plan_digest="a plan")

    def test_a_manifest_beyond_the_signals_is_damage(self, url):
        write_corpus(url)
        put_new(join(url, manifest_name(3)), b"read or not")
        with pytest.raises(DamageError, match=r"shard-000000003.*the signals have 3 shards"):
            resumable_shards(url, LAYOUT, plan_digest="a plan")

    def test_a_shard_of_another_plan_is_found(self, url):
        """As a worker leaves it whose cohort was deleted and planned anew behind its back."""
        write_corpus(url, shards=(0, 1))
        write_one(url, 2, plan_digest="another plan")
        with pytest.raises(DamageError, match="manifest of shard 2 is of plan another plan"):
            Corpus(url)
        assert verify(url) == []  # no description says which of them is right
        put_new(join(url, "corpus.json"), b'{"digest": "a plan"}')
        [problem] = verify(url)
        assert "shard-000000002.parquet is of plan another plan, not of plan a plan" in problem

    def test_a_missing_object_behind_a_manifest_is_damage(self, url):
        write_corpus(url)
        delete_object(join(url, object_name(1)))
        corpus = Corpus(url)
        assert corpus.samples_mv([0]).shape == (1, 12, 64)
        with pytest.raises(DamageError, match=r"samples_mv/c/1/0/0"):
            corpus.samples_mv([0, 20])
        [problem] = verify(url)
        assert object_name(1) in problem

    @pytest.mark.parametrize("where", [0.1, 0.5, 0.999])
    def test_a_flipped_bit_is_found_on_reading_and_by_verify(self, url, where):
        write_corpus(url)
        data = bytearray(read_object(join(url, object_name(1))))
        data[int(where * len(data))] ^= 4
        replace_object(join(url, object_name(1)), bytes(data))
        with pytest.raises(DamageError, match=r"samples_mv/c/1/0/0"):
            Corpus(url).samples_mv(np.arange(43))
        [problem] = verify(url)
        assert object_name(1) in problem

    def test_signals_of_another_layout_are_refused(self, url):
        write_corpus(url)
        create_signals(url, LAYOUT)
        other = type(LAYOUT)(43, 64, 102.4, 16, 4)
        with pytest.raises(CohortMismatchError, match="choose another URL"):
            create_signals(url, other)

    def test_nothing_at_a_url_is_said_so(self, url):
        with pytest.raises(StoreError, match="holds no cohort or corpus"):
            Cohort(url)
        with pytest.raises(StoreError, match="holds no cohort or corpus"):
            verify(url)

    def test_a_corpus_is_not_a_cohort(self, url):
        write_corpus(url)
        with pytest.raises(StoreError, match="holds a corpus, not a cohort"):
            Cohort(url)

    def test_the_description_is_read(self, url):
        write_corpus(url)
        with pytest.raises(StoreError, match=r"corpus\.json is not there"):
            _ = Corpus(url).description
        put_new(join(url, "corpus.json"), b'{"seed": 3}')
        assert Corpus(url).description == {"seed": 3}
