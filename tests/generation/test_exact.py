"""accept: exact draws again what fails, by attempt, and accounts for every ECG that it drew."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgtwin.diffusion.noise_key import noise_key
from ecgtwin.errors import SpecificationError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.draw import draw_to_store, key_of
from ecgtwin.generation.judge import judge_rows
from ecgtwin.generation.prepare import ResolvedCohort, resolve_cohort
from ecgtwin.generation.remake import remake_rows, remake_shard
from ecgtwin.generation.run import generate_cohort
from ecgtwin.spec.gates import GatesSpec
from ecgtwin.store.layout import ledger_name
from ecgtwin.store.manifest import Manifest, committed_shards, read_manifest
from ecgtwin.store.reader import StoredSteps
from ecgtwin.store.verify import verify
from ecgtwin.store.writer import quantise
from tests.generation.corpora import make_spec, objects_under
from tests.tiny import tiny_twin

# Untrained networks draw noise: about half of it passes when only the rate is asked, widely.
SOME_PASS = {
    "accept": "exact",
    "rate_tolerance_bpm": 60.0,
    "min_beats": 2,
    "max_baseline_mv": None,
    "intervals": None,
    "quality": None,
}


def made(inputs: Path, url: Path, **gates: Any) -> ResolvedCohort:
    spec = make_spec(
        inputs,
        url,
        replicates=3,
        gates=SOME_PASS | gates,
        output={"url": str(url), "rows_per_shard": 12, "rows_per_chunk": 4},
    )
    summary = generate_cohort(spec, executor=LocalExecutor())
    assert summary.is_complete
    assert verify(str(url)) == []
    columns = [one.columns["accepted"] for one in manifests(str(url))]
    accepted = sum(map(sum, columns))
    some = accepted < sum(map(len, columns))
    assert (f"ECGs, {accepted} of them accepted, in " if some else "ECGs in ") in summary.line()
    return resolve_cohort(spec)


def manifests(url: str) -> list[Manifest]:
    return [read_manifest(url, index) for index in committed_shards(url)]


def ledger(url: str) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for index in committed_shards(url)
        for line in (Path(url) / ledger_name(index)).read_text().splitlines()
    ]


@pytest.fixture(scope="module")
def exact(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> ResolvedCohort:
    return made(inputs, tmp_path_factory.mktemp("exact") / "cohort", max_attempts=4)


def test_it_meets_rows_that_pass_at_once_later_and_never(exact: ResolvedCohort) -> None:
    """What the tests below are about happens in this cohort."""
    attempts = [one for manifest in manifests(exact.url) for one in manifest.columns["attempt"]]
    accepted = [one for manifest in manifests(exact.url) for one in manifest.columns["accepted"]]
    ends = Counter(zip(attempts, accepted, strict=True))
    assert ends[0, True] > 0
    assert sum(ends[attempt, True] for attempt in (1, 2, 3)) > 0
    assert ends[3, False] > 0
    assert sum(ends.values()) == exact.plan.num_rows == 36


def test_a_row_is_accepted_if_and_only_if_it_passes(exact: ResolvedCohort) -> None:
    for manifest in manifests(exact.url):
        columns = manifest.columns
        for row, accepted in enumerate(columns["accepted"]):
            assert accepted == (columns["gate_failures"][row] == [])
            assert accepted or columns["attempt"][row] == 3  # all are spent


def test_the_ledger_has_every_reject_once_with_its_reason(exact: ResolvedCohort) -> None:
    kept = ledger(exact.url)
    wanted = []
    for manifest in manifests(exact.url):
        columns = manifest.columns
        for row, attempt, accepted in zip(
            columns["row"], columns["attempt"], columns["accepted"], strict=True
        ):
            wanted += [(row, before) for before in range(attempt + (not accepted))]
    assert sorted((line["row"], line["attempt"]) for line in kept) == sorted(wanted)
    assert all(line["gate_failures"] for line in kept)


def test_each_stored_row_and_each_reject_is_what_its_attempt_draws(exact: ResolvedCohort) -> None:
    """Drawn among all rows, as each attempt: the same ECG, and the same decision."""
    twin, stored = tiny_twin(), StoredSteps(exact.url)
    rejects = {(line["row"], line["attempt"]): line["gate_failures"] for line in ledger(exact.url)}
    attempts = [one for manifest in manifests(exact.url) for one in manifest.columns["attempt"]]
    for attempt in range(4):
        rows = [row for row, last in enumerate(attempts) if last >= attempt][::-1]
        requests = [exact.plan.request_at(row) for row in rows]
        drawn = draw_to_store(twin, exact, requests, attempt=attempt)
        steps, _ = quantise(drawn)
        for place, one in enumerate(judge_rows(exact, requests, drawn)):
            row = rows[place]
            assert list(one.failures) == rejects.get((row, attempt), [])
            if attempts[row] == attempt:
                difference = stored.read_steps(np.array([row]))[0].astype(int) - steps[place]
                assert np.abs(difference).max() <= 1


def test_an_attempt_has_noise_of_its_own(exact: ResolvedCohort) -> None:
    """Also beside every replicate: another replicate would make a duplicate."""
    rows = range(exact.plan.num_rows)
    keys = [
        key_of(exact.plan.spec, exact.plan.request_at(row), attempt=attempt)
        for row in rows
        for attempt in range(4)
    ]
    assert len(set(keys)) == len(keys)
    request = exact.plan.request_at(5)
    assert key_of(exact.plan.spec, request, attempt=2) == noise_key(
        cohort_seed=0,
        person=request.person,
        condition_digest=request.condition_digest,
        replicate=request.replicate,
        attempt=2,
    )


def test_recorded_attempts_give_back_the_same_bytes(exact: ResolvedCohort) -> None:
    twin = tiny_twin()
    stored = StoredSteps(exact.url)
    for manifest in manifests(exact.url):
        shard, attempts = manifest.shard, manifest.columns["attempt"]
        rows = np.arange(shard.start, shard.stop)
        whole, _ = quantise(remake_shard(twin, exact, shard, attempts))
        np.testing.assert_array_equal(whole, stored.read_steps(rows))
        for place in (0, len(attempts) - 1):
            alone, _ = quantise(remake_rows(twin, exact, shard, attempts, [place]))
            np.testing.assert_array_equal(alone[0], whole[place])


def test_made_twice_it_has_the_same_bytes(
    inputs: Path, tmp_path: Path, exact: ResolvedCohort
) -> None:
    again = made(inputs, tmp_path / "cohort", max_attempts=4)
    assert objects_under(again.url).keys() == objects_under(exact.url).keys()
    one, other = objects_under(again.url), objects_under(exact.url)
    assert [name for name in one if one[name] != other[name]] == []


def test_accept_all_draws_each_once_and_keeps_it(inputs: Path, tmp_path: Path) -> None:
    cohort = made(inputs, tmp_path / "cohort", accept="all")
    for manifest in manifests(cohort.url):
        assert set(manifest.columns["attempt"]) == {0}
        assert all(manifest.columns["accepted"])
        assert manifest.ledger_digest == ""
    assert not (tmp_path / "cohort" / "ledger").exists()


def test_the_usual_number_of_attempts_makes_no_other_cohort() -> None:
    assert GatesSpec(accept="exact", max_attempts=10) == GatesSpec(accept="exact")
    assert GatesSpec(accept="exact").attempts == 10
    assert GatesSpec().attempts == 1


def test_attempts_of_what_is_drawn_once_are_refused(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecificationError, match="has no meaning with 'accept: all'"):
        make_spec(inputs, tmp_path, gates={"max_attempts": 3})
