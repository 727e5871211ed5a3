"""The same bits however two ranks are started: torchrun, the command, two machines, a kill."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from ecgtwin.errors import SpecificationError
from ecgtwin.training import launch
from ecgtwin.training.launch import launch_ranks
from tests.training.launches import (
    check_same,
    command,
    free_port,
    job_words,
    log_lines,
    start,
    stop,
    wait_until,
)

pytestmark = [pytest.mark.deepspeed, pytest.mark.timeout(900)]

Machines = list[tuple[subprocess.Popen[bytes], Path]]  # with what each says


def num_lines(folder: Path) -> int:
    return len(log_lines(folder))


def ranks_of(launcher: subprocess.Popen[bytes]) -> list[psutil.Process]:
    children = psutil.Process(launcher.pid).children()
    return [child for child in children if "ecgtwin" in child.cmdline()]


@contextmanager
def two_machines(corpus: str, folder: Path, stage: str) -> Iterator[Machines]:
    """Start the command on both; what each says is in ``folder``."""
    logs = [folder / f"{rank}.txt" for rank in range(2)]
    words = [*job_words(corpus, folder, stage=stage), "--nodes=2"]
    words.append(f"--rendezvous=127.0.0.2:{free_port()}")
    machines = [
        (start(command(*words, f"--node-rank={rank}"), log), log) for rank, log in enumerate(logs)
    ]
    try:
        yield machines
    finally:
        stop(*(machine for machine, _ in machines))


def test_two_machines_of_one_process_equal_one_of_two(
    undisturbed_training: Path, corpus_to_train: str, tmp_path: Path
) -> None:
    with two_machines(corpus_to_train, tmp_path, "all") as machines:
        for machine, log in machines:
            assert machine.wait(240) == 0, log.read_text()
    assert log_lines(tmp_path) == log_lines(undisturbed_training)
    check_same(tmp_path, undisturbed_training)
    (_, first), (_, second) = machines
    assert "denoiser: 6 steps" in first.read_text()
    assert second.read_text() == ""


def test_a_sigterm_to_one_machine_ends_both_at_once(corpus_to_train: str, tmp_path: Path) -> None:
    with two_machines(corpus_to_train, tmp_path, "vae") as machines:
        (first, log), (second, other_log) = machines
        wait_until(lambda: num_lines(tmp_path) > 0, first, log)
        second.send_signal(signal.SIGTERM)
        assert second.wait(120) == 0, other_log.read_text()
        assert first.wait(30) == 0, log.read_text()
    assert "ended by SIGTERM at step" in log.read_text()
    assert other_log.read_text() == ""
    assert not (tmp_path / "twin").exists()


def test_sigterm_ends_well_and_no_rank_outlives_the_command(
    undisturbed_training: Path, corpus_to_train: str, tmp_path: Path
) -> None:
    """First the command is told to end, then it is killed; the third one finishes."""
    log = tmp_path / "said.txt"
    words = command(*job_words(corpus_to_train, tmp_path), "--processes=2")
    launcher = start(words, log)
    try:
        wait_until(lambda: num_lines(tmp_path) > 0, launcher, log)
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(120) == 0, log.read_text()
        said = log.read_text()
        assert "of vae, no twin was written; the same command goes on from here" in said
        assert "Traceback" not in said
        assert "Signal" not in said
        assert not (tmp_path / "twin").exists()

        launcher, before = start(words, log), num_lines(tmp_path)
        wait_until(lambda: num_lines(tmp_path) > before, launcher, log)
        ranks = ranks_of(launcher)
        assert len(ranks) == 2
        launcher.kill()
        _, alive = psutil.wait_procs(ranks, timeout=120)
        assert not alive
        assert log.read_text().count("ended by SIGTERM at step") == 2

        launcher = start(words, log)
        assert launcher.wait(240) == 0, log.read_text()
    finally:
        stop(launcher)
    check_same(tmp_path, undisturbed_training)


def test_a_mistake_that_every_rank_finds_is_told_once(
    undisturbed_training: Path, corpus_to_train: str, tmp_path: Path
) -> None:
    words = job_words(corpus_to_train, tmp_path, stage="vae")
    words += [f"--checkpoints={undisturbed_training / 'training'}", "--set=vae.kl_weight=0.5"]
    log = tmp_path / "said.txt"
    launcher = start(command(*words, "--set=vae.training.seed=4", "--processes=2"), log)
    try:
        assert launcher.wait(240) == 2, log.read_text()
    finally:
        stop(launcher)
    (line,) = log.read_text().splitlines()
    assert line.startswith("ecgtwin: error: ")
    assert "was made with recipe" in line


def test_machines_that_do_not_meet_are_one_line() -> None:
    """The port of the first one is taken by somebody else; signals are left as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    environment = dict(os.environ)
    with socket.socket() as listener:
        listener.bind(("127.0.0.2", 0))
        listener.listen()
        where = f"127.0.0.2:{listener.getsockname()[1]}"
        with pytest.raises(SpecificationError, match=f"--rendezvous {where}: 2 machines did not"):
            launch_ranks(1, ["train", "--help"], launch.Machines(2, 0, where))
    assert {number: signal.getsignal(number) for number in before} == before
    assert dict(os.environ) == environment
