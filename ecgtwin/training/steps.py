"""One step of gradients: of a loss that is a mean over rows, or of a contrast of the whole batch.

Each micro-batch is computed under a generator state of its own, which follows from (seed, step,
first row): whatever a network draws is drawn again in a second pass, and after a restart.
Axes: N pair of the global batch, B pair of a micro-batch, W width.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ecgtwin.training.contrastive import Contrast, contrast
from ecgtwin.training.engine import Batch, Engine

BatchOf = Callable[[slice], Batch]  # of the step's rows
GradientStep = Callable[[Engine, BatchOf, int, int], dict[str, Tensor]]


def mean_step(engine: Engine, batch_of: BatchOf, seed: int, step: int) -> dict[str, Tensor]:
    """Compute the gradients of the mean loss; return the means of the objective's outputs.

    A loss that is not finite makes every gradient so, which the engine's step then skips.
    """
    kept = []
    for part in engine.parts:
        with _generator_of(engine.device, seed, step, part):
            outputs = engine.loss(batch_of(part))
            engine.backward(_or_nan(outputs["loss"]))
        kept.append({name: value.detach() for name, value in outputs.items()})
    return {name: torch.stack([one[name].float() for one in kept]).mean() for name in kept[0]}


def contrastive_step(max_scale: float) -> GradientStep:
    """Return the step of a BaseExtractorObjective, whose negatives are all of the global batch.

    Where a rank has one micro-batch its vectors are made once. Otherwise they are made without
    gradients, and once more, micro-batch by micro-batch, with the gradient of the contrast.
    """

    def gradient_step(engine: Engine, batch_of: BatchOf, seed: int, step: int) -> dict[str, Tensor]:
        def vectors(part: slice) -> tuple[dict[str, Tensor], Tensor]:
            batch = batch_of(part)
            with _generator_of(engine.device, seed, step, part):
                return engine.loss(batch), batch["person_B"]

        if len(engine.parts) == 1:
            made, person_B = vectors(engine.parts[0])
            found = _contrast(engine, [made], [person_B], max_scale)
            engine.backward(_surrogate(engine, made, found, slice(None)))
        else:
            with torch.no_grad():
                passes = [vectors(part) for part in engine.parts]
            found = _contrast(
                engine, [made for made, _ in passes], [person for _, person in passes], max_scale
            )
            first_row = engine.parts[0].start
            for part in engine.parts:
                own = slice(part.start - first_row, part.stop - first_row)
                engine.backward(_surrogate(engine, vectors(part)[0], found, own))
        return {"loss": found.loss, "recall_at_1": found.recall_at_1, "scale": found.scale}

    return gradient_step


def _contrast(
    engine: Engine, made: list[dict[str, Tensor]], persons: list[Tensor], max_scale: float
) -> Contrast:
    share = slice(engine.parts[0].start, engine.parts[-1].stop)
    first_NW, second_NW = (
        engine.gather(torch.cat([one[name].detach() for one in made]))
        for name in ("first_BW", "second_BW")
    )
    person_N = engine.gather(torch.cat(persons).to(engine.device))
    log_scale = made[0]["log_scale"].detach()
    return contrast(
        first_NW,
        second_NW,
        person_N,
        log_scale,
        max_scale=max_scale,
        own=share,
        gather=engine.gather,
    )


def _surrogate(engine: Engine, made: dict[str, Tensor], found: Contrast, own: slice) -> Tensor:
    """Return a scalar whose gradient is that of the contrast through the rows ``own``.

    The engine takes means over micro-batches and ranks, where a sum is wanted.
    """
    num_parts = len(engine.parts)
    pulls = (
        (made["first_BW"] * found.first_gradient_QW[own]).sum()
        + (made["second_BW"] * found.second_gradient_QW[own]).sum()
        + (made["log_scale"] * found.log_scale_gradient).sum() / num_parts
    )
    if not bool(torch.isfinite(found.loss)):
        pulls = pulls * math.nan
    return pulls * (num_parts * engine.world_size)


def _or_nan(loss: Tensor) -> Tensor:
    """Return the loss, made NaN together with its gradient where it is not finite."""
    return loss if bool(torch.isfinite(loss)) else loss * math.nan


@contextmanager
def _generator_of(device: torch.device, seed: int, step: int, part: slice) -> Iterator[None]:
    """Seed torch's generators for one micro-batch, and leave them as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(hash((seed, step, part.start)) % 2**63)
        yield
