"""A shard is a function of the plan: not of its neighbours, of who makes it, or how often."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from ecgtwin.diffusion.noise_key import noise_key, standard_normal
from ecgtwin.errors import CohortMismatchError, SpecificationError
from ecgtwin.generation.draw import AbandonedError
from ecgtwin.generation.prepare import ResolvedCohort, resolve_cohort, write_plan
from ecgtwin.generation.worker import GenerateShard, generate_shard
from ecgtwin.signals.beats import measure
from ecgtwin.store.reader import Cohort
from ecgtwin.twin.twin import EcgTwin
from tests.generation.corpora import Row, make_corpus, make_spec, objects_under
from tests.generation.drawn import draw_rows
from tests.tiny import TINY_PUBLISHED, tiny_twin


@pytest.fixture
def twin() -> EcgTwin:
    return tiny_twin()


def test_a_row_is_the_same_ecg_in_any_batch_of_the_same_size(
    inputs: Path, tmp_path: Path, twin: EcgTwin
) -> None:
    cohort = resolve_cohort(make_spec(inputs, tmp_path / "cohort", batch_rows=8))
    requests = [cohort.plan.request_at(row) for row in range(8)]
    together = draw_rows(twin, cohort.plan, cohort.base_vectors, requests)
    assert together.shape == (8, 12, 1024)
    alone = draw_rows(twin, cohort.plan, cohort.base_vectors, requests[5:6])
    np.testing.assert_allclose(alone[0], together[5], atol=1e-4)
    assert np.abs(together[4] - together[5]).max() > 0.01


def test_shared_noise_is_shared_between_conditions_and_not_between_persons(
    inputs: Path, tmp_path: Path, twin: EcgTwin
) -> None:
    """One person whose two conditions are told apart by rate only, far below what noise does."""
    wanted = [{"heart_rate_bpm": [70, 70.001]}]
    apart, shared = (
        _drawn(inputs, tmp_path / name, twin, conditions=wanted, share_noise=share_noise)
        for name, share_noise in (("apart", False), ("shared", True))
    )
    same_person = [np.abs(drawn[0] - drawn[1]).max() for drawn in (apart, shared)]
    assert same_person[1] < 0.01 < same_person[0]
    assert np.abs(shared[0] - shared[2]).max() > 0.01


def _drawn(inputs: Path, url: Path, twin: EcgTwin, **changes: object) -> np.ndarray:
    cohort = resolve_cohort(make_spec(inputs, url, **changes))
    requests = [cohort.plan.request_at(row) for row in range(cohort.plan.num_rows)]
    return draw_rows(twin, cohort.plan, cohort.base_vectors, requests)


def _made(inputs: Path, url: Path) -> ResolvedCohort:
    cohort = write_plan(resolve_cohort(make_spec(inputs, url)))
    work = GenerateShard(cohort.plan.spec)
    for shard in cohort.plan.shards():
        work(shard)
    return cohort


def test_the_manifest_says_what_was_asked_for_and_what_was_measured(
    inputs: Path, tmp_path: Path
) -> None:
    plan = _made(inputs, tmp_path / "cohort").plan
    stored = Cohort(str(tmp_path / "cohort"))
    assert len(stored) == plan.num_rows == 12
    for position in range(12):
        request = plan.request_at(position)
        assert stored.columns["person"][position] == request.person
        asked = request.condition
        assert stored.columns["sex"][position] == asked.sex
        assert stored.columns["statements"][position] == [line.code for line in asked.statements]
        assert stored.columns["age_years"][position] == asked.age_years
        assert stored.columns["heart_rate_bpm"][position] == asked.heart_rate_bpm
        found = measure(stored.samples_mv([position])[0], sampling_rate_hz=102.4)
        measured = stored.columns["measured_heart_rate_bpm"][position]
        assert measured == pytest.approx(found.heart_rate_bpm)
    assert stored.columns["attempt"] == [0] * 12
    assert max(stored.columns["limb_residual_mv"]) <= 0.0025 + 1e-6


@pytest.mark.parametrize("by_strata", [False, True])
def test_what_constraints_leave_out_is_not_made(
    inputs: Path, tmp_path: Path, twin: EcgTwin, by_strata: bool
) -> None:
    """Persons p1 (41 years), p2 (unknown), p3 (60): the fast rate is for nobody over 50."""
    one = {"statements": ["sinus rhythm"], "heart_rate_bpm": [60, 170]}
    spec = make_spec(
        inputs,
        tmp_path / "cohort",
        conditions={"strata": [{**one, "count": 9}]} if by_strata else [one],
        constraints=["condition.heart_rate_bpm < 170 or patient.age_years <= 50"],
        replicates=1 if by_strata else 3,
    )
    cohort = write_plan(resolve_cohort(spec))
    for shard in cohort.plan.shards():
        generate_shard(twin, cohort, shard)
    manifest = Cohort(cohort.url).columns
    rates = list(zip(manifest["age_years"], manifest["heart_rate_bpm"], strict=True))
    fast, slow = ([age for age, rate in rates if rate == wanted] for wanted in (170, 60))
    assert set(fast) == {41.0}
    assert (len(fast), len(slow)) == ((4, 5) if by_strata else (3, 9))
    assert {41.0, 60.0} < set(slow)
    names = ("person", "heart_rate_bpm", "replicate")
    triples = zip(*(manifest[name] for name in names), strict=True)
    assert len(set(triples)) == len(rates)


def test_making_a_shard_again_changes_nothing(inputs: Path, tmp_path: Path) -> None:
    cohort = _made(inputs, tmp_path / "cohort")
    before = objects_under(cohort.url)
    again = GenerateShard(cohort.plan.spec)(cohort.plan.shards()[1])
    assert not again.was_ours
    assert objects_under(cohort.url) == before


def test_a_worker_that_outlives_its_cohort_commits_nothing(inputs: Path, tmp_path: Path) -> None:
    """The cohort was deleted and another one planned in its place, or none."""
    url = tmp_path / "cohort"
    cohort = write_plan(resolve_cohort(make_spec(inputs, url)))
    work = GenerateShard(cohort.plan.spec)
    work(cohort.plan.shards()[0])
    shutil.rmtree(url)
    write_plan(resolve_cohort(make_spec(inputs, url, seed=1)))
    before = objects_under(str(url))
    with pytest.raises(CohortMismatchError, match="holds plan"):
        work(cohort.plan.shards()[1])
    assert objects_under(str(url)) == before
    shutil.rmtree(url)
    with pytest.raises(CohortMismatchError, match="holds no plan"):
        work(cohort.plan.shards()[1])
    assert not url.exists()


def test_work_travels_without_its_networks(inputs: Path, tmp_path: Path) -> None:
    cohort = write_plan(resolve_cohort(make_spec(inputs, tmp_path / "cohort")))
    work = GenerateShard(cohort.plan.spec)
    work(cohort.plan.shards()[0])
    assert len(pickle.dumps(work)) < 10_000
    assert pickle.loads(pickle.dumps(work))(cohort.plan.shards()[1]).num_rows == 4


def test_a_worker_in_another_folder_finds_relative_paths(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    spec = make_spec(inputs, os.path.relpath(tmp_path / "cohort"), checkpoint="twin")
    cohort = write_plan(resolve_cohort(spec))
    work = GenerateShard(spec)
    monkeypatch.chdir(tmp_path)
    work(cohort.plan.shards()[0])
    assert (tmp_path / "cohort" / "manifest" / "shard-000000000.parquet").exists()


def test_a_row_that_is_not_finite_keeps_its_place_and_is_not_accepted(
    inputs: Path, tmp_path: Path, twin: EcgTwin
) -> None:
    cohort = write_plan(resolve_cohort(make_spec(inputs, tmp_path / "cohort")))
    broken = ResolvedCohort(
        cohort.url, cohort.plan, cohort.layout, cohort.references, cohort.inputs
    )
    broken.references[0].base_vector[:] = np.nan
    shard = cohort.plan.shards()[0]  # four rows, all of the first person
    result = generate_shard(twin, broken, shard)
    assert (result.num_rows, result.num_accepted) == (4, 0)
    stored = Cohort(cohort.url)
    assert len(stored) == 0
    assert stored.columns["gate_failures"] == [["not finite"]] * 4


CHAIN = {"sampler": "ddpm", "num_steps": 4, "clip_sample": True}
KNOWN_STATES = [{"statements": ["sinus rhythm"], "heart_rate_bpm": [60, 90, 120]}]


@pytest.fixture(scope="module")
def published_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Persons of known rate, age and sex, and networks that need all three."""
    folder = tmp_path_factory.mktemp("published")
    make_corpus(str(folder / "corpus"), [Row("p1", 0), Row("p2", 0, sex="male")])
    tiny_twin(spec=TINY_PUBLISHED).save(str(folder / "twin"), provenance={})
    return folder


