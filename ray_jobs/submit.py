"""Hand a job to a running Ray cluster through its Jobs API, and follow its log."""

import asyncio
import shlex
import shutil
import tempfile
import time
from pathlib import Path

from ray.job_submission import JobStatus, JobSubmissionClient

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.store.objects import is_s3
from ecgtwin.twin.checkpoint import SHIPPED

_SPEC_NAME = "cohort.yaml"
_MISTAKE = 2
_POLL_S = 1.0


def submit_generate(
    spec_path: str | Path, *, address: str, follow: bool = True, gpus_per_worker: float = 0
) -> int:
    """Submit the making of a cohort; return the job's exit code, or 0 at once if not followed.

    ``address`` is of the cluster's dashboard, ``http://host:8265``. The specification travels with
    the job; what it names must be reachable from the cluster. Raises SpecificationError for a
    specification that cannot work there, and where no cluster answers.
    """
    check_reachable(CohortSpec.from_yaml(spec_path), str(spec_path))
    client = _connect(address)
    words = ["python", "-m", "ray_jobs.generate", _SPEC_NAME]
    if gpus_per_worker:
        words += ["--gpus-per-worker", str(gpus_per_worker)]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(spec_path, Path(folder) / _SPEC_NAME)
        job_id = client.submit_job(
            entrypoint=shlex.join(words), runtime_env={"working_dir": folder}
        )
    print(f"job {job_id} is submitted to {address}", flush=True)
    if not follow:
        return 0
    return _follow(client, job_id)


def _connect(address: str) -> JobSubmissionClient:
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        raise SpecificationError(
            f"--address {address}: no Ray cluster takes jobs there ({first}); give the address of "
            "its dashboard, http://HOST:8265, and the cluster's RAY_AUTH_TOKEN if it asks for one"
        ) from error


def check_reachable(spec: CohortSpec, origin: str) -> None:
    """Raise SpecificationError for a path that means another place on another machine."""
    urls = {"corpus": spec.corpus, "output.url": spec.output.url}
    if spec.checkpoint not in SHIPPED:
        urls["checkpoint"] = spec.checkpoint
    for name, url in urls.items():
        if not is_s3(url) and not url.startswith(("/", "file:")):
            raise SpecificationError(
                f"{origin}: {name}: {url!r} is relative, and a job runs in a folder of its own; "
                "give an s3:// URL, or an absolute path that all machines of the cluster share"
            )


def _follow(client: JobSubmissionClient, job_id: str) -> int:
    """Print the job's log until it ends; return its exit code."""
    try:
        asyncio.run(_print_log(client, job_id))
    except RuntimeError as error:  # the line broke; the job goes on, and its status is asked for
        print(f"the log of job {job_id} cannot be followed: {error}", flush=True)
    while not (status := client.get_job_status(job_id)).is_terminal():
        time.sleep(_POLL_S)
    if status == JobStatus.SUCCEEDED:
        return 0
    details = client.get_job_info(job_id)
    print(f"job {job_id} {status.value.lower()}: {details.message}", flush=True)
    return _MISTAKE if details.driver_exit_code == _MISTAKE else 1


async def _print_log(client: JobSubmissionClient, job_id: str) -> None:
    async for lines in client.tail_job_logs(job_id):
        print(lines, end="", flush=True)
