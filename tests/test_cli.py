"""The command line as somebody meets it who has never seen it: mistakes first."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ecgtwin.cli import main
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.run import generate_cohort
from ecgtwin.store.manifest import committed_shards
from tests.generation.corpora import make_checkpoint, make_corpus, make_spec, objects_under

REPOSITORY = Path(__file__).parent.parent
START_S = 180.0
LOCAL = ("--executor", "local")
TRAIN = "train all tiny --corpus c --out o --folder f"

Mistake = Callable[..., list[str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of seven records, an untrained twin, a cohort of theirs; read only."""
    folder = tmp_path_factory.mktemp("made")
    make_corpus(str(folder / "corpus"))
    make_checkpoint(folder / "twin")
    generate_cohort(make_spec(folder, folder / "cohort"), executor=LocalExecutor())
    return folder


@pytest.fixture
def here(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., str]]:
    """Work in an empty folder without any AWS variable; yield how to write ``cohort.yaml`` in it.

    What ``made`` holds must be the same afterwards.
    """
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def write(**changes: Any) -> str:
        stored = make_spec(made, "new").model_dump(mode="json", exclude={"run"})
        Path("cohort.yaml").write_text(yaml.safe_dump(stored | changes))
        return "cohort.yaml"

    before = everything(made)
    yield write
    assert everything(made) == before


