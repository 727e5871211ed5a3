"""``ecgtwin cohort verify`` and ``repair`` as somebody meets them: lines, JSON, exit codes."""

import json
import shutil
from pathlib import Path

import pytest

from ecgtwin.cli import main
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.store.layout import manifest_name, object_name
from tests.generation.cohorts import copied, make_exact
from tests.generation.corpora import make_checkpoint, make_corpus, objects_under

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> CohortSpec:
    folder = tmp_path_factory.mktemp("made")
    make_corpus(str(folder / "corpus"))
    make_checkpoint(folder / "twin")
    return make_exact(folder, folder / "cohort")


@pytest.fixture
def url(spec: CohortSpec, tmp_path: Path) -> str:
    return copied(spec.output.url, tmp_path / "cohort")


def test_a_whole_cohort_in_lines_and_as_json(url: str, capsys: Capture) -> None:
    assert main(["cohort", "verify", url, "--complete"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{url}: every committed object is what its manifest says"
    assert said[1].startswith("12 of 12 shards and 48 of 48 ECGs committed, ")
    assert main(["cohort", "verify", url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    assert found["shards"] == {"planned": 12, "committed": 12}
    assert found["cells"]["planned"] == 12


def test_what_is_wrong_is_a_line_each_and_mended_by_repair(url: str, capsys: Capture) -> None:
    before = objects_under(url)
    Path(url, object_name(3)).unlink()
    Path(url, manifest_name(4)).write_bytes(b"")
    Path(url, "manifest/stray").write_bytes(b"mine")
    assert main(["cohort", "verify", url]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == [
        "missing_object",
        "manifest",
        "stray",
    ]
    assert main(["cohort", "verify", url, "--json"]) == 1
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert [(one["kind"], one["shard"]) for one in problems] == [
        ("missing_object", 3),
        ("manifest", 4),
        ("stray", None),
    ]

    harmed = objects_under(url)
    assert main(["cohort", "repair", url, "--dry-run"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{object_name(3)} is drawn again by the recorded attempts (")
    assert lines[1].startswith(f"{manifest_name(4)} is generated again (")
    assert lines[2].startswith("manifest/stray is left as it is (")
    assert objects_under(url) == harmed

    assert main(["cohort", "repair", url]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"mended: {object_name(3)}", f"mended: {manifest_name(4)}"]
    assert "--remove-strays removes it" in lines[2]
    assert main(["cohort", "repair", url, "--remove-strays"]) == 0
    assert objects_under(url) == before
    assert main(["cohort", "repair", url]) == 0


def test_a_checkpoint_that_has_moved_is_said_and_given(
    spec: CohortSpec, url: str, tmp_path: Path, capsys: Capture
) -> None:
    before = objects_under(url)
    Path(url, object_name(3)).unlink()
    moved = shutil.move(spec.checkpoint, tmp_path / "moved")
    try:
        assert main(["cohort", "repair", url]) == 2
        assert "ecgtwin: error: checkpoint" in capsys.readouterr().err
        assert main(["cohort", "repair", url, "--checkpoint", str(moved)]) == 0
    finally:
        shutil.move(moved, spec.checkpoint)
    assert objects_under(url) == before


def test_a_corpus_is_verified_as_before_and_never_repaired(
    spec: CohortSpec, capsys: Capture
) -> None:
    assert spec.corpus is not None
    assert main(["cohort", "verify", spec.corpus, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"url": spec.corpus, "problems": []}
    for command in ("repair", "merge"):
        assert main(["cohort", command, spec.corpus]) == 2
        assert "holds a corpus, not a cohort" in capsys.readouterr().err


@pytest.mark.ray
def test_ray_verifies_and_repairs_as_this_process_does(
    url: str, ray_cluster: None, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(url).parent)
    before = objects_under(url)
    for index in (3, 7, 9):
        Path(url, object_name(index)).write_bytes(b"")
    assert main(["cohort", "verify", "cohort", "--workers", "2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == ["object"] * 3
    assert main(["cohort", "repair", "cohort", "--workers", "2"]) == 0
    assert objects_under(url) == before
