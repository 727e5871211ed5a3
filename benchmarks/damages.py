"""Ten ways in which a stored cohort comes to harm, on disk or on S3."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle, islice

from ecgtwin.generation.plan_tables import PATIENTS
from ecgtwin.store.layout import SAMPLES, SIGNALS, ledger_name, manifest_name, object_name
from ecgtwin.store.manifest import committed_shards, encode_manifest, read_manifest
from ecgtwin.store.objects import delete_object, join, read_object, replace_object


@dataclass(frozen=True, slots=True)
class Damage:
    """One way: the kind of problem that it makes, and what it does to ``shard`` of a cohort.

    ``harm`` returns the name of the object that is wrong afterwards.
    """

    name: str
    kind: str
    harm: Callable[[str, int], str]
    needs_ledger: bool = False


def _flip(url: str, shard: int) -> str:
    return _changed(url, object_name(shard), _with_flipped_bit)


def _cut(url: str, shard: int) -> str:
    return _changed(url, object_name(shard), lambda data: data[: len(data) // 3])


def _lose_object(url: str, shard: int) -> str:
    return _lost(url, object_name(shard))


def _lose_manifest(url: str, shard: int) -> str:
    return _lost(url, manifest_name(shard))


def _garble_manifest(url: str, shard: int) -> str:
    return _changed(url, manifest_name(shard), lambda data: data[:-20] + bytes(20))


def _edit_manifest(url: str, shard: int) -> str:
    """A manifest as good as any, with the right digests, of which one row is another's."""
    manifest = read_manifest(url, shard)
    rates = list(manifest.columns["heart_rate_bpm"])
    rates[-1] = 61.5 if rates[-1] is None else rates[-1] + 1
    edited = replace(manifest, columns={**manifest.columns, "heart_rate_bpm": rates})
    return _changed(url, manifest_name(shard), lambda data: encode_manifest(edited))


def _lose_ledger(url: str, shard: int) -> str:
    return _lost(url, ledger_name(shard))


def _stray(url: str, shard: int) -> str:
    name = object_name(10**6 + shard)
    replace_object(join(url, name), b"nobody's")
    return name


def _garble_metadata(url: str, shard: int) -> str:
    name = f"{SIGNALS}/{SAMPLES}/zarr.json"
    return _changed(url, name, lambda data: data.replace(b"-32768", b"-32767"))


def _garble_plan(url: str, shard: int) -> str:
    return _changed(url, PATIENTS, _with_flipped_bit)


DAMAGES = (
    Damage("a flipped bit in an object", "object", _flip),
    Damage("an object cut short", "object", _cut),
    Damage("an object deleted", "missing_object", _lose_object),
    Damage("a manifest deleted", "missing_shard", _lose_manifest),
    Damage("a manifest that cannot be read", "manifest", _garble_manifest),
    Damage("a manifest with an edited row", "rows", _edit_manifest),
    Damage("a ledger part deleted", "missing_ledger", _lose_ledger, needs_ledger=True),
    Damage("an object of no shard", "stray", _stray),
    Damage("Zarr metadata that say another fill value", "metadata", _garble_metadata),
    Damage("a flipped bit in a plan table", "plan_table", _garble_plan),
)


def harm_all(url: str) -> list[tuple[Damage, str]]:
    """Harm a complete cohort of ten shards or more in every way, each in a shard of its own.

    Returns each way with the name of the object that is wrong afterwards.
    """
    shards = committed_shards(url)
    with_ledger = next(one for one in shards if read_manifest(url, one).ledger_digest)
    if len(shards) < len(DAMAGES):
        raise ValueError(f"{len(shards)} shards are too few for {len(DAMAGES)} ways of harm")
    others = cycle([one for one in shards if one != with_ledger])
    chosen = list(islice(others, len(DAMAGES)))
    return [
        (one, one.harm(url, with_ledger if one.needs_ledger else shard))
        for one, shard in zip(DAMAGES, chosen, strict=True)
    ]


def _with_flipped_bit(data: bytes) -> bytes:
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


def _changed(url: str, name: str, change: Callable[[bytes], bytes]) -> str:
    before = read_object(join(url, name))
    after = change(before)
    assert after != before, f"{name} was to be changed"
    replace_object(join(url, name), after)
    return name


def _lost(url: str, name: str) -> str:
    read_object(join(url, name))  # it was there
    delete_object(join(url, name))
    return name
