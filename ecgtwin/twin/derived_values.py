"""Latents and base vectors of a corpus: computed once, kept beside it, found again by digest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgtwin.errors import SpecificationError
from ecgtwin.executors.protocol import Executor, Outcome, one_torch_thread
from ecgtwin.signals.leads import take_leads
from ecgtwin.spec.condition import CardiacCondition, condition_from_columns
from ecgtwin.spec.shard import Shard
from ecgtwin.store.derived import DerivedKey, derived_shards, put_derived, read_derived
from ecgtwin.store.manifest import committed_shards
from ecgtwin.store.objects import is_s3, local_path
from ecgtwin.store.reader import Corpus
from ecgtwin.store.shard_rows import read_accepted
from ecgtwin.twin.checkpoint import SHIPPED, read_twin_spec
from ecgtwin.twin.corpus_text import corpus_encoder, embed_corpus
from ecgtwin.twin.encoding import (
    BASE_VECTORS,
    LATENTS,
    RowsOfCorpus,
    base_vectors_digest,
    base_vectors_of_latents,
    check_fits,
    latents_digest,
    latents_of,
    take_conditions,
)
from ecgtwin.twin.twin import EcgTwin

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EncodeSummary:
    """What came of encoding a corpus; ``failures`` are shards that no try could encode."""

    keys: tuple[DerivedKey, ...]
    num_shards: int
    num_new: int
    num_uncommitted: int
    failures: tuple[Outcome, ...]

    def line(self) -> str:
        """Return the summary in one line."""
        kinds = ", ".join(f"{key.kind} {key.digest}" for key in self.keys)
        waiting = f"; {self.num_uncommitted} not ingested yet" if self.num_uncommitted else ""
        return f"{kinds}: {self.num_shards} shards, {self.num_new} encoded now{waiting}"


class EncodeShard:
    """Work: the values of one shard; loads the twin on its first call in a process."""

    def __init__(self, url: str, checkpoint: str, keys: Sequence[DerivedKey]) -> None:
        self._url, self._keys = _absolute(url), tuple(keys)
        self._checkpoint = checkpoint if checkpoint in SHIPPED else _absolute(checkpoint)
        self._twin: EcgTwin | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_twin": None}

    def __call__(self, shard: Shard) -> int:
        """Encode and commit ``shard``; return how many rows it has."""
        with one_torch_thread():
            if self._twin is None:
                self._twin = self._load()
            return self._encode(self._twin, shard)

    def _load(self) -> EcgTwin:
        twin = load_for(self._url, self._checkpoint)
        if keys_of(twin, self._keys[0].corpus_digest) != self._keys:
            raise SpecificationError(
                f"checkpoint {self._checkpoint!r} is another one here than where the encoding was "
                "started; give a place that every worker sees"
            )
        return twin

    def _encode(self, twin: EcgTwin, shard: Shard) -> int:
        rows, columns, samples_mv = read_accepted(self._url, shard)
        leads = np.ascontiguousarray(take_leads(samples_mv, twin.spec.vae.lead_order), np.float32)
        latents = latents_of(twin, leads)
        for key in self._keys:
            if key.kind == LATENTS:
                put_derived(self._url, key, shard.index, rows, latents.cpu().numpy())
                continue
            places, vectors = _base_vectors(twin, latents, columns)
            put_derived(self._url, key, shard.index, rows[places], vectors.cpu().numpy())
        return len(rows)


def _base_vectors(
    twin: EcgTwin, latents: Tensor, columns: Mapping[str, Sequence[Any]]
) -> tuple[list[int], Tensor]:
    """Return which rows have a base vector, and these: published networks need whole conditions."""
    conditions = [condition_from_columns(columns, place) for place in range(len(latents))]
    places = list(range(len(latents)))
    if twin.spec.base_extractor.tokens.kind == "published":
        places = [place for place in places if _is_whole(conditions[place])]
    if not places:
        return [], torch.zeros(0, twin.spec.base_extractor.base_width)
    batch = twin.condition_batch([conditions[place] for place in places])
    return places, base_vectors_of_latents(twin, latents[places], partial(take_conditions, batch))


def _is_whole(condition: CardiacCondition) -> bool:
    known = condition.heart_rate_bpm is not None and condition.age_years is not None
    return known and condition.sex != "unknown"


@dataclass(frozen=True, slots=True)
class EncodePlan:
    """What is to be encoded: shards that are ingested and have not all values yet."""

    url: str
    checkpoint: str
    keys: tuple[DerivedKey, ...]
    left: tuple[Shard, ...]
    num_committed: int
    num_uncommitted: int


def plan_encoding(url: str, checkpoint: str) -> EncodePlan:
    """Find out what is left to encode; embed the statements first where networks need that.

    ``checkpoint`` is a folder, URL or shipped name. Raises SpecificationError where the corpus
    does not fit the networks.
    """
    spec = read_twin_spec(checkpoint)
    corpus = Corpus(url)
    check_fits(url, corpus.layout.num_samples, corpus.layout.sampling_rate_hz, spec)
    if spec.text.kind != "hashed":
        embed_corpus(url, spec.text)
    keys = keys_of(load_for(url, checkpoint), str(corpus.description["digest"]))
    shards = corpus.layout.shards()
    committed = set(committed_shards(url))
    done = set.intersection(*(derived_shards(url, key) for key in keys))
    return EncodePlan(
        url,
        checkpoint,
        keys,
        tuple(shard for shard in shards if shard.index in committed - done),
        num_committed=len(committed),
        num_uncommitted=len(shards) - len(committed),
    )


def encode_corpus(
    plan: EncodePlan,
    *,
    executor: Executor,
    on_shard: Callable[[Outcome], None] = lambda outcome: None,
) -> EncodeSummary:
    """Store what ``plan`` leaves to do, shard by shard. Killed, it goes on where it was."""
    failures = []
    for outcome in executor.run(EncodeShard(plan.url, plan.checkpoint, plan.keys), plan.left):
        if outcome.error is not None:
            failures.append(outcome)
        on_shard(outcome)
    return EncodeSummary(
        plan.keys,
        num_shards=plan.num_committed,
        num_new=len(plan.left) - len(failures),
        num_uncommitted=plan.num_uncommitted,
        failures=tuple(failures),
    )


def load_for(url: str, checkpoint: str) -> EcgTwin:
    """Load a twin that takes from the corpus at ``url`` the statements embedded there."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    twin = EcgTwin.load(checkpoint, device=device)
    twin.text_encoder = corpus_encoder([url], twin.spec.text)
    return twin


