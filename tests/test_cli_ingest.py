"""``ecgtwin ingest`` as somebody meets it who has never seen it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ecgtwin.cli import main
from ecgtwin.store.reader import Corpus
from tests.sources.made import content

REPOSITORY = Path(__file__).parent.parent
START_S = 180.0

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Said:
    """Return how to run ``ecgtwin ingest`` in an empty folder: (code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main(["ingest", *map(str, words)])
        except SystemExit as end:
            code = int(end.code or 0)
        found = capsys.readouterr()
        return code, found.out, found.err

    return run


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("", ("required: KIND", "`ecgtwin ingest --help`")),
        ("nowhere c", ("'nowhere' is no kind", "ptbxl, mimic-iv-ecg, challenge")),
        ("ptbxl", ("`ecgtwin ingest ptbxl SRC DEST`", "found none")),
        ("ptbxl c", ("`ecgtwin ingest ptbxl SRC DEST`", "found c")),
        ("simulated a b", ("`ecgtwin ingest simulated DEST`", "found a b")),
        ("ptbxl nowhere c", ("nowhere",)),
        ("mimic-iv-ecg EMPTY c", ("record_list.csv",)),
        ("ptbxl EMPTY c", ("ptbxl_database.csv",)),
        ("challenge EMPTY c", (".hea",)),
        ("ptb EMPTY c", (".hea",)),
        ("wfdb EMPTY c", (".hea",)),
        ("simulated c --persons 0", ("--persons", "'0'", "at least 1")),
        ("simulated c --persons -3", ("--persons", "'-3'", "at least 1")),
        ("simulated c --visits many", ("--visits", "'many'", "whole number")),
        ("simulated c --seed -1", ("--seed", "'-1'", "at least 0")),
        ("simulated c --workers 0", ("--workers", "'0'", "at least 1")),
        ("simulated c --limit 0", ("--limit", "'0'", "at least 1")),
        ("simulated c --limit 3", ("--limit", "archive")),
        ("ptbxl EMPTY c --persons 3", ("--persons", "simulated population", "leave it out")),
        ("simulated c --max-reject-share 2", ("--max-reject-share", "'2'", "0 to 1")),
        ("simulated c --set rows_per_shard", ("NAME=VALUE",)),
        ("simulated c --set rows_per_shart=4", ("rows_per_shart", "unknown key")),
        ("simulated c --set signal.highpass_hz=40", ("signal.highpass_hz", "40")),
        ("simulated c --set signal.=4", ("NAME=VALUE",)),
        ("simulated c --set rows_per_shard=7", ("multiple of",)),
        ("simulated c --settings no.yaml", ("no.yaml", "cannot be read")),
        ("simulated c --known nowhere", ("nowhere",)),
        ("simulated c --ray 127.0.0.1:1", ("no Ray cluster",)),
    ],
)
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(
    said: Said, words: str, parts: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    empty = str(tmp_path_factory.mktemp("empty"))
    code, _, err = said(*words.replace("EMPTY", empty).split())
    assert code == 2, err
    (line,) = err.splitlines()
    assert line.startswith("ecgtwin: error: ")
    for part in parts:
        assert part in line
    assert list(Path().iterdir()) == []


def test_a_destination_that_is_not_its_own_folder_is_refused(said: Said) -> None:
    Path("tree/inner").mkdir(parents=True)
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    before = content(Path())
    for words in (("wfdb", "tree", "tree"), ("wfdb", "tree", "tree/inner"), ("wfdb", "tree", ".")):
        code, _, err = said(*words)
        assert code == 2
        assert "lie inside each other" in err
    code, _, err = said("simulated", "full")
    assert code == 2
    assert "is not empty and holds no corpus (found notes.txt)" in err
    assert content(Path()) == before


def test_a_simulated_corpus_is_made_once_and_summed_up(said: Said) -> None:
    words = ("simulated", "corpus", "--persons", 4, "--visits", 2)
    code, out, _ = said(*words)
    assert code == 0
    assert out.startswith("8 of 8 records kept, 0 rejected; 4 patients")
    assert "4 with two or more records (4 pairs)" in out
    assert "wanted 80%" in out
    before = content(Path())
    assert said(*words)[:2] == (0, out)
    assert content(Path()) == before


def test_settings_come_from_a_file_and_from_single_values(said: Said) -> None:
    Path("ingest.yaml").write_text(yaml.safe_dump({"test_share": 0.3, "signal": {"notch_hz": 50}}))
    code, _, _ = said(
        "simulated", "corpus", "--persons", 2, "--settings", "ingest.yaml",
        "--set", "signal.highpass_hz=0.5", "--set", "split_salt=mine",
    )  # fmt: skip
    assert code == 0
    settings = json.loads(Path("corpus/corpus.json").read_text())["settings"]
    assert settings["signal"]["highpass_hz"] == 0.5
    assert settings["signal"]["notch_hz"] == 50
    assert (settings["test_share"], settings["split_salt"]) == (0.3, "mine")


def test_other_settings_are_refused_and_named(said: Said) -> None:
    assert said("simulated", "corpus", "--persons", 2)[0] == 0
    code, _, err = said("simulated", "corpus", "--persons", 3)
    assert code == 2
    assert "corpus holds another corpus (num_rows is 6 there, 9 was asked for" in err
    assert said("simulated", "corpus", "--persons", 2, "--max-reject-share", 0.5)[0] == 0


def test_what_failed_is_said_and_the_same_command_finishes(said: Said) -> None:
    words = ("simulated", "corpus", "--persons", 2, "--visits", 1)
    blocked = Path("corpus/signals.zarr/samples_mv/c")
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the shards' folder should be")
    code, out, err = said(*words)
    assert code == 1
    assert "0 of 2 records kept" in out
    assert err.splitlines()[-1].startswith("ecgtwin: shard 0 failed: ")
    assert str(blocked) in err.splitlines()[-1]
    blocked.unlink()
    assert said(*words)[0] == 0
    assert len(Corpus("corpus")) == 2


def test_too_many_rejects_end_with_a_summary_and_an_exit_code(
    said: Said,
) -> None:
    Path("tree").mkdir()
    for number in range(5):
        Path(f"tree/r{number}.hea").write_text(
            f"r{number} 1 500 5000\nr{number}.dat 16 200 16 0 0 0 0 I\n"
        )
    code, out, _ = said("wfdb", "tree", "corpus")
    assert code == 1
    assert "0 of 5 records kept, 5 rejected" in out
    assert "rejected 5: lead_missing" in out
    assert "--max-reject-share" in out
    code, out, _ = said("wfdb", "tree", "corpus", "--max-reject-share", 1)
    assert code == 1  # nothing to train on
    assert "0 of 5 records kept" in out


@pytest.mark.faults
def test_control_c_says_how_to_go_on(said: Said) -> None:
    words = ["simulated", "corpus", "--persons", "400", "--set", "rows_per_shard=32"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ecgtwin", "ingest", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    deadline = time.monotonic() + START_S
    while not list(Path("corpus/manifest").glob("shard*")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=START_S)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "ecgtwin: interrupted; the same command goes on from here"
    assert "Traceback" not in err


@pytest.mark.ray
def test_workers_make_the_same_corpus(said: Said, tmp_path: Path, ray_cluster: None) -> None:
    words = ("--persons", 3, "--set", "rows_per_shard=4", "--set", "rows_per_chunk=4")
    assert said("simulated", tmp_path / "alone", *words)[0] == 0
    assert said("simulated", tmp_path / "together", *words, "--workers", 2)[0] == 0

    def kept(folder: str) -> dict[str, bytes]:
        found = content(tmp_path / folder)
        return {name: data for name, data in found.items() if not name.startswith("private/")}

    assert kept("alone") == kept("together")
