"""Real headers spoiled: one line that says why, or what the bytes say; never a traceback."""

import tracemalloc
from pathlib import Path

import pytest

from ecgtwin.errors import RecordError
from tests.sources.fuzz_rounds import CHANGES, ROUNDS, archives, data_or_none, fuzz
from tests.sources.fuzzing import Fuzzed, Tally
from tests.sources.records import edit_header, read_path, write_tree


@pytest.fixture(scope="module")
def all_archives(request, tmp_path_factory) -> list[Fuzzed]:
    return archives(tmp_path_factory.mktemp("fuzz"), data_or_none(request), Tally())


@pytest.mark.faults
@pytest.mark.timeout(120 + 240 * ROUNDS)
def test_no_spoiled_header_is_a_traceback_a_hang_or_a_wrong_signal(all_archives) -> None:
    tally = all_archives[0].tally
    count = fuzz(all_archives, "header", ROUNDS * CHANGES["header"])
    assert count == sum(tally.outcomes.values()) >= CHANGES["header"]
    assert {result for _, result in tally.outcomes} >= {"reject", "same"}


def test_a_round_has_enough_changes() -> None:
    assert sum(CHANGES.values()) >= 2400


NASTY = {
    "samples": ("500 5000", "500 1000000000"),
    "FLAC": (".dat 16 ", ".dat 516 "),
    "samples a frame": (".dat 16 ", ".dat 16x99999999 "),
    "skew": (".dat 16 ", ".dat 16:999999999 "),
    "offset": (".dat 16 ", ".dat 16+999999999999 "),
    "bits": (".dat 16 ", ".dat 212 "),
    "a long name": (" V6", " " + "V6" * 400_000),
    "a long number": (" 16 0 ", " " + "9" * 400_000 + " 0 "),
}


@pytest.mark.parametrize("what", NASTY)
def test_a_header_cannot_ask_for_memory(tmp_path: Path, what: str) -> None:
    path = tmp_path / write_tree(tmp_path, 1)[0].record_id
    read_path(path)
    edit_header(path.with_suffix(".hea"), *NASTY[what])
    tracemalloc.start()
    try:
        with pytest.raises(RecordError):
            read_path(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 * 2**20
