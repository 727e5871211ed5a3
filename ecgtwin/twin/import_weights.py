"""Import the checkpoints published with arXiv 2508.02720: read, check everything, then write.

Nothing is written unless every file is whole and every tensor has its place.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ecgtwin.errors import CheckpointError, CommitConflictError, SpecificationError
from ecgtwin.spec.model import TwinSpec
from ecgtwin.spec.presets import preset
from ecgtwin.store.commit import put_new
from ecgtwin.store.objects import join, read_object
from ecgtwin.twin.checkpoint import NETWORKS, SHIPPED, bytes_digest, encode_checkpoint
from ecgtwin.twin.evaluation_networks import SPECS, encode_network, path_of, untrained
from ecgtwin.twin.key_table import KeyTable, Wanted
from ecgtwin.twin.published_files import FILES, PublishedFile, find_files, needed, read_file
from ecgtwin.twin.published_keys import BASE_EXTRACTOR, CLASSIFIER, CLIP, DIT, UNET, VAE
from ecgtwin.twin.twin import EcgTwin

Backbone = Literal["dit", "unet"]

REFERENCE = "Lai et al. 2025, ECGTwin, arXiv 2508.02720"
PRESETS: dict[Backbone, str] = {"dit": "paper", "unet": "paper-unet"}
DENOISERS: dict[Backbone, KeyTable] = {"dit": DIT, "unet": UNET}
TABLES = {"vae": VAE, "base_extractor": BASE_EXTRACTOR, "clip": CLIP, "classifier": CLASSIFIER}
PARTS = {"vae": ("encoder", "decoder")}
_ADVICE = (
    "nothing was written; give the files as published, each under its own name (those of the "
    "evaluation networks may be left out)"
)
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")

State = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class ImportedNetwork:
    """One network, and the file that it came from."""

    name: str
    file: str
    num_tensors: int  # as published
    num_parameters: int  # as published, without running statistics
    digest: str  # of the weights as written


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What was imported, what was not there, and what had to be unwrapped."""

    url: str
    spec: TwinSpec
    digest: str
    networks: tuple[ImportedNetwork, ...]
    absent: tuple[str, ...]
    notes: tuple[str, ...]


def import_weights(
    source: str, url: str, *, backbone: Backbone | None = None, reference_mask: bool = False
) -> ImportSummary:
    """Write the published files in the folder ``source`` as a checkpoint at ``url``.

    ``backbone`` is needed where files of both are there. ``reference_mask`` keeps the published
    fault of the base extractor, by which padded tokens take part. The same call again changes
    nothing. Raises CheckpointError with every fault of every file, or CommitConflictError where
    something else stands at ``url``; then nothing was written.
    """
    _check_vacant(url)
    files = find_files(source)
    chosen = _backbone(source, files, backbone)
    spec = _specification(chosen, reference_mask=reference_mask)
    read = _read(source, files, chosen)
    states = _translated(read, spec, TABLES | {"denoiser": DENOISERS[chosen]})
    objects: dict[str, bytes] = {}
    for name in (name for name in SPECS if name in read):
        origin = _provenance({name: read[name]})
        objects |= encode_network(name, states[name], provenance=origin)
    origin = _provenance({name: read[name] for name in NETWORKS})
    digest, checkpoint = encode_checkpoint(spec, states, provenance=origin)
    objects |= checkpoint  # twin.json is the last
    _write(url, objects)
    return ImportSummary(
        url,
        spec,
        digest,
        tuple(_imported(name, file, objects) for name, file in read.items()),
        tuple(name for name in SPECS if name not in read),
        tuple(f"{file.name}: {note}" for file in read.values() for note in file.notes),
    )


def _backbone(source: str, files: Mapping[str, Path], asked: Backbone | None) -> Backbone:
    there: list[Backbone] = [name for name in PRESETS if name in files]
    if asked is None and len(there) == 2:
        names = " and ".join(files[name].name for name in there)
        raise SpecificationError(
            f"{source} holds {names}; say which is to be the denoiser: --denoiser dit or "
            "--denoiser unet"
        )
    return asked or (there[0] if there else "dit")


def _specification(backbone: Backbone, *, reference_mask: bool) -> TwinSpec:
    spec = preset(PRESETS[backbone])
    extractor = spec.base_extractor.model_copy(update={"reference_mask": reference_mask})
    return spec.model_copy(update={"base_extractor": extractor})


def _read(source: str, files: Mapping[str, Path], backbone: Backbone) -> dict[str, PublishedFile]:
    roles = {"vae": "vae", "base_extractor": "base_extractor", "denoiser": backbone}
    lacking = [FILES[role][0] for role in roles.values() if role not in files]
    if lacking:
        raise CheckpointError(f"{source} lacks {', '.join(lacking)}; {needed(source)}")
    roles |= {name: name for name in SPECS if name in files}
    return {name: read_file(files[role], parts=PARTS.get(name, ())) for name, role in roles.items()}


