"""Kill -9 anywhere, run the same command again: the cohort equals that of an undisturbed run.

Real processes, started by the command line. The corpus and the networks are tiny.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.run import generate_cohort
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.store.verify import verify
from tests.faults.runs import ROUNDS, Run, fault_settings
from tests.generation.corpora import make_checkpoint, make_corpus, make_spec, objects_under

pytestmark = pytest.mark.faults

NUM_SHARDS = 6


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_corpus(str(folder / "corpus"))
    make_checkpoint(folder / "twin")
    return folder


@pytest.fixture(scope="module")
def undisturbed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    spec = specification(inputs, tmp_path_factory.mktemp("undisturbed") / "cohort")
    assert generate_cohort(spec, executor=LocalExecutor()).is_complete
    return objects_under(spec.output.url)


def specification(inputs: Path, url: Path) -> CohortSpec:
    return make_spec(inputs, url, replicates=2)  # 24 rows, six shards


class Command:
    """``ecgtwin generate`` of one cohort, to be run as often as it takes."""

    def __init__(self, inputs: Path, folder: Path, executor: str) -> None:
        spec = specification(inputs, folder / "cohort")
        self.url = spec.output.url
        self.log = folder / "log.txt"
        self._kills = folder / "kills"
        self._kills.mkdir()
        path = folder / "cohort.yaml"
        path.write_text(yaml.safe_dump(spec.model_dump(mode="json")))
        self._is_ray = executor == "ray"
        workers = ["--workers", "2"] if executor == "ray" else []
        self._words = ["generate", str(path), "--executor", executor, *workers]

    @contextmanager
    def started(self, *, kill: str = "", pause_s: float = 0.0) -> Iterator[Run]:
        """Start it; the processes named by ``kill`` die at these steps, each once."""
        settings = fault_settings(self._kills, kill=kill, pause_s=pause_s)
        run = Run(self._words, settings, self.log, own_process=self._is_ray)
        try:
            yield run
        finally:
            run.clean_up()

    def run(self, *, kill: str = "") -> int:
        """Run it to its end; return the exit code."""
        with self.started(kill=kill) as run:
            return run.wait()

    def num_committed(self) -> int:
        return len(list((Path(self.url) / "manifest").glob("shard-*.parquet")))

    def has_died_at(self) -> list[str]:
        return sorted(path.name for path in self._kills.iterdir())

    def check(self, undisturbed: dict[str, bytes]) -> None:
        """The cohort is whole and the same, object by object."""
        assert verify(self.url) == []
        found = objects_under(self.url)
        assert sorted(found) == sorted(undisturbed)
        assert [name for name in found if found[name] != undisturbed[name]] == []


STEPS = ("encoded:1", "object:1", "ledger:1", "manifest:1")


def test_a_process_killed_at_each_step_of_a_commit_is_gone_on_from(
    inputs: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    """Each run begins where the one before was killed, the first in the middle of the plan."""
    command = Command(inputs, tmp_path, "local")
    for step in ("put:3", *STEPS):
        assert command.run(kill=step) == -9, command.log.read_text()
        assert command.num_committed() == {"put:3": 0, "manifest:1": 2}.get(step, 1)
    assert command.run() == 0, command.log.read_text()
    assert command.has_died_at() == sorted(["put:3", *STEPS])
    command.check(undisturbed)


def test_actors_killed_at_each_step_are_replaced_and_the_same_run_finishes(
    inputs: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    command = Command(inputs, tmp_path, "ray")
    steps = ["encoded:1", "object:2", "ledger:3", "manifest:4"]
    assert command.run(kill=",".join(steps)) == 0, command.log.read_text()
    assert command.has_died_at() == sorted(steps)
    command.check(undisturbed)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_process_killed_at_a_random_moment_is_gone_on_from(
    inputs: Path, tmp_path: Path, undisturbed: dict[str, bytes], seed: int
) -> None:
    choose = random.Random(seed)
    command = Command(inputs, tmp_path, "local")
    with command.started(pause_s=0.02) as run:
        awaited = choose.randrange(NUM_SHARDS)
        run.wait_until(lambda: Path(command.url).exists() and command.num_committed() >= awaited)
        time.sleep(choose.uniform(0, 0.2))
        run.kill()
    assert command.run() == 0, command.log.read_text()
    command.check(undisturbed)


@pytest.mark.parametrize("seed", range(1 + ROUNDS // 10))  # these take longer
def test_driver_and_actors_killed_at_random_moments_are_gone_on_from(
    inputs: Path, tmp_path: Path, undisturbed: dict[str, bytes], seed: int
) -> None:
    choose = random.Random(100 + seed)
    command = Command(inputs, tmp_path, "ray")
    with command.started(pause_s=0.1) as first:
        first.wait_until(lambda: command.num_committed() >= 1)
        time.sleep(choose.uniform(0, 0.3))
        first.kill()
    with command.started(pause_s=0.1) as second:
        awaited = command.num_committed() + 1
        second.wait_until(lambda: command.num_committed() >= awaited)
        time.sleep(choose.uniform(0, 0.3))
        actors = second.actors()
        if actors:
            choose.choice(actors).kill()
        assert second.wait() == 0, command.log.read_text()
    command.check(undisturbed)
