"""``ecgtwin ingest``: an archive of ECGs becomes a corpus."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgtwin.arguments import Parser, natural_seed, positive_count, share
from ecgtwin.commands.workers import (
    add_worker_options,
    connection,
    executor_of,
    report_failures,
)
from ecgtwin.errors import SpecificationError

if TYPE_CHECKING:
    from ecgtwin.sources.source import Source
    from ecgtwin.spec.ingest import IngestSpec

    Commands = argparse._SubParsersAction[Parser]

SIMULATED = "simulated"
KINDS = ("ptbxl", "mimic-iv-ecg", "challenge", "ptb", "wfdb", SIMULATED)

_CORPUS_NAMES = {
    "corpus.json", "plan", "private", "signals.zarr", "manifest", "ledger", "tables", "runs",
}  # fmt: skip

_DESCRIPTION = """\
Turn an archive of ECGs into a corpus. SRC and DEST are folders or s3:// URLs.

  ptbxl         PTB-XL: ptbxl_database.csv, records500/ or records100/
  mimic-iv-ecg  MIMIC-IV-ECG: record_list.csv, machine_measurements.csv, files/
  challenge     PhysioNet/CinC Challenge 2020/2021: .hea and .mat at any depth
  ptb           PTB Diagnostic: patientNNN/*.hea, 1000 Hz, 15 leads
  wfdb          any folder of twelve-lead WFDB records, with or without a table
  simulated     no SRC: a simulated population

A record that cannot be used keeps its row and its reason. Killed at any moment, the same command
goes on; finished, it does nothing.
"""


def add_ingest(commands: "Commands") -> None:
    """Add ``ingest`` to the command line."""
    ingest = commands.add_parser(
        "ingest",
        help="turn an archive of ECGs into a corpus",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ecgtwin ingest KIND [SRC] DEST [options]",
    )
    ingest.add_argument("kind", metavar="KIND", help=", ".join(KINDS))
    ingest.add_argument("places", metavar="PLACE", nargs="*", help="SRC (not of simulated), DEST")
    ingest.add_argument("--settings", metavar="YAML", help="how rows are made (IngestSpec)")
    ingest.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="one setting, such as signal.highpass_hz=0.5; may be repeated",
    )
    ingest.add_argument(
        "--known",
        metavar="CORPUS",
        action="append",
        default=[],
        help="a corpus whose persons keep their ids and splits; may be repeated",
    )
    ingest.add_argument("--limit", type=positive_count, help="the first recordings only")
    ingest.add_argument(
        "--max-reject-share", type=share, help="of the rows; above it the ingest stops (0.2)"
    )
    add_worker_options(ingest)
    people = ingest.add_argument_group("of simulated")
    people.add_argument("--persons", type=positive_count, help="how many (default: 200)")
    people.add_argument("--visits", type=positive_count, help="of each person (default: 3)")
    people.add_argument("--seed", type=natural_seed, help="of the population (default: 0)")
    ingest.set_defaults(run=_ingest)


def _ingest(arguments: argparse.Namespace) -> int:
    from ecgtwin.progress import bar
    from ecgtwin.sources.ingest import ingest

    where, url = _places(arguments)
    if arguments.ray is not None:  # workers run in folders of their own
        where, url = where and _absolute(where), _absolute(url)
    _check_apart(where, url)
    settings = _settings(arguments)
    with connection(arguments):
        source = _source(arguments, where, settings)
        with bar("ingest", len(source), "ECG") as advance:
            summary = ingest(
                source, url, settings=settings, executor=executor_of(arguments), on_shard=advance
            )
    print(summary.text())
    return report_failures(summary.failures) or int(summary.was_stopped or not summary.num_kept)


def _places(arguments: argparse.Namespace) -> tuple[str | None, str]:
    """Return SRC (None where nothing is read) and DEST."""
    kind, places = arguments.kind, arguments.places
    if kind not in KINDS:
        raise SpecificationError(
            f"{kind!r} is no kind of source; the first word is one of {', '.join(KINDS)}"
        )
    if kind == SIMULATED:
        _check_count(places, 1, "ecgtwin ingest simulated DEST")
        return None, places[0]
    _check_count(places, 2, f"ecgtwin ingest {kind} SRC DEST")
    for name in ("persons", "visits", "seed"):
        if getattr(arguments, name) is not None:
            raise SpecificationError(f"--{name} is of a simulated population; leave it out")
    return places[0], places[1]


def _check_apart(where: str | None, url: str) -> None:
    """Refuse a destination inside the archive, or around it, or in a folder of other things."""
    if "://" in url:
        return
    dest = Path(url).resolve()
    if where is not None and "://" not in where:
        source = Path(where).resolve()
        if dest == source or source in dest.parents or dest in source.parents:
            raise SpecificationError(
                f"{url} and {where} lie inside each other; give the corpus a folder of its own"
            )
    is_ours = any((dest / name).exists() for name in ("corpus.json", "cohort.json"))
    if dest.is_dir() and not is_ours:  # what stands there is told where it is read
        names = {entry.name for entry in dest.iterdir()} - _CORPUS_NAMES
        # A kill leaves a hidden temporary file behind.
        strangers = sorted(name for name in names if not name.startswith("."))
        if strangers:
            raise SpecificationError(
                f"{url} is not empty and holds no corpus (found {', '.join(strangers[:3])}); "
                "give the corpus a folder of its own"
            )


def _absolute(place: str) -> str:
    return place if "://" in place else os.path.abspath(place)


def _check_count(places: Sequence[str], wanted: int, usage: str) -> None:
    if len(places) != wanted:
        found = f"found {' '.join(places)}" if places else "found none"
        raise SpecificationError(f"write `{usage}`: {wanted} places are needed, {found}")


def _settings(arguments: argparse.Namespace) -> "IngestSpec":
    from ecgtwin.spec.ingest import IngestSpec
    from ecgtwin.spec.overrides import with_overrides

    usual = IngestSpec.from_yaml(arguments.settings) if arguments.settings else IngestSpec()
    given: dict[str, Any] = usual.model_dump(mode="json")
    if arguments.known:
        given["known"] = arguments.known
    if arguments.limit is not None:
        given["limit"] = arguments.limit
    if arguments.max_reject_share is not None:
        given["max_reject_share"] = arguments.max_reject_share
    return IngestSpec.parse(with_overrides(given, arguments.overrides), origin="settings")


def _source(arguments: argparse.Namespace, where: str | None, settings: "IngestSpec") -> "Source":
    if where is not None:
        from ecgtwin.sources.opening import open_archive

        return open_archive(arguments.kind, where, settings)
    from ecgtwin.sources.simulated import SimulatedSource

    if settings.limit is not None:
        raise SpecificationError("--limit is of an archive; a population has --persons")
    return SimulatedSource(
        seed=arguments.seed or 0,
        num_persons=arguments.persons or 200,
        visits_per_person=arguments.visits or 3,
    )
