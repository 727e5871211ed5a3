"""The connection to a running Ray cluster, or one line that says why there is none."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from ecgtwin.errors import SpecificationError

_LISTENING_S = 5.0
_ADDRESS_HELP = "give HOST:6379 of its head, `auto` on a node of it, or none to start one here"


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a running cluster for the block; executors without an address use it.

    ``address`` is ``auto`` or ``HOST:PORT``. Raises SpecificationError where no cluster answers.
    """
    _check_listening(address)
    try:
        ray.init(address=address, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        said = str(error).strip().partition("\n")[0]
        raise SpecificationError(
            f"no Ray cluster takes us at {address!r} ({said}); {_ADDRESS_HELP}, and the cluster's "
            "RAY_AUTH_TOKEN if it asks for one"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_listening(address: str) -> None:
    """Raise SpecificationError where nothing listens: ray itself ends the process after minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not host or "/" in host or not port.isdigit():
        raise SpecificationError(f"{address!r} is no address of a Ray cluster; {_ADDRESS_HELP}")
    try:
        socket.create_connection((host, int(port)), _LISTENING_S).close()
    except (OSError, OverflowError) as error:
        raise SpecificationError(
            f"no Ray cluster at {address!r} ({error}); {_ADDRESS_HELP}"
        ) from None


def num_cpus() -> int:
    """Return how many CPUs the connected cluster has, at least 1."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