def _translated(
    read: Mapping[str, PublishedFile], spec: TwinSpec, tables: Mapping[str, KeyTable]
) -> dict[str, dict[str, Tensor]]:
    """Return the states under our names; raise CheckpointError with all faults of all files."""
    twin = EcgTwin.untrained(spec, seed=0)
    faults: list[str] = []
    states = {}
    for name, file in read.items():
        network = twin.get_submodule(name) if name in NETWORKS else untrained(name)
        ours, table = network.state_dict(), tables[name]
        wanted = table.wanted(ours)
        found = _faults(file.state, wanted)
        fitting = len(wanted.keys() & file.state.keys())
        if 2 * fitting < len(wanted):
            faults.append(
                f"{file.name} is not the published {name}: it has {fitting} of the {len(wanted)} "
                f"tensors of that network, and begins with {next(iter(file.state))}"
            )
        elif found:
            faults.append(f"{file.name} is not the published {name} ({len(found)} faults):")
            faults += [f"{file.name}: {fault}" for fault in found]
        else:
            states[name] = table.filled(ours, file.state)
    if faults:
        raise CheckpointError("\n".join([*faults, _ADVICE]))
    return states


def _faults(found: State, wanted: Mapping[str, Wanted]) -> list[str]:
    """Return one line for each tensor that is missing, unexpected or not what it has to be."""
    missing = [f"{key} {want.shape} is missing" for key, want in wanted.items() if key not in found]
    unexpected = [
        f"{key} {tuple(tensor.shape)} is not a tensor of this network"
        for key, tensor in found.items()
        if key not in wanted
    ]
    wrong = [
        f"{key} {fault}"
        for key, want in wanted.items()
        if key in found
        for fault in _mismatches(found[key], want)
    ]
    return missing + unexpected + wrong


def _mismatches(tensor: Tensor, want: Wanted) -> list[str]:
    faults = []
    if tuple(tensor.shape) != want.shape:
        faults.append(f"has shape {tuple(tensor.shape)}, needed is {want.shape}")
    if tensor.dtype != want.dtype:
        found, other = (str(one).removeprefix("torch.") for one in (tensor.dtype, want.dtype))
        faults.append(f"holds {found}, needed is {other}")
    if not faults and not bool(tensor.sum(dtype=torch.float64).isfinite()):
        faults.append("holds values that are no finite numbers")
    return faults


def _provenance(read: Mapping[str, PublishedFile]) -> dict[str, object]:
    return {
        "made_by": "ecgtwin import-weights",
        "reference": REFERENCE,
        "sources": {
            name: {"file": file.name, "bytes": file.num_bytes, "sha256": file.sha256}
            for name, file in read.items()
        },
        "unwrapped": [f"{file.name}: {note}" for file in read.values() for note in file.notes],
        "versions": {name: version(name) for name in ("ecgtwin", "torch", "safetensors")},
    }


def _check_vacant(url: str) -> None:
    if url in SHIPPED:
        raise CheckpointError(
            f"{url!r} is the name of shipped weights and would be loaded as those; write ./{url}"
        )
    for kind in ("corpus", "cohort"):
        if _stored(join(url, f"{kind}.json")) is not None:
            raise CommitConflictError(f"{url} holds a {kind}; choose another URL")


def _write(url: str, objects: Mapping[str, bytes]) -> None:
    """Put what is not there yet; raise CommitConflictError, before, where other bytes are."""
    there = {name: _stored(join(url, name)) for name in objects}
    differing = [
        name
        for name, found in there.items()
        if found is not None and not _is_same(found, objects[name])
    ]
    if differing:
        raise CommitConflictError(
            f"{url} holds another checkpoint ({', '.join(sorted(differing))} differ); nothing was "
            "changed: choose another URL"
        )
    for name, data in objects.items():
        if there[name] is None:
            put_new(join(url, name), data)


def _stored(url: str) -> bytes | None:
    try:
        return read_object(url)
    except FileNotFoundError:
        return None


def _is_same(found: bytes, data: bytes) -> bool:
    """Say whether two objects are equal, whatever versions wrote them."""
    if found == data:
        return True
    try:
        documents = [json.loads(one) for one in (found, data)]
        for document in documents:
            del document["provenance"]["versions"]
    except (ValueError, KeyError, TypeError):
        return False
    return bool(documents[0] == documents[1])


def _imported(name: str, file: PublishedFile, objects: Mapping[str, bytes]) -> ImportedNetwork:
    written = f"{name}.safetensors" if name in NETWORKS else path_of(name)
    learnt = (tensor.numel() for key, tensor in file.state.items() if not key.endswith(_STATISTICS))
    digest = bytes_digest(objects[written])
    return ImportedNetwork(name, file.name, len(file.state), sum(learnt), digest)
