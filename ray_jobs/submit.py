"""Hand a job to a running Ray cluster through its Jobs API, and follow its log."""

import argparse
import asyncio
import shlex
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ray.job_submission import JobStatus, JobSubmissionClient

from ecgtwin.commands.training_options import job_of, ray_words_of, words_of
from ecgtwin.errors import SpecificationError
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.patients import PatientsOfBank
from ecgtwin.spec.recipe import is_built_in
from ecgtwin.store.objects import is_s3
from ecgtwin.training.run import TrainingJob
from ecgtwin.twin.checkpoint import SHIPPED

_SPEC_NAME = "cohort.yaml"
_RECIPE_NAME = "recipe.yaml"
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
    words = ["python", "-m", "ray_jobs.generate", _SPEC_NAME]
    if gpus_per_worker:
        words += ["--gpus-per-worker", str(gpus_per_worker)]
    return _submit(words, {_SPEC_NAME: Path(spec_path)}, address=address, follow=follow)


def submit_train(arguments: argparse.Namespace, *, address: str, follow: bool = True) -> int:
    """Submit a training; return the job's exit code, or 0 at once if not followed.

    ``arguments`` are those of ``add_job_options`` and ``add_ray_options``. A recipe file travels
    with the job; what else they name must be reachable from the cluster. Raises SpecificationError
    for what cannot work there, and where no cluster answers.
    """
    check_job_reachable(job_of(arguments))
    files = {} if is_built_in(arguments.recipe) else {_RECIPE_NAME: Path(arguments.recipe)}
    job_words = words_of(arguments, recipe=next(iter(files), None))
    words = ["python", "-m", "ray_jobs.train", *job_words, *ray_words_of(arguments)]
    return _submit(words, files, address=address, follow=follow)


def _submit(words: Sequence[str], files: Mapping[str, Path], *, address: str, follow: bool) -> int:
    """Submit a command that finds ``files`` under these names in the folder it runs in."""
    client = _connect(address)
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files.items():
            shutil.copyfile(path, Path(folder) / name)
        job_id = client.submit_job(
            entrypoint=shlex.join(words), runtime_env={"working_dir": folder}
        )
    print(f"job {job_id} is submitted to {address}", flush=True)
    return _follow(client, job_id) if follow else 0


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
    urls = {"output.url": spec.output.url}
    if spec.corpus is not None:
        urls["corpus"] = spec.corpus
    if isinstance(spec.patients, PatientsOfBank):
        urls["patients.bank"] = spec.patients.bank
    if spec.checkpoint not in SHIPPED:
        urls["checkpoint"] = spec.checkpoint
    for name, url in urls.items():
        _check_absolute(f"{origin}: {name}:", url)


def check_job_reachable(job: TrainingJob) -> None:
    """Raise SpecificationError for a place of a training that means another one elsewhere."""
    for url in job.corpora:
        _check_absolute("--corpus", url)
    for name, place in (("--out", job.out), ("--checkpoints", job.checkpoints)):
        if place is not None:
            _check_absolute(name, place)
    if job.start_from is not None and job.start_from not in SHIPPED:
        _check_absolute("--start-from", job.start_from)
    _check_absolute("--folder", str(job.folder))


def _check_absolute(name: str, url: str) -> None:
    if not is_s3(url) and not url.startswith(("/", "file:")):
        raise SpecificationError(
            f"{name} {url!r} is relative, and a job runs in a folder of its own; "
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
