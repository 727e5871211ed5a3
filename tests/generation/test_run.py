"""A whole run: planned minus committed, the same cohort whoever makes it, failures reported."""

import json
import secrets
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest
import torch

from ecgtwin.errors import CohortMismatchError, DamageError, StoreError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.executors.protocol import Outcome, Work
from ecgtwin.executors.ray_executor import RayExecutor
from ecgtwin.generation.run import describe_plan, generate_cohort
from ecgtwin.generation.speed import Speed
from ecgtwin.spec.shard import Shard
from ecgtwin.store.reader import Cohort
from ecgtwin.store.verify import verify
from tests.executors.works import MeetFirst
from tests.generation.corpora import make_spec, objects_under, s3_objects_under


class Backwards:
    """An executor that does the shards last to first, and only ``limit`` of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def run(self, work: Work, shards: Iterable[Shard]) -> Generator[Outcome, None, None]:
        yield from LocalExecutor().run(work, list(shards)[::-1][: self._limit])


class TwoMeeting:
    """Two Ray actors, neither of which begins before the other has a shard too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, work: Work, shards: Iterable[Shard]) -> Generator[Outcome, None, None]:
        yield from RayExecutor(2).run(MeetFirst(self._folder, 2, work), shards)


def test_a_run_makes_every_row_and_says_so(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    seen: list[int] = []
    description = describe_plan(spec)
    assert (description.num_shards, description.num_left) == (3, 3)
    assert not (tmp_path / "cohort").exists()
    summary = generate_cohort(
        spec, executor=LocalExecutor(), on_outcome=lambda one, _: seen.append(one.shard.index)
    )
    assert sorted(seen) == [0, 1, 2]
    assert (summary.num_rows, summary.num_accepted, summary.is_complete) == (12, 12, True)
    assert sum(summary.speed.shares().values()) == pytest.approx(1)
    assert "12 ECGs" in summary.line()
    assert "3 of 3 shards" in summary.line()
    assert verify(spec.output.url) == []
    assert len(Cohort(spec.output.url)) == 12
    assert describe_plan(spec).num_left == 0


def test_a_second_run_does_nothing(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    generate_cohort(spec, executor=LocalExecutor())
    root = tmp_path / "cohort"
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    summary = generate_cohort(spec, executor=LocalExecutor())
    assert (summary.num_rows, summary.num_done_before, summary.is_complete) == (0, 3, True)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_run_cut_off_is_finished_to_the_same_cohort(inputs: Path, tmp_path: Path) -> None:
    whole, parts = (make_spec(inputs, tmp_path / name) for name in ("whole", "parts"))
    generate_cohort(whole, executor=LocalExecutor())
    first = generate_cohort(parts, executor=Backwards(2))
    assert (first.num_done, first.is_complete) == (2, False)
    second = generate_cohort(parts, executor=LocalExecutor())
    assert (second.num_done_before, second.num_done) == (2, 1)
    assert objects_under(parts.output.url) == objects_under(whole.output.url)


def test_the_number_of_torch_threads_outside_does_not_enter(inputs: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    made = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        spec = make_spec(inputs, tmp_path / str(threads))
        generate_cohort(spec, executor=LocalExecutor())
        assert torch.get_num_threads() == threads
        made.append(objects_under(spec.output.url))
    torch.set_num_threads(before)
    assert made[0] == made[1]


def test_clocks_and_hosts_are_in_the_record_of_the_run(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    generate_cohort(spec, executor=LocalExecutor())
    records = list((tmp_path / "cohort" / "runs").rglob("*.jsonl"))
    lines = [json.loads(line) for path in records for line in path.read_text().splitlines()]
    assert sorted(line["shard"] for line in lines) == [0, 1, 2]
    assert all(line["seconds"] > 0 and line["worker"] and line["error"] is None for line in lines)


def test_a_shard_that_fails_is_reported_and_the_rest_is_made(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    blocked = tmp_path / "cohort/signals.zarr/samples_mv/c/1"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder belongs")
    summary = generate_cohort(spec, executor=LocalExecutor(max_tries=2))
    assert [failure.shard.index for failure in summary.failures] == [1]
    assert summary.failures[0].tries == 2
    assert not summary.is_complete
    assert len(Cohort(spec.output.url)) == 8
    blocked.unlink()
    assert generate_cohort(spec, executor=LocalExecutor()).is_complete


def test_a_damaged_manifest_is_no_commit(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    generate_cohort(spec, executor=LocalExecutor())
    (tmp_path / "cohort/manifest/shard-000000001.parquet").write_bytes(b"")
    for request in (describe_plan, lambda spec: generate_cohort(spec, executor=LocalExecutor())):
        with pytest.raises(DamageError, match="shard-000000001"):
            request(spec)


def test_the_executor_is_closed_when_a_run_ends_early(inputs: Path, tmp_path: Path) -> None:
    ended: list[str] = []

    class Watched:
        def run(self, work: Work, shards: Iterable[Shard]) -> Generator[Outcome, None, None]:
            try:
                yield from LocalExecutor().run(work, shards)
            finally:
                ended.append("closed")

    def stop(outcome: Outcome, speed: Speed) -> None:
        raise KeyboardInterrupt

    spec = make_spec(inputs, tmp_path / "cohort")
    with pytest.raises(KeyboardInterrupt) as interrupt:
        generate_cohort(spec, executor=Watched(), on_outcome=stop)
    assert ended == ["closed"], interrupt  # while the error, and so its frames, are still held


def test_other_numerics_are_refused_before_anything_is_made(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    generate_cohort(spec, executor=Backwards(1))
    numerics = tmp_path / "cohort" / "numerics.json"
    found = json.loads(numerics.read_text())
    numerics.write_text(json.dumps(found | {"torch": "1.0"}))
    before = objects_under(spec.output.url)
    with pytest.raises(CohortMismatchError, match="torch is"):
        generate_cohort(spec, executor=LocalExecutor())
    assert objects_under(spec.output.url) == before
    assert generate_cohort(spec, executor=LocalExecutor(), mixed_numerics=True).is_complete


def test_lost_numerics_are_not_fixed_anew_by_whoever_goes_on(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    generate_cohort(spec, executor=Backwards(1))
    (tmp_path / "cohort/numerics.json").unlink()
    before = objects_under(spec.output.url)
    with pytest.raises(DamageError, match=r"numerics.json is missing.*cohort repair"):
        generate_cohort(spec, executor=LocalExecutor())
    assert objects_under(spec.output.url) == before
    assert generate_cohort(spec, executor=LocalExecutor(), mixed_numerics=True).is_complete
    assert not (tmp_path / "cohort/numerics.json").exists()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_one_worker_makes_the_same_cohort_as_two_ray_workers(inputs: Path, tmp_path: Path) -> None:
    one, two = (make_spec(inputs, tmp_path / name) for name in ("one", "two"))
    generate_cohort(one, executor=LocalExecutor())
    workers: set[str] = set()
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    summary = generate_cohort(
        two, executor=TwoMeeting(meeting), on_outcome=lambda one, _: workers.add(one.worker)
    )
    assert summary.is_complete
    assert len(workers) == 2
    assert objects_under(two.output.url) == objects_under(one.output.url)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_refusal_inside_a_worker_ends_the_run_as_itself(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    generate_cohort(spec, executor=Backwards(1))
    numerics = tmp_path / "cohort" / "numerics.json"
    numerics.write_text(json.dumps(json.loads(numerics.read_text()) | {"torch": "1.0"}))
    with pytest.raises(CohortMismatchError, match="torch is"):
        generate_cohort(spec, executor=RayExecutor(2))


@pytest.mark.s3
def test_a_run_to_s3_cut_off_and_finished_makes_the_same_cohort(
    inputs: Path, tmp_path: Path, s3_url: str
) -> None:
    here = make_spec(inputs, tmp_path / "here")
    there = make_spec(inputs, f"{s3_url}/{secrets.token_hex(4)}/cohort")
    generate_cohort(here, executor=LocalExecutor())
    assert not generate_cohort(there, executor=Backwards(1)).is_complete
    assert generate_cohort(there, executor=LocalExecutor()).is_complete
    assert s3_objects_under(there.output.url) == objects_under(here.output.url)
    other = make_spec(inputs, there.output.url, seed=1)
    with pytest.raises(CohortMismatchError, match="another specification"):
        generate_cohort(other, executor=LocalExecutor())


@pytest.mark.s3
@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_two_ray_workers_make_the_same_cohort_on_s3(
    inputs: Path, tmp_path: Path, s3_url: str
) -> None:
    """Keys and endpoint are set here after the cluster was started; the workers have them."""
    here = make_spec(inputs, tmp_path / "here")
    there = make_spec(inputs, f"{s3_url}/{secrets.token_hex(4)}/cohort")
    generate_cohort(here, executor=LocalExecutor())
    assert generate_cohort(there, executor=RayExecutor(2)).is_complete
    assert s3_objects_under(there.output.url) == objects_under(here.output.url)


@pytest.mark.s3
def test_a_missing_bucket_is_named_before_anything_is_made(inputs: Path, s3_url: str) -> None:
    spec = make_spec(inputs, f"{s3_url}-that-is-not-there/cohort")
    with pytest.raises(StoreError, match="that-is-not-there"):
        generate_cohort(spec, executor=LocalExecutor())
