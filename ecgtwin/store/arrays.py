"""Arrays in one .npz: without pickle, the same bytes for the same content, damage noticed.

Member ``about`` is JSON as bytes: what the writer says of the arrays, and a digest of them all.
``numpy.load`` opens the file as any other.
"""

import hashlib
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import DamageError

Arrays = dict[str, NDArray[Any]]
_ABOUT = "about"
_DIGEST = "blake2b"
_OLDEST = (1980, 1, 1, 0, 0, 0)  # of a zip file; a true time would change the bytes


def encode_arrays(
    arrays: Mapping[str, NDArray[Any]],
    about: Mapping[str, object],
    *,
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """Return the file's bytes; ``about`` must be JSON-able, ``compression`` is of ``zipfile``."""
    said = {**about, _DIGEST: arrays_digest(arrays)}
    text = json.dumps(said, sort_keys=True, ensure_ascii=False).encode()
    members = {**arrays, _ABOUT: np.frombuffer(text, np.uint8)}
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        for name, values in members.items():
            entry = zipfile.ZipInfo(f"{name}.npy", _OLDEST)
            entry.compress_type = compression
            with file.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(values), allow_pickle=False)
    return sink.getvalue()


def decode_arrays(data: bytes, name: str) -> tuple[Arrays, dict[str, Any]]:
    """Return (arrays, about) of bytes read from ``name``; DamageError where they are not such."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays: Arrays = {member: file[member] for member in file.files}
        about = json.loads(arrays.pop(_ABOUT).tobytes())
        digest = about[_DIGEST]
    except (
        zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, KeyError,
        TypeError, AttributeError, NotImplementedError, RuntimeError, MemoryError, OverflowError,
    ) as error:  # fmt: skip
        said = str(error).partition("\n")[0]
        raise DamageError(f"{name} is damaged: not a file of arrays ({said})") from error
    if digest != arrays_digest(arrays):
        raise DamageError(f"{name} is damaged: its arrays are not those that were written")
    return arrays, about


def arrays_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the hex BLAKE2b-128 digest of names, types, shapes and values, in order of name."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        digest.update(values.data if values.size else b"")
    return digest.hexdigest()
