"""Sixty spoiled recordings among sound ones become a corpus; the sound ones are as if alone."""

import random
from pathlib import Path

import numpy as np

from ecgtwin.executors.local import LocalExecutor
from ecgtwin.sources.ingest import ingest
from ecgtwin.sources.ingest_summary import read_rejects
from ecgtwin.sources.opening import open_archive
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.reader import Corpus
from ecgtwin.store.verify import verify
from tests.sources import fuzz_mutations as mutations
from tests.sources.records import write_tree

SETTINGS = IngestSpec(rows_per_shard=16, rows_per_chunk=16, max_reject_share=1.0)


def test_spoiled_recordings_are_rows_of_a_sound_corpus(tmp_path: Path) -> None:
    write_tree(tmp_path / "made", 1)
    header, samples = ((tmp_path / "made" / f"rec0.{kind}").read_bytes() for kind in ("hea", "dat"))
    num_headers = 0
    for number in range(72):
        rng = random.Random(f"ingest/{number}")
        contents = {"hea": header, "dat": samples}
        if number % 6 and number % 2:
            contents["hea"] = mutations.header(rng, header, "other.dat", "rec0").content
        elif number % 6:
            contents["dat"] = mutations.signal(rng, samples, 0, 24, samples[::-1]).content
        folder = tmp_path / "source" / f"n{number:02d}"
        folder.mkdir(parents=True)
        for kind, content in contents.items():
            if isinstance(content, bytes):
                (folder / f"rec0.{kind}").write_bytes(content)
        num_headers += (folder / "rec0.hea").exists()

    source = open_archive("wfdb", str(tmp_path / "source"), SETTINGS)
    url = str(tmp_path / "corpus")
    summary = ingest(source, url, settings=SETTINGS, executor=LocalExecutor(max_tries=1))

    assert (summary.failures, summary.was_stopped) == ((), False)
    assert summary.num_rows == summary.num_committed == len(source) >= num_headers
    assert verify(url) == []
    rejects = read_rejects(url)
    assert len(rejects) == summary.num_rejected >= 30
    assert all(one.kind != "unusable" and one.reason.isprintable() for one in rejects)
    corpus = Corpus(url)
    ids = corpus.column("record_id")
    sound = [place for place, name in enumerate(ids) if int(name[1:3]) % 6 == 0]
    assert len(sound) == 12
    stored = corpus.samples_mv(sound)
    assert np.array_equal(stored, np.broadcast_to(stored[:1], stored.shape))
