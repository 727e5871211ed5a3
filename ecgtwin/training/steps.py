"""One step of gradients: of a loss that is a mean over rows, or of a contrast of the whole batch.

Each micro-batch is computed under a generator state of its own, which follows from (seed, step,
first row): whatever a network draws is drawn again in a second pass, and after a restart.
Axes: N pair of the global batch, B pair of a micro-batch, W width.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from ecgtwin.training.contrastive import Contrast, contrast
from ecgtwin.training.engine import Batch, Engine
from ecgtwin.training.leak import leak_and_gradient, state_features

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


def contrastive_step(max_scale: float, *, leak_weight: float = 0.0) -> GradientStep:
    """Return the step of a BaseExtractorObjective, whose negatives are all of the global batch.

    Where a rank has one micro-batch its vectors are made once. Otherwise they are made without
    gradients, and once more, micro-batch by micro-batch, with the gradient of the contrast.
    ``leak_weight`` adds what a linear map reads of the state off the vectors (``training.leak``).
    """

    def gradient_step(engine: Engine, batch_of: BatchOf, seed: int, step: int) -> dict[str, Tensor]:
        def vectors(part: slice) -> _Vectors:
            batch = batch_of(part)
            with _generator_of(engine.device, seed, step, part):
                return _Vectors.of(engine.loss(batch), batch, with_states=leak_weight > 0)

        first_row = engine.parts[0].start
        is_alone = len(engine.parts) == 1
        with nullcontext() if is_alone else torch.no_grad():
            passes = [vectors(part) for part in engine.parts]
        found, outputs = _contrast(engine, passes, max_scale, leak_weight)
        for part in engine.parts:
            own = slice(part.start - first_row, part.stop - first_row)
            made = passes[0] if is_alone else vectors(part)
            engine.backward(_surrogate(engine, made.outputs, found, own))
        return outputs

    return gradient_step


class _Vectors(NamedTuple):
    """What one micro-batch comes to; the states of both members where they are asked for."""

    outputs: dict[str, Tensor]
    person_B: Tensor
    states: tuple[Tensor, ...]

    @classmethod
    def of(cls, outputs: dict[str, Tensor], batch: Batch, *, with_states: bool) -> Self:
        members = ("reference_", "target_") if with_states else ()
        return cls(
            outputs, batch["person_B"], tuple(state_features(batch, member) for member in members)
        )


@torch.no_grad()
def _contrast(
    engine: Engine, passes: Sequence[_Vectors], max_scale: float, leak_weight: float
) -> tuple[Contrast, dict[str, Tensor]]:
    """Return the contrast of all ranks' vectors, with the leak's gradient; what to report."""

    def gathered(rows: Sequence[Tensor]) -> Tensor:
        return engine.gather(torch.cat([one.detach().to(engine.device) for one in rows]))

    own = slice(engine.parts[0].start, engine.parts[-1].stop)
    first_NW, second_NW = (
        gathered([one.outputs[name] for one in passes]) for name in ("first_BW", "second_BW")
    )
    found = contrast(
        first_NW,
        second_NW,
        gathered([one.person_B for one in passes]),
        passes[0].outputs["log_scale"].detach(),
        max_scale=max_scale,
        own=own,
        gather=engine.gather,
    )
    outputs = {"recall_at_1": found.recall_at_1, "scale": found.scale}
    if leak_weight:
        first_NK, second_NK = (
            gathered([one.states[member] for one in passes]) for member in (0, 1)
        )
        leak, pulls = leak_and_gradient(
            torch.cat([first_NW, second_NW]), torch.cat([first_NK, second_NK])
        )
        first_pulls, second_pulls = (leak_weight * pull[own] for pull in pulls.chunk(2))
        found = replace(
            found,
            loss=found.loss + leak_weight * leak,
            first_gradient_QW=found.first_gradient_QW + first_pulls,
            second_gradient_QW=found.second_gradient_QW + second_pulls,
        )
        outputs["leak"] = leak
    return found, {"loss": found.loss, **outputs}


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
