"""The README says what is true: each of its commands and programs is run, in its order."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text()
MAX_LINES = 200
COMMAND_S = 420.0
# The words of a job that needs a cluster: here they must be refused for the right reason;
# tests/ray_jobs/test_submit.py runs them against a cluster.
FAR = "http://head:8265"


@dataclass(frozen=True)
class Step:
    """One command line, or one Python program."""

    language: str
    text: str


def blocks() -> list[tuple[str, str]]:
    """Return language and body of every fenced block, in order."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert 2 * len(fences) == len(re.findall(r"^```", README, re.MULTILINE))
    return fences


def steps() -> list[Step]:
    found = []
    for language, body in blocks():
        if language == "console":
            lines = [line for line in body.splitlines() if line.startswith("$ ")]
            assert lines, f"a console block without a command: {body}"
            found += [Step(language, line.removeprefix("$ ")) for line in lines]
        elif language == "python":
            found.append(Step(language, body))
    return found


def run(step: Step, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one step in ``folder`` with the commands and packages of this environment."""
    paths = (str(Path(sys.executable).parent), os.environ["PATH"])
    python = (str(REPOSITORY), os.environ.get("PYTHONPATH", ""))
    words = ["bash", "-euc", step.text]
    if step.language == "python":
        words = [sys.executable, "-c", step.text]
    return subprocess.run(
        words,
        cwd=folder,
        env=os.environ
        | {"PATH": os.pathsep.join(paths), "PYTHONPATH": os.pathsep.join(filter(None, python))},
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
    )


def test_it_is_short_and_names_what_is_there() -> None:
    assert len(README.splitlines()) <= MAX_LINES
    (tree,) = (body for language, body in blocks() if not language)
    assert tree.startswith("ecgtwin/\n")
    for line in tree.splitlines():
        name = line.split()[0]
        folder = REPOSITORY / ("ecgtwin" if line.startswith("  ") else "") / name
        assert folder.is_dir(), name
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        made_by_weights = link.startswith(("ecgtwin/weights/", "docs/"))
        assert made_by_weights or (REPOSITORY / link).exists(), link


def test_every_make_command_has_its_target() -> None:
    commands = {step.text for step in steps() if step.text.startswith("make ")}
    commands |= set(re.findall(r"`(make [^`]+)`", README))
    assert {"make demo", "make test"} <= commands
    for command in sorted(commands):
        done = subprocess.run(
            [*command.split(), "--dry-run"], cwd=REPOSITORY, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
    # `make test` is what CI runs, this test in it; test_demo.py runs what `make demo` does.
    assert "\nmake test\n" in (REPOSITORY / ".ci" / "run").read_text()
    demo = subprocess.run(
        ["make", "demo", "--dry-run"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "ecgtwin demo --source simulated --out demo" in demo.stdout


@pytest.mark.ray
@pytest.mark.deepspeed
@pytest.mark.timeout(900)
def test_every_other_command_and_program_works_in_this_order(tmp_path: Path) -> None:
    here = [step for step in steps() if not step.text.startswith("make ")]
    assert {step.language for step in here} == {"console", "python"}
    for step in here:
        done = run(step, tmp_path)
        if FAR in step.text:
            assert done.returncode == 2, done.stdout + done.stderr
            assert "is relative, and a job runs in a folder of its own" in done.stderr
            continue
        assert done.returncode == 0, f"{step.text}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert (tmp_path / "twin" / "twin.json").is_file()
