"""What one stage of a training will take, from counts, one small batch and a few timed passes."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ecgtwin.spec.recipe import Recipe
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.conditions import ConditionRows
from ecgtwin.training.cost import SampleCost, cost_of, kept_bytes_of
from ecgtwin.training.data import Batches, DenoiserBatches, PairBatches, VaeBatches
from ecgtwin.training.deepspeed_config import deepspeed_config
from ecgtwin.training.engine import TorchEngine, parts_of
from ecgtwin.training.memory import FULL, Memory, checkpoint_bytes, state_memory
from ecgtwin.training.objectives import BaseExtractorObjective, DenoiserObjective, VaeObjective
from ecgtwin.training.peaks import measured_flops, precision_of, wait_for
from ecgtwin.training.rows import LatentRows, TrainingRows
from ecgtwin.twin.twin import EcgTwin

MEASURED_S = 6.0  # of timed passes


class Case(NamedTuple):
    """A stage whose inputs are zeros in the shape of the real ones, under the real conditions."""

    objective: nn.Module
    spec: TrainingSpec
    batches: Batches
    recordings: int  # in a sample


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of one micro-batch's passes and of one update, on ``device``.

    They were timed with ``num_rows``, from which larger micro-batches are reckoned.
    """

    pass_s: float
    update_s: float
    num_rows: int
    device: torch.device


@dataclass(frozen=True, slots=True)
class Forecast:
    """One stage. Operations are of a sample; bytes are of a rank; ``pace`` is a reason if a str."""

    spec: TrainingSpec
    num_parameters: int
    micro_batch: int
    num_parts: int  # micro-batches that a rank computes for one step
    recordings: int  # in a sample
    frames: int  # of the latent, of one recording
    condition_tokens: float  # of a sample, on average
    flops: float
    memory: Memory
    checkpoint: int
    pace: Pace | str

    @property
    def step_s(self) -> float | None:
        """Seconds of a step where ranks never wait for one another; None where not known."""
        if isinstance(self.pace, str):
            return None
        return self.num_parts * self.pace.pass_s + self.pace.update_s


def forecast_of(
    name: str, recipe: Recipe, twin: EcgTwin, rows: TrainingRows, *, engine: str, world_size: int
) -> Forecast:
    """Return what stage ``name`` takes; ``rows`` are the training rows, samples or none.

    SpecificationError where the specification cannot be trained so.
    """
    case = case_of(name, recipe, twin, rows)
    if engine == "torch":
        case = case._replace(spec=case.spec.model_copy(update={"zero_stage": 0}))
    parts = parts_of(case.spec, rank=0, world_size=world_size)
    micro_batch = parts[0].stop - parts[0].start
    if engine == "deepspeed":
        deepspeed_config(case.spec, micro_batch=micro_batch, accumulation=len(parts))
    cost = cost_of(case.objective, case.batches(0, slice(0, 1)))
    forwards = 2 if name == "base_extractor" and len(parts) > 1 else 1
    num_parameters, num_buffered = _counts(case.objective)
    memory = state_memory(num_parameters, case.spec, world_size=world_size)
    statements = [max(1, len(condition.statements)) for condition in rows.conditions]
    return Forecast(
        spec=case.spec,
        num_parameters=num_parameters,
        micro_batch=micro_batch,
        num_parts=len(parts),
        recordings=case.recordings,
        frames=twin.latent_shape[1],
        condition_tokens=0.0 if name == "vae" else case.recordings * float(np.mean(statements)),
        flops=cost.flops(forwards=forwards),
        memory=_with_the_rest(name, memory, case, micro_batch, len(rows), twin),
        checkpoint=checkpoint_bytes(num_parameters, num_buffered, case.spec),
        pace=_pace(case, micro_batch, cost, forwards=forwards, is_own=engine == "torch"),
    )


