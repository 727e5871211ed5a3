"""The Slurm script, with commands of Slurm that start two machines on loopback addresses."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.launches import (
    REPOSITORY,
    check_same,
    environment,
    free_port,
    job_words,
    log_lines,
    stop,
    wait_until,
)

SCRIPT = REPOSITORY / "deploy" / "slurm-train.sh"
# What the script uses of Slurm: every task of a step gets a SIGTERM that scancel sends.
COMMANDS = {
    "scontrol": """
        echo "scontrol $*" >> "$CALLS"
        if [ "$1" = show ]; then printf '127.0.0.2\\n127.0.0.3\\n'; fi
    """,
    "scancel": """
        echo "scancel $*" >> "$CALLS"
        kill -TERM $(cat "$TASKS")
    """,
    "srun": """
        while [[ $1 == --* ]]; do shift; done
        : > "$TASKS"
        for node in 0 1; do
            SLURM_NODEID=$node "$@" &
            echo $! >> "$TASKS"
        done
        code=0
        for task in $(cat "$TASKS"); do wait "$task" || code=$?; done
        exit $code
    """,
}


class Slurm:
    """A job of two machines, to be run again where it is requeued."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls, self.log = folder, folder / "calls", folder / "said.txt"
        binaries = folder / "bin"
        binaries.mkdir()
        for name, text in COMMANDS.items():
            (binaries / name).write_text(f"#!/usr/bin/env bash\n{text}")
            (binaries / name).chmod(0o755)
        self.calls.touch()
        self.environment = environment(
            CALLS=str(self.calls),
            TASKS=str(folder / "tasks"),
            SLURM_JOB_ID="17",
            SLURM_JOB_NODELIST="node[1-2]",
            SLURM_JOB_NUM_NODES="2",
            ECGTWIN=str(Path(sys.executable).with_name("ecgtwin")),
            ECGTWIN_PORT=str(free_port()),
        )
        self.environment["PATH"] = f"{binaries}:{self.environment['PATH']}"

    def start(self, words: list[str]) -> subprocess.Popen[bytes]:
        with self.log.open("a") as out:
            return subprocess.Popen(
                [SCRIPT, *words], env=self.environment, stdout=out, stderr=subprocess.STDOUT
            )

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.mark.deepspeed
@pytest.mark.timeout(900)
def test_told_to_end_it_goes_back_into_the_queue_and_on_from_there(
    undisturbed_training: Path, corpus_to_train: str, tmp_path: Path
) -> None:
    slurm, words = Slurm(tmp_path), job_words(corpus_to_train, tmp_path, stage="vae")
    hosts = "scontrol show hostnames node[1-2]"
    job = slurm.start(words)
    try:
        wait_until(lambda: len(log_lines(tmp_path)) > 0, job, slurm.log)
        job.send_signal(signal.SIGTERM)  # to the script alone, as --signal=B: does
        assert job.wait(240) == 0, slurm.log.read_text()
        assert "ended by SIGTERM at step" in slurm.log.read_text()
        assert slurm.called() == [hosts, "scancel --signal=TERM 17", "scontrol requeue 17"]
        assert not (tmp_path / "twin").exists()

        job = slurm.start(words)
        assert job.wait(240) == 0, slurm.log.read_text()
    finally:
        stop(job)
    assert slurm.called()[3:] == [hosts]
    check_same(tmp_path, undisturbed_training, stages=["vae"])


@pytest.mark.deepspeed
def test_a_mistake_ends_the_job_and_is_not_tried_again(tmp_path: Path) -> None:
    slurm = Slurm(tmp_path)
    words = ["all", "nothing", "--corpus=c", "--out=o", "--folder=f"]
    job = slurm.start(words)
    try:
        assert job.wait(240) == 2, slurm.log.read_text()
    finally:
        stop(job)
    assert "recipe 'nothing' cannot be read" in slurm.log.read_text()
    assert slurm.called() == ["scontrol show hostnames node[1-2]"]


def test_it_is_a_shell_script_without_a_fault() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    if shutil.which("shellcheck") is not None:
        checked = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout


def test_slurm_is_told_to_warn_and_may_run_it_again() -> None:
    options = [line for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH ")]
    for wanted in ("--ntasks-per-node=1", "--signal=B:TERM@120", "--requeue", "--open-mode=append"):
        assert f"#SBATCH {wanted}" in options
