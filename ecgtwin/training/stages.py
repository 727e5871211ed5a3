"""Train the three networks of a twin, one after another, on one corpus.

The same function runs in one process and under torchrun, on any engine.
"""

import copy
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.recipe import STAGES, Recipe
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.data import (
    DenoiserBatches,
    LatentRows,
    PairBatches,
    Slice,
    TrainingRows,
    VaeBatches,
    latent_statistics,
)
from ecgtwin.training.engine import Engine, to_device
from ecgtwin.training.loop import TrainingSummary, resume, train
from ecgtwin.training.meter import RunFacts
from ecgtwin.training.metrics import Line, Reporter
from ecgtwin.training.objectives import (
    BaseExtractorObjective,
    Batch,
    DenoiserObjective,
    VaeObjective,
)
from ecgtwin.training.selection import Judge, Selection
from ecgtwin.training.state import Tensors
from ecgtwin.twin.twin import EcgTwin

MakeEngine = Callable[[nn.Module, TrainingSpec], Engine]
MakeBatches = Callable[[Slice], Callable[[int], Batch]]
VALIDATION_BATCHES = 8
DEADLINE = "deadline.json"
MINUTE_SHARES = {"vae": 0.2, "base_extractor": 0.1, "denoiser": 0.7}


@dataclass(frozen=True, slots=True)
class StageResult:
    """How one stage went.

    ``selected_step`` is that of the weights it ended with, ``validation`` the means of the
    objective's outputs with them, empty without validation rows.
    """

    stage: str
    summary: TrainingSummary
    validation: dict[str, float]
    selected_step: int

    @property
    def was_ended(self) -> bool:
        """Whether a SIGTERM ended the stage; it goes on where it is run again."""
        return self.summary.stopped == "sigterm"


@dataclass(frozen=True)
class StageInputs:
    """What all stages share. ``going_on`` keeps the latent's scale of the twin one starts from."""

    recipe: Recipe
    twin: EcgTwin
    train_rows: TrainingRows
    validation_rows: TrainingRows
    make_engine: MakeEngine
    folder: Path
    report: Reporter
    going_on: bool
    minutes: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def train_twin(inputs: StageInputs, stages: tuple[str, ...] = STAGES) -> list[StageResult]:
    """Train ``stages`` in order; ``inputs.twin`` ends with the averaged weights of each.

    A stage goes on from its newest checkpoint under ``inputs.folder``. With ``minutes`` each stage
    gets its share of them and is finished there, also for the next call: the stages after it learn
    from it as it is. After a SIGTERM no further stage is begun: it would
    learn from a network that is not finished. Raises SpecificationError when the corpus has too
    few patients for a stage.
    """
    _check_rows(inputs.train_rows)
    results: list[StageResult] = []
    for name in stages:
        results.append(_run(name, inputs))
        if results[-1].was_ended:
            break
    return results


def _check_rows(rows: TrainingRows) -> None:
    patients = set(rows.patients)
    if len(rows) - len(patients) < 1:
        raise SpecificationError(
            f"the corpus has {len(rows)} training records of {len(patients)} patients, none with "
            "two records; pairs of one person are needed, ingest more records"
        )


def _run(name: str, inputs: StageInputs) -> StageResult:
    prepare = {"vae": _vae, "base_extractor": _base_extractor, "denoiser": _denoiser}[name]
    objective, spec, batches, validation = prepare(inputs)
    judged = copy.deepcopy(objective)
    folder = inputs.folder / name

    def report(line: Line) -> None:
        inputs.report({"stage": name, **line})

    engine = inputs.make_engine(objective, spec)
    try:
        part = Slice.of_rank(spec.batch_size, engine.rank, engine.world_size)
        deadline = None if inputs.minutes is None else 60 * inputs.minutes * MINUTE_SHARES[name]
        facts = RunFacts(provenance={**inputs.facts, "recipe": spec.recipe_digest()})
        start_step = resume(engine, folder, facts=facts)
        if start_step and start_step == _deadline_step(folder):
            spec = spec.model_copy(update={"num_steps": start_step})
        judge = None if validation is None else _judge(judged.to(engine.device), validation)
        selection = Selection(engine, folder, judge=judge, report=report)
        selection.resume(start_step)
        summary = train(
            engine,
            batches(part),
            spec,
            folder=folder,
            report=report,
            start_step=start_step,
            facts=facts,
            deadline_s=deadline,
            on_panel=selection.consider,
        )
        if summary.stopped == "deadline" and engine.rank == 0:
            (folder / DEADLINE).write_text(json.dumps({"step": summary.step}) + "\n")
        weights = selection.weights()
    finally:
        engine.close()
    network = _network(objective)
    network.load_state_dict({key.removeprefix("network."): value for key, value in weights.items()})
    network.eval().requires_grad_(False)
    if name == "vae" and not inputs.going_on:
        _measure_latents(inputs)
    return StageResult(name, summary, selection.validation, selection.step)


