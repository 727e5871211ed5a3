"""A disk that fills up while a cohort is made: a clear end, and the same command finishes."""

from pathlib import Path

import pytest

from ecgtwin.store.layout import manifest_name, object_name
from ecgtwin.store.manifest import committed_shards
from ecgtwin.store.verify import verify
from tests.faults.cohorts import NUM_SHARDS, objects_at
from tests.faults.disks import make_room, small_disk
from tests.faults.scenarios import Lab

pytestmark = pytest.mark.faults

PAGE_BYTES = 4096  # of a tmpfs: a file takes whole ones


def size_on_disk(objects: dict[str, bytes], names: list[str]) -> int:
    return sum(-(-len(objects[name]) // PAGE_BYTES) * PAGE_BYTES for name in names)


@pytest.mark.parametrize("full_in", ["plan", "object", "manifest"])
def test_a_full_disk_ends_in_a_run_that_goes_on(lab: Lab, full_in: str) -> None:
    """It is full in the plan, in the object of shard 2, or between that and its manifest."""
    whole = lab.undisturbed
    shards = [
        name for index in range(NUM_SHARDS) for name in (object_name(index), manifest_name(index))
    ]
    plan = [name for name in whole if name not in shards]
    room = {
        "plan": size_on_disk(whole, plan) // 2,
        "object": size_on_disk(whole, plan + shards[:4]) + PAGE_BYTES,
        "manifest": size_on_disk(whole, plan + shards[:5]),
    }[full_in]
    url = Path(lab.url)
    command = lab.command("one")
    with small_disk(url, room):
        code, said = command.run(), command.log.read_text()
        assert code == (2 if full_in == "plan" else 1), said
        assert "No space left on device; check the path, its permissions and the free space" in said
        assert "Traceback" not in said
        assert said.count("ecgtwin: error:") == (1 if full_in == "plan" else 0), said
        found = objects_at(lab.url)
        half = [name for name in found if found[name] != whole.get(name)]
        assert half == [], "a part of an object, or a temporary file"
        if full_in != "plan":
            assert 0 < len(committed_shards(lab.url)) < NUM_SHARDS
            assert verify(lab.url) == []
        make_room(url)
        command.must_finish()
        lab.check()
