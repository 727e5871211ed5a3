"""Rounds of changes to all archives; ECGTWIN_FUZZ_ROUNDS makes them longer."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.sources.fuzz_seeds import made_seeds, real_seeds
from tests.sources.fuzzing import Fuzzed, Tally, WrongError

ROUNDS = int(os.environ.get("ECGTWIN_FUZZ_ROUNDS", "1"))
CHANGES = {"header": 900, "signal": 720, "table": 820}  # of a round

_SHOWN = 5


def data_or_none(request: pytest.FixtureRequest) -> Path | None:
    """Return the real recordings; without them the made archives take all changes."""
    try:
        found: Path = request.getfixturevalue("real_data")
    except pytest.skip.Exception:
        return None
    return found


def archives(folder: Path, data: Path | None, tally: Tally) -> list[Fuzzed]:
    """Write the sound archives below ``folder`` and read them once."""
    (folder / "made").mkdir(parents=True)
    seeds = made_seeds(folder / "made")
    if data is not None:
        seeds += real_seeds(data, folder / "real")
    return [Fuzzed(seed, folder / seed.name, tally) for seed in seeds]


def fuzz(all_archives: Sequence[Fuzzed], part: str, count: int, *, first: int = 0) -> int:
    """Make ``count`` changes to a part of the archives in turn; return how many were judged."""
    able = [archive for archive in all_archives if part in archive.seed.parts()]
    wrong = []
    for number in range(count):
        archive = able[number % len(able)]
        try:
            archive.run(part, first + number // len(able))
        except WrongError as error:
            wrong.append(str(error))
    if wrong:
        raise WrongError(f"{len(wrong)} of {count}:\n" + "\n".join(wrong[:_SHOWN]))
    return count
