"""``ecgtwin spec``: cohort specifications written, made from data, checked and compared."""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ecgtwin.arguments import Parser, positive_count
from ecgtwin.commands.spec_options import (
    add_spec_options,
    builder_of,
    check_sampling,
    statements_known_to,
)
from ecgtwin.errors import SpecificationError

if TYPE_CHECKING:
    from ecgtwin.spec.builder import CohortBuilder
    from ecgtwin.spec.generate import CaseTable, MadeStrata, PatientsAtHand

    Commands = argparse._SubParsersAction[Parser]

_NEW_EXAMPLES = """\
  ecgtwin spec new cohort.yaml --corpus corpus --url cohort
  ecgtwin spec new cohort.yaml --corpus corpus --url s3://bucket/af --split test --patients 50 \\
      --condition "sinus rhythm @ 60:100:10" --condition "AF, LBBB (possible) @ 80,110" \\
      --constraint "condition.heart_rate_bpm <= 208 - 0.7 * patient.age_years" --replicates 2
  ecgtwin spec new cohort.yaml --corpus corpus --url strata --stratum "RBBB @ 50:90:5 = 1000"
"""
_CORPUS_EXAMPLES = """\
  ecgtwin spec from-corpus corpus balanced.yaml --url balanced --balance 500
  ecgtwin spec from-corpus ptbxl_database.csv like.yaml --corpus corpus --url like --mirror 10000
  ecgtwin spec from-corpus corpus filled.yaml --url filled --rare 200 --at-least 5
"""
_PATIENTS, _REPLICATES, _ROWS = 4, 2, 16  # of a specification to start from
_ALIKE = 10  # the fewest recordings of a class that --balance takes up by itself


def add_spec(commands: "Commands") -> None:
    """Add ``spec`` to the command line."""
    spec = commands.add_parser("spec", help="write, check or compare cohort specifications")
    actions = spec.add_subparsers(metavar="ACTION", required=True)
    _add_new(actions)
    _add_from_corpus(actions)
    _add_from_csv(actions)
    _add_check(actions)
    _add_diff(actions)
    schema = actions.add_parser("schema", help="print the JSON Schema, for editors")
    schema.set_defaults(run=_schema)


