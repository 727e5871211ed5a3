"""No flipped bit in a manifest or a table passes unseen, also where every reader passes over it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ecgtwin.errors import DamageError
from ecgtwin.store.layout import manifest_name
from ecgtwin.store.manifest import read_whole_manifest
from ecgtwin.store.tables import is_as_written, put_table, read_whole_table
from tests.store.shards import write_corpus

NUM_FLIPS = 500


def flips_that_pass(path: Path, read: Callable[[], object], rng: np.random.Generator) -> list[int]:
    """Return the bits, of a sample of them, whose flip leaves what can be read in full."""
    read()
    whole = path.read_bytes()
    passed = []
    for bit in rng.choice(len(whole) * 8, NUM_FLIPS, replace=False).tolist():
        harmed = bytearray(whole)
        harmed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(harmed)
        try:
            read()
        except DamageError:
            continue
        passed.append(bit)
    path.write_bytes(whole)
    return passed


def in_writer(whole: bytes, bit: int) -> bool:
    """Say whether a bit is of the version of the library that a file says it was written by."""
    start = whole.index(b"parquet-cpp-arrow version ") + 26
    return start <= bit // 8 < whole.index(b"\x1c", start)


@pytest.mark.parametrize("index", range(3))
def test_of_a_manifest(tmp_path: Path, index: int, rng: np.random.Generator) -> None:
    write_corpus(str(tmp_path))
    path = tmp_path / manifest_name(index)
    passed = flips_that_pass(path, lambda: read_whole_manifest(str(tmp_path), index), rng)
    assert [bit for bit in passed if not in_writer(path.read_bytes(), bit)] == []


def test_of_a_table(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "table.parquet"
    columns = {"person": [f"p{number}" for number in range(300)], "age": rng.normal(size=300)}
    put_table(str(path), columns, {"plan": "c0ffee"})
    passed = flips_that_pass(path, lambda: read_whole_table(str(path)), rng)
    assert [bit for bit in passed if not in_writer(path.read_bytes(), bit)] == []


def test_a_table_of_another_version_of_the_library_is_given_credit(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    put_table(str(path), {"age": [1, 2, 3]}, {})
    mine = path.read_bytes()
    start = mine.index(b"parquet-cpp-arrow version ") + 26
    theirs = mine[:start] + b"1" + mine[start + 1 :]
    assert theirs != mine
    assert is_as_written(theirs, mine)
    assert not is_as_written(mine[: start - 3] + b"_" + mine[start - 2 :], mine)
