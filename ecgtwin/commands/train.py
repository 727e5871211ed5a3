"""``ecgtwin train``: parse, call the training run, say what came of it."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from ecgtwin.arguments import Parser, host_and_port, natural_seed, positive_count
from ecgtwin.commands.training_options import add_job_options, job_of, words_of
from ecgtwin.errors import EcgTwinError, SpecificationError

if TYPE_CHECKING:
    from ecgtwin.spec.recipe import Recipe
    from ecgtwin.training.launch import Machines
    from ecgtwin.training.metrics import Reporter
    from ecgtwin.training.run import TrainingJob
    from ecgtwin.training.stages import StageResult

    Commands = argparse._SubParsersAction[Parser]

_SAYING_S = 15.0
_ENDED = "no twin was written; the same command goes on from here"


def add_train(commands: "Commands") -> None:
    """Add ``train`` to the command line."""
    train = commands.add_parser("train", help="train the networks on one or more corpora")
    add_job_options(train)
    train.add_argument("--dry-run", action="store_true", help="print what would be done and stop")
    train.add_argument(
        "--processes",
        type=positive_count,
        default=1,
        help="ranks on this machine, one for each of its GPUs",
    )
    several = train.add_argument_group("several machines, the same command on each")
    several.add_argument("--nodes", type=positive_count, default=1, help="how many machines")
    several.add_argument("--node-rank", type=natural_seed, help="which one this is, from 0")
    several.add_argument(
        "--rendezvous",
        type=host_and_port,
        metavar="HOST:PORT",
        help="of the machine with --node-rank 0; the port must be free there",
    )
    train.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> int:
    from ecgtwin.training.sigterm import noted_sigterms

    machines = _machines(arguments)
    with noted_sigterms() as sigterms:
        from ecgtwin.training.run import check_training

        job, world_size = job_of(arguments), _world_size(arguments)
        if arguments.dry_run:
            from ecgtwin.training.dry_run import describe_training

            print(describe_training(job, world_size=world_size))
            return 0
        if world_size == 1 or _is_rank():
            return _train_here(job, sigterms)
        check_training(
            job, world_size=world_size
        )  # a mistake is told once, here, and not by every rank
        if sigterms:
            print(f"ecgtwin: ended by SIGTERM, {_ENDED}", file=sys.stderr)
            return 0
        from ecgtwin.training.launch import launch_ranks

        return launch_ranks(arguments.processes, ["train", *words_of(arguments)], machines)


def _is_rank() -> bool:
    """Whether torchrun, or this command, has started this process as one of several."""
    return "LOCAL_RANK" in os.environ


def _world_size(arguments: argparse.Namespace) -> int:
    """Return the number of ranks on all machines; SpecificationError where they cannot be."""
    asked = int(arguments.processes) * int(arguments.nodes)
    if _is_rank() and asked > 1:
        name = "--processes" if arguments.processes > 1 else "--nodes"
        raise SpecificationError(
            f"{name}: this process is a rank that torchrun has started (LOCAL_RANK is set); "
            f"leave {name} out, or start it without torchrun"
        )
    size = int(os.environ.get("WORLD_SIZE", "1")) if _is_rank() else asked
    if arguments.engine == "torch" and size > 1:
        raise SpecificationError(
            f"--engine torch trains in one process, not in {size}; leave it out, or train in one"
        )
    return size


def _machines(arguments: argparse.Namespace) -> "Machines":
    from ecgtwin.training.launch import Machines

    num_nodes, node_rank = arguments.nodes, arguments.node_rank
    if node_rank is not None and node_rank >= num_nodes:
        raise SpecificationError(
            f"--node-rank {node_rank} is none of --nodes {num_nodes}; they are counted from 0"
        )
    if num_nodes > 1 and (node_rank is None or arguments.rendezvous is None):
        raise SpecificationError(
            f"--nodes {num_nodes} needs --node-rank, another one on each machine, and "
            "--rendezvous HOST:PORT of the machine with --node-rank 0, the same on all"
        )
    return Machines(num_nodes, node_rank or 0, arguments.rendezvous)


def _train_here(job: "TrainingJob", sigterms: Sequence[int]) -> int:
    from ecgtwin.plots.training_panel import drawing_of
    from ecgtwin.training.launch import end_with_launcher
    from ecgtwin.training.run import run_training

    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_launcher()
    rank = int(os.environ.get("RANK", "0"))
    try:
        with _display(job.recipe, visible=rank == 0) as show:
            results = run_training(job, rank=rank, show=show, draw_panel=drawing_of)
    except EcgTwinError:
        if rank > 0 and _said_elsewhere(sigterms):
            return 2
        raise
    if rank == 0:
        say_results(results)
    return 0


def _said_elsewhere(sigterms: Sequence[int]) -> bool:
    """Wait a moment for another rank to end of the same mistake: it has said it, we are stopped."""
    deadline = time.monotonic() + _SAYING_S
    while not sigterms and time.monotonic() < deadline:
        time.sleep(0.1)
    return bool(sigterms)


def say_results(results: "Sequence[StageResult]") -> None:
    """Print how each stage went, and on stderr if a SIGTERM ended the last one."""
    for result in results:
        figures = ", ".join(f"{key} {value:.4g}" for key, value in result.validation.items())
        print(f"{result.stage}: {result.summary.step} steps; validation: {figures or 'none'}")
    last = results[-1]
    if last.was_ended:
        place = f"at step {last.summary.step} of {last.stage}"
        print(f"ecgtwin: ended by SIGTERM {place}, {_ENDED}", file=sys.stderr)


def _display(recipe: "Recipe", *, visible: bool) -> AbstractContextManager["Reporter"]:
    """Return bars, or nothing where tqdm is not installed: a training goes without."""
    from ecgtwin.training.metrics import silent

    try:
        from ecgtwin.progress import training_display
    except ModuleNotFoundError:
        return nullcontext(silent)
    return training_display(recipe, visible=visible)
