"""A pack: records of a corpus in one file, to train from where the corpus cannot go.

One .npz without pickle. Samples are differences along time of stored steps (wrapping around in 16
bits), made small and positive (0, -1, 1, -2 to 0, 1, 2, 3), low and high bytes apart. Eight leads;
the other four follow from them. Needs numpy alone.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import DamageError, StoreError
from ecgtwin.signals.leads import INDEPENDENT_LEADS, derive_limb_leads
from ecgtwin.store.arrays import Arrays, decode_arrays, encode_arrays
from ecgtwin.store.objects import read_object

SUFFIX = ".npz"
PACK_RATE_HZ = 102.4
COLUMNS = (
    "person", "recording", "window", "visit", "split", "age_years", "sex", "heart_rate_bpm",
    "statements", "certainties",
)  # fmt: skip
_FORMAT = 1
_KIND = "ecgtwin pack"

Steps = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Pack:
    """Rows of a pack: ``columns`` by name, ``steps`` (row, 8, time) of ``step_mv`` each."""

    url: str
    columns: Mapping[str, list[Any]]
    steps: Steps
    step_mv: float
    sampling_rate_hz: float
    digest: str
    corpus_digest: str

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def num_samples(self) -> int:
        """Samples per lead."""
        return int(self.steps.shape[2])

    def rows_of(self, split: str) -> NDArray[np.int64]:
        """Return the rows of a split."""
        return np.flatnonzero(np.asarray(self.columns["split"], dtype=object) == split)

    def samples_mv(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (n, 12, time) in mV; leads that are not in the pack are derived."""
        known = np.multiply(self.steps[rows], np.float32(self.step_mv), dtype=np.float32)
        return derive_limb_leads(known).astype(np.float32, copy=False)


def is_pack(url: str) -> bool:
    """Say whether ``url`` names a pack; anything else is a corpus."""
    return url.endswith(SUFFIX)


def encode_pack(
    steps: Steps,
    columns: Mapping[str, list[Any]],
    *,
    step_mv: float,
    sampling_rate_hz: float,
    corpus_digest: str,
) -> bytes:
    """Return the bytes of a pack of ``steps`` (row, 8, time) and ``COLUMNS``; always the same."""
    _check_columns(columns, len(steps))
    text = json.dumps(dict(columns), separators=(",", ":"), ensure_ascii=False)
    low, high = byte_planes(steps)
    arrays = {"columns": np.frombuffer(text.encode(), np.uint8), "low": low, "high": high}
    about = {
        "kind": _KIND,
        "format": _FORMAT,
        "leads": list(INDEPENDENT_LEADS),
        "step_mv": step_mv,
        "sampling_rate_hz": sampling_rate_hz,
        "corpus": corpus_digest,
    }
    return encode_arrays(arrays, about, compression=zipfile.ZIP_BZIP2)


def read_pack(url: str) -> Pack:
    """Read a pack from a file or URL; StoreError when there is none, DamageError when damaged."""
    try:
        data = read_object(url)
    except FileNotFoundError:
        raise StoreError(f"no pack at {url}; make one with `ecgtwin corpus pack`") from None
    arrays, about = decode_arrays(data, url)
    if (about.get("kind"), about.get("format")) != (_KIND, _FORMAT):
        raise StoreError(f"{url} is no pack that this ecgtwin reads; make it again")
    try:
        columns = json.loads(arrays["columns"].tobytes())
        steps = _steps(arrays)
        _check_columns(columns, len(steps))
        return Pack(
            url=url,
            columns=columns,
            steps=steps,
            step_mv=float(about["step_mv"]),
            sampling_rate_hz=float(about["sampling_rate_hz"]),
            digest=str(about["blake2b"]),
            corpus_digest=str(about["corpus"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise DamageError(f"{url} is damaged: not the content of a pack ({error})") from error


def byte_planes(steps: Steps) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return low and high bytes of the folded differences along time of (row, lead, time)."""
    moves = np.diff(steps, axis=2, prepend=np.int16(0))
    small = ((moves << 1) ^ (moves >> 15)).view(np.uint16)
    return (small & 0xFF).astype(np.uint8), (small >> 8).astype(np.uint8)


def _steps(arrays: Arrays) -> Steps:
    low, high = arrays["low"], arrays["high"]
    fits = low.dtype == high.dtype == np.uint8 and low.shape == high.shape and low.ndim == 3
    if not fits or low.shape[1] != len(INDEPENDENT_LEADS):
        raise ValueError(f"arrays of shape {low.shape} and {high.shape}")
    small = low.astype(np.uint16) | (high.astype(np.uint16) << 8)
    moves = ((small >> 1) ^ -(small & 1).view(np.int16).view(np.uint16)).view(np.int16)
    steps: Steps = np.cumsum(moves, axis=2, dtype=np.int16)
    return steps


def _check_columns(columns: Mapping[str, list[Any]], num_rows: int) -> None:
    lengths = {name: len(columns[name]) for name in columns}
    if tuple(columns) != COLUMNS or set(lengths.values()) - {num_rows}:
        raise ValueError(f"columns {lengths} for {num_rows} rows, {', '.join(COLUMNS)} are needed")
