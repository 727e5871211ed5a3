"""Text vectors beside a corpus: made once, read by machines without the encoder.

``text/<encoder>/<texts>.parquet``: one file per run that met new texts; a reader joins them.
"""

import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ecgtwin.errors import DamageError, StoreError
from ecgtwin.store.commit import put_new
from ecgtwin.store.objects import join, list_names, read_objects
from ecgtwin.store.tables import encode_table

Vectors = NDArray[np.float32]


def text_folder(identity: str) -> str:
    """Return where, inside a corpus, the vectors of the encoder ``identity`` are."""
    words = re.sub(r"[^a-z0-9.]+", "-", identity.lower()).strip("-")[:80]
    return f"text/{words}-{_digest([identity])}"


def put_text_vectors(url: str, identity: str, texts: Sequence[str], vectors: Vectors) -> str:
    """Commit vectors (n, width) of ``n`` different texts; return the URL of the table.

    Nothing is overwritten: CommitConflictError when the same texts have other vectors there.
    """
    if len(set(texts)) != len(texts) or not texts or vectors.shape[:1] != (len(texts),):
        raise StoreError(
            f"{len(texts)} texts, {len(set(texts))} of them different, and vectors of shape "
            f"{vectors.shape} make no table; give each text once, with its vector"
        )
    order = sorted(range(len(texts)), key=texts.__getitem__)
    names = [texts[position] for position in order]
    numbers = np.ascontiguousarray(vectors[order], dtype=np.float32)
    table = pa.table(
        {
            "text": pa.array(names, pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(
                pa.array(numbers.reshape(-1)), numbers.shape[1]
            ),
        }
    )
    target = join(url, text_folder(identity), f"{_digest(names)}.parquet")
    put_new(target, encode_table(table, {"identity": identity}))
    return target


def read_text_vectors(url: str, identity: str) -> dict[str, Vectors]:
    """Return text -> vector (width,) of everything that ``identity`` embedded beside ``url``.

    Empty where nothing was; DamageError where a table cannot be read or is another encoder's.
    """
    folder = join(url, text_folder(identity))
    targets = [join(folder, name) for name in list_names(folder) if name.endswith(".parquet")]
    found: dict[str, Vectors] = {}
    for target, data in zip(targets, read_objects(targets), strict=True):
        found.update(_decode(data, target, identity))
    return found


def _decode(data: bytes, target: str, identity: str) -> Iterator[tuple[str, Vectors]]:
    try:
        table = pq.read_table(io.BytesIO(data), use_threads=False)
        names = table.column("text").to_pylist()
        column = table.column("vector").combine_chunks()
        numbers = column.flatten().to_numpy().reshape(len(names), column.type.list_size)
    except (pa.ArrowException, OSError, ValueError, KeyError, AttributeError) as error:
        raise DamageError(
            f"{target} is damaged: not a table of text vectors ({str(error).splitlines()[0]}); "
            "delete it and embed the corpus again"
        ) from error
    bearer = _identity_in(table.schema.metadata)
    if bearer != identity:
        raise DamageError(f"{target} holds vectors of {bearer}, not of {identity}; delete it")
    return zip(names, numbers, strict=True)


def _identity_in(metadata: Mapping[bytes, bytes] | None) -> str:
    return (metadata or {}).get(b"identity", b"an unnamed encoder").decode()


def _digest(texts: Sequence[str]) -> str:
    text = "\0".join(texts)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