def test_the_noise_of_every_step_is_keyed_by_the_row(
    published_inputs: Path, tmp_path: Path
) -> None:
    twin = tiny_twin(spec=TINY_PUBLISHED)
    cohort = resolve_cohort(
        make_spec(published_inputs, tmp_path, conditions=KNOWN_STATES, sampling=CHAIN, batch_rows=6)
    )
    requests = [cohort.plan.request_at(row) for row in range(6)]
    together = draw_rows(twin, cohort.plan, cohort.base_vectors, requests)
    backwards = draw_rows(twin, cohort.plan, cohort.base_vectors, requests[::-1])
    np.testing.assert_allclose(backwards[::-1], together, atol=1e-4)
    wanted = requests[4]
    key = noise_key(
        cohort_seed=0,
        person=wanted.person,
        condition_digest=wanted.condition_digest,
        replicate=0,
        attempt=0,
    )

    def noise(step: int) -> np.ndarray:
        return standard_normal([key], twin.latent_shape, step=step).astype(np.float32)

    alone = twin.draw(
        cohort.base_vectors[[wanted.patient_index]],
        [wanted.condition],
        noise(0),
        twin.spec.sampling,
        noise_at=lambda index: noise(1 + index),
    )
    np.testing.assert_allclose(alone[0], together[4], atol=1e-4)


