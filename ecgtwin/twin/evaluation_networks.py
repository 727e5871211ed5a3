"""The published networks that score ECGs, beside a twin's checkpoint.

``evaluation/`` inside the checkpoint's folder holds, for each of them::

    clip.safetensors       the weights
    clip.json              what it is, digest of the weights, where they came from
"""

import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ecgtwin.errors import CheckpointError
from ecgtwin.models.published.classifier import DiagnosisClassifier
from ecgtwin.models.published.clip import EcgTextClip
from ecgtwin.store.objects import join, read_object
from ecgtwin.twin.checkpoint import bytes_digest, decode_tensors, encode_document, encode_tensors

FOLDER = "evaluation"
FORMAT = 1
NUM_CLASSES = 2  # normal and abnormal
SPECS: dict[str, Mapping[str, object]] = {
    "clip": {"network": "clip"},
    "classifier": {"network": "classifier", "num_classes": NUM_CLASSES},
}


def untrained(name: str) -> nn.Module:
    """Return the network called ``name`` at values that mean nothing yet."""
    with torch.random.fork_rng(devices=[]):
        return EcgTextClip() if name == "clip" else DiagnosisClassifier(NUM_CLASSES)


def path_of(name: str) -> str:
    """Return where the weights of the network called ``name`` lie inside the checkpoint."""
    return f"{FOLDER}/{name}.safetensors"


def encode_network(
    name: str, weights: Mapping[str, Tensor], *, provenance: Mapping[str, object]
) -> dict[str, bytes]:
    """Return the objects of one network by name, its JSON last."""
    data = encode_tensors(weights)
    identity = {"format": FORMAT, "spec": SPECS[name], "file": bytes_digest(data)}
    _, document = encode_document(identity, provenance)
    return {path_of(name): data, f"{FOLDER}/{name}.json": document}


def load_clip(url: str, *, device: str = "cpu") -> EcgTextClip:
    """Load the ECG-text CLIP that was imported with the checkpoint at ``url``.

    Raises CheckpointError where it is missing or damaged.
    """
    clip = EcgTextClip()
    _fill(clip, url, "clip")
    return clip.to(device).eval().requires_grad_(False)


def load_classifier(url: str, *, device: str = "cpu") -> DiagnosisClassifier:
    """Load the diagnosis classifier that was imported with the checkpoint at ``url``.

    Raises CheckpointError where it is missing or damaged.
    """
    classifier = DiagnosisClassifier(NUM_CLASSES)
    _fill(classifier, url, "classifier")
    return classifier.to(device).eval().requires_grad_(False)


def _fill(network: nn.Module, url: str, name: str) -> None:
    folder = join(url, FOLDER)
    try:
        document = json.loads(read_object(join(folder, f"{name}.json")))
        data = read_object(join(folder, f"{name}.safetensors"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{url!r} has no {name}: {error.filename or error} is missing; import the published "
            "weights again with its file among them (`ecgtwin import-weights`)"
        ) from None
    except ValueError as error:
        raise CheckpointError(f"{folder}/{name}.json is damaged ({error})") from None
    if document.get("format") != FORMAT or document.get("spec") != SPECS[name]:
        raise CheckpointError(
            f"{folder}/{name}.json describes format {document.get('format')} of "
            f"{document.get('spec')}; this version reads {FORMAT} of {SPECS[name]}"
        )
    if bytes_digest(data) != document.get("file"):
        raise CheckpointError(
            f"{folder}/{name}.safetensors has digest {bytes_digest(data)}, {name}.json says "
            f"{document.get('file')}; the file is damaged, import the weights again"
        )
    network.load_state_dict(decode_tensors(data))
