"""A small objective whose loss is a mean over samples, and batches that are functions of a step."""

from functools import partial

import numpy as np
import torch
from torch import nn

from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.steps import mean_step

SPEC = TrainingSpec(
    num_steps=12,
    batch_size=8,
    learning_rate=0.01,
    warmup_steps=3,
    clip_norm=0.05,
    ema_decays=(0.5, 0.9),
    log_every=2,
    checkpoint_every=4,
)


class Toy(nn.Module):
    """Convolution, norm, a frozen layer and a buffer: everything a state must tell apart."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv = nn.Conv1d(3, 5, 3)
            self.norm = nn.LayerNorm(5)
            self.head = nn.Linear(5, 2)
            self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, batch):
        hidden = torch.relu(self.conv(batch["signal"])).mean(dim=-1)
        output = self.frozen(self.head(self.norm(hidden))) * self.scale
        loss = (output - batch["target"]).square().mean()
        return {"loss": loss, "largest": output.detach().abs().mean()}


def batch_at(step, part=slice(None)):
    random = np.random.Generator(np.random.Philox(key=[7, step]))
    signal = torch.from_numpy(random.standard_normal((SPEC.batch_size, 3, 16), dtype=np.float32))
    target = signal[:, :2].mean(dim=-1) * 3 + 1
    return {"signal": signal[part], "target": target[part]}


def run_steps(engine, start, stop):
    losses = []
    for step in range(start, stop):
        outputs = mean_step(engine, partial(batch_at, step), SPEC.seed, step)
        assert engine.step()
        losses.append(outputs["loss"].item())
    return losses


def largest_difference(state, other):
    """Over weights, both moments and all averages, relative to each tensor's own size."""
    ours, theirs = state.files(), other.files()
    assert ours.keys() == theirs.keys()
    pairs = [
        (ours[kind][name], theirs[kind][name])
        for kind in ours
        for name in ours[kind] | theirs[kind]
    ]
    return max(
        ((one - two).abs().max() / two.abs().max().clamp(min=1e-12)).item() for one, two in pairs
    )
