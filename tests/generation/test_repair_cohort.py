"""What is wrong with a stored cohort is found, made again to the same bytes, and nothing else is.

The same laws on S3 are in test_s3_proof.
"""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.damages import DAMAGES, Damage, harm_all
from ecgtwin.errors import CheckpointError, CohortMismatchError, DamageError, StoreError
from ecgtwin.generation.plan_tables import CONDITIONS, PATIENTS
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.store.layout import manifest_name, object_name
from ecgtwin.store.manifest import digest_bytes, read_manifest
from tests.generation.cohorts import copied, make_exact, problems_of, repaired, verified
from tests.generation.corpora import make_checkpoint, make_spec, objects_under


@pytest.fixture(scope="module")
def spec(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> CohortSpec:
    """Of a whole cohort of twelve shards, some rows of which were drawn several times."""
    return make_exact(inputs, tmp_path_factory.mktemp("proof") / "cohort")


@pytest.fixture
def url(spec: CohortSpec, tmp_path: Path) -> str:
    """A copy of it to harm."""
    return copied(spec.output.url, tmp_path / "cohort")


@pytest.fixture
def shard(url: str) -> int:
    """One that has rows drawn several times, and so rejects."""
    return next(index for index in range(12) if max(read_manifest(url, index).columns["attempt"]))


def notes(url: str) -> list[dict[str, object]]:
    found = [json.loads(path.read_text()) for path in (Path(url) / "runs/replaced").glob("*")]
    return [note for note in found if note["event"] == "repaired"]


def test_nothing_is_wrong_with_what_was_made(spec: CohortSpec) -> None:
    url = spec.output.url
    attempts = [one for index in range(12) for one in read_manifest(url, index).columns["attempt"]]
    assert {0, 2} <= set(attempts)
    found = verified(url, complete=True)
    assert found.problems == ()
    assert found.is_complete


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_each_damage_is_found_by_its_kind_and_mended_to_the_same_bytes(
    damage: Damage, url: str, shard: int
) -> None:
    before = objects_under(url)
    name = damage.harm(url, shard)
    of_shard = None if damage.kind in ("stray", "metadata", "plan_table") else shard
    assert objects_under(url) != before
    assert problems_of(verified(url, complete=True)) == [(damage.kind, of_shard, name)]
    done = repaired(url, complete=True, remove_strays=True)
    assert done.left == []
    assert [one.partition(" ")[0] for one in done.mended] == [name]
    assert objects_under(url) == before
    assert verified(url, complete=True).problems == ()
    if damage.kind not in ("stray", "missing_shard"):
        [note] = notes(url)
        assert note["object"] == name
        assert note["put_blake2b"] == digest_bytes(before[name])


def test_all_of_them_at_once(url: str) -> None:
    before = objects_under(url)
    harmed = harm_all(url)
    first = problems_of(verified(url, complete=True))
    assert {(kind, name) for kind, _, name in first} == {
        # without a plan nothing is known of what stands in a row
        (damage.kind, name) for damage, name in harmed if damage.kind != "rows"
    }  # fmt: skip
    done = repaired(url, complete=True, remove_strays=True)
    assert done.left == []
    assert {one.partition(" ")[0] for one in done.mended} == {name for _, name in harmed}
    assert len(done.mended) == len(DAMAGES)
    assert objects_under(url) == before


def test_an_uncommitted_shard_is_only_counted_unless_all_are_asked_for(
    url: str, shard: int
) -> None:
    Path(url, manifest_name(shard)).unlink()
    found = verified(url)
    assert found.problems == ()
    assert (found.num_committed, found.num_shards) == (11, 12)
    before = objects_under(url)
    assert repaired(url).mended == []
    assert objects_under(url) == before


def test_strays_stay_unless_their_removal_is_asked_for(url: str) -> None:
    for name in ("manifest/notes.txt", "ledger/shard-000000099.jsonl", "signals.zarr/x/zarr.json"):
        Path(url, name).parent.mkdir(parents=True, exist_ok=True)
        Path(url, name).write_text("mine")
    before = objects_under(url)
    assert len(repaired(url).left) == 3
    assert objects_under(url) == before
    assert len(repaired(url, remove_strays=True).mended) == 3
    assert len(objects_under(url)) == len(before) - 3


def test_a_lost_description_is_written_again_from_the_specification(
    spec: CohortSpec, url: str
) -> None:
    before = objects_under(url)
    for content in (
        None,
        b'{"kind": "coh',
        before["cohort.json"].replace(b'"seed": 0', b'"seed": 1'),
    ):
        if content is None:
            Path(url, "cohort.json").unlink()
        else:
            Path(url, "cohort.json").write_bytes(content)
        assert [kind for kind, _, _ in problems_of(verified(url))] == ["description"]
        with pytest.raises(DamageError, match="--spec"):
            repaired(url)
        assert repaired(url, spec=spec).mended == ["cohort.json"]
        assert objects_under(url) == before


def test_another_specification_or_checkpoint_is_refused(
    spec: CohortSpec, url: str, inputs: Path, tmp_path: Path
) -> None:
    Path(url, "cohort.json").unlink()
    before = objects_under(url)
    with pytest.raises(CohortMismatchError, match="give the one that it was made from"):
        repaired(url, spec=spec.model_copy(update={"seed": 1}))
    other = make_checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(CohortMismatchError, match="--checkpoint"):
        repaired(url, spec=spec.model_copy(update={"checkpoint": other}))
    with pytest.raises(CheckpointError):
        repaired(url, spec=spec.model_copy(update={"checkpoint": str(tmp_path / "none")}))
    assert objects_under(url) == before


def test_fields_of_a_description_that_the_plan_contradicts(url: str) -> None:
    before = objects_under(url)
    text = before["cohort.json"].decode()
    for old, new in (
        ('"num_patients": 3', '"num_patients": 4'),
        ('"num_samples": 1024', '"num_samples": 1023'),
        ('"synthetic": true', '"synthetic": false'),
        (f'"plan_digest": "{json.loads(text)["plan_digest"]}"', '"plan_digest": "c0ffee"'),
    ):
        assert text.count(old) == 1
        Path(url, "cohort.json").write_text(text.replace(old, new))
        assert verified(url).problems
        assert "cohort.json" in repaired(url).mended
        assert objects_under(url) == before


def test_plan_tables_that_are_lost_or_of_other_rows_are_written_again(url: str) -> None:
    before = objects_under(url)
    for name in (PATIENTS, CONDITIONS):
        Path(url, name).unlink()
        assert problems_of(verified(url)) == [("plan_table", None, name)]
        assert repaired(url).mended == [name]
        Path(url, name).write_bytes(before[PATIENTS if name == CONDITIONS else CONDITIONS])
        assert problems_of(verified(url)) == [("plan_table", None, name)]
        assert repaired(url).mended == [name]
    assert objects_under(url) == before


def test_every_object_of_the_metadata_is_mended(url: str) -> None:
    before = objects_under(url)
    names = [
        name for name in before if name.startswith("signals.zarr/") and "samples_mv/c/" not in name
    ]
    assert len(names) == 6
    for name in names:
        Path(url, name).write_bytes(before[name][:-1])
    Path(url, names[0]).unlink()
    assert sorted(problems_of(verified(url))) == [("metadata", None, name) for name in names]
    assert sorted(repaired(url).mended) == names
    assert objects_under(url) == before


def test_a_lost_fingerprint_is_fixed_by_who_draws_the_same_bytes(url: str, shard: int) -> None:
    before = objects_under(url)
    Path(url, "numerics.json").unlink()
    Path(url, object_name(shard)).unlink()
    assert [kind for kind, _, _ in problems_of(verified(url))] == ["numerics", "missing_object"]
    assert repaired(url).mended == ["numerics.json", object_name(shard)]
    assert objects_under(url) == before


def test_a_fingerprint_is_not_made_up_where_the_bytes_differ(
    spec: CohortSpec, url: str, inputs: Path, tmp_path: Path
) -> None:
    """As on another device: here other numbers of rows are drawn together."""
    odd = pretend_other_numerics(url)
    Path(url, "numerics.json").unlink()
    done = repaired(url)
    assert done.mended == []
    assert len(done.left) == 1
    assert "other numerics" in done.left[0]
    assert not Path(url, "numerics.json").exists()
    assert odd == objects_under(url).keys() | {"numerics.json"}


def pretend_other_numerics(url: str) -> set[str]:
    """Make every manifest say other digests than can be drawn here; return the names."""
    from dataclasses import replace

    from ecgtwin.store.manifest import encode_manifest

    for index in range(12):
        manifest = read_manifest(url, index)
        path = Path(url, object_name(index))
        path.write_bytes(path.read_bytes()[::-1])
        other = replace(manifest, object_digest=digest_bytes(path.read_bytes()))
        Path(url, manifest_name(index)).write_bytes(encode_manifest(other))
    assert verified(url, complete=True).problems == ()
    return set(objects_under(url))


def test_a_shard_that_comes_out_otherwise_is_left_and_said_in_a_line(url: str, shard: int) -> None:
    pretend_other_numerics(url)
    Path(url, object_name(shard)).unlink()
    before = objects_under(url)
    done = repaired(url)
    assert done.mended == []
    [line] = done.left
    assert line.startswith(f"{object_name(shard)} made again has digest ")
    assert "\n" not in line
    assert objects_under(url) == before


def test_another_device_is_refused_before_anything_is_drawn(url: str, shard: int) -> None:
    name = Path(url, "numerics.json")
    theirs = json.loads(name.read_text())
    name.write_text(json.dumps({**theirs, "device": "cuda x86_64 NVIDIA H100"}))
    Path(url, object_name(shard)).unlink()
    before = objects_under(url)
    with pytest.raises(CohortMismatchError, match="device is 'cpu"):
        repaired(url)
    assert objects_under(url) == before
    assert repaired(url, mixed_numerics=True).mended == [object_name(shard)]


def test_a_whole_cohort_is_left_as_it_is(url: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(url).rglob("*")}
    done = repaired(url, complete=True)
    assert (done.mended, done.left) == ([], [])
    assert {path: path.stat().st_mtime_ns for path in Path(url).rglob("*")} == before


def test_a_cohort_that_keeps_all_is_mended_too(inputs: Path, tmp_path: Path) -> None:
    from ecgtwin.executors.local import LocalExecutor
    from ecgtwin.generation.run import generate_cohort

    spec = make_spec(inputs, tmp_path / "cohort")
    generate_cohort(spec, executor=LocalExecutor())
    url = spec.output.url
    before = objects_under(url)
    for index, damage in enumerate([DAMAGES[1], DAMAGES[5], DAMAGES[4]]):
        damage.harm(url, index)
    assert len(repaired(url).mended) == 3
    assert objects_under(url) == before


def test_a_repair_that_is_cut_off_is_finished_by_the_next(url: str) -> None:
    before = objects_under(url)
    for index in range(6):
        DAMAGES[index % 3].harm(url, index)

    def stop(outcome: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repaired(url, on_outcome=stop)
    assert 0 < len(verified(url).problems) < 6
    assert repaired(url).left == []
    assert objects_under(url) == before


def test_what_only_the_mended_description_shows_is_mended_in_the_same_call(
    spec: CohortSpec, url: str
) -> None:
    before = objects_under(url)
    shutil.rmtree(Path(url, "signals.zarr"))
    for name in ("cohort.json", CONDITIONS, manifest_name(2)):
        Path(url, name).unlink()
    assert repaired(url, complete=True, spec=spec).left == []
    assert objects_under(url) == before


def test_a_lost_fingerprint_is_not_made_up_by_mixed_numerics(url: str) -> None:
    pretend_other_numerics(url)
    for name in ("numerics.json", object_name(5)):
        Path(url, name).unlink()
    assert repaired(url, mixed_numerics=True).left
    assert not Path(url, "numerics.json").exists()


@pytest.mark.parametrize("num_rows", [4, 44, 52])
def test_a_description_of_fewer_or_more_rows_makes_no_shard_a_stray(
    url: str, num_rows: int
) -> None:
    before = objects_under(url)
    name = Path(url, "cohort.json")
    described = json.loads(name.read_text())
    described["signals"]["num_rows"] = num_rows
    name.write_text(json.dumps(described))
    found = verified(url)
    assert problems_of(found) == [("description", None, "cohort.json")]
    assert (found.num_shards, found.num_rows) == (12, 48)
    assert repaired(url, remove_strays=True).left == []
    assert objects_under(url) == before


@pytest.mark.parametrize("name", ["numerics.json", "index/index.json"])
def test_what_the_store_refuses_to_read_is_not_called_damaged(url: str, name: str) -> None:
    Path(url, name).unlink(missing_ok=True)
    Path(url, name).mkdir(parents=True)
    with pytest.raises(StoreError, match="Is a directory") as refused:
        verified(url)
    assert not isinstance(refused.value, DamageError)
