"""``ecgtwin edit``: one ECG before and after an edit of its report, as a folder of pictures."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from ecgtwin.arguments import Parser, natural_seed, positive_count
from ecgtwin.errors import SpecificationError

if TYPE_CHECKING:
    from ecgtwin.spec.edit import Add, Edit, EditSpec, Replace, Reweight

    Commands = argparse._SubParsersAction[Parser]

_EXAMPLES = """\
statements are written as the corpus has them; "(possible)", "(negated)" or "(definite)" behind one
says how certain it is:

  ecgtwin edit tiny --corpus corpus --row 0 --add "left bundle branch block" --out edit
  ecgtwin edit tiny --corpus corpus --row 0 --replace "sinus rhythm=atrial fibrillation" --out afib
  ecgtwin edit tiny --corpus corpus --row 0 --add "ischemia (possible)=2" --recording --out mine
"""
_EDITS = (
    ("--replace", "OLD=NEW", "a statement for another, where the attention was"),
    ("--add", "STATEMENT[=WEIGHT]", "one more statement; its attention times WEIGHT"),
    ("--reweight", "STATEMENT=WEIGHT", "the attention to a statement times WEIGHT"),
)


def add_edit(commands: "Commands") -> None:
    """Add ``edit`` to the command line."""
    edit = commands.add_parser(
        "edit",
        help="change the report of one ECG, and see what changes",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    edit.add_argument("checkpoint", help="a checkpoint folder or URL, or a shipped preset (tiny)")
    edit.add_argument("--corpus", required=True, help="whose ECG: a corpus ...")
    edit.add_argument("--row", type=natural_seed, required=True, help="... and a row of it")
    for name, metavar, said in _EDITS:
        said += " (may be given repeatedly)"
        edit.add_argument(name, action="append", default=[], metavar=metavar, help=said)
    edit.add_argument(
        "--recording", action="store_true", help="edit the recording, not an ECG drawn anew"
    )
    edit.add_argument("--rate", type=float, metavar="BPM", help="(default: that of the recording)")
    edit.add_argument("--seed", type=natural_seed, help="of the noise (default: 0)")
    edit.add_argument(
        "--start", type=float, metavar="LEVEL", help="noise level, 0 to 1, at which the edit begins"
    )
    edit.add_argument("--steps", type=positive_count, help="(default: the checkpoint's)")
    edit.add_argument("--guidance", type=float, help="(default: the checkpoint's)")
    edit.add_argument(
        "--as-published", action="store_true", help="let the attention sum to more or less than 1"
    )
    edit.add_argument("--out", required=True, help="a new folder or s3:// URL")
    edit.set_defaults(run=_edit)


def _edit(arguments: argparse.Namespace) -> int:
    _check(arguments)
    edits = _edit_spec(arguments)
    from ecgtwin.edit_folder import EditJob, write_edit

    sampling: dict[str, Any] = {}
    if arguments.steps is not None:
        sampling["num_steps"] = arguments.steps
    if arguments.guidance is not None:
        sampling["guidance_scale"] = arguments.guidance
    job = EditJob(
        checkpoint=arguments.checkpoint,
        corpus=arguments.corpus,
        row=arguments.row,
        edits=edits,
        seed=None if arguments.recording else arguments.seed or 0,
        heart_rate_bpm=arguments.rate,
        sampling=sampling,
    )
    summary = write_edit(job, arguments.out)
    for note in summary.notes:
        print(f"ecgtwin: note: {note}", file=sys.stderr)
    for line in summary.lines:
        print(line)
    if summary.was_there:
        print(f"{arguments.out} holds this edit already", file=sys.stderr)
    for name in summary.names:
        print(f"{arguments.out.rstrip('/')}/{name}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.recording:
        for name in ("rate", "seed"):
            if getattr(arguments, name) is not None:
                raise SpecificationError(
                    f"--{name} is of an ECG that is drawn anew, and --recording edits one that is "
                    "there; leave one of them out"
                )


def _edit_spec(arguments: argparse.Namespace) -> "EditSpec":
    from ecgtwin.spec.edit import EditSpec

    edits: list[Edit] = [_replace(said) for said in arguments.replace]
    edits += [_reweight(said) for said in arguments.reweight]
    edits += [_add(said) for said in arguments.add]
    if not edits:
        raise SpecificationError("nothing to edit; give --replace, --add or --reweight")
    fields = {
        "edits": edits,
        "start_time": arguments.start,
        "renormalise": not arguments.as_published,
    }
    return EditSpec.parse(fields, origin="--start" if arguments.start is not None else "edit")


def _replace(said: str) -> "Replace":
    from ecgtwin.spec.edit import Replace
    from ecgtwin.spec.words import statement_in_words

    old, separator, new = said.partition("=")
    if not separator:
        raise SpecificationError(f"--replace {said!r}: write OLD=NEW, two statements")
    fields = {"statement": old, "by": statement_in_words(new)}
    return Replace.parse(fields, origin=f"--replace {said!r}")


def _add(said: str) -> "Add":
    from ecgtwin.spec.edit import Add
    from ecgtwin.spec.words import statement_in_words

    statement, separator, weight = said.partition("=")
    fields: dict[str, Any] = {"statement": statement_in_words(statement)}
    if separator:
        fields["weight"] = _number(weight)
    return Add.parse(fields, origin=f"--add {said!r}")


def _reweight(said: str) -> "Reweight":
    from ecgtwin.spec.edit import Reweight

    statement, separator, weight = said.partition("=")
    if not separator:
        raise SpecificationError(f"--reweight {said!r}: write STATEMENT=WEIGHT, like ...=2")
    fields = {"statement": statement, "weight": _number(weight)}
    return Reweight.parse(fields, origin=f"--reweight {said!r}")


def _number(text: str) -> float | str:
    """Return the number that ``text`` is, or the text: the specification says what is wrong."""
    try:
        return float(text)
    except ValueError:
        return text
