"""The three real objectives at a few thousand parameters, with batches of made-up recordings."""

import numpy as np
import torch

from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.recipe import BaseExtractorRecipe, DenoiserRecipe, VaeRecipe
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.data import DenoiserBatches, PairBatches, VaeBatches
from ecgtwin.training.objectives import BaseExtractorObjective, DenoiserObjective, VaeObjective
from ecgtwin.training.rows import LatentRows, TrainingRows
from ecgtwin.training.steps import contrastive_step, mean_step
from tests.tiny import tiny_twin

KINDS = ("vae", "base_extractor", "denoiser")
TOTAL = 12
SPEC = TrainingSpec(
    num_steps=20,
    batch_size=TOTAL,
    micro_batch_size=2,
    learning_rate=0.001,
    warmup_steps=3,
    ema_decays=(0.9, 0.99),
    log_every=1,
    checkpoint_every=5,
)


def rows_at_hand():
    random = np.random.default_rng(0)
    persons = [f"p{index // 2}" for index in range(16)]
    conditions = [
        CardiacCondition(statements=("sinus rhythm",), heart_rate_bpm=50 + index, sex="male")
        for index in range(16)
    ]
    return TrainingRows(
        random.standard_normal((16, 8, 1024)).astype(np.float32), conditions, persons
    )


def prepared(kind, spec=SPEC):
    """Return objective, batches and gradient step of ``kind``."""
    torch.manual_seed(0)
    twin, rows = tiny_twin(), rows_at_hand()
    if kind == "vae":
        objective = VaeObjective(twin.vae.requires_grad_(True), VaeRecipe(training=spec))
        return objective, VaeBatches(rows, latent_shape=(4, 64), seed=1, total=TOTAL), mean_step
    latents = LatentRows.of(rows, twin)
    if kind == "base_extractor":
        recipe = BaseExtractorRecipe(training=spec)
        objective = BaseExtractorObjective(twin.base_extractor.requires_grad_(True), recipe)
        batches = PairBatches(latents, recipe, seed=1, total=TOTAL)
        return objective, batches, contrastive_step(recipe.max_scale)
    recipe = DenoiserRecipe(training=spec)
    objective = DenoiserObjective(
        twin.denoiser.requires_grad_(True), recipe, process=twin.spec.process
    )
    return objective, DenoiserBatches(latents, recipe, seed=1, total=TOTAL), mean_step


def losses_of(engine, batches, gradient_step, start, stop):
    """Return the loss of each step, the mean over ranks."""
    losses = []
    for step in range(start, stop):
        outputs = gradient_step(engine, lambda part, step=step: batches(step, part), 0, step)
        assert engine.step()
        losses.append(engine.mean({"loss": outputs["loss"].item()})["loss"])
    return losses
