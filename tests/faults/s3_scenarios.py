"""A cohort on S3 whose requests meet faults on their way: whole and the same in the end.

As in ``scenarios``, each raises AssertionError where it is not.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ecgtwin.store.commit import put_new
from tests.faults.cohorts import Command
from tests.faults.runs import CI_ROUNDS, ROUNDS
from tests.faults.s3_proxy import Fault, FaultProxy, Kind
from tests.faults.scenarios import Lab

READ_TIMEOUT_S = 1.0
LATE_S = 1.5
# One of each kind of object that a cohort has, in the order in which they are written.
OBJECTS = {
    "reference table": r"/references\.parquet$",
    "plan table": r"/patients\.parquet$",
    "description": r"/cohort\.json$",
    "metadata": r"/samples_mv/zarr\.json$",
    "numerics": r"/numerics\.json$",
    "shard": r"/samples_mv/c/1/",
    "manifest": r"/manifest/shard-000000001\.parquet$",
}
# What a run that goes on behind shard 0 reads.
READ = OBJECTS | {"manifest": r"/manifest/shard-000000000\.parquet$", "list": r"\?list-type"}
OF_PUTS: tuple[Kind, ...] = (
    "error", "slow down", "torn request", "late request", "late answer", "lost answer",
    "reset answer", "false error", "twice",
)  # fmt: skip
OF_GETS: tuple[Kind, ...] = ("error", "slow down", "late answer", "reset answer", "torn answer")
DONE = ("late answer", "lost answer", "reset answer", "false error", "twice")
# What breaks off, the client tries again by itself: so often does it reach what is written here.
TIMES = {"slow down": 2, "torn request": 2, "reset answer": 2, "torn answer": 2, "lost answer": 4}
# These end a run each time, or wait: in CI at fewer objects.
DEAR = {
    "PUT": ("error", "torn request", "late request", "late answer"),
    "GET": OF_GETS,
}
EVERY_DAY = ("reference table", "shard", "manifest")


def faults_of(kind: Kind, method: str, objects: dict[str, str]) -> list[Fault]:
    """Return one such fault for each of these objects."""
    few = kind in DEAR[method] and ROUNDS <= CI_ROUNDS
    met = [keys for name, keys in objects.items() if not few or name in EVERY_DAY]
    return [Fault(kind, method, keys, times=TIMES.get(kind, 1)) for keys in met]


def check_met(proxy: FaultProxy, faults: list[Fault]) -> None:
    """Each fault has happened."""
    found = proxy.met()
    idle = [one.keys for one in faults if not any(re.search(one.keys, key) for *_, key in found)]
    assert idle == [], f"never met: {idle}; met: {found}"


@contextmanager
def a_proxy(*, seed: int = 0) -> Iterator[FaultProxy]:
    """Yield one in front of the S3 server; the test itself looks past it."""
    with FaultProxy(os.environ["AWS_ENDPOINT_URL"], late_s=LATE_S, seed=seed).running() as proxy:
        yield proxy


def client_settings(proxy: FaultProxy, *, tries: int) -> dict[str, str]:
    """Return the environment of a client behind the proxy that tries that often."""
    return {
        "AWS_ENDPOINT_URL": proxy.endpoint,
        "ECGTWIN_S3_READ_TIMEOUT_S": str(READ_TIMEOUT_S),
        "ECGTWIN_S3_TRIES": str(tries),
    }


def behind(proxy: FaultProxy, lab: Lab, *, tries: int) -> Command:
    """Return the command whose store is behind the proxy."""
    return lab.command("one", settings=client_settings(proxy, tries=tries))


def check_all(proxy: FaultProxy, lab: Lab, *, put_before: Sequence[str] = ()) -> None:
    """The cohort is whole and the same, and no object of it was ever put a second time."""
    created = [key for key in proxy.created() if "/runs/" not in key]
    lab.check()
    root = lab.url.removeprefix("s3://")
    wanted = [f"{root}/{name}" for name in lab.undisturbed if name not in put_before]
    assert created == sorted(wanted), (
        f"put twice, or never: {set(created) ^ set(wanted)}, {created}"
    )


def puts_meet(lab: Lab, kind: Kind) -> None:
    """The client gives up at the first fault, so that each reaches what is written here."""
    faults = faults_of(kind, "PUT", OBJECTS)
    with a_proxy() as proxy:
        proxy.order(faults)
        num_runs = behind(proxy, lab, tries=1).run_until_finished()
        check_met(proxy, faults)
        if kind in DONE:
            assert num_runs == 1, f"{num_runs} runs for what was done, whatever was answered"
        check_all(proxy, lab)


def reads_meet(lab: Lab, kind: Kind) -> None:
    """A run goes on from a plan and one shard, and so has to read what others have put."""
    begun = [name for name in lab.undisturbed if not re.search("(/c/|shard-0+)[12]", name)]
    for name in begun:
        put_new(f"{lab.url}/{name}", lab.undisturbed[name])
    faults = faults_of(kind, "GET", READ)
    with a_proxy() as proxy:
        proxy.order(faults)
        behind(proxy, lab, tries=1).run_until_finished()
        check_met(proxy, faults)
        check_all(proxy, lab, put_before=begun)