@pytest.fixture
def mistake(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Mistake:
    """Return how to run a command that must end as a mistake; it returns the lines it says."""

    def run(*words: object) -> list[str]:
        before = everything(tmp_path)
        capsys.readouterr()
        code = exit_code(*words)
        said = capsys.readouterr()
        assert code == 2, said.out + said.err
        assert everything(tmp_path) == before, "something was written"
        lines = said.err.splitlines()
        assert lines
        for line in lines:  # no traceback, no progress bar, no usage
            assert line.startswith("ecgtwin: error: "), said.err
        return [line.removeprefix("ecgtwin: error: ") for line in lines]

    return run


def exit_code(*words: object) -> int:
    try:
        return main([str(word) for word in words])
    except SystemExit as end:
        return int(end.code or 0)


def everything(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns if path.is_file() else 0,
            path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"))
    }


def test_no_command_prints_the_help_and_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code() == 2
    said = capsys.readouterr()
    assert not said.out
    assert exit_code("--help") == 0
    assert capsys.readouterr().out == said.err
    for command in ("demo", "ingest", "train", "spec", "generate", "submit", "cohort"):
        assert f"\n    {command} " in said.err


def help_words() -> list[tuple[str, ...]]:
    plain = [(name,) for name in ("demo", "ingest", "train", "generate")]
    return [
        *plain,
        ("spec", "new"),
        ("spec", "check"),
        ("submit", "generate"),
        ("cohort", "verify"),
    ]


@pytest.mark.parametrize("words", help_words(), ids=" ".join)
def test_every_command_explains_itself(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*words, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: ecgtwin {' '.join(words)} ")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("bogus", ("'bogus'", "'ingest'", "`ecgtwin --help`")),
        ("generate nowhere.yaml", ("nowhere.yaml: cannot be read", "YAML")),
        ("generate .", (".: cannot be read (Is a directory)",)),
        ("generate x --workers 0", ("--workers", "'0'", "at least 1")),
        ("generate x --executor local --workers 2", ("--executor local", "--workers")),
        ("spec check nowhere.yaml", ("nowhere.yaml: cannot be read", "YAML")),
        ("spec new no/such/folder.yaml", ("no/such/folder.yaml", "folder must be there")),
        ("cohort verify nowhere", ("nowhere holds no cohort or corpus", "check the URL")),
        ("cohort report nowhere", ("nowhere holds no cohort or corpus", "check the URL")),
        ("train all tiny --corpus nowhere --out o --folder f", ("nowhere holds no", "the URL")),
        ("train tiny --corpus c --out o --folder f", ("'tiny'", "'base-extractor'", "'all'")),
        ("train all nothing --corpus c --out o --folder f", ("'nothing'", "tiny, tiny-continue")),
        ("train all tiny --corpus c --out o --folder f --minutes 0", ("--minutes", "above 0")),
        ("train all tiny --corpus c --out o --folder f --processes 0", ("--processes", "'0'")),
        (f"{TRAIN} --set vae", ("--set 'vae'", "NAME=VALUE")),
        (f"{TRAIN} --set vae.training.steps=3", ("--set vae.", "vae.training.steps: unknown key")),
        (f"{TRAIN} --set vae.training.num_steps=0", ("vae.training.num_steps:", "found 0")),
        (f"{TRAIN} --nodes 2", ("--nodes 2 needs --node-rank", "--rendezvous HOST:PORT")),
        (f"{TRAIN} --nodes 2 --node-rank 2", ("--node-rank 2 is none of --nodes 2",)),
        (f"{TRAIN} --node-rank 1", ("--node-rank 1 is none of --nodes 1",)),
        (f"{TRAIN} --rendezvous first", ("--rendezvous", "'first'", "HOST:PORT")),
        (f"{TRAIN} --rendezvous first:0", ("--rendezvous", "'first:0'", "1 to 65535")),
        (f"{TRAIN} --engine torch --processes 2", ("--engine torch trains in one process",)),
        ("submit generate nowhere.yaml --address http://127.0.0.1:1", ("cannot be read",)),
        ("cohort verify s3://", ("s3://", "s3://bucket/folder")),
        ("cohort verify s3:/bucket/cohort", ("s3:/bucket/cohort", "s3://bucket/folder")),
        ("cohort verify ftp://host/cohort", ("'ftp'", "s3://bucket/folder")),
        ("cohort verify s3://bucket/cohort", ("bucket 'bucket'", "AWS_ACCESS_KEY_ID")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_line_is_one_line_back(
    words: str, parts: tuple[str, ...], mistake: Mistake, here: object
) -> None:
    (line,) = mistake(*words.split())
    for part in parts:
        assert part in line


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"replicate": 2}, ["replicate: unknown key", "allowed here:", "replicates"]),
        ({"patients": {"split": "test", "cuont": 3}}, ["patients.cuont", "count, split"]),
        ({"patients": {"ids": ["p1", "nobody"]}}, ["ids.1: patient 'nobody'", "p3", "nearest"]),
        ({"patients": {"ids": ["p1", "p1"]}}, ["ids.1: 'p1' stands there twice", "replicates"]),
        ({"patients": {"ids": ["p5"]}}, ["'p5' has no usable record", "a flat lead"]),
        ({"patients": {"split": "test", "count": 9}}, ["9 of split 'test'", "has 1", "fewer"]),
        ({"conditions": []}, ["conditions:", "at least 1"]),
        ({"conditions": [{"heart_rate_bpm": 0}]}, ["conditions.0.heart_rate_bpm:", "20", "0"]),
        ({"conditions": [{"heart_rate_bpm": [60, "x"]}]}, ["0.heart_rate_bpm.1:", "number", "'x'"]),
        ({"conditions": [{"age_years": 900}]}, ["conditions.0.age_years:", "120", "found 900"]),
        ({"conditions": [{"sex": "f"}]}, ["conditions.0.sex:", "'female'", "'own'", "found 'f'"]),
        (
            {"conditions": [{"heart_rate_bpm": {"start": 60, "stop": 400, "count": 3}}]},
            ["400 bpm", "allowed are 20 to 300"],
        ),
        ({"corpus": "nowhere"}, ["nowhere holds no cohort or corpus", "check the URL"]),
        ({"checkpoint": "nowhere"}, ["checkpoint 'nowhere'", "twin.json", "tiny"]),
        ({"output": {"url": "s3://"}}, ["s3://bucket/folder"]),
        ({"output": {"url": "s3://bucket/cohort"}}, ["'bucket'", "AWS_ACCESS_KEY_ID"]),
        ({"output": {"url": "cohort.yaml"}}, ["cohort.yaml", "Not a directory", "check"]),
        ({"output": {"url": "n", "rows_per_shard": 20}}, ["is 20", "a multiple of", "(16)"]),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_mistake_in_a_specification_is_one_line(
    changes: dict[str, Any], parts: list[str], mistake: Mistake, here: Callable[..., str]
) -> None:
    (line,) = mistake("generate", here(**changes), *LOCAL)
    for part in parts:
        assert part in line


def test_a_rank_of_torchrun_starts_no_ranks(
    mistake: Mistake, here: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    (line,) = mistake(*TRAIN.split(), "--processes", "2")
    assert "--processes: this process is a rank that torchrun has started" in line
    (line,) = mistake(*TRAIN.split(), "--engine", "torch")
    assert "--engine torch trains in one process, not in 2" in line


def test_each_fault_has_its_own_line(mistake: Mistake, here: Callable[..., str]) -> None:
    conditions = [{"heart_rate_bpm": 0}, {"age_years": 900, "sexx": "male"}]
    path = here(conditions=conditions, bogus=1)
    for words in (("generate", path), ("generate", path, "--dry-run"), ("spec", "check", path)):
        lines = mistake(*words)
        assert [re.sub(r"line \d+, column \d+: ", "", line).split(":")[1] for line in lines] == [
            " conditions.0.heart_rate_bpm",
            " conditions.1.age_years",
            " conditions.1.sexx",
            " bogus",
        ]


def test_what_is_not_yaml_is_placed(mistake: Mistake, here: object) -> None:
    Path("a.yaml").write_text("version: 1\nseed: [1\n")
    Path("b.yaml").write_bytes(b"\xff\xfe\x00")
    Path("c.yaml").write_text("- 1\n")
    assert "a.yaml: is not YAML: line 3, column 1" in mistake("spec", "check", "a.yaml")[0]
    assert "b.yaml: is not YAML" in mistake("spec", "check", "b.yaml")[0]
    assert "keys and values (found [1])" in mistake("spec", "check", "c.yaml")[0]


def test_a_url_that_holds_something_else_is_left_alone(
    made: Path, mistake: Mistake, here: Callable[..., str]
) -> None:
    cohort = {**make_spec(made, made / "cohort").output.model_dump()}
    (line,) = mistake("generate", here(output=cohort, seed=5), *LOCAL)
    assert f"{made}/cohort holds a cohort of another specification" in line
    assert "choose another URL" in line
    (line,) = mistake("generate", here(output={**cohort, "url": f"{made}/corpus"}), *LOCAL)
    assert f"{made}/corpus holds a corpus; choose another URL" in line
    (line,) = mistake("generate", here(corpus=f"{made}/cohort"), *LOCAL)
    assert f"{made}/cohort holds a cohort, not a corpus; check the URL" in line
    (line,) = mistake("ingest", "simulated", made / "cohort", "--persons", 1)
    assert f"{made}/cohort holds a cohort; choose another URL" in line
    (line,) = mistake("ingest", "simulated", made / "corpus", "--persons", 1)
    assert f"{made}/corpus holds another corpus" in line
    (line,) = mistake("cohort", "report", made / "corpus")
    assert f"{made}/corpus holds a corpus, not a cohort" in line
    training = ("train", "all", "tiny", "--corpus", made / "corpus", "--folder", "f")
    for processes in (1, 2):  # told once, not by every rank
        (line,) = mistake(*training, "--out", made / "twin", "--processes", processes)
        assert f"{made}/twin holds a checkpoint that was not trained in f" in line
    (line,) = mistake(*training[:4], made / "cohort", "--out", "o", "--folder", "f")
    assert f"{made}/cohort holds a cohort, not a corpus" in line
    (line,) = mistake(*training, "--out", "o", "--start-from", "nowhere")
    assert "checkpoint 'nowhere'" in line
    (line,) = mistake("train", "denoiser", *training[2:], "--out", "o")
    assert "denoiser learns from vae and base_extractor, untrained without --start-from" in line


def test_a_report_that_cannot_be_written_is_refused_first(
    made: Path, mistake: Mistake, here: Callable[..., str]
) -> None:
    here()
    for path in (".", "cohort.yaml/report.html"):
        (line,) = mistake("cohort", "report", made / "cohort", "--out", path)
        assert line.startswith(f"{path} is ")
        assert "report.html" in line


def test_a_cluster_that_is_not_there_is_one_line_at_once(
    mistake: Mistake, here: Callable[..., str]
) -> None:
    (line,) = mistake("generate", here(), "--address", "127.0.0.1:1")
    assert "output.url: 'new' is relative" in line
    path = here(output={"url": str(Path("new").absolute())})
    begun = time.monotonic()
    for address in ("127.0.0.1:1", "http://127.0.0.1:8265", "nowhere"):
        (line,) = mistake("generate", path, "--address", address)
        assert repr(address) in line
        assert "HOST:6379" in line
    assert time.monotonic() - begun < 30


def test_specify_generate_again_and_verify(
    made: Path, here: object, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["spec", "new", "my.yaml", "--corpus", made / "corpus", "--url", "a: b #c"]
    assert exit_code(*words, "--checkpoint", made / "twin") == 0
    assert capsys.readouterr().out == "my.yaml\n"
    text = Path("my.yaml").read_text()
    assert exit_code(*words) == 2
    assert "my.yaml exists" in capsys.readouterr().err
    assert Path("my.yaml").read_text() == text
    Path("my.yaml").write_text(text.replace("count: 4", "count: 1"))

    assert exit_code("spec", "check", "my.yaml") == 0
    assert capsys.readouterr().out.startswith("my.yaml: valid; ")
    assert exit_code("generate", "my.yaml", "--dry-run") == 0
    plan = capsys.readouterr()
    assert plan.out.startswith("18 ECGs = 1 patient x 9 conditions x 2 replicates\n")
    assert not plan.err
    assert not Path("a: b #c").exists()

    assert exit_code("generate", "my.yaml", *LOCAL) == 0
    first = capsys.readouterr()
    assert "2 of 2 shards committed" in first.out
    before = everything(Path())
    assert exit_code("generate", "my.yaml", *LOCAL) == 0
    again = capsys.readouterr()
    assert "0 ECGs in 0.0 s" in again.out
    assert not again.err
    assert everything(Path()) == before

    assert exit_code("cohort", "verify", "a: b #c") == 0
    assert "every committed object" in capsys.readouterr().out
    damaged = next(path for path in Path("a: b #c/signals.zarr/samples_mv/c").rglob("*/0"))
    if damaged.is_dir():
        damaged = next(path for path in damaged.rglob("*") if path.is_file())
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert exit_code("cohort", "verify", "a: b #c") == 1
    assert str(damaged) in capsys.readouterr().out


@pytest.mark.faults
def test_control_c_says_how_to_go_on_and_the_same_command_does(
    made: Path, here: Callable[..., str]
) -> None:
    entries = [{"statements": ["sinus rhythm"], "heart_rate_bpm": 70}]
    changes = {"conditions": entries, "replicates": 200, "patients": {"split": "train"}}
    output = {"rows_per_shard": 4, "rows_per_chunk": 2}
    path = here(**changes, output={**output, "url": "killed"})
    process = subprocess.Popen(
        [sys.executable, "-m", "ecgtwin", "generate", path, *LOCAL],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    deadline = time.monotonic() + START_S
    while not committed_shards("killed") and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=START_S)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "ecgtwin: interrupted; the same command goes on from here"
    assert "Traceback" not in err
    assert 0 < len(committed_shards("killed")) < 150

    assert main(["generate", path, *LOCAL]) == 0
    assert main(["generate", here(**changes, output={**output, "url": "whole"}), *LOCAL]) == 0
    assert objects_under("killed") == objects_under("whole")


@pytest.mark.ray
def test_ray_and_this_process_make_the_same_cohort(
    made: Path, here: Callable[..., str], capsys: pytest.CaptureFixture[str], ray_cluster: None
) -> None:
    output = make_spec(made, "new").output.model_dump()
    path = here(output={**output, "url": str(Path("by_ray").absolute())})
    assert main(["generate", path, "--workers", "2"]) == 0
    assert "3 of 3 shards committed" in capsys.readouterr().out
    assert objects_under("by_ray") == objects_under(str(made / "cohort"))
    corpus = str(Path("corpus").absolute())
    assert main(["ingest", "simulated", corpus, "--persons", "3", "--workers", "2"]) == 0
    assert "9 of 9 records kept" in capsys.readouterr().out
