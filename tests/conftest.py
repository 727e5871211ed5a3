"""What all tests share: the real recordings, a random generator, one Ray cluster a session."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import hypothesis
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


# A busy machine is no fault of what is tested.
hypothesis.settings.register_profile("ecgtwin", deadline=None)
hypothesis.settings.load_profile("ecgtwin")


def pytest_configure(config: pytest.Config) -> None:
    """Let pass what Ray cannot help: it drops the handles of servers that it has told to stop."""
    config.addinivalue_line(
        "filterwarnings", r"ignore:subprocess \d+ is still running:ResourceWarning"
    )


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Two CPUs; RayExecutor uses the cluster that the process is connected to."""
    from ecgtwin.executors.ray_cluster import local_cluster

    with local_cluster(2):
        yield


@pytest.fixture(scope="session")
def corpus_to_train(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The corpus of ``tests.training.launches``; read only."""
    from tests.training.launches import make_corpus

    return make_corpus(tmp_path_factory.mktemp("to-train"))


@pytest.fixture(scope="session")
def undisturbed_training(corpus_to_train: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on two ranks that torchrun started and nobody disturbed."""
    from tests.training.launches import DEADLINE_S, TORCHRUN, job_words, start, stop

    folder = tmp_path_factory.mktemp("undisturbed")
    words = [*TORCHRUN, "-m", "ecgtwin", "train", *job_words(corpus_to_train, folder)]
    process = start(words, folder / "said.txt")
    try:
        assert process.wait(DEADLINE_S) == 0, (folder / "said.txt").read_text()
    finally:
        stop(process)
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings; tests that need it skip where it is absent."""
    given = os.environ.get("ECGTWIN_REAL_DATA", "../shared/data")
    folder = (REPOSITORY / given).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}; set ECGTWIN_REAL_DATA")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(20240607)


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``s3://bucket`` on moto over HTTP, or on ECGTWIN_TEST_S3_ENDPOINT (Ceph RGW)."""
    endpoint = os.environ.get("ECGTWIN_TEST_S3_ENDPOINT")
    with ExitStack() as stack:
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        if endpoint is None:
            endpoint = stack.enter_context(moto_server(tmp_path_factory.mktemp("moto")))
            environment.setenv("AWS_ACCESS_KEY_ID", "ecgtwin-test")
            environment.setenv("AWS_SECRET_ACCESS_KEY", "ecgtwin-test-secret")
            environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.setenv("AWS_ENDPOINT_URL", endpoint)
        from ecgtwin.store.s3 import filesystem

        bucket = f"ecgtwin-{secrets.token_hex(6)}"
        filesystem().call_s3("create_bucket", Bucket=bucket)
        yield f"s3://{bucket}"


@contextmanager
def moto_server(folder: Path) -> Iterator[str]:
    """Run moto's server in a process of its own; yield its endpoint."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    with (folder / "moto.log").open("wb") as log:
        server = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log)
    try:
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)
