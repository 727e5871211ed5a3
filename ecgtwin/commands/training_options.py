"""What to train, from what, and where to put it: the same words here, under torchrun and on Ray."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ecgtwin.arguments import Parser, natural_seed, positive_count, positive_minutes

if TYPE_CHECKING:
    from ecgtwin.training.run import TrainingJob

STAGES = {
    "vae": ("vae",),
    "base-extractor": ("base_extractor",),
    "denoiser": ("denoiser",),
    "all": ("vae", "base_extractor", "denoiser"),
}
MAX_FAILURES = 3
_ONCE = ("out", "folder", "start_from", "checkpoints", "engine", "minutes")


def add_job_options(parser: Parser) -> None:
    """Add what makes a TrainingJob."""
    parser.add_argument("stage", choices=STAGES, help="the network to train, or all three")
    parser.add_argument("recipe", help="a recipe file, or a built-in one: tiny, tiny-continue")
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="one value of the recipe, such as denoiser.training.num_steps=200; may be repeated",
    )
    parser.add_argument(
        "--corpus",
        action="append",
        required=True,
        help="a corpus, or a pack of one (.npz); may be given repeatedly",
    )
    parser.add_argument("--out", required=True, help="the checkpoint: a new folder or s3:// URL")
    parser.add_argument("--folder", required=True, type=Path, help="logs and training checkpoints")
    parser.add_argument(
        "--checkpoints", metavar="URL", help="training checkpoints, s3:// too (default: --folder)"
    )
    parser.add_argument(
        "--start-from", help="a checkpoint to go on from; base-extractor and denoiser need one"
    )
    parser.add_argument("--engine", choices=("deepspeed", "torch"), default="deepspeed")
    parser.add_argument(
        "--minutes", type=positive_minutes, help="stop all stages after about this long"
    )
    parser.add_argument("--half", action="store_true", help="store the weights as fp16")


def add_ray_options(parser: Parser) -> None:
    """Add how many workers of a Ray cluster train, on what, and how often they may be lost."""
    parser.add_argument("--workers", type=positive_count, default=1, help="one rank each")
    parser.add_argument(
        "--gpus-per-worker", type=int, choices=(0, 1), default=0, help="0: on CPUs (default)"
    )
    parser.add_argument(
        "--max-failures",
        type=natural_seed,
        default=MAX_FAILURES,
        help=f"how often lost workers or machines are replaced (default: {MAX_FAILURES})",
    )


def job_of(arguments: argparse.Namespace) -> "TrainingJob":
    """Return the job that the options say; SpecificationError for a recipe that is none."""
    from ecgtwin.spec.recipe import load_recipe
    from ecgtwin.training.run import TrainingJob

    return TrainingJob(
        recipe=load_recipe(arguments.recipe, arguments.overrides),
        corpora=tuple(arguments.corpus),
        out=arguments.out,
        folder=arguments.folder,
        start_from=arguments.start_from,
        engine=arguments.engine,
        minutes=arguments.minutes,
        half_precision_file=arguments.half,
        stages=STAGES[arguments.stage],
        checkpoints=arguments.checkpoints,
    )


def words_of(arguments: argparse.Namespace, *, recipe: str | None = None) -> list[str]:
    """Return the words that say the same to another process; ``recipe`` replaces its path."""
    words = [arguments.stage, recipe or arguments.recipe]
    words += [f"--set={text}" for text in arguments.overrides]
    words += [f"--corpus={url}" for url in arguments.corpus]
    for name in _ONCE:
        value = getattr(arguments, name)
        if value is not None:
            words.append(f"--{name.replace('_', '-')}={value}")
    return words + (["--half"] if arguments.half else [])


def ray_words_of(arguments: argparse.Namespace) -> list[str]:
    """Return the words that say the same of the workers."""
    names = ("workers", "gpus_per_worker", "max_failures")
    return [f"--{name.replace('_', '-')}={getattr(arguments, name)}" for name in names]
