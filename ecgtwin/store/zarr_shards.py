"""Zarr in memory: a shard's object as bytes, the metadata as bytes, and arrays opened to read."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import Buffer
from zarr.storage import FsspecStore, LocalStore, MemoryStore

from ecgtwin.errors import DamageError, StoreError
from ecgtwin.signals.leads import LEADS
from ecgtwin.spec.storage import CodecSpec
from ecgtwin.store.layout import FORMAT_VERSION, SAMPLES, SIGNALS, SignalLayout
from ecgtwin.store.objects import is_s3, join, local_path, read_object
from ecgtwin.store.s3 import S3Location, filesystem


def encode_shard(layout: SignalLayout, stored: NDArray[np.int16]) -> bytes:
    """Return the object of a shard holding ``stored`` (rows, 12, time); the same bytes each time.

    A short last shard is padded with fill. Blosc runs without threads: with them its bytes vary.
    """
    objects: dict[str, Buffer] = {}
    array = zarr.create_array(MemoryStore(objects), **layout.array_settings(len(stored)))
    array[:] = stored
    return objects[f"{SAMPLES}/c/0/0/0"].to_bytes()


def encode_metadata(layout: SignalLayout) -> list[tuple[str, bytes]]:
    """Return the objects of an empty ``signals.zarr`` in the order to put them.

    The array's own metadata come last: where they are, everything is.
    """
    objects: dict[str, Buffer] = {}
    attributes = {
        "title": "Twelve-lead ECGs",
        "ecgtwin_format_version": FORMAT_VERSION,
        "sampling_rate_hz": layout.sampling_rate_hz,
    }
    group = zarr.create_group(MemoryStore(objects), attributes=attributes)
    group.create_array(**layout.array_settings(layout.num_rows))
    time = np.arange(layout.num_samples) / layout.sampling_rate_hz
    group.create_array(
        "time", data=time, dimension_names=("time",), compressors=None, attributes={"units": "s"}
    )
    # Variable-length UTF-8: the one string type of Zarr v3 that zarr writes without a warning.
    leads = np.array(LEADS, dtype=np.dtypes.StringDType())
    group.create_array("lead", data=leads, dimension_names=("lead",), compressors=None)
    last = f"{SAMPLES}/zarr.json"
    names = sorted(objects, key=lambda name: (name == last, name))
    return [(name, objects[name].to_bytes()) for name in names]


def read_layout(url: str) -> SignalLayout:
    """Return the layout of the signals at ``url``. StoreError when there are none."""
    name = join(url, SIGNALS, SAMPLES, "zarr.json")
    try:
        texts = [read_object(name), read_object(join(url, SIGNALS, "zarr.json"))]
    except FileNotFoundError:
        raise StoreError(
            f"{url} holds no cohort or corpus ({name} is not there); check the URL"
        ) from None
    try:
        samples, group = map(json.loads, texts)
    except ValueError as error:
        raise DamageError(f"{name} is damaged: it is not JSON ({error})") from error
    try:
        version = group["attributes"]["ecgtwin_format_version"]
        if version != FORMAT_VERSION:
            raise StoreError(
                f"{url} has format version {version}; this ecgtwin reads {FORMAT_VERSION}"
            )
        sharding = samples["codecs"][0]["configuration"]
        return SignalLayout(
            num_rows=samples["shape"][0],
            num_samples=samples["shape"][2],
            sampling_rate_hz=float(group["attributes"]["sampling_rate_hz"]),
            rows_per_shard=samples["chunk_grid"]["configuration"]["chunk_shape"][0],
            rows_per_chunk=sharding["chunk_shape"][0],
            step_mv=float(samples["attributes"]["scale_factor"]),
            codec=_codec(name, sharding["codecs"]),
        )
    except (KeyError, IndexError, TypeError) as error:
        raise DamageError(f"{name} is damaged: {error!r} is missing") from error


def _codec(name: str, codecs: Sequence[Mapping[str, Any]]) -> CodecSpec:
    """Return what compresses the chunks of the array that ``name`` describes."""
    blosc: Mapping[str, Any] = next(
        (one["configuration"] for one in codecs if one["name"] == "blosc"), {}
    )
    try:
        return CodecSpec(name=blosc["cname"], level=blosc["clevel"], shuffle=blosc["shuffle"])
    except ValueError as error:  # of pydantic
        raise StoreError(
            f"{name}: chunks are compressed as {json.dumps(blosc)}, which is no CodecSpec of this "
            "ecgtwin; read them with zarr itself, or with the ecgtwin that wrote them"
        ) from error


def open_samples(url: str) -> Any:  # noqa: ANN401  (zarr.Array, int16)
    """Open ``samples_mv`` of the signals at ``url`` for reading stored steps."""
    root = join(url, SIGNALS)
    store: FsspecStore | LocalStore
    if is_s3(url):
        place = S3Location.of(root)
        store = FsspecStore(
            filesystem(asynchronous=True), read_only=True, path=f"{place.bucket}/{place.key}"
        )
    else:
        store = LocalStore(local_path(root), read_only=True)
    return zarr.open_array(store, path=SAMPLES, mode="r", zarr_format=3)
