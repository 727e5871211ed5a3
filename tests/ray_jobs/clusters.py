"""Ray clusters of several nodes on loopback addresses, started by real commands, with a token."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).parents[2]
START_S, COMMAND_S, MAX_STARTS = 90.0, 420.0, 3
BINARIES = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Cluster:
    """A running cluster: its addresses, the environment to reach it with, what it started."""

    dashboard: str
    address: str
    environment: dict[str, str]
    folder: Path
    nodes: list[subprocess.Popen[bytes]]

    def start(self, words: list[str], log: Path) -> subprocess.Popen[bytes]:
        """Start ``python WORDS`` here; what it says goes to ``log``."""
        with log.open("w") as out:
            return subprocess.Popen(
                [sys.executable, *words],
                cwd=REPOSITORY,
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def join(self, ip: str, *, cpus: int) -> None:
        """Add a node at a loopback address."""
        words = [f"--address={self.address}", f"--node-ip-address={ip}", f"--num-cpus={cpus}"]
        self.nodes.append(_ray_start(words, self.environment, self.folder / f"{ip}.log"))

    def train_workers(self) -> list[list[psutil.Process]]:
        """Return the processes that train, by node."""
        return [
            [child for child in _family(node) if _is_train_worker(child)] for node in self.nodes
        ]


@contextmanager
def started_cluster(ip: str = "127.0.0.3", *, cpus: int = 2) -> Iterator[Cluster]:
    """Start a head at an address of its own, so that it meets no other cluster of this machine."""
    environment = os.environ | {
        "PATH": f"{BINARIES}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        # A lost node is known to be lost within seconds.
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "4000",
        "RAY_health_check_failure_threshold": "3",
    }
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # socket paths must be short
    gcs, dashboard = free_port(), free_port()
    options = {
        "node-ip-address": ip,
        "port": gcs,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": free_port(),
        "ray-client-server-port": free_port(),
        "num-cpus": cpus,
        "temp-dir": folder,
    }
    words = ["--head", *(f"--{name}={value}" for name, value in options.items())]
    address = f"{ip}:{gcs}"
    head = _ray_start(words, environment, folder / "head.log")
    reach = environment | {"RAY_ADDRESS": address}
    made = Cluster(f"http://127.0.0.1:{dashboard}", address, reach, folder, [head])
    try:
        _wait_for_port(dashboard, head, folder / "head.log")
        yield made
    finally:
        for node in made.nodes:
            stop(node)
        shutil.rmtree(folder, ignore_errors=True)


def _ray_start(words: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a node; on a busy machine its servers can miss ray's fixed deadline of 30 s."""
    for _ in range(MAX_STARTS):
        with log.open("w") as out:
            process = subprocess.Popen(
                [BINARIES / "ray", "start", "--block", "--object-store-memory=100000000", *words],
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < deadline:
            if "Ray runtime started." in log.read_text():
                return process
            time.sleep(0.2)
        stop(process)
    raise AssertionError(log.read_text())


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with socket.socket() as caller:
            if caller.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def _is_train_worker(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return "RayTrainWorker" in " ".join(process.cmdline())
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill a node and all that it started, by process id: asked politely, it takes its time."""
    family = _family(process)
    process.kill()
    process.wait()
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=10)
