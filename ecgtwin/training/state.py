"""The checkpoint of a training run: tensors by parameter name, the same for every engine.

A checkpoint is a folder ``step-00001000`` with four safetensors files and ``state.json``, which is
written last and holds the size of each file. The folder is filled under another name, flushed and
renamed, so a half-written one never carries a checkpoint's name.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ecgtwin.errors import CheckpointError

FORMAT = 1
NAME = re.compile(r"step-(\d{8})")
UNFINISHED = ".unfinished-"
TENSOR_FILES = ("weights", "adam_first", "adam_second", "ema")

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class TrainingState:
    """What an engine must know to go on; fp32 on the CPU, by parameter name.

    ``weights`` holds trainable parameters and buffers; the others trainable parameters only.
    ``ema`` is empty when there is no moving average. Nothing random is kept: every draw is a
    function of (seed, step, sample).
    """

    weights: Tensors
    adam_first: Tensors
    adam_second: Tensors
    ema: Tensors
    num_updates: int


def write_checkpoint(
    folder: str | Path, state: TrainingState, *, step: int, facts: Mapping[str, object], keep: int
) -> Path:
    """Write the checkpoint of ``step`` (steps done), then delete all but the newest ``keep``.

    ``facts`` (JSON-able: recipe and corpus digests, seed) stand in state.json.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{UNFINISHED}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()  # of replace_tensors
    unfinished = folder / f"{UNFINISHED}{step:08d}"
    unfinished.mkdir()
    sizes = {}
    for name in TENSOR_FILES:
        path = unfinished / f"{name}.safetensors"
        save_file(getattr(state, name), path)
        _flush(path)
        sizes[path.name] = path.stat().st_size
    record = {
        "format": FORMAT,
        "step": step,
        "num_updates": state.num_updates,
        "facts": dict(facts),
        "sizes": sizes,
    }
    (unfinished / "state.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    _flush(unfinished / "state.json")
    _flush(unfinished)

    final = folder / f"step-{step:08d}"
    replaced = folder / f"{UNFINISHED}replaced"
    if final.exists():
        final.rename(replaced)
    unfinished.rename(final)
    _flush(folder)
    if replaced.exists():
        shutil.rmtree(replaced)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def checkpoints(folder: str | Path) -> list[Path]:
    """Return the whole checkpoints in ``folder``, oldest first."""
    folder = Path(folder)
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if NAME.fullmatch(path.name) and _is_whole(path)]


def latest_checkpoint(folder: str | Path) -> Path | None:
    """Return the newest whole checkpoint in ``folder``, None where there is none."""
    return next(reversed(checkpoints(folder)), None)


def read_checkpoint(path: str | Path) -> tuple[TrainingState, int, dict[str, object]]:
    """Return the state, the steps done and the facts; raise CheckpointError if it is not whole."""
    from safetensors.torch import load_file

    path = Path(path)
    if not _is_whole(path):
        raise CheckpointError(f"{path}: is not a whole checkpoint; resume from an older one")
    record = json.loads((path / "state.json").read_text())
    if record["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: has format {record['format']}, this version reads format {FORMAT}"
        )
    weights, first, second, ema = (load_file(path / f"{name}.safetensors") for name in TENSOR_FILES)
    state = TrainingState(weights, first, second, ema, int(record["num_updates"]))
    return state, int(record["step"]), dict(record["facts"])


def replace_tensors(path: Path, tensors: Tensors, notes: Mapping[str, float]) -> None:
    """Write ``tensors`` with ``notes`` to one file, which is the old or the new one, never half."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{UNFINISHED}{path.name}")
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        unfinished,
        metadata={"notes": json.dumps(dict(notes))},
    )
    _flush(unfinished)
    unfinished.replace(path)
    _flush(path.parent)


def read_tensors(path: Path) -> tuple[Tensors, dict[str, float]] | None:
    """Return tensors and notes as ``replace_tensors`` wrote them; None where there is no file."""
    from safetensors import safe_open

    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        names = file.keys()  # the handle itself is no iterable
        notes: dict[str, float] = json.loads(file.metadata()["notes"])
        return {name: file.get_tensor(name) for name in names}, notes


def _is_whole(path: Path) -> bool:
    try:
        sizes = json.loads((path / "state.json").read_text())["sizes"]
        return all((path / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _flush(path: Path) -> None:
    """Make a file or the entries of a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
