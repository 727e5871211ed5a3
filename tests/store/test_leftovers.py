"""What writers leave who are killed inside a commit is found and removed, and nothing else is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecgtwin.cli import main
from ecgtwin.errors import StoreError
from ecgtwin.store.commit import HOOK_VARIABLE, put_new
from ecgtwin.store.leftovers import find_leftovers, remove_leftovers

DIE = """
import os
from ecgtwin.store.commit import put_new
put_new(os.environ["TARGET"], b"twelve leads")
"""


def die(stage: str, index: int) -> None:
    """The hook: as kill -9 between the temporary file and its link."""
    os._exit(9)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """One object committed; a writer of another died inside its commit an hour and more ago."""
    folder = tmp_path / "cohort"
    put_new(str(folder / "signals.zarr" / "a"), b"whole")
    put_new(str(folder / "cohort.json"), b"{}")
    target = folder / "signals.zarr" / "samples_mv" / "b"
    environment = os.environ | {"TARGET": str(target), HOOK_VARIABLE: f"{__name__}:die"}
    done = subprocess.run(
        [sys.executable, "-c", DIE], env=environment, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 9
    (left,) = target.parent.iterdir()
    assert left.name.startswith(".b.")
    os.utime(left, (0, 0))
    return folder


def test_it_is_found_and_removed_and_what_is_committed_or_hidden_otherwise_stays(
    cohort: Path,
) -> None:
    mine = cohort / ".notes"
    mine.write_text("of a person")
    (cohort / ".cache-20261128-0123abcd").write_text("of another program")
    os.utime(cohort / ".cache-20261128-0123abcd", (0, 0))
    young = cohort / ".c.123-0123abcd"
    young.write_bytes(b"being written")
    (found,) = find_leftovers(str(cohort), older_than_s=3600)
    assert Path(found.path).read_bytes() == b"twelve leads"
    assert (found.num_bytes, found.age_s > 1e9) == (12, True)
    remove_leftovers([found])
    remove_leftovers([found])  # twice is fine
    assert find_leftovers(str(cohort), older_than_s=3600) == []
    assert {path.name for path in cohort.rglob("*") if path.is_file()} == {
        ".notes", ".cache-20261128-0123abcd", ".c.123-0123abcd", "a", "cohort.json",
    }  # fmt: skip


def test_by_command(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cohort", "clean", str(cohort), "--dry-run"]) == 0
    listed = capsys.readouterr()
    assert "temporary files to remove: 1, 12 bytes" in listed.err
    assert Path(listed.out.strip()).exists()
    assert main(["cohort", "clean", str(cohort)]) == 0
    assert not Path(listed.out.strip()).exists()
    assert main(["cohort", "clean", str(cohort)]) == 0
    assert "temporary files removed: 0, 0 bytes" in capsys.readouterr().err


def test_a_folder_of_somebody_else_is_refused(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cohort / "cohort.json").unlink()
    assert main(["cohort", "clean", str(cohort)]) == 2
    assert "holds no cohort, corpus or checkpoint" in capsys.readouterr().err
    assert len(find_leftovers(str(cohort), older_than_s=3600)) == 1
    assert main(["cohort", "clean", str(cohort.parent / "nowhere")]) == 2
    assert "is not there; check the URL" in capsys.readouterr().err
    assert main(["cohort", "clean", "s3://"]) == 2
    assert "s3://" in capsys.readouterr().err


def test_a_cohort_whose_first_object_was_never_whole_is_cleaned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = tmp_path / "private" / ".references.parquet.123-0123abcd"
    left.parent.mkdir()
    left.write_bytes(b"of a killed writer")
    os.utime(left, (0, 0))
    assert main(["cohort", "clean", str(tmp_path)]) == 0
    assert "temporary files removed: 1" in capsys.readouterr().err
    assert not left.exists()


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="check the URL"):
        find_leftovers(str(tmp_path / "nowhere"), older_than_s=0)
    with pytest.raises(StoreError, match="names no place"):
        find_leftovers("", older_than_s=0)
    assert find_leftovers("s3://bucket/cohort", older_than_s=0) == []
