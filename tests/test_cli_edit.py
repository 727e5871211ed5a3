"""``ecgtwin edit`` as somebody meets it who has never seen it: mistakes, twice, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from ecgtwin.cli import main
from ecgtwin.signals.leads import LEADS
from ecgtwin.store.reader import Corpus
from tests.generation.corpora import make_checkpoint, make_corpus

REPOSITORY = Path(__file__).parent.parent
ADD = ("--add", "left bundle branch block")
NAMES = {"source.svg", "edited.svg", "before-after.svg", "maps.svg", "edit.npz", "edit.json"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A corpus of seven records, whose row 3 was rejected, and an untrained twin."""
    folder = tmp_path_factory.mktemp("made")
    make_corpus(str(folder / "corpus"))
    make_checkpoint(folder / "twin")
    return folder


@pytest.fixture
def edit(made, tmp_path, monkeypatch, capsys):
    """Return how to edit row 0 in an empty folder: (exit code, said to people, data)."""
    monkeypatch.chdir(tmp_path)

    def run(*words, row=0, corpus=made / "corpus", checkpoint=made / "twin", out="out"):
        capsys.readouterr()
        fixed = ["edit", checkpoint, "--corpus", corpus, "--row", row, "--out", out]
        try:
            code = main([str(word) for word in [*fixed, *words]])
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.err, said.out

    return run


def contents(folder="."):
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_it_explains_itself(capsys):
    with pytest.raises(SystemExit) as end:
        main(["edit", "--help"])
    assert not end.value.code
    said = capsys.readouterr().out
    assert said.startswith("usage: ecgtwin edit ")
    assert "--replace OLD=NEW" in said
    assert 'ecgtwin edit tiny --corpus corpus --row 0 --add "left bundle branch block"' in said


def test_an_edit_is_a_folder_of_pictures_numbers_and_what_was_asked(made, edit):
    code, err, out = edit(*ADD, "--replace", "sinus rhythm=sinus rhythm (possible)", "--seed", 4)
    assert code == 0, err
    assert {path.name for path in Path("out").iterdir()} == NAMES
    assert set(out.splitlines()[-6:]) == {f"out/{name}" for name in NAMES}
    for name in sorted(NAMES):
        if name.endswith(".svg"):
            assert "SYNTHETIC" in (Path("out") / name).read_text()
            ElementTree.parse(Path("out") / name)
    with np.load("out/edit.npz") as arrays:
        assert tuple(arrays["leads"]) == LEADS
        assert arrays["sampling_rate_hz"] == 102.4
        assert arrays["source_mv"].shape == arrays["edited_mv"].shape == (12, 1024)
        assert np.abs(arrays["source_mv"] - arrays["edited_mv"]).max() > 1e-3
        recording_mv = Corpus(str(made / "corpus")).samples_mv([0])[0]
        np.testing.assert_allclose(arrays["recording_mv"], recording_mv)
        assert list(arrays["statements"]) == ["sinus rhythm (possible)", "left bundle branch block"]
        assert arrays["attention"].shape[-1] == 2
    asked = json.loads(Path("out/edit.json").read_text())["asked"]
    assert asked["seed"] == 4
    assert asked["condition"]["statements"] == [{"code": "sinus rhythm", "certainty": "definite"}]
    assert [one["kind"] for one in asked["edits"]["edits"]] == ["replace", "add"]
    twin = json.loads((made / "twin" / "twin.json").read_text())
    assert asked["checkpoint_digest"] == twin["digest"]
    assert asked["corpus_digest"] == "c0ffee"


def test_settings_reach_the_drawing(edit):
    for name, words in {
        "plain": [],
        "rate": ["--rate", 120],
        "seed": ["--seed", 1],
        "steps": ["--steps", 3],
        "guidance": ["--guidance", 3],
        "start": ["--start", 0.4],
        "weight": ["--add", "low qrs voltages=4"],
        "sums": ["--add", "low qrs voltages=4", "--as-published"],
        "recording": ["--recording", "--steps", 2],
    }.items():
        code, err, _ = edit(*ADD, *words, out=name)
        assert code == 0, err
    found = {folder.name: arrays_in(folder) for folder in Path().iterdir()}
    source, edited = found.pop("plain")
    for name, (other_source, other_edited) in found.items():
        assert np.abs(other_edited - edited).max() > 1e-4, name
        same = name in ("start", "weight", "sums")
        assert (np.abs(other_source - source).max() < 1e-4) == same, name


def arrays_in(folder):
    with np.load(folder / "edit.npz") as arrays:
        return arrays["source_mv"], arrays["edited_mv"]


def test_twice_is_once_and_another_edit_is_refused(made, edit):
    assert edit(*ADD)[0] == 0
    before = contents()
    code, err, out = edit(*ADD)
    assert code == 0
    assert "out holds this edit already" in err
    assert "out/edited.svg" in out
    code, err, _ = edit(*ADD, corpus=made / "." / "twin" / ".." / "corpus")
    assert code == 0, err  # the same corpus by another path
    code, err, _ = edit(*ADD, "--seed", 9)
    assert code == 2
    assert err == (
        "ecgtwin: error: out holds another edit (other seed); choose another folder, or delete it\n"
    )
    assert contents() == before


