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
    from safetensors.torch import save

    files = {
        name: save({key: value.contiguous() for key, value in sorted(weights[name].items())})
        for name in NETWORKS
    }
    digests = {
        name: hashlib.blake2b(data, digest_size=16).hexdigest() for name, data in files.items()
    }
    identity = {"format": FORMAT, "spec": spec.model_dump(mode="json"), "files": digests}
    digest = digest_of(identity)
    for name, data in files.items():
        put_new(join(url, f"{name}.safetensors"), data)
    document = {**identity, "digest": digest, "provenance": dict(provenance)}
    put_new(join(url, "twin.json"), (json.dumps(document, indent=1) + "\n").encode())
    return digest


def load_checkpoint(url: str) -> TwinCheckpoint:
    """Read a checkpoint and check every digest. Weights come back as fp32.

    Raises CheckpointError naming what is missing or damaged.
    """
    from safetensors.torch import load

    folder = resolve(url)
    try:
        document = json.loads(read_object(join(folder, "twin.json")))
        files = {name: read_object(join(folder, f"{name}.safetensors")) for name in NETWORKS}
    except FileNotFoundError as error:
        raise CheckpointError(
            f"checkpoint {url!r}: {error.filename or error} is missing; "
            f"give a folder that holds twin.json, or a shipped preset ({', '.join(SHIPPED)})"
        ) from None
    except json.JSONDecodeError as error:
        raise CheckpointError(f"checkpoint {url!r}: twin.json is damaged ({error})") from None
    identity = {key: document.get(key) for key in ("format", "spec", "files")}
    if document.get("format") != FORMAT:
        raise CheckpointError(
            f"checkpoint {url!r} has format {document.get('format')}; this version reads {FORMAT}"
        )
    for name, data in files.items():
        found = hashlib.blake2b(data, digest_size=16).hexdigest()
        if found != document["files"][name]:
            raise CheckpointError(
                f"checkpoint {url!r}: {name}.safetensors has digest {found}, twin.json says "
                f"{document['files'][name]}; the file is damaged, fetch the checkpoint again"
            )
    return TwinCheckpoint(
        TwinSpec.parse(document["spec"], origin=f"{url}/twin.json"),
        {
            name: {key: value.float() for key, value in load(data).items()}
            for name, data in files.items()
        },
        document["provenance"],
        digest_of(identity),
    )
