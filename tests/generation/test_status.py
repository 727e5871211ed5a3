"""How far a cohort is: what is committed, what runs recorded, what failed and is still amiss."""

import json
from collections.abc import Generator, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ecgtwin.errors import DamageError, StoreError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.executors.protocol import Outcome, Work
from ecgtwin.generation.prepare import resolve_cohort, write_plan
from ecgtwin.generation.run import generate_cohort
from ecgtwin.generation.status import read_status
from ecgtwin.spec.shard import Shard
from tests.generation.corpora import make_spec


class AllBut:
    """An executor on which one shard fails and the last is never begun."""

    def run(self, work: Work, shards: Iterable[Shard]) -> Generator[Outcome, None, None]:
        left = list(shards)[:-1]
        for outcome in LocalExecutor().run(work, left[1:]):
            yield replace(outcome, worker="elsewhere")
        yield Outcome(left[0], None, "Traceback\n  ...\nValueError: bad luck\n", 3, "here", 0.1)


def test_an_unfinished_cohort_says_what_is_there_what_failed_and_when_it_may_be_done(
    inputs: Path, tmp_path: Path
) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    generate_cohort(spec, executor=AllBut())
    status = read_status(spec.output.url)
    assert (status.num_shards, status.num_committed) == (3, 1)
    assert (status.num_ecgs, status.num_ecgs_committed) == (12, 4)
    assert not status.is_complete
    assert status.failures == {0: "ValueError: bad luck"}
    assert status.run is not None
    assert status.run.of_workers == {"elsewhere": 1}
    assert (status.run.num_shards, status.run.num_ecgs) == (1, 4)
    begun = replace(status.run, began=status.run.latest - timedelta(seconds=8))
    assert begun.ecgs_per_second == 0.5
    lines = replace(status, run=begun).lines(now=begun.latest + timedelta(seconds=5))
    assert lines[0] == "4 of 12 ECGs in 1 of 3 shards committed (33.3%)"
    assert lines[1].endswith("1 shard made, 0.5 ECGs a second, latest record 5 s ago")
    assert lines[2:] == [
        "  at this rate done in 16 s",
        "  elsewhere: 1 shard",
        "shard 0 failed: ValueError: bad luck",
    ]
    later = replace(status, run=begun).lines(now=begun.latest + timedelta(hours=3))
    assert not any("at this rate" in line for line in later)  # nobody is at work


def test_what_a_later_run_made_good_has_not_failed(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    generate_cohort(spec, executor=AllBut())
    generate_cohort(spec, executor=LocalExecutor())
    status = read_status(spec.output.url)
    assert status.is_complete
    assert status.failures == {}
    assert status.run is not None
    assert status.run.num_shards == 2
    assert "at this rate" not in "\n".join(status.lines(now=datetime.now(UTC)))


def test_records_that_do_not_parse_are_passed_over(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    generate_cohort(spec, executor=LocalExecutor())
    runs = tmp_path / "cohort" / "runs"
    (record,) = runs.glob("*/shards-*.jsonl")
    whole = json.loads(record.read_text().splitlines()[0])
    others = ({"event": 1}, {"at": 5}, {"at": "2020-01-01T00:00:00"}, {"error": 1}, {"result": 1})
    texts = [record.read_text()[:50], "5", json.dumps(others[0])]
    texts += [json.dumps(whole | other) for other in others[1:]]
    for name, text in enumerate(texts):
        name = f"other-{name}"
        (runs / name).mkdir()
        (runs / name / "shards-000000.jsonl").write_text(text)
    status = read_status(spec.output.url)
    assert status.run is not None
    assert status.run.name == record.parent.name
    assert status.is_complete


def test_more_committed_than_the_signals_have_is_damage(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    generate_cohort(spec, executor=LocalExecutor())
    name = tmp_path / "cohort" / "signals.zarr" / "samples_mv" / "zarr.json"
    samples = json.loads(name.read_text())
    samples["shape"][0] = 8
    name.write_text(json.dumps(samples))
    with pytest.raises(DamageError, match="have 2 shards, but shard 2 is committed"):
        read_status(spec.output.url)


def test_a_planned_cohort_without_runs_and_no_cohort_at_all(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    write_plan(resolve_cohort(spec))
    status = read_status(spec.output.url)
    assert (status.num_committed, status.run) == (0, None)
    assert status.lines(now=datetime.now(UTC)) == ["0 of 12 ECGs in 0 of 3 shards committed (0.0%)"]
    with pytest.raises(StoreError, match="nowhere"):
        read_status(str(tmp_path / "nowhere"))
