"""The connection to a running Ray cluster, or one line that says why there is none; one here."""

import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import ray

from ecgtwin.errors import SpecificationError
from ecgtwin.executors.reasons import first_line

_log = logging.getLogger(__name__)

# Linux answers on all of 127/8; ray replaces 127.0.0.1 by the machine's own address there.
_LOOPBACK = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
_OBJECT_STORE_BYTES = 100 * 1024**2  # results are small; shards go to the cohort, not through ray
_MAX_STARTS = 3
_TOO_SLOW = "timed out during startup"
_LISTENING_S = 5.0
_ADDRESS_HELP = "give HOST:6379 of its head, `auto` on a node of it, or none to start one here"


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a running cluster for the block; executors without an address use it.

    ``address`` is ``auto`` or ``HOST:PORT``. Raises SpecificationError where no cluster answers.
    """
    _check_listening(address)
    try:
        with _keeping_sigterm():
            ray.init(address=address, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        said = first_line(str(error))
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


@contextmanager
def local_cluster(num_workers: int | None) -> Iterator[None]:
    """Start a Ray cluster of as many CPUs here for the block; executors without an address use it.

    Ray's servers listen on every interface, so the cluster asks for a token, new for each process
    and kept in the environment only. Set RAY_AUTH_MODE to decide otherwise.
    """
    defaults = {"RAY_USAGE_STATS_ENABLED": "0"}
    if "RAY_AUTH_MODE" not in os.environ:
        defaults["RAY_AUTH_TOKEN"] = _token()  # where the mode is not set, ray then asks for it
    with _environment(defaults), _quiet_about_tokens():
        _start(num_workers)
        try:
            yield
        finally:
            ray.shutdown()


def _start(num_workers: int | None) -> None:
    """Start a cluster; on a busy machine its servers can miss ray's fixed deadline of 30 s."""
    for start in range(1, _MAX_STARTS + 1):
        try:
            with _keeping_sigterm():
                ray.init(
                    address="local",  # whatever runs here already
                    num_cpus=num_workers,
                    include_dashboard=False,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    _node_ip_address=_LOOPBACK,
                    logging_level=logging.WARNING,
                )
            return
        except Exception as error:  # ray raises no narrower class for this
            if _TOO_SLOW not in str(error) or start == _MAX_STARTS:
                raise
            _log.warning("Ray did not start in time, start %d of %d", start, _MAX_STARTS)
            ray.shutdown()


@cache
def _token() -> str:
    return secrets.token_hex(32)


@contextmanager
def _environment(defaults: dict[str, str]) -> Iterator[None]:
    """Set the variables that the user has not set, for as long as the block lasts."""
    names = ["RAY_AUTH_MODE", *defaults]  # ray sets the mode itself
    before = {name: os.environ.get(name) for name in names}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name, earlier in before.items():
            if earlier is None:
                os.environ.pop(name, None)


@contextmanager
def _quiet_about_tokens() -> Iterator[None]:
    """Keep ray from advising, at each start, to switch its token off."""
    adviser = logging.getLogger("ray._private.authentication.authentication_token_setup")
    before = adviser.level
    adviser.setLevel(logging.ERROR)
    try:
        yield
    finally:
        adviser.setLevel(before)


@contextmanager
def _keeping_sigterm() -> Iterator[None]:
    """Keep the handler that somebody set: ``ray.init`` sets its own."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
