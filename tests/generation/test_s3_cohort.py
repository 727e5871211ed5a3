"""A cohort on S3 is the cohort in a folder, object by object: moto, or Ceph RGW by scripts/rgw.sh.

Corpus, checkpoint and cohort may each be on either side.
"""

import multiprocessing
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

from ecgtwin.errors import CohortMismatchError, CommitConflictError, StoreError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.run import describe_plan, generate_cohort
from ecgtwin.sources.ingest import ingest
from ecgtwin.sources.simulated import SimulatedSource
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.commit import put_new
from ecgtwin.store.manifest import committed_shards
from ecgtwin.store.objects import is_s3, join
from ecgtwin.store.reader import Cohort, Corpus
from ecgtwin.store.s3 import filesystem
from ecgtwin.store.verify import verify
from ecgtwin.twin.twin import EcgTwin
from tests.generation.corpora import make_spec, objects_under, s3_objects_under
from tests.tiny import tiny_twin

pytestmark = pytest.mark.s3

SETTINGS = IngestSpec(rows_per_shard=4, rows_per_chunk=2)


@pytest.fixture
def url(s3_url: str) -> str:
    """A place of its own for each test."""
    return f"{s3_url}/{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def in_a_folder(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every object of the same cohort made in a folder, undisturbed."""
    return generated(make_spec(inputs, tmp_path_factory.mktemp("folder") / "cohort"))


def generated(spec: CohortSpec) -> dict[str, bytes]:
    assert generate_cohort(spec, executor=LocalExecutor()).is_complete
    return objects_at(spec.output.url)


def objects_at(url: str) -> dict[str, bytes]:
    """Return every object under ``url``, in a folder or on S3, but the records of runs."""
    return s3_objects_under(url) if is_s3(url) else objects_under(url)


def put_folder(folder: Path, url: str) -> str:
    """Put every file of ``folder`` at ``url``."""
    for path in folder.rglob("*"):
        if path.is_file():
            put_new(join(url, path.relative_to(folder).as_posix()), path.read_bytes())
    return url


def test_a_cohort_on_s3_has_the_bytes_of_one_in_a_folder(
    inputs: Path, url: str, in_a_folder: dict[str, bytes]
) -> None:
    spec = make_spec(inputs, url)
    found = generated(spec)
    assert sorted(found) == sorted(in_a_folder)
    assert [name for name in found if found[name] != in_a_folder[name]] == []
    assert verify(url) == []
    again = generate_cohort(spec, executor=LocalExecutor())
    assert (again.num_done_before, again.num_done) == (3, 0)
    assert objects_at(url) == found


def test_corpus_checkpoint_and_cohort_may_all_be_on_s3(
    inputs: Path, url: str, in_a_folder: dict[str, bytes]
) -> None:
    spec = make_spec(
        inputs,
        f"{url}/cohort",
        corpus=put_folder(inputs / "corpus", f"{url}/corpus"),
        checkpoint=put_folder(inputs / "twin", f"{url}/twin"),
    )
    found = generated(spec)
    found.pop("cohort.json")  # says where corpus and checkpoint were
    assert found == {name: data for name, data in in_a_folder.items() if name != "cohort.json"}


def test_a_cohort_on_s3_is_read_by_us_and_by_xarray(inputs: Path, url: str, tmp_path: Path) -> None:
    local = make_spec(inputs, tmp_path / "cohort")
    generated(local)
    generated(make_spec(inputs, url))
    here, there = Cohort(local.output.url), Cohort(url)
    assert there.columns == here.columns
    assert there.description == here.description
    positions = [11, 0, 5, 5]
    np.testing.assert_array_equal(there.samples_mv(positions), here.samples_mv(positions))
    data = xarray.open_zarr(join(url, "signals.zarr"), consolidated=False, chunks=None)
    np.testing.assert_allclose(
        data["samples_mv"].isel(sample=positions), here.samples_mv(positions), atol=1e-6
    )


def test_another_plan_at_the_url_is_refused_and_nothing_changes(inputs: Path, url: str) -> None:
    before = generated(make_spec(inputs, url))
    with pytest.raises(CohortMismatchError, match="another specification"):
        generate_cohort(make_spec(inputs, url, seed=1), executor=LocalExecutor())
    assert objects_at(url) == before


# --- killed at each step of a commit -----------------------------------------------------------

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["ecgtwin.generation.run", "ecgtwin.executors.local", "s3fs", "zarr"])


def generate_in_a_process(text: str, settings: dict[str, str]) -> None:
    """Make the cohort of ``text``: what a process to be killed does."""
    os.environ.update(settings)
    spec = CohortSpec.model_validate_json(text)
    raise SystemExit(not generate_cohort(spec, executor=LocalExecutor()).is_complete)


