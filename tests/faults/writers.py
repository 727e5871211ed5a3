"""Writers unlike others: what a forked process does to itself before it is the command."""

import signal
from collections.abc import Generator, Iterable
from functools import partial
from pathlib import Path

import torch

from ecgtwin.executors.local import LocalExecutor
from ecgtwin.executors.protocol import Outcome, Work
from ecgtwin.generation import worker
from ecgtwin.spec.shard import Shard
from ecgtwin.store import commit, writer
from ecgtwin.twin.twin import EcgTwin
from tests.faults.kill_hook import halt_here
from tests.faults.runs import Preparation


def one_after_the_other(*parts: Preparation | None) -> Preparation | None:
    """Return what does all of them, None where there are none; it pickles where they do."""
    given = [part for part in parts if part is not None]
    return partial(_do_all, given) if given else None


def _do_all(parts: list[Preparation]) -> None:
    for part in parts:
        part()


def one_shard_at_a_time() -> None:
    """Begin a shard when the one before it is committed, so that a step has one meaning."""
    worker.GenerateShard.num_overlapping = 1


def weights_in_bfloat16() -> None:
    """Draw with rounded weights, and say so: ECGs that are the same but for their low bits."""
    load, look = worker.load_twin, worker.fingerprint

    def load_twin(*words: str, **named: str | None) -> EcgTwin:
        twin = load(*words, **named)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.copy_(parameter.bfloat16().float())
        return twin

    worker.load_twin = load_twin
    worker.fingerprint = lambda *words, **named: look(*words, **named) | {"precision": "bfloat16"}


def halted_in_the_put_of(name: str, how: signal.Signals) -> None:
    """Get the signal when the bytes of this object are on disk, but not yet in their place; once.

    ``name`` is the end of its path.
    """
    write = commit.write_temporary

    def write_temporary(path: Path, data: bytes) -> Path:
        temporary = write(path, data)
        if str(path).endswith(name):
            commit.write_temporary = write
            halt_here(how)
        return temporary

    commit.write_temporary = write_temporary


def stopped_before_it_replaces() -> None:
    """Stop between the look at an uncommitted object and its replacement, once."""
    replace = writer.replace_object

    def replace_object(url: str, data: bytes) -> None:
        writer.replace_object = replace
        halt_here(signal.SIGSTOP)
        replace(url, data)

    writer.replace_object = replace_object


def last_shard_first() -> None:
    """Do the shards in the other order."""
    run = LocalExecutor.run

    def backwards(
        self: LocalExecutor, work: Work, shards: Iterable[Shard]
    ) -> Generator[Outcome, None, None]:
        yield from run(self, work, list(shards)[::-1])

    LocalExecutor.run = backwards
