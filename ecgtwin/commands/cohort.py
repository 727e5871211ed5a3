"""``ecgtwin cohort``: what is done with a stored cohort as a whole."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ecgtwin.arguments import Parser, positive_minutes

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]


def add_cohort(commands: "Commands") -> None:
    """Add ``cohort`` to the command line."""
    cohort = commands.add_parser("cohort", help="look at a stored cohort or corpus")
    actions = cohort.add_subparsers(metavar="ACTION", required=True)
    status = actions.add_parser("status", help="say how far a cohort is, while it is made")
    status.add_argument("url")
    status.set_defaults(run=_status)
    verify = actions.add_parser("verify", help="re-hash every object against its manifest")
    verify.add_argument("url")
    verify.set_defaults(run=_verify)
    clean = actions.add_parser("clean", help="remove what killed writers left")
    clean.add_argument("url")
    clean.add_argument("--dry-run", action="store_true", help="only list it")
    clean.add_argument(
        "--minutes", type=positive_minutes, default=60.0, help="only if older (default: 60)"
    )
    clean.set_defaults(run=_clean)
    report = actions.add_parser("report", help="measure a cohort and write a report")
    report.add_argument("url")
    report.add_argument("--out", type=Path, default=Path("report.html"))
    report.set_defaults(run=_report)


def _status(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from ecgtwin.generation.status import read_status

    status = read_status(arguments.url)
    for line in status.lines(now=datetime.now(UTC)):
        print(line)
    return 0 if status.is_complete else 1


def _clean(arguments: argparse.Namespace) -> int:
    from ecgtwin.store.leftovers import find_leftovers, remove_leftovers

    found = find_leftovers(arguments.url, older_than_s=arguments.minutes * 60)
    if not arguments.dry_run:
        remove_leftovers(found)
    for one in found:
        print(one.path)
    what = "to remove" if arguments.dry_run else "removed"
    num_bytes = sum(one.num_bytes for one in found)
    print(f"temporary files {what}: {len(found):,}, {num_bytes:,} bytes", file=sys.stderr)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from ecgtwin.store.verify import verify

    problems = verify(arguments.url)
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{arguments.url}: every committed object is what its manifest says")
    return 1 if problems else 0


def _report(arguments: argparse.Namespace) -> int:
    from ecgtwin.cohort_report import check_report_path, measure_cohort, write_cohort_report

    check_report_path(arguments.out)
    measured = measure_cohort(arguments.url, say=lambda line: print(line, file=sys.stderr))
    write_cohort_report(measured, path=arguments.out)
    print(arguments.out)
    return 0
