"""What may happen to a cohort while it is made. After each of these it is whole and the same.

Each raises AssertionError where it is not. ``Lab.mutation`` takes a guard out of the product first.
"""

import shutil
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ecgtwin.store.layout import manifest_name, object_name
from ecgtwin.store.manifest import committed_shards
from tests.faults.cohorts import (
    NUM_SHARDS,
    Command,
    check_cohort,
    commits,
    make_undisturbed,
    objects_at,
)
from tests.faults.runs import Preparation
from tests.faults.writers import (
    halted_in_the_put_of,
    last_shard_first,
    one_after_the_other,
    one_shard_at_a_time,
    stopped_before_it_replaces,
    weights_in_bfloat16,
)

OTHER_BYTES = one_after_the_other(one_shard_at_a_time, weights_in_bfloat16)
STEPS = ("encoded:1", "object:1", "ledger:1", "manifest:1")
MIXED = ("--mixed-numerics",)


@dataclass(frozen=True)
class Lab:
    """A place for one cohort, and the bytes that it must come to."""

    inputs: Path
    folder: Path
    undisturbed: dict[str, bytes]
    url: str
    replicates: int = 2  # three shards each
    mutation: Preparation | None = None

    @classmethod
    def at(cls, inputs: Path, folder: Path, undisturbed: dict[str, bytes], **more: Any) -> "Lab":
        """Return one whose cohort is made in ``folder``."""
        return cls(inputs, folder, undisturbed, str(folder / "cohort"), **more)

    def command(self, name: str, *, before: Preparation | None = None, **more: Any) -> Command:
        """Return the command to make the cohort, one of several that do."""
        prepared = one_after_the_other(self.mutation, before)
        changes = {"replicates": self.replicates} | more
        return Command(self.inputs, self.folder / name, url=self.url, before=prepared, **changes)

    def check(self) -> None:
        check_cohort(self.url, self.undisturbed)


def killed_at_each_step(lab: Lab) -> None:
    """Each run begins where the one before was killed, the first in the middle of the plan."""
    command = lab.command("one")
    for step in ("put:3", *STEPS):
        command.must_die(step)
        is_committed = 1 in committed_shards(lab.url)
        assert is_committed == (step == "manifest:1"), f"died at {step}: {is_committed=}"
    command.must_finish()
    assert command.has_carried_out() == sorted(["put:3", *STEPS])
    lab.check()


def killed_while_it_writes_a_file(lab: Lab) -> None:
    """Manifest, then object of shard 1 are on disk, but not yet in their place."""
    for number, name in enumerate((manifest_name(1), object_name(1))):
        killed = partial(halted_in_the_put_of, name, signal.SIGKILL)
        before = one_after_the_other(one_shard_at_a_time, killed)
        command = lab.command(str(number), before=before)
        code = command.run()
        assert code == -9, f"ended with {code}: {command.log.read_text()}"
    lab.command("last").must_finish()
    lab.check()


def two_at_once(lab: Lab, *, executor: str = "local") -> None:
    """Both end well; each shard is committed by one of them."""
    commands = [lab.command(name, executor=executor) for name in ("one", "two")]
    with commands[0].started() as one, commands[1].started() as two:
        codes = (one.wait(), two.wait())
    said = "".join(command.log.read_text() for command in commands)
    assert codes == (0, 0), f"they ended with {codes}: {said}"
    counted = commits(lab.url)
    assert counted == dict.fromkeys(range(NUM_SHARDS), 1), f"times committed: {counted}"
    lab.check()


def woken_after_the_commit(lab: Lab, step: str) -> None:
    """A writer is stopped at ``step`` of shard 1 while another makes the whole cohort."""
    slow = lab.command("slow")
    with slow.started(stop=step) as stopped:
        stopped.wait_until_stopped()
        lab.command("quick").must_finish()
        before = objects_at(lab.url)
        stopped.go_on()
        code = stopped.wait()
    assert code == 0, f"ended with {code}: {slow.log.read_text()}"
    assert objects_at(lab.url) == before, "the woken writer changed an object"
    lab.check()


