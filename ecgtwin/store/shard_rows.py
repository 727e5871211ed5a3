"""The usable rows of one committed shard: a worker reads these, never the whole corpus."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import DamageError
from ecgtwin.spec.shard import Shard
from ecgtwin.store.layout import FILL, object_name
from ecgtwin.store.manifest import read_manifest
from ecgtwin.store.objects import join, store_errors
from ecgtwin.store.reader import to_mv
from ecgtwin.store.zarr_shards import open_samples


def read_accepted(
    url: str, shard: Shard
) -> tuple[NDArray[np.int64], dict[str, list[Any]], NDArray[np.float32]]:
    """Return row numbers, columns as the manifest has them, and samples (n, 12, time) in mV.

    FileNotFoundError when the shard is not committed, DamageError when it is not what it was.
    """
    manifest = read_manifest(url, shard.index)
    accepted = np.flatnonzero(np.asarray(manifest.columns["accepted"], dtype=bool))
    columns = {
        name: [values[place] for place in accepted] for name, values in manifest.columns.items()
    }
    name = join(url, object_name(shard.index))
    with store_errors(url):
        try:
            array = open_samples(url)
            steps: NDArray[np.int16] = array[shard.start : shard.stop]
        except (ValueError, RuntimeError) as error:  # a checksum, or Blosc, refuses the bytes
            raise DamageError(f"{name} is damaged: {error}; ingest it again") from error
    steps = steps[accepted]
    if (steps == FILL).any():
        raise DamageError(f"{name} is damaged: it is missing or incomplete; ingest it again")
    return shard.start + accepted, columns, to_mv(steps, step_mv=array.attrs["scale_factor"])
