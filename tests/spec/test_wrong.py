"""Wrong specifications, each with the message it gives: all of it, to the letter.

The message stands at the head of the file, in lines that begin with ``# expect: ``, or, where the
file can hold no comments, beside it in a file ending on ``.expected``.
"""

from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import pytest

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.yaml_document import MAX_BYTES, MAX_VALUES

FOLDER = Path(__file__).parent / "wrong"
FILES = sorted(FOLDER.glob("*.yaml"))
SIGN = "# expect: "


def expected(path: Path) -> str:
    beside = path.with_suffix(".expected")
    if beside.exists():
        return beside.read_text().removesuffix("\n")
    lines = takewhile(lambda line: line.startswith(SIGN), path.read_text().split("\n"))
    return "\n".join(line.removeprefix(SIGN) for line in lines)


def told(path: Path) -> str:
    with pytest.raises(SpecificationError) as caught:
        CohortSpec.from_yaml(path)
    return str(caught.value).replace(str(path), "FILE")


def test_there_are_enough_of_them_and_none_is_large() -> None:
    assert len(FILES) >= 60
    assert max(path.stat().st_size for path in FILES) <= 20_000
    assert all(expected(path).startswith("FILE: ") for path in FILES)
    others = {path.with_suffix(".yaml") for path in FOLDER.iterdir()} - set(FILES)
    assert not others, "these are messages without a specification"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_wrong_specification_gives_its_message(path: Path) -> None:
    assert told(path) == expected(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda: "#" * (MAX_BYTES + 1),
            "is larger than 4 MiB; a specification is a page, lists of patients belong in a table",
        ),
        (
            lambda: "seed: [" + "1," * MAX_VALUES + "]",
            "line 1, column 1000000: this is one of more than 500,000 values; write fewer",
        ),
        (
            lambda: "".join(f"k{number}:\n" for number in range(MAX_VALUES // 2)),
            "line 250000, column 1: this is one of more than 500,000 values; write fewer",
        ),
        (
            lambda: "seed: " + "9" * (MAX_BYTES - 6),
            "is not YAML: line 1, column 7: a number of 4,194,298 characters; allowed are 100",
        ),
        (
            lambda: "seed: 1" + ":0" * (MAX_BYTES // 2 - 4),
            "is not YAML: line 1, column 7: a number of 4,194,297 characters; allowed are 100",
        ),
    ],
    ids=["bytes", "values", "keys", "digits", "sixties"],
)
def test_what_is_huge_is_refused(tmp_path: Path, content: Callable[[], str], message: str) -> None:
    path = tmp_path / "huge.yaml"
    path.write_text(content())
    assert told(path) == f"FILE: {message}"
