"""What the commands that write a specification have in common: whose twins, how drawn, where to."""

import argparse
from typing import TYPE_CHECKING, Any

from ecgtwin.arguments import Parser, natural_seed, positive_count
from ecgtwin.errors import SpecificationError

if TYPE_CHECKING:
    from ecgtwin.spec.builder import CohortBuilder
    from ecgtwin.spec.cohort import CohortSpec

_SAMPLING = {"sampler": "sampler", "steps": "num_steps", "guidance": "guidance_scale"}


def add_spec_options(parser: Parser, *, split: str) -> None:
    """Add the options to a command; ``split`` is the one whose patients are taken by default."""
    parser.add_argument("--checkpoint", default="tiny", help="the networks (default: tiny)")
    parser.add_argument("--url", default="cohort", help="where the cohort goes (default: cohort)")
    parser.add_argument(
        "--offline", action="store_true", help="do not check statements against the checkpoint"
    )
    whom = parser.add_argument_group("whose twins")
    whom.add_argument(
        "--split", choices=("train", "validation", "test"), help=f"(default: {split})"
    )
    whom.add_argument("--where", metavar="EXPRESSION", help='such as "patient.age_years >= 60"')
    whom.add_argument(
        "--patients", type=positive_count, metavar="N", help="the first N of them (default: all)"
    )
    whom.add_argument("--id", action="append", dest="ids", metavar="ID", help="may be repeated")
    whom.add_argument("--bank", metavar="FILE", help="of a bank, which `corpus bank` writes")
    whom.add_argument(
        "--population", type=positive_count, metavar="N", help="N simulated persons instead"
    )
    parser.set_defaults(default_split=split)
    how = parser.add_argument_group("how")
    how.add_argument(
        "--constraint", action="append", default=[], metavar="EXPRESSION", help="may be repeated"
    )
    how.add_argument("--seed", type=natural_seed, help="of the noise (default: 0)")
    how.add_argument(
        "--share-noise", action="store_true", help="the same in every condition of a person"
    )
    how.add_argument("--sampler", help="euler, heun, ddpm or ddim (default: the checkpoint's)")
    how.add_argument("--steps", type=positive_count, help="(default: the checkpoint's)")
    how.add_argument("--guidance", type=float, help="(default: the checkpoint's)")
    how.add_argument("--batch-rows", type=positive_count, help="ECGs drawn together (default: 32)")
    how.add_argument("--rows-per-shard", type=positive_count, help="ECGs of an object")
    how.add_argument("--rows-per-chunk", type=positive_count, help="ECGs read at a time")
    how.add_argument("--workers", type=positive_count, help="actors (default: 2)")
    how.add_argument(
        "--label", action="append", default=[], metavar="KEY=TEXT", help="may be repeated"
    )
    how.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="NAME=VALUE",
        help="any field, such as output.rows_per_shard=64; may be repeated",
    )


def builder_of(arguments: argparse.Namespace, *, corpus: str | None) -> "CohortBuilder":
    """Return a builder with all of it but the conditions."""
    from ecgtwin.spec.builder import CohortBuilder

    builder = CohortBuilder(checkpoint=arguments.checkpoint, corpus=corpus, url=arguments.url)
    builder.patients(**_patients(arguments))
    for text in arguments.constraint:
        builder.constraint(text)
    named = {
        "seed": arguments.seed,
        "share_noise": arguments.share_noise or None,
        "batch_rows": arguments.batch_rows,
        "sampling": _sampling(arguments),
        "run": _given(num_workers=arguments.workers),
        "labels": _labels(arguments.label),
    }
    builder.fields(**{name: value for name, value in named.items() if value not in (None, {})})
    cut = _given(rows_per_shard=arguments.rows_per_shard, rows_per_chunk=arguments.rows_per_chunk)
    return builder.output(**cut)


def statements_known_to(checkpoint: str, *, offline: bool) -> frozenset[str] | None:
    """Return what a checkpoint has learnt; None where it does not say, or is not to be asked."""
    from ecgtwin.errors import CheckpointError
    from ecgtwin.generation.vocabulary import known_statements
    from ecgtwin.twin.checkpoint import read_provenance

    if offline:
        return None
    try:
        return known_statements(read_provenance(checkpoint))
    except CheckpointError as error:
        raise SpecificationError(f"{error}; --offline leaves statements unchecked") from None


def check_sampling(spec: "CohortSpec", *, offline: bool) -> None:
    """Raise SpecificationError where the checkpoint cannot be sampled as is asked."""
    from ecgtwin.diffusion.make import check_fit
    from ecgtwin.twin.checkpoint import read_twin_spec

    if spec.sampling is not None and not offline:
        check_fit(read_twin_spec(spec.checkpoint).process, spec.sampling)


def _patients(arguments: argparse.Namespace) -> dict[str, Any]:
    chosen = _given(split=arguments.split, where=arguments.where, count=arguments.patients)
    ways = _given(ids=arguments.ids, bank=arguments.bank, population=arguments.population)
    if len(ways) > 1:
        raise SpecificationError("--id, --bank and --population: one of these, not two")
    if ways.keys() & {"ids", "population"} and chosen:
        raise SpecificationError(
            "--split, --where and --patients choose of a corpus or a bank; leave them out"
        )
    if not ways:
        chosen.setdefault("split", arguments.default_split)
    return {**ways, **chosen}


def _sampling(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return how twins are drawn: what flags leave open is as the checkpoint says."""
    given = _given(**{field: getattr(arguments, flag) for flag, field in _SAMPLING.items()})
    if not given:
        return given
    if arguments.offline:
        if len(given) < len(_SAMPLING):
            raise SpecificationError(
                "--offline does not read how the checkpoint samples; give --sampler, --steps and "
                "--guidance together"
            )
        return given
    from ecgtwin.twin.checkpoint import read_twin_spec

    own = read_twin_spec(arguments.checkpoint).sampling.model_dump(mode="json")
    return {**own, **given}


def _labels(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise SpecificationError(f"--label {text!r}: write KEY=TEXT, such as study=pilot")
        found[key.strip()] = value.strip()
    return found


def _given(**fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return {name: value for name, value in fields.items() if value is not None}
