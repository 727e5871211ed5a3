"""A cohort is taken away whole or goes on being taken away; nothing else ever is."""

from pathlib import Path

import pytest

from ecgtwin.cli import main
from ecgtwin.errors import StoreError
from ecgtwin.generation.merge_cohort import merge_cohort
from ecgtwin.generation.stored_plan import is_cohort
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.store import removal
from ecgtwin.store.manifest import committed_shards
from ecgtwin.store.objects import delete_objects
from ecgtwin.store.reader import Cohort
from ecgtwin.store.removal import plan_removal, remove
from tests.generation.cohorts import copied, make_exact, problems_of, verified
from tests.generation.corpora import objects_under


@pytest.fixture(scope="module")
def spec(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> CohortSpec:
    """Of a cohort with an index, so of every part that a cohort may have."""
    spec = make_exact(inputs, tmp_path_factory.mktemp("removed") / "cohort")
    merge_cohort(spec.output.url)
    return spec


@pytest.fixture
def url(spec: CohortSpec, tmp_path: Path) -> str:
    return copied(spec.output.url, tmp_path / "cohort")


def test_without_yes_it_is_only_listed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = objects_under(url)
    assert main(["cohort", "rm", url]) == 0
    said = capsys.readouterr().out
    assert "manifest: 12 objects" in said
    files = [path for path in Path(url).rglob("*") if path.is_file()]
    num_bytes = sum(path.stat().st_size for path in files)
    assert f"would go: {len(files):,} objects, {num_bytes:,} bytes" in said
    assert objects_under(url) == before


def test_with_yes_nothing_is_left(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for left in ("manifest/.shard-000000003.parquet.123-0123abcd", ".cohort.json~123-0123abcd"):
        Path(url, left).write_bytes(b"of a killed writer")
    assert main(["cohort", "rm", url, "--yes"]) == 0
    assert "removed: " in capsys.readouterr().out
    assert not Path(url).exists()


def test_what_is_not_of_a_cohort_stays(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    hidden = [".notes.txt~123-0123abcd", "manifest/.notes.txt.123-0123abcd"]
    theirs = [
        "notes.txt",
        "plan/of_study.md",
        "private/keys.txt",
        "signals.zarr/labels/c/0",
        "signals.zarr/labels/zarr.json",
        "thesis/chapter.md",
    ]
    for name in (*hidden, *theirs, "runs/my-training/log.jsonl"):
        Path(url, name).parent.mkdir(parents=True, exist_ok=True)
        Path(url, name).write_text("mine")
    assert main(["cohort", "rm", url, "--yes"]) == 0
    said = capsys.readouterr().out
    assert f"not of a cohort: 7 objects, {', '.join(theirs[:3])}, ..." in said
    assert sorted(objects_under(url)) == sorted(hidden + theirs)  # runs/ is left out there
    assert Path(url, "runs/my-training/log.jsonl").read_text() == "mine"


@pytest.mark.parametrize("name", ["signals.zarr", "signals.zarr/samples_mv/c", "manifest"])
def test_a_folder_that_lies_elsewhere_is_said_and_nothing_goes(
    url: str, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "big disk"
    (Path(url) / name).rename(elsewhere)
    (Path(url) / name).symlink_to(elsewhere)
    before = objects_under(url)
    assert main(["cohort", "rm", url, "--yes"]) == 2
    assert f"{name} is a link to {elsewhere}" in capsys.readouterr().err
    assert objects_under(url) == before
    assert len(list(elsewhere.rglob("*"))) > 3


@pytest.mark.parametrize("kind", ["corpus", "twin"])
def test_corpora_and_checkpoints_are_refused(
    inputs: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = objects_under(str(inputs / kind))
    assert main(["cohort", "rm", str(inputs / kind), "--yes"]) == 2
    assert "not a cohort" in capsys.readouterr().err
    assert objects_under(str(inputs / kind)) == before


def test_folders_of_others_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest/shard-000000000.parquet").write_text("mine")
    assert main(["cohort", "rm", str(tmp_path), "--yes"]) == 2
    assert main(["cohort", "rm", str(tmp_path / "nowhere"), "--yes"]) == 2
    assert "holds no cohort" in capsys.readouterr().err
    for text in ("{}", '{"kind": "of patients"}', "no JSON"):
        (tmp_path / "cohort.json").write_text(text)
        assert main(["cohort", "rm", str(tmp_path), "--yes"]) == 2
        assert "does not say that it is a cohort" in capsys.readouterr().err
    assert (tmp_path / "manifest/shard-000000000.parquet").read_text() == "mine"


def test_a_cohort_without_its_description_is_known_by_its_plan(url: str) -> None:
    Path(url, "cohort.json").write_bytes(b"{")
    assert main(["cohort", "rm", url, "--yes"]) == 0
    assert not Path(url).exists()


def test_cut_off_after_any_object_it_is_no_whole_cohort_and_the_same_command_goes_on(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_AT_ONCE", 1)
    num_objects = len(plan_removal(url).objects)
    for stop in range(1, num_objects, 3):
        cut = copied(url, tmp_path / f"cut-{stop}")
        done = 0

        def end_after(num: int, stop: int = stop) -> None:
            nonlocal done
            done += num
            if done == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            remove(plan_removal(cut), advance=end_after)
        assert len(objects_of(cut)) == num_objects - stop
        assert is_cohort(cut)
        names = objects_of(cut)
        if not any(name.startswith("manifest/") for name in names):
            assert committed_shards(cut) == []
        else:
            # Until the last manifest is gone every object behind one of them is there.
            of_index = [("index", None, "index/index.json")]
            has_index = any(name.startswith("index/") for name in names)
            assert problems_of(verified(cut)) == (of_index if has_index else [])
            assert "index/index.json" not in names
            assert len(Cohort(cut).columns["row"]) == 4 * len(committed_shards(cut))
        assert main(["cohort", "rm", cut, "--yes"]) == 0
        assert not Path(cut).exists()


def objects_of(url: str) -> set[str]:
    return {name for name, _ in plan_removal(url).objects}


def test_absent_objects_are_fine(tmp_path: Path) -> None:
    delete_objects([])
    delete_objects([str(tmp_path / "a"), str(tmp_path / "b")])
    with pytest.raises(StoreError, match="check the URL"):
        plan_removal(str(tmp_path / "nowhere"))
