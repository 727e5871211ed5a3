"""docs/pipeline.md names every parameter of the pipeline, with the default that it has."""

import re
from pathlib import Path

import pytest

from ecgtwin.spec.ingest import IngestSpec, QualitySpec, SignalSpec

PAGE = Path(__file__).parent.parent / "docs" / "pipeline.md"
ELSEWHERE = {"quality.swapped_limb_leads", "quality.checksum"}  # of other stages
PARAMETERS = [
    "sampling_rate_hz",
    "num_samples",
    *(f"signal.{name}" for name in SignalSpec.model_fields),
    *(f"quality.{name}" for name in QualitySpec.model_fields),
]


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_default_on_the_page_is_the_default(name):
    text = PAGE.read_text()
    assert f"`{name}`" in text
    if name in ELSEWHERE:
        return
    value = IngestSpec()
    for part in name.split("."):
        value = getattr(value, part)
    (default,) = re.findall(rf"^\| `{re.escape(name)}` \| `([^`]*)` \|", text, re.MULTILINE)
    assert default == str(value)
