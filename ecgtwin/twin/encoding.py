"""Recordings to latents and base vectors, block by block, and the digests by which they are known.

A digest covers exactly what makes the values: specification and weights of the VAE; for base
vectors also those of the base extractor, and the text encoder. Axes: B row, L lead, T sample,
C channel, F frame, W width.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgtwin.errors import SpecificationError
from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.models.text_encoder import needed_identity
from ecgtwin.spec.base import digest_of
from ecgtwin.spec.model import TwinSpec
from ecgtwin.twin.twin import EcgTwin

BLOCK_ROWS = 256
LATENTS, BASE_VECTORS = "latents", "base-vectors"


@dataclass(frozen=True, slots=True)
class RowsOfCorpus:
    """Where something was read: ``rows`` (n,) of the corpus at ``url``."""

    url: str
    corpus_digest: str
    rows_per_shard: int
    rows: NDArray[np.int64]


@torch.no_grad()
def latents_of(twin: EcgTwin, samples_BLT: NDArray[np.float32]) -> Tensor:
    """Return latents (B, C, F) of the network's leads in mV."""
    blocks = [
        twin.vae.encode(torch.from_numpy(samples_BLT[block]).to(twin.device))
        for block in _blocks(len(samples_BLT))
    ]
    return torch.cat(blocks) if blocks else torch.zeros(0, *twin.latent_shape, device=twin.device)


@torch.no_grad()
def base_vectors_of_latents(
    twin: EcgTwin, latents_BCF: Tensor, conditions_at: Callable[[slice], ConditionBatch]
) -> Tensor:
    """Return base vectors (B, W); ``conditions_at`` gives the recordings' own, of some rows."""
    width = twin.spec.base_extractor.base_width
    blocks = [
        twin.base_extractor(latents_BCF[block], conditions_at(block))
        for block in _blocks(len(latents_BCF))
    ]
    return torch.cat(blocks) if blocks else torch.zeros(0, width, device=twin.device)


def take_conditions(conditions: ConditionBatch, rows: slice | Tensor) -> ConditionBatch:
    """Return the conditions of ``rows``."""
    return ConditionBatch(*(getattr(conditions, item.name)[rows] for item in fields(conditions)))


def latents_digest(twin: EcgTwin) -> str:
    """Return the digest by which latents of ``twin`` are known."""
    return digest_of({"vae": twin.spec.vae.model_dump(mode="json"), "weights": _weights(twin.vae)})


def base_vectors_digest(twin: EcgTwin) -> str | None:
    """Return the digest by which base vectors of ``twin`` are known, None where none can be kept.

    With ``reference_mask`` a vector depends on the padding, so on the others in its batch.
    """
    spec = twin.spec
    if spec.base_extractor.reference_mask:
        return None
    return digest_of(
        {
            "latents": latents_digest(twin),
            "base_extractor": spec.base_extractor.model_dump(mode="json"),
            "in_words": "published" in (spec.base_extractor.tokens.kind, spec.denoiser.tokens.kind),
            "text": needed_identity(spec.text),
            "weights": _weights(twin.base_extractor),
        }
    )


def check_fits(url: str, num_samples: int, sampling_rate_hz: float, spec: TwinSpec) -> None:
    """Raise SpecificationError unless recordings are of the networks' length and rate."""
    found, wanted = (num_samples, sampling_rate_hz), (spec.vae.num_samples, spec.sampling_rate_hz)
    if found != wanted:
        raise SpecificationError(
            f"corpus {url} has {found[0]} samples at {found[1]} Hz, preset "
            f"{spec.preset!r} needs {wanted[0]} at {wanted[1]}; ingest it at that rate"
        )


def _weights(network: nn.Module) -> str:
    """Return a digest of names, types, shapes and values of all parameters and buffers."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(network.state_dict().items()):
        numbers = np.ascontiguousarray(value.detach().cpu().float().numpy())
        digest.update(f"{name} {numbers.shape}\n".encode())
        digest.update(numbers.tobytes())
    return digest.hexdigest()


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK_ROWS) for start in range(0, count, BLOCK_ROWS))
