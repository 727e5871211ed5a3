"""Re-hash everything that was committed and compare with what manifests and plan say."""

import json
from typing import Any

from ecgtwin.errors import DamageError
from ecgtwin.store.blocks import block_name, read_arrow_blocks
from ecgtwin.store.corpus_tables import check_tables, read_complete
from ecgtwin.store.layout import (
    PLAN_COLUMNS,
    PLAN_TABLE,
    SignalLayout,
    ledger_name,
    manifest_name,
    object_name,
)
from ecgtwin.store.manifest import Manifest, committed_shards, digest_bytes, read_whole_manifest
from ecgtwin.store.objects import join, read_if_there, read_object
from ecgtwin.store.zarr_shards import read_layout

# Where the digest stands that every manifest must repeat.
_PLANS = (("cohort.json", "plan_digest"), ("corpus.json", "digest"))


def verify(url: str) -> list[str]:
    """Return one line per thing that is wrong at ``url``; an empty list means all is well.

    Shards that are not committed are not wrong. Raises StoreError when the store cannot be
    reached or holds no signals at all.
    """
    try:
        layout = read_layout(url)
        plan_digest = _plan_digest(url)
    except DamageError as error:
        return [str(error)]
    problems = [
        problem
        for index in committed_shards(url)
        for problem in _check(url, layout, plan_digest, index)
    ]
    return problems + _check_corpus(url)


def _plan_digest(url: str) -> str | None:
    """Return the digest that the manifests must bear; None where no description is there."""
    for name, key in _PLANS:
        target = join(url, name)
        try:
            data = read_object(target)
        except FileNotFoundError:
            continue
        try:
            found = json.loads(data)
            return None if found.get(key) is None else str(found[key])
        except (ValueError, AttributeError) as error:
            raise DamageError(f"{target} is damaged: it is no description ({error})") from error
    return None


def _check_corpus(url: str) -> list[str]:
    """Return what is wrong with the plan and the tables that a corpus has beside its signals."""
    try:
        complete = read_complete(url)
        digests = _description(join(url, "corpus.json")).get("plan_blocks", [])
    except DamageError as error:
        return [str(error)]
    problems = []
    for index, digest in enumerate(digests):
        target = join(url, block_name(PLAN_TABLE, index))
        try:
            read_arrow_blocks([target], PLAN_COLUMNS, digests=[digest])
        except FileNotFoundError:
            problems.append(f"{target} is missing, but the ingest was planned")
        except DamageError as error:
            problems.append(str(error))
    if complete:
        there = set(committed_shards(url))
        problems += [
            f"{join(url, manifest_name(shard.index))} is missing, but the corpus is finished"
            for shard in read_layout(url).shards()
            if shard.index not in there
        ]
    return problems + list(check_tables(url, complete) if complete else ())


def _description(target: str) -> dict[str, Any]:
    data = read_if_there(target)
    if data is None:
        return {}
    try:
        found = json.loads(data)
    except ValueError:
        return {}  # said where the digest is looked for
    return found if isinstance(found, dict) else {}


def _check(url: str, layout: SignalLayout, plan_digest: str | None, index: int) -> list[str]:
    try:
        manifest, _ = read_whole_manifest(url, index)
    except FileNotFoundError:
        return [f"{join(url, manifest_name(index))} disappeared while it was checked"]
    except DamageError as error:
        return [str(error)]
    return [
        *_check_place(url, layout, manifest),
        *_check_plan(url, plan_digest, manifest),
        *_check_part(url, object_name(index), manifest.object_digest),
        *(
            _check_part(url, ledger_name(index), manifest.ledger_digest)
            if manifest.ledger_digest
            else ()
        ),
    ]


def _check_place(url: str, layout: SignalLayout, manifest: Manifest) -> list[str]:
    shards = layout.shards()
    index = manifest.shard.index
    fits = index < len(shards) and shards[index] == manifest.shard
    if fits and manifest.object_name == object_name(index):
        return []
    return [f"{join(url, manifest_name(index))} does not fit the signals: {manifest.shard}"]


def _check_plan(url: str, plan_digest: str | None, manifest: Manifest) -> list[str]:
    if plan_digest is None or manifest.plan_digest == plan_digest:
        return []
    name = join(url, manifest_name(manifest.shard.index))
    return [f"{name} is of plan {manifest.plan_digest or 'none'}, not of plan {plan_digest}"]


def _check_part(url: str, name: str, digest: str) -> list[str]:
    target = join(url, name)
    try:
        found = digest_bytes(read_object(target))
    except FileNotFoundError:
        return [f"{target} is missing, but its shard is committed"]
    return [] if found == digest else [f"{target} has digest {found}, its manifest says {digest}"]
