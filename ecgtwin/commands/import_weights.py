"""``ecgtwin import-weights``: the published checkpoints become one of ours."""

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ecgtwin.arguments import Parser

if TYPE_CHECKING:
    from ecgtwin.twin.import_weights import ImportedNetwork, ImportSummary

    Commands = argparse._SubParsersAction[Parser]

_HEADINGS = ("network", "from", "tensors", "parameters", "digest")
_ABSENT = {"clip": "the evaluation CLIP", "classifier": "the diagnosis classifier"}


def add_import_weights(commands: "Commands") -> None:
    """Add ``import-weights`` to the command line."""
    command = commands.add_parser(
        "import-weights", help="turn the published checkpoints into one of ours"
    )
    command.add_argument("source", help="the folder with the published .pth files")
    command.add_argument("url", help="the checkpoint to make: a folder or s3:// URL")
    command.add_argument(
        "--denoiser", choices=("dit", "unet"), help="which, where files of both are there"
    )
    command.add_argument(
        "--reference-mask",
        action="store_true",
        help="as published, let padded tokens reach the base vectors (default: masked)",
    )
    command.set_defaults(run=_import_weights)


def _import_weights(arguments: argparse.Namespace) -> int:
    from ecgtwin.twin.import_weights import import_weights

    summary = import_weights(
        arguments.source,
        arguments.url,
        backbone=arguments.denoiser,
        reference_mask=arguments.reference_mask,
    )
    for line in _lines(summary):
        print(line)
    return 0


def _lines(summary: "ImportSummary") -> Iterator[str]:
    yield from _table([_HEADINGS, *(_row(network) for network in summary.networks)])
    yield from summary.notes
    if summary.absent:
        missing = " and ".join(_ABSENT[name] for name in summary.absent)
        yield f"not among the files: {missing}; the scores that need it cannot be computed"
    masking = "added, as published" if summary.spec.base_extractor.reference_mask else "masked"
    yield (
        f"{summary.url}: checkpoint {summary.digest}, preset {summary.spec.preset}, "
        f"padded tokens {masking}"
    )


def _row(network: "ImportedNetwork") -> tuple[str, ...]:
    counts = (f"{network.num_tensors:,}", f"{network.num_parameters:,}")
    return (network.name, network.file, *counts, network.digest)


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if heading in ("tensors", "parameters") else cell.ljust(width)
            for cell, width, heading in zip(row, widths, rows[0], strict=True)
        )
        yield "  ".join(cells).rstrip()
