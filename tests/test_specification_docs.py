"""docs/specification.md says what is true: its commands and programs are run, its YAML is valid."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from ecgtwin.cli import main
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.vocabulary import checked_specification
from ecgtwin.sources.ingest import ingest
from ecgtwin.sources.simulated import SimulatedSource
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.spec.rates import Prices

PAGE = (Path(__file__).parent.parent / "docs" / "specification.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
YAML = [body for language, body in BLOCKS if language == "yaml" and "language-server" not in body]
PATIENTS = re.findall(r"^\| `(\{.*?\})` \|", PAGE.partition("## In which")[0], re.MULTILINE)
VALUES = re.findall(r"`(\{(?:start|distribution).*?\})`", PAGE)
BASE = {
    "checkpoint": "tiny",
    "corpus": "corpus",
    "patients": {"split": "test"},
    "conditions": [{"statements": ["sinus rhythm"]}],
    "output": {"url": "out"},
}


@pytest.mark.parametrize("text", YAML)
def test_its_yaml_is_valid(text: str) -> None:
    values = yaml.safe_load(text)
    if "currency" in values:
        Prices.parse(values, origin="the page")
    else:
        CohortSpec.parse({**BASE, **values}, origin="the page")


def test_its_forms_of_patients_and_values_are_valid() -> None:
    assert (len(PATIENTS), len(VALUES)) == (5, 3)
    for text in PATIENTS:
        CohortSpec.parse({**BASE, "patients": yaml.safe_load(text)}, origin="the page")
    for text in VALUES:
        conditions = [{"heart_rate_bpm": yaml.safe_load(text)}]
        CohortSpec.parse({**BASE, "conditions": conditions}, origin="the page")


def test_its_commands_and_programs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = IngestSpec(test_share=0.3)
    source = SimulatedSource(11, num_persons=40, visits_per_person=2)
    ingest(source, str(tmp_path / "corpus"), settings=settings, executor=LocalExecutor())
    (table,) = (body for language, body in BLOCKS if language == "csv")
    (tmp_path / "strata.csv").write_text(table)
    (prices,) = (text for text in YAML if "currency" in text)
    (tmp_path / "prices.yaml").write_text(prices)
    monkeypatch.chdir(tmp_path)
    for language, body in BLOCKS:
        if language == "python":
            exec(body, {})
        elif language == "console":
            for line in body.splitlines():
                program, *words = shlex.split(
                    line.removeprefix("$ ").removesuffix(" || test $? = 1")
                )
                assert program == "ecgtwin"
                assert main(words) == ("test $?" in line), line
    made = sorted(path.name for path in tmp_path.glob("*.yaml"))
    assert made == sorted(
        ["balanced.yaml", "built.yaml", "cohort.yaml", "filled.yaml", "first.yaml", "like.yaml",
         "prices.yaml", "strata.yaml"]
    )  # fmt: skip
    for name in made:
        if name != "prices.yaml":
            checked_specification(name)
