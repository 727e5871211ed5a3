"""``ecgtwin train``: parse, call the training run, say what came of it."""

import argparse
import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ecgtwin.arguments import Parser, positive_count, positive_minutes

if TYPE_CHECKING:
    from ecgtwin.spec.recipe import Recipe
    from ecgtwin.training.metrics import Reporter

    Commands = argparse._SubParsersAction[Parser]

_STAGES = ("vae", "base_extractor", "denoiser")


def add_train(commands: "Commands") -> None:
    """Add ``train`` to the command line."""
    train = commands.add_parser("train", help="train all three networks on one or more corpora")
    train.add_argument("recipe", help="a recipe file, or a built-in one: tiny, tiny-continue")
    train.add_argument(
        "--corpus",
        action="append",
        required=True,
        help="a corpus, or a pack of one (.npz); may be given repeatedly",
    )
    train.add_argument("--out", required=True, help="the checkpoint: a new folder or s3:// URL")
    train.add_argument("--folder", required=True, type=Path, help="logs and training checkpoints")
    train.add_argument("--start-from", help="a checkpoint to go on from")
    train.add_argument("--engine", choices=("deepspeed", "torch"), default="deepspeed")
    train.add_argument(
        "--processes", type=positive_count, default=1, help="started through torchrun if > 1"
    )
    train.add_argument(
        "--minutes", type=positive_minutes, help="stop all stages after about this long"
    )
    train.add_argument(
        "--stages",
        nargs="+",
        choices=_STAGES,
        help="train these networks only (needs --start-from)",
    )
    train.add_argument("--half", action="store_true", help="store the weights as fp16")
    train.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> int:
    from ecgtwin.spec.recipe import load_recipe
    from ecgtwin.training.launch import launch_ranks
    from ecgtwin.training.run import TrainingJob, check_training, run_training

    recipe = load_recipe(arguments.recipe)
    job = TrainingJob(
        recipe=recipe,
        corpora=tuple(arguments.corpus),
        out=arguments.out,
        folder=arguments.folder,
        start_from=arguments.start_from,
        engine=arguments.engine,
        minutes=arguments.minutes,
        half_precision_file=arguments.half,
        stages=tuple(name for name in _STAGES if name in (arguments.stages or _STAGES)),
    )
    if arguments.processes > 1 and "LOCAL_RANK" not in os.environ:
        check_training(job)  # a mistake is told once, here, and not by every rank
        return launch_ranks(arguments.processes, _train_words(arguments))
    rank = int(os.environ.get("RANK", "0"))
    with _display(recipe, visible=rank == 0) as show:
        results = run_training(job, rank=rank, show=show)
    if rank == 0:
        for result in results:
            figures = ", ".join(f"{key} {value:.4g}" for key, value in result.validation.items())
            print(f"{result.stage}: {result.summary.step} steps; validation: {figures or 'none'}")
    if not results[-1].was_ended:
        return 0
    if rank == 0:
        print("ended by SIGTERM, no twin was written; the same command goes on", file=sys.stderr)
    return 128 + signal.SIGTERM


def _display(recipe: "Recipe", *, visible: bool) -> AbstractContextManager["Reporter"]:
    """Return bars, or nothing where tqdm is not installed: a training goes without."""
    from ecgtwin.training.metrics import silent

    try:
        from ecgtwin.progress import training_display
    except ModuleNotFoundError:
        return nullcontext(silent)
    return training_display(recipe, visible=visible)


def _train_words(arguments: argparse.Namespace) -> list[str]:
    words = ["train", arguments.recipe, "--out", arguments.out, "--folder", str(arguments.folder)]
    words += [word for url in arguments.corpus for word in ("--corpus", url)]
    words += ["--engine", arguments.engine]
    if arguments.start_from is not None:
        words += ["--start-from", arguments.start_from]
    if arguments.minutes is not None:
        words += ["--minutes", str(arguments.minutes)]
    if arguments.stages is not None:
        words += ["--stages", *arguments.stages]
    return words + (["--half"] if arguments.half else [])
