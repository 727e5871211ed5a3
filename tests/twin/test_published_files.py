"""Reading what strangers wrote: tensors come out, code is never run, damage is told."""

import os
import pickle
from argparse import Namespace
from collections import OrderedDict
from hashlib import sha256

import pytest
import torch
from safetensors.torch import save_file

from ecgtwin.errors import CheckpointError, StoreError
from ecgtwin.twin.published_files import find_files, read_file

STATE = {"a.weight": torch.arange(300.0).reshape(100, 3), "a.bias": torch.ones(3)}


class Malicious:
    """Unpickled anywhere, it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def save(tmp_path):
    def save(content, **options):
        path = tmp_path / "file.pth"
        torch.save(content, path, **options)
        return path

    return save


def refusal(path, **options):
    with pytest.raises(CheckpointError) as caught:
        read_file(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("file.pth")
    return message


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_state_dict_comes_out_as_it_went_in(save, is_zip):
    path = save(OrderedDict(STATE), _use_new_zipfile_serialization=is_zip)
    file = read_file(path)
    assert_same(file.state, STATE)
    assert file.sha256 == sha256(path.read_bytes()).hexdigest()
    assert (file.name, file.num_bytes, file.notes) == ("file.pth", path.stat().st_size, ())


@pytest.mark.parametrize("form", ["zip", "old", "pickle", "inside"])
def test_a_file_that_wants_to_run_something_is_refused_and_runs_nothing(save, tmp_path, form):
    trap = tmp_path / "made"
    content = Malicious(trap)
    if form == "inside":
        path = save({"state_dict": STATE, "extra": content})
    elif form == "pickle":
        path = tmp_path / "file.pth"
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        path = save(content, _use_new_zipfile_serialization=form == "zip")
    message = refusal(path)
    assert "asks for posix.mkdir" in message
    assert "none of it was run" in message
    assert not trap.exists()
    with path.open("rb") as opened:  # the trap is a real one
        torch.load(opened, weights_only=False) if form != "pickle" else pickle.load(opened)
    assert trap.exists()


def test_harmless_objects_are_refused_as_well(save):
    assert "asks for argparse.Namespace" in refusal(save({"state_dict": STATE, "a": Namespace()}))
    assert "asks for torch.nn.modules.linear.Linear" in refusal(save(torch.nn.Linear(2, 2)))


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("left", [0, 3, 40, 500, -1])
def test_a_truncated_file_is_refused(save, is_zip, left):
    path = save(STATE, _use_new_zipfile_serialization=is_zip)
    path.write_bytes(path.read_bytes()[:left])
    assert "damaged" in refusal(path) or left in (0, 3)


def test_one_flipped_bit_in_a_weight_is_noticed(save):
    path = save(STATE)
    data = bytearray(path.read_bytes())
    place = data.find(STATE["a.weight"].numpy().tobytes()[:64])
    assert place > 0
    data[place + 21] ^= 4
    path.write_bytes(data)
    assert "is truncated or damaged (the checksum of" in refusal(path)


def test_what_torch_did_not_write_is_named(tmp_path):
    path = tmp_path / "file.pth"
    save_file(STATE, path)
    assert "is a safetensors file" in refusal(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "begins with b'version https://'" in refusal(path)


def test_wrappers_are_taken_off_and_told(save):
    parallel = {f"module.{key}": value for key, value in STATE.items()}
    file = read_file(save({"epoch": 3, "model": {"state_dict": parallel}}))
    assert_same(file.state, STATE)
    assert file.notes == (
        "taken out of 'model'; left aside: epoch",
        "taken out of 'state_dict'",
        "'module.' taken off every name",
    )


def test_a_wrapper_around_itself_has_an_end(save):
    content = {"a": torch.ones(1)}
    content["model"] = content
    assert "needed is a state dict" in refusal(save(content))


def test_a_prefix_on_some_names_only_is_part_of_them(save):
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert_same(read_file(save(state)).state, state)


def test_parts_are_read_apart_and_wrapped_in_either_order(save):
    wanted = {f"{part}.{key}": value for part in ("one", "two") for key, value in STATE.items()}
    for content in (
        {"one": STATE, "two": STATE},
        {"state_dict": {"one": STATE, "two": STATE}},
        {"one": {"model_state_dict": STATE}, "two": STATE, "epoch": 1},
    ):
        assert_same(read_file(save(content), parts=("one", "two")).state, wanted)
    assert read_file(save(content), parts=("one", "two")).notes == (
        "left aside: epoch",
        "one: taken out of 'model_state_dict'",
    )


@pytest.mark.parametrize("content", [{"one": STATE}, STATE, [STATE], torch.ones(3), {}])
def test_a_missing_part_is_told(save, content):
    assert "one state dict for each of: one, two" in refusal(save(content), parts=("one", "two"))


@pytest.mark.parametrize(
    "content",
    [
        torch.ones(3),
        {},
        {"a": 1},
        {1: torch.ones(1)},
        {"a": [torch.ones(1)]},
        {"a": torch.ones(2, 2).to_sparse()},
        {"a": torch.ones(2, device="meta")},
        {"model": STATE, "state_dict": STATE},
    ],
)
def test_what_is_no_state_dict_is_refused(save, content):
    assert "needed is a state dict" in refusal(save(content))


def test_files_are_found_by_name_in_any_case_and_one_folder_down(tmp_path):
    names = ("VAE_model.pth", "ibe_model.PTH", "ecgtwin_dit.pth", "my_CLIP_7.pth", "clf_best.pth")
    folder = tmp_path / "download" / "checkpoints"
    folder.mkdir(parents=True)
    for name in (*names, "readme.md", "other.pth", "._vae_model.pth"):
        (folder / name).touch()
    roles = ("vae", "base_extractor", "dit", "clip", "classifier")
    expected = {role: folder / name for role, name in zip(roles, names, strict=True)}
    assert find_files(str(folder)) == expected
    assert find_files(str(tmp_path / "download")) == expected
    assert find_files(f"file://{folder}") == expected


def test_two_files_for_one_role_and_no_folder_are_mistakes(tmp_path):
    for name in ("clip_a.pth", "clip_b.pth"):
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=r"clip_a.pth and clip_b.pth.*leave only one"):
        find_files(str(tmp_path))
    with pytest.raises(CheckpointError, match=r"is a file; give the folder .*vae_model.pth"):
        find_files(str(tmp_path / "clip_a.pth"))
    with pytest.raises(CheckpointError, match=r"does not exist; give the folder"):
        find_files(str(tmp_path / "nowhere"))
    with pytest.raises(StoreError, match="not a local folder"):
        find_files("s3://bucket/folder")
