"""How stored ECGs are encoded: their rate, the size of a step, and how chunks are compressed."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ecgtwin.spec.base import Spec

STEP_MV = 0.005  # one unit of a stored sample, where nothing else is asked for
STEPS_MV = (0.001, 0.0025, 0.005, 0.01)  # a whole number of each is 1 mV
MIN_RATE_HZ, MAX_RATE_HZ = 50.0, 1000.0


def _known(step_mv: float) -> float:
    if step_mv not in STEPS_MV:
        allowed = ", ".join(f"{one:g}" for one in STEPS_MV)
        raise ValueError(f"{step_mv:g} mV is no step of stored samples; take one of {allowed}")
    return step_mv


StepMv = Annotated[float, AfterValidator(_known), Field(json_schema_extra={"enum": list(STEPS_MV)})]
StoredRateHz = Annotated[float, Field(ge=MIN_RATE_HZ, le=MAX_RATE_HZ)]


class CodecSpec(Spec):
    """How Blosc compresses the chunks of stored samples. No sample depends on it."""

    name: Literal["zstd", "lz4", "blosclz", "zlib"] = "zstd"
    level: Annotated[int, Field(ge=0, le=9)] = 3  # 0: stored as they are
    shuffle: Literal["bitshuffle", "shuffle", "noshuffle"] = "bitshuffle"


USUAL_CODEC = CodecSpec()
