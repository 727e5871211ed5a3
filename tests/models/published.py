"""The published networks' test weights: every number follows from its place, none is stored."""

import hashlib
import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import torch

GAIN = {"dit_ecgtwin": 0.7, "clip": 1.3, "classifier": 1.3}


def filled_state(model_name, seed, parity_folder):
    """The state dict of a published network under its own names, filled by the rule."""
    entries = _entries(Path(parity_folder))[model_name]
    return {
        key: _filled(key, shape, index, seed, GAIN.get(model_name, 1.0))
        for index, (key, shape, _) in enumerate(entries)
    }


def digest(state):
    """SHA-256 of all filled tensors' float32 bytes, in order."""
    total = hashlib.sha256()
    for tensor in state.values():
        if tensor.dim():
            total.update(tensor.numpy().astype("<f4").tobytes())
    return total.hexdigest()


@cache
def _entries(parity_folder):
    return json.loads((parity_folder / "state_dicts.json").read_text())


def _filled(key, shape, index, seed, gain):
    if not shape:
        return torch.tensor(math.log(1 / 0.07)) if key.endswith("logit_scale") else torch.tensor(0)
    values = _scaled(key, shape, _noise(math.prod(shape), index, seed), gain)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def _noise(size, index, seed):
    """In [-1, 1): a hash of the element's place, in wrapping 32-bit arithmetic."""
    start = (index * 0x9E3779B9 + seed * 0x85EBCA6B) & 0xFFFFFFFF
    h = np.arange(size, dtype=np.uint32) + np.uint32(start)
    h ^= h >> 16
    h *= np.uint32(0x7FEB352D)
    h ^= h >> 15
    h *= np.uint32(0x846CA68B)
    h ^= h >> 16
    return h / 2.0**31 - 1


def _scaled(key, shape, noise, gain):
    last = key.rpartition(".")[2]
    if len(shape) > 1:
        fan = math.prod(shape[1:])
        return 0.1 * noise if last == "pos_encoding" else gain * math.sqrt(3 / fan) * noise
    by_name = {
        "running_mean": (0.0, 0.2),
        "running_var": (1.0, 0.3),
        "weight": (1.0, 0.2),
        "norm": (1.0, 0.2),
        "bias": (0.0, 0.1),
        "in_proj_bias": (0.0, 0.1),
    }
    centre, spread = by_name[last]
    return centre + spread * noise


def with_weights(module, table, published):
    """The module in eval mode with these published weights, each of which must have a place."""
    ours = module.state_dict()
    wanted = {name: want.shape for name, want in table.wanted(ours).items()}
    assert wanted == {name: tuple(tensor.shape) for name, tensor in published.items()}
    module.load_state_dict(table.filled(ours, published))
    return module.eval().requires_grad_(False)
