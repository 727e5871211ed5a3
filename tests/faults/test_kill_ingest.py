"""Kill -9 anywhere, run the same command again: the corpus equals that of an undisturbed run."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecgtwin.store.verify import verify
from tests.faults.runs import CI_ROUNDS, ROUNDS, Run, fault_settings
from tests.sources.made import content

pytestmark = pytest.mark.faults

NUM_SHARDS = 5
WORDS = [
    "simulated", "--persons", "10", "--visits", "2", "--seed", "8",
    "--set", "rows_per_shard=4", "--set", "rows_per_chunk=4",
]  # fmt: skip


class Command:
    """``ecgtwin ingest`` of one corpus, to be run as often as it takes."""

    def __init__(self, folder: Path, *, workers: int = 1) -> None:
        folder.mkdir(exist_ok=True)
        self.corpus = folder / "corpus"
        self.log = folder / "log.txt"
        self._kills = folder / "kills"
        self._kills.mkdir()
        more = ["--workers", str(workers)] if workers > 1 else []
        self._words = ["ingest", WORDS[0], str(self.corpus), *WORDS[1:], *more]
        self._is_ray = workers > 1

    @contextmanager
    def started(self, *, kill: str = "", pause_s: float = 0.0) -> Iterator[Run]:
        settings = fault_settings(self._kills, kill=kill, pause_s=pause_s)
        run = Run(self._words, settings, self.log, own_process=self._is_ray)
        try:
            yield run
        finally:
            run.clean_up()

    def run(self, *, kill: str = "") -> int:
        with self.started(kill=kill) as run:
            return run.wait()

    def num_committed(self) -> int:
        return len(list((self.corpus / "manifest").glob("shard-*.parquet")))

    def num_deaths(self) -> int:
        return len(list(self._kills.iterdir()))

    def forget_deaths(self) -> None:
        for marker in self._kills.iterdir():
            marker.unlink()

    def objects(self) -> dict[str, bytes]:
        """Return every object but the pseudonym key, which is drawn, and notes of runs."""
        found = content(self.corpus)
        return {
            name: data
            for name, data in found.items()
            if not name.startswith(("runs/", "private/")) and "/." not in f"/{name}"
        }

    def check(self, undisturbed: dict[str, bytes]) -> None:
        assert verify(str(self.corpus)) == []
        found = self.objects()
        assert sorted(found) == sorted(undisturbed)
        assert [name for name in found if found[name] != undisturbed[name]] == []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    command = Command(tmp_path_factory.mktemp("undisturbed"))
    assert command.run() == 0, command.log.read_text()
    found = command.objects()
    assert "tables/complete.json" in found
    assert sum(name.startswith("ledger/") for name in found) == NUM_SHARDS  # the ground truth
    return found


def test_killed_at_each_step_of_a_commit_it_goes_on(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    command = Command(tmp_path)
    for number, step in enumerate(("encoded:1", "object:1", "ledger:2", "manifest:3"), start=1):
        assert command.run(kill=step) == -9, command.log.read_text()
        assert command.num_deaths() == number
    assert command.run() == 0, command.log.read_text()
    command.check(undisturbed)


def test_killed_at_each_put_before_and_after_the_shards_it_goes_on(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    """A run that was killed at put n has done n - 1; the next one dies at the same number again.

    So description, plan, key, metadata, and at the end each table are all interrupted once.
    """
    command = Command(tmp_path)
    for number in (1, 2, 3, 4, 6):
        assert command.run(kill=f"put:{number}") == -9, command.log.read_text()
    with command.started(kill="manifest:4") as run:  # the last shard
        assert run.wait() == -9
    assert command.num_committed() == NUM_SHARDS
    command.forget_deaths()
    number = 1  # puts that find their object still count, so this walks through the tables
    while (code := command.run(kill=f"put:{number}")) == -9:
        number += 1
        assert number < 40
    assert code == 0, command.log.read_text()
    assert command.num_deaths() >= 7  # plan, six tables and the last word
    assert (command.corpus / "tables" / "complete.json").exists()
    command.check(undisturbed)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_killed_at_a_random_moment_it_goes_on(
    tmp_path: Path, undisturbed: dict[str, bytes], seed: int
) -> None:
    choose = random.Random(seed)
    command = Command(tmp_path)
    with command.started(pause_s=0.02) as run:
        awaited = choose.randrange(NUM_SHARDS + 1)
        run.wait_until(lambda: command.num_committed() >= awaited)
        time.sleep(choose.uniform(0, 0.2))
        run.kill()
    assert command.run() == 0, command.log.read_text()
    command.check(undisturbed)


def test_driver_and_actors_killed_it_goes_on(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    """In CI its actors only: the driver of a cohort is killed there, by the same executor."""
    command = Command(tmp_path, workers=2)
    if ROUNDS > CI_ROUNDS:
        with command.started(pause_s=0.1) as first:
            first.wait_until(lambda: command.num_committed() >= 1)
            first.kill()
    with command.started(kill="object:3,manifest:4") as second:
        assert second.wait() == 0, command.log.read_text()
    command.check(undisturbed)
