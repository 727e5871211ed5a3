"""``ecgtwin import-weights`` as somebody meets it who has just downloaded the published files."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ecgtwin.twin.checkpoint import load_checkpoint
from tests.models.published import filled_state
from tests.test_cli import Mistake, everything, exit_code, mistake
from tests.twin.published_folder import OWN, linked, write_files, write_vae

__all__ = ["mistake"]  # a fixture

NEEDED = "vae_model.pth, ibe_model.pth, and ECGTwin_DiT.pth or ECGTwin_Unet.pth"


@pytest.fixture(autouse=True)
def leave_nothing_large(tmp_path: Path):
    yield
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="module")
def parity(real_data: Path) -> Path:
    return real_data / "parity"


@pytest.fixture(scope="module")
def source(parity: Path, tmp_path_factory: pytest.TempPathFactory):
    """The three files that are needed."""
    folder = tmp_path_factory.mktemp("published")
    write_vae(folder, parity)
    write_files(folder, parity, OWN)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_import_tells_what_came_from_where_and_can_be_repeated(
    source: Path, parity: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download = here / "download"
    download.mkdir()
    folder = linked(source, download / "checkpoints", without=("ibe_model.pth",))
    parallel = {f"module.{key}": value for key, value in filled_state("ibe", 1, parity).items()}
    torch.save({"epoch": 40, "state_dict": parallel}, folder / "ibe_model.pth")
    words = ("import-weights", "download", "twin", "--reference-mask")
    assert exit_code(*words) == 0
    said = capsys.readouterr()
    assert not said.err
    heading, *rows, unwrapped, prefix, absent, last = said.out.splitlines()
    assert heading.split() == ["network", "from", "tensors", "parameters", "digest"]
    found = [tuple(row.split()[:4]) for row in rows]
    assert found == [
        ("vae", "vae_model.pth", "240", "29,552,112"),
        ("base_extractor", "ibe_model.pth", "66", "3,361,025"),
        ("denoiser", "ECGTwin_DiT.pth", "167", "10,541,060"),
    ]
    assert unwrapped == "ibe_model.pth: taken out of 'state_dict'; left aside: epoch"
    assert prefix == "ibe_model.pth: 'module.' taken off every name"
    assert absent.startswith(
        "not among the files: the evaluation CLIP and the diagnosis classifier; "
    )
    stored = load_checkpoint("twin")
    assert last == (
        f"twin: checkpoint {stored.digest}, preset paper, padded tokens added, as published"
    )
    assert stored.provenance["unwrapped"] == [unwrapped, prefix]
    assert stored.spec.base_extractor.reference_mask

    before = everything(here / "twin")
    assert exit_code(*words) == 0
    assert capsys.readouterr() == said
    assert everything(here / "twin") == before


def test_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--help") == 0
    assert "\n    import-weights\n" in capsys.readouterr().out
    assert exit_code("import-weights", "--help") == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: ecgtwin import-weights ")
    assert "{dit,unet}" in said
    assert "--reference-mask" in said


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("nowhere twin", ("nowhere does not exist", NEEDED)),
        ("a.pth twin", ("a.pth is a file; give the folder", NEEDED)),
        ("empty twin", ("empty lacks vae_model.pth, ibe_model.pth", NEEDED, "holds nothing")),
        ("converted twin", ("lacks", NEEDED, "converted holds vae_model.safetensors")),
        ("s3://bucket/folder twin", ("s3://bucket/folder is not a local folder",)),
        ("empty", ("required: url", "`ecgtwin import-weights --help`")),
        ("empty twin --denoiser gan", ("--denoiser", "'gan'", "dit", "unet")),
        ("empty a.pth", ("a.pth", "Not a directory")),
        ("empty s3:/bucket", ("s3:/bucket", "s3://bucket/folder")),
    ],
)
def test_a_mistake_is_one_line(
    words: str, parts: tuple[str, ...], here: Path, mistake: Mistake
) -> None:
    (here / "empty").mkdir()
    (here / "converted").mkdir()
    torch.save({}, here / "a.pth")
    save_file({"a": torch.ones(1)}, here / "converted" / "vae_model.safetensors")
    (line,) = mistake("import-weights", *words.split())
    for part in parts:
        assert part in line, line


def test_a_bad_file_among_good_ones_is_one_line(source: Path, here: Path, mistake: Mistake) -> None:
    folder = linked(source, here / "files", without=("ECGTwin_DiT.pth",))
    denoiser = folder / "ECGTwin_DiT.pth"
    words = ("import-weights", folder, here / "twin")

    save_file({"a": torch.ones(1)}, denoiser)
    (line,) = mistake(*words)
    assert line.startswith("ECGTwin_DiT.pth is a safetensors file, but a file written by torch")
    data = (source / "ECGTwin_DiT.pth").read_bytes()
    denoiser.write_bytes(data[: len(data) // 2])
    (line,) = mistake(*words)
    assert line.startswith(f"ECGTwin_DiT.pth ({len(data) // 2} bytes) is truncated or damaged")
    torch.save(torch.nn.Linear(2, 2), denoiser)
    (line,) = mistake(*words)
    assert line.startswith("ECGTwin_DiT.pth asks for torch.nn.modules.linear.Linear")
    torch.save(torch.ones(2), denoiser)
    (line,) = mistake(*words)
    assert line == "ECGTwin_DiT.pth holds a Tensor; needed is a state dict"


def test_every_tensor_that_does_not_fit_has_a_line(
    source: Path, parity: Path, here: Path, mistake: Mistake
) -> None:
    folder = linked(source, here / "files", without=("ECGTwin_DiT.pth",))
    state = filled_state("dit_ecgtwin", 1, parity)
    gone = [key for key in state if key.startswith("blocks.6.")]
    torch.save({key: state[key] for key in state if key not in gone}, folder / "ECGTwin_DiT.pth")
    first, *lines, advice = mistake("import-weights", folder, here / "twin")
    assert first == f"ECGTwin_DiT.pth is not the published denoiser ({len(gone)} faults):"
    assert len(gone) == 22
    assert sorted(lines) == sorted(
        f"ECGTwin_DiT.pth: {key} {tuple(state[key].shape)} is missing" for key in gone
    )
    assert advice.startswith("nothing was written; ")
