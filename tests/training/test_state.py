"""A training checkpoint is whole or is none, on a disk and on S3."""

import math
import shutil

import pytest
import torch

from ecgtwin.errors import CheckpointError, DamageError, StoreError
from ecgtwin.store.objects import (
    delete_object,
    join,
    list_tree,
    local_path,
    read_object,
    replace_object,
)
from ecgtwin.training import state as module
from ecgtwin.training.engine import TorchEngine
from ecgtwin.training.loop import resume
from ecgtwin.training.meter import RunFacts
from ecgtwin.training.state import (
    checkpoints,
    latest_checkpoint,
    read_checkpoint,
    read_tensors,
    replace_tensors,
    write_checkpoint,
)
from tests.training.toy import SPEC, Toy, largest_difference, run_steps


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def folder(request, tmp_path):
    if request.param == "local":
        return str(tmp_path / "run")
    return join(request.getfixturevalue("s3_url"), tmp_path.name)


@pytest.fixture
def engine():
    return TorchEngine(Toy(), SPEC, device=torch.device("cpu"))


def names(folder):
    return [url.rpartition("/")[2] for url in checkpoints(folder)]


def test_nothing_there_is_no_checkpoint(folder):
    assert checkpoints(folder) == []
    assert latest_checkpoint(folder) is None


def test_what_is_written_is_read(folder, engine):
    run_steps(engine, 0, 2)
    url = write_checkpoint(folder, engine.state(), step=2, facts={"seed": 4}, keep=2)
    state, step, facts = read_checkpoint(url)
    assert (step, facts, state.num_updates) == (2, {"seed": 4}, 2)
    assert largest_difference(state, engine.state()) == 0
    assert math.isclose(state.weights["scale"].item(), 2.0)
    assert not torch.equal(state.averages["ema_0.5"]["head.bias"], state.weights["head.bias"])


def test_only_the_newest_are_kept_and_one_may_be_written_again(folder, engine):
    for step in (1, 2, 3, 3):
        write_checkpoint(folder, engine.state(), step=step, facts={}, keep=2)
    assert names(folder) == ["step-00000002", "step-00000003"]
    assert {name.partition("/")[0] for name, _ in list_tree(folder)} == set(names(folder))


def test_a_half_written_one_is_never_picked(folder, engine):
    for step in (1, 2, 3):
        write_checkpoint(folder, engine.state(), step=step, facts={}, keep=5)
    short = join(folder, "step-00000003", "adam_second.safetensors")
    replace_object(short, read_object(short)[:-1])
    delete_object(join(folder, "step-00000002", "state.json"))
    assert names(folder) == ["step-00000001"]
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        read_checkpoint(join(folder, "step-00000002"))


def test_a_changed_byte_is_found_and_an_older_one_resumed(folder, engine):
    for step in (1, 2):
        run_steps(engine, step, step + 1)
        write_checkpoint(folder, engine.state(), step=step, facts={}, keep=5)
    place = join(folder, "step-00000002", "ema_0.5.safetensors")
    data = bytearray(read_object(place))
    data[-3] ^= 1
    replace_object(place, bytes(data))
    with pytest.raises(DamageError, match=r"ema_0.5.safetensors is damaged"):
        read_checkpoint(join(folder, "step-00000002"))
    lines = []
    fresh = TorchEngine(Toy(), SPEC, device=torch.device("cpu"))
    assert resume(fresh, folder, facts=RunFacts(), report=lines.append) == 1
    assert fresh.num_updates == 1
    assert "ema_0.5" in lines[0]["damaged_checkpoint"]


@pytest.mark.parametrize("puts", range(6))  # four files of tensors, one more average, the record
def test_a_writer_that_dies_at_any_file_leaves_the_older_one(folder, engine, puts, monkeypatch):
    write_checkpoint(folder, engine.state(), step=1, facts={}, keep=1)
    left = [puts]

    def put_or_die(url, data):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        replace_object(url, data)

    with monkeypatch.context() as patch:
        patch.setattr(module, "replace_object", put_or_die)
        with pytest.raises(KeyboardInterrupt):
            write_checkpoint(folder, engine.state(), step=2, facts={}, keep=1)
    assert names(folder) == ["step-00000001"]
    write_checkpoint(folder, engine.state(), step=2, facts={}, keep=1)
    assert names(folder) == ["step-00000002"]
    assert {name.partition("/")[0] for name, _ in list_tree(folder)} == {"step-00000002"}


def test_what_cannot_be_written_leaves_no_rest(tmp_path, engine):
    write_checkpoint(tmp_path, engine.state(), step=1, facts={}, keep=1)
    (tmp_path / "step-00000002").write_bytes(b"a file in the way")
    with pytest.raises(StoreError):
        write_checkpoint(tmp_path, engine.state(), step=2, facts={}, keep=1)
    assert names(str(tmp_path)) == ["step-00000001"]


def test_temporary_files_of_a_killed_writer_are_swept(tmp_path, engine):
    half = tmp_path / "step-00000002"
    half.mkdir()
    (half / ".weights.safetensors~12-ab").write_bytes(b"half")
    write_checkpoint(tmp_path, engine.state(), step=2, facts={}, keep=1)
    assert not list(half.glob(".*"))


def test_notes_stand_beside_tensors(folder):
    url = join(folder, "best.safetensors")
    assert read_tensors(url) is None
    replace_tensors(url, {"x": torch.arange(3.0)}, {"step": 4, "validation": {"loss": 0.5}})
    tensors, notes = read_tensors(url)
    assert tensors["x"].tolist() == [0, 1, 2]
    assert notes == {"step": 4, "validation": {"loss": 0.5}}


def test_another_format_is_said(tmp_path, engine):
    url = write_checkpoint(tmp_path, engine.state(), step=1, facts={}, keep=1)
    record = local_path(url) / "state.json"
    record.write_text(record.read_text().replace('"format": 2', '"format": 1'))
    with pytest.raises(CheckpointError, match="has format 1"):
        read_checkpoint(url)
    with pytest.raises(CheckpointError, match="has format 1"):  # not begun again over it
        resume(engine, tmp_path, facts=RunFacts())
    shutil.rmtree(local_path(url))
    assert latest_checkpoint(tmp_path) is None
