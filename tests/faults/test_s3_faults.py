"""What networks and S3 servers do to requests: the same command finishes with the same bytes.

``ecgtwin generate`` and ``ecgtwin ingest`` as real processes, their store behind a proxy that does
it: moto, or Ceph RGW through scripts/rgw.sh. Each run ends well, or says why in one clear line.
"""

import os
import random
import re
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ecgtwin.store.commit import put_new
from tests.faults.cohorts import Command, make_undisturbed
from tests.faults.runs import CI_ROUNDS, ROUNDS
from tests.faults.s3_proxy import Fault, FaultProxy, Kind
from tests.faults.scenarios import Lab

pytestmark = [pytest.mark.faults, pytest.mark.s3]

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
# These end a run each time, or wait: in CI at fewer objects.
DEAR = ("error", "late request", "late answer")
EVERY_DAY = ("reference table", "shard", "manifest")


def met_by(kind: Kind, objects: dict[str, str]) -> list[str]:
    """Return the keys that meet this kind of fault."""
    few = kind in DEAR and ROUNDS <= CI_ROUNDS
    return [keys for name, keys in objects.items() if not few or name in EVERY_DAY]


@pytest.fixture
def proxy(s3_url: str) -> Iterator[FaultProxy]:
    """One in front of the S3 server; the test itself looks past it."""
    with FaultProxy(os.environ["AWS_ENDPOINT_URL"], late_s=LATE_S).running() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def undisturbed(cohort_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The objects of three shards."""
    folder = tmp_path_factory.mktemp("undisturbed") / "cohort"
    return make_undisturbed(cohort_inputs, folder, replicates=1)


@pytest.fixture
def s3_lab(
    cohort_inputs: Path, tmp_path: Path, undisturbed: dict[str, bytes], s3_url: str
) -> Lab:
    url = f"{s3_url}/{uuid.uuid4().hex}"
    return Lab(cohort_inputs, tmp_path, undisturbed, url, replicates=1)


def behind(proxy: FaultProxy, lab: Lab, *, tries: int) -> Command:
    """Return the command whose store is behind the proxy; its client tries that often."""
    settings = {
        "AWS_ENDPOINT_URL": proxy.endpoint,
        "ECGTWIN_S3_READ_TIMEOUT_S": str(READ_TIMEOUT_S),
        "ECGTWIN_S3_TRIES": str(tries),
    }
    return lab.command("one", settings=settings)


def check_all(proxy: FaultProxy, lab: Lab, *, put_before: Sequence[str] = ()) -> None:
    """The cohort is whole and the same, and no object of it was ever put a second time."""
    created = [key for key in proxy.created() if "/runs/" not in key]
    lab.check()
    root = lab.url.removeprefix("s3://")
    wanted = [f"{root}/{name}" for name in lab.undisturbed if name not in put_before]
    assert created == sorted(wanted)


@pytest.mark.parametrize("kind", OF_PUTS)
def test_each_kind_of_object_meets_a_fault_when_it_is_put(
    proxy: FaultProxy, s3_lab: Lab, kind: Kind
) -> None:
    """The client gives up at the first fault, so that each reaches what is written here."""
    objects = met_by(kind, OBJECTS)
    proxy.order([Fault(kind, "PUT", keys) for keys in objects])
    num_runs = behind(proxy, s3_lab, tries=1).run_until_finished()
    assert len(proxy.met()) == len(objects), proxy.met()
    if kind in DONE:
        assert num_runs == 1, "what was done counts, whatever the answer was"
    check_all(proxy, s3_lab)


@pytest.mark.parametrize("kind", OF_GETS)
def test_each_kind_of_object_meets_a_fault_when_it_is_read(
    proxy: FaultProxy, s3_lab: Lab, kind: Kind
) -> None:
    """A run goes on from a plan and one shard, and so has to read what others have put."""
    begun = [name for name in s3_lab.undisturbed if not re.search("(/c/|shard-0+)[12]", name)]
    for name in begun:
        put_new(f"{s3_lab.url}/{name}", s3_lab.undisturbed[name])
    objects = met_by(kind, READ)
    proxy.order([Fault(kind, "GET", keys) for keys in objects])
    behind(proxy, s3_lab, tries=1).run_until_finished()
    assert len(proxy.met()) == len(objects), proxy.met()
    check_all(proxy, s3_lab, put_before=begun)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_requests_meet_faults_at_random(s3_url: str, s3_lab: Lab, seed: int) -> None:
    """One request in ten, each time another fault."""
    choose = random.Random(seed)
    faults = [
        Fault(kind, method, "", times=None, share=0.1 / len(kinds))
        for method, kinds in (("PUT", OF_PUTS), ("GET", OF_GETS))
        for kind in kinds
    ]
    with FaultProxy(os.environ["AWS_ENDPOINT_URL"], late_s=LATE_S, seed=seed).running() as proxy:
        proxy.order(choose.sample(faults, len(faults)))
        behind(proxy, s3_lab, tries=choose.choice((1, 2, 3))).run_until_finished()
        assert proxy.met()
        check_all(proxy, s3_lab)