def keys_of(twin: EcgTwin, corpus_digest: str) -> tuple[DerivedKey, ...]:
    """Return under what the values of ``twin`` are kept."""
    digests = {LATENTS: latents_digest(twin), BASE_VECTORS: base_vectors_digest(twin)}
    return tuple(
        DerivedKey(kind, digest, corpus_digest) for kind, digest in digests.items() if digest
    )


def stored_values(
    origins: Sequence[RowsOfCorpus], kind: str, digest: str | None
) -> tuple[NDArray[np.bool_], Values | None]:
    """Return which rows of ``origins``, one after the other, have values (n,), and (n, ...).

    None instead of an array where none of them has.
    """
    parts = []
    for origin in origins:
        key = DerivedKey(kind, digest or "", origin.corpus_digest)
        parts.append(
            (
                origin,
                *read_derived(origin.url, key, origin.rows, rows_per_shard=origin.rows_per_shard),
            )
            if digest
            else (origin, np.zeros(len(origin.rows), bool), None)
        )
    has_value = np.concatenate([has for _, has, _ in parts] or [np.zeros(0, bool)])
    shapes = {values.shape[1:] for _, _, values in parts if values is not None}
    if not shapes:
        return has_value, None
    (shape,) = shapes
    filled = [
        np.empty((len(origin.rows), *shape), np.float32) if values is None else values
        for origin, _, values in parts
    ]
    return has_value, filled[0] if len(filled) == 1 else np.concatenate(filled)


def _absolute(url: str) -> str:
    return url if is_s3(url) else str(local_path(url).absolute())
