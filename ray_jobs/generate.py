"""Make, or finish, a cohort inside a Ray job: ``python -m ray_jobs.generate SPEC.yaml``."""

import argparse
import sys
from collections.abc import Sequence

from ecgtwin.arguments import count_or_all
from ecgtwin.commands.workers import add_preempt_options, grace_of, stopping
from ecgtwin.errors import EcgTwinError
from ecgtwin.executors.protocol import Outcome
from ecgtwin.executors.ray_executor import RayExecutor
from ecgtwin.executors.stopping import Stopped, leave
from ecgtwin.generation.run import describe_plan, generate_cohort
from ecgtwin.generation.speed import Speed
from ecgtwin.spec.cohort import CohortSpec


def main(argv: Sequence[str] | None = None) -> int:
    """Run on the cluster this process is part of; return 0, 1 (not finished) or 2 (a mistake).

    Stopped by SIGTERM, the process ends with 143.
    """
    parser = argparse.ArgumentParser(prog="ray_jobs.generate")
    parser.add_argument("spec", help="a cohort specification (YAML)")
    parser.add_argument("--gpus-per-worker", type=float, default=0, help="may be a fraction")
    parser.add_argument("--mixed-numerics", action="store_true", help="allow unlike devices")
    parser.add_argument(
        "--workers",
        type=count_or_all,
        help="actors, or all: as many as the cluster has room for (default: run.num_workers)",
    )
    add_preempt_options(parser)
    arguments = parser.parse_args(argv)
    try:
        spec = CohortSpec.from_yaml(arguments.spec)
        print(describe_plan(spec).text, flush=True)
        with stopping(arguments, spec.run) as stop:
            num_workers = arguments.workers or spec.run.num_workers
            executor = RayExecutor(
                None if num_workers == "all" else num_workers,
                max_tries=spec.run.max_tries,
                num_gpus_per_worker=arguments.gpus_per_worker,
                address="auto",
                is_stopping=stop.is_requested,
                grace_s=grace_of(arguments, spec.run),
            )
            summary = generate_cohort(
                spec,
                executor=executor,
                on_outcome=_print_outcome,
                mixed_numerics=arguments.mixed_numerics,
            )
    except Stopped:
        leave()
    except EcgTwinError as error:
        for line in str(error).splitlines():
            print(f"ecgtwin: error: {line}", file=sys.stderr)
        return 2
    print(summary.line(), flush=True)
    if stop.is_requested() and not summary.is_complete:
        leave()
    return 0 if summary.is_complete else 1


def _print_outcome(outcome: Outcome, speed: Speed) -> None:
    how = "committed" if outcome.error is None else f"failed after {outcome.tries} tries"
    print(
        f"shard {outcome.shard.index} {how} by {outcome.worker} in {outcome.seconds:.1f} s; "
        f"{speed.light()}",
        flush=True,
    )
    if outcome.error is not None:
        print(outcome.error, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