def case_of(name: str, recipe: Recipe, twin: EcgTwin, rows: TrainingRows) -> Case:
    """Return the stage ``name`` of ``recipe``, with nothing encoded."""
    num_rows, pairs = len(rows), recipe.pairs
    if name == "vae":
        shape = (num_rows, len(twin.spec.vae.lead_order), twin.num_samples)
        zeros = np.broadcast_to(np.float32(0), shape)
        spec, silent = recipe.vae.training, replace(rows, samples_BLT=zeros)
        batches: Batches = VaeBatches(
            silent, latent_shape=twin.latent_shape, seed=spec.seed, total=spec.batch_size
        )
        return Case(VaeObjective(twin.vae.requires_grad_(True), recipe.vae), spec, batches, 1)
    latents = LatentRows(
        torch.zeros(1, 1, 1).expand(num_rows, *twin.latent_shape),
        ConditionRows.of(rows.conditions, twin),
        rows,
        torch.zeros(1, 1).expand(num_rows, twin.spec.base_extractor.base_width),
    )
    if name == "base_extractor":
        of_extractor = recipe.base_extractor
        spec = of_extractor.training
        batches = PairBatches(
            latents, of_extractor, seed=spec.seed, total=spec.batch_size, pairs=pairs
        )
        extractor = twin.base_extractor.requires_grad_(True)
        return Case(BaseExtractorObjective(extractor, of_extractor), spec, batches, 2)
    spec = recipe.denoiser.training
    batches = DenoiserBatches(
        latents, recipe.denoiser, seed=spec.seed, total=spec.batch_size, pairs=pairs
    )
    denoiser, process = twin.denoiser.requires_grad_(True), twin.spec.process
    return Case(DenoiserObjective(denoiser, recipe.denoiser, process=process), spec, batches, 1)


def _counts(objective: nn.Module) -> tuple[int, int]:
    """Return the numbers in trained parameters, and in what else a checkpoint keeps."""
    trained = sum(item.numel() for item in objective.parameters() if item.requires_grad)
    frozen = {name for name, item in objective.named_parameters() if not item.requires_grad}
    tensors = objective.state_dict()
    return trained, sum(tensors[name].numel() for name in tensors.keys() - frozen) - trained


def _with_the_rest(
    name: str, memory: Memory, case: Case, micro_batch: int, num_rows: int, twin: EcgTwin
) -> Memory:
    """Add what a rank's device holds beside the engine's state."""
    in_bf16 = case.spec.precision != "fp32"
    few = case.batches(0, slice(0, min(2, case.batches.total)))
    kept = kept_bytes_of(case.objective, few, in_bf16=in_bf16)
    more = {
        "activations (estimate)": kept.per_pass + micro_batch * kept.per_sample,
        "copy that is judged": float(FULL * sum(_counts(case.objective))),
    }
    if name != "vae":
        channels, frames = twin.latent_shape
        width = twin.spec.base_extractor.base_width
        more["latents of the corpus"] = float(FULL * num_rows * (channels * frames + width))
    return replace(memory, device={**memory.device, **more})


def _pace(
    case: Case, micro_batch: int, cost: SampleCost, *, forwards: int, is_own: bool
) -> Pace | str:
    """Time the passes of TorchEngine; a reason why not where one row takes too long or too much.

    ``is_own``: the training will use that engine, so the specification must suit it.
    """
    usual = {} if is_own else {"zero_stage": 0, "offload": "none", "deepspeed": {}}
    if case.spec.precision == "bf16_weights" and not is_own:
        usual["precision"] = "bf16"
    spec = case.spec.model_copy(update={**usual, "batch_size": 1, "micro_batch_size": None})
    engine = TorchEngine(copy.deepcopy(case.objective), spec)
    by_convolution = cost.convolution_share > 0.5
    precision = precision_of(spec, engine.device, by_convolution=by_convolution)
    least_s = cost.flops(forwards=forwards) / measured_flops(engine.device, precision)
    if least_s > MEASURED_S:
        return f"one sample takes at least {least_s:.0f} s here"
    try:
        pass_s, num_rows = _passes(engine, case, micro_batch)
    except torch.OutOfMemoryError:
        return "one sample does not fit into the memory of this device"
    update_s = _seconds(engine, engine.step)
    engine.close()
    passes = cost.flops(forwards=forwards) / cost.flops(forwards=1)
    return Pace(pass_s * passes * micro_batch / num_rows, update_s, num_rows, engine.device)


def _passes(engine: TorchEngine, case: Case, micro_batch: int) -> tuple[float, int]:
    """Return the seconds of the largest batch that there is time and memory for, and its rows."""

    def passes() -> None:
        outputs = engine.loss(case.batches(0, slice(0, num_rows)))
        losses: list[Tensor] = [value.sum() for value in outputs.values() if value.requires_grad]
        engine.backward(torch.stack([loss.float() for loss in losses]).sum())

    num_rows, begun = 1, time.perf_counter()
    _seconds(engine, passes)
    seconds = _seconds(engine, passes)
    while num_rows < micro_batch and time.perf_counter() - begun + 2 * seconds < MEASURED_S:
        timed, num_rows = (seconds, num_rows), min(2 * num_rows, micro_batch)
        try:
            seconds = _seconds(engine, passes)
        except torch.OutOfMemoryError:
            return timed
    return seconds, num_rows


def _seconds(engine: TorchEngine, call: Callable[[], object]) -> float:
    wait_for(engine.device)
    begun = time.perf_counter()
    call()
    wait_for(engine.device)
    return time.perf_counter() - begun
