"""SIGTERM to the command: it ends as it was asked to, and the same command goes on from there."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.run import generate_cohort
from ecgtwin.store.verify import verify
from tests.faults.runs import DEADLINE_S, REPOSITORY, fault_settings
from tests.generation.corpora import make_checkpoint, make_corpus, make_spec, objects_under

pytestmark = pytest.mark.faults

STOPPED = "stopped by SIGTERM; the same command goes on from here"
REPLICATES = 6
NUM_SHARDS = 18  # more than two workers hold at a time
STEP_S = 0.5  # each of a shard's steps waits this long
LONG_STEP_S = 3.0


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_corpus(str(folder / "corpus"))
    make_checkpoint(folder / "twin")
    return folder


@pytest.fixture(scope="module")
def undisturbed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    spec = make_spec(
        inputs, tmp_path_factory.mktemp("undisturbed") / "cohort", replicates=REPLICATES
    )
    assert generate_cohort(spec, executor=LocalExecutor()).is_complete
    return objects_under(spec.output.url)


class Generation:
    """``ecgtwin generate`` of one cohort, in a process of its own."""

    def __init__(self, inputs: Path, folder: Path, executor: str) -> None:
        spec = make_spec(inputs, folder / "cohort", replicates=REPLICATES)
        self.url = Path(spec.output.url)
        self.log = folder / "log.txt"
        path = folder / "cohort.yaml"
        path.write_text(yaml.safe_dump(spec.model_dump(mode="json")))
        workers = ["--workers", "2"] if executor == "ray" else []
        self._words = ["generate", str(path), "--executor", executor, *workers]
        self._kills = folder / "kills"

    def start(self, *options: str, step_s: float = 0.0) -> subprocess.Popen[bytes]:
        with self.log.open("a") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "ecgtwin", *self._words, *options],
                cwd=REPOSITORY,
                env=os.environ | fault_settings(self._kills, pause_s=step_s),
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def num_committed(self) -> int:
        return len(list((self.url / "manifest").glob("shard-*.parquet")))

    def recorded(self) -> set[int]:
        lines = [path.read_text() for path in self.url.glob("runs/*/*.jsonl")]
        return {json.loads(line)["shard"] for line in "".join(lines).splitlines()}

    def wait_for(self, num_committed: int, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while self.num_committed() < num_committed:
            assert process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, "nothing is committed"
            time.sleep(0.02)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """What a test started; ended by process id with all that it began."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
        process.wait()


@pytest.mark.parametrize("executor", ["local", "ray"])
@pytest.mark.parametrize("on_preempt", ["finish", "abandon"])
def test_sigterm_ends_a_run_that_goes_on_from_there(
    inputs: Path,
    tmp_path: Path,
    undisturbed: dict[str, bytes],
    started: list[subprocess.Popen[bytes]],
    executor: str,
    on_preempt: str,
) -> None:
    generation = Generation(inputs, tmp_path, executor)
    process = generation.start("--on-preempt", on_preempt, step_s=STEP_S)
    started.append(process)
    generation.wait_for(1, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 143, generation.log.read_text()
    assert generation.log.read_text().count(STOPPED) == 1
    committed = generation.num_committed()
    assert 1 <= committed < NUM_SHARDS
    if on_preempt == "finish":  # nothing was begun and not ended
        objects = list((generation.url / "signals.zarr" / "samples_mv" / "c").glob("*/0/0"))
        assert len(generation.recorded()) == committed == len(objects)
    again = generation.start()
    started.append(again)
    assert again.wait(DEADLINE_S) == 0, generation.log.read_text()
    assert verify(str(generation.url)) == []
    assert objects_under(str(generation.url)) == undisturbed


def test_the_grace_time_has_an_end(
    inputs: Path, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    """A shard's steps take longer than the grace time: what is in flight is abandoned."""
    generation = Generation(inputs, tmp_path, "local")
    process = generation.start("--grace-s", "0.5", step_s=LONG_STEP_S)
    started.append(process)
    generation.wait_for(1, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 143
    assert STOPPED in generation.log.read_text()
    assert 1 <= generation.num_committed() < NUM_SHARDS


def test_a_second_sigterm_ends_at_once(
    inputs: Path, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    generation = Generation(inputs, tmp_path, "local")
    process = generation.start("--grace-s", str(DEADLINE_S), step_s=LONG_STEP_S)
    started.append(process)
    generation.wait_for(1, process)
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 143
    assert STOPPED not in generation.log.read_text()
    assert 1 <= generation.num_committed() < NUM_SHARDS
