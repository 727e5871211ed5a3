"""How stored ECGs are encoded: what may be asked for, and what is told of the rest."""

import pytest

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.cohort import OutputSpec
from ecgtwin.spec.storage import MAX_RATE_HZ, MIN_RATE_HZ, STEPS_MV, USUAL_CODEC


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("step_mv", 0.002, r"step_mv: 0\.002 mV is no step .* one of 0\.001, 0\.0025, 0\.005, 0"),
        ("step_mv", -0.005, r"step_mv: -0\.005 mV is no step"),
        ("sampling_rate_hz", 49.9, r"sampling_rate_hz: .* greater than or equal to 50 .*49\.9"),
        ("sampling_rate_hz", 1001, r"sampling_rate_hz: .* less than or equal to 1000 .*1001"),
        ("codec", {"name": "gzip"}, r"codec\.name: .*'zstd', 'lz4', 'blosclz' or 'zlib'.*'gzip'"),
        ("codec", {"level": 10}, r"codec\.level: .* less than or equal to 9 \(found 10\)"),
        ("codec", {"shuffle": "bits"}, r"codec\.shuffle: .*'bitshuffle'.*'bits'"),
        ("codec", {"levle": 3}, r"codec\.levle: unknown key, level perhaps"),
    ],
)
def test_what_cannot_be_stored_is_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(SpecificationError, match=message):
        OutputSpec.parse({"url": "out", name: value}, origin="a test")


def test_the_ends_of_what_is_allowed_are_allowed() -> None:
    for rate_hz in (MIN_RATE_HZ, MAX_RATE_HZ):
        assert OutputSpec(url="out", sampling_rate_hz=rate_hz).sampling_rate_hz == rate_hz
    for step_mv in STEPS_MV:
        assert OutputSpec(url="out", step_mv=step_mv).step_mv == (step_mv, None)[step_mv == 0.005]
        assert round(1 / step_mv) * step_mv == pytest.approx(1, abs=1e-15)


def test_what_is_usual_reads_as_left_out() -> None:
    spelled = OutputSpec(url="out", step_mv=0.005, codec=USUAL_CODEC)
    assert spelled == OutputSpec(url="out")
    assert OutputSpec(url="out", codec={"level": 4}) != OutputSpec(url="out")
