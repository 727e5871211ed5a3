"""Verify, repair, merge and rm of a cohort on S3: moto, or Ceph RGW by scripts/rgw.sh."""

import uuid
from pathlib import Path

import pytest

from benchmarks.damages import DAMAGES, harm_all
from ecgtwin.cli import main
from ecgtwin.generation.merge_cohort import merge_cohort
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.store import removal
from ecgtwin.store.commit import put_new
from ecgtwin.store.objects import join, list_tree, read_object
from tests.generation.cohorts import copied, make_exact, problems_of, repaired, verified
from tests.generation.corpora import objects_under, s3_objects_under

pytestmark = pytest.mark.s3


@pytest.fixture(scope="module")
def spec(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> CohortSpec:
    """Of a cohort in a folder."""
    return make_exact(inputs, tmp_path_factory.mktemp("proof") / "cohort")


@pytest.fixture
def url(spec: CohortSpec, s3_url: str) -> str:
    """A copy of it on S3."""
    url = f"{s3_url}/{uuid.uuid4().hex}"
    for name, data in objects_under(spec.output.url).items():
        put_new(join(url, name), data)
    return url


def test_ten_damages_are_found_and_mended_to_the_same_bytes(url: str) -> None:
    before = s3_objects_under(url)
    harmed = harm_all(url)
    assert s3_objects_under(url) != before
    first = {(kind, name) for kind, _, name in problems_of(verified(url, complete=True))}
    # without a plan nothing is known of what stands in a row
    assert first == {(one.kind, name) for one, name in harmed if one.kind != "rows"}
    done = repaired(url, complete=True, remove_strays=True)
    assert done.left == []
    assert len(done.mended) == len(DAMAGES)
    assert s3_objects_under(url) == before
    assert verified(url, complete=True).problems == ()


def test_an_index_on_s3_is_that_in_a_folder(spec: CohortSpec, url: str, tmp_path: Path) -> None:
    here = copied(spec.output.url, tmp_path / "cohort")
    assert merge_cohort(here, rows_per_part=20).num_parts == 3
    assert merge_cohort(url, rows_per_part=20).num_parts == 3
    assert not merge_cohort(url, rows_per_part=20).is_new
    assert s3_objects_under(url) == objects_under(here)
    assert verified(url, complete=True).problems == ()


def test_a_cohort_on_s3_is_removed_in_batches_and_its_neighbours_stay(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    neighbour = f"{url}-too/cohort.json"
    put_new(neighbour, b"{}")
    monkeypatch.setattr(removal, "_AT_ONCE", 5)
    assert main(["cohort", "rm", url]) == 0
    assert len(list_tree(url)) > 40
    assert main(["cohort", "rm", url, "--yes"]) == 0
    with pytest.raises(FileNotFoundError):
        list_tree(url)
    assert read_object(neighbour) == b"{}"
    assert main(["cohort", "rm", url, "--yes"]) == 2
    assert "holds no cohort" in capsys.readouterr().err
