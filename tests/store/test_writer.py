"""Quantisation, determinism, and a commit that is broken off anywhere."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ecgtwin.errors import SpecificationError, StoreError
from ecgtwin.signals.leads import LEADS
from ecgtwin.spec.shard import Shard
from ecgtwin.store.layout import FILL, LIMIT, STEP_MV, SignalLayout
from ecgtwin.store.reader import Corpus
from ecgtwin.store.writer import create_signals, quantise, write_shard
from ecgtwin.store.zarr_shards import encode_metadata, encode_shard, read_layout
from tests.store import shards
from tests.store.shards import (
    LAYOUT,
    REJECTED,
    corpus_columns,
    samples_of,
    tree,
    write_corpus,
    write_one,
)

LIMB = {lead: LEADS.index(lead) for lead in LEADS[:6]}
DIRECT = [LEADS.index(lead) for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]

millivolts = arrays.arrays(
    np.float32,
    (2, 12, 5),
    elements=st.floats(-80, 80, width=32, allow_nan=False),
)


@given(millivolts)
@settings(max_examples=50, deadline=None)
def test_limb_leads_hold_in_integers(samples):
    stored, saturated = quantise(samples)
    assert not saturated.any()
    one, two, three, avr, avl, avf = (stored[:, LIMB[lead]].astype(int) for lead in LEADS[:6])
    assert (three == two - one).all()
    assert (np.abs(2 * avr + one + two) <= 1).all()
    assert (np.abs(2 * avl - 2 * one + two) <= 1).all()
    assert (np.abs(2 * avf - 2 * two + one) <= 1).all()


@given(millivolts)
@settings(max_examples=50, deadline=None)
def test_direct_leads_are_within_half_a_step(samples):
    stored, _ = quantise(samples)
    error = stored[:, DIRECT].astype(np.float64) * STEP_MV - samples[:, DIRECT]
    assert np.abs(error).max() <= STEP_MV / 2 + 1e-9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_lead_follows_its_definition_at_any_size(rng, dtype):
    """Also where III comes near to the limit, and across the rows that are quantised together."""
    scale = np.repeat([0.02, 1.0, 81.9, 81.925, 120.0, 300.0], 5)
    samples = (scale[:, None, None] * rng.uniform(-1, 1, (30, 12, 900))).astype(dtype)
    samples[:, :2, :4] = scale[:, None, None] * np.array([[1, 1, -1, -1], [1, -1, 1, -1]])
    stored, saturated = quantise(samples)
    direct = [samples[:, lead].astype(np.float64) / STEP_MV for lead in DIRECT]
    wanted = [np.rint(np.clip(lead, -LIMIT, LIMIT)) for lead in direct]
    one, two = wanted[:2]
    derived = [two - one, np.rint(-(one + two) / 2), np.rint(one - two / 2), np.rint(two - one / 2)]
    limbs = [one, two, *(np.clip(lead, -LIMIT, LIMIT) for lead in derived)]
    assert (stored == np.stack([*limbs, *wanted[2:]], axis=1)).all()
    cut = [(np.abs(lead) > LIMIT + 0.5).sum(axis=1) for lead in direct]
    over = [(np.abs(lead) > LIMIT).sum(axis=1) for lead in derived]
    assert (saturated == np.sum([*cut, *over], axis=0)).all()
    assert saturated[:10].sum() == 0 < saturated[-5:].min()


def test_halves_go_to_even():
    samples = np.zeros((1, 12, 4))
    samples[0, 0] = [0.0025, 0.0075, -0.0025, 0.0125]
    stored, _ = quantise(samples)
    assert stored[0, 0].tolist() == [0, 2, 0, 2]


def test_saturation_is_counted_and_never_the_fill_value():
    samples = np.zeros((3, 12, 2), dtype=np.float32)
    samples[0, 6] = [500, -500]
    samples[1, 0, 0], samples[1, 1, 0] = -163.835, 163.835  # the largest; III is twice that
    samples[2, 11, 0] = np.inf
    stored, saturated = quantise(samples)
    # in row 1 III saturates at one sample, and aVL and aVF at 1.5 times the limit with it
    assert saturated.tolist() == [2, 3, 1]
    assert stored[0, 6].tolist() == [LIMIT, -LIMIT]
    assert stored[1, LIMB["III"], 0] == LIMIT
    assert (stored != FILL).all()


def test_missing_samples_become_fill_and_take_the_derived_leads_along():
    samples = np.zeros((1, 12, 3), dtype=np.float32)
    samples[0, LIMB["II"], 1] = np.nan
    stored, saturated = quantise(samples)
    gone = stored == FILL
    assert saturated.tolist() == [0]
    assert gone[0, :, 1].tolist() == [lead in ("II", "III", "aVR", "aVL", "aVF") for lead in LEADS]
    assert not gone[0, :, [0, 2]].any()


def test_samples_of_another_shape_are_refused():
    with pytest.raises(StoreError, match=r"\(rows, 12, time\)"):
        quantise(np.zeros((12, 5)))


def _digest() -> str:
    stored, _ = quantise(samples_of(LAYOUT)[:16])
    data = [encode_shard(LAYOUT, stored), encode_shard(LAYOUT, stored[:3])]
    data += [content for _, content in encode_metadata(LAYOUT)]
    return hashlib.blake2b(b"".join(data)).hexdigest()


def test_the_same_samples_encode_to_the_same_bytes_in_every_process():
    code = "from tests.store.test_writer import _digest; print(_digest())"
    others = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    ]
    assert {_digest(), _digest(), *others} == {_digest()}


def test_a_shard_of_rejected_rows_is_an_object_still(tmp_path):
    layout = SignalLayout(4, 8, 100.0, 4, 2)
    create_signals(str(tmp_path), layout)
    columns = corpus_columns(Shard(0, 0, 4)) | {"accepted": [False] * 4, "reason": ["bad"] * 4}
    nothing = np.full((4, 12, 8), np.nan)
    committed = write_shard(
        str(tmp_path),
        layout,
        Shard(0, 0, 4),
        nothing,
        columns,
        schema="corpus",
        plan_digest="a plan",
    )
    assert committed.object_bytes > 0
    assert len(Corpus(str(tmp_path))) == 0
    assert not (tmp_path / "ledger").exists()


def test_two_runs_leave_the_same_tree(tmp_path):
    for name in ("a", "b"):
        write_corpus(str(tmp_path / name))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert not (tmp_path / "a" / "runs").exists()


@pytest.mark.parametrize("step", ["encoded", "put", "object", "ledger", "manifest"])
def test_a_commit_broken_off_anywhere_is_finished_by_the_next(tmp_path, step, monkeypatch):
    write_corpus(str(tmp_path / "undisturbed"))
    url = str(tmp_path / "disturbed")
    create_signals(url, LAYOUT)

    def break_off(name: str, index: int) -> None:
        if name == step:
            raise KeyboardInterrupt(name)

    monkeypatch.setenv("ECGTWIN_COMMIT_HOOK", "tests.store.shards:call_hook")
    for index in range(3):
        monkeypatch.setattr(shards, "hook", break_off)
        with pytest.raises(KeyboardInterrupt):
            write_one(url, index)
        monkeypatch.setattr(shards, "hook", None)
        write_one(url, index)
    assert tree(tmp_path / "disturbed") == tree(tmp_path / "undisturbed")


KILLED_WRITER = """
import os, signal, sys
from tests.store.shards import LAYOUT, write_one
from ecgtwin.store.writer import create_signals

