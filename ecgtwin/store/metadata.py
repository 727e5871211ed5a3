"""The Zarr metadata and coordinates at a URL against those that a layout gives."""

import json

from ecgtwin.store.layout import SIGNALS, SignalLayout
from ecgtwin.store.objects import join, read_object
from ecgtwin.store.zarr_shards import encode_metadata


def metadata_names(layout: SignalLayout) -> set[str]:
    """Return the names, inside the signals, of all objects that are not of a shard."""
    return {name for name, _ in encode_metadata(layout)}


def metadata_faults(url: str, layout: SignalLayout) -> list[tuple[str, str]]:
    """Return (name inside the signals, what is wrong) of each object that is not as it should be.

    JSON counts by what it says: another version of zarr may space it otherwise.
    """
    found = []
    for name, wanted in encode_metadata(layout):
        try:
            data = read_object(join(url, SIGNALS, name))
        except FileNotFoundError:
            found.append((name, "is missing"))
            continue
        if data != wanted and not (name.endswith("zarr.json") and _same_json(data, wanted)):
            found.append((name, "is damaged: it is not what the plan says"))
    return found


def _same_json(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False
