"""One run on simulated nodes, in a process of its own: ``python -m tests.executors.nodes CASE``.

Writes what came of it as one line of JSON.
"""

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.simulated_nodes import SimulatedNodes, simulated_nodes
from ecgtwin.executors.protocol import Outcome
from ecgtwin.executors.ray_executor import RayExecutor
from ecgtwin.spec.shard import cut_shards
from tests.executors.works import Lingering

NUM_SHARDS = 60


def kill_a_node(nodes: SimulatedNodes, ended: list[Outcome]) -> None:
    """After a few shards the last node is killed, a new node comes and is used."""
    if len(ended) == 6:
        nodes.kill(nodes.last)
        nodes.add()


def remove_a_node(nodes: SimulatedNodes, ended: list[Outcome]) -> None:
    """After a few shards the last node leaves."""
    if len(ended) == 6:
        nodes.remove(nodes.last)


def add_a_node(nodes: SimulatedNodes, ended: list[Outcome]) -> None:
    """After a few shards a node comes."""
    if len(ended) == 6:
        nodes.add()


CASES: dict[str, tuple[Callable[[SimulatedNodes, list[Outcome]], None], int | None]] = {
    "killed": (kill_a_node, 4),
    "removed": (remove_a_node, None),
    "added": (add_a_node, 6),  # two wait in Ray for a place
    "grown": (add_a_node, None),
}


def main(case: str) -> None:
    """Run 60 shards of half a second on two nodes of two GPUs; each try is on disk."""
    on_outcome, num_workers = CASES[case]
    shards = cut_shards(NUM_SHARDS, 1)
    ended: list[Outcome] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        simulated_nodes(2, num_cpus=2, num_gpus=2) as nodes,
    ):
        executor = RayExecutor(num_workers, max_tries=1, num_gpus_per_worker=1)
        for outcome in executor.run(Lingering(Path(folder), 0.5), shards):
            ended.append(outcome)
            on_outcome(nodes, ended)
        begun = Counter(path.name.partition(".")[0] for path in Path(folder).glob("*.begun"))
    nodes_of: dict[str, list[int]] = {}
    for place, outcome in enumerate(ended):
        nodes_of.setdefault(str(outcome.result), []).append(place)
    found = {
        "ended": sorted(outcome.shard.index for outcome in ended),
        "failed": [outcome.error for outcome in ended if outcome.error is not None],
        "tries": sorted({outcome.tries for outcome in ended}),
        "first_and_last_of_nodes": {node: [p[0], p[-1]] for node, p in nodes_of.items()},
        "workers": len({outcome.worker for outcome in ended}),
        "begun_again": sum(number - 1 for number in begun.values()),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
