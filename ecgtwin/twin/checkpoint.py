"""What a twin is on disk: safetensors by parameter name, its specification, where it came from.

A checkpoint is a folder (local, ``file://`` or ``s3://``)::

    twin.json              TwinSpec, provenance, digest of every weight file, digest of the whole
    vae.safetensors        one file per network, stored in fp16 or fp32
    base_extractor.safetensors
    denoiser.safetensors
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from torch import Tensor

from ecgtwin.errors import CheckpointError
from ecgtwin.spec.base import digest_of
from ecgtwin.spec.model import TwinSpec
from ecgtwin.store.commit import put_new
from ecgtwin.store.objects import join, read_object

FORMAT = 1
NETWORKS = ("vae", "base_extractor", "denoiser")
SHIPPED = ("tiny",)


@dataclass(frozen=True, slots=True)
class TwinCheckpoint:
    """Specification, weights by network and name, provenance, and the digest of it all."""

    spec: TwinSpec
    weights: Mapping[str, Mapping[str, Tensor]]
    provenance: Mapping[str, object]
    digest: str


def resolve(url: str) -> str:
    """Return the folder of a shipped preset's weights, or ``url`` itself."""
    if url in SHIPPED:
        return str(resources.files("ecgtwin") / "weights" / url)
    return url


def save_checkpoint(
    url: str,
    spec: TwinSpec,
    weights: Mapping[str, Mapping[str, Tensor]],
    *,
    provenance: Mapping[str, object],
) -> str:
    """Write a checkpoint and return its digest. ``twin.json`` is written last: it is the commit.

    Raises CommitConflictError where another checkpoint stands at ``url``.
    """
    digest, objects = encode_checkpoint(spec, weights, provenance=provenance)
    for name, data in objects.items():
        put_new(join(url, name), data)
    return digest


def encode_checkpoint(
    spec: TwinSpec,
    weights: Mapping[str, Mapping[str, Tensor]],
    *,
    provenance: Mapping[str, object],
) -> tuple[str, dict[str, bytes]]:
    """Return the digest of a checkpoint and its objects by name, the commit last."""
    objects = {f"{name}.safetensors": encode_tensors(weights[name]) for name in NETWORKS}
    digests = {name: bytes_digest(objects[f"{name}.safetensors"]) for name in NETWORKS}
    identity = {"format": FORMAT, "spec": spec.model_dump(mode="json"), "files": digests}
    digest, objects["twin.json"] = encode_document(identity, provenance)
    return digest, objects


def encode_tensors(weights: Mapping[str, Tensor]) -> bytes:
    """Return ``weights`` as safetensors."""
    from safetensors.torch import save

    return save({key: value.contiguous() for key, value in sorted(weights.items())})


def encode_document(
    identity: Mapping[str, object], provenance: Mapping[str, object]
) -> tuple[str, bytes]:
    """Return the digest of ``identity``, and it as JSON with digest and provenance."""
    digest = digest_of(identity)
    document = {**identity, "digest": digest, "provenance": dict(provenance)}
    return digest, (json.dumps(document, indent=1) + "\n").encode()


def decode_tensors(data: bytes) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file as they are stored."""
    from safetensors.torch import load

    tensors: dict[str, Tensor] = load(data)
    return tensors


def bytes_digest(data: bytes) -> str:
    """Return the hex BLAKE2b-128 digest of a stored file."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def load_checkpoint(url: str) -> TwinCheckpoint:
    """Read a checkpoint and check every digest. Weights come back as fp32.

    Raises CheckpointError naming what is missing or damaged.
    """
    document = _read_document(url)
    files = {name: _read(url, f"{name}.safetensors") for name in NETWORKS}
    for name, data in files.items():
        found = bytes_digest(data)
        if found != document["files"].get(name):
            raise CheckpointError(
                f"checkpoint {url!r}: {name}.safetensors has digest {found}, twin.json says "
                f"{document['files'].get(name)}; the file is damaged, fetch the checkpoint again"
            )
    return TwinCheckpoint(
        TwinSpec.parse(document["spec"], origin=f"{url}/twin.json"),
        {
            name: {key: value.float() for key, value in decode_tensors(data).items()}
            for name, data in files.items()
        },
        document["provenance"],
        digest_of({key: document[key] for key in ("format", "spec", "files")}),
    )


def untrained_networks(provenance: Mapping[str, object]) -> tuple[str, ...]:
    """Return the networks that a checkpoint's provenance says no training has reached yet."""
    named = provenance.get("untrained", ())
    return tuple(map(str, named)) if isinstance(named, list | tuple) else ()


def check_trained(url: str, provenance: Mapping[str, object]) -> None:
    """Raise CheckpointError for a checkpoint that cannot draw a twin yet."""
    untrained = untrained_networks(provenance)
    if untrained:
        raise CheckpointError(
            f"checkpoint {url!r}: not trained yet: {', '.join(untrained)}; go on with "
            "`ecgtwin train STAGE RECIPE --start-from` this checkpoint"
        )


def read_twin_spec(url: str) -> TwinSpec:
    """Return the specification of a checkpoint without reading its weights.

    Raises CheckpointError where ``twin.json`` is missing or damaged.
    """
    return TwinSpec.parse(_read_document(url)["spec"], origin=f"{url}/twin.json")


def read_provenance(url: str) -> Mapping[str, object]:
    """Return where a checkpoint came from without reading its weights; as ``read_twin_spec``."""
    provenance: Mapping[str, object] = _read_document(url)["provenance"]
    return provenance


def _read(url: str, name: str) -> bytes:
    try:
        return read_object(join(resolve(url), name))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"checkpoint {url!r}: {error.filename or error} is missing; "
            f"give a folder that holds twin.json, or a shipped preset ({', '.join(SHIPPED)})"
        ) from None


def _read_document(url: str) -> dict[str, Any]:
    try:
        document = json.loads(_read(url, "twin.json"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"checkpoint {url!r}: twin.json is damaged ({error})") from None
    if not isinstance(document, dict):
        raise CheckpointError(f"checkpoint {url!r}: twin.json is damaged (no keys and values)")
    if document.get("format") != FORMAT:
        raise CheckpointError(
            f"checkpoint {url!r} has format {document.get('format')}; this version reads {FORMAT}"
        )
    shapes = {"spec": dict, "files": dict, "provenance": dict}
    wrong = [name for name, kind in shapes.items() if not isinstance(document.get(name), kind)]
    if wrong:
        raise CheckpointError(f"checkpoint {url!r}: twin.json is damaged ({', '.join(wrong)})")
    return document
