"""``ecgtwin submit generate`` against a Ray head of its own, with a token, by real commands."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml

from ecgtwin.errors import SpecificationError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.run import generate_cohort
from ecgtwin.spec.cohort import CohortSpec
from ray_jobs.submit import submit_generate
from tests.generation.corpora import make_checkpoint, make_corpus, make_spec, objects_under

REPOSITORY = Path(__file__).parents[2]
START_S, COMMAND_S = 90.0, 240.0


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_corpus(str(folder / "corpus"))
    make_checkpoint(folder / "twin")
    return folder


def write(spec: CohortSpec, folder: Path) -> Path:
    path = folder / "a cohort.yaml"
    path.write_text(yaml.safe_dump(spec.model_dump(mode="json")))
    return path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass(frozen=True)
class Head:
    """A running Ray head: the address of its dashboard and the environment to reach it with."""

    address: str
    environment: dict[str, str]

    def submit(self, path: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "ecgtwin",
                "submit",
                "generate",
                path,
                "--address",
                self.address,
            ],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """Two CPUs on an address of its own, so that it meets no other cluster of this machine."""
    binaries = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # socket paths must be short
    dashboard = free_port()
    options = {
        "node-ip-address": "127.0.0.3",
        "port": free_port(),
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": free_port(),
        "ray-client-server-port": free_port(),
        "num-cpus": 2,
        "object-store-memory": 100 * 1024**2,
        "temp-dir": folder,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    with (Path(folder) / "head.log").open("w") as log:
        process = subprocess.Popen(
            [binaries / "ray", "start", "--head", "--block", *words],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for_port(dashboard, process, Path(folder) / "head.log")
        yield Head(f"http://127.0.0.1:{dashboard}", environment)
    finally:
        stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with socket.socket() as caller:
            if caller.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill the head and all that it started, by process id: asked politely, it takes its time."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=10)


@pytest.mark.ray
def test_a_submitted_cohort_equals_one_made_here(inputs: Path, head: Head, tmp_path: Path) -> None:
    here, there = (make_spec(inputs, tmp_path / name) for name in ("here", "there"))
    generate_cohort(here, executor=LocalExecutor())
    path = write(there, tmp_path)
    done = head.submit(path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 ECGs = 3 patients x 4 conditions x 1 replicate" in done.stdout
    assert "3 of 3 shards committed" in done.stdout
    assert objects_under(there.output.url) == objects_under(here.output.url)


@pytest.mark.ray
def test_a_mistake_found_on_the_cluster_has_exit_code_two(
    inputs: Path, head: Head, tmp_path: Path
) -> None:
    spec = make_spec(inputs, tmp_path / "cohort", patients={"ids": ["nobody"]})
    done = head.submit(write(spec, tmp_path))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "patients.ids.0: patient 'nobody' is not among" in done.stdout
    assert not (tmp_path / "cohort").exists()


def test_a_relative_path_is_refused_by_name(inputs: Path, tmp_path: Path) -> None:
    path = write(make_spec(inputs, "demo/cohort"), tmp_path)
    with pytest.raises(SpecificationError, match=r"output\.url: 'demo/cohort' is relative"):
        submit_generate(path, address="http://127.0.0.1:1")


def test_an_address_where_nobody_answers_is_named(inputs: Path, tmp_path: Path) -> None:
    path = write(make_spec(inputs, tmp_path / "cohort"), tmp_path)
    with pytest.raises(
        SpecificationError, match=r"--address http://127\.0\.0\.1:1: no Ray cluster"
    ):
        submit_generate(path, address="http://127.0.0.1:1")