def _add_new(actions: "Commands") -> None:
    new = actions.add_parser(
        "new",
        help="write a commented specification, all by flags or to start from",
        epilog=_NEW_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    new.add_argument("path", type=Path, help="the YAML file to write")
    new.add_argument("--corpus", help="where the reference ECGs are (default: corpus)")
    new.add_argument(
        "--condition",
        action="append",
        default=[],
        metavar="REPORT[@RATES]",
        help="statements, and rates in bpm: 60,80 or 60:100:10; may be repeated",
    )
    new.add_argument(
        "--stratum",
        action="append",
        default=[],
        metavar="REPORT[@RATES]=COUNT",
        help="so many ECGs of a report, over all patients; may be repeated",
    )
    new.add_argument("--ages", metavar="VALUES", help="of every condition: own, 40,60 or 20:80:20")
    new.add_argument("--sexes", metavar="VALUES", help="of every condition: own, or female,male")
    new.add_argument("--replicates", type=positive_count, help="of every patient and condition")
    add_spec_options(new, split="test")
    new.set_defaults(run=_new)


def _new(arguments: argparse.Namespace) -> int:
    from ecgtwin.spec.words import condition_in_words, stratum_in_words, values_in_words

    corpus = arguments.corpus
    if corpus is None and arguments.bank is None and arguments.population is None:
        corpus = "corpus"
    is_to_start_from = not arguments.condition and not arguments.stratum
    if is_to_start_from and not _says_whom(arguments):
        arguments.patients = _PATIENTS
    builder = builder_of(arguments, corpus=corpus)
    shared = {
        name: values_in_words(text)
        for name, text in (("age_years", arguments.ages), ("sex", arguments.sexes))
        if text is not None
    }
    for said in arguments.condition:
        fields = {**condition_in_words(said), **shared}
        builder.condition(*fields.pop("statements"), **fields)
    for said in arguments.stratum:
        fields = {**stratum_in_words(said), **shared}
        builder.stratum(*fields.pop("statements"), **fields)
    if is_to_start_from:
        _add_states_to_start_from(builder, shared)
        arguments.replicates = arguments.replicates or _REPLICATES
        if arguments.rows_per_shard is None and arguments.rows_per_chunk is None:
            builder.output(rows_per_shard=_ROWS, rows_per_chunk=_ROWS)
    if arguments.replicates is not None:
        builder.fields(replicates=arguments.replicates)
    return _write(builder, arguments, head=(), with_examples=True)


def _says_whom(arguments: argparse.Namespace) -> bool:
    given = (arguments.patients, arguments.where, arguments.ids)
    return any(one is not None for one in (*given, arguments.bank, arguments.population))


def _add_states_to_start_from(builder: "CohortBuilder", shared: dict[str, object]) -> None:
    rates = {"start": 60, "stop": 100, "count": 5}
    builder.condition("sinus rhythm", heart_rate_bpm=rates, **shared)
    builder.condition("atrial fibrillation", heart_rate_bpm=[80, 110], **shared)
    block = "left bundle branch block"
    builder.condition("sinus rhythm", block, heart_rate_bpm=70, **shared)
    beats = {"code": "ventricular premature complex", "certainty": "possible"}
    builder.condition("sinus tachycardia", beats, heart_rate_bpm=110, **shared)


def _write(
    builder: "CohortBuilder",
    arguments: argparse.Namespace,
    *,
    head: Sequence[str],
    with_examples: bool,
) -> int:
    """Check what was built against the checkpoint, where it can be read, and write it."""
    from ecgtwin.generation.vocabulary import in_known_words
    from ecgtwin.spec.template import cohort_yaml, write_new

    builder.set(*arguments.overrides)
    spec = builder.build()
    spec = in_known_words(spec, statements_known_to(spec.checkpoint, offline=arguments.offline))
    check_sampling(spec, offline=arguments.offline)
    write_new(arguments.path, cohort_yaml(spec, head=head, with_examples=with_examples))
    print(arguments.path)
    return 0


def _add_from_corpus(actions: "Commands") -> None:
    made = actions.add_parser(
        "from-corpus",
        help="make strata from a corpus, or from the table of PTB-XL",
        epilog=_CORPUS_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("table", help="a corpus, or PTB-XL's ptbxl_database.csv, or its folder")
    made.add_argument("path", type=Path, help="the YAML file to write")
    made.add_argument("--corpus", help="whose twins (default: the corpus that the table is of)")
    ways = made.add_mutually_exclusive_group(required=True)
    ways.add_argument(
        "--balance", type=positive_count, metavar="N", help="bring every class to N recordings"
    )
    ways.add_argument(
        "--mirror",
        type=positive_count,
        metavar="N",
        help="N ECGs distributed as the table over diagnosis, sex, age and rate",
    )
    ways.add_argument(
        "--rare", type=positive_count, metavar="N", help="fill classes below N recordings up to N"
    )
    made.add_argument(
        "--class",
        action="append",
        default=[],
        dest="classes",
        metavar="STATEMENT",
        help="--balance these only; may be repeated (default: all that the table shows)",
    )
    made.add_argument(
        "--at-least",
        type=positive_count,
        metavar="K",
        help=f"leave classes below K recordings alone (default: 1, with --balance {_ALIKE})",
    )
    made.add_argument(
        "--rows", type=positive_count, metavar="N", help="cut down to N ECGs, to try it out"
    )
    add_spec_options(made, split="train")
    made.set_defaults(run=_from_corpus)


def _from_corpus(arguments: argparse.Namespace) -> int:
    from ecgtwin.sources.case_tables import check_table, is_corpus, read_cases
    from ecgtwin.spec.generate import cut_down, within

    check_table(arguments.table)
    corpus = arguments.corpus
    if corpus is None and arguments.bank is None and arguments.population is None:
        if not is_corpus(arguments.table):
            raise SpecificationError(
                f"{arguments.table} is no corpus, so say whose twins are wanted: --corpus, --bank "
                "or --population"
            )
        corpus = arguments.table
    table = read_cases(arguments.table)
    known = statements_known_to(arguments.checkpoint, offline=arguments.offline)
    table, notes = within(table, known) if known is not None else (table, [])
    builder = builder_of(arguments, corpus=corpus)
    made = _made(arguments, table, builder)
    if arguments.rows is not None:
        made = cut_down(made, total=arguments.rows)
    for stratum in made.strata:
        builder.stratum(*stratum.pop("statements"), **stratum)
    way = next(name for name in ("balance", "mirror", "rare") if getattr(arguments, name))
    head = [
        "",
        f"Made from {arguments.table} ({len(table):,} recordings), --{way} "
        f"{getattr(arguments, way):,}:",
        *(line for note in [*notes, *made.notes] for line in _wrapped(note)),
    ]
    for line in [*notes, *made.notes]:
        print(line, file=sys.stderr)
    return _write(builder, arguments, head=head, with_examples=False)


def _wrapped(note: str) -> list[str]:
    return textwrap.wrap(note, 96, initial_indent="  ", subsequent_indent="    ")


def _made(
    arguments: argparse.Namespace, table: "CaseTable", builder: "CohortBuilder"
) -> "MadeStrata":
    from ecgtwin.sources.naming import canonical_code
    from ecgtwin.spec.generate import balance, class_counts, mirror, rare

    if arguments.classes and not arguments.balance:
        raise SpecificationError("--class goes with --balance")
    counts = class_counts(table)
    if arguments.mirror:
        if arguments.at_least:
            raise SpecificationError("--at-least goes with --balance and --rare")
        return mirror(table, total=arguments.mirror, patients=_patients_at_hand(builder))
    if arguments.rare:
        return rare(table, below=arguments.rare, at_least=arguments.at_least or 1)
    classes = [canonical_code(one, counts) or one for one in arguments.classes]
    least = arguments.at_least or _ALIKE
    found = classes or [code for code, count in counts.items() if count >= least]
    return balance(table, sorted(set(found)), to=arguments.balance)


def _patients_at_hand(builder: "CohortBuilder") -> "PatientsAtHand":
    """Return ages and sexes of the patients whose twins are asked for."""
    from ecgtwin.generation.people import ages_and_sexes
    from ecgtwin.spec.generate import PatientsAtHand

    patients = builder.chosen_patients()
    return PatientsAtHand(*ages_and_sexes(patients, corpus=builder.corpus))


def _add_from_csv(actions: "Commands") -> None:
    made = actions.add_parser("from-csv", help="make strata from a table, a row each")
    made.add_argument(
        "table",
        type=Path,
        help="CSV: statements, count, heart_rate_bpm, age_years, sex, among, label",
    )
    made.add_argument("path", type=Path, help="the YAML file to write")
    made.add_argument("--corpus", help="where the reference ECGs are")
    add_spec_options(made, split="train")
    made.set_defaults(run=_from_csv)


def _from_csv(arguments: argparse.Namespace) -> int:
    from ecgtwin.spec.csv_strata import strata_in_csv

    try:
        data = arguments.table.read_bytes()
    except OSError as error:
        raise SpecificationError(
            f"{arguments.table}: cannot be read ({error.strerror}); give the path of a CSV file"
        ) from None
    builder = builder_of(arguments, corpus=arguments.corpus)
    strata = strata_in_csv(data, origin=str(arguments.table))
    for stratum in strata:
        builder.stratum(*stratum.pop("statements"), **stratum)
    head = ["", f"Made from {arguments.table}, {len(strata):,} rows."]
    return _write(builder, arguments, head=head, with_examples=False)


def _add_check(actions: "Commands") -> None:
    check = actions.add_parser("check", help="check a specification against its checkpoint")
    check.add_argument("path")
    check.add_argument(
        "--offline", action="store_true", help="do not read the checkpoint: statements may be wrong"
    )
    check.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    from ecgtwin.generation.vocabulary import in_known_words
    from ecgtwin.spec.cohort import CohortSpec
    from ecgtwin.spec.yaml_text import YamlText

    text = YamlText.read(arguments.path)
    spec = CohortSpec.parse_text(text)
    known = statements_known_to(spec.checkpoint, offline=arguments.offline)
    spec = in_known_words(spec, known, text=text)
    check_sampling(spec, offline=arguments.offline)
    print(f"{arguments.path}: valid; digest of what it makes {spec.bytes_digest()}")
    if known is None:
        print("statements were not checked: the checkpoint was not read, or does not say what it "
              "has learnt", file=sys.stderr)  # fmt: skip
    print("`ecgtwin plan` reads the patients, and says what it comes to", file=sys.stderr)
    return 0


def _add_diff(actions: "Commands") -> None:
    diff = actions.add_parser("diff", help="say what two specifications make differently")
    diff.add_argument("before")
    diff.add_argument("after")
    diff.add_argument(
        "--offline", action="store_true", help="compare the fields only: read no patients"
    )
    diff.set_defaults(run=_diff)


def _diff(arguments: argparse.Namespace) -> int:
    from ecgtwin.generation.compare import compare_plans, differing_fields
    from ecgtwin.spec.cohort import CohortSpec

    before, after = (CohortSpec.from_yaml(path) for path in (arguments.before, arguments.after))
    fields = differing_fields(before, after)
    for line in fields or ["no field differs"]:
        print(line)
    if not arguments.offline:
        for line in compare_plans(before, after):
            print(line)
    return 1 if fields else 0


def _schema(arguments: argparse.Namespace) -> int:
    from ecgtwin.spec.cohort import CohortSpec

    print(CohortSpec.schema_text(), end="")
    return 0