def woken_with_other_bytes(lab: Lab, step: str) -> None:
    """The same, and what the woken writer holds is not what the other has committed."""
    lab.command("first").must_die("manifest:0")
    slow = lab.command("slow", before=OTHER_BYTES, more=MIXED)
    with slow.started(stop=step) as stopped:
        stopped.wait_until_stopped()
        lab.command("quick").must_finish()
        stopped.go_on()
        code = stopped.wait()
    said = slow.log.read_text()
    lab.check()
    assert code == 1, f"ended with {code}: {said}"
    assert "shard 1 failed" in said, said


def object_of_other_bytes_stands_there(lab: Lab) -> None:
    """A writer died before its commit, and the one after it just behind its own."""
    lab.command("first").must_die("manifest:0")
    lab.command("other", before=OTHER_BYTES, more=MIXED).must_die("object:1")
    command = lab.command("second")
    command.must_die("manifest:1")
    command.must_finish()
    lab.check()


def object_replaced_before_the_commit(lab: Lab) -> None:
    """Between object and manifest of a writer, another puts its own object and dies."""
    first = lab.command("first")
    with first.started(stop="object:1") as stopped:
        stopped.wait_until_stopped()
        lab.command("other", before=OTHER_BYTES, more=MIXED).must_die("object:1")
        stopped.go_on()
        code = stopped.wait()
    assert code == 0, f"ended with {code}: {first.log.read_text()}"
    lab.check()


def object_replaced_after_the_commit(lab: Lab) -> None:
    """A writer saw no commit, slept through it, and then replaces the object."""
    lab.command("first").must_die("object:1")
    before = one_after_the_other(OTHER_BYTES, stopped_before_it_replaces)
    with lab.command("slow", before=before, more=MIXED).started() as stopped:
        stopped.wait_until_stopped()
        lab.command("quick").must_finish()
        stopped.go_on()
        stopped.wait()
    lab.check()


def another_commits_beside_it(lab: Lab) -> None:
    """A writer is stopped inside the put of a manifest; others in the same folder leave it be."""
    inside = partial(halted_in_the_put_of, manifest_name(1), signal.SIGSTOP)
    before = one_after_the_other(one_shard_at_a_time, inside)
    slow = lab.command("slow", before=before, run={"max_tries": 1})
    with slow.started() as stopped:
        stopped.wait_until_stopped()
        lab.command(
            "other", before=one_after_the_other(one_shard_at_a_time, last_shard_first)
        ).must_die(f"manifest:{NUM_SHARDS - 1}")
        stopped.go_on()
        code = stopped.wait()
    assert code == 0, f"ended with {code}: {slow.log.read_text()}"
    lab.check()


def planned_anew_behind_its_back(lab: Lab) -> None:
    """A writer is stopped behind a commit; its cohort is deleted, and another is begun there."""
    other = make_undisturbed(lab.inputs, lab.folder / "other", seed=1)
    old = lab.command("old", before=one_shard_at_a_time)
    new = lab.command("new", seed=1)
    with old.started(stop="manifest:0") as stopped:
        stopped.wait_until_stopped()
        shutil.rmtree(lab.url)
        new.must_die("manifest:0")
        before = objects_at(lab.url)
        stopped.go_on()
        code = stopped.wait()
    said = old.log.read_text()
    assert objects_at(lab.url) == before, f"the old writer changed the new cohort: {said}"
    assert code == 2, f"ended with {code}: {said}"
    assert "holds plan" in said, said
    new.must_finish()
    check_cohort(lab.url, other)


def other_numerics_are_refused(lab: Lab) -> None:
    """A worker of other numerics ends with a mistake, and nothing has changed."""
    command = lab.command("one")
    command.must_die("manifest:1")
    before = objects_at(lab.url)
    other = lab.command("other", before=weights_in_bfloat16)
    code, said = other.run(), other.log.read_text()
    assert code == 2, f"ended with {code}: {said}"
    assert "was begun with other numerics" in said, said
    assert objects_at(lab.url) == before, "it changed an object"
    command.must_finish()
    lab.check()


def place_that_cannot_be_written(lab: Lab) -> None:
    """One shard has no place: it is reported, and made once it has one."""
    blocked = Path(lab.url) / "signals.zarr/samples_mv/c/1"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder belongs")
    command = lab.command("one")
    code, said = command.run(), command.log.read_text()
    blocked.unlink()
    assert code == 1, f"ended with {code}: {said}"
    assert "shard 1 failed" in said, said
    command.must_finish()
    lab.check()
