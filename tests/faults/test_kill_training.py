"""Kill -9 anywhere in a training, run the same command again: the same bits as undisturbed.

Real processes of the command line train all three networks; every tensor of the last training
checkpoint of each stage is compared, moments and moving averages too, and the twin that came of it.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from ecgtwin.spec.recipe import STAGES, load_recipe
from ecgtwin.training.state import latest_checkpoint, read_checkpoint
from tests.faults.disks import make_room, small_disk
from tests.faults.runs import CI_ROUNDS, ROUNDS, Run, fault_settings
from tests.training.corpora import Row, write_corpus

pytestmark = pytest.mark.faults

NUM_STEPS = 12
RANDOM_ROUNDS = ROUNDS if ROUNDS > CI_ROUNDS else 3
ROUNDS_A_TEST = 10  # within pytest's limit of time


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus and a recipe."""
    folder = tmp_path_factory.mktemp("inputs")
    rows = [
        Row(f"p{number}", f"{number}-{visit}", "validation" if number % 4 == 3 else "train")
        for number in range(12)
        for visit in range(2)
    ]
    write_corpus(str(folder / "corpus"), rows)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe()))
    return folder


def recipe() -> dict[str, object]:
    """The recipe of ``tiny``, made short."""
    spec = load_recipe("tiny").model_dump(mode="json")
    for stage in STAGES:
        spec[stage]["training"] |= {
            "num_steps": NUM_STEPS,
            "batch_size": 4,
            "micro_batch_size": 2,
            "warmup_steps": 2,
            "checkpoint_every": 3,
            "log_every": 1,
            "ema_decays": [0.9, 0.99],
            "panel_every": 1000,
        }
    return spec


class Training:
    """``ecgtwin train all``, to be run as often as it takes."""

    def __init__(self, inputs: Path, folder: Path, *, num_ranks: int) -> None:
        folder.mkdir(exist_ok=True)
        self.inputs, self.folder, self.num_ranks = inputs, folder, num_ranks
        self.log = folder / "output.txt"
        self.lines = folder / "training" / "log.jsonl"

    @contextmanager
    def started(self) -> Iterator[Run]:
        engine = ["--engine", "torch"]
        if self.num_ranks > 1:
            engine = ["--engine", "deepspeed", "--processes", str(self.num_ranks)]
        words = [
            *("train", "all", str(self.inputs / "recipe.yaml")),
            *("--corpus", str(self.inputs / "corpus")),
            *("--out", str(self.folder / "twin"), "--folder", str(self.folder / "training")),
            *engine,
        ]
        settings = fault_settings(self.folder)
        run = Run(words, settings, self.log, own_process=self.num_ranks > 1)
        try:
            yield run
        finally:
            run.clean_up()

    def finish(self) -> None:
        with self.started() as run:
            assert run.wait() == 0, self.log.read_text()

    def num_lines(self) -> int:
        """Return how many lines the log has: one a step, and those of validation."""
        return len(self.lines.read_text().splitlines()) if self.lines.exists() else 0

    def files(self) -> dict[str, bytes]:
        """Return what it came to: the last checkpoint of each stage, the selected weights."""
        training, found = self.folder / "training", {}
        for stage in STAGES:
            newest = latest_checkpoint(training / stage)
            assert newest is not None, stage
            assert newest.endswith(f"step-{NUM_STEPS:08d}")
            state, _, _ = read_checkpoint(newest)
            assert sorted(state.averages) == ["ema_0.9", "ema_0.99"]
            for path in sorted(Path(newest).iterdir()):
                found[f"{stage}/{path.name}"] = path.read_bytes()
            found[f"{stage}/best"] = (training / stage / "best.safetensors").read_bytes()
        for path in sorted((self.folder / "twin").iterdir()):
            found[f"twin/{path.name}"] = path.read_bytes()
        return found


def same(found: dict[str, bytes], wanted: dict[str, bytes]) -> bool:
    """Compare by name, so that a failure does not print megabytes."""
    assert sorted(found) == sorted(wanted)
    assert [name for name in found if found[name] != wanted[name]] == []
    return True


@pytest.fixture(scope="module", params=[1, 2], ids=["torch", "deepspeed-2-ranks"])
def undisturbed(
    request: pytest.FixtureRequest, inputs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, dict[str, bytes], int]:
    """Ranks, what they come to when nobody disturbs them, and the lines of their log."""
    training = Training(inputs, tmp_path_factory.mktemp("undisturbed"), num_ranks=request.param)
    training.finish()
    return request.param, training.files(), training.num_lines()


@pytest.mark.parametrize("first", range(0, RANDOM_ROUNDS, ROUNDS_A_TEST))
def test_kills_at_random_steps_change_no_bit(
    undisturbed: tuple[int, dict[str, bytes], int], inputs: Path, tmp_path: Path, first: int
) -> None:
    """Round after round in new folders, each killed once; fewer where two ranks have to start."""
    num_ranks, wanted, num_lines = undisturbed
    rounds = min(RANDOM_ROUNDS - first, ROUNDS_A_TEST)
    choose = random.Random(num_ranks + first)
    for number in range(rounds if num_ranks == 1 else 1 + rounds // 7):
        training = Training(inputs, tmp_path / str(number), num_ranks=num_ranks)
        awaited = choose.randrange(1, num_lines - 1)
        with training.started() as run:
            run.wait_until(lambda: training.num_lines() >= awaited)  # noqa: B023  (called at once)
            time.sleep(choose.uniform(0, 0.3))
            assert run.exit_code is None, training.log.read_text()
            if num_ranks > 1:  # a rank alone: torchrun ends the others
                ranks = [one for one in run.descendants() if "ecgtwin" in one.cmdline()]
                choose.choice(ranks).kill()
                assert run.wait() != 0
            else:
                run.kill()
        training.finish()
        assert same(training.files(), wanted), f"round {number}, killed after line {awaited}"


def test_a_full_disk_ends_in_a_run_that_goes_on(
    undisturbed: tuple[int, dict[str, bytes], int], inputs: Path, tmp_path: Path
) -> None:
    num_ranks, wanted, _ = undisturbed
    one_checkpoint = sum(len(wanted[name]) for name in wanted if name.startswith("vae/"))
    training = Training(inputs, tmp_path / "full", num_ranks=num_ranks)
    disk = training.folder / "training"
    with small_disk(disk, int(2.2 * one_checkpoint)):
        with training.started() as run:
            assert run.wait() != 0, training.log.read_text()
        said = training.log.read_text()
        assert "could not be written" in said
        assert "run the same command again" in said
        assert latest_checkpoint(disk / "vae") is not None
        make_room(disk)
        training.finish()
        assert same(training.files(), wanted)
