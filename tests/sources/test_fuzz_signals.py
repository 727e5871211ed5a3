"""Real signal files spoiled: one line that says why, or what the bytes say; never a traceback."""

import pytest

from tests.sources.fuzz_rounds import CHANGES, ROUNDS, archives, data_or_none, fuzz
from tests.sources.fuzzing import Fuzzed, Tally


@pytest.fixture(scope="module")
def all_archives(request, tmp_path_factory) -> list[Fuzzed]:
    return archives(tmp_path_factory.mktemp("fuzz"), data_or_none(request), Tally())


@pytest.mark.faults
@pytest.mark.timeout(120 + 240 * ROUNDS)
def test_no_spoiled_signal_is_a_traceback_a_hang_or_a_wrong_signal(all_archives) -> None:
    tally = all_archives[0].tally
    count = fuzz(all_archives, "signal", ROUNDS * CHANGES["signal"])
    assert count == sum(tally.outcomes.values()) >= CHANGES["signal"]
    assert {result for _, result in tally.outcomes} >= {"reject", "same"}
