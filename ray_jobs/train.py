"""Train inside a Ray job: ``python -m ray_jobs.train {vae,base-extractor,denoiser,all} RECIPE``."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import ray.util
from ray.train import get_context
from ray.train.torch import TorchConfig
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import TrainingFailedError
from ray.train.v2.torch.torch_trainer import TorchTrainer

from ecgtwin.arguments import Parser
from ecgtwin.commands.train import say_results
from ecgtwin.commands.training_options import (
    MAX_FAILURES,
    add_job_options,
    add_ray_options,
    job_of,
)
from ecgtwin.errors import EcgTwinError, TrainingError
from ecgtwin.executors.ray_cluster import connected
from ecgtwin.plots.training_panel import drawing_of
from ecgtwin.training.metrics import Line, silent
from ecgtwin.training.run import TrainingJob, check_training, run_training
from ecgtwin.training.stages import StageResult
from ray_jobs.submit import check_job_reachable


def main(argv: Sequence[str] | None = None) -> int:
    """Train on the cluster this process is part of; return 0, or 2 for what a user can mend."""
    parser = Parser(prog="ray_jobs.train")
    add_job_options(parser)
    add_ray_options(parser)
    arguments = parser.parse_args(argv)
    try:
        job = job_of(arguments)
        check_job_reachable(job)
        with connected("auto"):
            results = train_on_ray(
                job,
                num_workers=arguments.workers,
                gpus_per_worker=arguments.gpus_per_worker,
                max_failures=arguments.max_failures,
            )
    except EcgTwinError as error:
        for line in str(error).splitlines():
            print(f"ecgtwin: error: {line}", file=sys.stderr)
        return 2
    say_results(results)
    return 0


def train_on_ray(
    job: TrainingJob,
    *,
    num_workers: int,
    gpus_per_worker: int = 0,
    max_failures: int = MAX_FAILURES,
) -> list[StageResult]:
    """Train on ``num_workers`` ranks of the connected cluster, which go on where one is lost.

    The job's places are absolute paths that all machines share, or URLs. After a loss all ranks are
    started again and go on from the newest training checkpoint of the job; Ray keeps none. Raises
    TrainingError after ``max_failures`` losses, and what a rank raises of our own errors.
    """
    check_training(job, world_size=num_workers)
    resources = {"CPU": 1, **({"GPU": gpus_per_worker} if gpus_per_worker else {})}
    trainer = TorchTrainer(
        _train_rank,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend="nccl" if gpus_per_worker else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=num_workers,
            use_gpu=gpus_per_worker > 0,
            resources_per_worker=resources,
        ),
        run_config=RunConfig(
            storage_path=os.path.abspath(job.folder / "ray"),
            failure_config=FailureConfig(max_failures=max_failures),
            worker_runtime_env={"env_vars": _loopback()},
        ),
    )
    try:
        result: Any = trainer.fit()  # of Ray Train v2, which its annotation is not
    except TrainingFailedError as error:
        raise _our_error(error) from error
    returned_by_rank_0: list[StageResult] = result.return_value
    return returned_by_rank_0


def _train_rank(config: dict[str, TrainingJob]) -> list[StageResult]:
    rank = get_context().get_world_rank()
    show = _say if rank == 0 else silent
    return run_training(config["job"], rank=rank, show=show, draw_panel=drawing_of)


def _loopback() -> dict[str, str]:
    """Return what keeps the traffic of a cluster on loopback addresses there."""
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return {"GLOO_SOCKET_IFNAME": "lo"} if address.startswith("127.") else {}


def _say(line: Line) -> None:
    """Hand a line to Ray, which shows what a worker writes in the log of the job.

    ``print`` is Ray Train's there, and would show it twice.
    """
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _our_error(failed: TrainingFailedError) -> EcgTwinError:
    """Return the error of ours that a rank ended with, else one that says what Ray says."""
    failures: dict[int, BaseException] = getattr(failed, "worker_failures", {})
    for _, failure in sorted(failures.items()):
        raised = getattr(failure, "_base_exc", failure)
        if isinstance(raised, EcgTwinError):
            return raised
    said = [line for line in str(failed).splitlines() if line.strip()]
    return TrainingError(
        f"training was given up by Ray: {said[-1] if said else failed!r}; the same command goes on "
        "from the newest training checkpoint"
    )


if __name__ == "__main__":
    sys.exit(main())
