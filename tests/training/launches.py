"""One short training of all three networks, to be started in whatever way; what it comes to."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from ecgtwin.spec.recipe import STAGES
from ecgtwin.training.state import checkpoints
from tests.training.corpora import many_rows, write_corpus

REPOSITORY = Path(__file__).parents[2]
DEADLINE_S = 240.0
NUM_STEPS = 6
SETTINGS = [
    f"--set={stage}.training.{name}={value}"
    for stage in STAGES
    for name, value in (
        ("num_steps", NUM_STEPS),
        ("batch_size", 8),
        ("warmup_steps", 2),
        ("checkpoint_every", 2),
        ("log_every", 1),
    )
]
TORCHRUN = (
    sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
    "--nproc-per-node", "2",
)  # fmt: skip


def make_corpus(folder: Path) -> str:
    """Write the corpus of the training; return its URL."""
    return write_corpus(str(folder / "corpus"), many_rows(24))


def job_words(corpus: str, folder: Path, stage: str = "all") -> list[str]:
    """Return the words of the training into ``folder``."""
    places = [f"--corpus={corpus}", f"--out={folder / 'twin'}", f"--folder={folder / 'training'}"]
    return [stage, "tiny", *SETTINGS, *places]


def environment(**settings: str) -> dict[str, str]:
    """Return one in which no process believes to be a rank, on loopback, with one thread."""
    ours = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "DS_ACCELERATOR": "cpu"}
    kept = os.environ | ours | {"GLOO_SOCKET_IFNAME": "lo"} | settings
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        kept.pop(name, None)
    return kept


def start(words: list[str], log: Path, **settings: str) -> subprocess.Popen[bytes]:
    """Start a process; what it says is appended to ``log``."""
    with log.open("a") as out:
        return subprocess.Popen(
            words, env=environment(**settings), stdout=out, stderr=subprocess.STDOUT, cwd=REPOSITORY
        )


def command(*words: str) -> list[str]:
    """Return the command line of ``ecgtwin train WORDS``."""
    return [sys.executable, "-m", "ecgtwin", "train", *words]


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait; AssertionError with what was said where it takes too long, or the process ends."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def stop(*processes: subprocess.Popen[bytes]) -> None:
    """Kill what is left of them and of all that they started."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
            for member in [*family, psutil.Process(process.pid)]:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
        process.wait()


def log_lines(folder: Path) -> list[dict[str, object]]:
    """Return the log without what depends on the clock."""
    path = folder / "training" / "log.jsonl"
    kept = ("stage", "step", "loss", "gradient_norm", "learning_rate", "validation", "average")
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{name: line[name] for name in kept if name in line} for line in lines]


def files(folder: Path, stages: Sequence[str] = STAGES) -> dict[str, bytes]:
    """Return the final training checkpoints, the selected weights and the twin, byte by byte."""
    found = {}
    for stage in stages:
        url = checkpoints(folder / "training" / stage)[-1]
        assert url.endswith(f"step-{NUM_STEPS:08d}"), url
        found |= {f"{stage}/{path.name}": path.read_bytes() for path in Path(url).iterdir()}
        best = folder / "training" / stage / "best.safetensors"
        found[f"{stage}/best"] = best.read_bytes()
        found[f"twin/{stage}"] = (folder / "twin" / f"{stage}.safetensors").read_bytes()
    return found


def check_same(folder: Path, other: Path, stages: Sequence[str] = STAGES) -> None:
    """Compare by name, so that a failure does not print megabytes."""
    one, two = files(folder, stages), files(other, stages)
    assert sorted(one) == sorted(two)
    assert [name for name in one if one[name] != two[name]] == []
