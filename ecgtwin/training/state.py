"""The checkpoint of a training run: tensors by parameter name, the same for every engine.

A checkpoint is a folder ``step-00001000`` at a local path or an ``s3://`` URL: safetensors files
(weights, both Adam moments, one file for each moving average) and ``state.json``, which is written
last and holds the size and the digest of each file. A folder without it, or with a file of another
size, is no checkpoint.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ecgtwin.errors import CheckpointError, DamageError
from ecgtwin.store.objects import (
    delete_object,
    is_s3,
    join,
    list_tree,
    local_path,
    read_object,
    replace_object,
)

FORMAT = 2
NAME = re.compile(r"step-(\d{8})")
STATE = "state.json"
DIGEST_BYTES = 16

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class TrainingState:
    """What an engine must know to go on; fp32 on the CPU, by parameter name.

    ``weights`` holds trainable parameters and buffers; the others trainable parameters only.
    ``averages`` holds each moving average under its name. Nothing random is kept: every draw is a
    function of (seed, step, sample).
    """

    weights: Tensors
    adam_first: Tensors
    adam_second: Tensors
    averages: dict[str, Tensors] = field(default_factory=dict)
    num_updates: int = 0

    def files(self) -> dict[str, Tensors]:
        """Return the tensors by the name of their file, without its ending."""
        moments = {"adam_first": self.adam_first, "adam_second": self.adam_second}
        return {"weights": self.weights, **moments, **self.averages}


def write_checkpoint(
    folder: str | Path, state: TrainingState, *, step: int, facts: Mapping[str, object], keep: int
) -> str:
    """Write the checkpoint of ``step`` (steps done), then delete all but the newest ``keep``.

    ``facts`` (JSON-able: recipe and corpus digests, seed) stand in state.json. Returns its URL.
    StoreError where it cannot be written: what was there before is still there.
    """
    from safetensors.torch import save

    url = join(str(folder), f"step-{step:08d}")
    _delete(url)  # a damaged one, or what a killed process left of it
    written = {}
    try:
        for name, tensors in state.files().items():
            data = save(tensors)
            replace_object(join(url, f"{name}.safetensors"), data)
            written[f"{name}.safetensors"] = {"size": len(data), "digest": _digest(data)}
            del data
    except Exception:
        _delete(url)  # a full disk: what was written of it is of no use
        raise
    record = {
        "format": FORMAT,
        "step": step,
        "num_updates": state.num_updates,
        "facts": dict(facts),
        "averages": sorted(state.averages),
        "files": written,
    }
    replace_object(join(url, STATE), (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
    kept = checkpoints(folder)[-keep:]
    for old in _step_folders(folder):
        if join(str(folder), old) < kept[0]:
            _delete(join(str(folder), old))
    return url


def checkpoints(folder: str | Path) -> list[str]:
    """Return the URLs of the whole checkpoints in ``folder``, oldest first."""
    sizes = _step_folders(folder)
    urls = {step: join(str(folder), step) for step in sorted(sizes)}
    return [url for step, url in urls.items() if _is_whole(url, sizes[step])]


def latest_checkpoint(folder: str | Path) -> str | None:
    """Return the newest whole checkpoint in ``folder``, None where there is none."""
    return next(reversed(checkpoints(folder)), None)


def read_checkpoint(url: str | Path) -> tuple[TrainingState, int, dict[str, object]]:
    """Return the state, the steps done and the facts.

    DamageError if a byte of a tensor has changed, CheckpointError if it is not whole or of another
    format.
    """
    from safetensors.torch import load

    url = str(url)
    record = _record(url)
    if record is None:
        raise CheckpointError(f"{url}: is not a whole checkpoint; resume from an older one")
    if record["format"] != FORMAT:
        raise CheckpointError(
            f"{url}: has format {record['format']}, this version reads format {FORMAT}"
        )
    files: dict[str, Tensors] = {}
    for name, written in record["files"].items():
        try:
            data = read_object(join(url, name))
        except FileNotFoundError:
            data = b""
        if _digest(data) != written["digest"]:
            raise DamageError(f"{url}: {name} is damaged; resume from an older checkpoint")
        files[name.removesuffix(".safetensors")] = load(data)
    averages = {name: files.pop(name) for name in record["averages"]}
    state = TrainingState(**files, averages=averages, num_updates=int(record["num_updates"]))
    return state, int(record["step"]), dict(record["facts"])


def read_facts(url: str) -> tuple[int, dict[str, object]]:
    """Return the steps done and the facts of a whole checkpoint, its tensors unread."""
    record = _record(url)
    if record is None:
        raise CheckpointError(f"{url}: is not a whole checkpoint")
    return int(record["step"]), dict(record["facts"])


def replace_tensors(url: str, tensors: Tensors, notes: Mapping[str, object]) -> None:
    """Write ``tensors`` with ``notes`` to one file, which is the old or the new one, never half."""
    from safetensors.torch import save

    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    replace_object(url, save(whole, metadata={"notes": json.dumps(dict(notes))}))


def read_tensors(url: str) -> tuple[Tensors, dict[str, object]] | None:
    """Return tensors and notes as ``replace_tensors`` wrote them; None where there is no file."""
    from safetensors.torch import load

    try:
        data = read_object(url)
    except FileNotFoundError:
        return None
    header_size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + header_size])
    return load(data), json.loads(header["__metadata__"]["notes"])


def _step_folders(folder: str | Path) -> dict[str, dict[str, int]]:
    """Return the sizes of the files in each folder that has the name of a checkpoint."""
    try:
        listed = list_tree(str(folder))
    except FileNotFoundError:
        return {}
    sizes: dict[str, dict[str, int]] = {}
    for name, size in listed:
        step, _, file = name.partition("/")
        if NAME.fullmatch(step) and file:
            sizes.setdefault(step, {})[file] = size
    return sizes


def _record(url: str) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(read_object(join(url, STATE)))
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) and "format" in record else None


def _is_whole(url: str, sizes: Mapping[str, int]) -> bool:
    if STATE not in sizes:
        return False
    record = _record(url)
    if record is None:
        return False
    files = record.get("files", {})
    return all(sizes.get(name) == written["size"] for name, written in files.items())


def _delete(url: str) -> None:
    """Delete a checkpoint, its record first."""
    delete_object(join(url, STATE))
    with suppress(FileNotFoundError):
        for name, _ in list_tree(url):
            delete_object(join(url, name))
    if not is_s3(url):
        shutil.rmtree(local_path(url), ignore_errors=True)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()