def test_workers_that_add_noise_make_the_same_objects_in_any_order(
    published_inputs: Path, tmp_path: Path
) -> None:
    """One worker makes both shards, or two workers one each, the last one first."""
    made = []
    for name in ("one", "two"):
        spec = make_spec(published_inputs, tmp_path / name, conditions=KNOWN_STATES, sampling=CHAIN)
        cohort = write_plan(resolve_cohort(spec))
        shards = cohort.plan.shards()
        workers = [GenerateShard(cohort.plan.spec) for _ in shards]
        if name == "one":
            for shard in shards:
                workers[0](shard)
        else:
            for worker, shard in reversed(list(zip(workers, shards, strict=True))):
                worker(shard)
        made.append(objects_under(cohort.url))
    assert made[0] == made[1]


def test_a_sampler_that_the_networks_do_not_follow_is_refused_before_the_plan(
    inputs: Path, tmp_path: Path
) -> None:
    with pytest.raises(SpecificationError, match="euler, heun"):
        resolve_cohort(make_spec(inputs, tmp_path / "cohort", sampling=CHAIN))
    assert not (tmp_path / "cohort").exists()


def test_what_is_abandoned_ends_between_batches_and_writes_nothing(
    inputs: Path, tmp_path: Path
) -> None:
    cohort = write_plan(resolve_cohort(make_spec(inputs, tmp_path / "cohort")))
    work = GenerateShard(cohort.plan.spec)
    shards = cohort.plan.shards()
    work(shards[0])
    before = objects_under(cohort.url)
    work.abandon()
    with pytest.raises(AbandonedError):
        work(shards[1])
    assert objects_under(cohort.url) == before
    assert pickle.loads(pickle.dumps(work))(shards[1]).num_accepted == 4
