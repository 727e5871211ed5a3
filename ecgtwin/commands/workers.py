"""``--workers`` and ``--ray``: who does the work of a command."""

import argparse
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from ecgtwin.arguments import Parser, natural_seconds, positive_count
from ecgtwin.executors.reasons import last_line

if TYPE_CHECKING:
    from ecgtwin.executors.protocol import Executor, Outcome
    from ecgtwin.executors.stopping import Stopping
    from ecgtwin.spec.cohort import RunSpec


def add_worker_options(parser: Parser) -> None:
    """Add the options to a command."""
    parser.add_argument(
        "--workers", type=positive_count, help="Ray actors (default: this process alone)"
    )
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="a running Ray cluster, or auto; an actor on each CPU"
    )


def connection(arguments: argparse.Namespace) -> AbstractContextManager[None]:
    """Return the context in which the cluster that ``--ray`` names is connected to."""
    if arguments.ray is None:
        return nullcontext()
    from ecgtwin.executors.ray_cluster import connected

    return connected(arguments.ray)


def executor_of(arguments: argparse.Namespace) -> "Executor":
    """Return what does the work, inside the connection."""
    if arguments.ray is None and (arguments.workers or 1) == 1:
        from ecgtwin.executors.local import LocalExecutor

        return LocalExecutor()
    from ecgtwin.executors.ray_cluster import num_cpus
    from ecgtwin.executors.ray_executor import RayExecutor

    return RayExecutor(num_workers=arguments.workers or num_cpus())


def add_preempt_options(parser: argparse.ArgumentParser) -> None:
    """Add what to do on SIGTERM; where an option is not given, the specification's run says it."""
    parser.add_argument(
        "--on-preempt",
        choices=("finish", "abandon"),
        help="on SIGTERM: wait for the shards in flight, or not (default: run.on_preempt)",
    )
    parser.add_argument(
        "--grace-s", type=natural_seconds, help="seconds to wait for them (default: run.grace_s)"
    )


def grace_of(arguments: argparse.Namespace, run: "RunSpec") -> float:
    """Return the seconds that shards in flight have after SIGTERM."""
    return run.grace_s if arguments.grace_s is None else float(arguments.grace_s)


def stopping(arguments: argparse.Namespace, run: "RunSpec") -> AbstractContextManager["Stopping"]:
    """Return the context in which SIGTERM is taken as the options or the specification say."""
    from ecgtwin.executors.stopping import stopping_on_sigterm

    return stopping_on_sigterm(
        arguments.on_preempt or run.on_preempt, grace_s=grace_of(arguments, run)
    )


def report_failures(failures: Iterable["Outcome"]) -> int:
    """Say which shards failed, on stderr; return the exit code, 1 where some did."""
    code = 0
    for outcome in failures:
        why = last_line(outcome.error)
        print(f"ecgtwin: shard {outcome.shard.index} failed: {why}", file=sys.stderr)
        code = 1
    return code