def test_what_was_cut_short_is_finished(edit):
    assert edit(*ADD)[0] == 0
    whole = contents()
    for name in ("edit.json", "edited.svg"):
        (Path("out") / name).unlink()
    assert edit(*ADD)[0] == 0
    assert contents() == whole


@pytest.mark.parametrize(
    ("words", "given", "parts"),
    [
        ((), {}, ["nothing to edit", "--replace", "--add", "--reweight"]),
        (("--replace", "afib=x"), {}, ["no statement 'afib'", "it has 'sinus rhythm'"]),
        (("--replace", "afib"), {}, ["--replace 'afib'", "OLD=NEW"]),
        (("--reweight", "sinus rhythm"), {}, ["--reweight 'sinus rhythm'", "STATEMENT=WEIGHT"]),
        (("--reweight", "sinus rhythm=2"), {}, ["only statement", "renormalise"]),
        (("--reweight", "sinus rhythm=x"), {}, ["--reweight", "weight", "'x'"]),
        (("--add", "x=-1"), {}, ["--add 'x=-1'", "weight", "-1"]),
        (("--add", " "), {}, ["--add ' '", "statement"]),
        ((*ADD, *ADD), {}, ["'left bundle branch block' twice"]),
        ((*ADD, "--start", 3), {}, ["--start", "found 3"]),
        ((*ADD, "--start", "0.001"), {}, ["start_time", "nothing would be edited"]),
        ((*ADD, "--rate", 900), {}, ["heart_rate_bpm", "300", "900"]),
        ((*ADD, "--rate", "fast"), {}, ["--rate", "'fast'"]),
        ((*ADD, "--rate", 90, "--recording"), {}, ["--rate", "--recording", "leave one"]),
        ((*ADD, "--guidance", -1), {}, ["guidance_scale", "found -1"]),
        ((*ADD, "--steps", 0), {}, ["--steps", "'0'", "at least 1"]),
        (ADD, {"row": 99}, ["row 99", "rows 0 to 6"]),
        (ADD, {"row": 3}, ["row 3", "rejected", "a flat lead"]),
        (ADD, {"row": -1}, ["--row", "'-1'"]),
        (ADD, {"corpus": "nowhere"}, ["nowhere holds no cohort or corpus"]),
        (ADD, {"checkpoint": "nowhere"}, ["checkpoint 'nowhere'", "tiny"]),
        (ADD, {"out": "s3:/x"}, ["s3:/x", "s3://bucket/folder"]),
        (ADD, {"out": ""}, ["empty URL"]),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_and_nothing_is_written(edit, words, given, parts):
    code, err, out = edit(*words, **given)
    assert code == 2
    assert not out
    (line,) = err.splitlines()
    assert line.startswith("ecgtwin: error: ")
    for part in parts:
        assert part in line
    assert not contents()


def test_what_stands_in_the_way_is_left_alone(edit):
    Path("file").touch()
    Path("other").mkdir()
    Path("other/edit.json").write_text("{}")
    Path("picture").mkdir()
    Path("picture/maps.svg").write_text("mine")
    before = contents()
    for out, part in (
        ("file", "Not a directory"),
        ("other", "not the description of an edit"),
        ("picture", "picture/maps.svg is in the way"),
    ):
        code, err, _ = edit(*ADD, out=out)
        assert code == 2
        assert part in err
    assert contents() == before


def test_pictures_are_not_put_into_a_corpus_or_a_checkpoint(made, edit):
    before = contents(made)
    for name, kind in (("corpus", "corpus"), ("twin", "checkpoint")):
        code, err, _ = edit(*ADD, out=made / name)
        assert code == 2
        assert f"holds a {kind}; choose another folder" in err
    assert contents(made) == before


def test_a_statement_that_nobody_has_is_pointed_out(edit):
    code, err, _ = edit("--add", "sinus rythm")
    assert code == 0
    assert "note: no record of" in err
    assert "'sinus rythm'" in err
    assert "'sinus rhythm'" in err


def test_ctrl_c_leaves_nothing_and_the_same_command_does_it(made, edit, tmp_path):
    words = ["edit", made / "twin", "--corpus", made / "corpus", "--row", 0, *ADD, "--out", "out"]
    long = [*words, "--steps", 1000]
    code = "import ecgtwin.edit_folder; print('ready', flush=True); from ecgtwin.cli import main; "
    code += "import sys; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, long)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)  # of the two seconds that it takes
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert "Traceback" not in err
    assert not contents()
    assert edit(*ADD)[0] == 0


def test_a_finding_in_a_normal_report_is_noted(edit):
    words = ["--replace", "sinus rhythm=normal ecg", "--add", "left bundle branch block"]
    code, err, _ = edit(*words)
    assert code == 0
    assert "the report says 'normal ecg' beside 'left bundle branch block'" in err
    assert "normal ecg" not in edit(*ADD, out="plain")[1]
