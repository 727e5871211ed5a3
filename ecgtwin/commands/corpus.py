"""``ecgtwin corpus``: what is done to a corpus as a whole."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ecgtwin.arguments import Parser

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]


def add_corpus(commands: "Commands") -> None:
    """Add ``corpus`` to the command line."""
    corpus = commands.add_parser("corpus", help="prepare a corpus")
    actions = corpus.add_subparsers(metavar="ACTION", required=True)
    embed = actions.add_parser("embed", help="store the text vectors of a corpus's statements")
    embed.add_argument("url", help="the corpus: a folder or s3:// URL")
    embed.add_argument(
        "--preset", default="paper", help="whose text encoder is used (default: paper)"
    )
    embed.add_argument(
        "--nomic", type=Path, metavar="FOLDER", help="of its weights (default: ECGTWIN_NOMIC)"
    )
    embed.set_defaults(run=_embed)


def _embed(arguments: argparse.Namespace) -> int:
    from ecgtwin.models.text_encoder import make_encoder
    from ecgtwin.progress import bar
    from ecgtwin.spec.presets import preset
    from ecgtwin.twin.corpus_text import embed_corpus, missing_texts

    spec = preset(arguments.preset).text
    missing, _ = missing_texts(arguments.url, spec)
    with bar("embed", len(missing), "text") as advance:
        summary = embed_corpus(
            arguments.url,
            spec,
            make=partial(make_encoder, nomic_folder=arguments.nomic),
            advance=advance,
        )
    print(summary.line())
    return 0