def test_a_process_killed_at_each_step_of_a_commit_on_s3_is_gone_on_from(
    inputs: Path, url: str, tmp_path: Path, in_a_folder: dict[str, bytes]
) -> None:
    """Each process goes on from the one killed before it; the last finds all but one done."""
    spec = make_spec(inputs, url)
    steps = ("encoded:1", "object:1", "ledger:1", "manifest:1")
    settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    settings |= {
        "ECGTWIN_COMMIT_HOOK": "tests.faults.kill_hook:on_stage",
        "ECGTWIN_KILL_FOLDER": str(tmp_path),
    }
    for step in (*steps, ""):
        process = FORKS.Process(
            target=generate_in_a_process,
            args=(spec.model_dump_json(), settings | {"ECGTWIN_KILL": step}),
        )
        process.start()
        process.join(300)
        assert process.exitcode == (-9 if step else 0), step
        assert len(committed_shards(url)) == {"manifest:1": 2, "": 3}.get(step, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(steps)
    found = objects_at(url)
    assert sorted(found) == sorted(in_a_folder)
    assert [name for name in found if found[name] != in_a_folder[name]] == []


# --- ingest and checkpoints --------------------------------------------------------------------


def test_a_corpus_ingested_to_s3_is_that_in_a_folder(url: str, tmp_path: Path) -> None:
    source = SimulatedSource(seed=3, num_persons=3, visits_per_person=2)
    for place in (url, str(tmp_path / "corpus")):
        summary = ingest(source, place, settings=SETTINGS, executor=LocalExecutor())
        assert (summary.num_rows, summary.failures) == (6, ())
    there, here = objects_at(url), objects_at(str(tmp_path / "corpus"))
    assert there.pop("private/pseudonym.key") != here.pop("private/pseudonym.key")
    assert there == here
    before = objects_at(url)
    again = ingest(source, url, settings=SETTINGS, executor=LocalExecutor())
    assert again.num_written == 0
    assert objects_at(url) == before
    other = SimulatedSource(seed=4, num_persons=3, visits_per_person=2)
    with pytest.raises(CohortMismatchError, match="seed is 3 there, 4 was asked for"):
        ingest(other, url, settings=SETTINGS, executor=LocalExecutor())
    assert objects_at(url) == before


def test_a_twin_saved_on_s3_comes_back(url: str) -> None:
    twin = tiny_twin(seed=3)
    digest = twin.save(url, provenance={"trained": False})
    loaded = EcgTwin.load(url)
    assert loaded.digest == digest
    assert loaded.provenance == {"trained": False}
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)
    before = objects_at(url)
    with pytest.raises(CommitConflictError):
        tiny_twin(seed=4).save(url, provenance={})
    assert objects_at(url) == before


# --- what bad input gets -----------------------------------------------------------------------


def refusals(spec: CohortSpec) -> list[Callable[[], object]]:
    """Return all that a command does first with a URL."""
    url = spec.output.url
    source = SimulatedSource(seed=3, num_persons=3, visits_per_person=2)
    return [
        lambda: describe_plan(spec),
        lambda: generate_cohort(spec, executor=LocalExecutor()),
        lambda: ingest(source, url, settings=SETTINGS, executor=LocalExecutor()),
        lambda: tiny_twin().save(url, provenance={}),
        lambda: EcgTwin.load(url),
        lambda: Cohort(url),
        lambda: Corpus(url),
        lambda: verify(url),
    ]


def refused(request: Callable[[], object], match: str) -> None:
    """Check that ``request`` ends within 20 s in one line that says ``match``."""
    started = time.monotonic()
    with pytest.raises(StoreError, match=match) as error:
        request()
    assert "\n" not in str(error.value)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("number", range(8))
def test_a_missing_bucket_is_named_and_not_created(inputs: Path, s3_url: str, number: int) -> None:
    bucket = "ecgtwin-there-is-no-such-bucket"
    spec = make_spec(inputs, f"s3://{bucket}/cohort")
    refused(refusals(spec)[number], f"bucket '{bucket}' does not exist at http://")
    assert bucket not in [
        entry["Name"] for entry in filesystem().call_s3("list_buckets")["Buckets"]
    ]


@pytest.mark.parametrize("number", range(8))
def test_an_endpoint_that_refuses_is_named_soon(
    inputs: Path, url: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    refused(refusals(make_spec(inputs, url))[number], r"http://127\.0\.0\.1:9 cannot be reached")


def test_an_endpoint_that_swallows_connections_is_named_soon(
    inputs: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with deaf_endpoint() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        refused(refusals(make_spec(inputs, url))[1], f"{endpoint} cannot be reached")


@contextmanager
def deaf_endpoint() -> Iterator[str]:
    """Yield an endpoint where a new connection is never taken up: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        place = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(place)
            yield f"http://127.0.0.1:{place[1]}"
        finally:
            for one in waiting:
                one.close()


@pytest.mark.rgw
@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_keys_are_refused_and_nothing_is_written(
    inputs: Path, url: str, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv(variable, "wrong")
        for request in refusals(make_spec(inputs, url)):
            refused(request, "refused the keys for bucket 'ecgtwin-")
    assert objects_at(url) == {}
