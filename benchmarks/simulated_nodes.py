"""Several Ray nodes on this machine's loopback, with GPUs that are not there. Uses no torch."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import psutil

_OBJECT_STORE_BYTES = 100 * 1024**2
_SOON = {  # a killed node is missed after some seconds
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}


class SimulatedNodes:
    """The nodes of a cluster; the head has no GPU and takes no work."""

    def __init__(self, cluster: Any, *, num_cpus: int, num_gpus: int) -> None:  # noqa: ANN401
        self._cluster = cluster
        self._has = {"num_cpus": num_cpus, "num_gpus": num_gpus}
        self._addresses = count(12)
        self.last: Any = None

    def add(self) -> Any:  # noqa: ANN401
        """Start another node; return it."""
        self.last = self._cluster.add_node(
            node_ip_address=f"127.0.0.{next(self._addresses)}",
            object_store_memory=_OBJECT_STORE_BYTES,
            **self._has,
        )
        return self.last

    def remove(self, node: Any) -> None:  # noqa: ANN401
        """Have a node leave as a machine that is told to."""
        self._cluster.remove_node(node, allow_graceful=True)

    def kill(self, node: Any) -> None:  # noqa: ANN401
        """Kill -9 a raylet and all that it started: nobody says a word, as in a power cut."""
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        for process in [raylet, *raylet.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def ray_settings() -> dict[str, str]:
    """Return the environment for a process of its own: ray reads it when it is imported."""
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


@contextmanager
def simulated_nodes(num_nodes: int, *, num_cpus: int, num_gpus: int) -> Iterator[SimulatedNodes]:
    """Start a head and ``num_nodes`` nodes, and connect this process, for the block.

    The process must have been started with ``ray_settings``.
    """
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "node_ip_address": "127.0.0.11",
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_system_config": _SOON,
        },
    )
    try:
        nodes = SimulatedNodes(cluster, num_cpus=num_cpus, num_gpus=num_gpus)
        for _ in range(num_nodes):
            nodes.add()
        ray.init(address=cluster.address, _node_ip_address="127.0.0.11", logging_level="WARNING")
        yield nodes
    finally:
        ray.shutdown()
        with suppress(ProcessLookupError):
            cluster.shutdown()