seen = 0

def kill(name, index):
    global seen
    seen += name == sys.argv[2]
    if seen == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    sys.modules["killed_writer"] = sys.modules["__main__"]
    os.environ["ECGTWIN_COMMIT_HOOK"] = "killed_writer:kill"
    create_signals(sys.argv[1], LAYOUT)
    for index in range(3):
        write_one(sys.argv[1], index)
"""


@pytest.mark.faults
@pytest.mark.parametrize(
    ("step", "time"),
    [("encoded", 2), ("object", 2), ("ledger", 2), ("manifest", 2)]
    + [("put", time) for time in (1, 4, 7, 8, 9, 10, 15)],
)
def test_a_killed_writer_leaves_nothing_that_a_second_run_does_not_mend(tmp_path, step, time):
    write_corpus(str(tmp_path / "undisturbed"))
    url = str(tmp_path / "disturbed")
    command = [sys.executable, "-c", KILLED_WRITER, url, step, str(time)]
    killed = subprocess.run(command, check=False)
    assert killed.returncode == -9
    assert tree(tmp_path / "disturbed") != tree(tmp_path / "undisturbed")
    write_corpus(url)
    assert tree(tmp_path / "disturbed") == tree(tmp_path / "undisturbed")


@pytest.mark.parametrize("shard", [Shard(0, 0, 4), Shard(1, 16, 31), Shard(3, 44, 60)])
def test_only_a_whole_shard_may_be_written(tmp_path, shard):
    create_signals(str(tmp_path), LAYOUT)
    before = tree(tmp_path)
    with pytest.raises(StoreError, match="one whole shard"):
        write_shard(
            str(tmp_path),
            LAYOUT,
            shard,
            np.zeros((len(shard), 12, 64)),
            corpus_columns(shard),
            schema="corpus",
            plan_digest="a plan",
        )
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sex": None}, "missing: sex"),
        ({"weight": [1] * 16}, "unknown: weight"),
        ({"visit": [0] * 15}, "15 values for 16 rows"),
        ({"visit": ["x"] * 16}, "column visit must be int32"),
        ({"split": [None] * 16}, "split must not hold None"),
        ({"row": list(range(1, 17))}, "column row of shard 0"),
        ({"accepted": [True] * 16}, f"row {REJECTED} is accepted but has samples that are NaN"),
    ],
)
def test_columns_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path, change, message):
    create_signals(str(tmp_path), LAYOUT)
    before = tree(tmp_path)
    columns = corpus_columns(Shard(0, 0, 16)) | change
    columns = {name: values for name, values in columns.items() if values is not None}
    with pytest.raises(StoreError, match=message):
        write_shard(
            str(tmp_path),
            LAYOUT,
            Shard(0, 0, 16),
            samples_of(LAYOUT)[:16],
            columns,
            schema="corpus",
            plan_digest="a plan",
        )
    assert tree(tmp_path) == before


def test_a_layout_is_read_back(tmp_path):
    create_signals(str(tmp_path), LAYOUT)
    assert read_layout(str(tmp_path)) == LAYOUT


def test_objects_above_64_mib_are_refused_when_the_layout_is_made():
    with pytest.raises(SpecificationError, match="use at most 2720 rows"):
        SignalLayout(10_000, 1024, 102.4, 4096, 16)
    SignalLayout(10_000, 1024, 102.4, 2720, 16)
    with pytest.raises(SpecificationError, match="multiple of rows_per_chunk"):
        SignalLayout(100, 1024, 102.4, 32, 5)


def test_the_largest_object_really_is_the_largest():
    layout = SignalLayout(64, 256, 102.4, 32, 1)
    noise = np.random.default_rng(0).integers(-30000, 30000, size=(32, 12, 256)).astype(np.int16)
    assert len(encode_shard(layout, noise)) <= layout.largest_object_bytes