def _deadline_step(folder: Path) -> int | None:
    """Return the step at which a deadline has finished the stage, None where none has."""
    try:
        return int(json.loads((folder / DEADLINE).read_text())["step"])
    except (FileNotFoundError, json.JSONDecodeError):  # none, or killed while it was written
        return None


def _network(objective: nn.Module) -> nn.Module:
    return objective.get_submodule("network")


def _measure_latents(inputs: StageInputs) -> None:
    """Set the latent's mean and scale from the training rows, so that it has unit variance."""
    rows, vae = inputs.train_rows, inputs.twin.vae
    vae.latent_mean_C1.zero_()
    vae.latent_scale_C1.fill_(1)
    with torch.no_grad():
        latents = [
            vae.encode(
                torch.from_numpy(rows.samples_BLT[start : start + 256]).to(inputs.twin.device)
            )
            for start in range(0, len(rows), 256)
        ]
    mean, scale = latent_statistics(latents)
    vae.latent_mean_C1.copy_(mean)
    vae.latent_scale_C1.copy_(scale)


def _judge(judged: nn.Module, batches: Callable[[int], Batch]) -> Judge:
    """Return what the objective ``judged`` finds on validation batches with given weights."""
    judged.eval().requires_grad_(False)
    device = next(judged.parameters()).device

    @torch.no_grad()
    def judge(weights: Tensors) -> dict[str, float]:
        judged.load_state_dict(weights)
        totals: dict[str, float] = {}
        for step in range(VALIDATION_BATCHES):
            for key, value in judged(to_device(batches(step), device)).items():
                totals[key] = totals.get(key, 0.0) + float(value) / VALIDATION_BATCHES
        return totals

    return judge


Prepared = tuple[nn.Module, TrainingSpec, MakeBatches, Callable[[int], Batch] | None]


def _vae(inputs: StageInputs) -> Prepared:
    recipe, twin = inputs.recipe.vae, inputs.twin
    spec = recipe.training

    def batches(rows: TrainingRows, seed: int) -> MakeBatches:
        return lambda part: VaeBatches(rows, latent_shape=twin.latent_shape, seed=seed, part=part)

    validation = None
    if len(inputs.validation_rows):
        validation = batches(inputs.validation_rows, spec.seed + 1)(Slice(64, 0, 64))
    objective = VaeObjective(twin.vae.requires_grad_(True), recipe)
    return objective, spec, batches(inputs.train_rows, spec.seed), validation


def _base_extractor(inputs: StageInputs) -> Prepared:
    recipe, twin = inputs.recipe.base_extractor, inputs.twin
    spec = recipe.training
    rows = LatentRows.of(inputs.train_rows, twin)
    validation = None
    if _num_paired(inputs.validation_rows) > 1:  # one person has no negatives: the loss is 0
        held_out = LatentRows.of(inputs.validation_rows, twin)
        size = len(set(held_out.patients))
        validation = PairBatches(
            held_out, recipe, seed=spec.seed + 1, part=Slice(min(64, size), 0, min(64, size))
        )
    objective = BaseExtractorObjective(twin.base_extractor.requires_grad_(True), recipe)
    return (
        objective,
        spec,
        lambda part: PairBatches(rows, recipe, seed=spec.seed, part=part),
        validation,
    )


def _denoiser(inputs: StageInputs) -> Prepared:
    recipe, twin = inputs.recipe.denoiser, inputs.twin
    spec = recipe.training
    rows = LatentRows.of(inputs.train_rows, twin)
    validation = None
    if _num_paired(inputs.validation_rows):
        held_out = LatentRows.of(inputs.validation_rows, twin)
        validation = DenoiserBatches(held_out, recipe, seed=spec.seed + 1, part=Slice(64, 0, 64))
    objective = DenoiserObjective(
        twin.denoiser.requires_grad_(True), recipe, process=twin.spec.process
    )
    return (
        objective,
        spec,
        lambda part: DenoiserBatches(rows, recipe, seed=spec.seed, part=part),
        validation,
    )


def _num_paired(rows: TrainingRows) -> int:
    """Return how many patients have two records or more."""
    return sum(count > 1 for count in Counter(rows.patients).values())


def parameters_of(twin: EcgTwin) -> dict[str, int]:
    """Return the number of parameters of each network."""
    counts: dict[str, int] = {}
    for name in STAGES:
        tensors: list[Tensor] = list(twin.get_submodule(name).parameters())
        counts[name] = sum(tensor.numel() for tensor in tensors)
    return counts
