"""The published checkpoint files: find them in a folder and read them without running any code."""

import hashlib
import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import torch
from torch import Tensor

from ecgtwin.errors import CheckpointError
from ecgtwin.store.objects import list_names, local_errors, local_path

# What each file is called; letter case does not matter.
FILES = {
    "vae": ("vae_model.pth",),
    "base_extractor": ("ibe_model.pth",),
    "dit": ("ECGTwin_DiT.pth",),
    "unet": ("ECGTwin_Unet.pth",),
    "clip": ("*clip*.pth",),
    "classifier": ("*classif*.pth", "clf*.pth"),
}
EXPECTED = "vae_model.pth, ibe_model.pth, and ECGTwin_DiT.pth or ECGTwin_Unet.pth"
DOWNLOAD_FOLDER = "checkpoints"  # what the published download calls the folder of the files
WRAPPERS = ("state_dict", "model_state_dict", "model")
PARALLEL_PREFIX = "module."
State = Mapping[str, Tensor]
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """What one file holds, its identity, and what had to be unwrapped to get at it."""

    name: str
    num_bytes: int
    sha256: str
    state: State
    notes: tuple[str, ...]


def find_files(source: str) -> dict[str, Path]:
    """Return the published files in the folder ``source``, by role; some roles may be absent.

    Raises CheckpointError where there is no such folder, or where two files fit one role.
    """
    folder = _folder(source)
    names = list_names(str(folder))
    files = {}
    for role, patterns in FILES.items():
        fitting = [name for name in names if _fits(name, patterns)]
        if len(fitting) > 1:
            raise CheckpointError(
                f"{source} holds {' and '.join(fitting)}, either of which could be the {role}; "
                "leave only one of them there"
            )
        if fitting:
            files[role] = folder / fitting[0]
    return files


def needed(source: str) -> str:
    """Return what ``find_files`` needs and what it met in ``source``, for an error message."""
    folder = _folder(source)
    names = list_names(str(folder)) or ["nothing"]
    met = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"needed are {EXPECTED}; {folder} holds {met}"


def _folder(source: str) -> Path:
    """Return ``source``, or the folder in it that the published download puts the files in."""
    with local_errors(source):
        folder = local_path(source)
        if not folder.is_dir():
            found = "is a file" if folder.exists() else "does not exist"
            raise CheckpointError(
                f"{source} {found}; give the folder that holds the published files: {EXPECTED}"
            )
        inner = folder / DOWNLOAD_FOLDER
        has_files = any(name.lower().endswith(".pth") for name in list_names(source))
        return inner if inner.is_dir() and not has_files else folder


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name.lower(), pattern.lower()) for pattern in patterns)


def read_file(path: Path, *, parts: tuple[str, ...] = ()) -> PublishedFile:
    """Read one file of tensors; nothing in it is run.

    With ``parts`` the file holds one state dict per part, whose names get the part's in front.
    Raises CheckpointError where the file is damaged, asks for more than tensors, or holds
    something else.
    """
    with local_errors(str(path)):
        data = path.read_bytes()
    state, notes = _combined(_load(path.name, data), parts, path.name)
    return PublishedFile(
        path.name, len(data), hashlib.sha256(data).hexdigest(), state, tuple(notes)
    )


def _combined(content: object, parts: tuple[str, ...], name: str) -> tuple[State, list[str]]:
    """Return one state of all parts, or the only one, and what was unwrapped for it."""
    content, notes = _unwrapped(content, parts)
    if not parts:
        state, more = _state(content, name)
        return state, notes + more
    if not isinstance(content, Mapping) or not set(parts) <= set(content):
        raise CheckpointError(
            f"{name} holds {_described(content)}; needed is one state dict for each of: "
            f"{', '.join(parts)}"
        )
    if others := _others(content, parts):
        notes.append(f"left aside: {others}")
    whole: dict[str, Tensor] = {}
    for part in parts:
        inner, unwrapped = _unwrapped(content[part], ())
        state, more = _state(inner, f"{name}: {part}")
        whole |= {f"{part}.{key}": value for key, value in state.items()}
        notes += [f"{part}: {note}" for note in unwrapped + more]
    return whole, notes


def _load(name: str, data: bytes) -> object:
    is_safetensors = _is_safetensors(data)
    if is_safetensors or not data.startswith((_ZIP, _PICKLE)):
        kind = "is a safetensors file" if is_safetensors else f"begins with {data[:16]!r}"
        raise CheckpointError(
            f"{name} {kind}, but a file written by torch.save is needed: give the published .pth "
            "file itself, not a conversion, a page or a pointer to it"
        )
    try:
        if data.startswith(_ZIP) and (damaged := zipfile.ZipFile(io.BytesIO(data)).testzip()):
            raise ValueError(f"the checksum of {damaged} is wrong")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wants = re.search(r"GLOBAL ([\w.]+)", str(error))
        fault = f"asks for {wants[1]}" if wants else "is damaged, or asks for something"
        raise CheckpointError(
            f"{name} {fault}, and plain tensors ask for nothing; none of it was run. Give the "
            "published file, or one in which torch.save has put a state dict alone"
        ) from None
    except Exception as error:  # torch.load answers damage with errors of every kind
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(
            f"{name} ({len(data)} bytes) is truncated or damaged"
            f"{f' ({reason})' if reason else ''}; fetch it again"
        ) from None


def _is_safetensors(data: bytes) -> bool:
    """Say whether ``data`` begins as safetensors does: the header's length, then its brace."""
    return len(data) > 8 and int.from_bytes(data[:8], "little") < len(data) and data[8:9] == b"{"


def _unwrapped(content: object, wanted: tuple[str, ...]) -> tuple[object, list[str]]:
    """Take ``content`` out of the dictionaries that trainers put around a state dict."""
    notes: list[str] = []
    for _ in WRAPPERS:
        if not isinstance(content, Mapping) or (wanted and set(wanted) <= set(content)):
            break
        inside = [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if len(inside) != 1:
            break
        others = _others(content, inside)
        notes.append(f"taken out of {inside[0]!r}" + (f"; left aside: {others}" if others else ""))
        content = content[inside[0]]
    return content, notes


def _others(content: Mapping[object, object], taken: Iterable[object]) -> str:
    return ", ".join(sorted(str(key) for key in content.keys() - set(taken)))


def _state(content: object, name: str) -> tuple[State, list[str]]:
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{name} holds {_described(content)}; needed is a state dict")
    strange = [key for key, value in content.items() if not _is_plain(key, value)]
    if strange:
        raise CheckpointError(
            f"{name} holds {_described(content)}; needed is a state dict of plain tensors, and "
            f"{strange[0]!r} is none"
        )
    if all(key.startswith(PARALLEL_PREFIX) for key in content):
        bare = {key.removeprefix(PARALLEL_PREFIX): value for key, value in content.items()}
        return bare, [f"{PARALLEL_PREFIX!r} taken off every name"]
    return content, []


def _is_plain(key: object, value: object) -> bool:
    return (
        isinstance(key, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _described(content: object) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    shown = ", ".join(repr(key) for key in list(content)[:4])
    return f"{len(content)} entries ({shown}{', ...' if len(content) > 4 else ''})"
