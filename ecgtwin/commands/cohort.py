"""``ecgtwin cohort``: what is done with a stored cohort as a whole."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ecgtwin.arguments import Parser, positive_minutes
from ecgtwin.commands.workers import add_worker_options, connection, executor_of

if TYPE_CHECKING:
    from ecgtwin.generation.verify_cohort import Verification

    Commands = argparse._SubParsersAction[Parser]


def add_cohort(commands: "Commands") -> None:
    """Add ``cohort`` to the command line."""
    cohort = commands.add_parser("cohort", help="look at a stored cohort or corpus")
    actions = cohort.add_subparsers(metavar="ACTION", required=True)
    status = actions.add_parser("status", help="say how far a cohort is, while it is made")
    status.add_argument("url")
    status.set_defaults(run=_status)
    _add_verify(actions)
    _add_repair(actions)
    _add_merge(actions)
    _add_remove(actions)
    _add_sample(actions)
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
    from ecgtwin.store.leftovers import check_is_of_ecgtwin, find_leftovers, remove_leftovers

    check_is_of_ecgtwin(arguments.url)
    found = find_leftovers(arguments.url, older_than_s=arguments.minutes * 60)
    if not arguments.dry_run:
        remove_leftovers(found)
    for one in found:
        print(one.path)
    what = "to remove" if arguments.dry_run else "removed"
    num_bytes = sum(one.num_bytes for one in found)
    print(f"temporary files {what}: {len(found):,}, {num_bytes:,} bytes", file=sys.stderr)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from ecgtwin.cohort_report import check_report_path, measure_cohort, write_cohort_report

    check_report_path(arguments.out)
    measured = measure_cohort(arguments.url, say=lambda line: print(line, file=sys.stderr))
    write_cohort_report(measured, path=arguments.out)
    print(arguments.out)
    return 0


def _add_verify(actions: "Commands") -> None:
    verify = actions.add_parser("verify", help="re-hash everything; of a cohort, against its plan")
    verify.add_argument("url", help="a cohort or a corpus")
    verify.add_argument("--complete", action="store_true", help="a missing shard is a problem")
    verify.add_argument("--json", action="store_true", help="everything, for programs")
    add_worker_options(verify)
    verify.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    from ecgtwin.generation.stored_plan import is_cohort
    from ecgtwin.store.verify import verify

    if not is_cohort(arguments.url):
        lines = verify(arguments.url)
        if arguments.json:
            print(json.dumps({"url": arguments.url, "problems": [{"text": one} for one in lines]}))
            return 1 if lines else 0
        return _say_problems(arguments, lines)
    with connection(arguments):
        found = _verification(arguments)
    if arguments.json:
        print(json.dumps(found.as_json(), indent=1, ensure_ascii=False))
        return 1 if found.problems else 0
    code = _say_problems(arguments, [problem.line() for problem in found.problems])
    print(found.line())
    return code


def _verification(arguments: argparse.Namespace) -> "Verification":
    from ecgtwin.generation.stored_plan import read_stored
    from ecgtwin.generation.verify_cohort import verify_cohort
    from ecgtwin.progress import bar

    stored = read_stored(arguments.url)
    with bar("verify", len(stored.shards()), "shard") as advance:
        return verify_cohort(
            stored,
            executor=executor_of(arguments),
            complete=arguments.complete,
            on_outcome=lambda outcome: advance(1),
        )


def _say_problems(arguments: argparse.Namespace, problems: Sequence[str]) -> int:
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{arguments.url}: every committed object is what its manifest says")
    return 1 if problems else 0


def _add_repair(actions: "Commands") -> None:
    repair = actions.add_parser("repair", help="make again what verify finds wrong, and only that")
    repair.add_argument("url", help="a cohort")
    repair.add_argument(
        "--checkpoint", help="that it was made with (default: where cohort.json says)"
    )
    repair.add_argument("--spec", metavar="F", help="its specification, where cohort.json is lost")
    repair.add_argument("--complete", action="store_true", help="make missing shards too")
    repair.add_argument("--dry-run", action="store_true", help="only say what would be done")
    repair.add_argument("--remove-strays", action="store_true", help="and what belongs to no shard")
    repair.add_argument("--mixed-numerics", action="store_true", help="try on an unlike device")
    add_worker_options(repair)
    repair.set_defaults(run=_repair)


def _repair(arguments: argparse.Namespace) -> int:
    from ecgtwin.generation.repair_cohort import intentions, repair_cohort
    from ecgtwin.generation.repair_plan import source_of
    from ecgtwin.generation.stored_plan import check_is_cohort
    from ecgtwin.progress import bar
    from ecgtwin.spec.cohort import CohortSpec

    check_is_cohort(arguments.url)
    spec = None if arguments.spec is None else CohortSpec.from_yaml(arguments.spec)
    with connection(arguments):
        found = _verification(arguments)
        if arguments.dry_run or not found.problems:
            for line in intentions(found.problems, remove_strays=arguments.remove_strays):
                print(line)
            print(found.line())
            return 1 if found.problems else 0
        source = source_of(arguments.url, checkpoint=arguments.checkpoint, spec=spec)
        with bar("repair", found.num_shards_wrong, "shard") as advance:
            done = repair_cohort(
                found,
                source,
                executor=executor_of(arguments),
                mixed_numerics=arguments.mixed_numerics,
                remove_strays=arguments.remove_strays,
                on_outcome=lambda outcome: advance(1),
            )
    for line in done.lines():
        print(line)
    return 1 if done.left else 0


def _add_merge(actions: "Commands") -> None:
    merge = actions.add_parser("merge", help="write the index of a complete cohort")
    merge.add_argument("url", help="a cohort")
    merge.set_defaults(run=_merge)


def _merge(arguments: argparse.Namespace) -> int:
    from ecgtwin.generation.merge_cohort import complete_plan, merge_cohort
    from ecgtwin.progress import bar

    num_shards = complete_plan(arguments.url).num_shards
    with bar("merge", num_shards, "shard") as advance:
        summary = merge_cohort(arguments.url, advance=advance)
    print(summary.line())
    return 0


def _add_remove(actions: "Commands") -> None:
    remove = actions.add_parser("rm", help="take a cohort away; lists what would go, without --yes")
    remove.add_argument("url", help="a cohort")
    remove.add_argument("--yes", action="store_true", help="do it")
    remove.set_defaults(run=_remove)


def _remove(arguments: argparse.Namespace) -> int:
    from ecgtwin.generation.stored_plan import check_is_ours
    from ecgtwin.progress import bar
    from ecgtwin.store.removal import plan_removal, remove

    check_is_ours(arguments.url)
    removal = plan_removal(arguments.url)
    for name, (num_objects, num_bytes) in removal.parts().items():
        print(f"{name}: {num_objects:,} objects, {num_bytes:,} bytes")
    num_objects = len(removal.objects)
    if removal.others:
        print(
            f"left, as they are not of a cohort: {len(removal.others):,} objects, "
            f"{', '.join(removal.others[:3])}{', ...' if removal.others[3:] else ''}"
        )
    if arguments.yes:
        with bar("rm", num_objects, "object") as advance:
            remove(removal, advance=advance)
    what = "removed" if arguments.yes else "nothing was removed; with --yes would go"
    print(f"{arguments.url}: {what}: {num_objects:,} objects, {removal.num_bytes:,} bytes")
    return 0


def _add_sample(actions: "Commands") -> None:
    sample = actions.add_parser("sample", help="draw one row again and compare it")
    sample.add_argument("url", help="a cohort")
    sample.add_argument("row", type=int, metavar="ROW", help="counts from 0")
    sample.add_argument("--checkpoint", help="(default: where cohort.json says)")
    sample.set_defaults(run=_sample)


def _sample(arguments: argparse.Namespace) -> int:
    from ecgtwin.generation.sample_again import sample_again
    from ecgtwin.generation.stored_plan import check_is_cohort

    check_is_cohort(arguments.url)
    found = sample_again(arguments.url, arguments.row, checkpoint=arguments.checkpoint)
    for line in found.lines():
        print(line)
    return 0 if found.is_same else 1
