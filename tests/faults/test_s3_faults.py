"""What networks and S3 servers do to requests: the same command finishes with the same bytes.

``ecgtwin generate`` and ``ecgtwin ingest`` as real processes, their store behind a proxy that does
it: moto, or Ceph RGW through scripts/rgw.sh. Each run ends well, or says why in one clear line.
"""

import os
import random
import re
import uuid
from pathlib import Path

import pytest

from ecgtwin.store.verify import verify
from tests.faults import s3_scenarios
from tests.faults.cohorts import objects_at, until_finished
from tests.faults.runs import ROUNDS, Run, fault_settings
from tests.faults.s3_proxy import Fault, Kind
from tests.faults.s3_scenarios import (
    OBJECTS,
    OF_GETS,
    OF_PUTS,
    a_proxy,
    behind,
    check_all,
    check_met,
    client_settings,
)
from tests.faults.scenarios import Lab

pytestmark = [pytest.mark.faults, pytest.mark.s3]


@pytest.mark.parametrize("kind", OF_PUTS)
def test_each_kind_of_object_meets_a_fault_when_it_is_put(s3_lab: Lab, kind: Kind) -> None:
    s3_scenarios.puts_meet(s3_lab, kind)


@pytest.mark.parametrize("kind", OF_GETS)
def test_each_kind_of_object_meets_a_fault_when_it_is_read(s3_lab: Lab, kind: Kind) -> None:
    s3_scenarios.reads_meet(s3_lab, kind)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_requests_meet_faults_at_random(s3_lab: Lab, seed: int) -> None:
    """One request in ten, each time another fault, and one for certain."""
    choose = random.Random(seed)
    certain = Fault(choose.choice(OF_PUTS), "PUT", choose.choice(list(OBJECTS.values())))
    faults = [
        Fault(kind, method, "", times=None, share=0.1 / len(kinds))
        for method, kinds in (("PUT", OF_PUTS), ("GET", OF_GETS))
        for kind in kinds
    ]
    with a_proxy(seed=seed) as proxy:
        proxy.order([certain, *choose.sample(faults, len(faults))])
        behind(proxy, s3_lab, tries=choose.choice((1, 2, 3))).run_until_finished()
        check_met(proxy, [certain])
        check_all(proxy, s3_lab)


@pytest.mark.parametrize("kind", ["error", "reset answer", "twice"])
def test_the_ledger_of_a_corpus_meets_a_fault(tmp_path: Path, s3_url: str, kind: Kind) -> None:
    """That of a simulated corpus is its ground truth, and part of each shard."""
    url, log = f"{s3_url}/{uuid.uuid4().hex}", tmp_path / "log.txt"
    log.touch()
    here = str(tmp_path / "corpus")
    assert ingest(here, log, {}) == 0, log.read_text()
    with a_proxy() as proxy:
        proxy.order([Fault(kind, "PUT", "/ledger/", times=4)])
        keys = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        through = keys | client_settings(proxy, tries=1)
        until_finished(lambda: ingest(url, log, through), log)
        assert len(proxy.met()) >= 2
    assert verify(url) == []
    found, wanted = public(url), public(here)
    assert any(name.startswith("ledger/") for name in wanted)
    assert sorted(found) == sorted(wanted)
    assert [name for name in found if found[name] != wanted[name]] == []


def ingest(url: str, log: Path, settings: dict[str, str]) -> int:
    """Make a corpus of two shards in a process; return the exit code."""
    words = ["ingest", "simulated", url, "--persons", "3", "--visits", "2", "--seed", "8"]
    sizes = ["--set", "rows_per_shard=3", "--set", "rows_per_chunk=3"]
    run = Run([*words, *sizes], fault_settings(log.parent) | settings, log, own_process=False)
    try:
        return run.wait()
    finally:
        run.clean_up()


def public(url: str) -> dict[str, bytes]:
    """Return every object but the pseudonym key, which is drawn."""
    found = objects_at(url)
    return {name: data for name, data in found.items() if not re.match("private/", name)}
