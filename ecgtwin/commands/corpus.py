"""``ecgtwin corpus``: what is done to a corpus as a whole."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ecgtwin.arguments import Parser, natural_seed
from ecgtwin.commands.workers import (
    add_worker_options,
    connection,
    executor_of,
    report_failures,
)

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]

_MIB = 2**20


def add_corpus(commands: "Commands") -> None:
    """Add ``corpus`` to the command line."""
    corpus = commands.add_parser("corpus", help="embed, encode or pack a corpus")
    actions = corpus.add_subparsers(metavar="ACTION", required=True)
    _add_embed(actions)
    _add_encode(actions)
    _add_bank(actions)
    _add_pack(actions)


def _add_embed(actions: "Commands") -> None:
    embed = actions.add_parser("embed", help="store the text vectors of a corpus's statements")
    embed.add_argument("url", help="the corpus: a folder or s3:// URL")
    embed.add_argument(
        "--preset", default="paper", help="whose text encoder is used (default: paper)"
    )
    embed.add_argument(
        "--nomic", type=Path, metavar="FOLDER", help="of its weights (default: ECGTWIN_NOMIC)"
    )
    embed.set_defaults(run=_embed)


def _add_encode(actions: "Commands") -> None:
    encode = actions.add_parser(
        "encode", help="store latents and base vectors, which trainings then find"
    )
    encode.add_argument("url", help="the corpus: a folder or s3:// URL")
    encode.add_argument(
        "--checkpoint", required=True, help="of the networks: a shipped name, folder or URL"
    )
    add_worker_options(encode)
    encode.set_defaults(run=_encode)


def _add_bank(actions: "Commands") -> None:
    bank = actions.add_parser(
        "bank", help="write persons as base vectors, to draw twins of without their recordings"
    )
    bank.add_argument("url", help="the corpus: a folder or s3:// URL")
    bank.add_argument("out", help="the bank: a new .parquet file or URL")
    bank.add_argument(
        "--checkpoint", required=True, help="of the networks: a shipped name, folder or URL"
    )
    bank.add_argument(
        "--split", choices=("train", "validation", "test"), help="persons of this split only"
    )
    bank.add_argument("--where", metavar="EXPRESSION", help='for example "patient.age_years >= 60"')
    bank.set_defaults(run=_bank)


def _add_pack(actions: "Commands") -> None:
    pack = actions.add_parser(
        "pack", help="cut a share of a corpus into one file, to train from elsewhere"
    )
    pack.add_argument("url", help="the corpus: a folder or s3:// URL")
    pack.add_argument("out", help="the pack: a new .npz file or URL")
    pack.add_argument(
        "--max-mib", type=_mebibytes, default=40.0, help="the most it may take (default: 40)"
    )
    pack.add_argument(
        "--split",
        action="append",
        choices=("train", "validation", "test"),
        help="persons of this split only; may be repeated (default: of every split)",
    )
    pack.add_argument(
        "--seed", type=natural_seed, default=0, help="of the choice of persons (default: 0)"
    )
    pack.set_defaults(run=_pack)


def _bank(arguments: argparse.Namespace) -> int:
    from ecgtwin.generation.banks import write_bank
    from ecgtwin.generation.references import ReferenceRecords
    from ecgtwin.generation.texts import load_twin
    from ecgtwin.spec.patients import ChosenPatients
    from ecgtwin.store.reader import Corpus

    wanted = {"split": arguments.split, "where": arguments.where}
    patients = ChosenPatients.parse(wanted, origin="the command line")
    records = ReferenceRecords(Corpus(arguments.url))
    twin = load_twin(arguments.checkpoint, texts_at=arguments.url)
    num_persons = write_bank(records, records.choose(patients), twin, arguments.out)
    print(arguments.out)
    print(f"{num_persons:,} persons", file=sys.stderr)
    return 0


def _mebibytes(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < 2**20:
        raise argparse.ArgumentTypeError(f"found {text!r}, needs a number of MiB above 0")
    return found


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


def _encode(arguments: argparse.Namespace) -> int:
    from ecgtwin.progress import bar
    from ecgtwin.twin.derived_values import encode_corpus, plan_encoding

    plan = plan_encoding(arguments.url, arguments.checkpoint)
    with connection(arguments), bar("encode", len(plan.left), "shard") as advance:
        summary = encode_corpus(
            plan, executor=executor_of(arguments), on_shard=lambda outcome: advance(1)
        )
    print(summary.line())
    return report_failures(summary.failures)


def _pack(arguments: argparse.Namespace) -> int:
    from ecgtwin.store.pack_cutting import cut_pack

    summary = cut_pack(
        arguments.url,
        arguments.out,
        max_bytes=int(arguments.max_mib * _MIB),
        splits=arguments.split or (),
        seed=arguments.seed,
    )
    for line in summary.lines():
        print(line)
    return 0
