"""The command line: parse, call one function, say what came of it. Data to stdout, talk aside."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ecgtwin.arguments import DESCRIPTION, Parser, count_or_all, positive_minutes
from ecgtwin.commands.cohort import add_cohort
from ecgtwin.commands.corpus import add_corpus
from ecgtwin.commands.edit import add_edit
from ecgtwin.commands.import_weights import add_import_weights
from ecgtwin.commands.ingest import add_ingest
from ecgtwin.commands.plan import add_plan
from ecgtwin.commands.spec import add_spec
from ecgtwin.commands.train import add_train
from ecgtwin.commands.training_options import add_job_options, add_ray_options
from ecgtwin.commands.workers import add_preempt_options, grace_of, report_failures, stopping
from ecgtwin.errors import EcgTwinError, SpecificationError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]

    from ecgtwin.executors.protocol import Executor
    from ecgtwin.executors.stopping import Stopping
    from ecgtwin.spec.cohort import RunSpec


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 1 (something was left undone), 2 (a mistake) or 130 (Ctrl-C).

    What ``generate`` was stopped in by SIGTERM ends with 143.
    """
    parser = _parser()
    words = sys.argv[1:] if argv is None else argv
    if not words:
        parser.print_help(sys.stderr)
        return 2
    arguments = parser.parse_args(words)
    try:
        code: int = arguments.run(arguments)
    except EcgTwinError as error:
        for line in str(error).splitlines():
            print(f"ecgtwin: error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ecgtwin: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="ecgtwin",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="`ecgtwin COMMAND --help` explains one command.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_demo(commands)
    add_ingest(commands)
    add_corpus(commands)
    add_train(commands)
    add_import_weights(commands)
    add_spec(commands)
    add_plan(commands)
    _add_generate(commands)
    add_edit(commands)
    _add_submit(commands)
    add_cohort(commands)
    return parser


def _add_demo(commands: "Commands") -> None:
    demo = commands.add_parser("demo", help="the whole path, from ECGs to a report")
    demo.add_argument("--source", default="simulated", help="'simulated' or a folder of records")
    demo.add_argument("--out", default="demo", type=Path, help="folder to write (default: demo)")
    demo.add_argument("--from-scratch", action="store_true", help="do not use shipped weights")
    demo.add_argument("--minutes", type=positive_minutes, help="time to train for")
    demo.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from ecgtwin.demo import DemoSettings, run_demo

    run_demo(
        DemoSettings(
            source=arguments.source,
            out=arguments.out,
            from_scratch=arguments.from_scratch,
            minutes=arguments.minutes,
        )
    )
    return 0


def _executor(arguments: argparse.Namespace, run: "RunSpec", stop: "Stopping") -> "Executor":
    if arguments.executor == "local":
        from ecgtwin.executors.local import LocalExecutor

        return LocalExecutor(max_tries=run.max_tries, is_stopping=stop.is_requested)
    from ecgtwin.executors.ray_executor import RayExecutor

    num_workers = arguments.workers or run.num_workers
    return RayExecutor(
        None if num_workers == "all" else num_workers,
        max_tries=run.max_tries,
        is_stopping=stop.is_requested,
        grace_s=grace_of(arguments, run),
    )


def _add_generate(commands: "Commands") -> None:
    generate = commands.add_parser("generate", help="make, or finish, a cohort")
    generate.add_argument("spec", help="a cohort specification (YAML)")
    generate.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    generate.add_argument(
        "--workers",
        type=count_or_all,
        help="actors, or all: as many as the cluster has room for, as it changes "
        "(default: run.num_workers)",
    )
    generate.add_argument("--executor", choices=("ray", "local"), default="ray")
    generate.add_argument("--address", help="a running Ray cluster (default: start one here)")
    generate.add_argument("--mixed-numerics", action="store_true", help="allow unlike devices")
    add_preempt_options(generate)
    generate.set_defaults(run=_generate)


def _generate(arguments: argparse.Namespace) -> int:
    from ecgtwin.executors.stopping import Stopped, leave
    from ecgtwin.generation.run import describe_plan, generate_cohort
    from ecgtwin.progress import generation_display
    from ecgtwin.spec.cohort import CohortSpec

    if arguments.executor == "local" and (arguments.workers or arguments.address):
        raise SpecificationError("--executor local takes neither --workers nor --address")
    spec = CohortSpec.from_yaml(arguments.spec)
    if arguments.address is not None:
        from ray_jobs.submit import check_reachable

        check_reachable(spec, arguments.spec)
    description = describe_plan(spec)
    print(description.text)
    if arguments.dry_run:
        return 0
    try:
        with (
            stopping(arguments, spec.run) as stop,
            _connection(arguments.address),  # before the plan is written
            generation_display(description.num_ecgs_left) as show,
        ):
            summary = generate_cohort(
                spec,
                executor=_executor(arguments, spec.run, stop),
                on_outcome=lambda outcome, speed: show(len(outcome.shard), speed.light()),
                mixed_numerics=arguments.mixed_numerics,
            )
    except Stopped:
        leave()
    print(summary.line())
    if stop.is_requested() and not summary.is_complete:
        leave()
    return report_failures(summary.failures)


def _connection(address: str | None) -> AbstractContextManager[None]:
    if address is None:
        return nullcontext()
    from ecgtwin.executors.ray_cluster import connected

    return connected(address)


def _add_submit(commands: "Commands") -> None:
    submit = commands.add_parser("submit", help="run a command as a job on a Ray cluster")
    actions = submit.add_subparsers(metavar="ACTION", required=True)
    generate = actions.add_parser("generate", help="make, or finish, a cohort on the cluster")
    generate.add_argument("spec", help="a cohort specification (YAML)")
    generate.set_defaults(run=_submit_generate)
    train = actions.add_parser("train", help="train the networks on the cluster")
    add_job_options(train)
    add_ray_options(train)
    train.set_defaults(run=_submit_train)
    for action in (generate, train):
        action.add_argument("--address", required=True, help="of the cluster: http://host:8265")
        action.add_argument("--no-wait", action="store_true", help="do not follow the log")


def _submit_generate(arguments: argparse.Namespace) -> int:
    from ray_jobs.submit import submit_generate

    return submit_generate(arguments.spec, address=arguments.address, follow=not arguments.no_wait)


def _submit_train(arguments: argparse.Namespace) -> int:
    from ray_jobs.submit import submit_train

    return submit_train(arguments, address=arguments.address, follow=not arguments.no_wait)
